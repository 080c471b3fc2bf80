/* STORE, TAKE, TAKEN, DROP and STORED: what the session and the queue need to know of them. */
#ifndef CONTROL_STORE_H
#define CONTROL_STORE_H

struct lending;
struct session;

/* The session ends: do not answer its STORE. */
void store_forget(struct session *session);

/* As lending_continue(), for a TAKE. */
int store_continue(struct session *session, struct lending *rest);

#endif
