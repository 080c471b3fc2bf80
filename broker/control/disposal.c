/*
 * The disposable child that closes what could block.
 *
 * fork() gives the child a copy of every descriptor of ours, the sessions to be closed among them.
 * Ours are closed while the child still has its copies, so ours are never the last ones. Only then
 * does the child go on, and it simply exits: the kernel closes its descriptors, and a process that
 * is exiting does not wait for SO_LINGER; what blocks all the same is killed at the deadline.
 */
#include "control/disposal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "control/control_private.h"
#include "core/helper.h"

#define DEADLINE_USEC (10 * 1000 * 1000)
#define RETRY_USEC (1000 * 1000)

static void wait_for_gate(void *argument, int result_fd) {
        struct disposal *d = argument;
        char byte;

        close_fd(d->gate[1]);
        while (read(d->gate[0], &byte, 1) < 0 && errno == EINTR)
                ;
}

static bool is_needed(const struct control *c) {
        const struct session *s;

        if (c->disposal.n_fds > 0)
                return true;
        TAILQ_FOREACH (s, &c->waiting, in_waiting)
                if (s->state == SESSION_UNCLEAN)
                        return true;
        return false;
}

static void free_unclean(struct control *c) {
        struct session *s, *next;

        for (s = TAILQ_FIRST(&c->waiting); s; s = next) {
                next = TAILQ_NEXT(s, in_waiting); /* session_free() frees no other one */
                if (s->state == SESSION_UNCLEAN)
                        session_free(s);
        }
}

static void close_fds(struct disposal *d) {
        for (size_t i = 0; i < d->n_fds; i++)
                close_fd(d->fds[i]);
        d->n_fds = 0;
}

static void on_retry(void *owner) {
        disposal_run(owner);
}

static void on_done(void *owner, const char *result, size_t size) {
        struct control *c = owner;

        c->disposal.helper = NULL;
        disposal_run(c);
}

void disposal_run(struct control *c) {
        struct disposal *d = &c->disposal;
        int r;

        if (d->helper || !is_needed(c))
                return;
        timer_start(&d->retry, c->broker->loop, RETRY_USEC, on_retry, c);
        if (pipe2(d->gate, O_CLOEXEC) < 0)
                return;
        r = helper_start(&d->helper, c->broker->loop, DEADLINE_USEC, wait_for_gate, d, on_done, c);
        close_fd(d->gate[0]);
        if (r == 0) {
                timer_stop(&d->retry);
                close_fds(d);
                free_unclean(c);
        } else {
                log_debug(c->broker->log, NULL, "no child to close sessions: %s", strerror(-r));
        }
        close_fd(d->gate[1]);
}

static int reserve(struct disposal *d, size_t n) {
        size_t capacity = d->n_fds + n;
        int *fds;

        if (capacity <= d->capacity)
                return 0;
        fds = reallocarray(d->fds, capacity, sizeof(*fds));
        if (!fds)
                return -ENOMEM;
        d->fds = fds;
        d->capacity = capacity;
        return 0;
}

void disposal_put_fds(struct control *c, const int *fds, size_t n_fds) {
        struct disposal *d = &c->disposal;
        bool fits = reserve(d, n_fds) == 0;

        for (size_t i = 0; i < n_fds; i++)
                if (fds[i] >= 0 && fits)
                        d->fds[d->n_fds++] = fds[i];
                else
                        close_fd(fds[i]); /* rather a wait than a leak */
        disposal_run(c);
}

/* A child that is killed has its copies closed as it exits, which lingers for nobody. */
void disposal_end(struct control *c) {
        struct disposal *d = &c->disposal;

        d->helper = helper_stop(d->helper);
        disposal_run(c);
        helper_stop(d->helper);
        timer_stop(&d->retry);
        close_fds(d);
        free(d->fds);
        *d = (struct disposal){0};
}
