/* Who has the listeners of a component open after a hand-over, and belongs to no generation. */
#include <stdio.h>

#include "components/component_table.h"
#include "components/operation.h"
#include "sockets/listener_table.h"

#define KNOWN_MAX 512
#define INODES_MAX 64

static void on_strays(void *owner, const struct connections *result) {
        struct operation *op = owner;
        struct connections *to = &op->receipt.held_on;

        op->strays = NULL;
        op->strays_known = true;
        for (size_t k = 0; result && k < result->n_strays; k++) {
                to->strays[k] = result->strays[k];
                to->n_strays = k + 1;
                log_warning(
                        op->component->table->log,
                        ABOUT(.component = op->component->name, .pid = result->strays[k].pid),
                        "%s: process %d (%s) has its listener open and belongs to no generation "
                        "any more; it may take connections and never serve them: end it",
                        op->component->name, (int) result->strays[k].pid, result->strays[k].name);
        }
        component_touch(op->component);
}

static size_t known_processes(const struct component *c, pid_t *ret, size_t max) {
        const struct instance *i;
        size_t n = 0;

        TAILQ_FOREACH (i, &c->instances, entry)
                n += process_tree_pids(&i->tree, ret + n, max - n);
        for (size_t k = 0; k < c->config->n_sockets; k++) {
                const struct listener *l =
                        listener_table_find(c->table->listeners, c->config->sockets[k]);
                const struct lease *lease;

                if (!l)
                        continue;
                LIST_FOREACH (lease, &l->leases, in_listener)
                        if (n < max)
                                ret[n++] = lease->holder->pid;
        }
        return n;
}

bool operation_looks_for_strays(struct operation *op) {
        struct component *c = op->component;
        pid_t known[KNOWN_MAX];
        uint64_t inodes[INODES_MAX];
        size_t n;

        if (op->strays || op->strays_known)
                return op->strays;
        op->strays_known = true;
        if (op->receipt.generation_before == 0 || c->table->cgroups.fd >= 0)
                return false;
        n = component_listener_inodes(c, inodes, INODES_MAX);
        if (n == 0)
                return false;
        op->strays_known = false;
        op->nobody = (struct process_tree){
                .ended = true, .pidfd = -1, .cgroup_fd = -1, .events_fd = -1, .leader_fd = -1};
        if (connection_count_start(&op->strays, c->table->loop, &op->nobody, inodes, n, known,
                                   known_processes(c, known, KNOWN_MAX), on_strays, op) < 0)
                op->strays_known = true;
        return op->strays;
}
