/*
 * One process of a generation, from before it is started until nothing of it is left. Its life is
 * the table in instance.c: states and events, one function that changes state, one log line a
 * change.
 */
#ifndef COMPONENTS_INSTANCE_H
#define COMPONENTS_INSTANCE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "components/connections.h"
#include "components/health.h"
#include "components/notify_socket.h"
#include "components/output.h"
#include "components/process_tree.h"
#include "components/restart_policy.h"
#include "components/spawn.h"
#include "config/component_config.h"
#include "keeper/state.h"

struct component;

enum life {
        LIFE_NEW,
        LIFE_PREPARING,  /* ExecStartPre= */
        LIFE_STARTING,   /* the program runs and is not ready */
        LIFE_COMPLETING, /* it is ready; ExecStartPost= */
        LIFE_READY,
        LIFE_DRAINING, /* told to stop: finishes what it accepted */
        LIFE_KILLED,   /* by SIGKILL; its end is waited for */
        LIFE_CLEANING, /* ExecStopPost= */
        LIFE_STOPPED,
        N_LIVES
};

/* As users know them: starting, ready, draining, stopped. */
const char *life_name(enum life life);

enum life_event {
        LIFE_BEGIN,
        LIFE_COMMANDS_DONE,
        LIFE_COMMAND_FAILED,
        LIFE_IS_READY,
        LIFE_MAIN_ENDED,
        LIFE_TREE_ENDED,
        LIFE_DEADLINE,
        LIFE_STOP,
        LIFE_FAIL,   /* it serves no more: watchdog, illness, a failure before exec */
        LIFE_LEAVES, /* of its own will: STOPPING=1 */
        N_LIFE_EVENTS
};

#define REASON_SIZE 256
/* Under overlap the older generation may be quicker at every single probe; at so many it is not. */
#define INSTANCE_PROBES_MAX 8

struct instance {
        TAILQ_ENTRY(instance) entry; /* in component->instances */
        struct component *component;
        struct component_config *config; /* a reference: that with which it was started */
        uint64_t number;                 /* of this life of the broker; never used again */
        uint64_t generation;
        unsigned index; /* 0 to Instances= - 1 */
        enum life life;
        bool adopted;      /* of a broker before us */
        bool was_outdated; /* to that one, which alone knew the configuration that it has */

        bool was_ready;          /* ever: its end is then the component's affair, not the start's */
        bool asked_to_stop;      /* by us; its end is no failure */
        bool leaves;             /* nobody asked it to, and it said STOPPING=1 */
        bool drain_by_operation; /* its drain is part of a receipt */
        enum end_cause cause;    /* why we stopped it, if we did for its failure */
        char reason[REASON_SIZE]; /* why it failed, for people; "" */
        enum evidence evidence;
        bool by_own_word;                /* ready without evidence */
        char ready_by[HEALTH_TEXT_SIZE]; /* what its readiness rests on; for people */
        uint64_t since_usec;             /* CLOCK_REALTIME of its start */
        uint64_t started_usec; /* CLOCK_MONOTONIC of the same and of the following; 0: not yet */
        uint64_t said_ready_usec, ready_usec, drain_usec, ended_usec;
        bool reloading;
        char status[NOTIFY_STATUS_SIZE]; /* STATUS= */
        int notify_error;                /* ERRNO=, what it said last; 0 */
        int said_exit_status;            /* EXIT_STATUS=; -1 */
        bool is_healthy;
        bool is_left_sick; /* its hand-over is refused by the start limit, and that was said */
        unsigned failed_probes;
        bool has_answered; /* a probe, itself: that is what health_text says from then on */
        char health_text[HEALTH_TEXT_SIZE];
        struct connections held; /* as counted last */
        bool was_killed;         /* at its deadline */

        struct process_tree tree;
        struct spawn_watch spawn_watch;
        bool executed;
        bool was_given_stored;            /* descriptors that it does not have from its listeners */
        struct process_tree control_tree; /* of ExecStartPre= and the like, one at a time */
        struct spawn_watch control_watch;
        const struct command_list *commands; /* the list under way */
        size_t next_command;
        struct notify_socket notify;
        struct output_pipe output, error, command_output;
        struct health health[INSTANCE_PROBES_MAX]; /* in flight at once */
        unsigned n_probing, burst;
        enum health_result burst_result; /* the worst of this one */
        struct worker *search;           /* for evidence; NULL */
        struct accepting *accepting;     /* connections that ask whether it accepts; NULL */
        struct worker *count;            /* of its connections, while it drains; NULL */
        struct timer deadline;           /* of the state */
        uint64_t deadline_usec;
        struct timer turn; /* an event that an entry into a state found to have happened already */
        enum life_event pending;
        bool signaled; /* was told to stop: not to be told twice, which some take for urgency */
        struct timer probe; /* next probe or search */
        struct timer watchdog;
        uint64_t watchdog_usec;
        uint64_t probes;    /* so many while it started */
        uint64_t elsewhere; /* of those: answered, by an older generation */

        /* Records and descriptors that outlive us (instance_kept.c); "" not kept. */
        char id[STATE_ID_SIZE], notify_id[STATE_ID_SIZE], output_id[STATE_ID_SIZE],
                error_id[STATE_ID_SIZE], control_id[STATE_ID_SIZE], command_id[STATE_ID_SIZE],
                leader_id[STATE_ID_SIZE];
        int kept_pidfd; /* as it was stored last */
};

TAILQ_HEAD(instance_list, instance);

/* A new one of this generation, with the component's present configuration. -ENOMEM. */
int instance_new(struct component *component, uint64_t generation, unsigned index,
                 struct instance **ret);
/* Out of the list and freed; kills nothing. Its records go when it was STOPPED, else they stay. */
void instance_free(struct instance *instance);

/* What happens to it. What does not concern its state is ignored. */
void instance_event(struct instance *instance, enum life_event event);
/* Its life begins: with ExecStartPre= where there is one. */
void instance_begin(struct instance *instance);
/* LIFE_STOP by request; LIFE_FAIL with what to say and why. */
void instance_stop(struct instance *instance);
void instance_fail(struct instance *instance, enum end_cause cause, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
/*
 * It said that it ends. It is left in peace and has TimeoutStopSec= for that, and how it ended is
 * what is told of it and what Restart= goes by. No news of one that is on its way out already.
 */
void instance_leaves(struct instance *instance);
/*
 * It left of its own will, and somebody wants it gone: the stop signal now, and TimeoutStopSec=
 * anew. No ExecStop=, which would ask it to begin. Nothing for others.
 */
void instance_stop_leaving(struct instance *instance);
/* Why it failed, or ends; for people. "" */
const char *instance_reason(const struct instance *instance);
/* ExecReload=, or else SIGHUP for who has none. 0, -ESRCH, -EBUSY. */
int instance_reload(struct instance *instance);

static inline bool instance_is_starting(const struct instance *i) {
        return i->life == LIFE_PREPARING || i->life == LIFE_STARTING || i->life == LIFE_COMPLETING;
}

static inline bool instance_is_ending(const struct instance *i) {
        return i->life >= LIFE_DRAINING && i->life < LIFE_STOPPED;
}

/* Its main process ends of its own will, and nobody has told it to. */
static inline bool instance_leaves_unasked(const struct instance *i) {
        return i->life == LIFE_DRAINING && i->leaves && !i->asked_to_stop && !i->tree.main_ended;
}

/* ---- instance_kept.c ------------------------------------------------------------------------- */

/*
 * Was it started with another configuration than the component has? Once a broker has died over it
 * that stays so until it ends, even if the configuration becomes again what it was.
 */
bool instance_is_outdated(const struct instance *instance);
void instance_keep(struct instance *instance); /* the record, and descriptors that are new */
void instance_forget(struct instance *instance);
/* Of the command that runs: before its descriptors are closed. */
void instance_forget_command(struct instance *instance);

#endif
