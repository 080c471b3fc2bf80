/*
 * What components leave for the broker after this one: everything that is written is read again,
 * what runs goes on, and what is broken or unknown does no harm.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "components/kept.h"
#include "components/operation.h"
#include "core/process.h"
#include "keeper/memory.h"
#include "life_support.h"
#include "support.h"

static struct scene l, next;

static void write_gate(void) {
        test_write("gate.sh", "cd \"${0%/*}\"\n"
                              "until test -e go -o -e go$FDPASS_GENERATION -o ! -e gate.sh; do\n"
                              "        sleep 0.01\n"
                              "done\n");
}

static const char *config(const char *more) {
        static char text[2048];

        (void) snprintf(text, sizeof(text),
                        "[Component a]\nStart=manual\nExecStart=sh -c 'echo line one; exec sleep "
                        "60'\nExecStartPost=sh %s\n%s\n",
                        test_path("gate.sh"), more);
        return text;
}

static void begin(const char *more) {
        life_begin(&l, true);
        write_gate();
        life_apply(&l, "%s", config(more));
}

static void run(const char *more) {
        begin(more);
        test_write("go1", "");
        LIFE_UNTIL(&l, life_begin_job(&l, JOB_START, "first", "a")->finished);
        ck_assert(life_is(&l, "a", COMPONENT_READY));
}

static void die(const char *more) {
        life_die(&l, &next);
        life_apply(&next, "%s", config(more));
}

static size_t count(const struct scene *s, const char *kind) {
        size_t n = 0;

        for (const char *id = memory_first(s->memory, kind); id;
             id = memory_next(s->memory, kind, id))
                n++;
        return n;
}

START_TEST(a_component_that_runs_is_found_again) {
        struct instance *before, *i;
        uint64_t since;
        pid_t pid;

        run("StandardError=journal\n");
        before = life_instance(&l, "a", 1);
        pid = before->tree.pid;
        since = before->since_usec;
        die("");
        i = life_instance(&next, "a", 1);
        ck_assert_ptr_nonnull(i);
        ck_assert(i->adopted && i->was_ready && i->executed);
        ck_assert_int_eq(i->life, LIFE_READY);
        ck_assert_int_eq(i->tree.pid, pid);
        ck_assert_uint_eq(i->since_usec, since);
        ck_assert(i->notify.fd >= 0 && i->output.fd >= 0 && i->error.fd >= 0);
        /* it is still supervised */
        ck_assert_int_eq(kill(pid, SIGKILL), 0);
        LIFE_UNTIL(&next, life_component(&next, "a")->last_end_usec > 0);
        ck_assert_str_eq(life_component(&next, "a")->last_reason, "killed by SIGKILL");
        life_end(&next);
}
END_TEST

START_TEST(each_of_several_has_its_own_again) {
        char before[3][2][STATE_ID_SIZE];
        const struct instance *i;
        size_t n = 0;

        run("Instances=3\n");
        TAILQ_FOREACH (i, &life_component(&l, "a")->instances, entry) {
                (void) strcpy(before[i->index][0], i->notify_id);
                (void) strcpy(before[i->index][1], i->output_id);
        }
        die("Instances=3\n");
        TAILQ_FOREACH (i, &life_component(&next, "a")->instances, entry) {
                ck_assert_str_eq(i->notify_id, before[i->index][0]);
                ck_assert_str_eq(i->output_id, before[i->index][1]);
                ck_assert(i->notify.fd >= 0 && i->output.fd >= 0);
                n++;
        }
        ck_assert_uint_eq(n, 3);
        life_end(&next);
}
END_TEST

/* The broker died when the first of them had begun. */
START_TEST(a_start_that_nobody_asked_for_comes_to_all_places) {
        const struct instance *i;

        begin("Instances=1\n");
        ck_assert_int_eq(operation_request(life_component(&l, "a"), JOB_START, NULL), 0);
        LIFE_UNTIL(&l, life_component(&l, "a")->n_instances == 1);
        die("Instances=3\n");
        LIFE_UNTIL(&next, life_component(&next, "a")->n_instances == 3);
        test_write("go1", "");
        LIFE_UNTIL(&next, component_served_places(life_component(&next, "a")) == 7);
        TAILQ_FOREACH (i, &life_component(&next, "a")->instances, entry)
                ck_assert_uint_eq(i->generation, 1);
        life_end(&next);
}
END_TEST

START_TEST(what_it_said_comes_back) {
        struct instance *i;

        run("");
        i = life_instance(&l, "a", 1);
        ck_assert_str_eq(i->ready_by, "running");
        strcpy(i->status, "busy = \xc3\xa4");
        i->notify_error = 28;
        instance_keep(i);
        die("");
        i = life_instance(&next, "a", 1);
        ck_assert_str_eq(i->ready_by, "running");
        ck_assert_str_eq(i->status, "busy = \xc3\xa4");
        ck_assert_int_eq(kill(i->tree.pid, SIGKILL), 0);
        LIFE_UNTIL(&next, life_component(&next, "a")->last_end_usec > 0);
        ck_assert_str_eq(life_component(&next, "a")->last_reason,
                         "killed by SIGKILL; it said: No space left on device");
        life_end(&next);
}
END_TEST

/* The next broker does not tell it to end either, and goes by its end as this one would have. */
START_TEST(one_that_leaves_does_so_under_the_next_broker) {
        struct instance *i;
        uint64_t deadline_usec;

        run("Restart=no\n");
        i = life_instance(&l, "a", 1);
        i->said_exit_status = 0;
        instance_leaves(i);
        deadline_usec = i->deadline_usec;
        die("Restart=no\n");
        i = life_instance(&next, "a", 1);
        ck_assert_int_eq(i->life, LIFE_DRAINING);
        ck_assert(i->leaves && !i->signaled);
        ck_assert_uint_ge(i->deadline_usec + 1000, deadline_usec);
        ck_assert_str_eq(instance_reason(i), "it said STOPPING=1");
        life_pass(&next, 20);
        ck_assert_int_eq(kill(i->tree.pid, SIGKILL), 0);
        LIFE_UNTIL(&next, life_is(&next, "a", COMPONENT_FAILED));
        ck_assert_str_eq(life_component(&next, "a")->last_reason,
                         "killed by SIGKILL; it said: STOPPING=1, EXIT_STATUS=0");
        life_end(&next);
}
END_TEST

/* And that it is not is kept, too: the configuration became again what it was. */
START_TEST(that_one_is_outdated_comes_back) {
        run("");
        life_apply(&l, "%s", config("KillSignal=SIGINT\n"));
        if (_i == 1)
                life_apply(&l, "%s", config(""));
        ck_assert_int_eq(instance_is_outdated(life_instance(&l, "a", 1)), _i == 0);
        die(_i == 0 ? "KillSignal=SIGINT\n" : "");
        ck_assert_int_eq(instance_is_outdated(life_instance(&next, "a", 1)), _i == 0);
        test_write("go2", "");
        (void) life_receipt(&next, life_begin_job(&next, JOB_RESTART, "again", "a"), "a");
        ck_assert(!instance_is_outdated(life_instance(&next, "a", 2)));
        life_end(&next);
}
END_TEST

static pid_t pid_in(const char *name) {
        LIFE_UNTIL(&l, life_read(name)[0]);
        return (pid_t) atoi(life_read(name));
}

/* After MAINPID=, when the leader of its process group has ended, too. */
/* It is the job's; of the instance it would be said that it ended of it. */
START_TEST(why_a_reload_failed_does_not) {
        struct job *job;

        run("ExecReload=false\n");
        job = life_begin_job(&l, JOB_RELOAD, "", "a");
        ck_assert_str_eq(life_receipt(&l, job, "a")->reason,
                         "ExecReload=false: exited with status 1");
        die("ExecReload=false\n");
        ck_assert_str_eq(life_instance(&next, "a", 1)->reason, "");
        life_end(&next);
}
END_TEST

START_TEST(a_group_is_still_its_own_when_another_led_it) {
        char text[512];
        struct instance *i;
        size_t n_parts;
        pid_t child;
        int sibling, leader;

        (void) snprintf(text, sizeof(text),
                        "[Component a]\nStart=manual\nExecStart=sh -c 'cd %s; sleep 60 & echo $! "
                        ">child; sleep 60 & echo $! >sibling; wait'\n",
                        test_folder());
        life_begin(&l, true);
        life_apply(&l, "%s", text);
        life_use_groups(&l);
        LIFE_UNTIL(&l, life_begin_job(&l, JOB_START, "first", "a")->finished);
        i = life_instance(&l, "a", 1);
        child = pid_in("child");
        sibling = process_open(pid_in("sibling"));
        ck_assert_int_ge(sibling, 0);
        leader = process_open(i->tree.pid);
        ck_assert_int_eq(kill(i->tree.pid, SIGKILL), 0);
        ck_assert_int_eq(process_tree_set_main(&i->tree, child), 0);
        LIFE_UNTIL(&l, process_has_ended(leader) == 1); /* no keeper collects it here */
        close(leader);
        n_parts = count(&l, "instance_part");
        instance_keep(i);
        ck_assert_uint_eq(count(&l, "instance_part"), n_parts + 1);
        life_die(&l, &next);
        life_apply(&next, "%s", text);
        i = life_instance(&next, "a", 1);
        ck_assert_int_eq(i->tree.pid, child);
        ck_assert_int_eq(i->life, LIFE_READY);
        LIFE_UNTIL(&next, life_begin_job(&next, JOB_STOP, "second", "a")->finished);
        ck_assert_int_eq(process_has_ended(sibling), 1);
        close(sibling);
        ck_assert_uint_eq(count(&next, "instance_part"), 0);
        life_end(&next);
}
END_TEST

START_TEST(what_a_component_is_comes_back) {
        struct component *before, *c;
        struct component copy;

        run("Restart=on-failure\nRestartSec=10ms\nRestartSteps=5\nRestartMaxDelaySec=10\n"
            "StartLimitBurst=7\n");
        test_write("go2", "");
        ck_assert_int_eq(kill(life_instance(&l, "a", 1)->tree.pid, SIGKILL), 0);
        LIFE_UNTIL(&l, life_instance(&l, "a", 2) && life_instance(&l, "a", 2)->life == LIFE_READY);
        ck_assert_int_eq(kill(life_instance(&l, "a", 2)->tree.pid, SIGSEGV), 0);
        LIFE_UNTIL(&l, life_is(&l, "a", COMPONENT_BACK_OFF));
        before = life_component(&l, "a");
        copy = *before;
        ck_assert_uint_eq(copy.restarts, 2);
        ck_assert_uint_eq(copy.policy.steps, 2);
        die("Restart=on-failure\nRestartSec=10ms\nRestartSteps=5\nRestartMaxDelaySec=10\n"
            "StartLimitBurst=7\n");
        c = life_component(&next, "a");
        ck_assert(c->found_again);
        ck_assert_str_eq(c->id, copy.id);
        ck_assert_int_eq(c->goal, GOAL_RUNNING);
        ck_assert_uint_eq(c->last_generation, copy.last_generation);
        ck_assert_uint_eq(c->restarts, copy.restarts);
        ck_assert_str_eq(c->reason, copy.reason);
        ck_assert_int_eq(c->last_end, copy.last_end);
        ck_assert_int_eq(c->last_status, copy.last_status);
        ck_assert_uint_eq(c->last_end_usec, copy.last_end_usec);
        ck_assert_str_eq(c->last_reason, copy.last_reason);
        ck_assert_uint_eq(c->policy.steps, copy.policy.steps);
        ck_assert_uint_eq(c->policy.starts.count, copy.policy.starts.count);
        ck_assert_uint_eq(c->policy.starts.begin_usec, copy.policy.starts.begin_usec);
        ck_assert_uint_eq(c->back_off_until_usec, copy.back_off_until_usec);
        ck_assert(life_is(&next, "a", COMPONENT_BACK_OFF));
        /* and ends in time */
        test_write("go", "");
        LIFE_UNTIL(&next, life_is(&next, "a", COMPONENT_READY));
        ck_assert_uint_eq(c->last_generation, 3);
        life_end(&next);
}
END_TEST

START_TEST(a_goal_is_kept) {
        struct job *job;

        run("");
        job = life_begin_job(&l, _i == 0 ? JOB_PAUSE : JOB_STOP, "", "a");
        LIFE_UNTIL(&l, job->finished);
        life_die(&l, &next);
        life_apply(&next, "[Component a]\nExecStart=sleep 60\n"); /* starts by itself, else */
        life_pass(&next, 20);
        ck_assert(life_is(&next, "a", _i == 0 ? COMPONENT_PAUSED : COMPONENT_STOPPED));
        life_end(&next);
}
END_TEST

/* ---- jobs
 * --------------------------------------------------------------------------------------*/

/* Every field differs from what it would be if it were not written. */
static void fill(struct receipt *r) {
        char text[16];

        receipt_clear(r);
        *r = (struct receipt){.verdict = VERDICT_KEPT,
                              .generation_before = 11,
                              .generation = 12,
                              .instances = 13,
                              .ready_usec = 14,
                              .drain_usec = 15,
                              .drained = true,
                              .killed = true,
                              .longest_wait_usec = 16,
                              .drops = 17};
        strcpy(r->reason, "the reason");
        strcpy(r->ready_by, "its own word");
        for (size_t k = 0; k < RECEIPT_LINES_MAX; k++) {
                (void) snprintf(text, sizeof(text), "line %zu", k);
                r->lines[r->n_lines++] = strdup(text);
        }
}

START_TEST(receipts_of_finished_jobs_survive) {
        const struct receipt *r;
        const char *names[] = {"a"};
        struct job *job;
        uint64_t since, lasted;

        run("");
        job = job_find(l.table, "first");
        fill(&job->items[0].receipt);
        since = job->since_usec;
        lasted = job->ended_usec - job->started_usec;
        job_item_keep(&job->items[0]);
        die("");
        ck_assert_int_eq(job_begin(next.table, JOB_START, "first", names, 1, &job), 0);
        ck_assert(job->finished);
        ck_assert_uint_eq(job->since_usec, since);
        ck_assert_uint_eq(job->ended_usec - job->started_usec, lasted);
        ck_assert_uint_eq(next.table->n_finished_jobs, 1);
        ck_assert_uint_eq(job->n_items, 1);
        ck_assert(job->items[0].asked_for && job->items[0].begun && job->items[0].decided &&
                  job->items[0].finished);
        r = &job->items[0].receipt;
        ck_assert_int_eq(r->verdict, VERDICT_KEPT);
        ck_assert_str_eq(r->reason, "the reason");
        ck_assert_uint_eq(r->generation_before, 11);
        ck_assert_uint_eq(r->generation, 12);
        ck_assert_uint_eq(r->instances, 13);
        ck_assert_str_eq(r->ready_by, "its own word");
        ck_assert_uint_eq(r->ready_usec, 14);
        ck_assert_uint_eq(r->drain_usec, 15);
        ck_assert(r->drained && r->killed);
        ck_assert_uint_eq(r->longest_wait_usec, 16);
        ck_assert_uint_eq(r->drops, 17);
        ck_assert_uint_eq(r->n_lines, 8); /* the last */
        ck_assert_str_eq(r->lines[0], "line 12");
        ck_assert_str_eq(r->lines[7], "line 19");
        life_end(&next);
}
END_TEST

START_TEST(a_restart_goes_on_with_the_next_broker_and_is_not_begun_twice) {
        const struct receipt *r;
        struct job *job;
        uint64_t begun;
        pid_t pid;

        run("");
        life_begin_job(&l, JOB_RESTART, "second", "a");
        LIFE_UNTIL(&l,
                   life_instance(&l, "a", 2) && life_instance(&l, "a", 2)->life == LIFE_COMPLETING);
        pid = life_instance(&l, "a", 2)->tree.pid;
        life_begin_job(&l, JOB_RESTART, "third", "a"); /* waits */
        begun = job_find(l.table, "second")->started_usec;
        die("");
        ck_assert_int_eq(life_instance(&next, "a", 2)->life, LIFE_COMPLETING);
        job = job_find(next.table, "second");
        ck_assert(job && !job->finished);
        ck_assert_uint_eq(job->started_usec, begun); /* it takes as long as it takes */
        ck_assert_ptr_nonnull(life_component(&next, "a")->next);
        test_write("go2", "");
        r = life_receipt(&next, job, "a");
        ck_assert_int_eq(r->verdict, VERDICT_SERVES);
        ck_assert_uint_eq(r->generation_before, 1);
        ck_assert_uint_eq(r->generation, 2);
        ck_assert_int_eq(life_instance(&next, "a", 2)->tree.pid, pid);
        test_write("go", "");
        r = life_receipt(&next, job_find(next.table, "third"), "a");
        ck_assert_uint_eq(r->generation, 3);
        ck_assert_int_eq(r->verdict, VERDICT_SERVES);
        life_end(&next);
}
END_TEST

START_TEST(a_stop_goes_on) {
        struct job *job;

        begin("ExecStop=sleep 0.1\n");
        test_write("go", "");
        LIFE_UNTIL(&l, life_begin_job(&l, JOB_START, "first", "a")->finished);
        life_begin_job(&l, JOB_STOP, "second", "a");
        LIFE_UNTIL(&l, life_is(&l, "a", COMPONENT_DRAINING));
        die("ExecStop=sleep 0.1\n");
        job = job_find(next.table, "second");
        ck_assert_int_eq(life_receipt(&next, job, "a")->verdict, VERDICT_DONE);
        ck_assert(life_is(&next, "a", COMPONENT_STOPPED));
        life_end(&next);
}
END_TEST

START_TEST(what_ended_meanwhile_is_told_by_the_next) {
        struct job *job;
        pid_t pid;

        run("Restart=no\n");
        life_begin_job(&l, JOB_RESTART, "second", "a");
        LIFE_UNTIL(&l,
                   life_instance(&l, "a", 2) && life_instance(&l, "a", 2)->life == LIFE_COMPLETING);
        pid = life_instance(&l, "a", 2)->tree.pid;
        life_die(&l, &next);
        ck_assert_int_eq(kill(pid, SIGKILL), 0);
        life_apply(&next, "%s", config("Restart=no\n"));
        job = job_find(next.table, "second");
        ck_assert_int_eq(life_receipt(&next, job, "a")->verdict, VERDICT_KEPT);
        ck_assert_str_eq(life_receipt(&next, job, "a")->reason,
                         "killed by SIGKILL before it was ready");
        ck_assert_int_eq(life_instance(&next, "a", 1)->life, LIFE_READY);
        life_end(&next);
}
END_TEST

START_TEST(how_a_generation_failed_is_kept_where_the_old_one_was) {
        struct assignments record;
        const struct text *last;
        struct job *job;

        run("Restart=no\n");
        job = life_begin_job(&l, JOB_RESTART, "second", "a");
        LIFE_UNTIL(&l,
                   life_instance(&l, "a", 2) && life_instance(&l, "a", 2)->life == LIFE_COMPLETING);
        ck_assert_int_eq(kill(life_instance(&l, "a", 2)->tree.pid, SIGKILL), 0);
        ck_assert_int_eq(life_receipt(&l, job, "a")->verdict, VERDICT_KEPT);
        /* At once, not only with whatever changes next. */
        ck_assert(memory_get(l.memory, memory_first(l.memory, "component"), &record));
        last = assignments_get(&record, "LAST_REASON");
        ck_assert(last && text_equal(*last, "killed by SIGKILL before it was ready"));
        life_end(&l);
}
END_TEST

/* Nothing is left of what is over, nor of a component that is not configured any more. */
START_TEST(records_go_with_what_they_are_of) {
        char id[16];

        run("StandardError=journal\n");
        ck_assert_uint_eq(count(&l, "component"), 1);
        ck_assert_uint_eq(count(&l, "instance"), 1);
        ck_assert_uint_eq(count(&l, "instance_part"), 3);
        LIFE_UNTIL(&l, life_begin_job(&l, JOB_STOP, "stop", "a")->finished);
        ck_assert_uint_eq(count(&l, "instance"), 0);
        ck_assert_uint_eq(count(&l, "instance_part"), 0);
        for (int k = 0; k < 40; k++) {
                (void) snprintf(id, sizeof(id), "stop-%d", k);
                LIFE_UNTIL(&l, life_begin_job(&l, JOB_STOP, id, "a")->finished);
        }
        ck_assert_uint_eq(count(&l, "job"), 32);
        ck_assert_uint_eq(count(&l, "job_item"), 32);
        life_apply(&l, "[Component b]\nStart=manual\nExecStart=sleep 60\n");
        LIFE_UNTIL(&l, !component_find(l.table, "a"));
        ck_assert_uint_eq(count(&l, "component"), 0);
        life_end(&l);
}
END_TEST

START_TEST(one_that_is_not_configured_any_more_is_ended_by_the_next) {
        pid_t pid;

        run("");
        pid = life_instance(&l, "a", 1)->tree.pid;
        life_die(&l, &next);
        life_apply(&next, "[Component b]\nStart=manual\nExecStart=sleep 60\n");
        ck_assert(life_said(&next, "a is not configured any more and is stopped"));
        ck_assert_int_eq(life_instance(&next, "a", 1)->tree.pid, pid);
        LIFE_UNTIL(&next, !component_find(next.table, "a"));
        ck_assert_int_eq(next.ended.tree.pid, pid);
        ck_assert_int_eq(next.ended.tree.status, SIGTERM);
        ck_assert_uint_eq(count(&next, "instance"), 0);
        ck_assert_uint_eq(count(&next, "component"), 0);
        life_end(&next);
}
END_TEST

START_TEST(its_cgroup_goes_too_when_none_is_configured_any_more) {
        char name[CGROUP_NAME_SIZE], stale[CGROUP_NAME_SIZE], young[CGROUP_NAME_SIZE];
        struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
        struct cgroup_root root;
        bool left[2], looks_again;

        run("");
        (void) strcpy(name, life_instance(&l, "a", 1)->tree.cgroup);
        life_die(&l, &next);
        cgroup_root_open(&root, NULL);
        (void) snprintf(stale, sizeof(stale), PLACE_PREFIX "unit-none%d-1-1", (int) getpid());
        if (root.fd >= 0) {
                ck_assert_int_eq(mkdirat(root.fd, stale, 0755), 0);
                ck_assert_int_eq(utimensat(root.fd, stale, times, 0), 0);
        }
        (void) snprintf(young, sizeof(young), PLACE_PREFIX "unit-young%d-1-1", (int) getpid());
        if (root.fd >= 0)
                ck_assert_int_eq(mkdirat(root.fd, young, 0755), 0);
        life_apply(&next, "[Broker]\n");
        looks_again = timer_is_started(&next.table->stale);
        if (root.fd >= 0)
                (void) unlinkat(root.fd, young, AT_REMOVEDIR);
        LIFE_UNTIL(&next, !component_find(next.table, "a"));
        left[0] = root.fd >= 0 && faccessat(root.fd, name, F_OK, 0) == 0;
        left[1] = root.fd >= 0 && faccessat(root.fd, stale, F_OK, 0) == 0;
        life_end(&next);
        /* nothing of components is left, and nothing is configured */
        if (root.fd >= 0 && !left[1]) {
                ck_assert_int_eq(mkdirat(root.fd, stale, 0755), 0);
                ck_assert_int_eq(utimensat(root.fd, stale, times, 0), 0);
                life_begin(&l, true);
                life_apply(&l, "[Broker]\n");
                left[1] = unlinkat(root.fd, stale, AT_REMOVEDIR) == 0;
                life_end(&l);
        }
        ck_assert(!left[0]);
        ck_assert(!left[1]);
        ck_assert_int_eq(looks_again, root.fd >= 0);
        cgroup_root_close(&root);
}
END_TEST

/* Nor does what was asked for go on: a generation of it would be started only to be stopped. */
START_TEST(what_was_asked_for_one_that_is_not_configured_any_more_ends) {
        struct job *job;

        run("");
        life_begin_job(&l, JOB_RESTART, "again", "a");
        LIFE_UNTIL(&l,
                   life_instance(&l, "a", 2) && life_instance(&l, "a", 2)->life == LIFE_COMPLETING);
        if (_i == 1)
                life_begin_job(&l, JOB_RESTART, "waits", "a");
        life_die(&l, &next);
        life_apply(&next, "[Component b]\nStart=manual\nExecStart=sleep 60\n");
        job = job_find(next.table, _i == 1 ? "waits" : "again");
        ck_assert_str_eq(life_receipt(&next, job, "a")->reason, "a is not configured any more");
        ck_assert_int_eq(job->items[0].receipt.verdict, VERDICT_FAILED);
        LIFE_UNTIL(&next, !component_find(next.table, "a"));
        ck_assert(!life_said(&next, "generation 3"));
        ck_assert_uint_eq(count(&next, "instance"), 0);
        life_end(&next);
}
END_TEST

/* It had its verdict, and only the end of what drained was still to come. */
START_TEST(a_verdict_outlives_what_it_is_of) {
        struct job *job;

        run("");
        job = life_begin_job(&l, JOB_STOP, "stop", "a");
        ck_assert_int_eq(life_receipt(&l, job, "a")->verdict, VERDICT_DONE);
        job->finished = job->items[0].finished = false;
        job_keep(job);
        job_item_keep(&job->items[0]);
        life_die(&l, &next);
        life_apply(&next, "[Component b]\nStart=manual\nExecStart=sleep 60\n");
        job = job_find(next.table, "stop");
        LIFE_UNTIL(&next, job->finished);
        ck_assert_int_eq(job->items[0].receipt.verdict, VERDICT_DONE);
        ck_assert_str_eq(job->items[0].receipt.reason, "");
        ck_assert_uint_eq(next.table->n_finished_jobs, 2);
        life_end(&next);
}
END_TEST

/* ---- records of others
 * -------------------------------------------------------------------------*/

static const char *const any_key[] = {"RECORD", NULL};

/* "KEY=VALUE|KEY=VALUE" */
static void put(struct scene *s, char letter, const char *record, int fd) {
        char id[STATE_ID_SIZE], *words = strdup(record), *rest = NULL;
        struct packet_writer w;

        memory_new_id(s->memory, letter, id);
        packet_begin(&w);
        for (char *word = strtok_r(words, "|", &rest); word; word = strtok_r(NULL, "|", &rest)) {
                char *value = strchr(word, '=');

                *value++ = '\0';
                packet_add(&w, word, value);
        }
        free(words);
        ck_assert_int_eq(memory_put(s->memory, id, &w, any_key), 0);
        if (fd >= 0)
                ck_assert_int_eq(memory_put_fd(s->memory, id, fd), 0);
}

static const struct {
        char letter;
        const char *record;
} strange[] = {
        {'c', "RECORD=component"},
        {'c', "RECORD=component|NAME=nobody|GOAL=running"},
        {'c', "RECORD=component|NAME=a|GOAL=flying|GENERATION=minus|BACK_OFF=1|LAST_END=99"},
        {'c', "RECORD=component|NAME=a|GOAL=running|BACK_OFF=18446744073709551615"},
        {'g', "RECORD=instance"},
        {'g', "RECORD=instance|COMPONENT=nobody|PID=1"},
        {'g', "RECORD=instance|COMPONENT=a"},
        {'g', "RECORD=instance|COMPONENT=a|LIFE=floating|PID=1|INDEX=0|GENERATION=3"},
        {'g', "RECORD=instance|COMPONENT=a|LIFE=ready|PID=4294967297|INDEX=70|GENERATION=3"},
        {'g', "RECORD=instance|COMPONENT=a|LIFE=ready|PID=1|INDEX=4000000000|GENERATION=3"},
        {'g', "RECORD=instance|COMPONENT=a|LIFE=draining|PID=1|COMMANDS=stop|NEXT_COMMAND=9"},
        {'g', "RECORD=instance|COMPONENT=a|LIFE=ready|PID=1|EVIDENCE=77|CAUSE=66|GENERATION=3"},
        {'g', "RECORD=instance|COMPONENT=a|LIFE=cleaning|COMMANDS=stop_post|NEXT_COMMAND="
              "18446744073709551615"},
        {'g', "RECORD=instance|COMPONENT=a|LIFE=stopped|PID=0"},
        {'q', "RECORD=instance_part|INSTANCE=g77|WHICH=notify"},
        {'q', "RECORD=instance_part|WHICH=soul"},
        {'j', "RECORD=job"},
        {'j', "RECORD=job|JOB=x|KIND=destroy|ITEMS=0"},
        {'j', "RECORD=job|JOB=x|KIND=restart|ITEMS=4000000000"},
        {'j', "RECORD=job|JOB=x|KIND=restart|ITEMS=3"},
        {'j', "RECORD=job|KIND=restart|ITEMS=0|FINISHED=1"},
        {'e', "RECORD=job_item"},
        {'e', "RECORD=job_item|OF=j77|NAME=a|VERDICT=serves"},
        {'x', "RECORD=of_a_later_version|WHAT=ever"},
};

/* Neither it nor what is beside it is lost: the next broker stands, and starts what is asked for.
 */
START_TEST(a_strange_record_does_no_harm) {
        struct job *job;

        begin("");
        test_write("go", "");
        /* 0 to 2: without a descriptor, with one that is something else, with a component beside */
        if (_i % 2 == 1)
                LIFE_UNTIL(&l, life_begin_job(&l, JOB_START, "first", "a")->finished);
        put(&l, strange[_i / 2].letter, strange[_i / 2].record, _i % 2 == 0 ? STDIN_FILENO : -1);
        die("");
        life_pass(&next, 1);
        if (strstr(strange[_i / 2].record, "INDEX=70") ||
            strstr(strange[_i / 2].record, "INDEX=4000000000"))
                ck_assert(life_said(&next, "could not be taken back"));
        job = life_begin_job(&next, JOB_START, "asked", "a");
        LIFE_UNTIL(&next, job->finished);
        ck_assert_msg(life_is(&next, "a", COMPONENT_READY), "%s\n%s", strange[_i / 2].record,
                      next.said);
        job = life_begin_job(&next, JOB_RESTART, "again", "a");
        ck_assert_int_eq(life_receipt(&next, job, "a")->verdict, VERDICT_SERVES);
        life_end(&next);
}
END_TEST

/* Of a later version, or broken: what is not known is the least that it can be. */
START_TEST(numbers_that_mean_nothing_here) {
        struct instance *i;
        struct component *c;
        char text[64];

        begin("");
        (void) life_begin_job(&l, JOB_START, "first", "a");
        LIFE_UNTIL(&l,
                   life_instance(&l, "a", 1) && life_instance(&l, "a", 1)->life == LIFE_COMPLETING);
        i = life_instance(&l, "a", 1);
        i->evidence = (enum evidence)(EVIDENCE_SERVES + 1);
        i->cause = N_END_CAUSES;
        i->notify_error = 4096;
        i->said_exit_status = 256;
        instance_keep(i);
        c = life_component(&l, "a");
        c->last_end = (enum process_end)(PROCESS_UNKNOWN + 1);
        c->last_status = 256;
        component_keep(c);
        die("");
        i = life_instance(&next, "a", 1);
        ck_assert_int_eq(i->evidence, EVIDENCE_NONE);
        ck_assert_int_eq(i->cause, END_BY_ITSELF);
        ck_assert_int_eq(i->notify_error, 0);
        ck_assert_int_eq(i->said_exit_status, -1); /* not even 0 */
        c = life_component(&next, "a");
        ck_assert_str_eq(process_end_text(c->last_end, 0, text, sizeof(text)),
                         "ended, nobody knows how");
        ck_assert_int_eq(c->last_status, 0);
        test_write("go1", "");
        LIFE_UNTIL(&next, life_is(&next, "a", COMPONENT_READY));
        ck_assert_str_eq(i->ready_by, "running");
        life_end(&next);
}
END_TEST

/* The highest that there is means what it did. */
START_TEST(the_last_of_a_few_is_one_of_them) {
        struct instance *i;

        run("");
        i = life_instance(&l, "a", 1);
        i->evidence = EVIDENCE_SERVES;
        i->cause = N_END_CAUSES - 1;
        i->notify_error = 4095;
        i->said_exit_status = 255;
        instance_keep(i);
        life_component(&l, "a")->last_status = 255;
        component_keep(life_component(&l, "a"));
        die("");
        i = life_instance(&next, "a", 1);
        ck_assert_int_eq(i->evidence, EVIDENCE_SERVES);
        ck_assert_int_eq(i->cause, N_END_CAUSES - 1);
        ck_assert_int_eq(i->notify_error, 4095);
        ck_assert_int_eq(i->said_exit_status, 255);
        ck_assert_int_eq(life_component(&next, "a")->last_status, 255);
        life_end(&next);
}
END_TEST

/* Two with one name: the first is it. */
START_TEST(an_item_of_a_job_that_is_there_twice) {
        begin("");
        put(&l, 'j', "RECORD=job|JOB=x|KIND=stop|ITEMS=2|FINISHED=1", -1);
        {
                const char *id = memory_first(l.memory, "job");
                char item[128];

                (void) snprintf(item, sizeof(item),
                                "RECORD=job_item|OF=%s|NAME=a|VERDICT=done|LINE0=one", id);
                put(&l, 'e', item, -1);
                put(&l, 'e', item, -1);
        }
        die("");
        ck_assert_ptr_null(job_find(next.table, "x"));
        ck_assert_uint_eq(count(&next, "job"), 0);
        ck_assert_uint_eq(count(&next, "job_item"), 0);
        life_end(&next);
}
END_TEST

/* The job is written before its items: a broker that died in between had told nobody. */
START_TEST(a_job_is_over_when_its_items_are) {
        struct job *job;
        char item[128];

        begin("");
        put(&l, 'j', "RECORD=job|JOB=x|KIND=stop|ITEMS=1|FINISHED=1", -1);
        (void) snprintf(item, sizeof(item), "RECORD=job_item|OF=%s|NAME=a",
                        memory_first(l.memory, "job"));
        put(&l, 'e', item, -1);
        die("");
        job = job_find(next.table, "x");
        ck_assert(!job->finished);
        ck_assert_uint_eq(next.table->n_finished_jobs, 0);
        ck_assert_int_eq(life_receipt(&next, job, "a")->verdict, VERDICT_NOTHING);
        life_end(&next);
}
END_TEST

SUITE("component_kept", {
        TEST(a_component_that_runs_is_found_again);
        TEST(each_of_several_has_its_own_again);
        TEST(a_start_that_nobody_asked_for_comes_to_all_places);
        TEST(what_it_said_comes_back);
        tcase_add_loop_test(tests_, that_one_is_outdated_comes_back, 0, 2);
        TEST(why_a_reload_failed_does_not);
        TEST(one_that_leaves_does_so_under_the_next_broker);
        TEST(a_group_is_still_its_own_when_another_led_it);
        TEST(what_a_component_is_comes_back);
        tcase_add_loop_test(tests_, a_goal_is_kept, 0, 2);
        TEST(receipts_of_finished_jobs_survive);
        TEST(a_restart_goes_on_with_the_next_broker_and_is_not_begun_twice);
        TEST(a_stop_goes_on);
        TEST(what_ended_meanwhile_is_told_by_the_next);
        TEST(how_a_generation_failed_is_kept_where_the_old_one_was);
        TEST(records_go_with_what_they_are_of);
        TEST(one_that_is_not_configured_any_more_is_ended_by_the_next);
        TEST(its_cgroup_goes_too_when_none_is_configured_any_more);
        tcase_add_loop_test(tests_, what_was_asked_for_one_that_is_not_configured_any_more_ends, 0,
                            2);
        TEST(a_verdict_outlives_what_it_is_of);
        tcase_add_loop_test(tests_, a_strange_record_does_no_harm, 0,
                            2 * sizeof(strange) / sizeof(strange[0]));
        TEST(numbers_that_mean_nothing_here);
        TEST(the_last_of_a_few_is_one_of_them);
        TEST(an_item_of_a_job_that_is_there_twice);
        TEST(a_job_is_over_when_its_items_are);
})
