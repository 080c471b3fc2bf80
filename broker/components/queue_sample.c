/* Sums over the sockets of all listeners of a component. */
#include "components/queue_sample.h"

#include "components/component_table.h"
#include "sockets/listener_table.h"
#include "sockets/queue.h"

struct sums {
        uint64_t length, drops;
};

static struct sums add_up(const struct component *c) {
        struct sums sums = {0};
        struct queue q;

        for (size_t k = 0; k < c->config->n_sockets; k++) {
                const struct listener *l =
                        listener_table_find(c->table->listeners, c->config->sockets[k]);

                for (size_t m = 0; l && m < l->n_sockets; m++) {
                        if (queue_read(l->fds[m], &q) < 0)
                                continue;
                        sums.length += q.length;
                        if (q.drops == QUEUE_DROPS_UNKNOWN)
                                sums.drops = QUEUE_DROPS_UNKNOWN;
                        else if (sums.drops != QUEUE_DROPS_UNKNOWN)
                                sums.drops += q.drops;
                }
        }
        return sums;
}

uint64_t queue_sample_waits(const struct component *c) {
        return add_up(c).length;
}

uint64_t queue_sample_drops(const struct component *c) {
        return add_up(c).drops;
}
