/*
 * Places of a component that were given up while others go on: those are left in peace, and are
 * started again as before when they end. Only when none is left the component itself has failed.
 */
#include <stdio.h>

#include "components/component.h"
#include "components/component_table.h"
#include "components/kept.h"
#include "components/operation.h"

static uint64_t all_places(const struct component *c) {
        unsigned n = c->config->instances;

        return n >= 64 ? UINT64_MAX : component_place(n) - 1;
}

uint64_t component_failed_places(const struct component *c) {
        return c->failed_places & all_places(c);
}

static unsigned count(uint64_t places) {
        unsigned n = 0;

        for (; places; places &= places - 1)
                n++;
        return n;
}

/* "instance 2", or "instances 2, 4", as labels have them. */
static const char *list(uint64_t places, char *buffer, size_t size) {
        size_t used = (size_t) snprintf(buffer, size, "instance%s", count(places) == 1 ? "" : "s");
        const char *between = " ";

        for (unsigned index = 0; index < INSTANCES_MAX && used < size; index++)
                if (places & component_place(index)) {
                        used += (size_t) snprintf(buffer + used, size - used, "%s%u", between,
                                                  index + 1);
                        between = ", ";
                }
        return buffer;
}

/* Where something serves or starts, or will after a back-off. */
static uint64_t going_on(const struct component *c) {
        const struct instance *i;
        uint64_t places = 0;

        if (timer_is_started(&c->back_off))
                return all_places(c);
        TAILQ_FOREACH (i, &c->instances, entry)
                if (i->life < LIFE_DRAINING)
                        places |= component_place(i->index);
        return places;
}

/* Where a start that was asked for is yet to begin: it waits for what was there before. */
static uint64_t awaited(const struct operation *op) {
        bool begins = op && op->kind != JOB_RESTART && operation_starts(op);

        return begins ? ~op->begun : 0;
}

bool component_fail_places(struct component *c, uint64_t places, const char *reason) {
        uint64_t failed;
        char text[256];

        places &= all_places(c) & ~awaited(c->operation);
        failed = component_failed_places(c) | places;
        if ((going_on(c) & all_places(c) & ~failed) == 0)
                return false;
        if (places == 0)
                return true;
        c->failed_places = failed;
        (void) snprintf(c->failed_reason, sizeof(c->failed_reason), "%s", reason);
        log_error(c->table->log, ABOUT(.component = c->name),
                  "%s: %s failed: %s; the others go on. `fdpass start %s` tries again", c->name,
                  list(places, text, sizeof(text)), reason, c->name);
        component_keep(c);
        return true;
}

void component_forgive_places(struct component *c) {
        if (c->failed_places == 0)
                return;
        c->failed_places = 0;
        c->failed_reason[0] = '\0';
        component_keep(c);
        component_touch(c); /* what is under way has more to do now */
}

const char *component_reason(const struct component *c, char *buffer, size_t size) {
        uint64_t failed = component_failed_places(c),
                 serve = component_served_places(c) & all_places(c);
        char text[256];

        if (failed == 0)
                return c->reason;
        (void) snprintf(buffer, size, "%s failed: %s; %u of %u serve%s",
                        list(failed, text, sizeof(text)), c->failed_reason, count(serve),
                        c->config->instances, count(serve) == 1 ? "s" : "");
        return buffer;
}
