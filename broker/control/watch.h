/* Which listeners a session wants to hear of. */
#ifndef CONTROL_WATCH_H
#define CONTROL_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

struct session;
struct control;

#define WATCHED_NAMES_MAX 64

struct watch_list {
        bool all;
        size_t n_names;
        char **names;
        LIST_ENTRY(session) in_watchers; /* while all or n_names */
};

LIST_HEAD(watcher_list, session);

/* Forget what the session watches. */
void watch_clear(struct session *session);

#endif
