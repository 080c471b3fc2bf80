/* A queue that does not become shorter, and a component that has it. */
#include "components/stall.h"

#include <stdlib.h>

#include "components/component_table.h"
#include "components/queue_sample.h"

#define SAMPLES 4 /* in StallSec= */

struct stall {
        struct component *component;
        struct timer sample;
        uint64_t length;
        uint64_t since_usec; /* that it has not become shorter; 0: nothing waits */
        bool reported;
};

void stall_stop(struct component *c) {
        if (c->stall) {
                timer_stop(&c->stall->sample);
                free(c->stall);
                c->stall = NULL;
        }
}

bool stall_is_stalled(const struct component *c) {
        return c->stall && c->stall->reported;
}

static void report(struct stall *s) {
        struct component *c = s->component;
        struct instance *i = component_serving(c, 0);

        s->reported = true;
        log_warning(c->table->log, ABOUT(.component = c->name),
                    "%s is stalled: %llu connections wait and none was accepted for %llu ms "
                    "(StallSec=)",
                    c->name, (unsigned long long) s->length,
                    (unsigned long long) (c->config->stall_usec / 1000));
        if (i && c->config->stall_restart)
                component_instance_sick(c, i);
}

static void on_sample(void *owner) {
        struct stall *s = owner;
        struct component *c = s->component;
        uint64_t length = queue_sample_waits(c), now = loop_now_usec();

        if (length == 0 || length < s->length || s->since_usec == 0) {
                s->since_usec = length > 0 ? now : 0;
                if (s->reported)
                        log_notice(c->table->log, ABOUT(.component = c->name),
                                   "%s accepts connections again", c->name);
                s->reported = false;
        } else if (!s->reported && now - s->since_usec >= c->config->stall_usec) {
                report(s);
        }
        s->length = length;
        timer_start(&s->sample, c->table->loop, c->config->stall_usec / SAMPLES, on_sample, s);
}

void stall_update(struct component *c) {
        bool wanted = c->config->stall_usec > 0 && component_state(c) == COMPONENT_READY &&
                      !c->table->stopping;

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
