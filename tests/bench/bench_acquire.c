/*
 * How long it takes to borrow a descriptor, from several servers beside each other.
 *
 *      bench_acquire [--rounds N] [--json] [--cpu N] ... LABEL=KIND:PATH...
 *
 * KIND is a row of client_kind.h. The first server is the one that the others are compared with. A
 * round measures every server: acquire on an open connection, connect + acquire, and how many
 * acquires a second eight clients get. Servers take turns within a round, and the order turns round
 * with the rounds, so that what else the machine does falls on all alike; a figure is the median
 * over the rounds of the figure of a round.
 *
 * Timed is what a client waits for: up to the received descriptor, without closing it. What the
 * server does after its answer is paid by the next request, since all run on one CPU.
 */
#include <getopt.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "client_kind.h"
#include "measure.h"

#define SERVERS_MAX 8
#define ROUNDS_MAX 1001
#define CLIENTS_MAX 256

enum figure { ACQUIRE_P50, ACQUIRE_P99, CONNECT_P50, CONNECT_P99, PER_SECOND, N_FIGURES };

static const struct {
        const char *key, *head;
        double per_unit; /* nanoseconds to microseconds for the table */
} figures[N_FIGURES] = {
        [ACQUIRE_P50] = {"acquire_p50_ns", "acquire p50 us", 1e3},
        [ACQUIRE_P99] = {"acquire_p99_ns", "p99 us", 1e3},
        [CONNECT_P50] = {"connect_acquire_p50_ns", "connect+acquire p50 us", 1e3},
        [CONNECT_P99] = {"connect_acquire_p99_ns", "p99 us", 1e3},
        [PER_SECOND] = {"acquires_per_second", "clients together 1/s", 1},
};

struct server {
        const char *label, *path;
        const struct client *client;
        double rounds[N_FIGURES][ROUNDS_MAX];
        double result[N_FIGURES];
};

struct options {
        const char *name;
        unsigned rounds, acquires, connects, clients, milliseconds;
        int cpu;
        bool json;
};

/* Shared with the clients of a throughput round. */
struct crowd {
        atomic_bool stop;
        struct {
                _Alignas(64) uint64_t n;
        } done[CLIENTS_MAX];
};

static const struct client *const clients[] = {
        &client_packet,
        &client_library,
#ifdef HAVE_S6
        &client_s6,
#endif
};

static const struct client *client_of(const char *kind) {
        for (size_t i = 0; i < sizeof(clients) / sizeof(clients[0]); i++)
                if (strcmp(clients[i]->kind, kind) == 0)
                        return clients[i];
        give_up("there is no kind of client %s here", kind);
}

/* LABEL=KIND:PATH, cut in place. */
static void server_init(struct server *s, char *argument) {
        char *kind = strchr(argument, '='), *path = kind ? strchr(kind, ':') : NULL;

        if (!path)
                give_up("a server is given as LABEL=KIND:PATH, not %s", argument);
        *kind++ = '\0';
        *path++ = '\0';
        *s = (struct server){.label = argument, .path = path, .client = client_of(kind)};
}

static void measure_acquire(struct server *s, const struct options *o, struct samples *samples,
                            unsigned round) {
        struct connection c = {.fd = -1};

        s->client->open(&c, s->path);
        samples->n = 0;
        for (unsigned i = 0; i < o->acquires; i++) {
                uint64_t begin = now_nsec();
                int fd = s->client->acquire(&c, o->name);
                samples_add(samples, now_nsec() - begin);
                close_fd(fd);
        }
        s->client->close(&c);
        s->rounds[ACQUIRE_P50][round] = samples_quantile(samples, 500);
        s->rounds[ACQUIRE_P99][round] = samples_quantile(samples, 990);
}

static void measure_connect(struct server *s, const struct options *o, struct samples *samples,
                            unsigned round) {
        samples->n = 0;
        for (unsigned i = 0; i < o->connects; i++) {
                struct connection c = {.fd = -1};
                uint64_t begin = now_nsec();
                int fd;

                s->client->open(&c, s->path);
                fd = s->client->acquire(&c, o->name);
                samples_add(samples, now_nsec() - begin);
                close_fd(fd);
                s->client->close(&c);
        }
        s->rounds[CONNECT_P50][round] = samples_quantile(samples, 500);
        s->rounds[CONNECT_P99][round] = samples_quantile(samples, 990);
}

/* One of the crowd: connected before the start, which is the end of file on `start_fd`. */
static void crowd_member(const struct server *s, const struct options *o, struct crowd *crowd,
                         unsigned me, int ready_fd, int start_fd) {
        struct connection c = {.fd = -1};
        char byte = 0;

        s->client->open(&c, s->path);
        close_fd(s->client->acquire(&c, o->name));
        if (write(ready_fd, &byte, 1) != 1 || read(start_fd, &byte, 1) != 0)
                give_up_errno("the crowd was not started");
        while (!atomic_load_explicit(&crowd->stop, memory_order_relaxed)) {
                close_fd(s->client->acquire(&c, o->name));
                crowd->done[me].n++;
        }
        s->client->close(&c);
        _exit(0);
}

static void wait_for_crowd(unsigned n) {
        while (n-- > 0) {
                int status;
                if (wait(&status) < 0 || status != 0)
                        give_up("a client failed");
        }
}

static void measure_crowd(struct server *s, const struct options *o, struct crowd *crowd,
                          unsigned round) {
        int ready[2], start[2];
        uint64_t begin, total = 0;
        char byte;

        memset(crowd, 0, sizeof(*crowd));
        if (pipe(ready) < 0 || pipe(start) < 0)
                give_up_errno("no pipe");
        for (unsigned i = 0; i < o->clients; i++) {
                pid_t pid = fork();
                if (pid < 0)
                        give_up_errno("no process");
                if (pid == 0) {
                        close_fd(start[1]);
                        crowd_member(s, o, crowd, i, ready[1], start[0]);
                }
        }
        close_fd(ready[1]);
        for (unsigned i = 0; i < o->clients; i++)
                if (read(ready[0], &byte, 1) != 1)
                        give_up("a client failed before the start");
        begin = now_nsec();
        close_fd(start[1]);
        (void) poll(NULL, 0, (int) o->milliseconds);
        atomic_store(&crowd->stop, true);
        for (unsigned i = 0; i < o->clients; i++)
                total += crowd->done[i].n;
        s->rounds[PER_SECOND][round] = (double) total * 1e9 / (double) (now_nsec() - begin);
        wait_for_crowd(o->clients);
        close_fd(ready[0]);
        close_fd(start[0]);
}

static void measure_round(struct server *servers, unsigned n, const struct options *o,
                          struct crowd *crowd, struct samples *samples, unsigned round) {
        static void (*const kinds[])(struct server *, const struct options *, struct samples *,
                                     unsigned) = {measure_acquire, measure_connect};

        for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
                for (unsigned i = 0; i < n; i++)
                        kinds[k](&servers[(i + round) % n], o, samples, round);
        for (unsigned i = 0; o->clients > 0 && i < n; i++)
                measure_crowd(&servers[(i + round) % n], o, crowd, round);
}

static void print_table(const struct server *servers, unsigned n) {
        (void) printf("%-18s", "");
        for (int f = 0; f < N_FIGURES; f++)
                (void) printf("  %22s       ", figures[f].head);
        for (unsigned i = 0; i < n; i++) {
                (void) printf("\n%-18s", servers[i].label);
                for (int f = 0; f < N_FIGURES; f++) {
                        double base = servers[0].result[f];
                        (void) printf("  %22.2f %5.2fx", servers[i].result[f] / figures[f].per_unit,
                                      base > 0 ? servers[i].result[f] / base : 0);
                }
        }
        (void) putchar('\n');
}

static void print_json(const struct server *servers, unsigned n) {
        (void) putchar('{');
        for (unsigned i = 0; i < n; i++) {
                (void) printf("%s\"%s\": {", i ? ", " : "", servers[i].label);
                for (int f = 0; f < N_FIGURES; f++)
                        (void) printf("%s\"%s\": %.0f", f ? ", " : "", figures[f].key,
                                      servers[i].result[f]);
                (void) putchar('}');
        }
        (void) puts("}");
}

static void parse_options(int argc, char *argv[], struct options *o) {
        static const struct option rows[] = {
                {"name", required_argument, NULL, 'n'},
                {"rounds", required_argument, NULL, 'r'},
                {"acquires", required_argument, NULL, 'a'},
                {"connects", required_argument, NULL, 'c'},
                {"clients", required_argument, NULL, 'k'},
                {"milliseconds", required_argument, NULL, 'm'},
                {"cpu", required_argument, NULL, 'u'},
                {"json", no_argument, NULL, 'j'},
                {0},
        };
        struct {
                unsigned *value;
                int letter;
                unsigned max;
        } numbers[] = {{&o->rounds, 'r', ROUNDS_MAX},
                       {&o->acquires, 'a', 10000000},
                       {&o->connects, 'c', 10000000},
                       {&o->clients, 'k', CLIENTS_MAX},
                       {&o->milliseconds, 'm', 60000}};
        int letter, row;

        while ((letter = getopt_long(argc, argv, "", rows, &row)) != -1) {
                if (letter == 'n')
                        o->name = optarg;
                else if (letter == 'u')
                        o->cpu = (int) number_option("cpu", optarg, 1023);
                else if (letter == 'j')
                        o->json = true;
                else if (letter == '?')
                        exit(2);
                for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
                        if (numbers[i].letter == letter)
                                *numbers[i].value = (unsigned) number_option(rows[row].name, optarg,
                                                                             numbers[i].max);
        }
}

int main(int argc, char *argv[]) {
        struct options o = {.name = "web",
                            .rounds = 5,
                            .acquires = 5000,
                            .connects = 2000,
                            .clients = 8,
                            .milliseconds = 150,
                            .cpu = -1};
        struct server *servers;
        struct crowd *crowd;
        struct samples samples;
        unsigned n;

        parse_options(argc, argv, &o);
        n = (unsigned) (argc - optind);
        if (n == 0 || n > SERVERS_MAX || o.rounds == 0)
                give_up("name 1 to %d servers, as LABEL=KIND:PATH", SERVERS_MAX);
        pin_to_cpu(o.cpu);
        servers = calloc(n, sizeof(*servers));
        crowd = mmap(NULL, sizeof(*crowd), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                     0);
        if (!servers || crowd == MAP_FAILED)
                give_up("no memory");
        for (unsigned i = 0; i < n; i++)
                server_init(&servers[i], argv[optind + (int) i]);
        samples_init(&samples, o.acquires > o.connects ? o.acquires : o.connects);
        for (unsigned round = 0; round < o.rounds; round++)
                measure_round(servers, n, &o, crowd, &samples, round);
        for (unsigned i = 0; i < n; i++)
                for (int f = 0; f < N_FIGURES; f++)
                        servers[i].result[f] = median(servers[i].rounds[f], o.rounds);
        (o.json ? print_json : print_table)(servers, n);
        samples_free(&samples);
        free(servers);
        return 0;
}
