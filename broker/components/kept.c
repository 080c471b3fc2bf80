/* The records of components and jobs: words that later versions must understand. */
#include "components/kept.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "components/component_table.h"
#include "components/instance_kept.h"
#include "components/job.h"
#include "components/line_part.h"
#include "components/operation.h"
#include "components/runtime_directory.h"
#include "keeper/memory.h"
#include "keeper/record.h"
#include "sockets/queue.h"

#define KIND_COMPONENT "component"
#define KIND_JOB "job"
#define KIND_JOB_ITEM "job_item"

#define LAST_STATUS_MAX 255 /* of exit(3); signals are fewer */
#define LINES_KEPT 8
#define LINE_KEPT 400

static const char *const component_keys[] = {
        "RECORD",         "NAME",          "GOAL",          "GENERATION",        "RESTARTS",
        "REASON",         "LAST_END",      "LAST_STATUS",   "LAST_TIME",         "LAST_REASON",
        "BACK_OFF",       "STEPS",         "STARTS",        "STARTS_SINCE",      "TRIGGERS",
        "TRIGGERS_SINCE", "FAILED_PLACES", "FAILED_REASON", "RUNTIME_DIRECTORY", NULL};
static const char *const job_keys[] = {"RECORD", "JOB",      "KIND",  "SINCE", "STARTED",
                                       "ENDED",  "FINISHED", "ITEMS", NULL};
static const char *const item_keys[] = {
        "RECORD",    "OF",       "NAME",         "ASKED_FOR", "BEGUN",   "DECIDED",
        "FINISHED",  "PLACES",   "VERDICT",      "REASON",    "BEFORE",  "GENERATION",
        "INSTANCES", "READY_BY", "READY",        "DRAIN",     "DRAINED", "KILLED",
        "WAIT",      "DROPS",    "DROPS_BEFORE", "LINE0",     "LINE1",   "LINE2",
        "LINE3",     "LINE4",    "LINE5",        "LINE6",     "LINE7",   NULL};

static const struct record_kind component_record = {KIND_COMPONENT, 'c', component_keys};
static const struct record_kind job_record = {KIND_JOB, 'j', job_keys};
static const struct record_kind item_record = {KIND_JOB_ITEM, 'e', item_keys};

/* ---- components -------------------------------------------------------------------------------*/

void component_keep(struct component *c) {
        struct packet_writer *w = record_new(c->table->memory, &component_record);

        if (!w)
                return;
        packet_add(w, "NAME", c->name);
        packet_add(w, "GOAL", component_goal_name(c->goal));
        packet_add_u64(w, "GENERATION", c->last_generation);
        packet_add_u64(w, "RESTARTS", c->restarts);
        packet_add(w, "REASON", c->reason);
        packet_add_u64(w, "LAST_END", c->last_end);
        packet_add_u64(w, "LAST_STATUS", (uint64_t) c->last_status);
        packet_add_u64(w, "LAST_TIME", c->last_end_usec);
        packet_add(w, "LAST_REASON", c->last_reason);
        packet_add_u64(w, "BACK_OFF", c->back_off_until_usec);
        packet_add_u64(w, "STEPS", c->policy.steps);
        packet_add_u64(w, "STARTS", c->policy.starts.count);
        packet_add_u64(w, "STARTS_SINCE", c->policy.starts.begin_usec);
        packet_add_u64(w, "TRIGGERS", c->policy.triggers.count);
        packet_add_u64(w, "TRIGGERS_SINCE", c->policy.triggers.begin_usec);
        packet_add_u64(w, "FAILED_PLACES", c->failed_places);
        packet_add(w, "FAILED_REASON", c->failed_reason);
        packet_add_u64(w, "RUNTIME_DIRECTORY", runtime_directory_is_left(c));
        (void) record_keep(c->table->memory, c->table->log, &component_record, w, c->id, c->name);
}

void component_forget(struct component *c) {
        output_log_forget(&c->output);
        record_remove(c->table->memory, c->id);
}

static void read_component(struct component *c, const struct assignments *a) {
        const struct text *goal = assignments_get(a, "GOAL");

        c->found_again = true;
        for (size_t k = 0; goal && k < N_GOALS; k++)
                if (text_equal(*goal, component_goal_name((enum component_goal) k)))
                        c->goal = (enum component_goal) k;
        c->last_generation = record_u64(a, "GENERATION");
        c->restarts = record_u64(a, "RESTARTS");
        record_text(a, "REASON", c->reason, sizeof(c->reason));
        c->last_end =
                (enum process_end) record_choice(a, "LAST_END", PROCESS_UNKNOWN, PROCESS_UNKNOWN);
        c->last_status = (int) record_choice(a, "LAST_STATUS", LAST_STATUS_MAX, 0);
        c->last_end_usec = record_u64(a, "LAST_TIME");
        record_text(a, "LAST_REASON", c->last_reason, sizeof(c->last_reason));
        c->policy.steps = (unsigned) record_u64(a, "STEPS");
        c->policy.starts.count = (unsigned) record_u64(a, "STARTS");
        c->policy.starts.begin_usec = record_u64(a, "STARTS_SINCE");
        c->policy.triggers.count = (unsigned) record_u64(a, "TRIGGERS");
        c->policy.triggers.begin_usec = record_u64(a, "TRIGGERS_SINCE");
        c->failed_places = record_u64(a, "FAILED_PLACES");
        record_text(a, "FAILED_REASON", c->failed_reason, sizeof(c->failed_reason));
        component_resume_back_off(c, record_u64(a, "BACK_OFF"));
        if (record_u64(a, "RUNTIME_DIRECTORY"))
                runtime_directory_resume(c);
}

static struct component *component_of(const struct component_table *t, const struct assignments *a,
                                      const char *key) {
        char name[NAME_LENGTH_MAX + 1];

        record_text(a, key, name, sizeof(name));
        return component_find(t, name);
}

static void load_components(struct component_table *t) {
        const char *id, *next;
        struct assignments a;

        for (id = memory_first(t->memory, KIND_COMPONENT); id; id = next) {
                struct component *c;

                next = memory_next(t->memory, KIND_COMPONENT, id);
                if (!memory_get(t->memory, id, &a))
                        continue;
                c = component_of(t, &a, "NAME");
                if (!c || c->id[0]) {
                        memory_remove(t->memory, id);
                        continue;
                }
                (void) snprintf(c->id, sizeof(c->id), "%s", id);
                read_component(c, &a);
        }
}

/* The component of an instance; one that is not configured any more is there to be stopped. */
static struct component *owner_of(struct component_table *t, const struct assignments *a) {
        char name[NAME_LENGTH_MAX + 1];
        struct component *c;

        record_text(a, "COMPONENT", name, sizeof(name));
        c = component_find(t, name);
        if (c || !name_is_valid(name, strlen(name)) || component_add_removed(t, name, &c) < 0)
                return c;
        log_notice(t->log, ABOUT(.component = name), "%s is not configured any more and is stopped",
                   name);
        return c;
}

static void load_instances(struct component_table *t) {
        struct instance_parts parts;
        int r = instance_parts_find(t->memory, &parts);
        const char *id, *next;
        struct assignments a;

        for (id = memory_first(t->memory, KIND_INSTANCE); id; id = next) {
                struct component *c;
                uint64_t pid;

                next = memory_next(t->memory, KIND_INSTANCE, id);
                if (!memory_get(t->memory, id, &a))
                        continue;
                pid = record_u64(&a, "PID");
                c = owner_of(t, &a);
                if (!c || r < 0 || instance_adopt(c, id, &parts) < 0)
                        log_error(t->log, NULL,
                                  "a process of a component could not be taken back (lack of "
                                  "memory, a broken record) and runs on unsupervised (pid %llu)",
                                  (unsigned long long) pid);
                else if (c->removed)
                        (void) operation_request(c, JOB_STOP, NULL);
        }
        instance_parts_clear(&parts);
}

/* Of components that are not configured any more as well, which only their instances make known. */
static void load_lines(struct component_table *t) {
        char name[LINE_AREA_NAME_SIZE];

        for (size_t k = 0; k < t->kept_lines.count; k++) {
                struct component *c =
                        kept_lines_name(&t->kept_lines, k, name) ? component_find(t, name) : NULL;

                if (c)
                        output_log_find(&c->output, k);
        }
}

static void forget_lines(struct component_table *t) {
        kept_lines_forget_unclaimed(&t->kept_lines);
        for (struct component *c = component_first(t); c; c = component_next(c))
                line_part_forget_unclaimed(&c->output.lines);
}

/* ---- jobs -------------------------------------------------------------------------------------*/

/* They only ever become true. */
static unsigned stage_of(const struct job_item *item) {
        return 1U + item->begun + item->decided + item->finished;
}

void job_item_keep(struct job_item *item) {
        struct component_table *t = item->job->table;
        struct packet_writer *w =
                item->job->kept_id[0] ? record_new(t->memory, &item_record) : NULL;
        const struct receipt *r = &item->receipt;
        size_t skip = r->n_lines > LINES_KEPT ? r->n_lines - LINES_KEPT : 0;
        char key[] = "LINE0";

        if (!w)
                return;
        packet_add(w, "OF", item->job->kept_id);
        packet_add(w, "NAME", item->name);
        packet_add_u64(w, "ASKED_FOR", item->asked_for);
        packet_add_u64(w, "BEGUN", item->begun);
        packet_add_u64(w, "PLACES", item->places);
        packet_add_u64(w, "DECIDED", item->decided);
        packet_add_u64(w, "FINISHED", item->finished);
        packet_add(w, "VERDICT", verdict_name(r->verdict));
        packet_add(w, "REASON", r->reason);
        packet_add_u64(w, "BEFORE", r->generation_before);
        packet_add_u64(w, "GENERATION", r->generation);
        packet_add_u64(w, "INSTANCES", r->instances);
        packet_add(w, "READY_BY", r->ready_by);
        packet_add_u64(w, "READY", r->ready_usec);
        packet_add_u64(w, "DRAIN", r->drain_usec);
        packet_add_u64(w, "DRAINED", r->drained);
        packet_add_u64(w, "KILLED", r->killed);
        packet_add_u64(w, "WAIT", r->longest_wait_usec);
        packet_add_u64(w, "DROPS", r->drops);
        packet_add_u64(w, "DROPS_BEFORE", item->drops_before);
        for (size_t k = skip; k < r->n_lines; k++) {
                key[4] = (char) ('0' + (k - skip));
                packet_addf(w, key, "%.*s", LINE_KEPT, r->lines[k]);
        }
        if (record_keep(t->memory, t->log, &item_record, w, item->kept_id, "a job"))
                item->kept_stage = stage_of(item);
}

void job_keep(struct job *j) {
        struct packet_writer *w = record_new(j->table->memory, &job_record);

        if (!w)
                return;
        packet_add(w, "JOB", j->id);
        packet_add(w, "KIND", job_kind_name(j->kind));
        packet_add_u64(w, "SINCE", j->since_usec);
        packet_add_u64(w, "STARTED", j->started_usec);
        packet_add_u64(w, "ENDED", j->ended_usec);
        packet_add_u64(w, "FINISHED", j->finished);
        packet_add_u64(w, "ITEMS", j->n_items);
        if (!record_keep(j->table->memory, j->table->log, &job_record, w, j->kept_id, "a job"))
                return;
        for (size_t k = 0; k < j->n_items; k++)
                if (j->items[k].kept_stage != stage_of(&j->items[k]))
                        job_item_keep(&j->items[k]);
}

void job_forget(struct job *j) {
        for (size_t k = 0; k < j->n_items; k++)
                record_remove(j->table->memory, j->items[k].kept_id);
        record_remove(j->table->memory, j->kept_id);
}

/* False: it is none of the job's, or there without need. */
static bool read_item(struct job *j, const char *id, const struct assignments *a) {
        const struct text *verdict = assignments_get(a, "VERDICT");
        char name[NAME_LENGTH_MAX + 1], key[] = "LINE0";
        size_t n = j->n_items;
        struct job_item *item;
        struct receipt *r;

        record_text(a, "NAME", name, sizeof(name));
        if (n == j->n_max || job_add_item(j, component_find(j->table, name), name,
                                          record_u64(a, "ASKED_FOR") != 0) < 0)
                return false;
        if (j->n_items == n)
                return false; /* there is one of this name */
        item = &j->items[n];
        r = &item->receipt;
        (void) snprintf(item->kept_id, sizeof(item->kept_id), "%s", id);
        item->begun = record_u64(a, "BEGUN") != 0;
        item->places = record_u64(a, "PLACES");
        item->decided = record_u64(a, "DECIDED") != 0;
        item->finished = record_u64(a, "FINISHED") != 0;
        item->kept_stage = stage_of(item);
        if (!verdict || verdict_from_name(*verdict, &r->verdict) < 0)
                r->verdict = VERDICT_NONE;
        record_text(a, "REASON", r->reason, sizeof(r->reason));
        r->generation_before = record_u64(a, "BEFORE");
        r->generation = record_u64(a, "GENERATION");
        r->instances = (unsigned) record_u64(a, "INSTANCES");
        record_text(a, "READY_BY", r->ready_by, sizeof(r->ready_by));
        r->ready_usec = record_u64(a, "READY");
        r->drain_usec = record_u64(a, "DRAIN");
        r->drained = record_u64(a, "DRAINED") != 0;
        r->killed = record_u64(a, "KILLED") != 0;
        r->longest_wait_usec = record_u64(a, "WAIT");
        r->drops = record_u64(a, "DROPS");
        item->drops_before = assignments_u64(a, "DROPS_BEFORE", QUEUE_DROPS_UNKNOWN);
        for (; r->n_lines < LINES_KEPT; r->n_lines++) {
                const struct text *line;

                key[4] = (char) ('0' + r->n_lines);
                line = assignments_get(a, key);
                r->lines[r->n_lines] = line ? text_dup(*line) : NULL;
                if (!r->lines[r->n_lines])
                        break;
        }
        return true;
}

static struct job *find_kept(const struct component_table *t, struct text id) {
        struct job *j;

        TAILQ_FOREACH (j, &t->jobs, entry)
                if (text_equal(id, j->kept_id))
                        break;
        return j;
}

/* All jobs are there: an item of none is of what the broker was about to remove when it died. Those
 * of one job stand together, and there may be many thousands. */
static void load_items(struct component_table *t) {
        const char *id, *next;
        struct assignments a;
        struct job *j = NULL;

        for (id = memory_first(t->memory, KIND_JOB_ITEM); id; id = next) {
                const struct text *of;

                next = memory_next(t->memory, KIND_JOB_ITEM, id);
                if (!memory_get(t->memory, id, &a))
                        continue;
                of = assignments_get(&a, "OF");
                if (of && !(j && text_equal(*of, j->kept_id)))
                        j = find_kept(t, *of);
                if (!of || !j || !read_item(j, id, &a))
                        memory_remove(t->memory, id);
        }
}

static void load_job(struct component_table *t, const char *id, const struct assignments *a) {
        const struct text *word = assignments_get(a, "KIND");
        uint64_t n = record_u64(a, "ITEMS");
        char job_id[JOB_ID_SIZE];
        enum job_kind kind;
        struct job *j;

        record_text(a, "JOB", job_id, sizeof(job_id));
        if (!word || job_kind_from_name(*word, &kind) < 0 || n > 65536 ||
            job_new(t, kind, job_id, n, &j) < 0) {
                memory_remove(t->memory, id);
                return;
        }
        (void) snprintf(j->kept_id, sizeof(j->kept_id), "%s", id);
        j->since_usec = record_u64(a, "SINCE");
        j->started_usec = record_u64(a, "STARTED");
        j->ended_usec = record_u64(a, "ENDED");
        j->finished = record_u64(a, "FINISHED") != 0;
}

/* Its record was written before those of its items. */
static void check_items(struct job *j) {
        if (j->n_items != j->n_max) {
                /* The broker died in between: nothing was begun, and who asked asks again. */
                j->finished = false;
                job_forget(j);
                job_free(j);
                return;
        }
        for (size_t k = 0; k < j->n_items; k++)
                j->finished = j->finished && j->items[k].finished;
        j->table->n_finished_jobs += j->finished;
}

static void load_jobs(struct component_table *t) {
        const char *id, *next;
        struct assignments a;
        struct job *j, *after;

        for (id = memory_first(t->memory, KIND_JOB); id; id = next) {
                next = memory_next(t->memory, KIND_JOB, id);
                if (memory_get(t->memory, id, &a))
                        load_job(t, id, &a);
        }
        load_items(t);
        for (j = TAILQ_FIRST(&t->jobs); j; j = after) {
                after = TAILQ_NEXT(j, entry);
                check_items(j);
        }
}

/* ---- all --------------------------------------------------------------------------------------*/

bool kept_has_instances(const struct component_table *t) {
        return t->memory && memory_first(t->memory, KIND_INSTANCE);
}

void kept_load(struct component_table *t) {
        if (!t->memory)
                return;
        load_components(t);
        kept_lines_load(&t->kept_lines);
        load_lines(t); /* before any that an instance has written since */
        load_instances(t);
        load_lines(t);
        forget_lines(t);
        load_jobs(t);
}

void kept_resume_jobs(struct component_table *t) {
        struct job *j;

        for (int round = 0; round < N_JOB_ROUNDS; round++)
                TAILQ_FOREACH (j, &t->jobs, entry)
                        if (!j->finished)
                                job_resume(j, (enum job_round) round);
        for (struct component *c = component_first(t); c; c = component_next(c))
                operation_resume_unasked(c);
}
