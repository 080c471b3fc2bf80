/* Who has the listeners of a component open after a hand-over, and belongs to no generation. */
#include <stdio.h>

#include "components/component_table.h"
#include "components/listener_inodes.h"
#include "components/operation.h"
#include "components/process_end.h"
#include "keeper/memory.h"
#include "sockets/listener_table.h"

static void on_strays(void *owner, const char *result, size_t size) {
        struct operation *op = owner;
        struct strays found = {0};

        op->strays = NULL;
        op->strays_known = true;
        if (child_result_read(result, size, &found, sizeof(found)))
                op->receipt.held_on.strays = found;
        for (size_t k = 0; k < found.count; k++)
                log_warning(
                        op->component->table->log,
                        ABOUT(.component = op->component->name, .pid = found.of[k].pid),
                        "%s: process %d (%s) has its listener open and belongs to no generation "
                        "any more; it may take connections and never serve them: end it",
                        op->component->name, (int) found.of[k].pid, found.of[k].name);
        component_touch(op->component);
}

/* The group of a holder: what it forked for its work is its own affair. */
static bool is_of_a_holder(const struct component *c, pid_t pid) {
        struct process_stat found, holder;
        const struct lease *lease;

        if (process_stat_read(pid, &found) < 0 || found.state == 'Z')
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

/*
 * Of any component, because several may share a listener; one that was forked just now, too. And a
 * keeper from outside, which is neither who started us nor our child.
 */
static bool is_known(const void *owner, pid_t pid) {
        const struct operation *op = owner;
        const struct memory *memory = op->component->table->memory;

        if (memory && memory_is_kept_by(memory, pid))
                return true;
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

/*
 * It takes tens of milliseconds of a processor, which those who are served at that moment feel. Out
 * of a cgroup only who is moved gets, by an su(1) that makes a session of it or by an
 * administrator, so with cgroups many restarts at a time are not paid for with as many searches.
 */
static bool is_worth_it(struct component_table *t) {
        unsigned suppressed;

        return t->cgroups.fd < 0 || rate_limit_pass(&t->strays, loop_now_usec(), &suppressed);
}

bool operation_looks_for_strays(struct operation *op) {
        struct component *c = op->component;
        struct listener_inodes inodes;

        if (op->strays || op->strays_known)
                return op->strays;
        op->strays_known = true;
        if (op->receipt.generation_before == 0)
                return false;
        listener_inodes_get(c, &inodes);
        if (inodes.count == 0 || !is_worth_it(c->table))
                return false;
        op->strays_known = false;
        if (stray_search_start(&op->strays, c->table->loop, &inodes, is_known, on_strays, op) < 0)
                op->strays_known = true;
        return op->strays;
}
