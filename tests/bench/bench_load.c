/*
 * Load for servers that are killed or restarted: a number of clients, each of which connects, sends
 * a request, waits for the answer, closes, and begins again. Every connection ends as one of the
 * rows of `outcomes`; none is repeated or left out.
 *
 *      bench_load [--connections N] [--clients N] [--cpu N] HOST:PORT...
 *      bench_load --slices N [--samples FILE] ... HOST:PORT...
 *
 * The first ends after N connections, made to the addresses by turns, and prints a JSON object. The
 * second takes lines from standard input, "SLICE FIRST COUNT": from now on connections belong to
 * that slice of time, and go to COUNT addresses from the one with number FIRST on. It ends with its
 * input and prints an array of objects, one for each slice. FILE gets all durations: 32 bits of
 * nanoseconds each, slice after slice, as many as each has answered.
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
#define ADDRESSES_MAX 256
#define SLICES_MAX 256
/* Longer than this there was no answer. */
#define LOST_NSEC 10000000000U

enum outcome { ANSWERED, REFUSED, CUT, LOST, FAILED, N_OUTCOMES };

static const char *const outcomes[N_OUTCOMES] = {
        [ANSWERED] = "answered", [REFUSED] = "refused", /* ECONNREFUSED: nobody had the address */
        [CUT] = "cut",                                  /* accepted, and ended without an answer */
        [LOST] = "lost",                                /* no answer in ten seconds */
        [FAILED] = "failed", /* anything else; the last errno is printed */
};

/* What came of the connections that began in one slice of time. */
struct slice {
        uint64_t begin, nsec; /* when it was entered last, and for how long it has lasted before */
        uint64_t ended, longest;
        uint64_t count[N_OUTCOMES];
        int last_error;
        struct samples samples;
};

struct client {
        int fd;
        bool sent;
        uint64_t begin;
        struct slice *slice;
};

struct load {
        int epoll_fd;
        size_t n_addresses;
        struct sockaddr_in addresses[ADDRESSES_MAX];
        size_t first, n_used, next; /* those that are connected to now, and whose turn it is */
        struct client *clients;
        unsigned n_clients;
        uint64_t begun, ended, limit;
        unsigned n_slices;
        struct slice *slices, *slice;
        FILE *input; /* where slices come from, or none */
        const char *samples_path;
        bool over;
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
        struct slice *slice = c->slice;

        if (outcome == FAILED)
                slice->last_error = errno;
        c->fd = close_fd(c->fd);
        slice->count[outcome]++;
        slice->ended++;
        l->ended++;
        if (outcome == ANSWERED) {
                samples_add(&slice->samples, duration);
                if (duration > slice->longest)
                        slice->longest = duration;
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
        const struct sockaddr_in *address = &l->addresses[l->first + l->next];

        l->next = (l->next + 1) % l->n_used;
        l->begun++;
        c->slice = l->slice;
        c->begin = now_nsec();
        c->sent = false;
        c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (c->fd < 0)
                give_up_errno("no socket");
        (void) setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        if (connect(c->fd, (const struct sockaddr *) address, sizeof(*address)) < 0 &&
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
                while (l->clients[i].fd < 0 && !l->over && l->begun < l->limit)
                        begin_connection(l, &l->clients[i]);
}

static void end_lost(struct load *l) {
        uint64_t now = now_nsec();

        for (unsigned i = 0; i < l->n_clients; i++)
                if (l->clients[i].fd >= 0 && now - l->clients[i].begin > LOST_NSEC)
                        end_connection(l, &l->clients[i], LOST);
}

/* ---- slices -----------------------------------------------------------------------------------*/

static void leave_slice(struct load *l) {
        l->slice->nsec += now_nsec() - l->slice->begin;
}

static void enter_slice(struct load *l, struct slice *slice) {
        l->slice = slice;
        slice->begin = now_nsec();
}

/* Whoever writes the lines waits for what was told to them, so each is there as a whole. */
static void read_input(struct load *l) {
        unsigned slice;
        size_t first, count;
        char line[64];

        if (l->over)
                return; /* the last connections are waited for */
        leave_slice(l);
        if (!fgets(line, sizeof(line), l->input)) {
                l->over = true;
                return;
        }
        if (sscanf(line, "%u %zu %zu", &slice, &first, &count) != 3 || slice >= l->n_slices ||
            count == 0 || first + count > l->n_addresses)
                give_up("\"SLICE FIRST COUNT\" are to be read, of %u slices and %zu addresses",
                        l->n_slices, l->n_addresses);
        l->first = first;
        l->n_used = count;
        l->next = 0;
        enter_slice(l, &l->slices[slice]);
}

static void begin_slices(struct load *l) {
        struct epoll_event event = {.events = EPOLLIN};

        if (l->n_slices > 0) {
                l->input = stdin;
                (void) setvbuf(stdin, NULL, _IONBF, 0); /* a line in a buffer wakes nobody */
                if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &event) < 0)
                        give_up_errno("standard input cannot be waited for");
        } else {
                l->n_slices = 1;
        }
        l->slices = calloc(l->n_slices, sizeof(*l->slices));
        if (!l->slices)
                give_up("no memory for %u slices", l->n_slices);
        for (unsigned i = 0; i < l->n_slices; i++)
                samples_init(&l->slices[i].samples, l->limit + 1);
        enter_slice(l, l->slices);
}

/* ---- the loop ---------------------------------------------------------------------------------*/

static void turn(struct load *l) {
        struct epoll_event events[EVENTS_MAX];
        int n = epoll_wait(l->epoll_fd, events, EVENTS_MAX, 1000);

        if (n == 0)
                end_lost(l);
        for (int i = 0; i < n; i++) {
                struct client *c = events[i].data.ptr;

                if (!c) {
                        read_input(l);
                        continue;
                }
                if (!c->sent)
                        send_request(l, c);
                if (c->fd >= 0 && c->sent)
                        receive_answer(l, c);
        }
        begin_where_free(l);
}

static void print_slice(struct slice *s) {
        (void) printf("{\"connections\": %llu, \"seconds\": %.3f, \"per_second\": %.0f",
                      (unsigned long long) s->ended, (double) s->nsec / 1e9,
                      s->nsec > 0 ? (double) s->ended * 1e9 / (double) s->nsec : 0);
        for (int o = 0; o < N_OUTCOMES; o++)
                (void) printf(", \"%s\": %llu", outcomes[o], (unsigned long long) s->count[o]);
        (void) printf(", \"p50_ns\": %u, \"p99_ns\": %u, \"p999_ns\": %u, \"longest_ns\": %llu",
                      samples_quantile(&s->samples, 500), samples_quantile(&s->samples, 990),
                      samples_quantile(&s->samples, 999), (unsigned long long) s->longest);
        (void) printf(", \"last_error\": \"%s\"}",
                      s->last_error ? strerrorname_np(s->last_error) : "");
}

static void print(struct load *l) {
        (void) fputs(l->input ? "[" : "", stdout);
        for (unsigned i = 0; i < l->n_slices; i++) {
                (void) fputs(i > 0 ? ",\n" : "", stdout);
                print_slice(&l->slices[i]);
        }
        (void) puts(l->input ? "]" : "");
}

static void write_samples(const struct load *l) {
        FILE *f = l->samples_path ? fopen(l->samples_path, "we") : NULL;

        if (!l->samples_path)
                return;
        for (unsigned i = 0; f && i < l->n_slices; i++)
                (void) fwrite(l->slices[i].samples.values, sizeof(uint32_t), l->slices[i].samples.n,
                              f);
        if (!f || ferror(f) || fclose(f) != 0)
                give_up_errno("%s cannot be written", l->samples_path);
}

static void add_address(struct load *l, char *text) {
        struct sockaddr_in *address = &l->addresses[l->n_addresses];
        char *colon = strrchr(text, ':');

        if (!colon)
                give_up("HOST:PORT is wanted, not %s", text);
        *colon = '\0';
        if (inet_pton(AF_INET, text, &address->sin_addr) != 1)
                give_up("%s is no IPv4 address", text);
        address->sin_family = AF_INET;
        address->sin_port = htons((uint16_t) number_option("port", colon + 1, 65535));
        l->n_addresses++;
}

static void parse_options(int argc, char *argv[], struct load *l, int *cpu) {
        static const struct option rows[] = {
                {"connections", required_argument, NULL, 'n'},
                {"clients", required_argument, NULL, 'k'},
                {"cpu", required_argument, NULL, 'u'},
                {"slices", required_argument, NULL, 's'},
                {"samples", required_argument, NULL, 'f'},
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
                else if (letter == 's')
                        l->n_slices = (unsigned) number_option("slices", optarg, SLICES_MAX);
                else if (letter == 'f')
                        l->samples_path = optarg;
                else
                        exit(2);
        }
        if (argc == optind || argc - optind > ADDRESSES_MAX)
                give_up("usage: bench_load [OPTION...] IPV4-ADDRESS:PORT...");
        for (int i = optind; i < argc; i++)
                add_address(l, argv[i]);
        l->n_used = l->n_addresses;
}

int main(int argc, char *argv[]) {
        struct load l = {.n_clients = 64, .limit = 1000000};
        int cpu = -1;

        parse_options(argc, argv, &l, &cpu);
        pin_to_cpu(cpu);
        l.clients = calloc(l.n_clients + 1, sizeof(*l.clients));
        l.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (!l.clients || l.epoll_fd < 0)
                give_up_errno("cannot start");
        for (unsigned i = 0; i < l.n_clients; i++)
                l.clients[i].fd = -1;
        begin_slices(&l);
        begin_where_free(&l);
        while (l.ended < (l.over ? l.begun : l.limit))
                turn(&l);
        if (!l.over)
                leave_slice(&l);
        write_samples(&l);
        print(&l);
        for (unsigned i = 0; i < l.n_slices; i++)
                samples_free(&l.slices[i].samples);
        free(l.slices);
        free(l.clients);
        return 0;
}
