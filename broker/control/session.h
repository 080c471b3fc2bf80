/*
 * One connection to the control socket. It is read one packet at a time, and only while nothing
 * waits to be sent to it: a client that does not read stops itself and nobody else.
 */
#ifndef CONTROL_SESSION_H
#define CONTROL_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

#include "control/outgoing.h"
#include "control/peer.h"
#include "control/watch.h"
#include "core/loop.h"

struct control;
struct holder;
struct store_answer;
struct status_job;
struct job_wait;
struct log_follow;
struct user;

enum session_state {
        SESSION_OPEN,
        SESSION_ENDING, /* nothing more is said or heard; session_end() follows */
        /*
         * Shut down, but the peer has not read (nor dropped) descriptors that we sent. The kernel
         * still counts them against our uid, so the session is kept as the record of that.
         */
        SESSION_UNREAD,
        /* Shut down, and it may hold descriptors that the peer sent: to be closed by disposal.h. */
        SESSION_UNCLEAN,
};

struct session {
        int fd;
        enum session_state state;
        struct control *control;
        struct io_watch watch;
        int watched_events;
        bool refuses_descriptors; /* by SO_PASSRIGHTS=0, since before the peer could send any */
        struct peer peer;
        struct user *user;
        bool over_limit; /* of its user: the first request is answered with that, then the end */
        struct holder *holder;  /* a reference; NULL until a verb needs it */
        unsigned fds_in_flight; /* sent since it was last known to have read everything */
        bool document_outstanding;
        bool is_paused;                /* not read until the start is over: see offer.h */
        bool takes_descriptors;        /* may bring some, and so may hold unread ones */
        unsigned n_taking;             /* entries that it was sent and has not acknowledged */
        struct store_answer *awaited;  /* its STORE is not kept yet; nothing is read meanwhile */
        struct status_job *status;     /* a STATUS that is still being written */
        struct job_wait *job_wait;     /* a job whose verdict it waits for; nothing is read */
        struct log_follow *log_follow; /* whose output it follows */
        struct outgoing outgoing;
        struct watch_list watched_listeners;
        LIST_ENTRY(session) in_control;
        TAILQ_ENTRY(session) in_waiting; /* for the peer to read, or for its end */
        bool is_waiting;
};

LIST_HEAD(session_list, session);
TAILQ_HEAD(session_waiting, session);

/*
 * Begin a session on a connected socket. Takes fd, also when it fails: -ENOMEM, or the error of
 * SO_PEERCRED. *ret may have ended already: the caller must not use it but in a test.
 */
int session_new(struct control *control, int fd, struct session **ret);

/*
 * End it and free it, now or (UNREAD, UNCLEAN) when that is possible without harm. The caller must
 * not touch it afterwards.
 */
void session_end(struct session *session);

/* Free it at once, whatever its state; for the end of the broker. */
void session_free(struct session *session);

/*
 * What the retry timer does for a session in control->waiting: send on, or see whether an ended one
 * can be freed. True when it is not waiting (or does not exist) any more.
 */
bool session_retry(struct session *session);

/* From now on it may send descriptors, where the kernel had kept them away. */
void session_take_descriptors(struct session *session);

/* Read nothing from it; go on. */
void session_pause(struct session *session);
void session_resume(struct session *session);

/* The process of the peer. 0, or an error of peer_open_process() and holder_get(). */
int session_holder(struct session *session, struct holder **ret);

/* As if this packet had come over the socket; for the fuzzer. The session may be gone after it. */
void session_feed(struct session *session, const char *data, size_t size);

#endif
