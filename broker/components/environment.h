/*
 * The environment of a process that is to be run, and the expansion of $VARIABLES in its command
 * line (systemd.service(5), "Command lines"). Used in the child: it may block and allocate.
 */
#ifndef COMPONENTS_ENVIRONMENT_H
#define COMPONENTS_ENVIRONMENT_H

#include <stddef.h>

struct component_config;
struct command;

struct environment {
        char **items; /* "NAME=VALUE", ends with NULL; owned */
        size_t count, capacity;
};

/* Later ones win. 0 or -ENOMEM. */
int environment_set(struct environment *e, const char *name, const char *value);
int environment_put(struct environment *e, const char *assignment); /* "NAME=VALUE" */
/* A variable, or with "NAME=VALUE" one that has this value; nothing when it is not there. */
void environment_unset(struct environment *e, const char *name);
const char *environment_get(const struct environment *e, const char *name);
void environment_clear(struct environment *e);

/*
 * What the broker itself has, without what is about the broker and not about the component: its
 * NOTIFY_SOCKET, LISTEN_*, WATCHDOG_*, JOURNAL_STREAM, INVOCATION_ID, CREDENTIALS_DIRECTORY,
 * MAINPID, FDSTORE, FDPASS_* and so on; then PassEnvironment=, HOME, USER, LOGNAME, SHELL of User=,
 * RUNTIME_DIRECTORY and its like, Environment=, EnvironmentFile=. 0, -ENOMEM, or the error of a
 * file, whose path is *ret_what then (lent from the configuration).
 */
int environment_build(struct environment *e, char *const *own,
                      const struct component_config *config, const char **ret_what);

/* A file of EnvironmentFile=: systemd's quoting, continuation lines, comments. 0 or -errno. */
int environment_load(struct environment *e, const char *path);

/*
 * argv with ${NAME} replaced in words, and a word $NAME split at white space. *ret ends with NULL
 * and is for the caller to free with its strings. 0 or -ENOMEM.
 */
int environment_expand(const struct environment *e, const struct command *command, char ***ret);

#endif
