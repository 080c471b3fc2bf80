/*
 * Condition…= and Assert…= of a start, looked at by a disposable child before anything of a
 * generation is there. A condition that is not met is no failure: the component is left as it is.
 * Where they cannot be looked at, for lack of a process say, the start has failed and is tried
 * again.
 */
#include <stdio.h>

#include "components/component_table.h"
#include "components/condition.h"
#include "components/operation.h"
#include "core/helper.h"
#include "core/log.h"

#define CHECK_USEC (30 * 1000 * 1000)

/* In the child. */
static void check(void *argument, int result_fd) {
        const struct component_config *config = argument;

        (void) dprintf(result_fd, "%zu", conditions_find_unmet(&config->conditions));
}

static void say_unmet(struct operation *op, enum unmet unmet, const char *what, const char *how) {
        struct component *c = op->component;

        op->unmet = unmet;
        (void) snprintf(op->receipt.reason, sizeof(op->receipt.reason), "%.200s %s", what, how);
        log_write(c->table->log, unmet == UNMET_CONDITION ? LEVEL_NOTICE : LEVEL_ERROR,
                  ABOUT(.component = c->name), "%s is not started: %s", c->name,
                  op->receipt.reason);
}

/* "ConditionPathExists=|!/x" */
static void set_unmet(struct operation *op, const struct condition *c) {
        char text[REASON_SIZE];

        (void) snprintf(text, sizeof(text), "%s%s=%s%s%s", c->is_assert ? "Assert" : "Condition",
                        condition_kind_name(c->kind), c->is_trigger ? "|" : "",
                        c->is_negated ? "!" : "", c->parameter);
        say_unmet(op, c->is_assert ? UNMET_ASSERTION : UNMET_CONDITION, text,
                  c->is_trigger ? "is not met, nor is another with '|'" : "is not met");
        if (component_served_places(op->component) == 0)
                component_set_goal(op->component, c->is_assert ? GOAL_FAILED : GOAL_STOPPED,
                                   op->receipt.reason);
}

static void on_checked(void *owner, const char *result, size_t size) {
        struct operation *op = owner;
        const struct conditions *all = &op->checked_config->conditions;
        size_t index;

        op->check = NULL;
        if (size == 0 || sscanf(result, "%zu", &index) != 1)
                say_unmet(op, UNMET_UNKNOWN, "its conditions", "could not be checked in 30 s");
        else if (index < all->count)
                set_unmet(op, &all->items[index]);
        operation_stop_check(op);
        component_touch(op->component);
}

bool operation_checks_conditions(struct operation *op) {
        struct component_config *config = op->component->config;

        if (op->check || op->is_checked || config->conditions.count == 0)
                return op->check;
        op->is_checked = true;
        if (helper_start(&op->check, op->component->table->loop, CHECK_USEC, check, config,
                         on_checked, op) < 0) {
                say_unmet(op, UNMET_UNKNOWN, "its conditions",
                          "could not be checked: no process or memory to be had");
                return false;
        }
        op->checked_config = component_config_ref(config);
        return true;
}

void operation_stop_check(struct operation *op) {
        op->check = helper_stop(op->check);
        component_config_unref(op->checked_config);
        op->checked_config = NULL;
}
