/*
 * One component on its way to what a job (or its own illness) asks of it. What is to be done next
 * follows from its instances each time one of them changes, so an operation that a broker began is
 * finished by the next one in the same way.
 */
#ifndef COMPONENTS_OPERATION_H
#define COMPONENTS_OPERATION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "components/component.h"
#include "components/job.h"

struct helper;

/* Why nothing is started. */
enum unmet {
        UNMET_NOTHING,
        UNMET_CONDITION, /* which is no failure */
        UNMET_ASSERTION,
        UNMET_UNKNOWN /* they could not be looked at: tried again as what ended by itself is */
};

struct operation {
        TAILQ_ENTRY(operation) entry; /* in component->draining */
        struct component *component;
        enum job_kind kind;
        uint64_t generation; /* that is to serve; 0 where none is started */
        uint64_t begun;      /* bit by place: an instance of this generation was started there */
        uint64_t served;     /* bit by place: one served there when it began */
        bool found;          /* there was something to stop */
        bool changed;        /* what is wanted of the component is not what was */
        bool decided;
        bool is_over; /* being finished: not to be looked at again */
        struct receipt receipt;
        struct helper *check;                    /* of its conditions, under way; NULL */
        struct component_config *checked_config; /* a reference, meanwhile; NULL */
        bool is_checked;
        enum unmet unmet;            /* with the reason in the receipt */
        LIST_HEAD(, job_item) items; /* that wait for it; none when nobody asked */
        struct helper *strays;       /* being looked for; NULL */
        bool strays_known;
        struct timer sample; /* of the queue */
        uint64_t sampled_since_usec;
        uint64_t waiting_since_usec;
        uint64_t drops_before;
};

/*
 * What was asked for begins, now or after what is under way: one operation of a component at a
 * time starts instances, one more waits, and those that ask for the same join it. Stopping comes at
 * once and ends what is under way. `item` may be NULL. 0, -ENOMEM, or -ESHUTDOWN (the broker is
 * ending, and starts nothing any more).
 */
int operation_request(struct component *component, enum job_kind kind, struct job_item *item);

/* It is the component's turn to do this one. */
void operation_begin(struct operation *operation);

/* It is to have instances, and has no verdict yet. */
bool operation_starts(const struct operation *operation);

/* An instance changed, or time passed: see what is to be done next. It may be over after that. */
void operation_advance(struct operation *operation);

/* Nobody waits for it any more. */
void operation_unlink_item(struct job_item *item);

/* At the end of the broker: freed as it is. NULL allowed; returns NULL. */
struct operation *operation_free(struct operation *operation);

/* One that nothing has begun yet, of no job. 0 or -ENOMEM. */
int operation_new(struct component *component, enum job_kind kind, struct operation **ret);
/* The item waits for it; NULL: nobody does. */
void operation_add_item(struct operation *operation, struct job_item *item);

/* What is wanted of its component is what it brings. */
void operation_set_goal(struct operation *operation);

/* ---- operation_resume.c ---------------------------------------------------------------------- */

/*
 * Go on with one that a broker before us began; the item and its receipt say how far it had come.
 * 0 or -ENOMEM.
 */
int operation_resume(struct component *component, enum job_kind kind, struct job_item *item);
/* The same with what nobody had asked for: a restart, when there is a newer generation and none
 * that takes its place, or a start. */
void operation_resume_unasked(struct component *component);

/* ---- operation_verdict.c --------------------------------------------------------------------- */

/* A line of progress to those who wait for it; the reason may be "". */
void operation_tell(struct operation *operation, const char *step, const struct instance *instance,
                    const char *reason);
void operation_tell_ended(struct operation *operation, const struct instance *instance);

/* The receipt is told how its generation became ready; */
void operation_describe_ready(struct operation *operation);
/* that an instance which it started is no more and never was ready; */
void operation_instance_failed(struct operation *operation, struct instance *instance);
/* that one which it replaced, or stopped, is no more. */
void operation_instance_drained(struct operation *operation, const struct instance *instance);
/* The drain of this one is part of this receipt. */
bool operation_drains(const struct operation *operation, const struct instance *instance);

/* The verdict, once: later ones do not count. Who waits is told. */
void operation_decide(struct operation *operation, enum verdict verdict, const char *reason);
/* To the items of all who wait, as it is now. */
void operation_give_receipt(const struct operation *operation);

/* ---- operation_strays.c ---------------------------------------------------------------------- */

/* Look for stragglers, once; with cgroups no more than every ten seconds. True while that takes. */
bool operation_looks_for_strays(struct operation *operation);

/* ---- operation_conditions.c ------------------------------------------------------------------ */

/* Before the first instance of a generation: true while its conditions are looked at, once. */
bool operation_checks_conditions(struct operation *operation);
void operation_stop_check(struct operation *operation); /* nothing when there is none */

/* ---- operation_sample.c ---------------------------------------------------------------------- */

/*
 * The receipt is told how long connections wait in the queue, until _stop(): what was dropped since
 * the kernel had counted `drops_before` (queue_sample.h).
 */
void operation_sample_start(struct operation *operation, uint64_t drops_before);
void operation_sample_stop(struct operation *operation);

#endif
