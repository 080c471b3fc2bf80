/* What is to be done next for one component, decided anew each time something changed. */
#include "components/operation.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "components/component_table.h"
#include "components/instance_private.h"
#include "components/kept.h"
#include "components/queue_sample.h"
#include "components/runtime_directory.h"
#include "core/helper.h"

/* ---- its life ---------------------------------------------------------------------------------*/

int operation_new(struct component *c, enum job_kind kind, struct operation **ret) {
        struct operation *op = calloc(1, sizeof(*op));

        if (!op)
                return -ENOMEM;
        op->component = c;
        op->kind = kind;
        *ret = op;
        return 0;
}

void operation_add_item(struct operation *op, struct job_item *item) {
        if (!item)
                return;
        LIST_INSERT_HEAD(&op->items, item, in_operation);
        item->operation = op;
        if (op->kind != JOB_RELOAD && !item->decided)
                component_forgive_places(op->component); /* they are asked for, too */
}

void operation_unlink_item(struct job_item *item) {
        if (item->operation)
                LIST_REMOVE(item, in_operation);
        item->operation = NULL;
}

struct operation *operation_free(struct operation *op) {
        if (op) {
                if (timer_is_started(&op->sample))
                        op->component->table->n_sampled--;
                timer_stop(&op->sample);
                helper_stop(op->strays);
                operation_stop_check(op);
                while (!LIST_EMPTY(&op->items))
                        operation_unlink_item(LIST_FIRST(&op->items));
                receipt_clear(&op->receipt);
                free(op);
        }
        return NULL;
}

/* The receipt is complete. Frees it. */
static void finish(struct operation *op) {
        struct component *c = op->component;
        struct job_item *item;

        operation_sample_stop(op);
        operation_give_receipt(op);
        op->is_over = true;
        if (c->operation == op)
                c->operation = NULL;
        else if (c->next == op)
                c->next = NULL;
        else
                TAILQ_REMOVE(&c->draining, op, entry);
        while ((item = LIST_FIRST(&op->items))) {
                operation_unlink_item(item);
                job_item_finished(item);
        }
        operation_free(op);
        component_touch(c);
}

static void cancel(struct operation *op, const char *reason) {
        if (!op)
                return;
        operation_decide(op, VERDICT_CANCELED, reason);
        finish(op);
}

/* ---- starting and stopping --------------------------------------------------------------------*/

bool operation_starts(const struct operation *op) {
        return job_kind_starts(op->kind) && !op->decided;
}

/* How far it has come: one that a broker after us resumes is not to begin anything twice. */
static void keep_progress(const struct operation *op) {
        struct job_item *item;

        LIST_FOREACH (item, &op->items, in_operation) {
                item->places = op->begun;
                item->receipt.generation_before = op->receipt.generation_before;
                item->receipt.generation = op->generation;
                item->drops_before = op->drops_before;
                job_item_keep(item);
        }
}

/* A start that failed in one place leaves others that are starting. */
static void stop_starting(const struct component *c) {
        struct instance *i;

        TAILQ_FOREACH (i, &c->instances, entry)
                if (instance_is_starting(i))
                        instance_stop(i);
}

static void start_instance(struct operation *op, unsigned index) {
        struct component *c = op->component;
        struct instance *i;

        if (op->generation == 0) {
                stop_starting(c); /* never two generations at a time, in whatever places */
                op->generation = component_new_generation(c);
                op->receipt.generation = op->generation;
                op->begun = 0;
        }
        if (instance_new(c, op->generation, index, &i) == 0)
                instance_keep(i); /* first: a place where one was begun and none is has failed */
        else
                i = NULL; /* seen as failed by the next look */
        op->begun |= component_place(index);
        keep_progress(op);
        if (!i)
                return;
        instance_begin(i);
        if (instance_is_starting(i))
                operation_tell(op, "starting", i, "");
}

static void send_away(struct operation *op, struct instance *i) {
        if (i->life >= LIFE_DRAINING)
                return;
        i->drain_by_operation = true;
        operation_tell(op, "draining", i, "");
        instance_stop(i);
}

/* Who asks for a stop is not to wait as long as one that ends by itself likes. */
static void send_away_leaving(struct operation *op, struct instance *i) {
        if (!instance_leaves_unasked(i))
                return;
        i->drain_by_operation = true;
        operation_tell(op, "draining", i, "");
        instance_stop_leaving(i);
}

/* All in this place that is older than this generation; 0: all. */
static bool stop_older(struct operation *op, unsigned index, uint64_t generation) {
        struct component *c = op->component;
        struct instance *i, *next;
        bool any = false;

        for (i = TAILQ_FIRST(&c->instances); i; i = next) {
                next = TAILQ_NEXT(i, entry);
                if (i->index != index || (generation > 0 && i->generation >= generation) ||
                    i->life == LIFE_STOPPED)
                        continue;
                any = true;
                send_away(op, i);
        }
        return any;
}

/* Of places that the configuration has no more. */
static void stop_surplus(const struct operation *op) {
        struct instance *i;

        TAILQ_FOREACH (i, &op->component->instances, entry)
                if (i->index >= op->component->config->instances)
                        instance_stop(i);
}

/* The broker ends: nothing is begun any more, also where it is not yet the stop's turn. */
static bool is_too_late(struct operation *op) {
        if (!op->component->table->stopping)
                return false;
        if (!op->receipt.reason[0])
                (void) snprintf(op->receipt.reason, sizeof(op->receipt.reason),
                                "the broker is ending");
        return true;
}

/* ---- what is to be done next ------------------------------------------------------------------*/

enum step {
        STEP_WAIT,   /* for an instance to change */
        STEP_DONE,   /* this place is as it should be */
        STEP_FAILED, /* and will not be */
};

/* What it started there said that it ends, and has not yet: how it ends is to be told. */
static bool is_being_left(const struct operation *op, unsigned index) {
        const struct instance *i;

        TAILQ_FOREACH (i, &op->component->instances, entry)
                if (i->index == index && i->generation == op->generation && i->leaves)
                        return true;
        return false;
}

/* It is on its way already in some places: what is started in others is part of it, and those that
 * are starting are left in peace. */
static void join_starting(struct operation *op) {
        const struct instance *i;

        TAILQ_FOREACH (i, &op->component->instances, entry) {
                if (!instance_is_starting(i) ||
                    (op->generation > 0 && i->generation != op->generation))
                        continue;
                op->generation = op->receipt.generation = i->generation;
                op->begun |= component_place(i->index);
        }
        if (op->generation > 0)
                keep_progress(op);
}

/* One of this generation is still on its way out of this place: they would share their names. */
static bool is_occupied(const struct operation *op, unsigned index) {
        const struct instance *i;

        TAILQ_FOREACH (i, &op->component->instances, entry)
                if (i->index == index && i->generation == op->generation)
                        return true;
        return false;
}

/* Given up, and nobody has asked for it since. */
static bool is_left_alone(const struct operation *op, unsigned index) {
        return (component_failed_places(op->component) & component_place(index)) &&
               !(op->begun & component_place(index));
}

static enum step advance_place(struct operation *op, unsigned index) {
        struct component *c = op->component;
        struct instance *serving = component_serving(c, index),
                        *starting = component_starting(c, index);

        if (serving && (op->kind != JOB_RESTART ||
                        (op->generation > 0 && serving->generation >= op->generation))) {
                (void) stop_older(op, index, serving->generation);
                return STEP_DONE;
        }
        if (is_left_alone(op, index))
                return STEP_DONE;
        if (op->generation == 0 && op->kind != JOB_RESTART)
                join_starting(op);
        if (starting && starting->generation == op->generation)
                return STEP_WAIT;
        if (starting) { /* by itself, after it had ended: what was asked for comes later */
                instance_stop(starting);
                return STEP_WAIT;
        }
        if (is_too_late(op))
                return STEP_FAILED;
        if (op->generation == 0 && operation_checks_conditions(op))
                return STEP_WAIT;
        if (op->begun & component_place(index))
                return is_being_left(op, index) ? STEP_WAIT : STEP_FAILED;
        if (op->unmet)
                return STEP_FAILED;
        if (c->config->handover == HANDOVER_STOP_FIRST &&
            (stop_older(op, index, op->generation) || c->n_killed > 0))
                return STEP_WAIT;
        if (is_occupied(op, index) || component_is_crowded(c, index) ||
            runtime_directory_is_busy(c))
                return STEP_WAIT;
        start_instance(op, index);
        return component_starting(c, index) ? STEP_WAIT : STEP_FAILED;
}

static void move_to_draining(struct operation *op) {
        struct component *c = op->component;

        if (c->operation == op) {
                c->operation = NULL;
                TAILQ_INSERT_TAIL(&c->draining, op, entry);
        }
}

/* Places that the configuration has only now never served, and are no loss. */
static bool is_kept(const struct operation *op) {
        uint64_t serve = component_served_places(op->component);

        return op->kind == JOB_RESTART && op->served && (serve & op->served) == op->served;
}

static void decide_start(struct operation *op, bool good) {
        struct component *c = op->component;

        if (good) {
                /* The one before may have ended meanwhile, of its own will and for good. */
                if (c->goal != GOAL_RUNNING)
                        component_set_goal(c, GOAL_RUNNING, "");
                operation_describe_ready(op);
                op->receipt.generation = component_generation(c);
                operation_decide(op, op->begun ? VERDICT_SERVES : VERDICT_NOTHING, "");
        } else {
                char reason[REASON_SIZE];

                (void) snprintf(reason, sizeof(reason), "%s",
                                op->receipt.reason[0] ? op->receipt.reason : "it did not start");
                operation_decide(op,
                                 is_kept(op)                    ? VERDICT_KEPT
                                 : op->unmet == UNMET_CONDITION ? VERDICT_NOTHING
                                                                : VERDICT_FAILED,
                                 reason);
                if (op->unmet == UNMET_UNKNOWN && !is_kept(op))
                        component_never_began(c, reason);
        }
        move_to_draining(op);
}

static void advance_start(struct operation *op) {
        struct component *c = op->component;
        bool one_by_one = op->kind == JOB_RESTART, waits = false;
        unsigned index;

        for (index = 0; index < c->config->instances; index++) {
                switch (advance_place(op, index)) {
                case STEP_DONE:
                        continue;
                case STEP_WAIT:
                        waits = true;
                        if (one_by_one)
                                return;
                        continue;
                case STEP_FAILED:
                        decide_start(op, false);
                        return;
                }
        }
        if (waits)
                return;
        stop_surplus(op);
        decide_start(op, true);
}

static void advance_stop(struct operation *op) {
        struct component *c = op->component;
        struct instance *i, *next;

        for (i = TAILQ_FIRST(&c->instances); i; i = next) {
                next = TAILQ_NEXT(i, entry);
                op->found = true;
                send_away(op, i);
                send_away_leaving(op, i);
        }
        if (TAILQ_EMPTY(&c->instances) && c->n_killed == 0 && !runtime_directory_is_busy(c) &&
            !op->decided)
                operation_decide(op,
                                 op->found || op->changed || op->receipt.generation_before > 0
                                         ? VERDICT_DONE
                                         : VERDICT_NOTHING,
                                 "");
}

static void advance_reload(struct operation *op) {
        struct instance *i;
        bool any = false;

        TAILQ_FOREACH (i, &op->component->instances, entry) {
                if (i->life == LIFE_READY && !(op->begun & component_place(i->index))) {
                        op->begun |= component_place(i->index);
                        (void) instance_reload(i);
                        keep_progress(op);
                }
                any = any || i->life == LIFE_READY;
                if (i->life == LIFE_READY && i->reloading)
                        return;
                if (i->life == LIFE_READY && i->reason[0]) {
                        operation_decide(op, VERDICT_FAILED, i->reason);
                        i->reason[0] = '\0';
                        instance_keep(i);
                        return;
                }
        }
        if (any)
                operation_decide(op, VERDICT_DONE, "");
        else
                operation_decide(op, VERDICT_FAILED, "it does not run");
}

/* What drains has been sent by others: neither its receipt nor who comes next waits for that. */
static bool ended_nothing(const struct operation *op) {
        return op->kind == JOB_RELOAD || op->receipt.verdict == VERDICT_NOTHING;
}

/* On its way out, and part of the receipt. */
static bool waits_for(const struct operation *op, const struct instance *i) {
        if (!instance_is_ending(i))
                return false;
        if (op->generation > 0 && i->generation == op->generation)
                return !verdict_is_good(op->receipt.verdict); /* what failed */
        return true;
}

static bool is_drained(const struct operation *op) {
        const struct instance *i;

        TAILQ_FOREACH (i, &op->component->instances, entry)
                if (waits_for(op, i))
                        return false;
        return true;
}

/* Its receipt is complete. Looking for strays begins when all have gone. */
static bool is_complete(struct operation *op) {
        return ended_nothing(op) || (is_drained(op) && !operation_looks_for_strays(op));
}

void operation_advance(struct operation *op) {
        if (op->is_over)
                return;
        if (!op->decided) {
                if (job_kind_starts(op->kind))
                        advance_start(op);
                else if (op->kind == JOB_RELOAD)
                        advance_reload(op);
                else
                        advance_stop(op);
        }
        if (op->decided && is_complete(op)) {
                op->receipt.drained = true;
                finish(op);
        }
}

/* ---- requests ---------------------------------------------------------------------------------*/

static void set_goal(struct component *c, enum job_kind kind) {
        if (job_kind_starts(kind))
                component_set_goal(c, GOAL_RUNNING, "");
        else if (kind == JOB_STOP)
                component_set_goal(c, GOAL_STOPPED, "");
        else if (kind == JOB_PAUSE)
                component_set_goal(c, GOAL_PAUSED, "");
}

void operation_set_goal(struct operation *op) {
        enum component_goal before = op->component->goal;

        set_goal(op->component, op->kind);
        op->changed = op->component->goal != before;
}

void operation_begin(struct operation *op) {
        struct component *c = op->component;

        op->receipt.generation_before = component_generation(c);
        op->served = component_served_places(c);
        operation_sample_start(op, queue_sample_drops(c));
        keep_progress(op);
        operation_set_goal(op);
        if (op->kind != JOB_RELOAD)
                component_stop_back_off(c, !LIST_EMPTY(&op->items));
        component_touch(c);
}

static bool is_joined(struct operation *op, enum job_kind kind, struct job_item *item) {
        if (!op || op->kind != kind)
                return false;
        operation_add_item(op, item);
        return true;
}

int operation_request(struct component *c, enum job_kind kind, struct job_item *item) {
        bool stops = kind == JOB_STOP || kind == JOB_PAUSE;
        const char *why = job_cancel_reason(kind, c);
        struct operation *op;
        int r;

        if (job_kind_starts(kind) && c->table->stopping)
                return -ESHUTDOWN;
        /* A restart that is under way may have read the program before what is to be deployed. */
        if (is_joined(c->next, kind, item))
                return 0;
        /* What waits to be restarted is started and reloaded by that, too. */
        if (!stops && is_joined(c->next, JOB_RESTART, item))
                return 0;
        if (kind != JOB_RESTART && kind != JOB_RELOAD && is_joined(c->operation, kind, item)) {
                if (stops)
                        cancel(c->next, why); /* was asked for before this */
                return 0;
        }
        r = operation_new(c, kind, &op);
        if (r < 0)
                return r;
        operation_add_item(op, item);
        if (stops) {
                cancel(c->next, why);
                cancel(c->operation, why);
        }
        if (c->operation) {
                cancel(c->next, "something else was asked for later");
                c->next = op;
                return 0;
        }
        c->operation = op;
        operation_begin(op);
        return 0;
}
