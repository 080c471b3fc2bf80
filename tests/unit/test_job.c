/*
 * A request over several components: order, what is skipped, ids, and who listens. Each component
 * appends its name to a file when it starts and when it ends, and waits for a file when it is to.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "components/operation.h"
#include "life_support.h"
#include "support.h"

static struct scene l;

/* "go" lets all become ready, "go.NAME" one; "bad.NAME" is not there for one that ends instead. */
static void open_scene(const char *components) {
        char text[8192] = "", more[512];
        char *list = strdup(components), *rest = NULL;

        life_begin(&l, false);
        test_write("post.sh", "cd \"${0%/*}\"\n"
                              "until test -e go -o -e go.$1 -o ! -e post.sh; do\n"
                              "        test -e bad.$1 && exit 1\n"
                              "        sleep 0.01\n"
                              "done\n"
                              "echo +$1 >>order\n");
        test_write("stopped.sh", "cd \"${0%/*}\"\necho -- -$1 >>order\n");
        /* "NAME DIRECTIVES" by the line */
        for (char *line = strtok_r(list, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
                int n = (int) strcspn(line, " ");
                char *directives = line + n + (line[n] == ' ');

                for (char *p = directives; *p; p++)
                        if (*p == ';')
                                *p = '\n';
                (void) snprintf(more, sizeof(more),
                                "[Component %.*s]\nStart=manual\nRestart=no\nExecStart=sleep 60\n"
                                "ExecStartPost=sh %s %.*s\nExecStopPost=sh %s %.*s\n%s\n",
                                n, line, test_path("post.sh"), n, line, test_path("stopped.sh"), n,
                                line, directives);
                strcat(text, more);
        }
        free(list);
        life_apply(&l, "%s", text);
}

static enum verdict verdict_of(struct job *job, const char *name) {
        return life_receipt(&l, job, name)->verdict;
}

static struct job_item *item_of(const struct job *job, const char *name) {
        for (size_t k = 0; k < job->n_items; k++)
                if (strcmp(job->items[k].name, name) == 0)
                        return &job->items[k];
        return NULL;
}

static bool completes(const char *name) {
        const struct instance *i = life_instance(&l, name, 1);

        return i && i->life == LIFE_COMPLETING;
}

/* Without the ends, which come when they come. */
static const char *starts(void) {
        static char text[256];
        const char *order = life_read("order");
        size_t used = 0;

        for (const char *p = strchr(order, '+'); p; p = strchr(p + 1, '+'))
                used += (size_t) snprintf(text + used, sizeof(text) - used, "%.*s ",
                                          (int) strcspn(p, " "), p);
        return text;
}

#define CHAIN "front After=middle\nback \nmiddle After=back"

START_TEST(dependencies_start_first_and_stop_last) {
        struct job *job;

        open_scene(CHAIN);
        test_write("go", "");
        job = life_begin_job(&l, JOB_START, "", "front middle back");
        LIFE_UNTIL(&l, job->finished);
        ck_assert_str_eq(life_read("order"), "+back +middle +front");
        job = life_begin_job(&l, _i == 0 ? JOB_STOP : JOB_PAUSE, "", "back middle front");
        LIFE_UNTIL(&l, job->finished);
        ck_assert_str_eq(life_read("order"), "+back +middle +front -- -front -- -middle -- -back");
        ck_assert(job_is_good(job));
        life_end(&l);
}
END_TEST

START_TEST(a_restart_goes_in_their_order) {
        struct job *job;

        open_scene(CHAIN);
        test_write("go", "");
        job = life_begin_job(&l, JOB_START, "", "front middle back");
        LIFE_UNTIL(&l, job->finished);
        test_write("order", "");
        job = life_begin_job(&l, JOB_RESTART, "", NULL);
        ck_assert_uint_eq(job->n_items, 3);
        LIFE_UNTIL(&l, job->finished);
        ck_assert(job_is_good(job));
        ck_assert_str_eq(starts(), "+back +middle +front ");
        life_end(&l);
}
END_TEST

/* Only readiness lets the next one begin, and those that do not depend do not wait. */
START_TEST(independent_ones_at_the_same_time) {
        struct job *job;

        open_scene("a After=b\nb \nc ");
        job = life_begin_job(&l, JOB_START, "", "a b c");
        LIFE_UNTIL(&l, completes("b") && completes("c"));
        life_pass(&l, 20);
        ck_assert_uint_eq(life_component(&l, "a")->n_instances, 0);
        test_write("go.b", "");
        LIFE_UNTIL(&l, completes("a"));
        ck_assert(completes("c"));
        test_write("go", "");
        LIFE_UNTIL(&l, job->finished);
        ck_assert(job_is_good(job));
        life_end(&l);
}
END_TEST

/* The reader refuses it; while a configuration is taken over it may be there for a moment. */
START_TEST(a_circle_is_broken_and_all_start) {
        char *after[] = {"c"};
        struct component_config *a;
        struct job *job;

        open_scene("a \nb After=a\nc After=b");
        a = life_component(&l, "a")->config;
        ck_assert_uint_eq(a->n_after, 0);
        a->after = after;
        a->n_after = 1;
        test_write("go", "");
        job = life_begin_job(&l, JOB_START, "", "a b c");
        LIFE_UNTIL(&l, job->finished);
        ck_assert(job_is_good(job));
        ck_assert_str_eq(life_read("order"), "+a +b +c"); /* from one of them on in order */
        job = life_begin_job(&l, JOB_STOP, "", NULL);
        LIFE_UNTIL(&l, job->finished);
        ck_assert(job_is_good(job));
        a->after = NULL;
        a->n_after = 0;
        life_end(&l);
}
END_TEST

/* Whoever asks later has the last word, also over what had not come to its turn. */
START_TEST(a_stop_takes_back_what_has_not_begun) {
        static const enum job_kind before[] = {JOB_START, JOB_RESTART, JOB_START, JOB_START},
                                   after[] = {JOB_STOP, JOB_PAUSE, JOB_STOP, JOB_PAUSE};
        bool pauses = after[_i] == JOB_PAUSE, of_all = _i >= 2;
        struct job *first, *stop;

        open_scene("a \nb After=a\nc Requires=b;After=b");
        first = life_begin_job(&l, before[_i], "first", "a b c");
        LIFE_UNTIL(&l, completes("a"));
        stop = life_begin_job(&l, after[_i], "", of_all ? NULL : "b");
        LIFE_UNTIL(&l, stop->finished);
        ck_assert(job_is_good(stop));
        test_write("go", "");
        LIFE_UNTIL(&l, first->finished);
        ck_assert_int_eq(verdict_of(first, "a"), of_all ? VERDICT_CANCELED : VERDICT_SERVES);
        ck_assert_int_eq(verdict_of(first, "b"), VERDICT_CANCELED);
        ck_assert_str_eq(life_receipt(&l, first, "b")->reason,
                         pauses ? "it is being paused" : "it is being stopped");
        ck_assert_int_eq(verdict_of(first, "c"), of_all ? VERDICT_CANCELED : VERDICT_SKIPPED);
        life_pass(&l, 20);
        ck_assert_uint_eq(life_component(&l, "b")->last_generation, 0);
        ck_assert_int_eq(life_component(&l, "b")->goal, pauses ? GOAL_PAUSED : GOAL_STOPPED);
        /* and what is asked for after it is done */
        first = life_begin_job(&l, JOB_START, "", "b");
        ck_assert_int_eq(verdict_of(first, "b"), VERDICT_SERVES);
        life_end(&l);
}
END_TEST

START_TEST(who_requires_one_that_failed_is_skipped) {
        struct job *job;

        open_scene("a Requires=b;After=b\nb \nc Requires=a;After=a\nd Wants=b;After=b");
        test_write("go.a", "");
        test_write("go.c", "");
        test_write("go.d", "");
        test_write("bad.b", "");
        job = life_begin_job(&l, JOB_START, "", "c d");
        ck_assert_uint_eq(job->n_items, 4);
        ck_assert(item_of(job, "c")->asked_for && !item_of(job, "a")->asked_for);
        ck_assert_int_eq(verdict_of(job, "b"), VERDICT_FAILED);
        ck_assert_int_eq(verdict_of(job, "a"), VERDICT_SKIPPED);
        ck_assert_str_eq(life_receipt(&l, job, "a")->reason, "it requires b, which failed");
        ck_assert_int_eq(verdict_of(job, "c"), VERDICT_SKIPPED);
        ck_assert_str_eq(life_receipt(&l, job, "c")->reason, "it requires a, which failed");
        ck_assert_int_eq(verdict_of(job, "d"), VERDICT_SERVES);
        ck_assert(!job_is_good(job));
        life_end(&l);
}
END_TEST

/* A reload that failed changes nothing of what others require. */
START_TEST(who_requires_one_that_was_not_reloaded_is_reloaded) {
        struct job *job;

        open_scene("a \nb Requires=a;After=a;ExecReload=true");
        test_write("go", "");
        LIFE_UNTIL(&l, life_begin_job(&l, JOB_START, "start", "b")->finished);
        job = life_begin_job(&l, JOB_RELOAD, "", NULL);
        ck_assert_int_eq(verdict_of(job, "a"), VERDICT_FAILED);
        ck_assert_int_eq(verdict_of(job, "b"), VERDICT_DONE);
        life_end(&l);
}
END_TEST

START_TEST(who_requires_one_that_does_not_come_back_goes_on) {
        struct job *job;

        open_scene("a Handover=stop-first\nb Requires=a;After=a");
        test_write("go", "");
        LIFE_UNTIL(&l, life_begin_job(&l, JOB_START, "start", "b")->finished);
        ck_assert_int_eq(unlink(test_path("go")), 0);
        test_write("bad.a", "");
        job = life_begin_job(&l, JOB_RESTART, "", NULL);
        ck_assert_int_eq(verdict_of(job, "a"), VERDICT_FAILED);
        ck_assert_int_eq(verdict_of(job, "b"), VERDICT_SKIPPED);
        ck_assert_uint_eq(life_receipt(&l, job, "b")->generation_before, 1);
        ck_assert(life_is(&l, "b", COMPONENT_READY));
        life_end(&l);
}
END_TEST

START_TEST(a_stop_and_a_restart_are_passed_on_to_the_parts_that_run) {
        struct job *job;

        open_scene("a \nb PartOf=a;After=a\nc PartOf=b absent;After=b\nd PartOf=a\n"
                   "e Requires=a\nf PartOf=a;After=a\n");
        test_write("go", "");
        job = life_begin_job(&l, JOB_START, "", "a b c e");
        LIFE_UNTIL(&l, job->finished);
        ck_assert_uint_eq(job->n_items, 4); /* a start is not passed on */
        job = life_begin_job(&l, JOB_START, "", "f");
        LIFE_UNTIL(&l, job->finished);
        ck_assert_str_eq(life_read("order") + strlen(life_read("order")) - 2, "+f");
        job = life_begin_job(&l, JOB_PAUSE, "", "f");
        LIFE_UNTIL(&l, job->finished);
        ck_assert_int_eq(unlink(test_path("order")), 0);
        job = life_begin_job(&l, JOB_RESTART, "", "a");
        LIFE_UNTIL(&l, job->finished);
        ck_assert_uint_eq(job->n_items, 3); /* neither d, which was not started, nor f, nor e */
        ck_assert(item_of(job, "a")->asked_for && !item_of(job, "b")->asked_for);
        ck_assert_int_eq(verdict_of(job, "b"), VERDICT_SERVES);
        ck_assert_int_eq(verdict_of(job, "c"), VERDICT_SERVES);
        ck_assert_uint_eq(life_receipt(&l, job, "c")->generation, 2);
        ck_assert_uint_eq(component_generation(life_component(&l, "e")), 1);
        ck_assert(strstr(life_read("order"), "+a"));
        ck_assert(strstr(life_read("order"), "+a") < strstr(life_read("order"), "+b"));
        ck_assert_int_eq(unlink(test_path("order")), 0);
        job = life_begin_job(&l, JOB_STOP, "", "a");
        LIFE_UNTIL(&l, job->finished);
        ck_assert(job_is_good(job));
        ck_assert_str_eq(life_read("order"), "-- -c -- -b -- -a");
        ck_assert(life_is(&l, "e", COMPONENT_READY) && life_is(&l, "f", COMPONENT_PAUSED));
        life_end(&l);
}
END_TEST

/* A restart of one is one of that one; what it requires is not restarted with it. */
START_TEST(what_is_required_is_started_and_not_restarted) {
        struct job *job;

        open_scene("a Requires=b;After=b\nb ");
        test_write("go", "");
        job = life_begin_job(&l, JOB_START, "", "a");
        ck_assert_int_eq(verdict_of(job, "b"), VERDICT_SERVES);
        job = life_begin_job(&l, JOB_RESTART, "", "a");
        ck_assert_uint_eq(job->n_items, 1);
        LIFE_UNTIL(&l, job->finished);
        ck_assert_uint_eq(life_component(&l, "b")->last_generation, 1);
        /* named twice is once */
        job = life_begin_job(&l, JOB_START, "", "a a b a");
        ck_assert_uint_eq(job->n_items, 2);
        LIFE_UNTIL(&l, job->finished);
        ck_assert_int_eq(verdict_of(job, "a"), VERDICT_NOTHING);
        life_end(&l);
}
END_TEST

/* ---- ids
 * ---------------------------------------------------------------------------------------*/

START_TEST(the_same_id_is_the_same_job) {
        const char *names[] = {"a"}, *unknown[] = {"a", "nobody"};
        struct job *job, *again = NULL;

        open_scene("a ");
        job = life_begin_job(&l, JOB_START, "mine", "a");
        ck_assert_str_eq(job->id, "mine");
        ck_assert_int_eq(job_begin(l.table, JOB_START, "mine", names, 1, &again), 0);
        ck_assert_ptr_eq(again, job);
        ck_assert_int_eq(job_begin(l.table, JOB_RESTART, "mine", names, 1, &again), -EINVAL);
        test_write("go", "");
        ck_assert_int_eq(verdict_of(job, "a"), VERDICT_SERVES);
        /* finished as well: the verdict, not a second start */
        ck_assert_ptr_eq(life_begin_job(&l, JOB_START, "mine", "a"), job);
        ck_assert_ptr_eq(job_find(l.table, "mine"), job);
        ck_assert_ptr_null(job_find(l.table, "yours"));
        ck_assert_int_eq(job_begin(l.table, JOB_STOP, "yours", unknown, 2, &again), -ENOENT);
        ck_assert_ptr_null(job_find(l.table, "yours"));
        ck_assert(life_is(&l, "a", COMPONENT_READY));
        life_end(&l);
}
END_TEST

START_TEST(the_last_finished_ones_are_known) {
        char id[16];
        struct job *slow;

        open_scene("a \nslow ");
        slow = life_begin_job(&l, JOB_START, "slow", "slow");
        for (int k = 0; k < 40; k++) {
                (void) snprintf(id, sizeof(id), "stop-%d", k);
                LIFE_UNTIL(&l, life_begin_job(&l, JOB_STOP, id, "a")->finished);
        }
        ck_assert_uint_eq(l.table->n_finished_jobs, 32);
        ck_assert_ptr_null(job_find(l.table, "stop-7"));
        ck_assert_ptr_nonnull(job_find(l.table, "stop-8"));
        ck_assert_ptr_nonnull(job_find(l.table, "stop-39"));
        /* who is under way is not old */
        ck_assert_ptr_eq(job_find(l.table, "slow"), slow);
        ck_assert(!slow->finished);
        test_write("go", "");
        ck_assert_int_eq(verdict_of(slow, "slow"), VERDICT_SERVES);
        life_end(&l);
}
END_TEST

START_TEST(made_up_ids_differ) {
        struct job *one, *other;

        open_scene("a ");
        one = life_begin_job(&l, JOB_STOP, "", "a");
        other = life_begin_job(&l, JOB_STOP, "", "a");
        ck_assert_ptr_ne(one, other);
        ck_assert_str_ne(one->id, other->id);
        ck_assert_ptr_eq(job_find(l.table, one->id), one);
        life_end(&l);
}
END_TEST

/* ---- listeners
 * ---------------------------------------------------------------------------------*/

struct heard {
        struct job_listener listener;
        unsigned events, done;
        char steps[256];
        const struct job *job;
};

static void on_event(void *owner, const struct job_event *event) {
        struct heard *h = owner;
        size_t used = strlen(h->steps);

        h->events++;
        ck_assert_ptr_nonnull(event->text);
        (void) snprintf(h->steps + used, sizeof(h->steps) - used, "%s%s:%s:%llu", used ? " " : "",
                        event->component, event->step, (unsigned long long) event->generation);
}

static void on_done(void *owner, const struct job *job) {
        struct heard *h = owner;

        h->done++;
        h->job = job;
        ck_assert(job->finished);
}

static void hear(struct heard *h, struct job *job) {
        *h = (struct heard){.listener = {.event = on_event, .done = on_done, .owner = h}};
        job_listen(job, &h->listener);
}

START_TEST(listeners_hear_each_step_and_the_end_once) {
        struct heard first, second, gone, late, quiet = {.done = 0};
        struct job *job;

        open_scene("a ");
        job = life_begin_job(&l, JOB_START, "", "a");
        hear(&first, job);
        hear(&second, job);
        hear(&gone, job);
        quiet.listener = (struct job_listener){.done = on_done, .owner = &quiet};
        job_listen(job, &quiet.listener);
        LIFE_UNTIL(&l, completes("a"));
        job_unlisten(&gone.listener);
        job_unlisten(&gone.listener);
        gone.events = 0;
        test_write("go", "");
        LIFE_UNTIL(&l, job->finished);
        ck_assert_uint_eq(first.done, 1);
        ck_assert_uint_eq(second.done, 1);
        ck_assert_uint_eq(quiet.done, 1);
        ck_assert_uint_eq(gone.done + gone.events, 0);
        ck_assert_ptr_eq(first.job, job);
        ck_assert_str_eq(first.steps, "a:starting:1 a:ready:1");
        ck_assert_str_eq(second.steps, first.steps);
        job_unlisten(&first.listener); /* off the list already */
        hear(&late, job);
        ck_assert_uint_eq(late.done, 1);
        ck_assert_uint_eq(late.events, 0);
        job_unlisten(&late.listener);

        job = life_begin_job(&l, JOB_RESTART, "", "a");
        hear(&first, job);
        LIFE_UNTIL(&l, job->finished);
        ck_assert_str_eq(first.steps, "a:starting:2 a:ready:2 a:draining:1 a:ended:1");
        ck_assert_uint_eq(first.done, 1);
        life_end(&l);
}
END_TEST

/* A listener that goes, and takes others with it, while it is being told. */
static struct heard *other;

static void on_event_leave(void *owner, const struct job_event *event) {
        struct heard *h = owner;

        (void) event;
        h->events++;
        job_unlisten(&h->listener);
}

static void on_done_unlisten_other(void *owner, const struct job *job) {
        on_done(owner, job);
        job_unlisten(&other->listener);
}

START_TEST(a_listener_may_leave_while_it_is_told) {
        struct heard leaver = {.done = 0}, first = {.done = 0}, second;
        struct job *job;

        open_scene("a ");
        test_write("go", "");
        job = life_begin_job(&l, JOB_START, "", "a");
        hear(&second, job);
        first.listener = (struct job_listener){.done = on_done_unlisten_other, .owner = &first};
        job_listen(job, &first.listener);
        leaver.listener =
                (struct job_listener){.event = on_event_leave, .done = on_done, .owner = &leaver};
        job_listen(job, &leaver.listener);
        other = &second;
        LIFE_UNTIL(&l, job->finished);
        ck_assert_uint_eq(leaver.events, 1);
        ck_assert_uint_eq(leaver.done, 0);
        ck_assert_uint_eq(first.done, 1);
        ck_assert_uint_eq(second.done, 0);
        life_end(&l);
}
END_TEST

/* ---- what "all" is, and what goes
 * --------------------------------------------------------------*/

START_TEST(all_is_what_it_makes_sense_for) {
        struct job *job;

        open_scene("a \nb \nc ");
        test_write("go", "");
        LIFE_UNTIL(&l, life_begin_job(&l, JOB_START, "x", "a b")->finished);
        job = life_begin_job(&l, JOB_START, "", NULL);
        ck_assert_uint_eq(job->n_items, 0); /* all are manual */
        ck_assert(job->finished);
        job = life_begin_job(&l, JOB_PAUSE, "", "b");
        LIFE_UNTIL(&l, job->finished);
        job = life_begin_job(&l, JOB_RESTART, "", NULL);
        ck_assert_uint_eq(job->n_items, 1);
        ck_assert_str_eq(job->items[0].name, "a");
        LIFE_UNTIL(&l, job->finished);
        job = life_begin_job(&l, JOB_RELOAD, "", NULL);
        ck_assert_uint_eq(job->n_items, 1);
        LIFE_UNTIL(&l, job->finished);
        job = life_begin_job(&l, JOB_RESUME, "", NULL);
        ck_assert_uint_eq(job->n_items, 1);
        ck_assert_str_eq(job->items[0].name, "b");
        LIFE_UNTIL(&l, job->finished);
        job = life_begin_job(&l, JOB_PAUSE, "", NULL); /* c was never started, and is not to be */
        ck_assert_uint_eq(job->n_items, 2);
        LIFE_UNTIL(&l, job->finished);
        job = life_begin_job(&l, JOB_RESUME, "", NULL);
        ck_assert_uint_eq(job->n_items, 2);
        LIFE_UNTIL(&l, job->finished);
        ck_assert(life_is(&l, "a", COMPONENT_READY) && life_is(&l, "c", COMPONENT_STOPPED));
        job = life_begin_job(&l, JOB_STOP, "", NULL);
        ck_assert_uint_eq(job->n_items, 3);
        LIFE_UNTIL(&l, job->finished);
        ck_assert(job_is_good(job));
        life_end(&l);
}
END_TEST

START_TEST(one_that_is_not_configured_any_more_is_stopped_and_then_gone) {
        const char *names[] = {"b"};
        struct job *waits, *none;

        open_scene("a \nb After=a");
        test_write("go.b", "");
        LIFE_UNTIL(&l, life_begin_job(&l, JOB_START, "x", "b")->finished);
        waits = life_begin_job(&l, JOB_RESTART, "", "a b"); /* b after a, which takes its time */
        LIFE_UNTIL(&l, completes("a"));
        life_apply(&l, "[Component a]\nStart=manual\nExecStart=sleep 60\n");
        ck_assert(life_said(&l, "b is not configured any more and is stopped"));
        ck_assert_int_eq(job_begin(l.table, JOB_START, "", names, 1, &none), -ENOENT);
        LIFE_UNTIL(&l, !component_find(l.table, "b"));
        ck_assert_ptr_null(item_of(waits, "b")->component);
        test_write("go", "");
        ck_assert_int_eq(verdict_of(waits, "a"), VERDICT_SERVES);
        ck_assert_int_eq(verdict_of(waits, "b"), VERDICT_FAILED);
        ck_assert_str_eq(life_receipt(&l, waits, "b")->reason, "b is not configured any more");
        life_end(&l);
}
END_TEST

/* It is still there, because it drains, when its turn comes. */
START_TEST(one_that_is_not_configured_any_more_is_not_begun) {
        struct job *waits;

        open_scene("a \nb After=a;KillSignal=SIGCONT");
        test_write("go.b", "");
        LIFE_UNTIL(&l, life_begin_job(&l, JOB_START, "x", "b")->finished);
        waits = life_begin_job(&l, JOB_RESTART, "", "a b");
        LIFE_UNTIL(&l, completes("a"));
        life_apply(&l, "[Component a]\nStart=manual\nExecStart=sleep 60\n");
        test_write("go.a", "");
        LIFE_UNTIL(&l, waits->finished);
        ck_assert_int_eq(verdict_of(waits, "a"), VERDICT_SERVES);
        ck_assert_int_eq(verdict_of(waits, "b"), VERDICT_FAILED);
        ck_assert_str_eq(life_receipt(&l, waits, "b")->reason, "b is not configured any more");
        ck_assert(life_is(&l, "b", COMPONENT_DRAINING));
        ck_assert_int_eq(kill(life_instance(&l, "b", 1)->tree.pid, SIGKILL), 0);
        LIFE_UNTIL(&l, !component_find(l.table, "b"));
        life_end(&l);
}
END_TEST

static void note_all_ended(void *owner) {
        *(bool *) owner = true;
}

/* Its back-off is over before its turn to be stopped comes. */
START_TEST(at_the_end_of_the_broker_nothing_is_started) {
        bool ended = false;
        struct job *job;

        open_scene("a Restart=on-failure;RestartSec=50ms\nb After=a;KillSignal=SIGCONT");
        test_write("go", "");
        job = life_begin_job(&l, JOB_START, "", "a b");
        LIFE_UNTIL(&l, job->finished);
        ck_assert_int_eq(kill(life_instance(&l, "a", 1)->tree.pid, SIGKILL), 0);
        LIFE_UNTIL(&l, life_is(&l, "a", COMPONENT_BACK_OFF));
        component_table_stop_all(l.table, note_all_ended, &ended);
        life_pass(&l, 100);
        ck_assert(!ended);
        ck_assert_uint_eq(life_component(&l, "a")->last_generation, 1);
        ck_assert_int_eq(kill(life_instance(&l, "b", 1)->tree.pid, SIGKILL), 0);
        LIFE_UNTIL(&l, ended);
        ck_assert_uint_eq(life_component(&l, "a")->last_generation, 1);
        life_end(&l);
}
END_TEST

/* Of two places the first is under way, and its own stop waits for another's. */
START_TEST(at_the_end_of_the_broker_no_further_place_is_begun) {
        const struct instance *i;
        bool ended = false;
        struct job *job;

        open_scene("a Instances=2\nb After=a;KillSignal=SIGCONT");
        test_write("go", "");
        LIFE_UNTIL(&l, life_begin_job(&l, JOB_START, "x", "a b")->finished);
        ck_assert_int_eq(unlink(test_path("go")), 0);
        job = life_begin_job(&l, JOB_RESTART, "", "a");
        LIFE_UNTIL(&l,
                   life_instance(&l, "a", 2) && life_instance(&l, "a", 2)->life == LIFE_COMPLETING);
        component_table_stop_all(l.table, note_all_ended, &ended);
        test_write("go", "");
        LIFE_UNTIL(&l, job->items[0].decided);
        ck_assert_int_eq(verdict_of(job, "a"), VERDICT_KEPT);
        ck_assert_str_eq(job->items[0].receipt.reason, "the broker is ending");
        TAILQ_FOREACH (i, &life_component(&l, "a")->instances, entry)
                ck_assert(i->generation == 1 || i->index == 0);
        ck_assert_int_eq(kill(life_instance(&l, "b", 1)->tree.pid, SIGKILL), 0);
        LIFE_UNTIL(&l, ended);
        life_end(&l);
}
END_TEST

START_TEST(what_starts_by_itself_starts_with_the_configuration) {
        life_begin(&l, false);
        life_apply(&l, "[Component a]\nExecStart=sleep 60\nAfter=b\n[Component b]\n"
                       "ExecStart=sleep 60\n[Component m]\nStart=manual\nExecStart=sleep 60\n");
        LIFE_UNTIL(&l, life_is(&l, "a", COMPONENT_READY) && life_is(&l, "b", COMPONENT_READY));
        ck_assert(life_is(&l, "m", COMPONENT_STOPPED));
        /* the same again changes nothing; what was stopped stays so; what is new starts */
        LIFE_UNTIL(&l, life_begin_job(&l, JOB_STOP, "x", "b")->finished);
        life_apply(&l, "[Component a]\nExecStart=sleep 60\nAfter=b\n[Component b]\n"
                       "ExecStart=sleep 61\n[Component c]\nExecStart=sleep 60\n");
        LIFE_UNTIL(&l, life_is(&l, "c", COMPONENT_READY) && !component_find(l.table, "m"));
        ck_assert(life_is(&l, "b", COMPONENT_STOPPED));
        ck_assert_uint_eq(life_component(&l, "a")->last_generation, 1);
        life_end(&l);
}
END_TEST

SUITE("job", {
        tcase_add_loop_test(tests_, dependencies_start_first_and_stop_last, 0, 2);
        TEST(a_restart_goes_in_their_order);
        TEST(independent_ones_at_the_same_time);
        TEST(a_circle_is_broken_and_all_start);
        tcase_add_loop_test(tests_, a_stop_takes_back_what_has_not_begun, 0, 4);
        TEST(who_requires_one_that_failed_is_skipped);
        TEST(who_requires_one_that_was_not_reloaded_is_reloaded);
        TEST(who_requires_one_that_does_not_come_back_goes_on);
        TEST(a_stop_and_a_restart_are_passed_on_to_the_parts_that_run);
        TEST(what_is_required_is_started_and_not_restarted);
        TEST(the_same_id_is_the_same_job);
        TEST(the_last_finished_ones_are_known);
        TEST(made_up_ids_differ);
        TEST(listeners_hear_each_step_and_the_end_once);
        TEST(a_listener_may_leave_while_it_is_told);
        TEST(all_is_what_it_makes_sense_for);
        TEST(one_that_is_not_configured_any_more_is_stopped_and_then_gone);
        TEST(one_that_is_not_configured_any_more_is_not_begun);
        TEST(at_the_end_of_the_broker_nothing_is_started);
        TEST(at_the_end_of_the_broker_no_further_place_is_begun);
        TEST(what_starts_by_itself_starts_with_the_configuration);
})
