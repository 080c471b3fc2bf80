/* What was asked for, in dependency order; known by its id until long after its end. */
#include "components/job.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "components/component_table.h"
#include "components/kept.h"
#include "components/operation.h"
#include "core/clock.h"
#include "core/heap.h"
#include "core/log.h"

#define FINISHED_MAX 32 /* whose verdict can still be asked for */
/* So many instances have come and gone with it that their memory is worth giving back. */
#define TRIM_ITEMS 64

static const struct {
        const char *name;
        bool backwards; /* those that come after a component are done before it */
        bool expands;   /* what a component requires and wants is started with it */
        bool passes_on; /* to what is part of a component (PartOf=) */
} kinds[N_JOB_KINDS] = {
        [JOB_START] = {"start", false, true, false},
        [JOB_STOP] = {"stop", true, false, true},
        [JOB_RESTART] = {"restart", false, false, true},
        [JOB_RELOAD] = {"reload", false, false, false},
        [JOB_PAUSE] = {"pause", true, false, false},
        [JOB_RESUME] = {"resume", false, true, false},
};

const char *job_kind_name(enum job_kind kind) {
        return kinds[kind].name;
}

bool job_kind_starts(enum job_kind kind) {
        return kind == JOB_START || kind == JOB_RESTART || kind == JOB_RESUME;
}

const char *job_cancel_reason(enum job_kind stops, const struct component *c) {
        return c->removed           ? "it is not configured any more"
               : c->table->stopping ? "the broker is ending"
               : stops == JOB_PAUSE ? "it is being paused"
                                    : "it is being stopped";
}

int job_kind_from_name(struct text name, enum job_kind *ret) {
        for (size_t k = 0; k < N_JOB_KINDS; k++)
                if (text_equal(name, kinds[k].name)) {
                        *ret = (enum job_kind) k;
                        return 0;
                }
        return -EINVAL;
}

/* ---- order ------------------------------------------------------------------------------------*/

static bool names_one(char *const *names, size_t n, const char *name) {
        for (size_t k = 0; k < n; k++)
                if (strcmp(names[k], name) == 0)
                        return true;
        return false;
}

static bool is_after(const struct component *c, const struct component *other) {
        return names_one(c->config->after, c->config->n_after, other->name);
}

static bool requires(const struct component *c, const struct component *other) {
        return names_one(c->config->requires, c->config->n_requires, other->name);
}

/* Does `item` wait for `other`? */
static bool is_held_by(const struct job_item *item, const struct job_item *other) {
        if (item == other || !item->component || !other->component)
                return false;
        if (kinds[item->job->kind].backwards)
                return !other->finished && is_after(other->component, item->component);
        return !other->decided && is_after(item->component, other->component);
}

static const struct job_item *missing_requirement(const struct job_item *item) {
        const struct job *j = item->job;

        for (size_t k = 0; k < j->n_items; k++) {
                const struct job_item *other = &j->items[k];

                if (other->decided && other->component &&
                    requires(item->component, other->component) &&
                    (other->receipt.verdict == VERDICT_FAILED ||
                     other->receipt.verdict == VERDICT_SKIPPED ||
                     other->receipt.verdict == VERDICT_CANCELED))
                        return other;
        }
        return NULL;
}

static bool can_begin(const struct job_item *item) {
        const struct job *j = item->job;

        if (item->begun)
                return false;
        for (size_t k = 0; k < j->n_items; k++)
                if (is_held_by(item, &j->items[k]))
                        return false;
        return true;
}

/* ---- going on ---------------------------------------------------------------------------------*/

static void finish(struct job *j) {
        bool is_large = j->n_items >= TRIM_ITEMS;
        struct job_listener *l;

        j->finished = true;
        j->ended_usec = loop_now_usec();
        j->table->n_finished_jobs++;
        job_keep(j);
        while ((l = LIST_FIRST(&j->listeners))) {
                LIST_REMOVE(l, entry);
                l->entry.le_prev = NULL;
                l->done(l->owner, j);
        }
        if (is_large)
                heap_trim();
}

static void settle(struct job_item *item, enum verdict verdict, const char *before,
                   const char *what, const char *after) {
        item->begun = item->decided = item->finished = true;
        item->receipt.verdict = verdict;
        (void) snprintf(item->receipt.reason, sizeof(item->receipt.reason), "%s%s%s", before, what,
                        after);
}

/* One that is not configured any more is not to be started again while it ends. */
static bool may_be_asked(const struct job *j, const struct component *c) {
        return !c->removed || kinds[j->kind].backwards;
}

/* Else it is settled. */
static bool can_be_done(struct job_item *item) {
        if (item->component && may_be_asked(item->job, item->component))
                return true;
        settle(item, VERDICT_FAILED, "", item->name, " is not configured any more");
        return false;
}

/* Nobody may be waiting for the receipt: of a start with the broker the log and the status have to
 * tell it. Whoever runs, or was stopped or paused meanwhile, is as it should be. */
static void note_skipped(const struct job_item *item) {
        struct component *c = item->component;

        if (c->goal == GOAL_RUNNING || c->goal == GOAL_PAUSED || c->table->stopping)
                return;
        log_error(c->table->log, ABOUT(.component = c->name),
                  "%s is not started: %s. `fdpass start %s` tries again", c->name,
                  item->receipt.reason, c->name);
        component_set_goal(c, GOAL_FAILED, item->receipt.reason);
        component_touch(c);
}

static void begin_item(struct job_item *item) {
        struct job *j = item->job;
        const struct job_item *missing;
        int r;

        if (!can_be_done(item))
                return;
        missing = job_kind_starts(j->kind) ? missing_requirement(item) : NULL;
        if (missing) {
                item->receipt.generation_before = component_generation(item->component);
                settle(item, VERDICT_SKIPPED, "it requires ", missing->name,
                       missing->receipt.verdict == VERDICT_CANCELED ? ", which was not started"
                                                                    : ", which failed");
                if (missing->receipt.verdict != VERDICT_CANCELED)
                        note_skipped(item);
                return;
        }
        item->begun = true;
        r = operation_request(item->component, j->kind, item);
        if (r < 0)
                settle(item, VERDICT_FAILED, "",
                       r == -ESHUTDOWN ? "the broker is ending" : "out of memory", "");
}

static bool is_finished(const struct job *j) {
        for (size_t k = 0; k < j->n_items; k++)
                if (!j->items[k].finished)
                        return false;
        return true;
}

/* Also ends when dependencies go in a circle: the first one then begins. */
static void advance(struct job *j) {
        bool any, busy = false;

        if (j->finished)
                return;
        do {
                any = false;
                for (size_t k = 0; k < j->n_items; k++)
                        if (can_begin(&j->items[k])) {
                                begin_item(&j->items[k]);
                                any = true;
                        }
        } while (any);
        for (size_t k = 0; k < j->n_items; k++)
                busy = busy || (j->items[k].begun && !j->items[k].finished);
        for (size_t k = 0; !busy && k < j->n_items; k++)
                if (!j->items[k].begun) {
                        begin_item(&j->items[k]);
                        busy = true;
                }
        if (is_finished(j) && !j->finished)
                finish(j);
        else if (!j->finished)
                job_keep(j);
}

void job_item_decided(struct job_item *item) {
        item->decided = true;
        advance(item->job);
}

void job_item_finished(struct job_item *item) {
        item->decided = item->finished = true;
        advance(item->job);
}

void job_progress(struct job *j, const struct job_event *event) {
        struct job_listener *l, *next;

        for (l = LIST_FIRST(&j->listeners); l; l = next) {
                next = LIST_NEXT(l, entry);
                if (l->event)
                        l->event(l->owner, event);
        }
}

/* ---- who waits --------------------------------------------------------------------------------*/

void job_listen(struct job *j, struct job_listener *l) {
        if (j->finished) {
                l->entry.le_prev = NULL;
                l->done(l->owner, j);
        } else {
                LIST_INSERT_HEAD(&j->listeners, l, entry);
        }
}

void job_unlisten(struct job_listener *l) {
        if (l->entry.le_prev)
                LIST_REMOVE(l, entry);
        l->entry.le_prev = NULL;
}

bool job_is_good(const struct job *j) {
        for (size_t k = 0; k < j->n_items; k++)
                if (!verdict_is_good(j->items[k].receipt.verdict) &&
                    (j->items[k].asked_for || !kinds[j->kind].expands))
                        return false;
        return true;
}

/* ---- beginning --------------------------------------------------------------------------------*/

struct job *job_find(const struct component_table *t, const char *id) {
        struct job *j;

        TAILQ_FOREACH (j, &t->jobs, entry)
                if (strcmp(j->id, id) == 0)
                        return j;
        return NULL;
}

void job_free(struct job *j) {
        struct component_table *t = j->table;

        TAILQ_REMOVE(&t->jobs, j, entry);
        t->n_finished_jobs -= j->finished;
        while (!LIST_EMPTY(&j->listeners))
                job_unlisten(LIST_FIRST(&j->listeners));
        for (size_t k = 0; k < j->n_items; k++) {
                operation_unlink_item(&j->items[k]);
                receipt_clear(&j->items[k].receipt);
                free(j->items[k].name);
        }
        free(j->items);
        free(j);
}

static void forget_old(struct component_table *t) {
        struct job *j, *next;

        for (j = TAILQ_FIRST(&t->jobs); j && t->n_finished_jobs >= FINISHED_MAX; j = next) {
                next = TAILQ_NEXT(j, entry);
                if (j->finished) {
                        job_forget(j);
                        job_free(j);
                }
        }
}

int job_new(struct component_table *t, enum job_kind kind, const char *id, size_t n_max,
            struct job **ret) {
        struct job *j = calloc(1, sizeof(*j));

        if (!j)
                return -ENOMEM;
        j->items = calloc(n_max > 0 ? n_max : 1, sizeof(*j->items));
        if (!j->items) {
                free(j);
                return -ENOMEM;
        }
        j->n_max = n_max;
        j->table = t;
        j->kind = kind;
        j->since_usec = clock_realtime_usec();
        j->started_usec = loop_now_usec();
        (void) snprintf(j->id, sizeof(j->id), "%s", id);
        TAILQ_INSERT_TAIL(&t->jobs, j, entry);
        *ret = j;
        return 0;
}

static struct job_item *find_item(const struct job *j, const char *name) {
        for (size_t k = 0; k < j->n_items; k++)
                if (strcmp(j->items[k].name, name) == 0)
                        return &j->items[k];
        return NULL;
}

int job_add_item(struct job *j, struct component *c, const char *name, bool asked_for) {
        struct job_item *item = find_item(j, name);

        if (item) {
                item->asked_for = item->asked_for || asked_for;
                return 0;
        }
        item = &j->items[j->n_items];
        *item = (struct job_item){
                .job = j, .component = c, .name = strdup(name), .asked_for = asked_for};
        if (!item->name)
                return -ENOMEM;
        j->n_items++;
        return 0;
}

static int add_named(struct job *j, char *const *names, size_t n) {
        int r = 0;

        for (size_t k = 0; r == 0 && k < n; k++) {
                struct component *c = component_find(j->table, names[k]);

                if (c && !c->removed)
                        r = job_add_item(j, c, c->name, false);
        }
        return r;
}

/* What does not run is neither stopped nor, with a restart of another, started. */
static int add_parts(struct job *j, const struct component *whole) {
        int r = 0;

        for (struct component *c = component_first(j->table); r == 0 && c; c = component_next(c))
                if (names_one(c->config->part_of, c->config->n_part_of, whole->name) &&
                    !c->removed && c->goal == GOAL_RUNNING &&
                    component_state(c) != COMPONENT_WAITING)
                        r = job_add_item(j, c, c->name, false);
        return r;
}

/* The list grows while it is walked: what is required has requirements, a part has parts. */
static int expand(struct job *j) {
        int r = 0;

        for (size_t k = 0; r == 0 && k < j->n_items; k++) {
                const struct component *c = j->items[k].component;

                if (kinds[j->kind].expands)
                        r = add_named(j, c->config->requires, c->config->n_requires);
                if (r == 0 && kinds[j->kind].expands)
                        r = add_named(j, c->config->wants, c->config->n_wants);
                if (r == 0 && kinds[j->kind].passes_on)
                        r = add_parts(j, c);
        }
        return r;
}

/* It was asked for, and its turn has not come yet. */
static bool is_awaited(const struct component *c) {
        const struct job *j;

        TAILQ_FOREACH (j, &c->table->jobs, entry)
                for (size_t k = 0; !kinds[j->kind].backwards && k < j->n_items; k++)
                        if (j->items[k].component == c && !j->items[k].begun)
                                return true;
        return false;
}

/* Is it one of "all"? Nobody who restarts all wants to have started what was stopped on purpose,
 * nor who pauses and resumes all. */
static bool is_of_all(enum job_kind kind, const struct component *c) {
        switch (kind) {
        case JOB_START:
                return !c->config->on_demand && !c->config->manual;
        case JOB_RESTART:
                return (c->goal == GOAL_RUNNING || c->goal == GOAL_FAILED) &&
                       component_state(c) != COMPONENT_WAITING;
        case JOB_RELOAD:
                return component_generation(c) > 0;
        case JOB_PAUSE:
                return c->goal == GOAL_RUNNING || c->goal == GOAL_PAUSED || is_awaited(c);
        case JOB_RESUME:
                return c->goal == GOAL_PAUSED;
        default:
                return true;
        }
}

static int add_asked_for(struct job *j, const char *const *names, size_t n_names) {
        int r = 0;

        for (size_t k = 0; names && r == 0 && k < n_names; k++) {
                struct component *c = component_find(j->table, names[k]);

                r = c && may_be_asked(j, c) ? job_add_item(j, c, c->name, true) : -ENOENT;
        }
        for (struct component *c = component_first(j->table); !names && r == 0 && c;
             c = component_next(c))
                if (is_of_all(j->kind, c) && may_be_asked(j, c))
                        r = job_add_item(j, c, c->name, true);
        return r == 0 ? expand(j) : r;
}

static void make_up_id(struct component_table *t, char id[JOB_ID_SIZE]) {
        do
                (void) snprintf(id, JOB_ID_SIZE, "job-%llx-%llu",
                                (unsigned long long) clock_realtime_usec(),
                                (unsigned long long) ++t->jobs_made);
        while (job_find(t, id));
}

static bool is_named(const struct job_item *item, const char *const *names, size_t n_names) {
        for (size_t k = 0; k < n_names; k++)
                if (strcmp(item->name, names[k]) == 0)
                        return true;
        return false;
}

/* Its verdict is not to be taken for that of others. What "all" was may be more by now. */
static bool asks_for(const struct job *j, const char *const *names, size_t n_names) {
        for (size_t k = 0; names && k < n_names; k++) {
                const struct job_item *item = find_item(j, names[k]);

                if (!item || !item->asked_for)
                        return false;
        }
        for (size_t k = 0; names && k < j->n_items; k++)
                if (j->items[k].asked_for && !is_named(&j->items[k], names, n_names))
                        return false;
        return true;
}

bool job_table_is_full(const struct component_table *t) {
        const struct job *j;
        size_t n = 0;

        TAILQ_FOREACH (j, &t->jobs, entry)
                n += !j->finished;
        return n >= JOBS_MAX;
}

static bool has_component(const struct job *j, const struct component *c) {
        for (size_t k = 0; k < j->n_items; k++)
                if (j->items[k].component == c)
                        return true;
        return false;
}

/* Whoever asks for a stop has the last word over what was asked for before, also where that waits
 * for its turn. */
static void take_back(const struct job *stop) {
        struct job *j;

        TAILQ_FOREACH (j, &stop->table->jobs, entry) {
                bool any = false;

                for (size_t k = 0; !kinds[j->kind].backwards && k < j->n_items; k++) {
                        struct job_item *item = &j->items[k];

                        if (item->begun || !item->component ||
                            !has_component(stop, item->component))
                                continue;
                        settle(item, VERDICT_CANCELED, "",
                               job_cancel_reason(stop->kind, item->component), "");
                        any = true;
                }
                if (any)
                        advance(j);
        }
}

int job_begin(struct component_table *t, enum job_kind kind, const char *id,
              const char *const *names, size_t n_names, struct job **ret) {
        char made_up[JOB_ID_SIZE];
        struct job *j = id[0] ? job_find(t, id) : NULL;
        int r;

        if (j) {
                *ret = j;
                return j->kind == kind && asks_for(j, names, n_names) ? 0 : -EINVAL;
        }
        if (t->stopping && !kinds[kind].backwards)
                return -ESHUTDOWN;
        if (!id[0]) {
                make_up_id(t, made_up);
                id = made_up;
        }
        forget_old(t);
        r = job_new(t, kind, id, t->count, &j);
        if (r < 0)
                return r;
        r = add_asked_for(j, names, n_names);
        if (r < 0) {
                job_free(j);
                return r;
        }
        *ret = j;
        job_keep(j); /* whole, before any of it begins */
        if (kinds[kind].backwards)
                take_back(j);
        advance(j);
        return 0;
}

/* Stopping comes at once; the others begin when they are the one of their component. */
bool job_item_has_begun(const struct job_item *item) {
        return kinds[item->job->kind].backwards || item->places > 0 ||
               item->receipt.generation_before > 0;
}

static enum job_round round_of(const struct job_item *item) {
        if (item->decided)
                return JOB_ROUND_DECIDED;
        if (job_item_has_begun(item))
                return JOB_ROUND_BEGUN;
        return item->job->kind == JOB_RESTART ? JOB_ROUND_RESTART : JOB_ROUND_WAITING;
}

void job_resume(struct job *j, enum job_round round) {
        for (size_t k = 0; k < j->n_items; k++) {
                struct job_item *item = &j->items[k];

                if (!item->begun || item->finished || round_of(item) != round)
                        continue;
                if (item->operation)
                        continue; /* begun only now, because one before it in its job is over */
                if (item->decided && !item->component) {
                        item->finished = true; /* it went, and so has all that was waited for */
                        continue;
                }
                if (!item->decided && !can_be_done(item))
                        continue;
                if (operation_resume(item->component, j->kind, item) < 0)
                        settle(item, VERDICT_FAILED, "", "out of memory", "");
        }
        if (round == JOB_ROUND_WAITING)
                advance(j);
}

void job_forget_component(struct component_table *t, const struct component *c) {
        struct job *j;

        TAILQ_FOREACH (j, &t->jobs, entry)
                for (size_t k = 0; k < j->n_items; k++)
                        if (j->items[k].component == c)
                                j->items[k].component = NULL;
}
