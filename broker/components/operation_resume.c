/* What a broker before us began goes on. */
#include "components/component.h"
#include "components/instance_private.h"
#include "components/operation.h"
#include "components/queue_sample.h"

/* It has its verdict: the old generation's end is waited for. */
static void resume_decided(struct operation *op, const struct job_item *item) {
        op->decided = true;
        (void) receipt_copy(&op->receipt, &item->receipt);
        operation_sample_start(op, item->drops_before);
        TAILQ_INSERT_TAIL(&op->component->draining, op, entry);
        component_touch(op->component);
}

static void resume_begun(struct operation *op, const struct job_item *item, uint64_t places) {
        struct component *c = op->component;

        op->begun = places;
        op->served = component_served_places(c);
        op->receipt.generation = op->generation;
        op->receipt.generation_before = item ? item->receipt.generation_before : 0;
        c->operation = op;
        if (item)
                operation_set_goal(op); /* the broker may have died right before */
        operation_sample_start(op, item ? item->drops_before : queue_sample_drops(c));
        component_touch(c);
}

/*
 * Several jobs had asked for the same. Of those that are to have it run only one operation of a
 * component begins at a time, so a start that had begun beside a restart was part of that.
 */
static bool is_joined_again(struct operation *op, enum job_kind kind, struct job_item *item) {
        bool start = job_kind_starts(kind) && job_kind_starts(op->kind);

        if (op->generation != item->receipt.generation || (op->kind != kind && !start))
                return false;
        if (kind == JOB_RESTART)
                op->kind = kind;
        operation_add_item(op, item);
        return true;
}

int operation_resume(struct component *c, enum job_kind kind, struct job_item *item) {
        uint64_t generation = item->receipt.generation;
        bool has_begun = job_item_has_begun(item);
        struct operation *op;
        int r;

        if (!item->decided && has_begun && c->operation &&
            is_joined_again(c->operation, kind, item))
                return 0;
        if (!item->decided && (!has_begun || c->operation))
                return operation_request(c, kind, item);
        r = operation_new(c, kind, &op);
        if (r < 0)
                return r;
        operation_add_item(op, item);
        op->generation = job_kind_starts(kind) ? generation : 0;
        if (item->decided)
                resume_decided(op, item);
        else
                resume_begun(op, item, item->places);
        return 0;
}

/* Of another generation that is not yet on its way out, in a place of this one. */
static bool has_older(const struct component *c, uint64_t generation, uint64_t places) {
        const struct instance *i;

        TAILQ_FOREACH (i, &c->instances, entry)
                if (i->life < LIFE_DRAINING && i->generation < generation &&
                    (places & component_place(i->index)))
                        return true;
        return false;
}

/* It may not have come to all places yet. A back-off starts what is missing at its end. */
static bool is_started_unasked(const struct component *c) {
        const struct instance *i;

        TAILQ_FOREACH (i, &c->instances, entry)
                if (instance_is_starting(i))
                        return c->goal == GOAL_RUNNING && !timer_is_started(&c->back_off);
        return false;
}

void operation_resume_unasked(struct component *c) {
        const struct instance *i;
        struct operation *op;
        uint64_t newest = 0, places = 0;

        TAILQ_FOREACH (i, &c->instances, entry)
                if (i->life < LIFE_DRAINING && i->generation > newest)
                        newest = i->generation;
        TAILQ_FOREACH (i, &c->instances, entry)
                if (i->generation == newest)
                        places |= component_place(i->index);
        if (c->operation)
                return;
        if (!has_older(c, newest, places)) {
                if (is_started_unasked(c))
                        (void) operation_request(c, JOB_START, NULL);
                return;
        }
        if (operation_new(c, JOB_RESTART, &op) < 0)
                return;
        op->generation = newest;
        resume_begun(op, NULL, places);
}
