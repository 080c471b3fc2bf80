/* Which program a process runs and whose it is, read by the command and not by the broker. */
#ifndef CLI_PROGRAM_H
#define CLI_PROGRAM_H

#include <stdint.h>

struct identities;

/* "gunicorn (/usr/bin/python3.11)", "gunicorn", or "?"; for free(3); NULL when out of memory. */
char *program_of(uint64_t pid);

/* "www-data", or the number; for free(3); NULL when out of memory. `users` may be NULL. */
char *program_user(struct identities *users, uint64_t uid);

#endif
