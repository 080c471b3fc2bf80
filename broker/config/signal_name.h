/* Signals by name: "SIGTERM", "TERM", "RTMIN+3", "15". */
#ifndef CONFIG_SIGNAL_NAME_H
#define CONFIG_SIGNAL_NAME_H

#define SIGNAL_NAME_SIZE 16

/* 0 or -EINVAL. */
int signal_from_name(const char *name, int *ret);
/* "SIGTERM", or the number of a signal that has no name. */
const char *signal_name(int number, char ret[SIGNAL_NAME_SIZE]);

#endif
