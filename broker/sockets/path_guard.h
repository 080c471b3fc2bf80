/*
 * Programs unlink "their" Unix socket path when they exit and so take the address from the next
 * generation. The guard keeps a hard link to the socket in a private folder of the same filesystem,
 * watches the public path with inotify, and links it again when it goes.
 *
 * The private folder is DIRECTORY/.fdpass-UID/ (mode 0700, ours), beside the path.
 */
#ifndef SOCKETS_PATH_GUARD_H
#define SOCKETS_PATH_GUARD_H

#include <stdbool.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "core/log.h"
#include "core/loop.h"

struct memory;
struct path_watch; /* the inotify descriptor */

struct path_guard {
        struct path_watch *watch; /* NULL when not started */
        const char *path;         /* lent by the owner */
        int directory_watch;      /* inotify watch descriptor of the path's folder; -1: none */
        unsigned char link;       /* path_link_make()'s; 0 where none could be made */
        bool suspect;             /* the guard's own: in the queue of those to be looked at */
        bool waiting;             /* likewise: taken back too often; looked at again by the timer */
        /* The path is gone, or not ours, and could not be linked again: bind anew. */
        void (*lost)(void *owner);
        void (*mended)(void *owner);
        void *owner;

        /* The guard's own. */
        dev_t device; /* of the socket file; with inode 0 we never saw it at the path */
        ino_t inode;
        struct rate_limit rate;   /* of taking the path back from another program */
        struct rate_limit logged; /* of log lines */
        TAILQ_ENTRY(path_guard) in_suspects;
        LIST_ENTRY(path_guard) entry;
};

/* How often a path is taken back from another program that put its own socket there. */
#define PATH_GUARD_BURST 5
#define PATH_GUARD_INTERVAL_USEC 60000000ULL

/*
 * Where inotify cannot be had that is logged, and paths are only looked at by path_guard_check().
 * 0 or -ENOMEM.
 */
int path_watch_new(struct path_watch **ret, struct loop *loop, struct log *log);
/*
 * Take the inotify descriptor that a broker before us kept under this name, or keep ours; before
 * any guard is started. The kernel takes 10 to 20 ms to close one that watches anything, and does
 * so within exec and exit: clients would wait for that. What cannot be kept is done without.
 */
void path_watch_keep(struct path_watch *watch, struct memory *memory, const char *name);
/* All guards must be stopped before. */
struct path_watch *path_watch_free(struct path_watch *watch);

/*
 * Guard `path`, to which the socket `fd` is bound. When no link can be made (filesystem, rights)
 * the guard works without one, and says so in the log. A path that is already gone, or that leads
 * to another socket, is reported by lost(), from the loop. The handlers may start and stop guards,
 * also this one. `guard` is zeroed or was stopped; `path` is to live as long as it is started. What
 * goes wrong is logged.
 */
void path_guard_start(struct path_guard *guard, struct path_watch *watch, const char *path, int fd,
                      void (*lost)(void *owner), void (*mended)(void *owner), void *owner);

/* Look now: as if inotify had told. Calls the handlers. Nothing when it is not started. */
void path_guard_check(struct path_guard *guard);

/* Removes the private link, not the path. */
void path_guard_stop(struct path_guard *guard);

#endif
