/*
 * What components stored is dropped when it has hung up, as in systemd: a connection whose client
 * is gone is of no use to the next generation, and would take the place of another.
 *
 * The loop waits for reading or writing, and this is neither: what lies unread in a stored
 * connection is none of our business. So there is an epoll set that is asked for nothing, and tells
 * errors and hang-ups all the same (epoll_ctl(2)). Only stream sockets and pipes are in it: they
 * are polled in the kernel, where anything else may ask a file system that answers when it likes;
 * and a datagram socket has no end, only errors that pass.
 */
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "control/control_private.h"
#include "control/stored.h"

#define EVENTS_A_TURN 64

void stored_hangups_init(struct stored_table *t) {
        t->hangups = (struct stored_hangups){.epoll_fd = -1};
}

void stored_hangups_clear(struct stored_table *t) {
        io_watch_stop(&t->hangups.watch);
        t->hangups.epoll_fd = close_fd(t->hangups.epoll_fd);
}

/* Entries of this turn stay until their last event: one is dropped when none is to come. */
static void on_hangups(void *owner, int events) {
        struct stored_table *t = owner;
        struct epoll_event found[EVENTS_A_TURN];
        int n = epoll_wait(t->hangups.epoll_fd, found, EVENTS_A_TURN, 0);

        for (int i = 0; i < n; i++) {
                struct stored *s = found[i].data.ptr;

                if (--s->n_open > 0)
                        continue;
                log_debug(t->control->broker->log, ABOUT(.component = s->key.component),
                          "what %s stored as %s has hung up and is dropped", s->key.component,
                          s->key.name);
                stored_remove(t, s);
                stored_discard(t, s);
        }
}

static bool has_set(struct stored_table *t) {
        struct stored_hangups *h = &t->hangups;

        if (h->epoll_fd >= 0)
                return true;
        h->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (h->epoll_fd < 0)
                return false;
        io_watch_start(&h->watch, t->control->broker->loop, h->epoll_fd, IO_READ, on_hangups, t);
        return true;
}

static bool can_hang_up(int fd) {
        int type;
        socklen_t size = sizeof(type);

        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0)
                return type == SOCK_STREAM || type == SOCK_SEQPACKET;
        return fcntl(fd, F_GETPIPE_SZ) >= 0; /* of nothing but a pipe */
}

void stored_watch(struct stored_table *t, struct stored *s) {
        struct epoll_event told = {.events = EPOLLONESHOT, .data.ptr = s};

        s->n_open = s->n_fds;
        for (size_t i = 0; i < s->n_fds; i++)
                if (can_hang_up(s->fds[i]) && has_set(t))
                        (void) epoll_ctl(t->hangups.epoll_fd, EPOLL_CTL_ADD, s->fds[i], &told);
}

/* Before they are anybody else's: who has a duplicate keeps them in the set, with our pointer. */
void stored_unwatch(struct stored_table *t, struct stored *s) {
        for (size_t i = 0; s->is_polled && i < s->n_fds; i++)
                (void) epoll_ctl(t->hangups.epoll_fd, EPOLL_CTL_DEL, s->fds[i], NULL);
}
