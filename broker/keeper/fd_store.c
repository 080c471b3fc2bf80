/*
 * Sending to the keeper or to systemd. One queue in front of the socket keeps the order; each entry
 * has a duplicate of its descriptor, so that the caller may close its own meanwhile.
 */
#include "keeper/fd_store.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cleanup.h"
#include "core/log.h"
#include "keeper/link.h"

/* Descriptors that may wait to be sent before we wait for the other side, and for how long. */
#define UNSENT_FDS_MAX 512
#define ROOM_MSEC 1000

enum send_kind { SEND_PUSH, SEND_REMOVE, SEND_BARRIER, SEND_WORD, SEND_EXECUTABLE };

/* What could not be sent at once. */
struct unsent {
        enum send_kind kind;
        char id[STATE_ID_SIZE];
        int fd;           /* SEND_PUSH, SEND_EXECUTABLE: owned */
        const char *word; /* SEND_WORD */
        struct barrier *barrier;
        TAILQ_ENTRY(unsent) entry;
};

struct barrier {
        struct fd_store *store;
        uint64_t serial;
        int pipe_fd; /* systemd: our end, hung up when the other one was closed */
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
        size_t n_unsent_fds;
        bool stalled; /* the other side did not read when we waited for it */
        TAILQ_HEAD(, barrier) barriers;
        unsigned n_barriers;
        uint64_t serial;
        void (*lost)(void *owner);
        void *owner;
        struct message message;
        struct packet_writer writer;
};

static void on_event(void *owner, int events);

static void watch(struct fd_store *s) {
        int events = TAILQ_EMPTY(&s->unsent) ? 0 : IO_WRITE;

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

static void barrier_done(struct barrier *b) {
        struct fd_store *s = b->store;
        void (*done)(void *) = b->done;
        void *owner = b->owner;

        io_watch_stop(&b->watch);
        close_fd(b->pipe_fd);
        TAILQ_REMOVE(&s->barriers, b, entry);
        s->n_barriers--;
        free(b);
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
        case SEND_EXECUTABLE:
                return message_send(s->fd, "EXECUTABLE=1", strlen("EXECUTABLE=1"), &u->fd, 1);
        case SEND_BARRIER:
        default:
                return send_barrier(s, u->barrier);
        }
}

/* ---- the queue ---------------------------------------------------------------------------------
 */

static void discard(struct fd_store *s, struct unsent *u) {
        TAILQ_REMOVE(&s->unsent, u, entry);
        s->n_unsent_fds -= u->fd >= 0;
        close_fd(u->fd);
        free(u);
}

static void flush(struct fd_store *s);

/*
 * Each that waits has a descriptor of its own, and ten thousand at once would be more than we may
 * have: a push that fails for want of one is a socket lost in the next crash. So here, and only
 * here, we wait for the other side, which reads in no time; and not again before it has read.
 */
static void make_room(struct fd_store *s) {
        struct pollfd p = {.fd = s->fd, .events = POLLOUT};

        if (s->n_unsent_fds < UNSENT_FDS_MAX || s->stalled)
                return;
        s->stalled = poll(&p, 1, ROOM_MSEC) != 1;
        if (!s->stalled)
                flush(s);
}

static int queue(struct fd_store *s, const struct unsent *u) {
        struct unsent *copy = malloc(sizeof(*copy));
        int fd = -1;

        if (!copy)
                return -ENOMEM;
        if (u->fd >= 0) {
                make_room(s);
                fd = fcntl(u->fd, F_DUPFD_CLOEXEC, 3);
                if (fd < 0) {
                        free(copy);
                        return -errno;
                }
        }
        *copy = *u;
        copy->fd = fd;
        TAILQ_INSERT_TAIL(&s->unsent, copy, entry);
        s->n_unsent_fds += fd >= 0;
        watch(s);
        return 0;
}

/* Full, or the kernel's bound on descriptors in flight: both pass as the other side reads. */
static bool is_full(int r) {
        return r == -EAGAIN || r == -ENOBUFS || r == -ETOOMANYREFS;
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
        /* The keeper is gone, which the loop is about to tell. */
        if (s->kind == FD_STORE_KEEPER && (r == -EPIPE || r == -ECONNRESET))
                return 0;
        return is_full(r) ? queue(s, u) : r;
}

static void flush(struct fd_store *s) {
        struct unsent *u;

        while ((u = TAILQ_FIRST(&s->unsent))) {
                int r = send_one(s, u);
                if (is_full(r))
                        return;
                s->stalled = false;
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
static void lose(struct fd_store *s) {
        struct unsent *u, *next;
        struct barrier *b;

        io_watch_stop(&s->watch);
        s->fd = close_fd(s->fd);
        for (u = TAILQ_FIRST(&s->unsent); u; u = next) {
                next = TAILQ_NEXT(u, entry);
                discard(s, u);
        }
        TAILQ_FOREACH (b, &s->barriers, entry)
                b->serial = 0;
        if (s->lost)
                s->lost(s->owner);
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
        if (r <= 0 && r != -EAGAIN)
                lose(s);
}

/* ---- life --------------------------------------------------------------------------------------
 */

static int connect_systemd(void) {
        const char *path = secure_getenv("NOTIFY_SOCKET");
        struct sockaddr_un to = {.sun_family = AF_UNIX};
        size_t length = path ? strlen(path) : 0;
        _cleanup_close_ int fd = -1;

        if (length < 2 || length >= sizeof(to.sun_path) || (path[0] != '/' && path[0] != '@'))
                return -EINVAL;
        memcpy(to.sun_path, path, length);
        if (path[0] == '@')
                to.sun_path[0] = '\0';
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *) &to,
                              (socklen_t) (offsetof(struct sockaddr_un, sun_path) + length)) < 0)
                return -errno;
        return take_fd(&fd);
}

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
        s->fd = kind == FD_STORE_SYSTEMD ? connect_systemd() : link_fd;
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
        while ((u = TAILQ_FIRST(&s->unsent)))
                discard(s, u);
        while ((b = TAILQ_FIRST(&s->barriers))) {
                b->done = NULL;
                barrier_done(b);
        }
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

int fd_store_push(struct fd_store *s, const char *id, int fd) {
        struct unsent u = {.kind = SEND_PUSH, .fd = fd};

        set_id(&u, id);
        return submit(s, &u);
}

int fd_store_remove(struct fd_store *s, const char *id) {
        struct unsent u = {.kind = SEND_REMOVE, .fd = -1};

        set_id(&u, id);
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
        *b = (struct barrier){.store = s, .pipe_fd = -1, .done = done, .owner = owner};
        TAILQ_INSERT_TAIL(&s->barriers, b, entry);
        s->n_barriers++;
        r = submit(s, &(struct unsent){.kind = SEND_BARRIER, .fd = -1, .barrier = b});
        if (r < 0) {
                b->done = NULL;
                barrier_done(b);
        }
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
                [FD_STORE_READY] = "READY=1",
                [FD_STORE_STOPPING] = "STOPPING=1",
                [FD_STORE_EXECUTING] = "EXECUTING=1",
                [FD_STORE_EXEC] = "EXEC=1",
        };

        if (s->kind != FD_STORE_KEEPER)
                return 0;
        return submit(s, &(struct unsent){.kind = SEND_WORD, .fd = -1, .word = words[word]});
}

int fd_store_say_executable(struct fd_store *s, int fd) {
        if (s->kind != FD_STORE_KEEPER)
                return 0;
        return submit(s, &(struct unsent){.kind = SEND_EXECUTABLE, .fd = fd});
}

int fd_store_peek_link(const struct fd_store *s) {
        return s->kind == FD_STORE_KEEPER ? s->fd : -1;
}

bool fd_store_is_sent(const struct fd_store *s) {
        return TAILQ_EMPTY(&s->unsent);
}

bool fd_store_is_settled(const struct fd_store *s) {
        return TAILQ_EMPTY(&s->unsent) && TAILQ_EMPTY(&s->barriers);
}

void fd_store_reconnect(struct fd_store *s, int link_fd) {
        s->fd = close_fd(s->fd);
        s->fd = link_fd;
        s->stalled = false;
        watch(s);
}

void fd_store_refilled(struct fd_store *s) {
        struct barrier *b;

        TAILQ_FOREACH (b, &s->barriers, entry)
                if (b->serial == 0)
                        (void) submit(
                                s, &(struct unsent){.kind = SEND_BARRIER, .fd = -1, .barrier = b});
}
