/*
 * Sending. The queue of a session is bounded: requests are only read while it is empty, so it holds
 * one answer, the answer of an apply that took its time, and as many events as the limit allows.
 */
#include "control/outgoing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "control/control_private.h"
#include "control/in_flight.h"
#include "control/lending.h"
#include "control/session.h"
#include "message.h"

struct packet {
        STAILQ_ENTRY(packet) entry;
        int fd;                  /* owned: a document; else -1 */
        struct lending *lending; /* owned; then there is no data */
        size_t size;
        char data[];
};

void outgoing_init(struct outgoing *o) {
        *o = (struct outgoing){0};
        STAILQ_INIT(&o->packets);
}

static void packet_free(struct packet *p) {
        close_fd(p->fd);
        free(p->lending);
        free(p);
}

static void remove_first(struct outgoing *o) {
        struct packet *p = STAILQ_FIRST(&o->packets);

        STAILQ_REMOVE_HEAD(&o->packets, entry);
        o->count--;
        packet_free(p);
}

void outgoing_clear(struct outgoing *o) {
        while (!outgoing_is_empty(o))
                remove_first(o);
}

static void log_too_many(struct control *c) {
        unsigned suppressed;

        if (rate_limit_pass(&c->refusals, loop_now_usec(), &suppressed))
                log_warning(c->broker->log, NULL,
                            "the kernel refuses to send more descriptors: too many of this uid's "
                            "are on their way to programs that do not read (%u refusals since the "
                            "last such line)",
                            suppressed);
}

int outgoing_try(struct session *s, const char *data, size_t size, const int *fds, size_t n_fds) {
        int r;

        s->outgoing.blocked = n_fds > 0 && !in_flight_admits(s, n_fds);
        if (s->outgoing.blocked)
                return -EAGAIN;
        r = message_send(s->fd, data, size, fds, n_fds);
        if (r == 0 && n_fds > 0)
                in_flight_add(s, n_fds);
        if (r == -ETOOMANYREFS)
                log_too_many(s->control);
        return r;
}

/* Wait for what has to come before the first packet of the queue can be sent. */
static void watch_for_room(struct session *s) {
        if (s->outgoing.blocked) {
                io_watch_stop(&s->watch);
                s->watched_events = 0;
                control_wait(s);
                return;
        }
        control_stop_waiting(s);
        if (s->watched_events != IO_WRITE) {
                s->watched_events = IO_WRITE;
                io_watch_start(&s->watch, s->control->broker->loop, s->fd, IO_WRITE,
                               s->watch.handler, s);
        }
}

static void watch_for_requests(struct session *s) {
        control_stop_waiting(s);
        if (s->awaited) {
                io_watch_stop(&s->watch);
                s->watched_events = 0;
                return;
        }
        if (s->watched_events != IO_READ) {
                s->watched_events = IO_READ;
                io_watch_start(&s->watch, s->control->broker->loop, s->fd, IO_READ,
                               s->watch.handler, s);
        }
}

void outgoing_resume(struct session *s) {
        if (!outgoing_is_empty(&s->outgoing))
                return; /* outgoing_flush() comes here again */
        if (!s->status) {
                watch_for_requests(s);
                return;
        }
        control_stop_waiting(s);
        io_watch_stop(&s->watch);
        s->watched_events = 0;
}

static int put(struct session *s, const char *data, size_t size, int fd, struct lending *lending) {
        struct packet *p = malloc(sizeof(*p) + size);

        if (!p) {
                close_fd(fd);
                free(lending);
                return -ENOMEM;
        }
        *p = (struct packet){.fd = fd, .lending = lending, .size = size};
        if (size > 0)
                memcpy(p->data, data, size);
        STAILQ_INSERT_TAIL(&s->outgoing.packets, p, entry);
        s->outgoing.count++;
        watch_for_room(s);
        return 0;
}

/* Nothing was sent and the session is as good as before. */
static bool is_refusal(int error) {
        return error == -EPERM || error == -ETOOMANYREFS;
}

int outgoing_send(struct session *s, const char *data, size_t size, int fd) {
        int r = -EAGAIN;

        if (s->state != SESSION_OPEN) {
                close_fd(fd);
                return -ENOTCONN;
        }
        if (outgoing_is_empty(&s->outgoing))
                r = outgoing_try(s, data, size, &fd, fd >= 0);
        if (r == -EAGAIN)
                r = put(s, data, size, fd, NULL);
        else
                close_fd(fd);
        if (r < 0 && !(fd >= 0 && is_refusal(r)))
                s->state = SESSION_ENDING;
        return r;
}

void outgoing_send_event(struct session *s, const char *data, size_t size) {
        struct outgoing *o = &s->outgoing;
        int r = -EAGAIN;

        if (s->state != SESSION_OPEN)
                return;
        /* When events were dropped already, none may come before the one that says so. */
        if (outgoing_is_empty(o) && !o->overflow)
                r = outgoing_try(s, data, size, NULL, 0);
        if (r == -EAGAIN &&
            (o->overflow || o->count >= s->control->broker->limits.answers_per_session ||
             put(s, data, size, -1, NULL) < 0))
                o->overflow = true;
        /* Any other error is the peer's end, which the session's own watch will tell. */
}

int outgoing_put_lending(struct session *s, struct lending *lending) {
        return put(s, NULL, 0, -1, lending);
}

static int send_packet(struct session *s, struct packet *p) {
        if (p->lending)
                return lending_continue(s, p->lending);
        return outgoing_try(s, p->data, p->size, &p->fd, p->fd >= 0);
}

static int send_overflow(struct session *s) {
        static const char event[] = "EVENT=OVERFLOW\n";
        int r = outgoing_try(s, event, sizeof(event) - 1, NULL, 0);

        if (r == 0)
                s->outgoing.overflow = false;
        return r;
}

void outgoing_flush(struct session *s) {
        struct outgoing *o = &s->outgoing;
        int r = 0;

        while (r == 0 && !outgoing_is_empty(o)) {
                r = send_packet(s, STAILQ_FIRST(&o->packets));
                if (r == 0)
                        remove_first(o);
        }
        if (r == 0 && o->overflow)
                r = send_overflow(s);
        if (r == 0)
                outgoing_resume(s);
        else if (r == -EAGAIN)
                watch_for_room(s);
        else
                s->state = SESSION_ENDING;
}
