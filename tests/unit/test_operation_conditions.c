/* A start whose conditions cannot be looked at. What they say when they can is in test_condition.c.
 */
#include <stdlib.h>
#include <sys/resource.h>

#include "components/operation.h"
#include "life_support.h"
#include "support.h"

static struct scene l;

static void open_scene(const char *more) {
        life_begin(&l, false);
        life_apply(&l, "[Component a]\nStart=manual\nExecStart=sleep 60\n%s", more);
}

static struct component *a(void) {
        return life_component(&l, "a");
}

static struct rlimit descriptors_before;

/* No process can be begun: there is no descriptor to be had for it. */
static void exhaust(void) {
        struct rlimit none;

        ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &descriptors_before), 0);
        none = descriptors_before;
        none.rlim_cur = 0;
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
}

static void relieve(void) {
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &descriptors_before), 0);
}

#define UNTOLD "its conditions could not be checked: no process or memory to be had"

/* A lack is no assertion that fails: it passes. */
START_TEST(conditions_that_cannot_be_looked_at_are_looked_at_again) {
        const struct receipt *r;
        struct job *job;

        if (SKIPPED_UNDER_VALGRIND(VALGRIND_KEEPS_LIMITS))
                return;
        open_scene("ConditionPathExists=!/no/such/path\nRestart=on-failure\nRestartSec=10ms\n"
                   "StartLimitBurst=0\n");
        exhaust();
        job = life_begin_job(&l, JOB_START, "", "a");
        r = life_receipt(&l, job, "a");
        ck_assert_int_eq(r->verdict, VERDICT_FAILED);
        ck_assert_str_eq(r->reason, UNTOLD);
        LIFE_UNTIL(&l, a()->restarts >= 3); /* and goes on when it has failed again */
        ck_assert_str_eq(a()->reason, UNTOLD);
        relieve();
        LIFE_UNTIL(&l, life_is(&l, "a", COMPONENT_READY));
        ck_assert_str_eq(a()->reason, "");
        life_end(&l);
}
END_TEST

START_TEST(conditions_that_cannot_be_looked_at_are_a_failure_for_who_wants_no_restart) {
        struct job *job;

        if (SKIPPED_UNDER_VALGRIND(VALGRIND_KEEPS_LIMITS))
                return;
        open_scene("ConditionPathExists=!/no/such/path\nRestart=no\n");
        exhaust();
        job = life_begin_job(&l, JOB_START, "", "a");
        ck_assert_int_eq(life_receipt(&l, job, "a")->verdict, VERDICT_FAILED);
        relieve();
        ck_assert(life_is(&l, "a", COMPONENT_FAILED));
        ck_assert_str_eq(a()->reason, UNTOLD);
        ck_assert_uint_eq(a()->restarts, 0);
        life_end(&l);
}
END_TEST

/* What serves goes on, and nobody tries again what was asked for once. */
START_TEST(conditions_that_cannot_be_looked_at_leave_what_serves) {
        struct job *job;

        if (SKIPPED_UNDER_VALGRIND(VALGRIND_KEEPS_LIMITS))
                return;
        open_scene("ConditionPathExists=!/no/such/path\nRestart=on-failure\nRestartSec=10ms\n");
        job = life_begin_job(&l, JOB_START, "", "a");
        ck_assert_int_eq(life_receipt(&l, job, "a")->verdict, VERDICT_SERVES);
        exhaust();
        job = life_begin_job(&l, JOB_RESTART, "", "a");
        ck_assert_int_eq(life_receipt(&l, job, "a")->verdict, VERDICT_KEPT);
        relieve();
        ck_assert(life_is(&l, "a", COMPONENT_READY));
        ck_assert_uint_eq(component_generation(a()), 1);
        ck_assert_uint_eq(a()->restarts, 0);
        life_end(&l);
}
END_TEST

SUITE("operation_conditions", {
        TEST(conditions_that_cannot_be_looked_at_are_looked_at_again);
        TEST(conditions_that_cannot_be_looked_at_are_a_failure_for_who_wants_no_restart);
        TEST(conditions_that_cannot_be_looked_at_leave_what_serves);
})
