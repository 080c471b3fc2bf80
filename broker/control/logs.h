/* LOGS: the last lines that a component wrote, and those that come. */
#ifndef CONTROL_LOGS_H
#define CONTROL_LOGS_H

struct session;

/* Lines that are given when LINES= does not say. */
#define LOGS_LINES_DEFAULT 50

/* The session follows nothing any more; it ends, or asks for another. */
void logs_forget(struct session *session);

#endif
