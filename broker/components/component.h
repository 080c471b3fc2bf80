/*
 * A component: a program that the broker runs, under a name, in generations. What it is doing is
 * not stored but follows from its instances and from what is wanted of it, so that the two can
 * never contradict each other.
 */
#ifndef COMPONENTS_COMPONENT_H
#define COMPONENTS_COMPONENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "components/instance.h"
#include "components/output.h"
#include "components/restart_policy.h"
#include "config/component_config.h"
#include "core/hash.h"
#include "core/loop.h"
#include "keeper/state.h"

struct component_table;
struct operation;
struct runtime_directory;

TAILQ_HEAD(operation_list, operation);

enum component_state {
        COMPONENT_STOPPED, /* not wanted */
        COMPONENT_WAITING, /* on demand: for the first connection */
        COMPONENT_STARTING,
        COMPONENT_READY,
        COMPONENT_RESTARTING, /* ready, and its next generation is starting */
        COMPONENT_DRAINING,   /* on its way to stopped or paused */
        COMPONENT_PAUSED,
        COMPONENT_BACK_OFF, /* ended; is started again after a delay */
        COMPONENT_FAILED,   /* ended; left alone until somebody asks */
};

const char *component_state_name(enum component_state state);

/* What is wanted of it. */
enum component_goal { GOAL_STOPPED, GOAL_RUNNING, GOAL_PAUSED, GOAL_FAILED, N_GOALS };

/* In documents, and in records: they must not change from version to version. */
const char *component_goal_name(enum component_goal goal);

struct component {
        char *name;
        struct component_table *table;
        struct component_config *config; /* a reference; of the next generation */
        bool is_new;                     /* since the last apply: to be started if it is of those */
        bool found_again;                /* it was kept by the broker before us */
        bool removed;                    /* not configured any more: ends with its last instance */
        enum component_goal goal;
        char reason[REASON_SIZE]; /* why it failed or backs off; "" */
        /* Bit by place: it ended and is left alone until somebody asks, while others go on. */
        uint64_t failed_places;
        char failed_reason[REASON_SIZE]; /* why the last of them is */
        uint64_t last_generation;
        struct instance_list instances;
        size_t n_instances;
        unsigned n_killed; /* commands that were killed and are not yet gone */

        struct operation *operation;    /* the one that starts or stops now; NULL */
        struct operation *next;         /* waits for it; NULL */
        struct operation_list draining; /* have their verdict and wait for the old generation */
        struct restart_policy policy;
        bool is_touched; /* it waits for its turn */
        TAILQ_ENTRY(component) in_touched;
        struct timer back_off;
        uint64_t back_off_until_usec; /* CLOCK_MONOTONIC */
        uint64_t restarts;            /* that nobody asked for */
        /* How the last instance ended that nobody asked to end. */
        enum process_end last_end;
        int last_status;
        uint64_t last_end_usec; /* CLOCK_REALTIME; 0: none has */
        char last_reason[REASON_SIZE];

        struct trigger *trigger;                     /* on demand: watches its listeners; NULL */
        struct stall *stall;                         /* StallSec=; NULL */
        struct runtime_directory *runtime_directory; /* to be removed at its end; NULL */
        struct output_log output;
        char id[STATE_ID_SIZE]; /* of its record; "" not kept */
        UT_hash_handle hh;      /* by name */
};

enum component_state component_state(const struct component *component);

/* The instance of this place that serves, that starts; NULL. */
struct instance *component_serving(const struct component *component, unsigned index);
struct instance *component_starting(const struct component *component, unsigned index);
/* Of any place; its generation is the highest that serves. 0: none. */
uint64_t component_generation(const struct component *component);
uint64_t component_served_places(const struct component *component); /* bit by place */

/* ---- component_places.c: some of several have failed, and the others go on ------------------- */

static inline uint64_t component_place(unsigned index) {
        return UINT64_C(1) << index;
}

/* Of those that are configured. */
uint64_t component_failed_places(const struct component *component);
/* False when no other place goes on: then it is the component that has failed. */
bool component_fail_places(struct component *component, uint64_t places, const char *reason);
/* Somebody asked for a new start, or for an end. */
void component_forgive_places(struct component *component);
/* Why it failed or backs off, or "instance 2 failed: …; 3 of 4 serve"; for people. "" */
const char *component_reason(const struct component *component, char *buffer, size_t size);
/* What the longest of them takes. */
#define COMPONENT_REASON_SIZE (REASON_SIZE + 256)

/* ---- for operation.c and those that ask ------------------------------------------------------ */

#define INSTANCES_MAX 64

/* Look at it in the next turn of the loop: nothing about a component is done from within. */
void component_touch(struct component *component);
void component_untouch(struct component *component); /* before it is freed */
void component_set_goal(struct component *component, enum component_goal goal, const char *reason);
/* `forgive`: earlier failures do not count any more, because somebody asked for a new start. */
void component_stop_back_off(struct component *component, bool forgive);
/* No process of it could be begun, for want of something that may come back: as Restart= says. */
void component_never_began(struct component *component, const char *reason);
/* It was to be started then, CLOCK_MONOTONIC; 0: it was not. */
void component_resume_back_off(struct component *component, uint64_t until_usec);
uint64_t component_new_generation(struct component *component);
/* So many drain in this place that no more can be started yet; the oldest is ended for it. */
bool component_is_crowded(struct component *component, unsigned index);

/* ---- for instance.c: what became of one ------------------------------------------------------ */

void component_instance_changed(struct component *component, struct instance *instance,
                                enum life before);
/* Its health checks fail, or it accepts nothing: a hand-over, if that is wanted and possible now.
 * Who finds it still so asks again. */
void component_instance_sick(struct component *component, struct instance *instance);

#endif
