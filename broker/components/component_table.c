/* All components: made and taken away with the configuration, and stopped at the end. */
#include "components/component_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "components/cgroup.h"
#include "components/job.h"
#include "components/kept.h"
#include "components/operation.h"
#include "components/runtime_directory.h"
#include "components/stall.h"
#include "components/trigger.h"
#include "config/config.h"
#include "core/log.h"

#define ALIGNED_NAME_MAX 24
#define STRAYS_USEC (10ULL * 1000 * 1000)
#define STALE_USEC (UINT64_C(1000000) * (CGROUP_STALE_SECONDS + 1))

/* ---- components -------------------------------------------------------------------------------*/

static int compare(const struct component *a, const struct component *b) {
        return strcmp(a->name, b->name);
}

static int add(struct component_table *t, struct component_config *config, struct component **ret) {
        struct component *c = calloc(1, sizeof(*c));

        if (!c)
                return -ENOMEM;
        c->name = strdup(config->name);
        if (!c->name) {
                free(c);
                return -ENOMEM;
        }
        c->table = t;
        c->config = component_config_ref(config);
        TAILQ_INIT(&c->instances);
        TAILQ_INIT(&c->draining);
        output_log_init(&c->output, t->log, c->name, &t->kept_lines);
        c->output.instances = config->instances;
        HASH_ADD_KEYPTR(hh, t->by_name, c->name, strlen(c->name), c);
        HASH_SRT(hh, t->by_name, compare);
        t->count++;
        *ret = c;
        return 0;
}

int component_add_removed(struct component_table *t, const char *name, struct component **ret) {
        struct component_config *config = component_config_new(name, false);
        int r = config ? add(t, config, ret) : -ENOMEM;

        component_config_unref(config);
        if (r == 0)
                (*ret)->removed = true;
        return r;
}

static void component_free(struct component *c) {
        struct component_table *t = c->table;
        struct operation *op;

        HASH_DEL(t->by_name, c);
        t->count--;
        job_forget_component(t, c);
        timer_stop(&c->back_off);
        trigger_stop(c);
        stall_stop(c);
        runtime_directory_free(c);
        while (!TAILQ_EMPTY(&c->instances))
                instance_free(TAILQ_FIRST(&c->instances));
        while ((op = TAILQ_FIRST(&c->draining))) {
                TAILQ_REMOVE(&c->draining, op, entry);
                operation_free(op);
        }
        operation_free(c->operation);
        operation_free(c->next);
        component_untouch(c);
        output_log_clear(&c->output);
        component_config_unref(c->config);
        free(c->name);
        free(c);
}

struct component *component_find(const struct component_table *t, const char *name) {
        struct component *c;

        HASH_FIND(hh, t->by_name, name, strlen(name), c);
        return c;
}

struct component *component_first(const struct component_table *t) {
        return t->by_name;
}

struct component *component_next(const struct component *c) {
        return c->hh.next;
}

static bool has_process(const struct component *c, pid_t pid) {
        const struct instance *i;

        TAILQ_FOREACH (i, &c->instances, entry)
                if (i->tree.pidfd >= 0 && !i->tree.ended && process_tree_has(&i->tree, pid))
                        return true;
        return false;
}

static bool has_listener(const struct component_config *config, const char *name) {
        for (size_t k = 0; k < config->n_sockets; k++)
                if (strcmp(config->sockets[k], name) == 0)
                        return true;
        return false;
}

bool component_table_may_hold(const struct component_table *t, const char *listener, pid_t pid) {
        for (const struct component *c = t->by_name; c; c = c->hh.next)
                if (has_listener(c->config, listener) && has_process(c, pid))
                        return true;
        return false;
}

static bool is_main(const struct process_tree *tree, pid_t pid) {
        return tree->pidfd >= 0 && tree->pid == pid && !tree->collected;
}

bool component_table_has_child(const struct component_table *t, pid_t pid) {
        const struct component *c;
        const struct instance *i;

        for (c = t->by_name; c; c = c->hh.next)
                TAILQ_FOREACH (i, &c->instances, entry)
                        if (is_main(&i->tree, pid) || is_main(&i->control_tree, pid))
                                return true;
        return false;
}

void component_idle(struct component *c) {
        if (!c->removed || c->next)
                return;
        component_forget(c);
        component_free(c);
}

/* ---- the table --------------------------------------------------------------------------------*/

/* One that waits for a connection is to see it on the socket that is there now. */
static void on_listener_event(void *owner, const struct listener *listener,
                              enum listener_event event) {
        const struct component_table *t = owner;

        (void) event;
        for (struct component *c = t->by_name; c; c = c->hh.next)
                if (has_listener(c->config, listener->name))
                        trigger_renew(c);
}

int component_table_new(struct component_table **ret, struct loop *loop, struct log *log,
                        struct listener_table *listeners, struct memory *memory,
                        const char *control_path) {
        struct component_table *t = calloc(1, sizeof(*t));

        if (!t)
                return -ENOMEM;
        t->loop = loop;
        worker_pool_init(&t->workers, loop);
        t->log = log;
        t->listeners = listeners;
        t->memory = memory;
        t->control_path = control_path;
        kept_lines_init(&t->kept_lines, memory, log);
        t->cgroups.fd = -1;
        t->strays = (struct rate_limit){.interval_usec = STRAYS_USEC, .burst = 1};
        TAILQ_INIT(&t->jobs);
        TAILQ_INIT(&t->touched);
        t->listener_watcher = (struct listener_watcher){.event = on_listener_event, .owner = t};
        if (listeners)
                listener_table_watch(listeners, &t->listener_watcher);
        *ret = t;
        return 0;
}

struct component_table *component_table_free(struct component_table *t) {
        if (t) {
                listener_table_unwatch(&t->listener_watcher);
                t->memory = NULL; /* what runs is to be found again by the next broker */
                while (!TAILQ_EMPTY(&t->jobs))
                        job_free(TAILQ_FIRST(&t->jobs));
                while (t->by_name)
                        component_free(t->by_name);
                killed_trees_clear(&t->killed_trees);
                timer_stop(&t->turns);
                timer_stop(&t->stale);
                worker_pool_clear(&t->workers);
                kept_lines_close(&t->kept_lines);
                cgroup_root_close(&t->cgroups);
                free(t);
        }
        return NULL;
}

void component_table_set_callbacks(struct component_table *t,
                                   const struct component_callbacks *callbacks) {
        t->callbacks = *callbacks;
}

/* ---- applying a configuration -----------------------------------------------------------------*/

/* After a crash the configuration with which they were started is not known any more. */
static void keep_outdated(const struct component *c) {
        struct instance *i;

        TAILQ_FOREACH (i, &c->instances, entry)
                if (i->id[0])
                        instance_keep(i);
}

static void take_config(struct component *c, struct component_config *config) {
        bool changes = !component_config_equal(c->config, config);

        component_config_unref(c->config);
        c->config = component_config_ref(config);
        if (changes)
                keep_outdated(c);
        c->output.instances = config->instances;
        if (c->removed) { /* configured again before it had ended */
                c->is_new = true;
                c->found_again = false;
        }
        c->removed = false;
        trigger_renew(c);
        component_touch(c);
}

static void remove_gone(struct component_table *t, const struct config *config) {
        for (struct component *c = t->by_name, *next; c; c = next) {
                next = c->hh.next;
                if (c->removed || config_find_component(config, c->name))
                        continue;
                c->removed = true;
                log_notice(t->log, ABOUT(.component = c->name),
                           "%s is not configured any more and is stopped", c->name);
                (void) operation_request(c, JOB_STOP, NULL);
        }
}

/* On a terminal the lines of all components begin in the same column, but for those with a name so
 * long that all others would stand behind a wall of blanks. */
static void align_output(struct component_table *t) {
        unsigned width = 0;

        for (const struct component *c = t->by_name; c; c = c->hh.next) {
                unsigned own = output_name_width(&c->output);

                if (own > width && own <= ALIGNED_NAME_MAX)
                        width = own;
        }
        for (struct component *c = t->by_name; c; c = c->hh.next)
                c->output.width = width;
}

/* Nothing is done for it, or only what ends it. */
static bool is_free(const struct component *c) {
        if (c->operation)
                return c->operation->kind == JOB_STOP;
        return TAILQ_EMPTY(&c->instances) && !timer_is_started(&c->back_off);
}

static bool is_automatic(const struct component *c) {
        return !c->removed && !c->config->on_demand && !c->config->manual;
}

/* Those that are to run from the start; one that somebody stopped before our death stays so. */
static int start_new(struct component_table *t) {
        const char **names = calloc(t->count + 1, sizeof(*names));
        struct job *job;
        size_t n = 0;
        int r = 0;

        if (!names)
                return -ENOMEM;
        for (struct component *c = t->by_name; c; c = c->hh.next) {
                if (!c->is_new)
                        continue;
                c->is_new = false;
                if (c->found_again && c->goal != GOAL_RUNNING)
                        continue;
                if (c->config->on_demand && !c->found_again)
                        component_set_goal(c, GOAL_RUNNING, "");
                if (is_automatic(c) && is_free(c))
                        names[n++] = c->name;
                component_touch(c);
        }
        if (n > 0)
                r = job_begin(t, JOB_START, "", names, n, &job);
        free(names);
        return r;
}

/* Those that run may be none that is configured. */
static void open_cgroups(struct component_table *t, const struct config *config) {
        if (t->has_cgroup_root || (config->n_components == 0 && !kept_has_instances(t)))
                return;
        cgroup_root_open(&t->cgroups, t->log);
        t->has_cgroup_root = true;
}

static void look_again(void *owner) {
        struct component_table *t = owner;

        (void) cgroup_remove_stale(&t->cgroups);
}

/* Of former brokers: now that we have ours again. */
static void remove_stale_cgroups(struct component_table *t) {
        struct cgroup_root root;

        if (t->cgroups.fd >= 0) {
                if (cgroup_remove_stale(&t->cgroups))
                        timer_start(&t->stale, t->loop, STALE_USEC, look_again, t);
                return;
        }
        if (t->has_cgroup_root)
                return; /* they could not be made here */
        cgroup_root_find(&root);
        if (root.fd >= 0)
                (void) cgroup_remove_stale(&root);
        cgroup_root_close(&root);
}

/* By its name alone: the folder may have been written in another way. */
static bool is_notify_socket(void *owner, const char *name) {
        struct component_table *t = owner;
        const struct instance *i;

        for (struct component *c = t->by_name; c; c = c->hh.next)
                TAILQ_FOREACH (i, &c->instances, entry) {
                        const char *slash = strrchr(i->notify.path, '/');

                        if (slash && strcmp(slash + 1, name) == 0)
                                return true;
                }
        return false;
}

int component_table_apply(struct component_table *t, const struct config *config, bool start) {
        bool first = !t->applied;
        int r = 0;

        open_cgroups(t, config);
        for (size_t k = 0; r == 0 && k < config->n_components; k++) {
                struct component *c = component_find(t, config->components[k]->name);

                if (c) {
                        take_config(c, config->components[k]);
                        continue;
                }
                r = add(t, config->components[k], &c);
                if (r == 0)
                        c->is_new = true;
        }
        remove_gone(t, config);
        align_output(t);
        if (first && r == 0) {
                t->applied = true;
                kept_load(t);
                kept_resume_jobs(t);
                remove_stale_cgroups(t);
                notify_socket_remove_stale(t->control_path, is_notify_socket, t);
        }
        if (r == 0 && start)
                r = start_new(t);
        return r;
}

/* ---- the end ----------------------------------------------------------------------------------*/

static void on_all_stopped(void *owner, const struct job *job) {
        struct component_table *t = owner;

        (void) job;
        if (t->all_ended)
                t->all_ended(t->all_ended_owner);
}

void component_table_stop_all(struct component_table *t, void (*done)(void *owner), void *owner) {
        struct job *job;

        t->stopping = true;
        t->all_ended = done;
        t->all_ended_owner = owner;
        t->stop_listener = (struct job_listener){.done = on_all_stopped, .owner = t};
        if (t->count == 0 || job_begin(t, JOB_STOP, "", NULL, 0, &job) < 0)
                done(owner);
        else
                job_listen(job, &t->stop_listener);
}

void component_table_kill_all(struct component_table *t) {
        for (struct component *c = t->by_name; c; c = c->hh.next) {
                struct instance *i;

                /* Those too whose turn has not come, because others come after them. */
                TAILQ_FOREACH (i, &c->instances, entry) {
                        instance_stop(i);
                        if (i->life == LIFE_DRAINING || i->life == LIFE_CLEANING)
                                instance_event(i, LIFE_DEADLINE);
                }
        }
}
