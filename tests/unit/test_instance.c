/*
 * The life of one process of a generation. First the table itself: every state and every event,
 * with real processes below, but nothing that happens by itself. Then what makes events: commands,
 * ends, deadlines, words on the notify socket; and the reasons that people are told.
 *
 * A component that speaks is this program again: main() plays the words of its arguments.
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "life_support.h"
#include "message.h"
#include "support.h"

static struct scene l;

/* ---- a component that speaks ------------------------------------------------------------------*/

static void say(const char *text) {
        struct sockaddr_un un = {.sun_family = AF_UNIX};
        const char *path = getenv("NOTIFY_SOCKET");
        int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        char packet[256];

        (void) snprintf(un.sun_path, sizeof(un.sun_path), "%s", path ? path : "");
        if (path && path[0] == '@')
                un.sun_path[0] = '\0';
        (void) snprintf(packet, sizeof(packet), "%s", text);
        for (char *p = packet; *p; p++)
                if (*p == '+')
                        *p = '\n';
        (void) !sendto(s, packet, strlen(packet), 0, (struct sockaddr *) &un,
                       path && path[0] == '@'
                               ? (socklen_t) (offsetof(struct sockaddr_un, sun_path) + strlen(path))
                               : sizeof(un));
        close(s);
}

/*
 * "KEY=VALUE" is said ("+" for a newline), "@FILE" waited for, "!FILE" made when a SIGHUP comes,
 * ":3" exits. At the end it lives on, but not for ever: a test that failed leaves nothing behind.
 */
static int play(char **words) {
        char mypid[32];

        (void) signal(SIGALRM, SIG_DFL);
        (void) alarm(60);
        for (; *words; words++) {
                if (**words == '@')
                        while (access(*words + 1, F_OK) < 0)
                                (void) usleep(2000);
                else if (**words == ':')
                        _exit(**words - ':' + (*words)[1] - '0');
                else if (strcmp(*words, "SELF") == 0) {
                        (void) snprintf(mypid, sizeof(mypid), "MAINPID=%d", (int) getpid());
                        say(mypid);
                } else
                        say(*words);
        }
        for (;;)
                (void) pause();
}

/* The beginning of a command line: this program, and that it is to play. */
static const char *program(void) {
        static char text[512];
        ssize_t n = readlink("/proc/self/exe", text, sizeof(text) - 16);

        ck_assert_int_gt(n, 0);
        (void) strcpy(text + n, " play");
        return text;
}

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

static struct instance *start(const char *format, ...) __attribute__((format(printf, 1, 2)));

static struct instance *start(const char *format, ...) {
        char text[4096];
        va_list arguments;
        struct instance *i;

        va_start(arguments, format);
        (void) vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);
        life_begin(&l, false);
        life_apply(&l, "[Component a]\nStart=manual\n%s\n", text);
        i = life_make(&l, "a");
        instance_begin(i);
        return i;
}

static void until(const struct instance *i, enum life life) {
        LIFE_UNTIL(&l, l.n_ended > 0 || i->life == life);
        ck_assert_msg(l.n_ended == 0, "it ended: %s\n%s", l.ended.reason, l.said);
}

/* It is gone by then; as it was. */
static const struct instance *until_ended(void) {
        LIFE_UNTIL(&l, l.n_ended > 0);
        return &l.ended;
}

START_TEST(one_that_runs_is_ready_and_is_stopped_by_its_signal) {
        const struct instance *end;
        struct instance *i = start("ExecStart=sleep 60\n");

        until(i, LIFE_READY);
        ck_assert_str_eq(i->ready_by, "running");
        ck_assert_uint_gt(i->since_usec, 0);
        instance_stop(i);
        ck_assert_int_eq(i->life, LIFE_DRAINING);
        instance_stop(i); /* nothing more happens */
        end = until_ended();
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

#define NO_WORD "not ready within TimeoutStartSec= (60 s): it has not said READY=1"

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
        struct instance *begun = start("WorkingDirectory=%s\n%s", test_path("."), ends[_i].config);
        const struct instance *i = &l.ended;

        if (ends[_i].was_ready) {
                until(begun, LIFE_READY);
                (void) test_write("go", "");
        }
        if (ends[_i].too_long != LIFE_NEW) {
                until(begun, ends[_i].too_long);
                LIFE_UNTIL(&l, begun->executed && (begun->config->health.kind != HEALTH_EXEC ||
                                                   begun->health_text[0]));
                life_let_pass(begun);
        }
        ck_assert_msg(strncmp(until_ended()->reason, ends[_i].reason, strlen(ends[_i].reason)) == 0,
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
        struct instance *i = start("ExecStartPre=-sh -c 'echo pre1 >>notes; exit 1'\n"
                                   "ExecStartPre=sh -c 'echo pre2 >>notes'\n"
                                   "ExecStart=sh -c 'echo main >>notes; exec sleep 60'\n"
                                   "ExecStartPost=sh -c 'until grep -q main notes; do :; done; "
                                   "echo post >>notes'\n"
                                   "ExecStop=sh -c 'echo stop >>notes; kill -0 $$MAINPID && "
                                   "echo alive >>notes'\n"
                                   "ExecStopPost=sh -c 'kill -0 $$MAINPID || echo clean >>notes'\n"
                                   "WorkingDirectory=%s\n",
                                   test_folder());

        until(i, LIFE_READY);
        ck_assert_str_eq(life_read("notes"), "pre1 pre2 main post");
        instance_stop(i);
        end = until_ended();
        ck_assert_str_eq(life_read("notes"), "pre1 pre2 main post stop alive clean");
        ck_assert_str_eq(end->reason, "");
        life_end(&l);
}
END_TEST

START_TEST(what_a_failed_start_left_is_cleaned_up) {
        const struct instance *end;

        (void) start("ExecStartPre=false\nExecStart=sleep 60\n"
                     "ExecStopPost=touch %s\n",
                     test_path("cleaned"));
        end = until_ended();
        ck_assert(life_exists("cleaned"));
        ck_assert_int_eq(end->tree.pid, 0);
        life_end(&l);
}
END_TEST

START_TEST(a_clean_up_that_hangs_or_fails_is_bounded) {
        const struct instance *end;
        struct instance *i = start("ExecStart=sleep 60\n%s\n",
                                   _i == 0 ? "TimeoutStopSec=200ms\nExecStopPost=sleep 60"
                                           : "ExecStopPost=sh -c 'exit 7'");

        until(i, LIFE_READY);
        instance_stop(i);
        end = until_ended();
        ck_assert_str_eq(end->reason, "");
        ck_assert_int_eq(life_said(&l, "ExecStopPost=sh: exited with status 7"), _i == 1);
        life_end(&l);
}
END_TEST

START_TEST(who_ignores_the_signal_is_killed_with_all_that_it_forked) {
        const struct instance *end;
        struct instance *i = start("ExecStart=sh -c 'trap \"\" TERM; sleep 60 & touch %s; wait'\n"
                                   "TimeoutStopSec=100ms\n",
                                   test_path("forked"));
        unsigned long before;

        LIFE_UNTIL(&l, i->life == LIFE_READY && life_exists("forked"));
        before = test_msec();
        instance_stop(i);
        until(i, LIFE_KILLED);
        ck_assert_uint_ge(test_msec() - before, 95);
        end = until_ended();
        ck_assert(end->was_killed && end->tree.ended);
        ck_assert(life_said(&l, "a: generation 1 killed"));
        life_end(&l);
}
END_TEST

START_TEST(without_a_limit_a_drain_lasts) {
        struct instance *i = start("ExecStart=sh -c 'trap \"\" TERM; touch %s; while :; do sleep "
                                   "0.01; done'\nTimeoutStopSec=infinity\n",
                                   test_path("trapped"));

        LIFE_UNTIL(&l, i->life == LIFE_READY && life_exists("trapped"));
        instance_stop(i);
        life_pass(&l, 50);
        ck_assert_int_eq(i->life, LIFE_DRAINING);
        ck_assert(!timer_is_started(&i->deadline));
        component_table_kill_all(l.table);
        (void) until_ended();
        life_end(&l);
}
END_TEST

/* KillMode=: who is told, and who is left. */
START_TEST(the_stop_signal_goes_where_it_is_to) {
        const struct instance *end;
        static const char *const modes[] = {"control-group", "mixed", "process"};
        struct instance *i = start(
                "ExecStart=sh -c 'sh -c \"trap \\'touch %s; exit\\' TERM; touch %s; while :; do "
                "sleep 0.01; done\" & wait'\nKillMode=%s\n",
                test_path("told"), test_path("forked"), modes[_i]);
        pid_t group;

        LIFE_UNTIL(&l, i->life == LIFE_READY && life_exists("forked"));
        group = i->tree.pid;
        instance_stop(i);
        end = until_ended();
        ck_assert_int_eq(life_exists("told"), _i == 0);
        ck_assert_int_eq(end->tree.ended, _i < 2);
        if (_i == 2)
                ck_assert_int_eq(kill(-group, SIGKILL), 0);
        life_end(&l);
}
END_TEST

START_TEST(its_word_is_what_makes_it_ready) {
        struct instance *i =
                start("Type=notify\nExecStart=%s @%s STATUS=busy+ERRNO=5 READY=1 @%s SELF\n",
                      program(), test_path("go"), test_path("more"));

        life_pass(&l, 50);
        ck_assert_int_eq(i->life, LIFE_STARTING);
        test_write("go", "");
        until(i, LIFE_READY);
        ck_assert_str_eq(i->status, "busy");
        ck_assert_int_eq(i->notify_error, 5);
        ck_assert_str_eq(i->ready_by, "its own word (READY=1)");
        test_write("more", "");
        life_pass(&l, 20);
        ck_assert_int_eq(i->life, LIFE_READY);
        life_end(&l);
}
END_TEST

START_TEST(who_says_ready_and_ends_is_not_ready_for_long) {
        const struct instance *end;

        (void) start("Type=notify\nExecStart=%s READY=1 :5\n", program());
        end = until_ended();
        ck_assert_msg(strncmp(end->reason, "exited with status 5", 20) == 0, "%s", end->reason);
        life_end(&l);
}
END_TEST

/* ERRNO= is why: with the end of a start, and with one after it had served. EXIT_STATUS= stands
 * beside it; 0 is one, too. */
START_TEST(its_end_says_what_it_had_said) {
        static const char *const reasons[] = {
                "exited with status 3 before it was ready; it said: No such file or directory",
                "exited with status 3; it said: No such file or directory",
                "exited with status 3; it said: No such file or directory, EXIT_STATUS=0"};
        const struct instance *end;
        struct instance *i =
                start("Type=notify\nExecStart=%s ERRNO=5 STATUS=hm %s %s ERRNO=2 @%s :3\n",
                      program(), _i == 0 ? "STATUS=hm" : "READY=1",
                      _i == 2 ? "EXIT_STATUS=7 EXIT_STATUS=0" : "STATUS=hm", test_path("go"));

        LIFE_UNTIL(&l, i->notify_error == 2);
        if (_i > 0)
                until(i, LIFE_READY);
        test_write("go", "");
        end = until_ended();
        ck_assert_str_eq(end->reason, reasons[_i]);
        life_end(&l);
}
END_TEST

/* STOPPING=1: neither ExecStop= nor a signal tells it what it does already, and nothing watches it.
 */
START_TEST(who_says_that_it_ends_is_left_in_peace) {
        const struct instance *end;
        struct instance *i =
                start("Type=notify\nExecStart=%s READY=1 @%s STOPPING=1 READY=1 "
                      "WATCHDOG=1 STATUS=bye @%s :3\nExecStop=touch %s\n"
                      "WatchdogSec=60\nHealthCheck=exec:true\n",
                      program(), test_path("go"), test_path("gone"), test_path("told"));
        pid_t pid = i->tree.pid;

        until(i, LIFE_READY);
        ck_assert(timer_is_started(&i->watchdog));
        test_write("go", "");
        LIFE_UNTIL(&l, strcmp(i->status, "bye") == 0);
        ck_assert_int_eq(i->life, LIFE_DRAINING);
        ck_assert_str_eq(instance_reason(i), "it said STOPPING=1");
        ck_assert(life_said(&l, "a: generation 1 draining: it said STOPPING=1"));
        ck_assert(!timer_is_started(&i->watchdog) && i->n_probing == 0 && !i->signaled);
        ck_assert(timer_is_started(&i->deadline));
        life_pass(&l, 30);
        ck_assert_int_eq(kill(pid, 0), 0);
        test_write("gone", "");
        end = until_ended();
        ck_assert_str_eq(end->reason, "exited with status 3; it said: STOPPING=1");
        ck_assert_int_eq(end->cause, END_BY_ITSELF);
        ck_assert(!end->asked_to_stop && !end->was_killed);
        ck_assert(!life_exists("told"));
        life_end(&l);
}
END_TEST

START_TEST(who_says_that_it_ends_before_it_is_ready_has_failed_when_it_has) {
        const struct instance *end;
        struct instance *i = start("Type=notify\nExecStart=%s STOPPING=1 READY=1 @%s ERRNO=2 :3\n"
                                   "TimeoutStartSec=60\nTimeoutStopSec=30\n",
                                   program(), test_path("go"));

        until(i, LIFE_DRAINING);
        ck_assert_uint_le(i->deadline_usec, loop_now_usec() + 30 * 1000 * 1000);
        ck_assert(!i->was_ready);
        test_write("go", "");
        end = until_ended();
        ck_assert_str_eq(end->reason, "exited with status 3 before it was ready; it said: "
                                      "STOPPING=1, No such file or directory");
        ck_assert(!end->was_ready);
        life_end(&l);
}
END_TEST

START_TEST(who_says_so_and_does_not_end_is_killed) {
        const struct instance *end;

        (void) start("Type=notify\nExecStart=%s %s STOPPING=1\nTimeoutStopSec=100ms\n", program(),
                     _i == 0 ? "READY=1" : "STATUS=hm");
        end = until_ended();
        ck_assert_str_eq(end->reason,
                         "it said STOPPING=1 and did not end within TimeoutStopSec= (0.1 s)");
        ck_assert_int_eq(end->cause, END_BY_TIMEOUT);
        ck_assert_int_eq(end->tree.end, PROCESS_KILLED);
        ck_assert_int_eq(end->tree.status, SIGKILL); /* and by no signal before it */
        ck_assert(end->was_killed && !end->asked_to_stop);
        life_end(&l);
}
END_TEST

START_TEST(the_rest_of_who_leaves_is_told_when_the_main_process_has_gone) {
        const struct instance *end;
        struct instance *i =
                start("Type=notify\nTimeoutStopSec=60\n"
                      "ExecStart=sh -c 'sh -c \"trap \\'touch %s; exit\\' TERM; touch %s; "
                      "while :; do sleep 0.01; done\" & exec %s READY=1 @%s STOPPING=1 @%s :0'\n",
                      test_path("told"), test_path("forked"), program(), test_path("leave"),
                      test_path("go"));

        LIFE_UNTIL(&l, i->life == LIFE_READY && life_exists("forked"));
        test_write("leave", "");
        until(i, LIFE_DRAINING);
        life_pass(&l, 30);
        ck_assert(!life_exists("told"));
        test_write("go", "");
        end = until_ended();
        ck_assert(life_exists("told") && end->tree.ended && !end->was_killed);
        ck_assert_str_eq(end->reason, "exited with status 0; it said: STOPPING=1");
        life_end(&l);
}
END_TEST

START_TEST(time_to_end_can_be_asked_for_in_the_same_breath) {
        uint64_t begin = loop_now_usec();
        struct instance *i = start("Type=notify\nExecStart=%s "
                                   "READY=1+STOPPING=1+EXTEND_TIMEOUT_USEC=30000000\n"
                                   "TimeoutStopSec=500ms\n",
                                   program());

        until(i, LIFE_DRAINING);
        ck_assert_uint_ge(i->deadline_usec, begin + 30 * 1000 * 1000);
        ck_assert_int_eq(kill(i->tree.pid, SIGKILL), 0); /* it would take that time */
        life_end(&l);
}
END_TEST

START_TEST(who_was_told_to_stop_says_nothing_new) {
        const struct instance *end;
        struct instance *i = start("Type=notify\nExecStart=%s READY=1 @%s STOPPING=1 STATUS=bye\n"
                                   "ExecStop=sh -c 'until [ -e %s ]; do sleep 0.01; done'\n",
                                   program(), test_path("go"), test_path("stop"));
        uint64_t deadline_usec;

        until(i, LIFE_READY);
        instance_stop(i);
        deadline_usec = i->deadline_usec;
        test_write("go", "");
        LIFE_UNTIL(&l, strcmp(i->status, "bye") == 0);
        ck_assert_int_eq(i->life, LIFE_DRAINING);
        ck_assert_uint_eq(i->deadline_usec, deadline_usec);
        ck_assert_str_eq(instance_reason(i), "");
        test_write("stop", "");
        end = until_ended();
        ck_assert(end->asked_to_stop && !end->leaves);
        ck_assert_int_eq(end->tree.status, SIGTERM);
        ck_assert_str_eq(end->reason, "");
        life_end(&l);
}
END_TEST

/* There may be nobody to take what came with a packet that is refused. */
START_TEST(descriptors_that_nobody_wants_are_closed) {
        struct sockaddr_un un = {.sun_family = AF_UNIX};
        struct instance *i = start("Type=notify\nExecStart=sleep 60\n");
        unsigned before;
        size_t length;
        int s;

        LIFE_UNTIL(&l, i->executed); /* with nothing open for that any more */
        length = strlen(i->notify.path);
        ck_assert(!l.table->callbacks.dispose && length < sizeof(un.sun_path));
        s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        memcpy(un.sun_path, i->notify.path, length);
        if (un.sun_path[0] == '@')
                un.sun_path[0] = '\0';
        ck_assert_int_eq(connect(s, (struct sockaddr *) &un,
                                 (socklen_t) (offsetof(struct sockaddr_un, sun_path) + length +
                                              (un.sun_path[0] != '\0'))),
                         0);
        before = test_open_fds();
        ck_assert_int_eq(message_send(s, "READY=1", 7, &s, 1), 0);
        LIFE_UNTIL(&l, life_said(&l, "a notification of pid"));
        ck_assert_uint_eq(test_open_fds(), before);
        close(s);
        life_end(&l);
}
END_TEST

START_TEST(others_cannot_speak_for_it) {
        const struct instance *end;
        struct instance *i = start("Type=notify\nExecStart=sleep 60\nTimeoutStartSec=60\n");

        LIFE_UNTIL(&l, i->notify.path[0]);
        (void) setenv("NOTIFY_SOCKET", i->notify.path, 1);
        say("READY=1");
        (void) unsetenv("NOTIFY_SOCKET");
        LIFE_UNTIL(&l, life_said(&l, "a notification of pid")); /* which is refused */
        life_let_pass(i);
        end = until_ended();
        ck_assert(!end->was_ready);
        ck_assert_str_eq(end->reason, NO_WORD);
        life_end(&l);
}
END_TEST

START_TEST(a_foreign_main_pid_is_refused) {
        struct instance *i =
                start("Type=notify\nExecStart=%s MAINPID=%d READY=1\n", program(), (int) getpid());
        pid_t pid = i->tree.pid;

        until(i, LIFE_READY);
        ck_assert_int_eq(i->tree.pid, pid);
        ck_assert(life_said(&l, "is refused: it is none of its processes"));
        life_end(&l);
}
END_TEST

START_TEST(more_time_can_be_asked_for_and_not_less) {
        struct instance *i = start("Type=notify\nExecStart=%s EXTEND_TIMEOUT_USEC=1 "
                                   "EXTEND_TIMEOUT_USEC=90000000 STATUS=asked\n"
                                   "TimeoutStartSec=60\n",
                                   program());
        uint64_t before = i->deadline_usec;

        LIFE_UNTIL(&l, i->status[0]);
        ck_assert_uint_ge(i->deadline_usec, before + 30 * 1000 * 1000);
        ck_assert(timer_is_started(&i->deadline));
        life_end(&l);
}
END_TEST

START_TEST(who_does_not_feed_its_watchdog_is_told_with_its_own_signal) {
        const struct instance *end;
        struct instance *i =
                start("Type=notify\nExecStart=%s READY=1 @%s %s\nWatchdogSec=%s\n"
                      "WatchdogSignal=SIGUSR1\n",
                      program(), test_path("go"), _i == 0 ? "STATUS=x" : "WATCHDOG=trigger",
                      _i == 0 ? "100ms" : "60");

        until(i, LIFE_READY);
        test_write("go", "");
        end = until_ended();
        ck_assert(end->was_ready);
        ck_assert_str_eq(end->reason, _i == 0 ? "no WATCHDOG=1 for 100 ms (WatchdogSec=)"
                                              : "it said WATCHDOG=trigger");
        ck_assert_int_eq(end->cause, END_BY_WATCHDOG);
        ck_assert_int_eq(end->tree.status, SIGUSR1);
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
        struct instance *i = start("ExecStart=sleep 60\nExecReload=%s\nTimeoutStartSec=60\n",
                                   reloads[_i].command);

        ck_assert_int_eq(instance_reload(i), -ESRCH);
        until(i, LIFE_READY);
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
        struct instance *i = start("ExecStart=sleep 60\nExecReload=true\nTimeoutStartSec=60\n");

        until(i, LIFE_READY);
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
        struct instance *i = start("ExecStart=sh -c 'trap \"touch %s\" HUP; touch %s; while :; do "
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
        struct instance *i = start("ExecStart=sleep 60\n");

        until(i, LIFE_READY);
        instance_fail(i, END_BY_WATCHDOG, "the %s", "first");
        instance_fail(i, END_BY_TIMEOUT, "the second");
        ck_assert_int_eq(i->life, LIFE_DRAINING);
        ck_assert_str_eq(i->reason, "the first");
        end = until_ended();
        ck_assert_str_eq(end->reason, "the first");
        ck_assert_int_eq(end->cause, END_BY_WATCHDOG);
        life_end(&l);
}
END_TEST

int main(int argc, char *argv[]) {
        Suite *suite = suite_create("instance");
        TCase *tests_ = tcase_create("instance");

        if (argc > 1 && strcmp(argv[1], "play") == 0)
                return play(argv + 2);
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
        TEST(its_word_is_what_makes_it_ready);
        TEST(who_says_ready_and_ends_is_not_ready_for_long);
        tcase_add_loop_test(tests_, its_end_says_what_it_had_said, 0, 3);
        TEST(who_says_that_it_ends_is_left_in_peace);
        TEST(who_says_that_it_ends_before_it_is_ready_has_failed_when_it_has);
        tcase_add_loop_test(tests_, who_says_so_and_does_not_end_is_killed, 0, 2);
        TEST(the_rest_of_who_leaves_is_told_when_the_main_process_has_gone);
        TEST(time_to_end_can_be_asked_for_in_the_same_breath);
        TEST(who_was_told_to_stop_says_nothing_new);
        TEST(descriptors_that_nobody_wants_are_closed);
        TEST(others_cannot_speak_for_it);
        TEST(a_foreign_main_pid_is_refused);
        TEST(more_time_can_be_asked_for_and_not_less);
        tcase_add_loop_test(tests_, who_does_not_feed_its_watchdog_is_told_with_its_own_signal, 0,
                            2);
        tcase_add_loop_test(tests_, a_reload_ends_well_or_says_why_and_it_serves_on, 0,
                            sizeof(reloads) / sizeof(reloads[0]));
        TEST(the_time_of_a_reload_ends_with_it);
        TEST(without_a_command_it_is_told_by_sighup);
        TEST(the_first_reason_stays);
        suite_add_tcase(suite, tests_);
        return support_run(suite);
}
