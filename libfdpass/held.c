/*
 * What this process would hand back to a broker that lost everything.
 *
 * A broker that starts with nothing says so (OFFER=1 in the answer to HELLO) and reads nothing but
 * OFFERs until it has its listeners, so after a reconnection HELLO is the first thing that is said,
 * and all else waits for its answer.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "connection.h"

static struct held *find(struct fdpass *c, struct text name) {
        for (size_t i = 0; i < c->n_held; i++)
                if (text_equal(name, c->held[i].name))
                        return &c->held[i];
        return NULL;
}

static void clear(struct held *held) {
        while (held->n_fds > 0)
                close_fd(held->fds[--held->n_fds]);
        free(held->fds);
        free(held->name);
}

void held_drop(struct fdpass *c, struct text name) {
        struct held *held = find(c, name);

        if (!held)
                return;
        clear(held);
        *held = c->held[--c->n_held];
}

void held_free(struct fdpass *c) {
        while (c->n_held > 0)
                clear(&c->held[--c->n_held]);
        free(c->held);
        c->held = NULL;
}

static size_t count(const struct fdpass *c) {
        size_t n = 0;

        for (size_t i = 0; i < c->n_held; i++)
                n += c->held[i].n_fds;
        return n;
}

static int duplicate(struct held *held, const int *fds, size_t n) {
        held->fds = malloc(n * sizeof(*fds));
        if (!held->fds)
                return -1;
        while (held->n_fds < n) {
                int fd = fcntl(fds[held->n_fds], F_DUPFD_CLOEXEC, 3);

                if (fd < 0)
                        return -1;
                held->fds[held->n_fds++] = fd;
        }
        return 0;
}

/* What cannot be kept is not: nothing but the last resort depends on it. */
void held_keep(struct fdpass *c, const char *name, const int *fds, size_t n) {
        struct held held = {.n_fds = 0}, *all;

        if (c->n_watches == 0)
                return;
        held_drop(c, (struct text){name, strlen(name)});
        if (count(c) + n > HELD_MAX)
                return;
        all = reallocarray(c->held, c->n_held + 1, sizeof(*all));
        if (!all)
                return;
        c->held = all;
        held.name = strdup(name);
        if (!held.name || duplicate(&held, fds, n) < 0)
                clear(&held);
        else
                c->held[c->n_held++] = held;
}

int held_ask(const struct fdpass *c, int fd) {
        static const char hello[] = "VERB=HELLO\nSERIAL=H\n";
        int r;

        if (c->n_held == 0)
                return 0;
        r = message_send(fd, hello, sizeof(hello) - 1, NULL, 0);
        return r < 0 ? r : 1;
}

/*
 * Never waits, and what becomes of it is the broker's to tell: HELD_MAX packets fit into an empty
 * send buffer with those of all watches.
 */
void held_offer(struct fdpass *c) {
        struct packet_writer request;

        if (!assignments_get(&c->answer.assignments, "OFFER"))
                return;
        for (size_t i = 0; i < c->n_held; i++)
                for (size_t j = 0; j < c->held[i].n_fds; j++) {
                        packet_begin(&request);
                        packet_add(&request, "VERB", "OFFER");
                        packet_add(&request, "NAME", c->held[i].name);
                        packet_add(&request, "SERIAL", "O");
                        (void) message_send(c->fd, request.data, request.size, &c->held[i].fds[j],
                                            1);
                }
}
