/*
 * Waiting until the keeper (or systemd) has what it was sent. One barrier is under way at a time,
 * however many wait: those that come meanwhile wait for the next.
 */
#ifndef CONTROL_SETTLING_H
#define CONTROL_SETTLING_H

#include <stdbool.h>
#include <sys/queue.h>

#include "core/loop.h"

struct control;

/* Part of whatever waits; done() owns it from then on. */
struct settlement {
        void (*done)(struct control *control, struct settlement *settlement);
        bool covered; /* by the barrier that is under way */
        TAILQ_ENTRY(settlement) entry;
};

struct settling {
        struct control *control;
        TAILQ_HEAD(, settlement) all;
        bool under_way;
        struct timer retry;
};

void settling_init(struct settling *settling, struct control *control);
/* All are done, arrived or not: for the end of the broker. */
void settling_clear(struct settling *settling);

/* done() is called when all that was pushed so far has arrived; from here when nothing is kept. */
void settling_add(struct settling *settling, struct settlement *settlement);

#endif
