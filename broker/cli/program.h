/* Which program a process runs and whose it is, read by the command and not by the broker. */
#ifndef CLI_PROGRAM_H
#define CLI_PROGRAM_H

#include <stdint.h>

#include "cleanup.h"
#include "config/identity.h"

/* The users and groups of this machine, as its files have them. 0 or -ENOMEM. */
static inline int program_users(struct identities **ret) {
        return identities_new(ret, "/etc/passwd", "/etc/group");
}

static inline void program_users_free_p(struct identities **users) {
        *users = identities_free(*users);
}
#define _cleanup_users_ _cleanup_(program_users_free_p)

/* "gunicorn (/usr/bin/python3.11)", "gunicorn", or "?"; for free(3); NULL when out of memory. */
char *program_of(uint64_t pid);

/* "www-data", or the number; for free(3); NULL when out of memory. `users` may be NULL. */
char *program_user(struct identities *users, uint64_t uid);

#endif
