/*
 * Sending to the keeper or to systemd. One queue in front of the socket keeps the order. A push
 * that waits has the number of its descriptor and no duplicate: ten thousand of those would be more
 * than we may have, and waiting for the other side instead would be waiting. So a push that waits
 * is forgotten when its id is removed, which is before its descriptor is closed; and what waits is
 * at most one push and one removal for each descriptor that is kept, however long nobody reads.
 */
#include "keeper/fd_store.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "core/hash.h"

#include "cleanup.h"
#include "core/log.h"
#include "keeper/link.h"
#include "keeper/notify_store.h"

/* A barrier that is older is told of: what is new meanwhile is not safe. */
#define OVERDUE_USEC (1000 * 1000)
/* Nothing tells when descriptors in flight are fewer again. */
#define IN_FLIGHT_USEC (10 * 1000)

enum send_kind { SEND_PUSH, SEND_REMOVE, SEND_BARRIER, SEND_WORD, SEND_WORD_FD };

/* What could not be sent at once. */
struct unsent {
        enum send_kind kind;
        char id[STATE_ID_SIZE];
        int fd;           /* SEND_PUSH: the caller's; SEND_WORD_FD: owned */
        bool is_first;    /* SEND_PUSH: the other side has nothing under this id */
        const char *word; /* SEND_WORD, SEND_WORD_FD */
        struct barrier *barrier;
        TAILQ_ENTRY(unsent) entry;
        UT_hash_handle hh; /* SEND_PUSH: by id */
};

struct barrier {
        struct fd_store *store;
        uint64_t serial;
        uint64_t asked_usec;
        int pipe_fd;  /* systemd: our end, hung up when the other one was closed */
        int probe_fd; /* systemd: is it full? */
        struct io_watch watch;
        void (*done)(void *owner);
        void *owner;
        TAILQ_ENTRY(barrier) entry;
};

struct fd_store {
        enum fd_store_kind kind;
        int fd; /* the link, or a datagram socket connected to NOTIFY_SOCKET */
        struct loop *loop;
        struct log *log;
        struct io_watch watch;
        TAILQ_HEAD(, unsent) unsent;
        struct unsent *pushes; /* of those, by id */
        struct timer in_flight;
        TAILQ_HEAD(, barrier) barriers;
        unsigned n_barriers;
        uint64_t serial;
        struct timer overdue; /* is started while there are barriers, until one is */
        bool is_overdue;
        bool is_full; /* as of the last barrier */
        void (*lost)(void *owner);
        void *owner;
        struct message message;
        struct packet_writer writer;
};

static void on_event(void *owner, int events);

static void watch(struct fd_store *s) {
        int events = 0;

        /* The socket says that it can be written to while the kernel takes no descriptors. */
        if (!TAILQ_EMPTY(&s->unsent) && !timer_is_started(&s->in_flight))
                events |= IO_WRITE;
        /* systemd never sends us anything. */
        if (s->kind == FD_STORE_KEEPER)
                events |= IO_READ;
        if (events == 0 || s->fd < 0)
                io_watch_stop(&s->watch);
        else
                io_watch_start(&s->watch, s->loop, s->fd, events, on_event, s);
}

/* ---- one packet --------------------------------------------------------------------------------
 */

static int send_push(struct fd_store *s, const char *id, int fd) {
        packet_begin(&s->writer);
        packet_add(&s->writer, "FDSTORE", "1");
        packet_add(&s->writer, "FDNAME", id);
        /* Else systemd drops a socket that hangs up, and a shut-down listener is one to be mended.
         */
        if (s->kind == FD_STORE_SYSTEMD)
                packet_add(&s->writer, "FDPOLL", "0");
        return message_send(s->fd, s->writer.data, s->writer.size, &fd, 1);
}

static int send_remove(struct fd_store *s, const char *id) {
        packet_begin(&s->writer);
        packet_add(&s->writer, "FDSTOREREMOVE", "1");
        packet_add(&s->writer, "FDNAME", id);
        return message_send(s->fd, s->writer.data, s->writer.size, NULL, 0);
}

/* ---- a side that does not answer
 * ---------------------------------------------------------------- */

static void on_overdue(void *owner);

static const char *other_side(const struct fd_store *s) {
        return s->kind == FD_STORE_SYSTEMD ? "systemd" : "the keeper";
}

/* The oldest barrier is the one to be late, if any is. */
static void watch_barriers(struct fd_store *s) {
        const struct barrier *b = TAILQ_FIRST(&s->barriers);

        if (!b || s->is_overdue) {
                timer_stop(&s->overdue);
                return;
        }
        deadline_start_at(&s->overdue, s->loop, b->asked_usec + OVERDUE_USEC, on_overdue, s);
}

static void on_overdue(void *owner) {
        struct fd_store *s = owner;

        s->is_overdue = true;
        log_warning(s->log, NULL,
                    "%s has not acknowledged for %d s what it was sent to keep: what is new since "
                    "then would be lost in a crash; is it stopped, or starved?",
                    other_side(s), OVERDUE_USEC / 1000000);
}

static void end_overdue(struct fd_store *s, const struct barrier *answered) {
        if (!s->is_overdue)
                return;
        s->is_overdue = false;
        log_notice(s->log, NULL, "%s acknowledges again what it is sent, after %.1f s",
                   other_side(s), (double) (loop_now_usec() - answered->asked_usec) / 1e6);
}

static void barrier_free(struct barrier *b) {
        struct fd_store *s = b->store;

        io_watch_stop(&b->watch);
        close_fd(b->pipe_fd);
        close_fd(b->probe_fd);
        TAILQ_REMOVE(&s->barriers, b, entry);
        s->n_barriers--;
        free(b);
}

static void take_probe(struct fd_store *s, int probe_fd) {
        bool full = notify_store_is_full(probe_fd);

        (void) fd_store_remove(s, NOTIFY_STORE_PROBE);
        if (full && !s->is_full)
                log_error(s->log, NULL,
                          "systemd's fd store is full: what is new is not kept, and would be lost "
                          "in a crash; raise FileDescriptorStoreMax= of the unit");
        if (!full && s->is_full)
                log_notice(s->log, NULL, "systemd's fd store has room again");
        s->is_full = full;
}

static void barrier_done(struct barrier *b) {
        struct fd_store *s = b->store;
        void (*done)(void *) = b->done;
        void *owner = b->owner;

        end_overdue(s, b);
        if (b->probe_fd >= 0)
                take_probe(s, b->probe_fd);
        barrier_free(b);
        watch_barriers(s);
        if (done)
                done(owner);
}

static void on_barrier_pipe(void *owner, int events) {
        barrier_done(owner);
}

/* systemd closes the descriptor that came with BARRIER=1 when it has done all before it. */
static int send_systemd_barrier(struct fd_store *s, struct barrier *b) {
        _cleanup_close_ int theirs = -1;
        int ends[2], r;

        b->probe_fd = close_fd(b->probe_fd);
        r = notify_store_send_probe(s->fd);
        if (r < 0)
                return r;
        b->probe_fd = r;
        if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
                return -errno;
        theirs = ends[1];
        r = message_send(s->fd, "BARRIER=1", strlen("BARRIER=1"), &theirs, 1);
        if (r < 0) {
                close_fd(ends[0]);
                return r;
        }
        b->pipe_fd = ends[0];
        io_watch_start(&b->watch, s->loop, b->pipe_fd, IO_READ, on_barrier_pipe, b);
        return 0;
}

static int send_barrier(struct fd_store *s, struct barrier *b) {
        if (s->kind == FD_STORE_SYSTEMD)
                return send_systemd_barrier(s, b);
        b->serial = ++s->serial;
        packet_begin(&s->writer);
        packet_add_u64(&s->writer, "BARRIER", b->serial);
        return message_send(s->fd, s->writer.data, s->writer.size, NULL, 0);
}

static int send_one(struct fd_store *s, const struct unsent *u) {
        switch (u->kind) {
        case SEND_PUSH:
                return send_push(s, u->id, u->fd);
        case SEND_REMOVE:
                return send_remove(s, u->id);
        case SEND_WORD:
                return message_send(s->fd, u->word, strlen(u->word), NULL, 0);
        case SEND_WORD_FD:
                return message_send(s->fd, u->word, strlen(u->word), &u->fd, 1);
        case SEND_BARRIER:
        default:
                return send_barrier(s, u->barrier);
        }
}

/* ---- the queue ---------------------------------------------------------------------------------
 */

static void discard(struct fd_store *s, struct unsent *u) {
        TAILQ_REMOVE(&s->unsent, u, entry);
        if (u->kind == SEND_PUSH)
                HASH_DEL(s->pushes, u);
        else
                close_fd(u->fd);
        free(u);
}

static struct unsent *find_push(const struct fd_store *s, const char *id) {
        struct unsent *u;

        HASH_FIND_STR(s->pushes, id, u);
        return u;
}

/* What the other side has not heard of need not be taken back. True: it has heard of this id. */
static bool forget_push(struct fd_store *s, const char *id) {
        struct unsent *u = find_push(s, id);
        bool was_first = u && u->is_first;

        if (u)
                discard(s, u);
        return !was_first;
}

static int own_fd(struct unsent *u) {
        if (u->kind != SEND_WORD_FD)
                return 0;
        u->fd = fcntl(u->fd, F_DUPFD_CLOEXEC, 3);
        return u->fd < 0 ? -errno : 0;
}

static int queue(struct fd_store *s, const struct unsent *u) {
        struct unsent *copy = malloc(sizeof(*copy));
        int r;

        if (!copy)
                return -ENOMEM;
        *copy = *u;
        r = own_fd(copy);
        if (r < 0) {
                free(copy);
                return r;
        }
        if (copy->kind == SEND_PUSH) {
                HASH_ADD_STR(s->pushes, id, copy);
                if (!copy->hh.tbl) {
                        free(copy);
                        return -ENOMEM;
                }
        }
        TAILQ_INSERT_TAIL(&s->unsent, copy, entry);
        watch(s);
        return 0;
}

static void on_fewer_in_flight(void *owner) {
        watch(owner);
}

/* Full, or the kernel's bound on descriptors in flight: both pass as the other side reads. */
static bool is_full(struct fd_store *s, int r) {
        if (r == -ENOBUFS || r == -ETOOMANYREFS)
                timer_start(&s->in_flight, s->loop, IN_FLIGHT_USEC, on_fewer_in_flight, s);
        return r == -EAGAIN || r == -ENOBUFS || r == -ETOOMANYREFS;
}

/* The keeper is gone, which the loop is about to tell. */
static bool is_lost(const struct fd_store *s, int r) {
        return s->kind == FD_STORE_KEEPER && (r == -EPIPE || r == -ECONNRESET);
}

static int submit(struct fd_store *s, const struct unsent *u) {
        int r;

        if (s->kind == FD_STORE_NONE)
                return 0;
        /* Without the other side there is nothing to do: to the next one everything is pushed anew.
         */
        if (s->fd < 0)
                return 0;
        if (!TAILQ_EMPTY(&s->unsent))
                return queue(s, u);
        r = send_one(s, u);
        if (is_lost(s, r))
                return 0;
        return is_full(s, r) ? queue(s, u) : r;
}

static void flush(struct fd_store *s) {
        struct unsent *u;

        while ((u = TAILQ_FIRST(&s->unsent))) {
                int r = send_one(s, u);
                if (is_full(s, r) || is_lost(s, r))
                        break;
                if (r < 0)
                        log_error(s->log, NULL, "descriptor %s cannot be stored: %s", u->id,
                                  strerror(-r));
                discard(s, u);
        }
        watch(s);
}

/* ---- the keeper's side -------------------------------------------------------------------------
 */

/* Barriers that wait are asked again of the next keeper, behind all that is pushed to it. */
static void disconnect(struct fd_store *s) {
        struct unsent *u, *next;
        struct barrier *b;

        io_watch_stop(&s->watch);
        timer_stop(&s->in_flight);
        s->fd = close_fd(s->fd);
        for (u = TAILQ_FIRST(&s->unsent); u; u = next) {
                next = TAILQ_NEXT(u, entry);
                discard(s, u);
        }
        TAILQ_FOREACH (b, &s->barriers, entry)
                b->serial = 0;
}

static void handle_answer(struct fd_store *s) {
        const struct text *serial;
        struct assignments a;
        struct barrier *b;
        uint64_t n;

        if (grammar_parse(s->message.data, s->message.size, &a) < 0)
                return;
        serial = assignments_get(&a, "BARRIER");
        if (!serial || text_to_u64(*serial, &n) < 0)
                return;
        TAILQ_FOREACH (b, &s->barriers, entry)
                if (b->serial == n) {
                        barrier_done(b);
                        return;
                }
}

static void on_event(void *owner, int events) {
        struct fd_store *s = owner;
        int r = -EAGAIN;

        if (events & IO_WRITE)
                flush(s);
        if (!(events & IO_READ))
                return;
        r = message_receive(s->fd, &s->message);
        if (r > 0)
                handle_answer(s);
        message_clear(&s->message);
        if (r > 0 || r == -EAGAIN)
                return;
        disconnect(s);
        if (s->lost)
                s->lost(s->owner);
}

/* ---- life --------------------------------------------------------------------------------------
 */

int fd_store_new(struct fd_store **ret, enum fd_store_kind kind, int link_fd, struct loop *loop,
                 struct log *log, void (*lost)(void *owner), void *owner) {
        struct fd_store *s = calloc(1, sizeof(*s));

        if (!s) {
                close_fd(link_fd);
                return -ENOMEM;
        }
        *s = (struct fd_store){
                .kind = kind, .loop = loop, .log = log, .lost = lost, .owner = owner};
        TAILQ_INIT(&s->unsent);
        TAILQ_INIT(&s->barriers);
        s->fd = kind == FD_STORE_SYSTEMD ? notify_store_connect() : link_fd;
        if (s->fd < 0 && kind != FD_STORE_NONE) {
                int r = kind == FD_STORE_SYSTEMD ? s->fd : -EBADF;
                free(s);
                return r;
        }
        watch(s);
        *ret = s;
        return 0;
}

struct fd_store *fd_store_free(struct fd_store *s) {
        struct barrier *b;
        struct unsent *u;

        if (!s)
                return NULL;
        io_watch_stop(&s->watch);
        timer_stop(&s->in_flight);
        timer_stop(&s->overdue);
        while ((u = TAILQ_FIRST(&s->unsent)))
                discard(s, u);
        while ((b = TAILQ_FIRST(&s->barriers)))
                barrier_free(b);
        close_fd(s->fd);
        free(s);
        return NULL;
}

enum fd_store_kind fd_store_kind(const struct fd_store *s) {
        return s->kind;
}

static void set_id(struct unsent *u, const char *id) {
        (void) snprintf(u->id, sizeof(u->id), "%s", id);
}

int fd_store_push(struct fd_store *s, const char *id, int fd, bool is_first) {
        struct unsent u = {.kind = SEND_PUSH, .fd = fd};

        set_id(&u, id);
        /* In place of one that waits: it may be closed already when its turn comes. */
        u.is_first = !forget_push(s, id) || is_first;
        return submit(s, &u);
}

int fd_store_remove(struct fd_store *s, const char *id) {
        struct unsent u = {.kind = SEND_REMOVE, .fd = -1};

        set_id(&u, id);
        if (!forget_push(s, id))
                return 0;
        return submit(s, &u);
}

int fd_store_barrier(struct fd_store *s, void (*done)(void *owner), void *owner) {
        struct barrier *b;
        int r;

        if (s->kind == FD_STORE_NONE) {
                done(owner);
                return 0;
        }
        if (s->n_barriers >= FD_STORE_BARRIERS_MAX)
                return -EBUSY;
        b = calloc(1, sizeof(*b));
        if (!b)
                return -ENOMEM;
        *b = (struct barrier){.store = s,
                              .asked_usec = loop_now_usec(),
                              .pipe_fd = -1,
                              .probe_fd = -1,
                              .done = done,
                              .owner = owner};
        TAILQ_INSERT_TAIL(&s->barriers, b, entry);
        s->n_barriers++;
        r = submit(s, &(struct unsent){.kind = SEND_BARRIER, .fd = -1, .barrier = b});
        if (r < 0)
                barrier_free(b);
        else
                watch_barriers(s);
        return r;
}

void fd_store_cancel_barriers(struct fd_store *s, const void *owner) {
        struct barrier *b;

        TAILQ_FOREACH (b, &s->barriers, entry)
                if (b->owner == owner)
                        b->done = NULL;
}

int fd_store_say(struct fd_store *s, enum fd_store_word word) {
        static const char *const words[] = {
                [FD_STORE_READY] = "READY=1",       [FD_STORE_ENDING] = "ENDING=1",
                [FD_STORE_STOPPING] = "STOPPING=1", [FD_STORE_EXECUTING] = "EXECUTING=1",
                [FD_STORE_EXEC] = "EXEC=1",         [FD_STORE_SOLE] = "SOLE=1",
        };

        if (s->kind != FD_STORE_KEEPER)
                return 0;
        return submit(s, &(struct unsent){.kind = SEND_WORD, .fd = -1, .word = words[word]});
}

static int say_with_fd(struct fd_store *s, const char *word, int fd) {
        if (s->kind != FD_STORE_KEEPER)
                return 0;
        return submit(s, &(struct unsent){.kind = SEND_WORD_FD, .fd = fd, .word = word});
}

int fd_store_say_executable(struct fd_store *s, int fd) {
        return say_with_fd(s, "EXECUTABLE=1", fd);
}

int fd_store_say_broker(struct fd_store *s, int fd) {
        return say_with_fd(s, "BROKER=1", fd);
}

int fd_store_say_charge(struct fd_store *s, int fd) {
        return say_with_fd(s, "CHARGE=1", fd);
}

bool fd_store_is_lost(const struct fd_store *s) {
        struct pollfd p = {.fd = s->fd};

        return s->fd < 0 || (poll(&p, 1, 0) == 1 && p.revents & (POLLHUP | POLLERR));
}

int fd_store_peek_link(const struct fd_store *s) {
        return s->kind == FD_STORE_KEEPER ? s->fd : -1;
}

bool fd_store_is_sent(const struct fd_store *s) {
        return TAILQ_EMPTY(&s->unsent);
}

bool fd_store_is_full(const struct fd_store *s) {
        return s->is_full;
}

bool fd_store_is_settled(const struct fd_store *s) {
        return TAILQ_EMPTY(&s->unsent) && TAILQ_EMPTY(&s->barriers);
}

void fd_store_reconnect(struct fd_store *s, int link_fd) {
        disconnect(s);
        s->fd = link_fd;
        watch(s);
}

void fd_store_refilled(struct fd_store *s) {
        struct barrier *b;

        TAILQ_FOREACH (b, &s->barriers, entry)
                if (b->serial == 0)
                        (void) submit(
                                s, &(struct unsent){.kind = SEND_BARRIER, .fd = -1, .barrier = b});
}
