/* All components of a broker: made from the configuration, found again after the broker's death. */
#ifndef COMPONENTS_COMPONENT_TABLE_H
#define COMPONENTS_COMPONENT_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "components/component.h"
#include "components/job.h"
#include "components/kept_lines.h"
#include "components/killed_trees.h"
#include "components/process_tree.h"
#include "core/log.h"
#include "core/worker.h"
#include "sockets/listener_table.h"

struct config;
struct fd_list;
struct job;
struct memory;

TAILQ_HEAD(job_list, job);

/* What components need of those above and beside them. All lent. */
struct component_callbacks {
        /* FDSTORE=1 of a component: keeps what it can and empties fds. */
        void (*store)(void *owner, struct component *component, const struct notify_packet *packet);
        void (*remove)(void *owner, struct component *component, const char *fd_name);
        /* Descriptors stored by it, to be passed to its next generation; those it may have. */
        size_t (*stored)(void *owner, struct component *component, struct spawn_fd *ret,
                         size_t max);
        /* Descriptors of others, closed where that may block. */
        void (*dispose)(void *owner, struct fd_list *fds);
        void *owner;
};

struct component_table {
        struct loop *loop;
        struct log *log;
        struct listener_table *listeners;
        struct listener_watcher listener_watcher;
        struct memory *memory; /* NULL: nothing outlives us */
        const char *control_path;
        struct component_callbacks callbacks;
        struct worker_pool workers;
        struct kept_lines kept_lines; /* that components wrote */
        struct cgroup_root cgroups;
        struct killed_tree_list killed_trees;
        struct rate_limit strays; /* searches for them, with cgroups */
        bool has_cgroup_root;     /* it was looked for: with the first component */
        struct timer stale;       /* another look at cgroups that were too young */
        struct component *by_name;
        size_t count;
        struct job_list jobs; /* under way, and the last finished ones */
        size_t n_finished_jobs;
        uint64_t jobs_made, instances_made, n_sampled;  /* n_sampled: by operation_sample.c */
        TAILQ_HEAD(component_queue, component) touched; /* wait for their turn of the loop */
        struct timer turns;
        bool applied;  /* a configuration: what was kept has been found again */
        bool stopping; /* the broker's end: nothing is started any more */
        void (*all_ended)(void *owner);
        void *all_ended_owner;
        struct job_listener stop_listener;
};

int component_table_new(struct component_table **ret, struct loop *loop, struct log *log,
                        struct listener_table *listeners, struct memory *memory,
                        const char *control_path);
/*
 * What runs goes on running, and stays kept for the next broker; without a memory it is left alone.
 * NULL allowed. Returns NULL.
 */
struct component_table *component_table_free(struct component_table *table);
void component_table_set_callbacks(struct component_table *table,
                                   const struct component_callbacks *callbacks);

/*
 * Make the components what the configuration says: new ones are there and (`start`) started when
 * they are to be, those that are gone are stopped; one that changed takes that over at its next
 * start and says so in status. The first time, what was kept is found again. 0 or -ENOMEM.
 */
int component_table_apply(struct component_table *table, const struct config *config, bool start);

/*
 * One that was removed and of which something still runs, found again by its name alone: to be
 * stopped with the defaults of a configuration. 0 or -ENOMEM.
 */
int component_add_removed(struct component_table *table, const char *name, struct component **ret);

struct component *component_find(const struct component_table *table, const char *name);
/* In name order: for (c = component_first(t); c; c = component_next(c)). */
struct component *component_first(const struct component_table *table);
struct component *component_next(const struct component *component);

/* Nothing of it runs and nothing is under way: if it is not configured any more, that was it. */
void component_idle(struct component *component);

/* Does this process belong to a generation of a component that has the listener in its Sockets=? */
bool component_table_may_hold(const struct component_table *table, const char *listener, pid_t pid);

/* Is this child of ours, or of the program before us, one that a component waits for? */
bool component_table_has_child(const struct component_table *table, pid_t pid);

/*
 * Stop all, for the end of the broker, each bounded by its TimeoutStopSec=; done() is called when
 * nothing runs any more, from the loop or at once.
 */
void component_table_stop_all(struct component_table *table, void (*done)(void *owner),
                              void *owner);
/* After that: what still runs is killed. */
void component_table_kill_all(struct component_table *table);

#endif
