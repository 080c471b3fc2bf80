/*
 * Does it accept? Asked by connections of our own, as those of HealthCheck=tcp, when its program
 * was not seen to wait for any: who asks accept() again and again is seen no other way, nor is most
 * of what can be done with an io_uring; and who never accepts is not ready, whatever it says.
 *
 * Each listening socket is a lane. Its first connection waits in the queue for as long as it takes:
 * a closed one would stay there, and the next one behind it. Once others have accepted it, bursts
 * follow, at growing intervals, because of servers that share a queue the one that is awake takes
 * all that comes one by one.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "components/instance_private.h"
#include "sockets/queue.h"

#define LANES_MAX 16
#define ROUND_MIN_USEC (5 * 1000)
#define ROUND_MAX_USEC (1000 * 1000)
/* So many rounds without an answer that tells something: no more is to be had. */
#define MUTE_ROUNDS 12
/* Of connections that we closed in the queue of a listener from which nobody accepts: a program
 * that fails so and is started again for ever must not fill it. */
#define LEFT_WAITING_MAX 4

struct lane {
        struct accepting *all;
        ino_t inode; /* of the listening socket */
        struct timer next;
        struct health probes[INSTANCE_PROBES_MAX];
        unsigned n_probing, burst;
        bool told, accepted; /* in this round: by others; by nobody knows whom */
        bool was_told;       /* in any */
        unsigned untold_rounds, refused_rounds;
        bool out_of_reach; /* no connection to it can be had */
};

struct accepting {
        struct instance *instance;
        uint64_t begin_usec;
        uint64_t made, by_others; /* connections */
        size_t n_lanes, n_out_of_reach;
        struct lane lanes[];
};

static const struct health_config one_that_waits = {
        .kind = HEALTH_TCP,
        .timeout_usec = UINT64_C(365) * 86400 * 1000 * 1000, /* TimeoutStartSec= ends it */
};

/* ---- listening sockets ------------------------------------------------------------------------*/

static int option(const struct listener_socket *s, int level, int name) {
        int value = 0;
        socklen_t size = sizeof(value);

        return getsockopt(s->fd, level, name, &value, &size) < 0 ? 0 : value;
}

/* What hands on no connection before something was said on it is left out. */
static bool can_be_asked(const struct listener_socket *s) {
        int type = option(s, SOL_SOCKET, SO_TYPE);

        return (type == SOCK_STREAM || type == SOCK_SEQPACKET) &&
               option(s, IPPROTO_TCP, TCP_DEFER_ACCEPT) == 0;
}

static struct listener_socket *socket_at(const struct instance *i, size_t k, size_t m) {
        const struct listener *l =
                listener_table_find(instance_table(i)->listeners, i->config->sockets[k]);

        return l && m < l->n_sockets ? l->sockets[m] : NULL;
}

/* The socket of a lane; NULL when the listener has another one now. */
static struct listener_socket *socket_of(const struct lane *lane) {
        const struct instance *i = lane->all->instance;
        struct listener_socket *s;

        for (size_t k = 0; k < i->config->n_sockets; k++)
                for (size_t m = 0; (s = socket_at(i, k, m)); m++)
                        if (s->inode == lane->inode)
                                return s;
        return NULL;
}

/* The first of each listener, then the second of each: it has to be one of the first sixteen. */
static size_t find_sockets(const struct instance *i, ino_t *ret) {
        const struct listener_socket *s;
        bool more = true;
        size_t n = 0;

        for (size_t m = 0; more; m++) {
                more = false;
                for (size_t k = 0; k < i->config->n_sockets; k++) {
                        if (!(s = socket_at(i, k, m)))
                                continue;
                        more = true;
                        if (n < LANES_MAX && can_be_asked(s))
                                ret[n++] = s->inode;
                }
        }
        return n;
}

/* ---- rounds -----------------------------------------------------------------------------------*/

static void begin_round(void *owner);

/* An eighth of the time so far: soon at first, and no burden to who serves meanwhile. */
static void begin_next(struct lane *lane) {
        uint64_t usec = (loop_now_usec() - lane->all->begin_usec) / 8;

        usec = usec < ROUND_MIN_USEC ? ROUND_MIN_USEC : usec;
        timer_start(&lane->next, instance_table(lane->all->instance)->loop,
                    usec < ROUND_MAX_USEC ? usec : ROUND_MAX_USEC, begin_round, lane);
}

/* True when that was the last that could be reached. */
static bool is_last_in_reach(struct lane *lane) {
        if (lane->out_of_reach || ++lane->refused_rounds < MUTE_ROUNDS)
                return false;
        lane->out_of_reach = true;
        return ++lane->all->n_out_of_reach == lane->all->n_lanes;
}

static void was_reached(struct lane *lane) {
        lane->refused_rounds = 0;
        lane->all->n_out_of_reach -= lane->out_of_reach;
        lane->out_of_reach = false;
}

static void end_round(struct lane *lane) {
        bool mute;

        if (lane->told || lane->accepted) {
                was_reached(lane);
                lane->burst = INSTANCE_PROBES_MAX;
                lane->was_told |= lane->told;
                /* By a server that closes at once, or that we may not look into: if others had been
                 * seen to accept, so would it. */
                mute = !lane->was_told && ++lane->untold_rounds >= MUTE_ROUNDS;
        } else {
                lane->burst = 1;
                mute = is_last_in_reach(lane);
        }
        if (mute)
                instance_accepts_untold(lane->all->instance); /* frees all lanes */
        else
                begin_next(lane);
}

static void on_probed(void *owner, enum health_result result, const char *text) {
        struct lane *lane = owner;

        lane->n_probing--;
        if (result == HEALTH_GOOD) {
                instance_accepts(lane->all->instance, text); /* frees all lanes */
                return;
        }
        lane->all->by_others += result == HEALTH_ELSEWHERE;
        lane->told |= result == HEALTH_ELSEWHERE;
        lane->accepted |= result == HEALTH_UNTOLD;
        if (lane->n_probing == 0)
                end_round(lane);
}

/* Who serves takes what we left; else the queue tells how much of it can still be there. */
static bool may_connect(const struct lane *lane, struct listener_socket *s) {
        struct queue q;

        if (component_generation(lane->all->instance->component) > 0)
                return true;
        if (queue_read(s->fd, &q) == 0 && q.length < s->left_waiting)
                s->left_waiting = q.length;
        return s->left_waiting < LEFT_WAITING_MAX;
}

static void probe(struct lane *lane, const struct listener_socket *s) {
        struct instance *i = lane->all->instance;
        struct component_table *t = instance_table(i);
        struct health_target target = {.config = &one_that_waits,
                                       .component = i->config,
                                       .cgroups = &t->cgroups,
                                       .tree = &i->tree,
                                       .address_size = sizeof(target.address)};

        if (getsockname(s->fd, (struct sockaddr *) &target.address, &target.address_size) < 0)
                target.address_size = 0;
        for (unsigned k = 0; k < lane->burst; k++)
                if (health_start(&lane->probes[k], t->loop, t->log, &target, on_probed, lane) == 0)
                        lane->n_probing++;
        lane->all->made += lane->n_probing;
}

static void begin_round(void *owner) {
        struct lane *lane = owner;
        struct listener_socket *s = socket_of(lane);

        lane->told = lane->accepted = false;
        if (s && !may_connect(lane, s)) {
                begin_next(lane);
                return;
        }
        if (s)
                probe(lane, s);
        if (lane->n_probing == 0)
                end_round(lane);
}

/* ---- from outside -----------------------------------------------------------------------------*/

static const char *why_ready(const struct instance *i) {
        return i->config->type == COMPONENT_NOTIFY ? "it said READY=1" : "it runs";
}

int instance_accept_start(struct instance *i) {
        ino_t inodes[LANES_MAX];
        struct accepting *a;
        size_t n;

        if (i->accepting)
                return 0;
        n = find_sockets(i, inodes);
        if (n == 0)
                return -ENOENT;
        a = calloc(1, sizeof(*a) + n * sizeof(a->lanes[0]));
        if (!a)
                return -ENOMEM;
        log_info(
                instance_table(i)->log, INSTANCE_ABOUT(i),
                "%s: generation %llu: %s and is not seen to wait for connections; some are made to "
                "find out whether it accepts",
                i->component->name, (unsigned long long) i->generation, why_ready(i));
        a->instance = i;
        a->begin_usec = loop_now_usec();
        a->n_lanes = n;
        i->accepting = a;
        for (size_t k = 0; k < n; k++) {
                a->lanes[k] = (struct lane){.all = a, .inode = inodes[k], .burst = 1};
                timer_start(&a->lanes[k].next, instance_table(i)->loop, 0, begin_round,
                            &a->lanes[k]);
        }
        return 0;
}

static void stop_lane(struct lane *lane) {
        struct listener_socket *s = socket_of(lane);

        timer_stop(&lane->next);
        for (unsigned k = 0; k < INSTANCE_PROBES_MAX; k++) {
                if (s && health_is_waiting(&lane->probes[k]))
                        s->left_waiting++;
                health_stop(&lane->probes[k]);
        }
}

void instance_accept_stop(struct instance *i) {
        for (size_t k = 0; i->accepting && k < i->accepting->n_lanes; k++)
                stop_lane(&i->accepting->lanes[k]);
        free(i->accepting);
        i->accepting = NULL;
}

bool instance_accept_text(const struct instance *i, char *buffer, size_t size) {
        const struct accepting *a = i->accepting;
        char others[64] = "";

        if (!a)
                return false;
        if (a->by_others > 0)
                (void) snprintf(others, sizeof(others), " (others accepted %llu)",
                                (unsigned long long) a->by_others);
        (void) snprintf(buffer, size,
                        ": %s and accepted none of %llu connection%s%s; if that is meant, set "
                        "HealthCheck=no",
                        why_ready(i), (unsigned long long) a->made, a->made == 1 ? "" : "s",
                        others);
        return true;
}
