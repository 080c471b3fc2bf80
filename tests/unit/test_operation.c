/*
 * What one component does when it is asked: which instances are started and stopped, in which
 * order, and what the verdict is. It becomes ready when the test makes a file, so each moment can
 * be looked at. What it does when nobody asked is in test_operation_unasked.c.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "components/operation.h"
#include "components/runtime_directory.h"
#include "operation_support.h"
#include "support.h"

static struct scene l;

static struct component *a(void) {
        return life_component(&l, "a");
}

static bool completes(uint64_t generation) {
        const struct instance *i = life_instance(&l, "a", generation);

        return i && i->life == LIFE_COMPLETING;
}

static enum verdict verdict_of(const struct job *job) {
        return job->items[0].receipt.verdict;
}

START_TEST(a_start_serves_and_another_one_finds_it_so) {
        const struct receipt *r;
        struct job *job;

        operation_open(&l, "");
        ck_assert(life_is(&l, "a", COMPONENT_STOPPED));
        job = life_begin_job(&l, JOB_START, "", "a");
        LIFE_UNTIL(&l, completes(1));
        ck_assert(life_is(&l, "a", COMPONENT_STARTING));
        ck_assert(!job->items[0].decided);
        test_write("go1", "");
        r = life_receipt(&l, job, "a");
        ck_assert_int_eq(r->verdict, VERDICT_SERVES);
        ck_assert_uint_eq(r->generation, 1);
        ck_assert_uint_eq(r->generation_before, 0);
        ck_assert_uint_eq(r->instances, 1);
        ck_assert_str_eq(r->ready_by, "running");
        ck_assert_uint_gt(r->ready_usec, 0);
        ck_assert(job_is_good(job) && r->drained && !r->killed);
        ck_assert(life_is(&l, "a", COMPONENT_READY));
        job = life_begin_job(&l, JOB_START, "", "a");
        ck_assert_int_eq(life_receipt(&l, job, "a")->verdict, VERDICT_NOTHING);
        ck_assert_uint_eq(a()->last_generation, 1);
        life_end(&l);
}
END_TEST

/* Runs with RuntimeDirectory=rt, in the private folder. */
static void run_with_directory(void) {
        struct directories *d;
        struct job *job;

        setenv("XDG_RUNTIME_DIR", test_folder(), 1); /* there are users without one */
        operation_open(&l, "RuntimeDirectory=rt\nRestart=no\n");
        d = &a()->config->directories[DIRECTORY_RUNTIME];
        free(d->base);
        d->base = strdup(test_folder());
        test_write("go", "");
        job = life_begin_job(&l, JOB_START, "", "a");
        ck_assert_int_eq(life_receipt(&l, job, "a")->verdict, VERDICT_SERVES);
        ck_assert(life_exists("rt"));
        test_write("rt/old", "");
}

START_TEST(what_is_being_removed_is_not_used_by_the_next_one) {
        struct job *job;

        run_with_directory();
        ck_assert_int_eq(kill(life_instance(&l, "a", 1)->tree.pid, SIGKILL), 0);
        LIFE_UNTIL(&l, runtime_directory_is_busy(a()));
        job = life_begin_job(&l, JOB_START, "", "a");
        for (; runtime_directory_is_busy(a()); life_turn(&l))
                ck_assert(TAILQ_EMPTY(&a()->instances));
        ck_assert(!life_exists("rt"));
        ck_assert_int_eq(life_receipt(&l, job, "a")->verdict, VERDICT_SERVES);
        ck_assert(life_exists("rt") && !life_exists("rt/old"));
        life_end(&l);
        ck_assert(!life_exists("rt"));
}
END_TEST

START_TEST(a_stop_is_done_when_all_is_removed) {
        struct job *job;

        run_with_directory();
        job = life_begin_job(&l, JOB_STOP, "", "a");
        LIFE_UNTIL(&l, runtime_directory_is_busy(a()));
        ck_assert(!job->items[0].decided);
        ck_assert_int_eq(life_receipt(&l, job, "a")->verdict, VERDICT_DONE);
        ck_assert(!life_exists("rt"));
        life_end(&l);
}
END_TEST

START_TEST(a_stop_while_conditions_are_looked_at_wins) {
        struct job *start, *stop;

        operation_open(&l, "ConditionPathExists=!/no/such/path\nInstances=2\n");
        test_write("go", "");
        start = life_begin_job(&l, JOB_START, "", "a");
        LIFE_UNTIL(&l, a()->operation && a()->operation->check);
        ck_assert(TAILQ_EMPTY(&a()->instances));
        stop = life_begin_job(&l, JOB_STOP, "", "a");
        ck_assert_int_eq(life_receipt(&l, start, "a")->verdict, VERDICT_CANCELED);
        ck_assert_int_eq(life_receipt(&l, stop, "a")->verdict, VERDICT_DONE);
        ck_assert_uint_eq(a()->last_generation, 0);
        /* and met they let all begin */
        start = life_begin_job(&l, JOB_START, "", "a");
        ck_assert_int_eq(life_receipt(&l, start, "a")->verdict, VERDICT_SERVES);
        ck_assert_uint_eq(life_receipt(&l, start, "a")->instances, 2);
        life_end(&l);
}
END_TEST

START_TEST(a_restart_overlaps) {
        const struct receipt *r;
        struct job *job;

        operation_run(&l, "");
        job = life_begin_job(&l, JOB_RESTART, "", "a");
        LIFE_UNTIL(&l, completes(2));
        ck_assert(operation_serves(&l, 1));
        ck_assert(life_is(&l, "a", COMPONENT_RESTARTING));
        test_write("go2", "");
        r = life_receipt(&l, job, "a");
        ck_assert_int_eq(r->verdict, VERDICT_SERVES);
        ck_assert_uint_eq(r->generation_before, 1);
        ck_assert_uint_eq(r->generation, 2);
        ck_assert_uint_gt(r->drain_usec, 0);
        ck_assert(r->drained && operation_serves(&l, 2) && !life_instance(&l, "a", 1));
        life_end(&l);
}
END_TEST

START_TEST(who_makes_room_for_the_next_may_get_another_signal) {
        operation_run(&l, "RestartKillSignal=SIGUSR1\nKillSignal=SIGINT\n");
        test_write("go", "");
        LIFE_UNTIL(&l, life_begin_job(&l, JOB_RESTART, "restart", "a")->finished);
        ck_assert_int_eq(l.ended.tree.status, SIGUSR1);
        LIFE_UNTIL(&l, life_begin_job(&l, JOB_STOP, "stop", "a")->finished);
        ck_assert_uint_eq(l.n_ended, 2);
        ck_assert_int_eq(l.ended.tree.status, SIGINT);
        life_end(&l);
}
END_TEST

static bool place_serves(unsigned index, uint64_t generation) {
        const struct instance *i = component_serving(a(), index);

        return i && i->generation == generation;
}

/* The first of several that serves makes no restart of a start; the last that is left no start of a
 * restart. */
START_TEST(a_first_start_of_several_is_no_restart) {
        struct job *job;

        operation_open(&l, "Instances=2\nHandover=stop-first\n");
        job = life_begin_job(&l, _i == 0 ? JOB_START : JOB_RESTART, "", "a");
        LIFE_UNTIL(&l, component_starting(a(), 0));
        ck_assert(life_is(&l, "a", COMPONENT_STARTING));
        test_write("go1.0", "");
        LIFE_UNTIL(&l, place_serves(0, 1) && component_starting(a(), 1));
        ck_assert(life_is(&l, "a", COMPONENT_STARTING));
        test_write("go1", "");
        ck_assert_int_eq(life_receipt(&l, job, "a")->verdict, VERDICT_SERVES);
        ck_assert(life_is(&l, "a", COMPONENT_READY));

        job = life_begin_job(&l, JOB_RESTART, "", "a");
        LIFE_UNTIL(&l, component_starting(a(), 0));
        ck_assert(life_is(&l, "a", COMPONENT_RESTARTING)); /* the other one serves */
        test_write("go2.0", "");
        LIFE_UNTIL(&l, place_serves(0, 2) && component_starting(a(), 1));
        ck_assert(life_is(&l, "a", COMPONENT_RESTARTING)); /* nothing of generation 1 does */
        test_write("go2", "");
        ck_assert_int_eq(life_receipt(&l, job, "a")->verdict, VERDICT_SERVES);
        life_end(&l);
}
END_TEST

START_TEST(a_bad_generation_is_stopped_and_the_old_one_kept) {
        const struct receipt *r;
        struct job *job;

        operation_run(&l, "");
        test_write("bad2", "");
        job = life_begin_job(&l, JOB_RESTART, "", "a");
        r = life_receipt(&l, job, "a");
        ck_assert_int_eq(r->verdict, VERDICT_KEPT);
        ck_assert_str_eq(r->reason, "killed by SIGKILL before it was ready");
        ck_assert_uint_eq(r->generation_before, 1);
        ck_assert_uint_eq(r->generation, 2);
        ck_assert_uint_eq(r->n_lines, 1);
        ck_assert_str_eq(r->lines[0], "I am 2");
        ck_assert(!job_is_good(job));
        ck_assert(operation_serves(&l, 1) && life_is(&l, "a", COMPONENT_READY));
        /* its number is not used again */
        test_write("go3", "");
        job = life_begin_job(&l, JOB_RESTART, "", "a");
        ck_assert_uint_eq(life_receipt(&l, job, "a")->generation, 3);
        life_end(&l);
}
END_TEST

START_TEST(a_bad_first_generation_has_failed) {
        const struct receipt *r;
        struct job *job;

        operation_open(&l, "Restart=no\n");
        test_write("bad1", "");
        job = life_begin_job(&l, JOB_START, "", "a");
        r = life_receipt(&l, job, "a");
        ck_assert_int_eq(r->verdict, VERDICT_FAILED);
        ck_assert_str_eq(r->reason, "killed by SIGKILL before it was ready");
        LIFE_UNTIL(&l, life_is(&l, "a", COMPONENT_FAILED));
        ck_assert_str_eq(a()->reason, r->reason);
        ck_assert_str_eq(a()->last_reason, r->reason);
        life_end(&l);
}
END_TEST

/* It says so (STOPPING=1), and ends a moment later: the verdict waits for how. */
START_TEST(one_that_leaves_before_it_is_ready_is_judged_by_its_end) {
        const struct receipt *r;
        struct instance *i;
        struct job *job;

        if (_i == 0)
                operation_open(&l, "Restart=no\n");
        else
                operation_run(&l, "Restart=no\n");
        job = life_begin_job(&l, _i == 0 ? JOB_START : JOB_RESTART, "", "a");
        LIFE_UNTIL(&l, completes(_i == 0 ? 1 : 2));
        i = life_instance(&l, "a", _i == 0 ? 1 : 2);
        instance_leaves(i);
        ck_assert_int_eq(i->life, LIFE_DRAINING);
        life_pass(&l, 20);
        ck_assert(!job->items[0].decided);
        ck_assert(life_is(&l, "a", _i == 0 ? COMPONENT_DRAINING : COMPONENT_READY));
        ck_assert_int_eq(kill(i->tree.pid, SIGKILL), 0);
        r = life_receipt(&l, job, "a");
        ck_assert_int_eq(r->verdict, _i == 0 ? VERDICT_FAILED : VERDICT_KEPT);
        ck_assert_str_eq(r->reason, "killed by SIGKILL before it was ready; it said: STOPPING=1");
        ck_assert_uint_eq(r->n_lines, 1);
        ck_assert(_i == 0 ? life_is(&l, "a", COMPONENT_FAILED) : operation_serves(&l, 1));
        life_end(&l);
}
END_TEST

START_TEST(the_end_of_one_that_leaves_is_answered_by_restart) {
        struct instance *i;

        operation_run(&l, _i == 0 ? "Restart=on-failure\nRestartSec=10ms\n"
                                  : "Restart=no\nSuccessExitStatus=SIGKILL\n");
        test_write("go", "");
        i = life_instance(&l, "a", 1);
        instance_leaves(i);
        ck_assert(life_is(&l, "a", COMPONENT_DRAINING));
        life_pass(&l, 20);
        ck_assert_uint_eq(a()->last_generation, 1);
        ck_assert_int_eq(kill(i->tree.pid, SIGKILL), 0);
        LIFE_UNTIL(&l, _i == 0 ? operation_serves(&l, 2) : life_is(&l, "a", COMPONENT_STOPPED));
        ck_assert_str_eq(a()->last_reason, "killed by SIGKILL; it said: STOPPING=1");
        life_end(&l);
}
END_TEST

/* A stop does not wait for what ends by itself: its signal, and its own time, which begins now. A
 * signal that it does not mind, so that it is still there to be looked at. */
START_TEST(a_stop_tells_one_that_leaves_already) {
        enum job_kind kind = _i == 0 ? JOB_STOP : JOB_PAUSE;
        uint64_t deadline_usec;
        struct instance *i;
        struct job *job;

        operation_run(&l, "KillSignal=SIGURG\nRestartKillSignal=SIGKILL\nTimeoutStopSec=60\n"
                          "ExecStop=kill -KILL $MAINPID\nRestart=always\n");
        i = life_instance(&l, "a", 1);
        instance_leaves(i);
        deadline_usec = i->deadline_usec;
        life_pass(&l, 20);
        ck_assert(!i->signaled);
        job = life_begin_job(&l, kind, "", "a");
        LIFE_UNTIL(&l, i->signaled);
        ck_assert_uint_ge(i->deadline_usec, deadline_usec + 20000);
        life_pass(&l, 20);
        ck_assert_int_eq(i->life, LIFE_DRAINING);
        ck_assert(!job->items[0].decided);
        deadline_usec = i->deadline_usec;
        (void) life_begin_job(&l, kind, "again", "a");
        life_pass(&l, 20);
        ck_assert_uint_eq(i->deadline_usec, deadline_usec); /* it has been told */
        ck_assert_int_eq(kill(i->tree.pid, SIGKILL), 0);
        ck_assert_int_eq(life_receipt(&l, job, "a")->verdict, VERDICT_DONE);
        ck_assert_uint_ge(job->items[0].receipt.drain_usec, 20000);
        ck_assert(life_is(&l, "a", _i == 0 ? COMPONENT_STOPPED : COMPONENT_PAUSED));
        ck_assert_uint_eq(a()->last_end_usec, 0); /* it was asked to */
        life_end(&l);
}
END_TEST

START_TEST(one_that_leaves_and_heeds_no_stop_is_killed_as_others_are) {
        const struct receipt *r;

        operation_run(&l, "KillSignal=SIGURG\nTimeoutStopSec=100ms\n");
        instance_leaves(life_instance(&l, "a", 1));
        r = life_receipt(&l, life_begin_job(&l, JOB_STOP, "", "a"), "a");
        ck_assert_int_eq(r->verdict, VERDICT_DONE);
        ck_assert(r->killed);
        ck_assert(!life_said(&l, "did not end within TimeoutStopSec="));
        life_end(&l);
}
END_TEST

/* Restart=no would have left it alone; what was asked for counts. */
START_TEST(a_restart_of_one_that_leaves_is_to_run_on) {
        struct job *job;

        operation_run(&l, "Handover=stop-first\nRestart=no\n");
        test_write("go", "");
        instance_leaves(life_instance(&l, "a", 1));
        job = life_begin_job(&l, JOB_RESTART, "", "a");
        life_pass(&l, 20);
        ck_assert(!life_instance(&l, "a", 2));
        ck_assert_int_eq(kill(life_instance(&l, "a", 1)->tree.pid, SIGKILL), 0);
        ck_assert_int_eq(life_receipt(&l, job, "a")->verdict, VERDICT_SERVES);
        ck_assert(operation_serves(&l, 2));
        ck_assert_int_eq(a()->goal, GOAL_RUNNING);
        ck_assert_str_eq(a()->reason, "");
        life_end(&l);
}
END_TEST

/* The old one is gone before the new one begins; a bad one then leaves nothing. */
START_TEST(stop_first_is_never_two) {
        const struct receipt *r;
        struct job *job;

        operation_run(&l, "Handover=stop-first\nRestart=no\n");
        if (_i == 1)
                test_write("bad2", "");
        job = life_begin_job(&l, JOB_RESTART, "", "a");
        while (!life_instance(&l, "a", 2)) {
                ck_assert_uint_le(a()->n_instances, 1);
                life_turn(&l);
        }
        ck_assert(!life_instance(&l, "a", 1));
        if (_i == 0)
                test_write("go2", "");
        r = life_receipt(&l, job, "a");
        ck_assert_int_eq(r->verdict, _i == 0 ? VERDICT_SERVES : VERDICT_FAILED);
        ck_assert_uint_eq(r->generation_before, 1);
        ck_assert_uint_eq(r->generation, 2);
        life_end(&l);
}
END_TEST

START_TEST(two_starts_are_one) {
        struct job *first, *second;

        operation_open(&l, "");
        first = life_begin_job(&l, JOB_START, "", "a");
        second = life_begin_job(&l, JOB_START, "", "a");
        ck_assert_ptr_ne(first, second);
        LIFE_UNTIL(&l, completes(1));
        ck_assert_ptr_eq(first->items[0].operation, second->items[0].operation);
        test_write("go1", "");
        ck_assert_int_eq(life_receipt(&l, first, "a")->verdict, VERDICT_SERVES);
        ck_assert_int_eq(life_receipt(&l, second, "a")->verdict, VERDICT_SERVES);
        ck_assert_uint_eq(a()->last_generation, 1);
        life_end(&l);
}
END_TEST

/* What is deployed meanwhile is not yet in the first: the second is another one, the third not. */
START_TEST(a_restart_during_a_restart_comes_after_it) {
        struct job *jobs[3];

        operation_run(&l, "");
        for (int k = 0; k < 3; k++)
                jobs[k] = life_begin_job(&l, JOB_RESTART, "", "a");
        LIFE_UNTIL(&l, completes(2));
        ck_assert_ptr_nonnull(a()->next);
        ck_assert_ptr_eq(jobs[1]->items[0].operation, jobs[2]->items[0].operation);
        ck_assert_ptr_ne(jobs[0]->items[0].operation, jobs[1]->items[0].operation);
        test_write("go", "");
        while (!jobs[2]->finished) {
                /* never two that start */
                unsigned n = 0;
                const struct instance *i;

                TAILQ_FOREACH (i, &a()->instances, entry)
                        n += i->life < LIFE_READY;
                ck_assert_uint_le(n, 1);
                life_turn(&l);
        }
        ck_assert_uint_eq(life_receipt(&l, jobs[0], "a")->generation, 2);
        ck_assert_uint_eq(life_receipt(&l, jobs[1], "a")->generation, 3);
        ck_assert_uint_eq(life_receipt(&l, jobs[2], "a")->generation, 3);
        ck_assert_uint_eq(a()->last_generation, 3);
        life_end(&l);
}
END_TEST

/* A restart, whose generation 2 waits at its gate, and what is to wait for its end. */
static void begin_two(struct job *jobs[2], enum job_kind second) {
        operation_run(&l, "ExecReload=true\n");
        jobs[0] = life_begin_job(&l, JOB_RESTART, "", "a");
        jobs[1] = life_begin_job(&l, second, "", "a");
        LIFE_UNTIL(&l, completes(2));
}

/* One serves as generation 2, and then the other as generation 3. */
static void let_both_serve(struct job *first, struct job *other) {
        test_write("go2", "");
        ck_assert_int_eq(life_receipt(&l, first, "a")->verdict, VERDICT_SERVES);
        LIFE_UNTIL(&l, completes(3));
        test_write("go3", "");
        ck_assert_int_eq(life_receipt(&l, other, "a")->verdict, VERDICT_SERVES);
        ck_assert(operation_serves(&l, 3));
}

START_TEST(a_stop_cancels_what_starts_and_what_waits) {
        struct job *jobs[2], *stop;

        begin_two(jobs, JOB_RESTART);
        stop = life_begin_job(&l, _i == 0 ? JOB_STOP : JOB_PAUSE, "", "a");
        /* at once */
        ck_assert(jobs[0]->finished && jobs[1]->finished);
        ck_assert_int_eq(verdict_of(jobs[0]), VERDICT_CANCELED);
        ck_assert_int_eq(verdict_of(jobs[1]), VERDICT_CANCELED);
        ck_assert_str_eq(jobs[0]->items[0].receipt.reason,
                         _i == 0 ? "it is being stopped" : "it is being paused");
        ck_assert_int_eq(life_receipt(&l, stop, "a")->verdict, VERDICT_DONE);
        ck_assert_uint_eq(a()->n_instances, 0);
        ck_assert(life_is(&l, "a", _i == 0 ? COMPONENT_STOPPED : COMPONENT_PAUSED));
        stop = life_begin_job(&l, _i == 0 ? JOB_STOP : JOB_PAUSE, "", "a");
        ck_assert_int_eq(life_receipt(&l, stop, "a")->verdict, VERDICT_NOTHING);
        life_end(&l);
}
END_TEST

static void note_all_ended(void *owner) {
        *(bool *) owner = true;
}

START_TEST(the_end_of_the_broker_cancels_them_too) {
        struct job *jobs[2];
        bool ended = false;

        begin_two(jobs, JOB_RESTART);
        component_table_stop_all(l.table, note_all_ended, &ended);
        ck_assert_int_eq(verdict_of(jobs[0]), VERDICT_CANCELED);
        ck_assert_int_eq(verdict_of(jobs[1]), VERDICT_CANCELED);
        ck_assert_str_eq(jobs[0]->items[0].receipt.reason, "the broker is ending");
        LIFE_UNTIL(&l, ended);
        life_end(&l);
}
END_TEST

START_TEST(a_restart_takes_the_place_of_a_reload_that_waits) {
        struct job *jobs[2], *restart;

        begin_two(jobs, JOB_RELOAD);
        restart = life_begin_job(&l, JOB_RESTART, "", "a");
        ck_assert(jobs[1]->finished && !jobs[0]->finished);
        ck_assert_int_eq(verdict_of(jobs[1]), VERDICT_CANCELED);
        ck_assert_str_eq(jobs[1]->items[0].receipt.reason, "something else was asked for later");
        let_both_serve(jobs[0], restart);
        life_end(&l);
}
END_TEST

START_TEST(a_start_or_reload_joins_a_restart_that_waits) {
        struct job *jobs[2], *third;

        begin_two(jobs, JOB_RESTART);
        third = life_begin_job(&l, _i == 0 ? JOB_START : JOB_RELOAD, "", "a");
        ck_assert(!jobs[1]->finished && !jobs[0]->finished);
        let_both_serve(jobs[0], jobs[1]);
        ck_assert_int_eq(life_receipt(&l, third, "a")->verdict, VERDICT_SERVES);
        life_end(&l);
}
END_TEST

START_TEST(a_start_while_it_drains_makes_a_new_generation) {
        struct job *stop, *start_job;

        operation_run(&l, "");
        stop = life_begin_job(&l, JOB_STOP, "", "a");
        LIFE_UNTIL(&l, life_is(&l, "a", COMPONENT_DRAINING) || stop->finished);
        test_write("go2", "");
        start_job = life_begin_job(&l, JOB_START, "", "a");
        ck_assert_int_eq(life_receipt(&l, stop, "a")->verdict, VERDICT_DONE);
        ck_assert_int_eq(life_receipt(&l, start_job, "a")->verdict, VERDICT_SERVES);
        ck_assert(operation_serves(&l, 2));
        life_end(&l);
}
END_TEST

START_TEST(pause_and_resume) {
        struct job *job;

        operation_run(&l, "");
        job = life_begin_job(&l, JOB_PAUSE, "", "a");
        ck_assert_int_eq(life_receipt(&l, job, "a")->verdict, VERDICT_DONE);
        ck_assert(life_is(&l, "a", COMPONENT_PAUSED));
        test_write("go2", "");
        job = life_begin_job(&l, JOB_RESUME, "", "a");
        ck_assert_int_eq(life_receipt(&l, job, "a")->verdict, VERDICT_SERVES);
        ck_assert(life_is(&l, "a", COMPONENT_READY));
        life_end(&l);
}
END_TEST

START_TEST(a_reload_is_done_fails_or_has_nobody) {
        const struct receipt *r;
        struct job *job;

        operation_open(&l, "ExecReload=true\n");
        job = life_begin_job(&l, JOB_RELOAD, "", "a");
        r = life_receipt(&l, job, "a");
        ck_assert_int_eq(r->verdict, VERDICT_FAILED);
        ck_assert_str_eq(r->reason, "it does not run");
        ck_assert(life_is(&l, "a", COMPONENT_STOPPED));
        life_end(&l);

        operation_run(&l, "ExecReload=sh -c 'exit 9'\n");
        job = life_begin_job(&l, JOB_RELOAD, "", "a");
        r = life_receipt(&l, job, "a");
        ck_assert_int_eq(r->verdict, VERDICT_FAILED);
        ck_assert_str_eq(r->reason, "ExecReload=sh: exited with status 9");
        ck_assert(operation_serves(&l, 1));
        ck_assert_str_eq(life_instance(&l, "a", 1)->reason, "");
        life_end(&l);
}
END_TEST

/* Until the end of the test: what is open already goes on. */
static void lack_descriptors(void) {
        struct rlimit limit;
        int fd = open("/", O_PATH);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(close(fd), 0);
        ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
        limit.rlim_cur = (rlim_t) fd;
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void lack_none(void) {
        struct rlimit limit;

        ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
        limit.rlim_cur = limit.rlim_max;
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

START_TEST(a_reload_that_cannot_be_run_has_failed) {
        const struct receipt *r;
        struct job *job;

        if (SKIPPED_UNDER_VALGRIND(VALGRIND_KEEPS_LIMITS))
                return;
        operation_run(&l, "ExecReload=true\nTimeoutStartSec=infinity\n");
        lack_descriptors();
        job = life_begin_job(&l, JOB_RELOAD, "", "a");
        r = life_receipt(&l, job, "a");
        lack_none();
        ck_assert_int_eq(r->verdict, VERDICT_FAILED);
        ck_assert_str_eq(r->reason, "ExecReload=true: cannot be started: Too many open files");
        ck_assert(!life_instance(&l, "a", 1)->reloading);
        job = life_begin_job(&l, JOB_RELOAD, "", "a");
        ck_assert_int_eq(life_receipt(&l, job, "a")->verdict, VERDICT_DONE);
        life_end(&l);
}
END_TEST

/* As after one that failed: the signal follows. */
START_TEST(a_stop_command_that_cannot_be_run_is_done_without) {
        if (SKIPPED_UNDER_VALGRIND(VALGRIND_KEEPS_LIMITS))
                return;
        operation_run(&l, "ExecStop=true\nTimeoutStopSec=infinity\n");
        lack_descriptors();
        LIFE_UNTIL(&l, life_begin_job(&l, JOB_STOP, "stop", "a")->finished);
        lack_none();
        ck_assert_int_eq(l.ended.tree.status, SIGTERM);
        ck_assert(life_said(&l, "a: ExecStop=true: cannot be started: Too many open files"));
        ck_assert_str_eq(l.ended.reason, "");
        life_end(&l);
}
END_TEST

/* Killed is not gone: a stop is done, and the next one begun, when the command has ended. */
static const struct {
        const char *directives, *mark;
        enum life life;
} killed_commands[] = {
        {"ExecStartPre=sleep 60\n", "", LIFE_PREPARING},
        {"ExecStop=sleep 60\nTimeoutStopSec=50ms\n", "go1", LIFE_READY},
        {"ExecStopPost=sleep 60\nTimeoutStopSec=50ms\n", "go1", LIFE_READY},
};

START_TEST(a_stop_is_done_when_the_command_that_it_killed_is_gone) {
        struct job *job;
        struct instance *i;
        pid_t pid = 0;

        operation_open(&l, killed_commands[_i].directives);
        life_use_groups(&l);
        test_write(killed_commands[_i].mark[0] ? killed_commands[_i].mark : "none", "");
        (void) life_begin_job(&l, JOB_START, "start", "a");
        LIFE_UNTIL(&l, (i = life_instance(&l, "a", 1)) && i->life == killed_commands[_i].life);
        job = life_begin_job(&l, JOB_STOP, "stop", "a");
        while (!job->items[0].decided) {
                i = life_instance(&l, "a", 1);
                if (i && i->control_tree.pid > 0)
                        pid = i->control_tree.pid;
                life_turn(&l);
        }
        ck_assert_int_gt(pid, 0);
        ck_assert_int_lt(kill(pid, 0), 0);
        ck_assert_uint_eq(a()->n_killed, 0);
        life_end(&l);
}
END_TEST

START_TEST(stop_first_waits_for_the_command_that_it_killed) {
        struct instance *i;
        pid_t pid;

        operation_open(&l, "Handover=stop-first\nExecStartPre=sleep 60\nTimeoutStartSec=50ms\n"
                           "Restart=always\nRestartSec=0\n");
        life_use_groups(&l);
        (void) life_begin_job(&l, JOB_START, "", "a");
        LIFE_UNTIL(&l, (i = life_instance(&l, "a", 1)) && i->control_tree.pid > 0);
        pid = i->control_tree.pid;
        LIFE_UNTIL(&l, life_instance(&l, "a", 2));
        ck_assert_int_lt(kill(pid, 0), 0);
        life_end(&l);
}
END_TEST

/* What somebody else has sent away is not part of what was asked for after that. */
START_TEST(what_ends_nothing_does_not_wait_for_those_that_drain) {
        struct job *restart, *job;

        operation_run(
                &l,
                "KillSignal=SIGWINCH\nTimeoutStopSec=60\nExecReload=true\n"); /* it outlives that */
        test_write("go", "");
        restart = life_begin_job(&l, JOB_RESTART, "", "a");
        LIFE_UNTIL(&l, restart->items[0].decided);
        job = life_begin_job(&l, _i == 0 ? JOB_RELOAD : JOB_START, "", "a");
        LIFE_UNTIL(&l, job->items[0].decided);
        ck_assert_int_eq(verdict_of(job), _i == 0 ? VERDICT_DONE : VERDICT_NOTHING);
        ck_assert(job->finished && job->items[0].receipt.drained);
        ck_assert_int_eq(life_instance(&l, "a", 1)->life, LIFE_DRAINING);
        ck_assert(!restart->finished);
        /* and the way is free */
        job = life_begin_job(&l, JOB_RESTART, "", "a");
        LIFE_UNTIL(&l, job->items[0].decided);
        ck_assert_int_eq(verdict_of(job), VERDICT_SERVES);
        ck_assert(operation_serves(&l, 3) && life_instance(&l, "a", 1));
        component_table_kill_all(l.table);
        life_end(&l);
}
END_TEST

/* ---- several instances
 * -------------------------------------------------------------------------*/

static unsigned count(uint64_t generation, enum life life) {
        const struct instance *i;
        unsigned n = 0;

        TAILQ_FOREACH (i, &a()->instances, entry)
                n += i->generation == generation && i->life == life;
        return n;
}

START_TEST(instances_start_together_and_are_replaced_one_by_one) {
        const struct receipt *r;
        struct job *job;

        operation_open(&l, "Instances=3\n");
        job = life_begin_job(&l, JOB_START, "", "a");
        LIFE_UNTIL(&l, count(1, LIFE_COMPLETING) == 3);
        test_write("go1", "");
        ck_assert_uint_eq(life_receipt(&l, job, "a")->instances, 3);
        ck_assert_uint_eq(component_served_places(a()), 7);
        job = life_begin_job(&l, JOB_RESTART, "", "a");
        LIFE_UNTIL(&l, completes(2));
        life_pass(&l, 20);
        ck_assert_uint_eq(count(2, LIFE_COMPLETING), 1);
        ck_assert_uint_eq(count(1, LIFE_READY), 3);
        test_write("go2", "");
        while (!job->finished) {
                ck_assert_uint_le(count(2, LIFE_STARTING) + count(2, LIFE_COMPLETING), 1);
                ck_assert_uint_ge(count(1, LIFE_READY) + count(2, LIFE_READY), 3);
                life_turn(&l);
        }
        r = life_receipt(&l, job, "a");
        ck_assert_int_eq(r->verdict, VERDICT_SERVES);
        ck_assert_uint_eq(r->instances, 3);
        ck_assert_uint_eq(count(2, LIFE_READY), 3);
        ck_assert_uint_eq(a()->n_instances, 3);
        life_end(&l);
}
END_TEST

START_TEST(the_first_bad_instance_ends_the_replacing) {
        const struct receipt *r;
        struct job *job;

        operation_run(&l, "Instances=2\n");
        test_write("bad2", "");
        job = life_begin_job(&l, JOB_RESTART, "", "a");
        r = life_receipt(&l, job, "a");
        ck_assert_int_eq(r->verdict, VERDICT_KEPT);
        ck_assert_uint_eq(count(1, LIFE_READY), 2);
        ck_assert_uint_eq(a()->n_instances, 2);
        life_end(&l);
}
END_TEST

START_TEST(places_that_are_not_configured_any_more_go_with_the_next_restart) {
        struct job *job;

        operation_run(&l, "Instances=3\n");
        life_apply(&l, "[Component a]\nStart=manual\nExecStart=sh -c 'exec sleep 60'\n"
                       "Instances=2\n");
        life_pass(&l, 10);
        ck_assert_uint_eq(a()->n_instances, 3);
        job = life_begin_job(&l, JOB_RESTART, "", "a");
        ck_assert_int_eq(life_receipt(&l, job, "a")->verdict, VERDICT_SERVES);
        LIFE_UNTIL(&l, a()->n_instances == 2);
        ck_assert_uint_eq(count(2, LIFE_READY), 2);
        life_end(&l);
}
END_TEST

SUITE("operation", {
        TEST(a_start_serves_and_another_one_finds_it_so);
        TEST(what_is_being_removed_is_not_used_by_the_next_one);
        TEST(a_stop_is_done_when_all_is_removed);
        TEST(a_stop_while_conditions_are_looked_at_wins);
        TEST(a_restart_overlaps);
        TEST(who_makes_room_for_the_next_may_get_another_signal);
        tcase_add_loop_test(tests_, a_first_start_of_several_is_no_restart, 0, 2);
        TEST(a_bad_generation_is_stopped_and_the_old_one_kept);
        TEST(a_bad_first_generation_has_failed);
        tcase_add_loop_test(tests_, one_that_leaves_before_it_is_ready_is_judged_by_its_end, 0, 2);
        tcase_add_loop_test(tests_, the_end_of_one_that_leaves_is_answered_by_restart, 0, 2);
        tcase_add_loop_test(tests_, a_stop_tells_one_that_leaves_already, 0, 2);
        TEST(one_that_leaves_and_heeds_no_stop_is_killed_as_others_are);
        TEST(a_restart_of_one_that_leaves_is_to_run_on);
        tcase_add_loop_test(tests_, stop_first_is_never_two, 0, 2);
        TEST(two_starts_are_one);
        TEST(a_restart_during_a_restart_comes_after_it);
        tcase_add_loop_test(tests_, a_stop_cancels_what_starts_and_what_waits, 0, 2);
        TEST(the_end_of_the_broker_cancels_them_too);
        TEST(a_restart_takes_the_place_of_a_reload_that_waits);
        tcase_add_loop_test(tests_, a_start_or_reload_joins_a_restart_that_waits, 0, 2);
        TEST(a_start_while_it_drains_makes_a_new_generation);
        TEST(pause_and_resume);
        TEST(a_reload_is_done_fails_or_has_nobody);
        TEST(a_reload_that_cannot_be_run_has_failed);
        TEST(a_stop_command_that_cannot_be_run_is_done_without);
        tcase_add_loop_test(tests_, a_stop_is_done_when_the_command_that_it_killed_is_gone, 0,
                            sizeof(killed_commands) / sizeof(killed_commands[0]));
        TEST(stop_first_waits_for_the_command_that_it_killed);
        tcase_add_loop_test(tests_, what_ends_nothing_does_not_wait_for_those_that_drain, 0, 2);
        TEST(instances_start_together_and_are_replaced_one_by_one);
        TEST(the_first_bad_instance_ends_the_replacing);
        TEST(places_that_are_not_configured_any_more_go_with_the_next_restart);
})
