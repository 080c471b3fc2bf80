/*
 * What a component is doing, read from its instances, and what is done about it in its turn of the
 * loop: the dead are buried, ends that nobody asked for are answered by the restart policy, and
 * what is under way goes on.
 */
#include "components/component.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "components/component_table.h"
#include "components/kept.h"
#include "components/operation.h"
#include "components/runtime_directory.h"
#include "components/stall.h"
#include "components/trigger.h"
#include "core/clock.h"
#include "sockets/listener_table.h"

#define DRAINING_MAX 4 /* old instances in one place */
#define TURNS_MAX 16   /* before the loop looks at all else */
/* Who served so long has recovered: its next end begins a new count of RestartSteps=. */
#define RECOVERED_USEC (UINT64_C(10) * 1000 * 1000)

static const char *const state_names[] = {
        [COMPONENT_STOPPED] = "stopped",       [COMPONENT_WAITING] = "waiting",
        [COMPONENT_STARTING] = "starting",     [COMPONENT_READY] = "ready",
        [COMPONENT_RESTARTING] = "restarting", [COMPONENT_DRAINING] = "draining",
        [COMPONENT_PAUSED] = "paused",         [COMPONENT_BACK_OFF] = "back-off",
        [COMPONENT_FAILED] = "failed",
};

const char *component_state_name(enum component_state state) {
        return state_names[state];
}

const char *component_goal_name(enum component_goal goal) {
        static const char *const names[N_GOALS] = {
                [GOAL_STOPPED] = "stopped",
                [GOAL_RUNNING] = "running",
                [GOAL_PAUSED] = "paused",
                [GOAL_FAILED] = "failed",
        };

        return names[goal];
}

/* ---- what follows from its instances ----------------------------------------------------------*/

struct instance *component_serving(const struct component *c, unsigned index) {
        struct instance *i, *newest = NULL;

        TAILQ_FOREACH (i, &c->instances, entry)
                if (i->index == index && i->life == LIFE_READY &&
                    (!newest || i->generation > newest->generation))
                        newest = i;
        return newest;
}

struct instance *component_starting(const struct component *c, unsigned index) {
        struct instance *i;

        TAILQ_FOREACH (i, &c->instances, entry)
                if (i->index == index && (i->life == LIFE_NEW || instance_is_starting(i)))
                        return i;
        return NULL;
}

uint64_t component_generation(const struct component *c) {
        const struct instance *i;
        uint64_t newest = 0;

        TAILQ_FOREACH (i, &c->instances, entry)
                if (i->life == LIFE_READY && i->generation > newest)
                        newest = i->generation;
        return newest;
}

uint64_t component_served_places(const struct component *c) {
        const struct instance *i;
        uint64_t places = 0;

        TAILQ_FOREACH (i, &c->instances, entry)
                if (i->life == LIFE_READY)
                        places |= UINT64_C(1) << i->index;
        return places;
}

static bool has_instance(const struct component *c, bool (*is)(const struct instance *i)) {
        const struct instance *i;

        TAILQ_FOREACH (i, &c->instances, entry)
                if (is(i))
                        return true;
        return false;
}

static bool is_serving(const struct instance *i) {
        return i->life == LIFE_READY;
}

/* What serves is not just the first of several that are being started: it is older, or part of a
 * restart that found others to replace. */
static bool is_replaced(const struct component *c) {
        const struct operation *op = c->operation;
        const struct instance *i;
        uint64_t newest = 0;

        TAILQ_FOREACH (i, &c->instances, entry)
                if (instance_is_starting(i) && i->generation > newest)
                        newest = i->generation;
        TAILQ_FOREACH (i, &c->instances, entry)
                if (is_serving(i) &&
                    (i->generation < newest ||
                     (op && op->kind == JOB_RESTART && op->receipt.generation_before > 0)))
                        return true;
        return false;
}

enum component_state component_state(const struct component *c) {
        bool serves = has_instance(c, is_serving);

        if (has_instance(c, instance_is_starting))
                return is_replaced(c) ? COMPONENT_RESTARTING : COMPONENT_STARTING;
        if (serves)
                return component_failed_places(c) ? COMPONENT_FAILED : COMPONENT_READY;
        if (has_instance(c, instance_is_ending))
                return COMPONENT_DRAINING;
        switch (c->goal) {
        case GOAL_PAUSED:
                return COMPONENT_PAUSED;
        case GOAL_FAILED:
                return COMPONENT_FAILED;
        case GOAL_STOPPED:
                return COMPONENT_STOPPED;
        case GOAL_RUNNING:
        case N_GOALS:
                break;
        }
        if (timer_is_started(&c->back_off))
                return COMPONENT_BACK_OFF;
        return c->config->on_demand && !c->operation ? COMPONENT_WAITING : COMPONENT_STARTING;
}

/* ---- what is wanted of it ---------------------------------------------------------------------*/

void component_set_goal(struct component *c, enum component_goal goal, const char *reason) {
        c->goal = goal;
        if (goal != GOAL_RUNNING)
                component_forgive_places(c); /* it is all of it now */
        (void) snprintf(c->reason, sizeof(c->reason), "%s", reason);
        component_keep(c);
}

void component_stop_back_off(struct component *c, bool forgive) {
        timer_stop(&c->back_off);
        c->back_off_until_usec = 0;
        if (forgive)
                restart_policy_reset(&c->policy);
}

uint64_t component_new_generation(struct component *c) {
        c->last_generation++;
        component_keep(c);
        return c->last_generation;
}

bool component_is_crowded(struct component *c, unsigned index) {
        struct instance *i, *oldest = NULL;
        size_t n = 0;

        TAILQ_FOREACH (i, &c->instances, entry) {
                if (i->index != index || !instance_is_ending(i))
                        continue;
                n++;
                if (!oldest)
                        oldest = i;
        }
        if (n < DRAINING_MAX)
                return false;
        if (oldest->life == LIFE_DRAINING) /* else it is on its way, and has its own time */
                instance_event(oldest, LIFE_DEADLINE);
        return true;
}

/* ---- ends that nobody asked for ---------------------------------------------------------------*/

static void give_up(struct component *c, uint64_t places, const char *prefix, const char *how) {
        char reason[REASON_SIZE];

        (void) snprintf(reason, sizeof(reason), "%s%s", prefix, how);
        if (component_fail_places(c, places, reason))
                return;
        log_error(c->table->log, ABOUT(.component = c->name),
                  "%s failed: %s%s. `fdpass start %s` tries again", c->name, reason,
                  c->config->n_sockets > 0 ? "; its listeners are held" : "", c->name);
        component_set_goal(c, GOAL_FAILED, reason);
}

static void on_back_off(void *owner) {
        struct component *c = owner;

        c->back_off_until_usec = 0;
        if (c->goal != GOAL_RUNNING || c->config->on_demand)
                component_touch(c);
        else
                (void) operation_request(c, JOB_START, NULL);
}

static void back_off(struct component *c, uint64_t places, const char *why) {
        uint64_t delay;

        if (!restart_policy_may_start(&c->policy, c->config, loop_now_usec())) {
                give_up(c, places,
                        "it was started too often (StartLimitBurst=); the last time: ", why);
                return;
        }
        delay = restart_policy_delay_usec(&c->policy, c->config);
        c->restarts++;
        (void) snprintf(c->reason, sizeof(c->reason), "%s", why);
        c->back_off_until_usec = loop_now_usec() + delay;
        timer_start(&c->back_off, c->table->loop, delay, on_back_off, c);
        log_notice(c->table->log, ABOUT(.component = c->name), "%s is started again in %llu ms",
                   c->name, (unsigned long long) (delay / 1000));
        component_keep(c);
}

void component_resume_back_off(struct component *c, uint64_t until_usec) {
        uint64_t now = loop_now_usec();

        if (until_usec == 0 || c->goal != GOAL_RUNNING)
                return;
        c->back_off_until_usec = until_usec;
        timer_start(&c->back_off, c->table->loop, until_usec > now ? until_usec - now : 0,
                    on_back_off, c);
}

/* Who is to say READY=1 and ends without it has failed, however well it ended. One that connections
 * start may find that there is nothing to do. */
static enum end_cause cause_of(const struct instance *i) {
        if (i->cause == END_BY_ITSELF && i->executed && i->config->type == COMPONENT_NOTIFY &&
            !i->config->on_demand && !i->was_ready && i->said_ready_usec == 0 &&
            restart_policy_is_success(i->config, i->tree.end, i->tree.status))
                return END_BY_SILENCE;
        return i->cause;
}

static void ended_by_itself(struct component *c, const struct instance *i) {
        enum end_cause cause = cause_of(i);
        bool is_success = cause == END_BY_ITSELF && i->executed &&
                          restart_policy_is_success(i->config, i->tree.end, i->tree.status);

        c->last_end = i->tree.end;
        c->last_status = i->tree.status;
        c->last_end_usec = clock_realtime_usec();
        (void) snprintf(c->last_reason, sizeof(c->last_reason), "%s", i->reason);
        if (i->was_ready && i->ended_usec - i->ready_usec >= RECOVERED_USEC)
                restart_policy_reset(&c->policy);
        /* Not wanted, or another generation has its place: the old one stayed. */
        if (c->goal != GOAL_RUNNING || c->table->stopping || component_serving(c, i->index) ||
            component_starting(c, i->index)) {
                component_keep(c);
                return;
        }
        if (restart_policy_wants(i->config, cause, i->tree.end, i->tree.status))
                back_off(c, component_place(i->index), i->reason);
        else if (is_success && c->config->on_demand)
                component_keep(c); /* waits for the next connection */
        else if (is_success && !has_instance(c, is_serving) && !component_failed_places(c))
                component_set_goal(c, GOAL_STOPPED, i->reason);
        else
                give_up(c, component_place(i->index), "", i->reason[0] ? i->reason : "it ended");
}

void component_never_began(struct component *c, const char *reason) {
        uint64_t places = ~component_served_places(c);

        if (c->goal != GOAL_RUNNING || c->table->stopping)
                return;
        if (restart_policy_wants(c->config, END_BY_ITSELF, PROCESS_UNKNOWN, 0))
                back_off(c, places, reason);
        else
                give_up(c, places, "", reason);
}

static void tell_drained(struct component *c, const struct instance *i) {
        struct operation *op;

        if (!i->drain_by_operation)
                return;
        if (c->operation)
                operation_instance_drained(c->operation, i);
        TAILQ_FOREACH (op, &c->draining, entry)
                operation_instance_drained(op, i);
}

static void reap(struct component *c) {
        struct instance *i, *next;

        for (i = TAILQ_FIRST(&c->instances); i; i = next) {
                next = TAILQ_NEXT(i, entry);
                if (i->life != LIFE_STOPPED)
                        continue;
                /* It may have been ready for less than a turn of the loop. */
                if (c->operation && (!i->was_ready || !i->asked_to_stop))
                        operation_instance_failed(c->operation, i);
                tell_drained(c, i);
                if (!i->asked_to_stop)
                        ended_by_itself(c, i);
                runtime_directory_left(c, i->config);
                instance_free(i);
        }
}

/* ---- its turn ---------------------------------------------------------------------------------*/

static void advance(struct component *c) {
        struct operation *op, *next;

        for (op = TAILQ_FIRST(&c->draining); op; op = next) {
                next = TAILQ_NEXT(op, entry);
                operation_advance(op);
        }
        if (c->operation)
                operation_advance(c->operation);
        if (!c->operation && c->next) {
                c->operation = c->next;
                c->next = NULL;
                operation_begin(c->operation);
        }
}

static void take_turn(struct component *c) {
        reap(c);
        runtime_directory_update(c);
        advance(c);
        trigger_update(c);
        stall_update(c);
        if (TAILQ_EMPTY(&c->instances) && c->n_killed == 0 && !c->operation &&
            TAILQ_EMPTY(&c->draining) && !runtime_directory_is_busy(c))
                component_idle(c); /* may free it */
}

/* Turns fork, which takes a millisecond: of a thousand components that are started at once, the
 * others have theirs after the loop has looked at sessions and all else. */
static void on_turns(void *owner) {
        struct component_table *t = owner;
        struct component *c, *last = TAILQ_LAST(&t->touched, component_queue);

        for (unsigned n = 0; n < TURNS_MAX && (c = TAILQ_FIRST(&t->touched)); n++) {
                component_untouch(c);
                take_turn(c); /* it may be freed now, and be `last` */
                if (c == last)
                        break;
        }
        if (!TAILQ_EMPTY(&t->touched))
                timer_start(&t->turns, t->loop, 0, on_turns, t);
}

void component_touch(struct component *c) {
        struct component_table *t = c->table;

        if (c->is_touched)
                return;
        c->is_touched = true;
        TAILQ_INSERT_TAIL(&t->touched, c, in_touched);
        if (!timer_is_started(&t->turns))
                timer_start(&t->turns, t->loop, 0, on_turns, t);
}

void component_untouch(struct component *c) {
        if (c->is_touched)
                TAILQ_REMOVE(&c->table->touched, c, in_touched);
        c->is_touched = false;
}

/* ---- for instance.c ---------------------------------------------------------------------------*/

/* To who waits for a start that it was of, and to who waits for its drain. */
static void tell_ended(struct component *c, struct instance *i) {
        struct operation *op;

        if (c->operation)
                operation_tell_ended(c->operation, i);
        TAILQ_FOREACH (op, &c->draining, entry)
                if (operation_drains(op, i) || op->generation == i->generation)
                        operation_tell_ended(op, i);
}

void component_instance_changed(struct component *c, struct instance *i, enum life before) {
        struct operation *op = c->operation;

        if (i->life == LIFE_READY && before != LIFE_READY)
                c->reason[0] = '\0';
        /* A start that has failed is not to wait for its end; how one ended that leaves is why. */
        if (op && !i->asked_to_stop && !i->leaves && i->life >= LIFE_DRAINING)
                operation_instance_failed(op, i);
        if (op && i->leaves && before < LIFE_DRAINING)
                operation_tell(op, "draining", i, instance_reason(i));
        if (op && before < LIFE_READY && i->life == LIFE_READY)
                operation_tell(op, "ready", i, "");
        else if (i->life == LIFE_STOPPED)
                tell_ended(c, i);
        component_touch(c);
}

void component_instance_sick(struct component *c, struct instance *i) {
        if (c->operation || c->goal != GOAL_RUNNING)
                return;
        if (!restart_policy_may_start(&c->policy, c->config, loop_now_usec())) {
                if (!i->is_left_sick)
                        log_error(c->table->log, ABOUT(.component = c->name),
                                  "%s is left as it is for now: it was started too often "
                                  "(StartLimitBurst=)",
                                  c->name);
                i->is_left_sick = true;
                return;
        }
        i->is_left_sick = false;
        c->restarts++;
        (void) operation_request(c, JOB_RESTART, NULL);
}
