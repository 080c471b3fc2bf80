/*
 * The connection object, between connection.c (its life), call.c (request and answer), events.c
 * (the queue and the foreign loop) and listener.c. Not installed.
 */
#ifndef FDPASS_CONNECTION_H
#define FDPASS_CONNECTION_H

#include <stdbool.h>
#include <stdint.h>

#include "client.h"
#include "control_socket.h"
#include "deadline.h"

#define DEFAULT_TIMEOUT_MSEC 5000
/* Few enough for all requests to fit into a socket's send buffer: see watch_again(). */
#define WATCHES_MAX 64
#define EVENTS_MAX 64
/* Descriptors that are kept to be handed back: these fit there as well. */
#define HELD_MAX 64
#define ERROR_TEXT_SIZE 512

enum connection_state {
        CONNECTED, /* fd is the socket */
        AWAY,      /* the broker hung up; fd is a timer that fires when to try again */
        DEAD,      /* fd is whichever it was, made readable */
};

/* Duplicates of what was acquired, all of a listener: see held.c. */
struct held {
        char *name;
        size_t n_fds;
        int *fds;
};

/* An event as it came, not parsed yet. */
struct queued_event {
        size_t size;
        char *data; /* owned */
};

struct event_queue {
        size_t first, count; /* a ring */
        bool overflow;       /* the oldest were dropped and nobody has been told */
        struct queued_event ring[EVENTS_MAX];
};

/* What fdpass_event() shows. Values end with a NUL. */
struct event {
        bool valid;
        char *data; /* owned, what the assignments are views into; NULL when that is a constant */
        struct assignments assignments;
};

struct fdpass {
        int fd;
        int loop_fd; /* what fdpass_get_fd() gives: an epoll set with fd in it; -1 before */
        enum connection_state state;
        int timeout;  /* milliseconds, -1 for ever */
        int patience; /* the same, for a broker that hung up; -1: as long as the call */
        void (*away)(void *owner); /* told when it does not come back soon; NULL */
        void *away_owner;
        int receive_timeout;  /* what SO_RCVTIMEO of fd was set to; 0 when it was not */
        bool stores;          /* this very socket takes descriptors: see store.c */
        bool storing;         /* the call is a STORE: not to a broker that came meanwhile */
        bool waited;          /* the current call has waited before: see receive() in call.c */
        int64_t deadline;     /* of the current call, deadline.h */
        unsigned retry_delay; /* milliseconds before the next attempt to connect again */
        int64_t retry_at;     /* AWAY: when that is, deadline.h */
        uint64_t serial;
        void (*hear)(void *owner, const struct assignments *event); /* NULL: events are queued */
        void *hear_owner;
        size_t n_watches;
        char *watches[WATCHES_MAX]; /* owned; "" is everything */
        size_t n_held;
        struct held *held; /* owned */
        bool asks;         /* HELLO was said after a reconnection: first see held_offer() */
        struct event_queue queue;
        char path[CONTROL_SOCKET_PATH_SIZE];
        char error[ERROR_TEXT_SIZE];
        struct event event;
        /* Never initialised: 18 KiB of which a call touches a few lines. */
        struct answer answer;
};

/* ---- connection.c ---------------------------------------------------------------------------- */

/* fdpass_open() until a deadline that is shared with what follows. */
int connection_open(struct fdpass **ret, const char *path, int64_t deadline);

/* What each public call starts with: no error text, a new deadline. */
void connection_begin(struct fdpass *c);

/* The conversation is broken: make the descriptor readable, so that a poller wakes. Returns error.
 */
int connection_die(struct fdpass *c, int error);

/* Connect again and repeat the request for events, until the current call's deadline: 0 or dead. */
int connection_come_back(struct fdpass *c);

/* fd is replaced, also in the caller's loop. Owns the new one, also when it fails. */
int connection_put_fd(struct fdpass *c, int fd);

/* One attempt, without waiting. 0, or an error with the connection as it was. */
int connection_try_to_come_back(struct fdpass *c);

/* The broker hung up: wait for retry_delay, with a timer in place of the socket. 0 or dead. */
int connection_go_away(struct fdpass *c);

/* The broker has answered HELLO: hand back what it lacks, then watch again and go on. */
void connection_go_on(struct fdpass *c);

/* ---- held.c ---------------------------------------------------------------------------------- */

/* Keep duplicates of all descriptors of a listener, if the connection watches any. */
void held_keep(struct fdpass *c, const char *name, const int *fds, size_t n);
void held_drop(struct fdpass *c, struct text name);
void held_free(struct fdpass *c);

/* Say HELLO over a new socket if there is something to offer: 1 when it was said, else 0. */
int held_ask(const struct fdpass *c, int fd);
/* The answer to that is in c->answer: offer, if the broker wants it. */
void held_offer(struct fdpass *c);

/* ---- call.c ---------------------------------------------------------------------------------- */

/*
 * Add SERIAL= to the request, send it and wait for the answer, or its first part, to be in
 * c->answer, which is valid until the next call. Results as fdpass_call().
 */
int connection_call(struct fdpass *c, struct packet_writer *request, const int *fds, size_t n_fds);

/* Wait for the next part of the same answer. Besides: -ECONNRESET, the request is to be repeated.
 */
int connection_call_next(struct fdpass *c);

enum packet_kind {
        PACKET_NONSENSE,
        PACKET_EVENT,
        PACKET_ANSWER,
        PACKET_HELLO,   /* the answer to held_ask() */
        PACKET_OFFERED, /* to held_offer(): nothing to do */
        PACKET_REWATCH, /* the answer to a request that connection.c sent when it came back */
};

/* Parses c->answer. */
enum packet_kind connection_packet_kind(struct fdpass *c);

/* ---- events.c -------------------------------------------------------------------------------- */

/*
 * A packet of this kind is in c->answer, and is neither nonsense nor the answer to a call. The
 * caller clears it.
 */
void events_take(struct fdpass *c, enum packet_kind kind);

/* Queue a copy of an event packet; when there is no room or no memory the oldest is dropped. */
void events_put(struct fdpass *c, const char *data, size_t size);

/* c->answer says what became of a watch that was asked for again: a refusal becomes an event. */
void events_put_rewatch(struct fdpass *c);

void events_free(struct fdpass *c);

#endif
