/*
 * One barrier for all who wait. What is added while it is under way may have been pushed behind it,
 * and so is not covered by it.
 */
#include "control/settling.h"

#include "control/control_private.h"
#include "keeper/memory.h"

#define RETRY_USEC (50 * 1000)

static void ask(struct settling *all);

static void on_arrived(void *owner) {
        struct settling *all = owner;
        struct settlement *s;

        all->under_way = false;
        while ((s = TAILQ_FIRST(&all->all)) && s->covered) {
                TAILQ_REMOVE(&all->all, s, entry);
                s->done(all->control, s);
        }
        ask(all);
}

static void on_retry(void *owner) {
        ask(owner);
}

static void ask(struct settling *all) {
        struct settlement *s;

        if (all->under_way || TAILQ_EMPTY(&all->all))
                return;
        TAILQ_FOREACH (s, &all->all, entry)
                s->covered = true;
        all->under_way = true;
        if (memory_barrier(all->control->broker->memory, on_arrived, all) == 0)
                return;
        all->under_way = false;
        timer_start(&all->retry, all->control->broker->loop, RETRY_USEC, on_retry, all);
}

void settling_init(struct settling *all, struct control *control) {
        all->control = control;
        TAILQ_INIT(&all->all);
}

void settling_clear(struct settling *all) {
        struct settlement *s;

        if (all->control->broker->memory)
                memory_cancel_barriers(all->control->broker->memory, all);
        timer_stop(&all->retry);
        all->under_way = true; /* nothing more is asked */
        while ((s = TAILQ_FIRST(&all->all))) {
                TAILQ_REMOVE(&all->all, s, entry);
                s->done(all->control, s);
        }
}

void settling_add(struct settling *all, struct settlement *s) {
        s->covered = false;
        if (!all->control->broker->memory) {
                s->done(all->control, s);
                return;
        }
        TAILQ_INSERT_TAIL(&all->all, s, entry);
        ask(all);
}
