/* What was asked for is under way in a way that is easily taken for another by the broker after
 * that. */
#include <stdio.h>
#include <stdlib.h>

#include "components/operation.h"
#include "life_support.h"
#include "support.h"

static struct scene l, next;

/* Generation 2 of "a" is ready when there is a file "a2"; "a" comes after "z", and "b" after "a".
 */
static const char *config(void) {
        static char text[4096];
        int n = 0;

        for (const char *name = "abz"; *name; name++)
                n += snprintf(text + n, sizeof(text) - (size_t) n,
                              "[Component %c]\nStart=manual\nExecStart=sleep 60\nAfter=%s\n"
                              "ExecStartPost=sh %s %c\n",
                              *name,
                              *name == 'a'   ? "z"
                              : *name == 'b' ? "a"
                                             : "",
                              test_path("gate.sh"), *name);
        return text;
}

/* One of each is to be had, "a" runs, and its generation 2 is starting. */
static struct job *begin(void) {
        struct job *job;

        life_begin(&l, true);
        test_write("gate.sh", "cd \"${0%/*}\"\n"
                              "until test -e $1$FDPASS_GENERATION -o ! -e gate.sh; do\n"
                              "        sleep 0.01\n"
                              "done\n");
        life_apply(&l, "%s", config());
        test_write("a1", "");
        LIFE_UNTIL(&l, life_begin_job(&l, JOB_START, "first", "a")->finished);
        job = life_begin_job(&l, JOB_RESTART, "restart", "a");
        LIFE_UNTIL(&l, life_instance(&l, "a", 2));
        return job;
}

static void die(void) {
        life_die(&l, &next);
        life_apply(&next, "%s", config());
}

static void serves(const char *id, const char *name, uint64_t generation) {
        const struct receipt *r = life_receipt(&next, job_find(next.table, id), name);

        ck_assert_str_eq(r->reason, "");
        ck_assert_int_eq(r->verdict, VERDICT_SERVES);
        ck_assert_uint_eq(r->generation, generation);
}

/* The one that came first is found first: `starts_first`, the start, though it had to wait. */
static void check_joined(bool starts_first, bool begun) {
        struct job *first = begin(), *start = NULL;

        if (starts_first)
                start = life_begin_job(&l, JOB_START, "start", "z a b");
        (void) life_begin_job(&l, JOB_RESTART, "again", "a");
        if (!starts_first)
                start = life_begin_job(&l, JOB_START, "start", "a b");
        test_write("z1", "");
        LIFE_UNTIL(&l, start->items[starts_first].operation); /* of "a": the restart that waits */
        if (begun) {
                test_write("a2", "");
                LIFE_UNTIL(&l, first->finished && life_instance(&l, "a", 3));
        }
        die();
        test_write("a2", "");
        test_write("a3", "");
        test_write("b1", "");
        serves("again", "a", 3);
        serves("start", "a", 3);
        serves("start", "b", 1);
        ck_assert_uint_eq(component_generation(life_component(&next, "a")), 3);
        life_end(&next);
}

START_TEST(a_start_that_had_joined_a_restart_has_its_verdict) {
        check_joined(false, true);
}
END_TEST

START_TEST(also_when_the_start_was_there_first) {
        check_joined(true, true);
}
END_TEST

START_TEST(also_when_the_restart_had_not_begun) {
        check_joined(false, false);
}
END_TEST

START_TEST(also_when_it_had_not_begun_and_the_start_was_there_first) {
        check_joined(true, false);
}
END_TEST

/* A restart that waits takes the place of a start that waits, in whose job others come next. */
START_TEST(what_begins_while_jobs_are_found_again_begins_once) {
        begin();
        (void) life_begin_job(&l, JOB_RESTART, "waits", "z a");
        LIFE_UNTIL(&l, life_instance(&l, "z", 1));
        (void) life_begin_job(&l, JOB_RESTART, "again", "a");
        (void) life_begin_job(&l, JOB_START, "start", "a b");
        test_write("a2", "");
        LIFE_UNTIL(&l, life_instance(&l, "a", 3));
        test_write("z1", "");
        LIFE_UNTIL(&l, life_component(&l, "a")->next);
        die();
        test_write("a3", "");
        test_write("a4", "");
        test_write("b1", "");
        serves("again", "a", 3);
        serves("start", "a", 3);
        serves("waits", "a", 4);
        serves("start", "b", 1);
        life_end(&next);
}
END_TEST

/* It died after it had written that the stop has begun, and before it wrote what is wanted now. */
START_TEST(a_stop_goes_on_that_had_only_just_begun) {
        begin();
        (void) life_begin_job(&l, JOB_STOP, "stop", "a");
        component_set_goal(life_component(&l, "a"), GOAL_RUNNING, "");
        die();
        ck_assert_int_eq(life_receipt(&next, job_find(next.table, "stop"), "a")->verdict,
                         VERDICT_DONE);
        ck_assert(life_is(&next, "a", COMPONENT_STOPPED));
        life_end(&next);
}
END_TEST

/* All that makes it known is its instance, and nobody knows what that was to run. */
START_TEST(nothing_is_started_of_one_that_is_not_configured_any_more) {
        life_begin(&l, true);
        life_apply(&l, "[Component a]\nExecStartPre=sleep 60\nExecStart=sleep 60\n");
        LIFE_UNTIL(&l, life_instance(&l, "a", 1));
        LIFE_UNTIL(&l, life_instance(&l, "a", 1)->control_tree.pidfd >= 0);
        life_die(&l, &next);
        life_apply(&next, "[Component b]\nStart=manual\nExecStart=sleep 60\n");
        LIFE_UNTIL(&next, !component_find(next.table, "a"));
        ck_assert_int_eq(next.ended.tree.pid, 0);
        life_end(&next);
}
END_TEST

SUITE("job_kept", {
        TEST(a_stop_goes_on_that_had_only_just_begun);
        TEST(nothing_is_started_of_one_that_is_not_configured_any_more);
        TEST(a_start_that_had_joined_a_restart_has_its_verdict);
        TEST(also_when_the_start_was_there_first);
        TEST(also_when_the_restart_had_not_begun);
        TEST(also_when_it_had_not_begun_and_the_start_was_there_first);
        TEST(what_begins_while_jobs_are_found_again_begins_once);
})
