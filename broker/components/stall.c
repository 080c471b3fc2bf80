/*
 * A queue from which nothing is taken, and a component that has it. Its length is cheap to sample,
 * and tells all while it becomes shorter now and then; only when it does not, who waits is looked
 * at: then, and after StallSec=.
 */
#include "components/stall.h"

#include <errno.h>
#include <stdlib.h>

#include "components/component_table.h"
#include "components/queue_moves.h"
#include "components/queue_sample.h"

#define SAMPLES 4 /* in StallSec= */

struct stall {
        struct component *component;
        struct timer sample;
        uint64_t length;
        uint64_t since_usec;       /* that it has not become shorter; 0: nothing waits */
        struct queue_moves *moves; /* NULL while the length tells enough */
        uint64_t looked_usec;      /* when it was looked at who waits; 0: not yet */
        bool reported;
};

void stall_stop(struct component *c) {
        if (c->stall) {
                timer_stop(&c->stall->sample);
                queue_moves_free(c->stall->moves);
                free(c->stall);
                c->stall = NULL;
        }
}

bool stall_is_stalled(const struct component *c) {
        return c->stall && c->stall->reported;
}

static void report(struct stall *s) {
        const struct component *c = s->component;

        s->reported = true;
        log_warning(c->table->log, ABOUT(.component = c->name),
                    "%s is stalled: %llu connection%s and none was accepted for %llu ms "
                    "(StallSec=)",
                    c->name, (unsigned long long) s->length, s->length == 1 ? " waits" : "s wait",
                    (unsigned long long) (c->config->stall_usec / 1000));
}

static struct instance *find_serving(const struct component *c) {
        struct instance *i = NULL;

        for (unsigned k = 0; !i && k < c->config->instances; k++)
                i = component_serving(c, k);
        return i;
}

/* Nothing was taken for StallSec=, or still is not: reported once, and a hand-over that was refused
 * is asked for again. */
static void stands_still(struct stall *s) {
        struct component *c = s->component;
        struct instance *i = c->config->stall_restart ? find_serving(c) : NULL;

        if (!s->reported)
                report(s);
        if (i)
                component_instance_sick(c, i);
}

/* Something was taken. */
static void goes_on(struct stall *s) {
        s->since_usec = s->length > 0 ? loop_now_usec() : 0;
        if (s->reported)
                log_notice(s->component->table->log, ABOUT(.component = s->component->name),
                           "%s accepts connections again", s->component->name);
        s->reported = false;
}

/* The length is all that is to be had. */
static void go_by_length(struct stall *s) {
        s->looked_usec = 0;
        if (loop_now_usec() - s->since_usec >= s->component->config->stall_usec)
                stands_still(s);
}

static void on_looked(void *owner, enum queue_move move) {
        struct stall *s = owner;

        s->looked_usec = loop_now_usec();
        if (move == QUEUE_MOVED)
                goes_on(s);
        else if (move == QUEUE_STILL)
                stands_still(s);
        else if (move == QUEUE_UNKNOWN)
                go_by_length(s);
}

static void look(struct stall *s) {
        int r;

        if (s->looked_usec > 0 &&
            loop_now_usec() - s->looked_usec < s->component->config->stall_usec)
                return;
        r = s->moves ? 0 : queue_moves_new(&s->moves, s->component);
        if (r == 0)
                r = queue_moves_look(s->moves, on_looked, s);
        if (r < 0 && r != -EBUSY)
                go_by_length(s);
}

static void on_sample(void *owner) {
        struct stall *s = owner;
        struct component *c = s->component;
        uint64_t before = s->length;

        s->length = queue_sample_waits(c);
        if (s->length == 0 || s->length < before || s->since_usec == 0) {
                s->moves = queue_moves_free(s->moves);
                s->looked_usec = 0;
                goes_on(s);
        } else {
                look(s);
        }
        timer_start(&s->sample, c->table->loop, c->config->stall_usec / SAMPLES, on_sample, s);
}

void stall_update(struct component *c) {
        enum component_state state = component_state(c);
        bool serves = state == COMPONENT_READY ||
                      (state == COMPONENT_FAILED && component_failed_places(c)),
             wanted = c->config->stall_usec > 0 && serves && !c->table->stopping;

        if (!wanted) {
                stall_stop(c);
                return;
        }
        if (c->stall)
                return;
        c->stall = calloc(1, sizeof(*c->stall));
        if (!c->stall)
                return;
        c->stall->component = c;
        timer_start(&c->stall->sample, c->table->loop, c->config->stall_usec / SAMPLES, on_sample,
                    c->stall);
}
