/*
 * One epoll set, nested in the loop, with our copies of all listening sockets.
 *
 * What it relies on: a TCP socket that was shut down or disconnected is in state CLOSE and reports
 * EPOLLHUP, a Unix one reports EPOLLRDHUP; both wake a waiter that asked for EPOLLRDHUP alone (HUP
 * and ERR cannot be left out), and a new connection does not, because a wake-up is matched against
 * what was asked for. test_kernel_facts.c has each of these.
 */
#include "sockets/shutdown_guard.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "cleanup.h"

/* Guards that are served in one turn of the loop, so that a flood of hang-ups delays no one. */
#define PER_TURN 16

struct shutdown_watch {
        int epoll_fd;
        struct io_watch io;
};

static void on_readable(void *owner, int events) {
        struct shutdown_watch *watch = owner;
        struct epoll_event event;

        /*
         * One at a time: the handler of one may stop and free another, which in a batch would leave
         * us with a pointer to it. Once stopped, it is not in the set and cannot be reported.
         */
        for (int i = 0; i < PER_TURN && epoll_wait(watch->epoll_fd, &event, 1, 0) == 1; i++) {
                struct shutdown_guard *guard = event.data.ptr;

                guard->hung_up(guard->owner);
        }
}

int shutdown_watch_new(struct shutdown_watch **ret, struct loop *loop) {
        _cleanup_free_ struct shutdown_watch *watch = calloc(1, sizeof(*watch));

        if (!watch)
                return -ENOMEM;
        watch->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (watch->epoll_fd < 0)
                return -errno;
        io_watch_start(&watch->io, loop, watch->epoll_fd, IO_READ, on_readable, watch);
        *ret = watch;
        watch = NULL;
        return 0;
}

struct shutdown_watch *shutdown_watch_free(struct shutdown_watch *watch) {
        if (watch) {
                io_watch_stop(&watch->io);
                close_fd(watch->epoll_fd);
                free(watch);
        }
        return NULL;
}

int shutdown_guard_start(struct shutdown_guard *guard, struct shutdown_watch *watch, int fd,
                         void (*hung_up)(void *owner), void *owner) {
        /* EPOLLONESHOT is the sleep after a report; setting it again looks at the socket anew. */
        struct epoll_event event = {.events = EPOLLRDHUP | EPOLLONESHOT, .data.ptr = guard};
        int operation = EPOLL_CTL_ADD;

        if (guard->watch && (guard->watch != watch || guard->fd != fd))
                shutdown_guard_stop(guard);
        if (guard->watch)
                operation = EPOLL_CTL_MOD;
        if (epoll_ctl(watch->epoll_fd, operation, fd, &event) < 0)
                return -errno;
        guard->watch = watch;
        guard->fd = fd;
        guard->hung_up = hung_up;
        guard->owner = owner;
        return 0;
}

void shutdown_guard_stop(struct shutdown_guard *guard) {
        if (!guard->watch)
                return;
        /*
         * Never left to close(): the set knows the open file description, which lives on in every
         * holder, and would go on reporting a guard that is no more.
         */
        (void) epoll_ctl(guard->watch->epoll_fd, EPOLL_CTL_DEL, guard->fd, NULL);
        guard->watch = NULL;
}
