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
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "control/control_private.h"

#define DEADLINE_USEC (10 * 1000 * 1000)

static void wait_for_gate(void *argument, int result_fd) {
        struct disposal *d = argument;
        char byte;

        close_fd(d->gate[1]);
        while (read(d->gate[0], &byte, 1) < 0 && errno == EINTR)
                ;
}

static bool is_needed(const struct control *c) {
        const struct session *s;

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

static void on_done(void *owner, const char *result, size_t size) {
        struct control *c = owner;

        c->disposal.running = false;
        disposal_run(c);
}

void disposal_run(struct control *c) {
        struct disposal *d = &c->disposal;
        int r;

        if (d->running || !is_needed(c) || pipe2(d->gate, O_CLOEXEC) < 0)
                return; /* if there is no pipe, the retry timer comes back */
        r = helper_start(&d->helper, c->broker->loop, DEADLINE_USEC, wait_for_gate, d, on_done, c);
        close_fd(d->gate[0]);
        if (r == 0) {
                d->running = true;
                free_unclean(c);
        } else {
                log_debug(c->broker->log, NULL, "no child to close sessions: %s", strerror(-r));
        }
        close_fd(d->gate[1]);
}

void disposal_cancel(struct disposal *d) {
        helper_cancel(&d->helper);
        d->running = false;
}
