/* Who has the listeners of a component open after a hand-over, and belongs to no generation. */
#include <stdio.h>

#include "components/component_table.h"
#include "components/operation.h"
#include "components/process_end.h"
#include "sockets/listener_table.h"

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

/* The group of a holder: what it forked for its work is its own affair. */
static bool is_of_a_holder(const struct component *c, pid_t pid) {
        struct process_stat found, holder;
        const struct lease *lease;

        if (process_stat_read(pid, &found) < 0)
                return true; /* it has ended */
        for (size_t k = 0; k < c->config->n_sockets; k++) {
                const struct listener *l =
                        listener_table_find(c->table->listeners, c->config->sockets[k]);

                if (!l)
                        continue;
                LIST_FOREACH (lease, &l->leases, in_listener)
                        if (lease->holder->pid == pid ||
                            (process_stat_read(lease->holder->pid, &holder) == 0 &&
                             holder.group == found.group))
                                return true;
        }
        return false;
}

/* Of any component, because several may share a listener; one that was forked just now, too. */
static bool is_known(const void *owner, pid_t pid) {
        const struct operation *op = owner;

        for (const struct component *c = component_first(op->component->table); c;
             c = component_next(c)) {
                const struct instance *i;

                TAILQ_FOREACH (i, &c->instances, entry)
                        if (process_tree_has(&i->tree, pid) ||
                            process_tree_has(&i->control_tree, pid))
                                return true;
        }
        return is_of_a_holder(op->component, pid);
}

bool operation_looks_for_strays(struct operation *op) {
        struct component *c = op->component;
        uint64_t inodes[INODES_MAX];
        size_t n;

        if (op->strays || op->strays_known)
                return op->strays;
        op->strays_known = true;
        if (op->receipt.generation_before == 0)
                return false;
        n = component_listener_inodes(c, inodes, INODES_MAX);
        if (n == 0)
                return false;
        op->strays_known = false;
        op->nobody = (struct process_tree){
                .ended = true, .pidfd = -1, .cgroup_fd = -1, .events_fd = -1, .leader_fd = -1};
        if (connection_count_start(&op->strays, c->table->loop, &op->nobody, inodes, n, is_known,
                                   on_strays, op) < 0)
                op->strays_known = true;
        return op->strays;
}
