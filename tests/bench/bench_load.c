/*
 * Load for a server that is killed and started again: a number of clients, each of which connects,
 * sends a request, waits for the answer, closes, and begins again. Every connection ends as one of
 * the rows of `outcomes`; none is repeated or left out.
 *
 *      bench_load [--connections N] [--clients N] [--cpu N] HOST PORT
 *
 * ends after N connections and prints a JSON object.
 *
 * Connections are reset when they are closed (SO_LINGER of 0): the answer has been read by then,
 * and a million sockets in TIME_WAIT would use up the ports of this address.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "measure.h"

#define CLIENTS_MAX 1024
#define CONNECTIONS_MAX 20000000
#define EVENTS_MAX 64
/* Longer than this there was no answer. */
#define LOST_NSEC 10000000000U

enum outcome { ANSWERED, REFUSED, CUT, LOST, FAILED, N_OUTCOMES };

static const char *const outcomes[N_OUTCOMES] = {
        [ANSWERED] = "answered", [REFUSED] = "refused", /* ECONNREFUSED: nobody had the address */
        [CUT] = "cut",                                  /* accepted, and ended without an answer */
        [LOST] = "lost",                                /* no answer in ten seconds */
        [FAILED] = "failed", /* anything else; the last errno is printed */
};

struct client {
        int fd;
        bool sent;
        uint64_t begin;
};

struct load {
        int epoll_fd;
        struct sockaddr_in address;
        struct client *clients;
        unsigned n_clients;
        uint64_t begun, ended, limit;
        uint64_t count[N_OUTCOMES];
        uint64_t longest;
        struct samples samples;
        int last_error;
};

static enum outcome outcome_of(int error) {
        switch (error) {
        case ECONNREFUSED:
                return REFUSED;
        case ECONNRESET:
        case EPIPE:
                return CUT;
        default:
                return FAILED;
        }
}

static void end_connection(struct load *l, struct client *c, enum outcome outcome) {
        uint64_t duration = now_nsec() - c->begin;

        if (outcome == FAILED)
                l->last_error = errno;
        c->fd = close_fd(c->fd);
        l->count[outcome]++;
        l->ended++;
        if (outcome == ANSWERED) {
                samples_add(&l->samples, duration);
                if (duration > l->longest)
                        l->longest = duration;
        }
}

/* EAGAIN while the connection is not made yet: then EPOLLOUT calls again. */
static void send_request(struct load *l, struct client *c) {
        static const char request[] = "GET / HTTP/1.0\r\nHost: localhost\r\n\r\n";

        if (send(c->fd, request, sizeof(request) - 1, MSG_NOSIGNAL) >= 0)
                c->sent = true;
        else if (errno != EAGAIN)
                end_connection(l, c, outcome_of(errno));
}

static void receive_answer(struct load *l, struct client *c) {
        char answer[256];
        ssize_t n = recv(c->fd, answer, sizeof(answer), 0);

        if (n > 0)
                end_connection(l, c, ANSWERED);
        else if (n == 0)
                end_connection(l, c, CUT);
        else if (errno != EAGAIN)
                end_connection(l, c, outcome_of(errno));
}

static void begin_connection(struct load *l, struct client *c) {
        static const struct linger reset = {.l_onoff = 1};
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};

        l->begun++;
        c->begin = now_nsec();
        c->sent = false;
        c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (c->fd < 0)
                give_up_errno("no socket");
        (void) setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        if (connect(c->fd, (struct sockaddr *) &l->address, sizeof(l->address)) < 0 &&
            errno != EINPROGRESS) {
                end_connection(l, c, outcome_of(errno));
                return;
        }
        /* Over loopback the connection is made by now, as a rule. */
        send_request(l, c);
        if (c->fd >= 0 && epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, c->fd, &event) < 0)
                give_up_errno("epoll_ctl");
}

static void begin_where_free(struct load *l) {
        for (unsigned i = 0; i < l->n_clients; i++)
                while (l->clients[i].fd < 0 && l->begun < l->limit)
                        begin_connection(l, &l->clients[i]);
}

static void end_lost(struct load *l) {
        uint64_t now = now_nsec();

        for (unsigned i = 0; i < l->n_clients; i++)
                if (l->clients[i].fd >= 0 && now - l->clients[i].begin > LOST_NSEC)
                        end_connection(l, &l->clients[i], LOST);
}

static void turn(struct load *l) {
        struct epoll_event events[EVENTS_MAX];
        int n = epoll_wait(l->epoll_fd, events, EVENTS_MAX, 1000);

        if (n == 0)
                end_lost(l);
        for (int i = 0; i < n; i++) {
                struct client *c = events[i].data.ptr;
                if (!c->sent)
                        send_request(l, c);
                if (c->fd >= 0 && c->sent)
                        receive_answer(l, c);
        }
        begin_where_free(l);
}

static void print(struct load *l, uint64_t nsec) {
        (void) printf("{\"connections\": %llu, \"seconds\": %.3f, \"per_second\": %.0f",
                      (unsigned long long) l->ended, (double) nsec / 1e9,
                      (double) l->ended * 1e9 / (double) nsec);
        for (int o = 0; o < N_OUTCOMES; o++)
                (void) printf(", \"%s\": %llu", outcomes[o], (unsigned long long) l->count[o]);
        (void) printf(", \"p50_ns\": %u, \"p99_ns\": %u, \"p999_ns\": %u, \"longest_ns\": %llu",
                      samples_quantile(&l->samples, 500), samples_quantile(&l->samples, 990),
                      samples_quantile(&l->samples, 999), (unsigned long long) l->longest);
        (void) printf(", \"last_error\": \"%s\"}\n",
                      l->last_error ? strerrorname_np(l->last_error) : "");
}

static void parse_options(int argc, char *argv[], struct load *l, int *cpu) {
        static const struct option rows[] = {
                {"connections", required_argument, NULL, 'n'},
                {"clients", required_argument, NULL, 'k'},
                {"cpu", required_argument, NULL, 'u'},
                {0},
        };
        int letter;

        while ((letter = getopt_long(argc, argv, "", rows, NULL)) != -1) {
                if (letter == 'n')
                        l->limit = number_option("connections", optarg, CONNECTIONS_MAX);
                else if (letter == 'k')
                        l->n_clients = (unsigned) number_option("clients", optarg, CLIENTS_MAX);
                else if (letter == 'u')
                        *cpu = (int) number_option("cpu", optarg, 1023);
                else
                        exit(2);
        }
        if (argc - optind != 2 || inet_pton(AF_INET, argv[optind], &l->address.sin_addr) != 1)
                give_up("usage: bench_load [OPTION...] IPV4-ADDRESS PORT");
        l->address.sin_family = AF_INET;
        l->address.sin_port = htons((uint16_t) number_option("port", argv[optind + 1], 65535));
}

int main(int argc, char *argv[]) {
        struct load l = {.n_clients = 64, .limit = 1000000};
        uint64_t begin;
        int cpu = -1;

        parse_options(argc, argv, &l, &cpu);
        pin_to_cpu(cpu);
        samples_init(&l.samples, l.limit + 1);
        l.clients = calloc(l.n_clients + 1, sizeof(*l.clients));
        l.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (!l.clients || l.epoll_fd < 0)
                give_up_errno("cannot start");
        for (unsigned i = 0; i < l.n_clients; i++)
                l.clients[i].fd = -1;
        begin = now_nsec();
        begin_where_free(&l);
        while (l.ended < l.limit)
                turn(&l);
        print(&l, now_nsec() - begin);
        samples_free(&l.samples);
        free(l.clients);
        return 0;
}
