/*
 * A keep-alive server that hands its open connections to its next process, with what it knows of
 * each: clients notice nothing of a restart.
 *
 *      cc -O2 server.c $(pkg-config --cflags --libs libfdpass) -o server
 *      ./server web        # end it with SIGTERM, start it again
 *
 * Requests and answers are lines, "COUNT by PID", so that there is nothing else to see. On SIGTERM
 * every connection is left with the broker, and beside it how often it was answered and what has
 * been read of its next line: that is not in the socket any more. The next process takes them and
 * goes on counting. Nothing may be written to a connection after it was stored, because the next
 * process may have it by then.
 *
 * The state is a struct as it is in memory, which serves while both processes are the same program;
 * one that changes between versions needs a format.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fdpass.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENTS_MAX 1000
#define LINE_MAX_BYTES 200
/* In one STORE: descriptors, and 65536 bytes of data are enough for their states. */
#define BATCH_MAX 250

/* What is known of a connection. */
struct state {
        unsigned count;
        unsigned used;
        char line[LINE_MAX_BYTES];
};

struct server {
        const char *name;
        struct fdpass *broker;
        size_t n; /* clients; their descriptors are in polls[2] and behind */
        struct pollfd polls[2 + CLIENTS_MAX];
        struct state states[CLIENTS_MAX];
};

static void add(struct server *s, int fd, const struct state *state) {
        if (s->n == CLIENTS_MAX) {
                close(fd);
                return;
        }
        s->polls[2 + s->n] = (struct pollfd){.fd = fd, .events = POLLIN};
        s->states[s->n++] = *state;
}

static void drop(struct server *s, size_t i) {
        close(s->polls[2 + i].fd);
        s->n--;
        s->polls[2 + i] = s->polls[2 + s->n];
        s->states[i] = s->states[s->n];
}

static int answer(int fd, struct state *state) {
        char text[64];
        int n = snprintf(text, sizeof(text), "%u by %d\n", ++state->count, (int) getpid());

        return send(fd, text, (size_t) n, MSG_NOSIGNAL | MSG_DONTWAIT) == n ? 0 : -1;
}

/* One line a byte at a time is slow, and short. -1: the connection is at an end. */
static int serve(int fd, struct state *state) {
        char data[512];
        ssize_t n = recv(fd, data, sizeof(data), MSG_DONTWAIT);

        if (n <= 0)
                return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
        for (ssize_t i = 0; i < n; i++) {
                if (data[i] != '\n') {
                        if (state->used == LINE_MAX_BYTES)
                                return -1;
                        state->line[state->used++] = data[i];
                        continue;
                }
                state->used = 0;
                if (answer(fd, state) < 0)
                        return -1;
        }
        return 0;
}

/* ---- the next process -------------------------------------------------------------------------*/

static void store_name(const struct server *s, unsigned batch, char name[256]) {
        snprintf(name, 256, "%.200s.%u", s->name, batch);
}

static int leave(struct server *s) {
        int fds[BATCH_MAX];
        char name[256];

        for (unsigned batch = 0; batch * BATCH_MAX < s->n; batch++) {
                size_t first = (size_t) batch * BATCH_MAX, n = s->n - first;
                int r;

                if (n > BATCH_MAX)
                        n = BATCH_MAX;
                for (size_t i = 0; i < n; i++)
                        fds[i] = s->polls[2 + first + i].fd;
                store_name(s, batch, name);
                r = fdpass_store(s->broker, name, fds, n, s->states + first,
                                 n * sizeof(struct state));
                if (r < 0) {
                        fprintf(stderr, "server: connections are lost: %s %s\n", strerror(-r),
                                fdpass_error(s->broker));
                        return r;
                }
        }
        return 0;
}

static void take(struct server *s) {
        char name[256];

        for (unsigned batch = 0;; batch++) {
                struct state *states;
                size_t size;
                void *data;
                int *fds, n;

                store_name(s, batch, name);
                n = fdpass_take(s->broker, name, &fds, &data, &size);
                if (n <= 0) /* -ENOENT: that was the last one */
                        return;
                states = data;
                for (int i = 0; i < n; i++)
                        if ((size_t) (i + 1) * sizeof(struct state) <= size)
                                add(s, fds[i], &states[i]);
                        else
                                close(fds[i]);
                free(fds);
                free(data);
        }
}

/* ---- life -------------------------------------------------------------------------------------*/

static void accept_one(struct server *s) {
        int fd = accept4(s->polls[0].fd, NULL, NULL, SOCK_CLOEXEC);

        if (fd >= 0)
                add(s, fd, &(struct state){0});
}

static void run(struct server *s) {
        for (;;) {
                if (poll(s->polls, 2 + s->n, -1) < 0)
                        continue;
                if (s->polls[1].revents)
                        return;
                /* From the end: who is dropped is replaced by the last one, which was served. */
                for (size_t i = s->n; i-- > 0;)
                        if (s->polls[2 + i].revents && serve(s->polls[2 + i].fd, &s->states[i]) < 0)
                                drop(s, i);
                if (s->polls[0].revents)
                        accept_one(s);
        }
}

static int prepare(struct server *s) {
        sigset_t set;
        int r, fd;

        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigprocmask(SIG_BLOCK, &set, NULL);
        r = fdpass_open(&s->broker, NULL);
        if (r == 0)
                r = fdpass_acquire(s->broker, s->name, &fd);
        if (r < 0)
                return r;
        s->polls[0] = (struct pollfd){.fd = fd, .events = POLLIN};
        s->polls[1] = (struct pollfd){.fd = signalfd(-1, &set, SFD_CLOEXEC), .events = POLLIN};
        take(s);
        return s->polls[1].fd < 0 ? -errno : 0;
}

int main(int argc, char **argv) {
        struct server *s = calloc(1, sizeof(*s));
        int r;

        if (argc != 2 || !s) {
                fprintf(stderr, "usage: %s LISTENER\n", argv[0]);
                return 2;
        }
        s->name = argv[1];
        r = prepare(s);
        if (r < 0) {
                fprintf(stderr, "server: no listener %s: %s\n", argv[1], strerror(-r));
                return 1;
        }
        run(s);
        r = leave(s);
        fdpass_close(s->broker);
        free(s);
        return r < 0;
}
