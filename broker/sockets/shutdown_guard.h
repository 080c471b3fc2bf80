/*
 * shutdown(2) or connect(AF_UNSPEC) by one holder of a listening socket ends it for all. The guard
 * sees the hang-up on our own copy and has the socket mended at once.
 *
 * All guards of a broker share one nested epoll set, because libev knows no EPOLLRDHUP, and because
 * with that alone a connection that waits in the queue never wakes us.
 */
#ifndef SOCKETS_SHUTDOWN_GUARD_H
#define SOCKETS_SHUTDOWN_GUARD_H

#include <stdbool.h>

#include "core/loop.h"

struct shutdown_watch; /* the epoll set */

struct shutdown_guard {
        struct shutdown_watch *watch; /* NULL when not started */
        int fd;                       /* lent by the owner */
        void (*hung_up)(void *owner);
        void *owner;
};

/* 0, -ENOMEM, or the error of epoll_create1(2). */
int shutdown_watch_new(struct shutdown_watch **ret, struct loop *loop);
/* All guards must be stopped before. */
struct shutdown_watch *shutdown_watch_free(struct shutdown_watch *watch);

/*
 * Calls hung_up() once, from the loop, when the socket was shut down; also when it is so already.
 * After that the guard sleeps until it is started again (a hang-up stays until the socket is
 * mended, so a guard that did not sleep would spin when mending fails). Starting a started guard is
 * allowed. hung_up() may start, stop and free it. 0 or the error of epoll_ctl(2).
 */
int shutdown_guard_start(struct shutdown_guard *guard, struct shutdown_watch *watch, int fd,
                         void (*hung_up)(void *owner), void *owner);
/* Before the descriptor is closed. Nothing when it is not started. */
void shutdown_guard_stop(struct shutdown_guard *guard);

#endif
