/*
 * One probe, from connect(2) to its result: a table of steps, each with what it waits for. See
 * health.h for what a probe proves and why the request is held back.
 */
#include "components/health.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "cleanup.h"
#include "components/health_command.h"
#include "components/http_answer.h"
#include "components/socket_owner.h"
#include "config/address.h"
#include "core/helper.h"
#include "sockets/socket_diag.h"

/* Between two looks at whether the connection was accepted: a server that is idle does so at once.
 */
#define LOOK_FIRST_USEC (1 * 1000)
#define LOOK_MAX_USEC (50 * 1000)
#define RETRY_USEC (20 * 1000)

enum probe_step {
        STEP_CONNECT,
        STEP_QUEUE,   /* a Unix listener whose queue is full: connect again */
        STEP_ACCEPT,  /* connected, which is the kernel's work; is it accepted? */
        STEP_OWNER,   /* accepted: by whom? */
        STEP_ANSWER,  /* HTTP */
        STEP_COMMAND, /* exec: */
        N_STEPS
};

struct health_probe {
        struct health *health;
        enum probe_step step;
        uint64_t deadline_usec; /* CLOCK_MONOTONIC */
        uint64_t pause_usec;    /* of the next look */
        int fd;
        struct io_watch watch;
        struct timer deadline, look;
        struct helper *search; /* STEP_OWNER; NULL */
        struct health_command *command;
        struct sockaddr_storage remote;
        socklen_t remote_size;
        enum health_result by_whom; /* GOOD: the tree, or nobody asks; else as why[] says */
        char why[HEALTH_TEXT_SIZE];
        size_t used; /* of the answer */
        char answer[HTTP_ANSWER_MAX];
};

static void set_step(struct health_probe *p, enum probe_step step);
static void wait_for_io(struct health_probe *p);

static bool is_http(const struct health_probe *p) {
        return p->health->target.config->kind == HEALTH_HTTP;
}

static bool is_unix(const struct health_probe *p) {
        return p->remote.ss_family == AF_UNIX;
}

/* ---- the end ---- */

static void probe_free(struct health_probe *p) {
        io_watch_stop(&p->watch);
        timer_stop(&p->deadline);
        timer_stop(&p->look);
        helper_stop(p->search);
        p->command = health_command_stop(p->command);
        close_fd(p->fd);
        free(p);
}

static void finish(struct health_probe *p, enum health_result result, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
static void finish(struct health_probe *p, enum health_result result, const char *format, ...) {
        struct health *h = p->health;
        char text[HEALTH_TEXT_SIZE];
        va_list arguments;

        va_start(arguments, format);
        (void) vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);
        h->probe = NULL;
        probe_free(p);
        h->done(h->owner, result, text);
}

static void finish_error(struct health_probe *p, const char *what, int error) {
        finish(p, HEALTH_REFUSED, "%s: %s", what, strerror(error));
}

/* ELSEWHERE or UNTOLD: what was found out about who accepted. HTTP goes on, for the server's sake.
 */
static void accepted_by(struct health_probe *p, enum health_result whom, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
static void accepted_by(struct health_probe *p, enum health_result whom, const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        (void) vsnprintf(p->why, sizeof(p->why), format, arguments);
        va_end(arguments);
        p->by_whom = whom;
        if (is_http(p))
                set_step(p, STEP_ANSWER);
        else
                finish(p, whom, "%s", p->why);
}

static void on_deadline(void *owner) {
        static const char *const waited_for[N_STEPS] = {
                [STEP_CONNECT] = "no connection",
                [STEP_QUEUE] = "no connection, the queue is full,",
                [STEP_ACCEPT] = "connected, but not accepted",
                [STEP_ANSWER] = "no answer",
                [STEP_COMMAND] = "the command did not end",
        };
        struct health_probe *p = owner;
        uint64_t msec = p->health->target.config->timeout_usec / 1000;

        if (p->by_whom != HEALTH_GOOD)
                finish(p, p->by_whom, "%s", p->why);
        else if (msec % 1000 == 0)
                finish(p, HEALTH_TIMEOUT, "%s within %llu s", waited_for[p->step],
                       (unsigned long long) msec / 1000);
        else
                finish(p, HEALTH_TIMEOUT, "%s within %llu ms", waited_for[p->step],
                       (unsigned long long) msec);
}

/* ---- connect ---- */

/* Where a wildcard listens. */
static void set_loopback(struct sockaddr_storage *address) {
        if (address->ss_family == AF_INET) {
                struct sockaddr_in *in = (struct sockaddr_in *) address;

                if (in->sin_addr.s_addr == htonl(INADDR_ANY))
                        in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        } else if (address->ss_family == AF_INET6) {
                struct sockaddr_in6 *in6 = (struct sockaddr_in6 *) address;

                if (IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr))
                        in6->sin6_addr = in6addr_loopback;
        }
}

static int open_and_connect(struct health_probe *p, int type) {
        int on = 1;

        p->fd = close_fd(p->fd);
        p->fd = socket(p->remote.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (p->fd < 0)
                return -errno;
        /* The end of a request must not wait for the acknowledgement of its beginning. */
        if (!is_unix(p))
                (void) setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        if (connect(p->fd, (struct sockaddr *) &p->remote, p->remote_size) < 0)
                return -errno;
        return 0;
}

static void connect_again(void *owner) {
        set_step(owner, STEP_CONNECT);
}

static void enter_queue(struct health_probe *p) {
        timer_start(&p->look, p->health->loop, RETRY_USEC, connect_again, p);
}

static void connected(struct health_probe *p) {
        /* Who answers does not matter when nobody asks for the tree: then the answer is enough. */
        set_step(p, is_http(p) && !p->health->target.tree ? STEP_ANSWER : STEP_ACCEPT);
}

static void enter_connect(struct health_probe *p) {
        int r = open_and_connect(p, SOCK_STREAM);

        if (r == -EPROTOTYPE)
                r = open_and_connect(p, SOCK_SEQPACKET);
        if (r == 0)
                connected(p);
        else if (r == -EAGAIN && is_unix(p))
                set_step(p, STEP_QUEUE);
        else if (r == -EINPROGRESS)
                wait_for_io(p);
        else
                finish_error(p, "no connection", -r);
}

static void on_connect(struct health_probe *p) {
        int error = 0;
        socklen_t size = sizeof(error);

        if (getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
                error = errno;
        if (error)
                finish_error(p, "no connection", error);
        else
                connected(p);
}

/* ---- accepted? ---- */

/* The inode of the other end: 0 as long as it is the kernel's alone, or is so again. */
static uint32_t accepted_inode(const struct health_probe *p) {
        struct diag_socket found = {0};
        struct sockaddr_storage local;
        socklen_t size = sizeof(local);
        struct stat st;

        if (is_unix(p)) {
                if (fstat(p->fd, &st) < 0 || socket_diag_unix_one((uint32_t) st.st_ino, &found) < 0)
                        return 0;
                return found.peer_inode;
        }
        if (getsockname(p->fd, (struct sockaddr *) &local, &size) < 0 ||
            socket_diag_tcp_one((const struct sockaddr *) &p->remote,
                                (const struct sockaddr *) &local, &found) < 0)
                return 0;
        return found.inode;
}

static void on_owner(void *owner, const char *result, size_t size) {
        struct health_probe *p = owner;
        struct socket_owner found;

        p->search = NULL;
        if (!child_result_read(result, size, &found, sizeof(found)))
                accepted_by(p, HEALTH_UNTOLD, "who accepted it could not be found out in time");
        else if (found.pid == 0 && found.hidden > 0)
                accepted_by(p, HEALTH_UNTOLD,
                            "who accepted it cannot be told: what %u of its processes have "
                            "is not to be seen",
                            found.hidden);
        else if (found.pid == 0 && accepted_inode(p) == 0)
                accepted_by(p, HEALTH_UNTOLD, "accepted, and gone before its owner was found");
        else if (found.pid == 0)
                accepted_by(p, HEALTH_ELSEWHERE, "accepted, but by no process of this generation");
        else if (is_http(p))
                set_step(p, STEP_ANSWER);
        else
                finish(p, HEALTH_GOOD, "accepted by pid %d", (int) found.pid);
}

static void enter_owner(struct health_probe *p) {
        uint32_t inode = accepted_inode(p);
        int r;

        if (inode == 0) {
                accepted_by(p, HEALTH_UNTOLD, "accepted, and gone before its owner could be found");
                return;
        }
        r = socket_owner_search(&p->search, p->health->loop, p->health->target.tree, inode,
                                on_owner, p);
        if (r < 0)
                accepted_by(p, HEALTH_UNTOLD, "who accepted it could not be found out: %s",
                            strerror(-r));
}

static void accepted(struct health_probe *p) {
        if (p->health->target.tree)
                set_step(p, STEP_OWNER);
        else
                finish(p, HEALTH_GOOD, "accepted");
}

static void look_again(void *owner) {
        struct health_probe *p = owner;

        if (accepted_inode(p) != 0) {
                accepted(p);
                return;
        }
        p->pause_usec = p->pause_usec * 2 < LOOK_MAX_USEC ? p->pause_usec * 2 : LOOK_MAX_USEC;
        timer_start(&p->look, p->health->loop, p->pause_usec, look_again, p);
}

static void on_accept(struct health_probe *p) {
        char byte;
        ssize_t n = recv(p->fd, &byte, 1, MSG_PEEK);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        /* Only who has accepted it can have sent something, or have closed it in order. */
        if (n >= 0)
                accepted(p);
        else
                finish_error(p, "the connection was not served", errno);
}

/* ---- HTTP ---- */

/* All of a request but the empty line that ends it. -errno. */
static int send_head(struct health_probe *p) {
        struct address remote = {.type = SOCK_STREAM, .length = p->remote_size};
        char host[ADDRESS_TEXT_SIZE];
        char *head = NULL;
        ssize_t n;
        int size;

        if (is_unix(p)) {
                (void) strcpy(host, "localhost");
        } else {
                memcpy(&remote.in6, &p->remote, sizeof(remote.in6));
                (void) address_text(&remote, host);
        }
        size = asprintf(&head,
                        "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: fdpass/" FDPASS_VERSION
                        "\r\nAccept: */*\r\nConnection: close\r\n",
                        p->health->target.config->path, host);
        if (size < 0)
                return -ENOMEM;
        n = send(p->fd, head, (size_t) size, MSG_NOSIGNAL);
        free(head);
        if (n < 0)
                return -errno;
        return n == size ? 0 : -EMSGSIZE; /* the first bytes of a connection fit its buffer */
}

static int send_tail(struct health_probe *p) {
        return send(p->fd, "\r\n", 2, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static void ask(void *owner) {
        struct health_probe *p = owner;
        int r = is_http(p) ? send_head(p) : 0;

        if (r < 0) {
                finish_error(p, "the request was not taken", -r);
                return;
        }
        p->pause_usec = LOOK_FIRST_USEC;
        wait_for_io(p);
        look_again(p);
}

/* Later, so that the probes of a burst connect all at once, faster than a server that waits in
 * epoll with EPOLLEXCLUSIVE takes them: it is woken first each time, and the next generation only
 * for those that come meanwhile. */
static void enter_accept(struct health_probe *p) {
        timer_start(&p->look, p->health->loop, 0, ask, p);
}

static void enter_answer(struct health_probe *p) {
        int r = p->health->target.tree ? 0 : send_head(p);

        if (r == 0)
                r = send_tail(p);
        /* It may have answered without waiting for the end: then that is there to be read. */
        if (r < 0 && r != -EPIPE && r != -ECONNRESET)
                finish_error(p, "the request was not taken", -r);
        else
                wait_for_io(p);
}

static bool is_healthy_status(const struct health_config *config, unsigned status) {
        return config->status != 0 ? status == config->status : status >= 200 && status < 400;
}

static void answered(struct health_probe *p, unsigned status) {
        const struct health_config *config = p->health->target.config;

        if (p->by_whom != HEALTH_GOOD)
                finish(p, p->by_whom, "%s", p->why);
        else
                finish(p, is_healthy_status(config, status) ? HEALTH_GOOD : HEALTH_REFUSED,
                       "HTTP status %u from %s", status, config->path);
}

static void no_answer(struct health_probe *p, const char *why) {
        if (p->by_whom != HEALTH_GOOD)
                finish(p, p->by_whom, "%s", p->why);
        else
                finish(p, HEALTH_REFUSED, "%s from %s", why, p->health->target.config->path);
}

static void on_answer(struct health_probe *p) {
        ssize_t n = recv(p->fd, p->answer + p->used, sizeof(p->answer) - p->used, 0);
        unsigned status;
        int r;

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n <= 0) {
                no_answer(p, n == 0 ? "closed without an answer" : "connection reset, no answer");
                return;
        }
        p->used += (size_t) n;
        r = http_answer_parse(p->answer, p->used, &status);
        if (r > 0)
                answered(p, status);
        else if (r < 0)
                no_answer(p, "an answer that is not HTTP");
}

/* ---- a command ---- */

static void on_command(void *owner, bool good, const char *text) {
        finish(owner, good ? HEALTH_GOOD : HEALTH_REFUSED, "%s", text);
}

static void enter_command(struct health_probe *p) {
        struct health *h = p->health;
        int r = health_command_start(&p->command, h->loop, h->log, &h->target, on_command, p);

        if (r < 0)
                finish_error(p, "the command could not be run", -r);
}

/* ---- the steps ---- */

static const struct step {
        void (*enter)(struct health_probe *p); /* may go to the next step, or finish */
        void (*on_io)(struct health_probe *p);
        int events;
        bool has_own_deadline;
} steps[N_STEPS] = {
        [STEP_CONNECT] = {enter_connect, on_connect, IO_WRITE, false},
        [STEP_QUEUE] = {enter_queue, NULL, 0, false},
        [STEP_ACCEPT] = {enter_accept, on_accept, IO_READ, false},
        [STEP_OWNER] = {enter_owner, NULL, 0, true},
        [STEP_ANSWER] = {enter_answer, on_answer, IO_READ, false},
        [STEP_COMMAND] = {enter_command, NULL, 0, false},
};

static void on_io(void *owner, int events) {
        struct health_probe *p = owner;

        steps[p->step].on_io(p);
}

/* As the row of its step says. */
static void wait_for_io(struct health_probe *p) {
        io_watch_start(&p->watch, p->health->loop, p->fd, steps[p->step].events, on_io, p);
}

/* One that goes on is not started anew: steps may follow each other faster than its grace ends. */
static void set_deadline(struct health_probe *p) {
        if (steps[p->step].has_own_deadline)
                timer_stop(&p->deadline);
        else if (!timer_is_started(&p->deadline))
                deadline_start_at(&p->deadline, p->health->loop, p->deadline_usec, on_deadline, p);
}

static void set_step(struct health_probe *p, enum probe_step step) {
        io_watch_stop(&p->watch);
        timer_stop(&p->look);
        p->step = step;
        set_deadline(p);
        steps[step].enter(p); /* it may be freed now */
}

static void begin(void *owner) {
        struct health_probe *p = owner;

        if (p->health->target.config->kind == HEALTH_EXEC)
                set_step(p, STEP_COMMAND);
        else if (p->remote_size == 0)
                finish(p, HEALTH_REFUSED, "there is no listener to be probed");
        else
                set_step(p, STEP_CONNECT);
}

int health_start(struct health *h, struct loop *loop, struct log *log,
                 const struct health_target *target,
                 void (*done)(void *owner, enum health_result result, const char *text),
                 void *owner) {
        struct health_probe *p;

        if (h->probe)
                return -EBUSY;
        p = calloc(1, sizeof(*p));
        if (!p)
                return -ENOMEM;
        *h = (struct health){loop, log, *target, p, done, owner};
        p->health = h;
        p->fd = -1;
        p->remote = target->address;
        p->remote_size = target->address_size;
        p->deadline_usec = loop_in_usec(target->config->timeout_usec);
        set_loopback(&p->remote);
        /* From the loop, so that done() is never called within this. */
        timer_start(&p->look, loop, 0, begin, p);
        return 0;
}

bool health_is_waiting(const struct health *h) {
        return h->probe && h->probe->step == STEP_ACCEPT;
}

void health_stop(struct health *h) {
        if (h->probe)
                probe_free(h->probe);
        h->probe = NULL;
}
