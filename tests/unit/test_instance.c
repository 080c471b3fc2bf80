/*
 * The life of one process of a generation. First the table itself: every state and every event,
 * with real processes below, but nothing that happens by itself. Then what makes events: commands,
 * ends, deadlines; and the reasons that people are told. Words: test_instance_notify.c.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "life_support.h"
#include "speaker_support.h"
#include "support.h"

static struct scene l;

/* ---- the table --------------------------------------------------------------------------------*/

/*
 * A letter for the state that follows, "." for what does not concern the state:
 * P preparing, S starting, C completing, R ready, D draining, K killed, L cleaning, 0 stopped.
 */
static const char letters[] = "nPSCRDKL0";
_Static_assert(sizeof(letters) - 1 == N_LIVES, "a letter for each state");

/* clang-format off */
static const char *const expected[N_LIVES] = {
        /*                  BEGIN
         *                  | COMMANDS_DONE
         *                  | | COMMAND_FAILED
         *                  | | | IS_READY
         *                  | | | | MAIN_ENDED
         *                  | | | | | TREE_ENDED
         *                  | | | | | | DEADLINE
         *                  | | | | | | | STOP
         *                  | | | | | | | | FAIL
         *                  | | | | | | | | | LEAVES */
        [LIFE_NEW] =        "P S . . . . . 0 0 .",
        [LIFE_PREPARING] =  ". S K . . . K K K .",
        [LIFE_STARTING] =   ". R . C K K D D D D",
        [LIFE_COMPLETING] = ". R D . K K D D D D",
        [LIFE_READY] =      ". . . . D D . D D D",
        [LIFE_DRAINING] =   ". 0 . . . L K D . .",
        [LIFE_KILLED] =     ". 0 . . . L 0 . . .",
        [LIFE_CLEANING] =   ". 0 0 . . . 0 . . .",
        [LIFE_STOPPED] =    ". . . . . . . . . .",
};
/* clang-format on */

/* How each state is come to. */
static const enum life_event ways[N_LIVES][6] = {
        [LIFE_PREPARING] = {LIFE_BEGIN, N_LIFE_EVENTS},
        [LIFE_STARTING] = {LIFE_COMMANDS_DONE, N_LIFE_EVENTS},
        [LIFE_COMPLETING] = {LIFE_COMMANDS_DONE, LIFE_IS_READY, N_LIFE_EVENTS},
        [LIFE_READY] = {LIFE_COMMANDS_DONE, LIFE_COMMANDS_DONE, N_LIFE_EVENTS},
        [LIFE_DRAINING] = {LIFE_COMMANDS_DONE, LIFE_STOP, N_LIFE_EVENTS},
        [LIFE_KILLED] = {LIFE_COMMANDS_DONE, LIFE_STOP, LIFE_DEADLINE, N_LIFE_EVENTS},
        [LIFE_CLEANING] = {LIFE_COMMANDS_DONE, LIFE_STOP, LIFE_TREE_ENDED, N_LIFE_EVENTS},
        [LIFE_STOPPED] = {LIFE_STOP, N_LIFE_EVENTS},
};

static struct instance *come_to(enum life life) {
        struct instance *i = life_make(&l, "a");

        for (const enum life_event *e = ways[life]; life != LIFE_NEW && *e != N_LIFE_EVENTS; e++)
                instance_event(i, *e);
        ck_assert_int_eq(i->life, life);
        return i;
}

/* What holds of a state, however it was come to. */
static void expect_state(const struct instance *i) {
        bool bounded = i->life != LIFE_NEW && i->life != LIFE_READY && i->life != LIFE_STOPPED;

        ck_assert_int_eq(timer_is_started(&i->deadline), bounded);
        ck_assert_int_eq(i->deadline_usec > 0, bounded);
        ck_assert_int_eq(i->started_usec > 0,
                         i->life != LIFE_NEW && i->tree.pid > 0 ? true : i->started_usec > 0);
        ck_assert(i->ready_usec == 0 || i->was_ready);
        ck_assert(i->life != LIFE_READY || i->was_ready);
        ck_assert(!instance_is_ending(i) || i->drain_usec > 0 || i->life == LIFE_CLEANING);
        ck_assert_int_eq(i->ended_usec > 0, i->life == LIFE_STOPPED);
        ck_assert(i->life == LIFE_READY || !timer_is_started(&i->watchdog));
}

/* To its end by events alone, and out of the list. */
static void be_over(struct instance *i) {
        const struct component *c = i->component;

        if (i->tree.pidfd >= 0 && !i->tree.ended)
                process_tree_kill(&i->tree);
        instance_event(i, LIFE_STOP);
        instance_event(i, LIFE_DEADLINE);
        instance_event(i, LIFE_DEADLINE);
        ck_assert_int_eq(i->life, LIFE_STOPPED);
        LIFE_UNTIL(&l, c->n_instances == 0);
}

START_TEST(every_state_and_event) {
        enum life life = (enum life) _i;

        life_begin(&l, false);
        life_apply(&l, "[Component a]\nStart=manual\nType=notify\nExecStartPre=sleep 60\n"
                       "ExecStart=sleep 60\nExecStartPost=sleep 60\nExecStopPost=sleep 60\n");
        life_use_groups(&l);
        for (int event = 0; event < N_LIFE_EVENTS; event++) {
                char letter = expected[life][event * 2];
                struct instance *i = come_to(life);

                expect_state(i);
                instance_event(i, (enum life_event) event);
                ck_assert_msg(letters[letter == '.' ? life : i->life] ==
                                              (letter == '.' ? letters[life] : letter) &&
                                      (letter != '.' || i->life == life),
                              "%c and event %d: %c, not %c", letters[life], event, letters[i->life],
                              letter);
                expect_state(i);
                be_over(i);
        }
        life_end(&l);
}
END_TEST

/* ---- what makes events ------------------------------------------------------------------------*/

START_TEST(one_that_runs_is_ready_and_is_stopped_by_its_signal) {
        const struct instance *end;
        struct instance *i = speaker_start(&l, "ExecStart=sleep 60\n");

        speaker_until(&l, i, LIFE_READY);
        ck_assert_str_eq(i->ready_by, "running");
        ck_assert_uint_gt(i->since_usec, 0);
        instance_stop(i);
        ck_assert_int_eq(i->life, LIFE_DRAINING);
        instance_stop(i); /* nothing more happens */
        end = speaker_until_ended(&l);
        ck_assert_str_eq(end->reason, "");
        ck_assert(end->asked_to_stop && !end->was_killed);
        ck_assert_int_eq(end->tree.end, PROCESS_KILLED);
        ck_assert_int_eq(end->tree.status, SIGTERM);
        ck_assert(life_said(&l, "a: generation 1 starting") && life_said(&l, "generation 1 ready"));
        ck_assert(life_said(&l, "a: generation 1 draining") &&
                  life_said(&l, "generation 1 stopped"));
        life_end(&l);
}
END_TEST

/* How it ends, and what is said of it. */
static const struct {
        const char *config, *reason;
        bool was_ready, executed, killed;
        enum life too_long; /* the state whose time is over when all that comes before is there */
} ends[] = {
        {"Type=exec\nExecStart=/nowhere/x\n",
         "executing the program (/nowhere/x): No such file or directory", false, false, false},
        {"Type=exec\nExecStart=sleep 60\nWorkingDirectory=/none\n",
         "changing to its working directory (/none): No such file or directory", false, false,
         false},
        {"Type=notify\nExecStart=sh -c 'exit 3'\n", "exited with status 3 before it was ready",
         false, true, false},
        {"Type=notify\nExecStart=sh -c 'kill -SEGV $$$$'\n",
         "killed by SIGSEGV before it was ready", false, true, false},
        {"ExecStart=sleep 60\nExecStartPre=sh -c 'exit 4'\n",
         "ExecStartPre=sh: exited with status 4", false, false, false},
        {"ExecStart=sleep 60\nExecStartPre=/nowhere/x\n",
         "executing the program (/nowhere/x): No such file or directory", false, false, false},
        {"ExecStart=sleep 60\nExecStartPost=true\nExecStartPost=sh -c 'exit 5'\n",
         "ExecStartPost=sh: exited with status 5", false, true, false},
        {"ExecStart=sh -c 'until [ -e go ]; do sleep 0.01; done; exit 6'\n", "exited with status 6",
         true, true, false},
        {"ExecStart=sh -c 'until [ -e go ]; do sleep 0.01; done; kill -KILL $$$$'\n",
         "killed by SIGKILL", true, true, false},
        {"Type=notify\nExecStart=sleep 60\nTimeoutStartSec=60\n", NO_WORD, false, true, false,
         LIFE_STARTING},
        {"ExecStartPre=sleep 60\nExecStart=sleep 60\nTimeoutStartSec=100ms\n",
         "ExecStartPre= took longer than TimeoutStartSec= (0.1 s)", false, false, false},
        {"ExecStart=sleep 60\nExecStartPost=sleep 60\nTimeoutStartSec=60\n",
         "ExecStartPost= took longer than TimeoutStartSec= (60 s)", false, true, false,
         LIFE_COMPLETING},
        {"ExecStart=sleep 60\nHealthCheck=exec:false\nTimeoutStartSec=60\n",
         "not healthy within TimeoutStartSec= (60 s); last: ", false, true, false, LIFE_STARTING},
        {"Type=notify\nExecStart=sleep 60\nKillSignal=SIGURG\n" /* whose default is nothing */
         "TimeoutStartSec=60\nTimeoutStopSec=100ms\n",
         NO_WORD, false, true, true, LIFE_STARTING},
};

START_TEST(an_end_that_nobody_asked_for_has_a_reason) {
        struct instance *begun =
                speaker_start(&l, "WorkingDirectory=%s\n%s", test_path("."), ends[_i].config);
        const struct instance *i = &l.ended;

        if (ends[_i].was_ready) {
                speaker_until(&l, begun, LIFE_READY);
                (void) test_write("go", "");
        }
        if (ends[_i].too_long != LIFE_NEW) {
                speaker_until(&l, begun, ends[_i].too_long);
                LIFE_UNTIL(&l, begun->executed && (begun->config->health.kind != HEALTH_EXEC ||
                                                   begun->health_text[0]));
                life_let_pass(begun);
        }
        ck_assert_msg(strncmp(speaker_until_ended(&l)->reason, ends[_i].reason,
                              strlen(ends[_i].reason)) == 0,
                      "it said: %s\nnot: %s", i->reason, ends[_i].reason);
        ck_assert_int_eq(i->cause, strstr(ends[_i].reason, "TimeoutStartSec=") ? END_BY_TIMEOUT
                                   : strstr(ends[_i].config, "ExecStartP")     ? END_BY_COMMAND
                                                                               : END_BY_ITSELF);
        ck_assert(i->was_ready == ends[_i].was_ready && i->executed == ends[_i].executed);
        ck_assert_int_eq(i->was_killed && i->tree.end == PROCESS_KILLED &&
                                 i->tree.status == SIGKILL && !ends[_i].was_ready,
                         ends[_i].killed);
        ck_assert(!i->asked_to_stop && (i->tree.pidfd < 0 || i->tree.ended));
        life_end(&l);
}
END_TEST

START_TEST(commands_run_in_their_order) {
        const struct instance *end;
        struct instance *i =
                speaker_start(&l,
                              "ExecStartPre=-sh -c 'echo pre1 >>notes; exit 1'\n"
                              "ExecStartPre=sh -c 'echo pre2 >>notes'\n"
                              "ExecStart=sh -c 'echo main >>notes; exec sleep 60'\n"
                              "ExecStartPost=sh -c 'until grep -q main notes; do :; done; "
                              "echo post >>notes'\n"
                              "ExecStop=sh -c 'echo stop >>notes; kill -0 $$MAINPID && "
                              "echo alive >>notes'\n"
                              "ExecStopPost=sh -c 'kill -0 $$MAINPID || echo clean >>notes'\n"
                              "WorkingDirectory=%s\n",
                              test_folder());

        speaker_until(&l, i, LIFE_READY);
        ck_assert_str_eq(life_read("notes"), "pre1 pre2 main post");
        instance_stop(i);
        end = speaker_until_ended(&l);
        ck_assert_str_eq(life_read("notes"), "pre1 pre2 main post stop alive clean");
        ck_assert_str_eq(end->reason, "");
        life_end(&l);
}
END_TEST

START_TEST(what_a_failed_start_left_is_cleaned_up) {
        const struct instance *end;

        (void) speaker_start(&l,
                             "ExecStartPre=false\nExecStart=sleep 60\n"
                             "ExecStopPost=touch %s\n",
                             test_path("cleaned"));
        end = speaker_until_ended(&l);
        ck_assert(life_exists("cleaned"));
        ck_assert_int_eq(end->tree.pid, 0);
        life_end(&l);
}
END_TEST

START_TEST(a_clean_up_that_hangs_or_fails_is_bounded) {
        const struct instance *end;
        struct instance *i = speaker_start(&l, "ExecStart=sleep 60\n%s\n",
                                           _i == 0 ? "TimeoutStopSec=200ms\nExecStopPost=sleep 60"
                                                   : "ExecStopPost=sh -c 'exit 7'");

        speaker_until(&l, i, LIFE_READY);
        instance_stop(i);
        end = speaker_until_ended(&l);
        ck_assert_str_eq(end->reason, "");
        ck_assert_int_eq(life_said(&l, "ExecStopPost=sh: exited with status 7"), _i == 1);
        life_end(&l);
}
END_TEST

START_TEST(who_ignores_the_signal_is_killed_with_all_that_it_forked) {
        const struct instance *end;
        struct instance *i =
                speaker_start(&l,
                              "ExecStart=sh -c 'trap \"\" TERM; sleep 60 & touch %s; wait'\n"
                              "TimeoutStopSec=100ms\n",
                              test_path("forked"));
        unsigned long before;

        LIFE_UNTIL(&l, i->life == LIFE_READY && life_exists("forked"));
        before = test_msec();
        instance_stop(i);
        speaker_until(&l, i, LIFE_KILLED);
        ck_assert_uint_ge(test_msec() - before, 95);
        end = speaker_until_ended(&l);
        ck_assert(end->was_killed && end->tree.ended);
        ck_assert(life_said(&l, "a: generation 1 killed"));
        life_end(&l);
}
END_TEST

START_TEST(without_a_limit_a_drain_lasts) {
        struct instance *i =
                speaker_start(&l,
                              "ExecStart=sh -c 'trap \"\" TERM; touch %s; while :; do sleep "
                              "0.01; done'\nTimeoutStopSec=infinity\n",
                              test_path("trapped"));

        LIFE_UNTIL(&l, i->life == LIFE_READY && life_exists("trapped"));
        instance_stop(i);
        life_pass(&l, 50);
        ck_assert_int_eq(i->life, LIFE_DRAINING);
        ck_assert(!timer_is_started(&i->deadline));
        component_table_kill_all(l.table);
        (void) speaker_until_ended(&l);
        life_end(&l);
}
END_TEST

/* KillMode=: who is told, and who is left. */
START_TEST(the_stop_signal_goes_where_it_is_to) {
        const struct instance *end;
        static const char *const modes[] = {"control-group", "mixed", "process"};
        struct instance *i = speaker_start(
                &l,
                "ExecStart=sh -c 'sh -c \"trap \\'touch %s; exit\\' TERM; touch %s; while :; do "
                "sleep 0.01; done\" & wait'\nKillMode=%s\n",
                test_path("told"), test_path("forked"), modes[_i]);
        pid_t group;

        LIFE_UNTIL(&l, i->life == LIFE_READY && life_exists("forked"));
        group = i->tree.pid;
        instance_stop(i);
        end = speaker_until_ended(&l);
        ck_assert_int_eq(life_exists("told"), _i == 0);
        ck_assert_int_eq(end->tree.ended, _i < 2);
        if (_i == 2)
                ck_assert_int_eq(kill(-group, SIGKILL), 0);
        life_end(&l);
}
END_TEST

/* ---- reload -----------------------------------------------------------------------------------*/

static const struct {
        const char *command, *reason;
} reloads[] = {
        {"true", ""},
        {"sh -c 'exit 8'", "ExecReload=sh: exited with status 8"},
        {"sleep 60", "reloading took longer than TimeoutStartSec= (60 s)"},
};

START_TEST(a_reload_ends_well_or_says_why_and_it_serves_on) {
        struct instance *i = speaker_start(
                &l, "ExecStart=sleep 60\nExecReload=%s\nTimeoutStartSec=60\n", reloads[_i].command);

        ck_assert_int_eq(instance_reload(i), -ESRCH);
        speaker_until(&l, i, LIFE_READY);
        ck_assert(instance_reload(i) == 0 && i->reloading);
        ck_assert_int_eq(instance_reload(i), -EBUSY);
        if (strncmp(reloads[_i].command, "sleep", 5) == 0)
                life_let_pass(i);
        LIFE_UNTIL(&l, !i->reloading);
        ck_assert_str_eq(i->reason, reloads[_i].reason);
        ck_assert_int_eq(i->life, LIFE_READY);
        ck_assert(i->control_tree.pidfd < 0);
        /* once more: what it said is forgotten */
        ck_assert_int_eq(instance_reload(i), 0);
        ck_assert_str_eq(i->reason, "");
        life_end(&l);
}
END_TEST

START_TEST(the_time_of_a_reload_ends_with_it) {
        struct instance *i =
                speaker_start(&l, "ExecStart=sleep 60\nExecReload=true\nTimeoutStartSec=60\n");

        speaker_until(&l, i, LIFE_READY);
        ck_assert_int_eq(instance_reload(i), 0);
        ck_assert(timer_is_started(&i->deadline));
        LIFE_UNTIL(&l, !i->reloading);
        /* Else it would end the next one, by itself, as RELOADING=1 says. */
        ck_assert(!timer_is_started(&i->deadline) && i->deadline_usec == 0);
        ck_assert_str_eq(i->reason, "");
        life_end(&l);
}
END_TEST

START_TEST(without_a_command_it_is_told_by_sighup) {
        struct instance *i =
                speaker_start(&l,
                              "ExecStart=sh -c 'trap \"touch %s\" HUP; touch %s; while :; do "
                              "sleep 0.01; done'\n",
                              test_path("hup"), test_path("trapped"));

        LIFE_UNTIL(&l, i->life == LIFE_READY && life_exists("trapped"));
        ck_assert(instance_reload(i) == 0 && !i->reloading);
        LIFE_UNTIL(&l, life_exists("hup"));
        life_end(&l);
}
END_TEST

/* A failure while it drains already changes nothing, and what was said first stays. */
START_TEST(the_first_reason_stays) {
        const struct instance *end;
        struct instance *i = speaker_start(&l, "ExecStart=sleep 60\n");

        speaker_until(&l, i, LIFE_READY);
        instance_fail(i, END_BY_WATCHDOG, "the %s", "first");
        instance_fail(i, END_BY_TIMEOUT, "the second");
        ck_assert_int_eq(i->life, LIFE_DRAINING);
        ck_assert_str_eq(i->reason, "the first");
        end = speaker_until_ended(&l);
        ck_assert_str_eq(end->reason, "the first");
        ck_assert_int_eq(end->cause, END_BY_WATCHDOG);
        life_end(&l);
}
END_TEST

int main(int argc, char *argv[]) {
        Suite *suite = suite_create("instance");
        TCase *tests_ = tcase_create("instance");

        if (argc > 1 && strcmp(argv[1], "play") == 0)
                return speaker_play(argv + 2);
        tcase_add_checked_fixture(tests_, support_setup, support_teardown);
        tcase_set_timeout(tests_, 60);
        tcase_add_loop_test(tests_, every_state_and_event, 0, N_LIVES);
        TEST(one_that_runs_is_ready_and_is_stopped_by_its_signal);
        tcase_add_loop_test(tests_, an_end_that_nobody_asked_for_has_a_reason, 0,
                            sizeof(ends) / sizeof(ends[0]));
        TEST(commands_run_in_their_order);
        TEST(what_a_failed_start_left_is_cleaned_up);
        tcase_add_loop_test(tests_, a_clean_up_that_hangs_or_fails_is_bounded, 0, 2);
        TEST(who_ignores_the_signal_is_killed_with_all_that_it_forked);
        TEST(without_a_limit_a_drain_lasts);
        tcase_add_loop_test(tests_, the_stop_signal_goes_where_it_is_to, 0, 3);
        tcase_add_loop_test(tests_, a_reload_ends_well_or_says_why_and_it_serves_on, 0,
                            sizeof(reloads) / sizeof(reloads[0]));
        TEST(the_time_of_a_reload_ends_with_it);
        TEST(without_a_command_it_is_told_by_sighup);
        TEST(the_first_reason_stays);
        suite_add_tcase(suite, tests_);
        return support_run(suite);
}
