/*
 * Events, in a loop that is not ours.
 *
 * A blocking call may read an event from the socket, which then is not readable any more: events
 * wait in a bounded queue, and fdpass_get_timeout() says 0 until it is empty.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "connection.h"
#include "names.h"

/* Packets that one fdpass_process() looks at before it lets the caller's loop go on. */
#define PACKETS_MAX 64

static void drop_oldest(struct event_queue *q) {
        free(q->ring[q->first].data);
        q->first = (q->first + 1) % EVENTS_MAX;
        q->count--;
        q->overflow = true;
}

void events_put(struct fdpass *c, const char *data, size_t size) {
        struct event_queue *q = &c->queue;
        char *copy = malloc(size + 1); /* one more: see show_next() */

        if (!copy) {
                q->overflow = true;
                return;
        }
        memcpy(copy, data, size);
        if (q->count == EVENTS_MAX)
                drop_oldest(q);
        q->ring[(q->first + q->count++) % EVENTS_MAX] = (struct queued_event){size, copy};
}

static void put_refusal(struct fdpass *c, const char *type, const char *name) {
        const struct text *message = assignments_get(&c->answer.assignments, "MESSAGE");
        struct packet_writer event;

        packet_begin(&event);
        packet_add(&event, "EVENT", type);
        if (*name)
                packet_add(&event, "NAME", name);
        if (message)
                packet_add_text(&event, "MESSAGE", *message);
        if (!event.overflow)
                events_put(c, event.data, event.size);
}

void events_put_rewatch(struct fdpass *c) {
        const struct assignments *a = &c->answer.assignments;
        struct text serial = *assignments_get(a, "SERIAL");
        struct text digits = {serial.start + 1, serial.length - 1};
        uint64_t i;

        if (text_equal(a->items[0].key, "OK") || text_to_u64(digits, &i) < 0 || i >= c->n_watches)
                return;
        if (text_equal(a->items[0].value, "ENOENT"))
                held_drop(c, (struct text){c->watches[i], strlen(c->watches[i])});
        put_refusal(c, text_equal(a->items[0].value, "ENOENT") ? "REMOVED" : "UNWATCHED",
                    c->watches[i]);
}

/* What the broker let go of, or bound anew, is not to be handed back. */
static void drop_held(struct fdpass *c) {
        const struct assignments *a = &c->answer.assignments;
        const struct text *name = assignments_get(a, "NAME");

        if (name &&
            (text_equal(a->items[0].value, "REMOVED") || text_equal(a->items[0].value, "REPLACED")))
                held_drop(c, *name);
}

void fdpass_hear_events(struct fdpass *c,
                        void (*hear)(void *owner, const struct assignments *event), void *owner) {
        c->hear = hear;
        c->hear_owner = owner;
}

void events_take(struct fdpass *c, enum packet_kind kind) {
        if (kind == PACKET_EVENT && c->hear) {
                c->hear(c->hear_owner, &c->answer.assignments);
        } else if (kind == PACKET_EVENT) {
                drop_held(c);
                events_put(c, c->answer.message.data, c->answer.message.size);
        } else if (kind == PACKET_REWATCH) {
                events_put_rewatch(c);
        } else if (kind == PACKET_HELLO) {
                connection_go_on(c);
        }
}

static void forget(struct event *event) {
        free(event->data);
        event->data = NULL;
        event->valid = false;
}

void events_free(struct fdpass *c) {
        forget(&c->event);
        while (c->queue.count > 0)
                drop_oldest(&c->queue);
}

static void show_overflow(struct event *event) {
        event->assignments.count = 1;
        event->assignments.items[0] = (struct assignment){{"EVENT", 5}, {"OVERFLOW", 8}};
        event->valid = true;
}

/* Each value is followed by a newline or by the spare byte at the end: room for its NUL. */
static void terminate_values(struct event *event) {
        for (size_t i = 0; i < event->assignments.count; i++) {
                struct text value = event->assignments.items[i].value;

                event->data[value.start - event->data + (ptrdiff_t) value.length] = '\0';
        }
}

/* Make the oldest queued event the current one; false when there is none. */
static bool show_next(struct fdpass *c) {
        struct event_queue *q = &c->queue;
        struct queued_event next;

        if (q->overflow) {
                q->overflow = false;
                show_overflow(&c->event);
                return true;
        }
        if (q->count == 0)
                return false;
        next = q->ring[q->first];
        q->first = (q->first + 1) % EVENTS_MAX;
        q->count--;
        c->event.data = next.data;
        /* Cannot fail: only what has been parsed, or written by us, is queued. */
        (void) grammar_parse(next.data, next.size, &c->event.assignments);
        terminate_values(&c->event);
        c->event.valid = true;
        return true;
}

/* The broker has hung up, or was away already and it is time to look for it. 0 or an error. */
static int look_for_broker(struct fdpass *c) {
        int r;

        if (c->state == AWAY) {
                if (deadline_remaining(c->retry_at) > 0)
                        return -EHOSTDOWN;
                r = connection_try_to_come_back(c);
                if (r == 0)
                        return 0;
                if (r == -EPERM)
                        return connection_die(c, r);
        }
        r = connection_go_away(c);
        return r < 0 ? r : -EHOSTDOWN;
}

/* One packet: 1, -EAGAIN when there is none, -ECONNRESET, or an error after which it is dead. */
static int read_packet(struct fdpass *c) {
        struct message *m = &c->answer.message;
        enum packet_kind kind;
        int r = message_receive(c->fd, m);

        if (r == -EAGAIN)
                return r;
        if (r == 0 || r == -ECONNRESET)
                return -ECONNRESET;
        if (r < 0)
                return connection_die(c, r == -EMSGSIZE ? -EPROTO : r);
        kind = connection_packet_kind(c);
        /* An answer belongs to a call, and none is under way. */
        if (kind == PACKET_NONSENSE || kind == PACKET_ANSWER)
                r = connection_die(c, -EPROTO);
        else
                events_take(c, kind);
        message_clear(m);
        return r;
}

static int read_packets(struct fdpass *c) {
        for (unsigned i = 0; i < PACKETS_MAX; i++) {
                int r = read_packet(c);

                if (r == -EAGAIN)
                        return 0;
                if (r == -ECONNRESET)
                        return look_for_broker(c);
                if (r < 0)
                        return r;
                c->retry_delay = 0;
                if (show_next(c))
                        return 1;
        }
        return 0;
}

int fdpass_process(struct fdpass *c) {
        int r;

        if (!c)
                return -EINVAL;
        c->error[0] = '\0';
        forget(&c->event);
        if (show_next(c))
                return 1;
        if (c->state == DEAD)
                return -ENOTCONN;
        if (c->state == AWAY) {
                r = look_for_broker(c);
                if (r < 0)
                        return r;
                if (show_next(c))
                        return 1;
        }
        return read_packets(c);
}

const char *fdpass_event(const struct fdpass *c) {
        return fdpass_event_value(c, "EVENT");
}

const char *fdpass_event_value(const struct fdpass *c, const char *key) {
        const struct text *value;

        if (!c || !key || !c->event.valid)
                return NULL;
        value = assignments_get(&c->event.assignments, key);
        return value ? value->start : NULL;
}

int fdpass_get_events(const struct fdpass *c) {
        return c ? POLLIN : -EINVAL;
}

int fdpass_get_timeout(const struct fdpass *c) {
        if (!c)
                return -EINVAL;
        if (c->queue.count > 0 || c->queue.overflow)
                return 0;
        return c->state == AWAY ? deadline_poll(c->retry_at) : -1;
}

static bool is_watched(const struct fdpass *c, const char *name) {
        for (size_t i = 0; i < c->n_watches; i++)
                if (strcmp(c->watches[i], name) == 0)
                        return true;
        return false;
}

static int remember_watch(struct fdpass *c, const char *name) {
        if (is_watched(c, name))
                return 0;
        if (c->n_watches == WATCHES_MAX)
                return -ENOSPC;
        c->watches[c->n_watches] = strdup(name);
        if (!c->watches[c->n_watches])
                return -ENOMEM;
        c->n_watches++;
        return 0;
}

/*
 * Remembered before it is asked for: if the connection is lost in between, asking twice does no
 * harm, while a watch that was granted and is not remembered would be lost with the next broker.
 */
int fdpass_watch(struct fdpass *c, const char *name) {
        struct packet_writer request;
        size_t n;
        int r;

        if (!c || (name && !name_is_valid(name, strlen(name))))
                return -EINVAL;
        connection_begin(c);
        if (c->state == DEAD)
                return -ENOTCONN;
        n = c->n_watches;
        r = remember_watch(c, name ? name : "");
        if (r < 0)
                return r;
        packet_begin(&request);
        packet_add(&request, "VERB", "WATCH");
        if (name)
                packet_add(&request, "NAME", name);
        r = connection_call(c, &request, NULL, 0);
        if (r == 0)
                message_clear(&c->answer.message);
        else if (c->n_watches > n)
                free(c->watches[--c->n_watches]);
        return r;
}
