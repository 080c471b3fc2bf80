/*
 * A small HTTP server that borrows its listener from fdpass and loses no connection when it stops.
 *
 *      cc -O2 -pthread server.c $(pkg-config --cflags --libs libfdpass) -o server
 *      ./server web                        # the listener called "web", from the broker
 *      fdpass exec web -- ./server web     # or handed in at start; so does systemd
 *
 * Accepting. Whether the listener is non-blocking is not ours to change: the flag is shared with
 * all processes that hold it. And when epoll says that a connection waits, another process may take
 * it first, so that accept() on a blocking listener would hang the loop. Hence a thread that does
 * nothing but accept: it may block, and with a blocking listener the kernel wakes one process for
 * one connection, instead of all. (Who must not have threads sets NonBlocking=yes in the listener's
 * configuration and accepts in the loop.)
 *
 * Stopping (SIGTERM, SIGINT). The acceptor is stopped first, and only when it has said so is
 * nothing more accepted. What was accepted is served to the end: each connection gets the answer to
 * its next request, with "Connection: close". New connections wait in the listener's queue
 * meanwhile, for the next process.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fdpass.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define REQUEST_MAX 8192
#define BATCH 64
/* While draining: how long a connection that has been served may stay silent, and how long all. */
#define DRAIN_IDLE_MSEC 1000
#define DRAIN_MSEC 10000

struct client {
        int fd;
        bool answered; /* at least once */
        bool closing;  /* the last answer is on its way: wait for the client to close */
        size_t used;
        size_t out_size, out_sent;
        uint32_t events; /* what epoll waits for */
        LIST_ENTRY(client) entry;
        char in[REQUEST_MAX];
        char out[512];
};

LIST_HEAD(client_list, client);

struct server {
        const char *name;
        int listener; /* the acceptor's */
        int epoll;
        pthread_t acceptor;
        atomic_bool draining;
        atomic_bool accepting; /* false when the acceptor has ended */
        pthread_mutex_t lock;  /* of clients */
        struct client_list clients;
};

static long now_msec(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (long) t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- clients, in the main thread ---------------------------------------------------------------
 */

static void client_close(struct server *s, struct client *c) {
        pthread_mutex_lock(&s->lock);
        LIST_REMOVE(c, entry);
        pthread_mutex_unlock(&s->lock);
        close(c->fd);
        free(c);
}

/* Send what is left of the answer. 1 when all is sent, 0 when the client has to read first. */
static int client_flush(struct client *c) {
        while (c->out_sent < c->out_size) {
                ssize_t n =
                        send(c->fd, c->out + c->out_sent, c->out_size - c->out_sent, MSG_NOSIGNAL);

                if (n < 0)
                        return errno == EAGAIN ? 0 : -errno;
                c->out_sent += (size_t) n;
        }
        c->out_size = c->out_sent = 0;
        return 1;
}

/* Does the head of this request say that no further one follows? */
static bool wants_close(const char *head) {
        if (strcasestr(head, "\r\nConnection: close"))
                return true;
        return strstr(head, " HTTP/1.0\r\n") && !strcasestr(head, "\r\nConnection: keep-alive");
}

static void client_answer(struct server *s, struct client *c, const char *head) {
        bool get = strncmp(head, "GET ", 4) == 0, is_head = strncmp(head, "HEAD ", 5) == 0;
        char body[64];
        int n;

        /* A request with a body is not for us, and its body would look like the next request. */
        if (!get && !is_head)
                c->closing = true;
        if (wants_close(head) || s->draining)
                c->closing = true;
        n = snprintf(body, sizeof(body), "served by process %d\n", (int) getpid());
        n = snprintf(c->out, sizeof(c->out),
                     "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n%s\r\n%s",
                     get || is_head ? "200 OK" : "405 Method Not Allowed", n,
                     c->closing ? "Connection: close\r\n" : "", is_head ? "" : body);
        c->out_size = (size_t) n;
        c->answered = true;
}

/* Answer the requests that are complete, one after the other. Negative: close. */
static int client_serve(struct server *s, struct client *c) {
        for (;;) {
                char *end;
                int r = client_flush(c);

                if (r <= 0)
                        return r;
                if (c->closing) {
                        /* close() with unread bytes would send a reset, overtaking the answer */
                        shutdown(c->fd, SHUT_WR);
                        return 0;
                }
                end = memmem(c->in, c->used, "\r\n\r\n", 4);
                if (!end)
                        return c->used == sizeof(c->in) ? -EMSGSIZE : 0;
                end[3] = '\0'; /* the head is a string now, each of its lines ends with CR LF or CR
                                */
                client_answer(s, c, c->in);
                end += 4;
                c->used -= (size_t) (end - c->in);
                memmove(c->in, end, c->used);
        }
}

/*
 * Negative: the client has closed, or there was an error. While an answer is not sent nothing is
 * read; after the last one what comes is thrown away. One recv() is enough: what is left wakes us
 * again.
 */
static int client_read(struct client *c) {
        ssize_t n;

        if (c->out_size > 0)
                return 0;
        if (c->closing)
                c->used = 0;
        n = recv(c->fd, c->in + c->used, sizeof(c->in) - c->used, 0);
        if (n <= 0)
                return n < 0 && errno == EAGAIN ? 0 : -1;
        c->used += (size_t) n;
        return 0;
}

static void client_event(struct server *s, struct client *c) {
        struct epoll_event event = {.data.ptr = c};

        if (client_read(c) < 0 || client_serve(s, c) < 0) {
                client_close(s, c);
                return;
        }
        event.events = c->out_size > 0 ? EPOLLOUT : EPOLLIN;
        if (event.events != c->events)
                epoll_ctl(s->epoll, EPOLL_CTL_MOD, c->fd, &event);
        c->events = event.events;
}

/* ---- accepting, in its own thread --------------------------------------------------------------
 */

/* Closes fd when it fails. */
static void client_new(struct server *s, int fd) {
        struct client *c = calloc(1, sizeof(*c));
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};

        if (!c) {
                close(fd);
                return;
        }
        c->fd = fd;
        c->events = event.events;
        pthread_mutex_lock(&s->lock);
        LIST_INSERT_HEAD(&s->clients, c, entry);
        pthread_mutex_unlock(&s->lock);
        if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
                client_close(s, c);
}

/* accept4() failed: wait for what may help. */
static void accept_failed(struct server *s) {
        struct pollfd p = {.fd = s->listener, .events = POLLIN};
        int fd;

        switch (errno) {
        case EAGAIN: /* a non-blocking listener */
                poll(&p, 1, -1);
                break;
        case EMFILE:
        case ENFILE:
        case ENOBUFS:
        case ENOMEM:
                poll(NULL, 0, 50); /* until a client is gone */
                break;
        case EINVAL: /* another holder has shut the listener down: the broker repairs or replaces it
                      */
                poll(NULL, 0, 10);
                fd = fdpass_listener(s->name);
                if (fd >= 0) {
                        close(s->listener);
                        s->listener = fd;
                }
                break;
        default: /* EINTR, ECONNABORTED and whatever the network has to say: the next one */
                break;
        }
}

static void *accept_loop(void *argument) {
        struct server *s = argument;
        sigset_t wake;

        /* Only here, so that the signal finds this thread. */
        sigemptyset(&wake);
        sigaddset(&wake, SIGUSR1);
        pthread_sigmask(SIG_UNBLOCK, &wake, NULL);
        while (!s->draining) {
                int fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

                if (fd >= 0)
                        client_new(s, fd);
                else
                        accept_failed(s);
        }
        s->accepting = false;
        return NULL;
}

static void woken(int signal_number) {
        (void) signal_number;
}

/*
 * The signal may come just before accept4() starts to wait, and then it is lost; so again, until
 * the thread has ended. A connection that it accepts meanwhile is served like the others.
 */
static void stop_accepting(struct server *s) {
        s->draining = true;
        while (s->accepting) {
                pthread_kill(s->acceptor, SIGUSR1);
                poll(NULL, 0, 5);
        }
        pthread_join(s->acceptor, NULL);
        close(s->listener);
}

static int start_accepting(struct server *s) {
        struct sigaction action = {.sa_handler = woken}; /* without SA_RESTART */

        sigaction(SIGUSR1, &action, NULL);
        s->accepting = true;
        return -pthread_create(&s->acceptor, NULL, accept_loop, s);
}

/* ---- the main thread ---------------------------------------------------------------------------
 */

/* Close the connections that have been served and are silent. */
static void close_idle(struct server *s) {
        struct client *c, *next;

        for (c = LIST_FIRST(&s->clients); c; c = next) {
                next = LIST_NEXT(c, entry);
                if (c->closing || (c->answered && c->used == 0 && c->out_size == 0))
                        client_close(s, c);
        }
}

static void serve_events(struct server *s, int timeout, int signals, bool *ret_stop) {
        struct epoll_event events[BATCH];
        int n = epoll_wait(s->epoll, events, BATCH, timeout);

        for (int i = 0; i < n; i++) {
                struct signalfd_siginfo info;

                if (events[i].data.ptr)
                        client_event(s, events[i].data.ptr);
                else if (read(signals, &info, sizeof(info)) > 0)
                        *ret_stop = true;
        }
}

static int signals_open(void) {
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGUSR1);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        pthread_sigmask(SIG_BLOCK, &set, NULL);
        sigdelset(&set, SIGUSR1);
        return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void drain(struct server *s, int signals) {
        long start = now_msec();
        bool ignored;

        while (!LIST_EMPTY(&s->clients) && now_msec() - start < DRAIN_MSEC) {
                serve_events(s, 50, signals, &ignored);
                if (now_msec() - start >= DRAIN_IDLE_MSEC)
                        close_idle(s);
        }
}

/* For `fdpass status`, and for systemd with Type=notify. Serving does not depend on either. */
static void say_ready(void) {
        struct fdpass *broker;

        (void) fdpass_notify("READY=1");
        if (fdpass_open(&broker, NULL) == 0) {
                (void) fdpass_ready(broker);
                fdpass_close(broker);
        }
}

int main(int argc, char **argv) {
        struct server s = {.lock = PTHREAD_MUTEX_INITIALIZER, .clients = LIST_HEAD_INITIALIZER()};
        struct epoll_event event = {.events = EPOLLIN};
        bool stop = false;
        int signals, r;

        if (argc != 2) {
                fprintf(stderr, "usage: %s LISTENER\n", argv[0]);
                return 2;
        }
        s.name = argv[1];
        s.listener = fdpass_listener(s.name);
        if (s.listener < 0) {
                fprintf(stderr, "%s: no listener \"%s\": %s\n", argv[0], s.name,
                        strerror(-s.listener));
                return 1;
        }
        signals = signals_open();
        s.epoll = epoll_create1(EPOLL_CLOEXEC);
        if (signals < 0 || s.epoll < 0 || epoll_ctl(s.epoll, EPOLL_CTL_ADD, signals, &event) < 0) {
                perror("epoll");
                return 1;
        }
        r = start_accepting(&s);
        if (r < 0) {
                fprintf(stderr, "%s: cannot start a thread: %s\n", argv[0], strerror(-r));
                return 1;
        }
        say_ready();
        while (!stop)
                serve_events(&s, -1, signals, &stop);
        (void) fdpass_notify("STOPPING=1");
        stop_accepting(&s);
        drain(&s, signals);
        return 0;
}
