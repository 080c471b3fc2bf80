/*
 * What was asked for: to start, stop, restart … one or more components. A job does it in dependency
 * order, independent ones at the same time, tells whoever listens what happens, and ends with a
 * receipt for each component. It has an id of the asker's, so that one who lost the connection to a
 * dying broker asks again for the same and gets the verdict, not a second restart; and it goes on
 * when its asker is gone.
 */
#ifndef COMPONENTS_JOB_H
#define COMPONENTS_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "components/component.h"
#include "components/connections.h"

struct component_table;

enum job_kind { JOB_START, JOB_STOP, JOB_RESTART, JOB_RELOAD, JOB_PAUSE, JOB_RESUME, N_JOB_KINDS };

const char *job_kind_name(enum job_kind kind); /* "start" … */
/* It is for components to run afterwards. */
bool job_kind_starts(enum job_kind kind);
/* Of what such a job takes the place of. */
const char *job_cancel_reason(enum job_kind stops, const struct component *c);
int job_kind_from_name(struct text name, enum job_kind *ret); /* 0 or -EINVAL */

/* What became of one component. */
enum verdict {
        VERDICT_NONE,     /* not yet */
        VERDICT_SERVES,   /* start, restart, resume: the new generation serves */
        VERDICT_KEPT,     /* restart: it does not, and the old generation goes on serving */
        VERDICT_FAILED,   /* it does not, and nothing serves; its listeners are held */
        VERDICT_DONE,     /* stop, pause, reload: as asked */
        VERDICT_NOTHING,  /* it was so already */
        VERDICT_SKIPPED,  /* what it requires failed */
        VERDICT_CANCELED, /* by a later request */
};

const char *verdict_name(enum verdict verdict);
/* Those that end the command with status 0: SERVES, DONE, NOTHING. */
bool verdict_is_good(enum verdict verdict);
int verdict_from_name(struct text name, enum verdict *ret); /* 0 or -EINVAL */

#define RECEIPT_LINES_MAX 20

struct receipt {
        enum verdict verdict;
        char reason[REASON_SIZE];        /* for people; "" */
        uint64_t generation_before;      /* that served; 0: none */
        uint64_t generation;             /* that serves now, or that failed to */
        unsigned instances;              /* replaced */
        char ready_by[HEALTH_TEXT_SIZE]; /* "HTTP status 200 …", "ready by its own word" */
        uint64_t ready_usec;             /* from start to ready; of the slowest instance */
        uint64_t drain_usec;             /* of the slowest old instance; 0: none was drained */
        bool drained;                    /* all old instances have ended */
        bool killed;                     /* one at its deadline */
        struct connections held_on;      /* who had connections at that deadline */
        uint64_t longest_wait_usec;      /* that the queue was never seen empty, sampled */
        uint64_t drops;                  /* by the kernel meanwhile (queue.h) */
        char *lines[RECEIPT_LINES_MAX];  /* the last that the generation wrote that failed */
        size_t n_lines;
};

void receipt_clear(struct receipt *receipt);
/* In place of what *copy holds. 0, or -ENOMEM with fewer lines. */
int receipt_copy(struct receipt *copy, const struct receipt *original);
/* The last lines of this instance. */
void receipt_take_lines(struct receipt *receipt, const struct output_log *log,
                        const struct instance *instance);

/* One component of a job. */
struct job_item {
        struct job *job;
        struct component *component; /* NULL once it is gone */
        char *name;
        bool asked_for;                /* else: required or wanted by one that was */
        bool begun, decided, finished; /* decided: its verdict is there; finished: its receipt */
        struct operation *operation;   /* while it is under way */
        LIST_ENTRY(job_item) in_operation;
        uint64_t places;       /* bit by place: an instance was begun there (operation.h) */
        uint64_t drops_before; /* what the kernel had dropped when it began (queue_sample.h) */
        char kept_id[STATE_ID_SIZE];
        unsigned kept_stage; /* of begun, decided, finished: what its record has; 0: none yet */
        struct receipt receipt;
};

#define JOB_ID_SIZE 33

/* One line of progress. */
struct job_event {
        const char *component;
        const char *step; /* a word of the protocol: "starting", "ready", "draining", "ended", … */
        uint64_t generation;
        pid_t pid;
        const char *text; /* a sentence for people */
};

struct job_listener {
        LIST_ENTRY(job_listener) entry;
        void (*event)(void *owner, const struct job_event *event); /* NULL: no progress */
        void (*done)(void *owner, const struct job *job); /* once; it is off the list by then */
        void *owner;
};

struct job {
        TAILQ_ENTRY(job) entry; /* in table->jobs, the newest last */
        struct component_table *table;
        char id[JOB_ID_SIZE];
        char kept_id[STATE_ID_SIZE];
        enum job_kind kind;
        bool finished;
        uint64_t since_usec;               /* CLOCK_REALTIME */
        uint64_t started_usec, ended_usec; /* CLOCK_MONOTONIC */
        struct job_item *items;            /* in dependency order */
        size_t n_items, n_max;
        LIST_HEAD(, job_listener) listeners;
};

/*
 * Begin a job for these components (names that all exist); `names` NULL: all that it makes sense
 * for (a restart of all does not start what was stopped, nor what waits for a connection). With the
 * id of one that is known already, that one is given back and nothing is begun. "" makes an id up.
 * 0, -ENOENT, -ENOMEM, -EINVAL (one of another kind, or for others, has this id), -ESHUTDOWN (the
 * broker is ending, and starts nothing any more).
 */
int job_begin(struct component_table *table, enum job_kind kind, const char *id,
              const char *const *names, size_t n_names, struct job **ret);
struct job *job_find(const struct component_table *table, const char *id);
/* So many are under way that a peer is to begin no more; what we begin ourselves is never refused.
 */
#define JOBS_MAX 256
bool job_table_is_full(const struct component_table *table);
/* Listen to it; when it is finished done() is called from here. */
void job_listen(struct job *job, struct job_listener *listener);
void job_unlisten(struct job_listener *listener); /* nothing when it is not listening */
/* Every verdict is, but for what was only to be started with others: those that require it and were
 * asked for are not good without it, and those that want it do without. */
bool job_is_good(const struct job *job);

/* ---- for component_table.c and kept.c ----------------------------------------------------------
 */

/* One with room for n_max items, to be filled with job_add_item() and gone on with. */
int job_new(struct component_table *table, enum job_kind kind, const char *id, size_t n_max,
            struct job **ret);
int job_add_item(struct job *job, struct component *component, const char *name, bool asked_for);
/*
 * What a broker before us began: in rounds over all jobs, so that what had begun is there before
 * what waits for it, and restarts that wait before what had joined them.
 */
enum job_round {
        JOB_ROUND_DECIDED,
        JOB_ROUND_BEGUN,
        JOB_ROUND_RESTART,
        JOB_ROUND_WAITING,
        N_JOB_ROUNDS
};
void job_resume(struct job *job, enum job_round round);
/* It was its component's turn to do it, before the broker died. */
bool job_item_has_begun(const struct job_item *item);
void job_free(struct job *job);
/* The component goes; those that still ask for it hear so. */
void job_forget_component(struct component_table *table, const struct component *component);

/* ---- for operation.c ------------------------------------------------------------------------- */

void job_progress(struct job *job, const struct job_event *event);
void job_item_decided(struct job_item *item);
void job_item_finished(struct job_item *item);

#endif
