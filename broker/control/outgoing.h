/*
 * What is to be sent to one session. A packet goes out at once if it can; else it waits here, in
 * order, and the session is not read until all of it is gone.
 */
#ifndef CONTROL_OUTGOING_H
#define CONTROL_OUTGOING_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

struct session;
struct lending;
struct packet;

struct outgoing {
        STAILQ_HEAD(, packet) packets;
        unsigned count;
        bool overflow; /* events were dropped: to be told when the queue is empty */
        bool blocked;  /* by the budget of descriptors in flight, not by a full socket */
};

void outgoing_init(struct outgoing *o);
void outgoing_clear(struct outgoing *o);

static inline bool outgoing_is_empty(const struct outgoing *o) {
        return STAILQ_EMPTY(&o->packets);
}

/*
 * Send an answer, or queue it. `fd` (-1: none) is taken in any case. 0, or a negative errno after
 * which the session is ENDING; except -EPERM (the peer takes no descriptors) and -ETOOMANYREFS (too
 * many are in flight), which say that nothing was sent.
 */
int outgoing_send(struct session *session, const char *data, size_t size, int fd);

/* Send an event, or queue it, or remember that one was dropped. */
void outgoing_send_event(struct session *session, const char *data, size_t size);

/*
 * Try to send one packet with borrowed descriptors, past the queue. 0, -EAGAIN (later), or another
 * error of message_send().
 */
int outgoing_try(struct session *session, const char *data, size_t size, const int *fds,
                 size_t n_fds);

/* Queue the rest of a lending, which is composed anew when it can be sent. Takes it. 0 or -ENOMEM.
 */
int outgoing_put_lending(struct session *session, struct lending *lending);

/*
 * Read requests again if nothing stands against it: a packet that waits, or a STATUS that is still
 * being written.
 */
void outgoing_resume(struct session *session);

/* The peer reads again, or may: send what waits. */
void outgoing_flush(struct session *session);

#endif
