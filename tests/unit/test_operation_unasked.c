/*
 * What one component does when nobody asked: it ends, it is sick, too many of its generations
 * drain.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "components/operation.h"
#include "operation_support.h"
#include "support.h"

static struct scene l;

static struct component *a(void) {
        return life_component(&l, "a");
}

static enum verdict verdict_of(const struct job *job) {
        return job->items[0].receipt.verdict;
}

/* ---- nobody asked
 * ------------------------------------------------------------------------------*/

START_TEST(one_that_ends_is_started_again_until_it_was_too_often) {
        operation_run(&l, "Restart=on-failure\nRestartSec=10ms\nStartLimitBurst="
                          "2\nStartLimitIntervalSec=60\n");
        test_write("go", "");
        for (uint64_t generation = 1; generation <= 3; generation++) {
                LIFE_UNTIL(&l, operation_serves(&l, generation));
                ck_assert_int_eq(kill(life_instance(&l, "a", generation)->tree.pid, SIGKILL), 0);
        }
        LIFE_UNTIL(&l, life_is(&l, "a", COMPONENT_FAILED));
        ck_assert_str_eq(a()->reason, "it was started too often (StartLimitBurst=); the last time: "
                                      "killed by SIGKILL");
        ck_assert_uint_eq(a()->restarts, 2);
        /* who asks is not held to that */
        ck_assert_int_eq(life_receipt(&l, life_begin_job(&l, JOB_START, "", "a"), "a")->verdict,
                         VERDICT_SERVES);
        ck_assert_str_eq(a()->reason, "");
        life_end(&l);
}
END_TEST

START_TEST(one_that_backs_off_can_be_stopped_and_started) {
        struct job *job;

        operation_run(&l, "Restart=on-failure\nRestartSec=60\n");
        ck_assert_int_eq(kill(life_instance(&l, "a", 1)->tree.pid, SIGKILL), 0);
        LIFE_UNTIL(&l, life_is(&l, "a", COMPONENT_BACK_OFF));
        ck_assert_str_eq(a()->reason, "killed by SIGKILL");
        test_write("go", "");
        job = life_begin_job(&l, _i == 0 ? JOB_START : JOB_STOP, "", "a");
        if (_i == 0)
                ck_assert_int_eq(life_receipt(&l, job, "a")->verdict, VERDICT_SERVES);
        else
                LIFE_UNTIL(&l, job->finished);
        ck_assert(!timer_is_started(&a()->back_off));
        ck_assert(life_is(&l, "a", _i == 0 ? COMPONENT_READY : COMPONENT_STOPPED));
        life_end(&l);
}
END_TEST

START_TEST(an_end_without_failure_is_a_stop) {
        struct job *job;

        life_begin(&l, false);
        life_apply(&l,
                   "[Component a]\nStart=manual\nRestart=on-failure\n"
                   "ExecStart=sh -c 'until [ -e %s ]; do sleep 0.01; done'\n",
                   test_path("end"));
        job = life_begin_job(&l, JOB_START, "", "a");
        ck_assert_int_eq(life_receipt(&l, job, "a")->verdict, VERDICT_SERVES);
        test_write("end", "");
        LIFE_UNTIL(&l, life_is(&l, "a", COMPONENT_STOPPED));
        ck_assert_int_eq(a()->last_end, PROCESS_EXITED);
        ck_assert_int_eq(a()->last_status, 0);
        life_end(&l);
}
END_TEST

/* Old ones that drain for long do not add up: the oldest is ended for a new one. */
START_TEST(so_many_drain_and_no_more) {
        struct instance *i;
        struct job *job;

        life_begin(&l, false);
        life_apply(&l,
                   "[Component a]\nStart=manual\nTimeoutStopSec=60\nEnvironment=DEAF=%s\n"
                   "ExecStart=sh -c 'trap \"\" TERM; touch $$DEAF$$FDPASS_GENERATION; "
                   "while :; do sleep 0.01; done'\n"
                   "ExecStartPost=sh -c 'until [ -e $$DEAF$$FDPASS_GENERATION ]; do sleep 0.01; "
                   "done'\n",
                   test_path("deaf"));
        for (int k = 0; k < 8; k++) {
                job = life_begin_job(&l, k == 0 ? JOB_START : JOB_RESTART, "", "a");
                LIFE_UNTIL(&l, job->items[0].decided);
                ck_assert_int_eq(verdict_of(job), VERDICT_SERVES);
                ck_assert_uint_le(a()->n_instances, 6);
        }
        ck_assert_uint_ge(a()->n_instances, 4);
        TAILQ_FOREACH (i, &a()->instances, entry)
                if (i->life == LIFE_DRAINING)
                        instance_event(i, LIFE_DEADLINE);
        LIFE_UNTIL(&l, job->finished);
        ck_assert(job->items[0].receipt.killed);
        ck_assert_uint_eq(a()->n_instances, 1);
        component_table_kill_all(l.table); /* what serves, too */
        life_end(&l);
}
END_TEST

/* It is awaited like any other, and what is to be run after it is run. */
START_TEST(who_is_ended_to_make_room_is_not_forgotten) {
        struct job *job;

        life_begin(&l, false);
        life_apply(&l,
                   "[Component a]\nStart=manual\nTimeoutStopSec=60\nKillSignal=SIGCONT\n"
                   "ExecStart=sleep 60\nExecStopPost=sh -c 'echo $$FDPASS_GENERATION >>%s'\n",
                   test_path("ended"));
        for (int k = 0; k < 6; k++) {
                job = life_begin_job(&l, k == 0 ? JOB_START : JOB_RESTART, "", "a");
                LIFE_UNTIL(&l, job->items[0].decided);
        }
        LIFE_UNTIL(&l, a()->n_instances == 5);
        ck_assert_str_eq(life_read("ended"), "1");
        ck_assert_int_eq(l.ended.tree.end, PROCESS_KILLED);
        component_table_kill_all(l.table);
        life_end(&l);
}
END_TEST

/* ---- the sick
 * ---------------------------------------------------------------------------------*/

/* Generation 1, ready; checked every 10 ms, and well as long as there is the file. Generation 2
 * ends at once. */
static void run_well(const char *more) {
        struct job *job;

        life_begin(&l, false);
        test_write("well", "");
        life_apply(&l,
                   "[Component a]\nStart=manual\nExecStart=sh -c 'test $$FDPASS_GENERATION = 2 && "
                   "exit 9; exec sleep 60'\nHealthCheck=exec:test -e %s\n"
                   "HealthCheckIntervalSec=10ms\nHealthCheckFailures=2\n%s",
                   test_path("well"), more);
        job = life_begin_job(&l, JOB_START, "", "a");
        ck_assert_int_eq(life_receipt(&l, job, "a")->verdict, VERDICT_SERVES);
}

static void make_sick(void) {
        ck_assert_int_eq(unlink(test_path("well")), 0);
}

START_TEST(the_sick_asks_again_when_the_next_one_was_no_better) {
        run_well("");
        make_sick();
        while (!life_instance(&l, "a", 3)) {
                ck_assert(operation_serves(&l, 1));
                life_turn(&l);
        }
        ck_assert(life_said(&l, "a: generation 2 stopped: exited with status 9"));
        test_write("well", "");
        LIFE_UNTIL(&l, operation_serves(&l, 3) && a()->n_instances == 1);
        ck_assert_uint_eq(a()->restarts, 2);
        life_end(&l);
}
END_TEST

START_TEST(the_sick_asks_again_when_something_was_under_way) {
        char reload[256];
        struct job *job;

        (void) snprintf(reload, sizeof(reload), "ExecReload=sh -c 'until test -e %s; do :; done'\n",
                        test_path("go"));
        run_well(reload);
        job = life_begin_job(&l, JOB_RELOAD, "", "a");
        make_sick();
        LIFE_UNTIL(&l, life_said(&l, "a: generation 1 is not healthy"));
        ck_assert(!job->finished && !life_instance(&l, "a", 2));
        test_write("go", "");
        LIFE_UNTIL(&l, life_instance(&l, "a", 2));
        ck_assert(job->finished);
        life_end(&l);
}
END_TEST

static unsigned times_said(const char *part) {
        unsigned n = 0;

        for (const char *at = l.said; (at = strstr(at, part)); at++)
                n++;
        return n;
}

START_TEST(the_sick_asks_again_when_the_start_limit_is_over) {
        run_well("StartLimitBurst=1\nStartLimitIntervalSec=60\n");
        make_sick();
        LIFE_UNTIL(&l, life_said(&l, "a is left as it is for now: it was started too often"));
        life_pass(&l, 100); /* and is said so no more */
        ck_assert(operation_serves(&l, 1) && !life_instance(&l, "a", 3));
        a()->policy.starts.begin_usec -= UINT64_C(60) * 1000 * 1000; /* the minute is over */
        LIFE_UNTIL(&l, life_instance(&l, "a", 3));
        ck_assert_uint_eq(times_said("is left as it is"), 1); /* of many that were refused */
        ck_assert_uint_eq(times_said("is not healthy"), 1);
        test_write("well", "");
        LIFE_UNTIL(&l, operation_serves(&l, 3));
        life_end(&l);
}
END_TEST

/* ---- one of several ---------------------------------------------------------------------------*/

static void kill_place(unsigned index) {
        struct instance *i = component_serving(a(), index);

        ck_assert_ptr_nonnull(i);
        ck_assert_int_eq(kill(i->tree.pid, SIGKILL), 0);
        LIFE_UNTIL(&l, component_serving(a(), index) != i);
}

static const char *reason(void) {
        static char text[COMPONENT_REASON_SIZE];

        return component_reason(a(), text, sizeof(text));
}

START_TEST(a_place_that_ends_too_often_is_left_alone_and_the_others_go_on) {
        operation_open(&l, "Instances=3\nRestart=on-failure\nRestartSec=10ms\nRestartSteps=0\n"
                           "StartLimitBurst=1\nStartLimitIntervalSec=60\nStallSec=60\n");
        test_write("go", "");
        (void) life_receipt(&l, life_begin_job(&l, JOB_START, "", "a"), "a");
        kill_place(1);
        LIFE_UNTIL(&l, component_serving(a(), 1));
        kill_place(1);
        LIFE_UNTIL(&l, component_failed_places(a()));
        ck_assert_int_eq(a()->goal, GOAL_RUNNING);
        ck_assert(life_is(&l, "a", COMPONENT_FAILED));
        ck_assert_str_eq(reason(),
                         "instance 2 failed: it was started too often (StartLimitBurst=); "
                         "the last time: killed by SIGKILL; 2 of 3 serve");
        ck_assert_uint_eq(component_served_places(a()), 5);
        LIFE_UNTIL(&l, a()->stall);
        /* another is started again, and the one that failed is not, by the same operation */
        a()->policy.starts = (struct rate_limit){0}; /* as if StartLimitIntervalSec= was over */
        kill_place(0);
        LIFE_UNTIL(&l, component_served_places(a()) == 5 && !a()->operation);
        ck_assert(life_is(&l, "a", COMPONENT_FAILED));
        ck_assert(!component_starting(a(), 1));
        /* until somebody asks */
        ck_assert_int_eq(
                life_receipt(&l, life_begin_job(&l, _i == 0 ? JOB_START : JOB_RESTART, "", "a"),
                             "a")
                        ->verdict,
                VERDICT_SERVES);
        ck_assert_uint_eq(component_served_places(a()), 7);
        ck_assert(life_is(&l, "a", COMPONENT_READY));
        ck_assert_str_eq(reason(), "");
        life_end(&l);
}
END_TEST

START_TEST(when_the_last_place_has_failed_the_component_has) {
        operation_open(&l, "Instances=3\nRestart=no\nSuccessExitStatus=SIGINT\n");
        test_write("go", "");
        (void) life_receipt(&l, life_begin_job(&l, JOB_START, "", "a"), "a");
        kill_place(2);
        LIFE_UNTIL(&l, component_failed_places(a()) == 4);
        kill_place(0);
        LIFE_UNTIL(&l, component_failed_places(a()) == 5);
        ck_assert_str_eq(reason(), "instances 1, 3 failed: killed by SIGKILL; 1 of 3 serves");
        ck_assert_int_eq(a()->goal, GOAL_RUNNING);
        /* not with what failed before it, however well it ends */
        ck_assert_int_eq(kill(component_serving(a(), 1)->tree.pid, _i == 0 ? SIGKILL : SIGINT), 0);
        LIFE_UNTIL(&l, a()->goal == GOAL_FAILED);
        ck_assert(life_is(&l, "a", COMPONENT_FAILED));
        ck_assert_uint_eq(component_failed_places(a()), 0);
        ck_assert_str_eq(reason(), _i == 0 ? "killed by SIGKILL" : "killed by SIGINT");
        life_end(&l);
}
END_TEST

START_TEST(a_stop_forgives_places_that_failed) {
        operation_open(&l, "Instances=2\nRestart=no\n");
        test_write("go", "");
        (void) life_receipt(&l, life_begin_job(&l, JOB_START, "", "a"), "a");
        kill_place(0);
        LIFE_UNTIL(&l, life_is(&l, "a", COMPONENT_FAILED));
        (void) life_receipt(&l, life_begin_job(&l, JOB_STOP, "", "a"), "a");
        ck_assert(life_is(&l, "a", COMPONENT_STOPPED));
        ck_assert_str_eq(reason(), "");
        life_end(&l);
}
END_TEST

SUITE("operation_unasked", {
        TEST(one_that_ends_is_started_again_until_it_was_too_often);
        tcase_add_loop_test(tests_, a_place_that_ends_too_often_is_left_alone_and_the_others_go_on,
                            0, 2);
        tcase_add_loop_test(tests_, when_the_last_place_has_failed_the_component_has, 0, 2);
        TEST(a_stop_forgives_places_that_failed);
        tcase_add_loop_test(tests_, one_that_backs_off_can_be_stopped_and_started, 0, 2);
        TEST(an_end_without_failure_is_a_stop);
        TEST(so_many_drain_and_no_more);
        TEST(who_is_ended_to_make_room_is_not_forgotten);
        TEST(the_sick_asks_again_when_the_next_one_was_no_better);
        TEST(the_sick_asks_again_when_something_was_under_way);
        TEST(the_sick_asks_again_when_the_start_limit_is_over);
})
