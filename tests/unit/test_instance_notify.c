/* What an instance says of itself, by its notify socket, and what becomes of it. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "life_support.h"
#include "message.h"
#include "speaker_support.h"
#include "support.h"

static struct scene l;

START_TEST(its_word_is_what_makes_it_ready) {
        struct instance *i = speaker_start(
                &l, "Type=notify\nExecStart=%s @%s STATUS=busy+ERRNO=5 READY=1 @%s SELF\n",
                speaker(), test_path("go"), test_path("more"));

        life_pass(&l, 50);
        ck_assert_int_eq(i->life, LIFE_STARTING);
        test_write("go", "");
        speaker_until(&l, i, LIFE_READY);
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

        (void) speaker_start(&l, "Type=notify\nExecStart=%s READY=1 :5\n", speaker());
        end = speaker_until_ended(&l);
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
        struct instance *i = speaker_start(
                &l, "Type=notify\nExecStart=%s ERRNO=5 STATUS=hm %s %s ERRNO=2 @%s :3\n", speaker(),
                _i == 0 ? "STATUS=hm" : "READY=1",
                _i == 2 ? "EXIT_STATUS=7 EXIT_STATUS=0" : "STATUS=hm", test_path("go"));

        LIFE_UNTIL(&l, i->notify_error == 2);
        if (_i > 0)
                speaker_until(&l, i, LIFE_READY);
        test_write("go", "");
        end = speaker_until_ended(&l);
        ck_assert_str_eq(end->reason, reasons[_i]);
        life_end(&l);
}
END_TEST

/* STOPPING=1: neither ExecStop= nor a signal tells it what it does already, and nothing watches it.
 */
START_TEST(who_says_that_it_ends_is_left_in_peace) {
        const struct instance *end;
        struct instance *i =
                speaker_start(&l,
                              "Type=notify\nExecStart=%s READY=1 @%s STOPPING=1 READY=1 "
                              "WATCHDOG=1 STATUS=bye @%s :3\nExecStop=touch %s\n"
                              "WatchdogSec=60\nHealthCheck=exec:true\n",
                              speaker(), test_path("go"), test_path("gone"), test_path("told"));
        pid_t pid = i->tree.pid;

        speaker_until(&l, i, LIFE_READY);
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
        end = speaker_until_ended(&l);
        ck_assert_str_eq(end->reason, "exited with status 3; it said: STOPPING=1");
        ck_assert_int_eq(end->cause, END_BY_ITSELF);
        ck_assert(!end->asked_to_stop && !end->was_killed);
        ck_assert(!life_exists("told"));
        life_end(&l);
}
END_TEST

START_TEST(who_says_that_it_ends_before_it_is_ready_has_failed_when_it_has) {
        const struct instance *end;
        struct instance *i =
                speaker_start(&l,
                              "Type=notify\nExecStart=%s STOPPING=1 READY=1 @%s ERRNO=2 :3\n"
                              "TimeoutStartSec=60\nTimeoutStopSec=30\n",
                              speaker(), test_path("go"));

        speaker_until(&l, i, LIFE_DRAINING);
        ck_assert_uint_le(i->deadline_usec, loop_now_usec() + 30 * 1000 * 1000);
        ck_assert(!i->was_ready);
        test_write("go", "");
        end = speaker_until_ended(&l);
        ck_assert_str_eq(end->reason, "exited with status 3 before it was ready; it said: "
                                      "STOPPING=1, No such file or directory");
        ck_assert(!end->was_ready);
        life_end(&l);
}
END_TEST

START_TEST(who_says_so_and_does_not_end_is_killed) {
        const struct instance *end;

        (void) speaker_start(&l, "Type=notify\nExecStart=%s %s STOPPING=1\nTimeoutStopSec=100ms\n",
                             speaker(), _i == 0 ? "READY=1" : "STATUS=hm");
        end = speaker_until_ended(&l);
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
        struct instance *i = speaker_start(
                &l,
                "Type=notify\nTimeoutStopSec=60\n"
                "ExecStart=sh -c 'sh -c \"trap \\'touch %s; exit\\' TERM; touch %s; "
                "while :; do sleep 0.01; done\" & exec %s READY=1 @%s STOPPING=1 @%s :0'\n",
                test_path("told"), test_path("forked"), speaker(), test_path("leave"),
                test_path("go"));

        LIFE_UNTIL(&l, i->life == LIFE_READY && life_exists("forked"));
        test_write("leave", "");
        speaker_until(&l, i, LIFE_DRAINING);
        life_pass(&l, 30);
        ck_assert(!life_exists("told"));
        test_write("go", "");
        end = speaker_until_ended(&l);
        ck_assert(life_exists("told") && end->tree.ended && !end->was_killed);
        ck_assert_str_eq(end->reason, "exited with status 0; it said: STOPPING=1");
        life_end(&l);
}
END_TEST

START_TEST(time_to_end_can_be_asked_for_in_the_same_breath) {
        uint64_t begin = loop_now_usec();
        struct instance *i = speaker_start(&l,
                                           "Type=notify\nExecStart=%s "
                                           "READY=1+STOPPING=1+EXTEND_TIMEOUT_USEC=30000000\n"
                                           "TimeoutStopSec=500ms\n",
                                           speaker());

        speaker_until(&l, i, LIFE_DRAINING);
        ck_assert_uint_ge(i->deadline_usec, begin + 30 * 1000 * 1000);
        ck_assert_int_eq(kill(i->tree.pid, SIGKILL), 0); /* it would take that time */
        life_end(&l);
}
END_TEST

START_TEST(who_was_told_to_stop_says_nothing_new) {
        const struct instance *end;
        struct instance *i =
                speaker_start(&l,
                              "Type=notify\nExecStart=%s READY=1 @%s STOPPING=1 STATUS=bye\n"
                              "ExecStop=sh -c 'until [ -e %s ]; do sleep 0.01; done'\n",
                              speaker(), test_path("go"), test_path("stop"));
        uint64_t deadline_usec;

        speaker_until(&l, i, LIFE_READY);
        instance_stop(i);
        deadline_usec = i->deadline_usec;
        test_write("go", "");
        LIFE_UNTIL(&l, strcmp(i->status, "bye") == 0);
        ck_assert_int_eq(i->life, LIFE_DRAINING);
        ck_assert_uint_eq(i->deadline_usec, deadline_usec);
        ck_assert_str_eq(instance_reason(i), "");
        test_write("stop", "");
        end = speaker_until_ended(&l);
        ck_assert(end->asked_to_stop && !end->leaves);
        ck_assert_int_eq(end->tree.status, SIGTERM);
        ck_assert_str_eq(end->reason, "");
        life_end(&l);
}
END_TEST

/* There may be nobody to take what came with a packet that is refused. */
START_TEST(descriptors_that_nobody_wants_are_closed) {
        struct sockaddr_un un = {.sun_family = AF_UNIX};
        struct instance *i = speaker_start(&l, "Type=notify\nExecStart=sleep 60\n");
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
        struct instance *i =
                speaker_start(&l, "Type=notify\nExecStart=sleep 60\nTimeoutStartSec=60\n");

        LIFE_UNTIL(&l, i->notify.path[0]);
        (void) setenv("NOTIFY_SOCKET", i->notify.path, 1);
        speaker_say("READY=1");
        (void) unsetenv("NOTIFY_SOCKET");
        LIFE_UNTIL(&l, life_said(&l, "a notification of pid")); /* which is refused */
        life_let_pass(i);
        end = speaker_until_ended(&l);
        ck_assert(!end->was_ready);
        ck_assert_str_eq(end->reason, NO_WORD);
        life_end(&l);
}
END_TEST

START_TEST(a_foreign_main_pid_is_refused) {
        struct instance *i = speaker_start(&l, "Type=notify\nExecStart=%s MAINPID=%d READY=1\n",
                                           speaker(), (int) getpid());
        pid_t pid = i->tree.pid;

        speaker_until(&l, i, LIFE_READY);
        ck_assert_int_eq(i->tree.pid, pid);
        ck_assert(life_said(&l, "is refused: it is none of its processes"));
        life_end(&l);
}
END_TEST

START_TEST(more_time_can_be_asked_for_and_not_less) {
        struct instance *i = speaker_start(&l,
                                           "Type=notify\nExecStart=%s EXTEND_TIMEOUT_USEC=1 "
                                           "EXTEND_TIMEOUT_USEC=90000000 STATUS=asked\n"
                                           "TimeoutStartSec=60\n",
                                           speaker());
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
                speaker_start(&l,
                              "Type=notify\nExecStart=%s READY=1 @%s %s\nWatchdogSec=%s\n"
                              "WatchdogSignal=SIGUSR1\n",
                              speaker(), test_path("go"), _i == 0 ? "STATUS=x" : "WATCHDOG=trigger",
                              _i == 0 ? "100ms" : "60");

        speaker_until(&l, i, LIFE_READY);
        test_write("go", "");
        end = speaker_until_ended(&l);
        ck_assert(end->was_ready);
        ck_assert_str_eq(end->reason, _i == 0 ? "no WATCHDOG=1 for 100 ms (WatchdogSec=)"
                                              : "it said WATCHDOG=trigger");
        ck_assert_int_eq(end->cause, END_BY_WATCHDOG);
        ck_assert_int_eq(end->tree.status, SIGUSR1);
        life_end(&l);
}
END_TEST

/* How sd_notify(3) writes that there is to be none, and a little less. */
START_TEST(a_watchdog_of_all_time_is_none) {
        struct instance *i = speaker_start(
                &l, "Type=notify\nExecStart=%s WATCHDOG_USEC=%s+READY=1\nHealthCheck=no\n",
                speaker(), _i == 0 ? "18446744073709551615" : "18446744073709551614");

        speaker_until(&l, i, LIFE_READY);
        life_pass(&l, 20);
        ck_assert_int_eq(i->life, LIFE_READY);
        ck_assert_str_eq(i->reason, "");
        life_end(&l);
}
END_TEST

START_TEST(a_watchdog_that_it_set_itself_outlives_the_broker) {
        const uint64_t hour_usec = UINT64_C(3600) * 1000 * 1000;
        char text[4096];
        struct scene next;
        struct job *job;

        (void) snprintf(text, sizeof(text),
                        "[Component a]\nStart=manual\nType=notify\nHealthCheck=no\n"
                        "WatchdogSec=60\nExecStart=%s READY=1 @%s WATCHDOG_USEC=%llu\n",
                        speaker(), test_path("go"), (unsigned long long) hour_usec);
        life_begin(&l, true);
        life_apply(&l, "%s", text);
        job = life_begin_job(&l, JOB_START, "start", "a");
        LIFE_UNTIL(&l, job->finished);
        test_write("go", "");
        LIFE_UNTIL(&l, life_instance(&l, "a", 1)->watchdog_usec == hour_usec);
        life_die(&l, &next);
        life_apply(&next, "%s", text);
        ck_assert_uint_eq(life_instance(&next, "a", 1)->watchdog_usec, hour_usec);
        life_end(&next);
}
END_TEST

static bool has_unread(const struct instance *i) {
        char byte;

        return recv(i->notify.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

/* Reading may pause, and go on in the very turn in which the time is over. */
START_TEST(a_word_that_lies_unread_is_heard_before_the_time_is_over) {
        struct instance *i = speaker_start(&l,
                                           "Type=notify\nExecStart=%s %s @%s %s\nWatchdogSec=60\n"
                                           "HealthCheck=no\nTimeoutStartSec=60\n",
                                           speaker(), _i == 0 ? "READY=1" : "STATUS=begins",
                                           test_path("go"), _i == 0 ? "WATCHDOG=1" : "READY=1");
        struct timer *due = _i == 0 ? &i->watchdog : &i->deadline;

        LIFE_UNTIL(&l, _i == 0 ? i->life == LIFE_READY : i->status[0]);
        io_watch_stop(&i->notify.watch);
        test_write("go", "");
        LIFE_UNTIL(&l, has_unread(i));
        timer_start(due, l.table->loop, 0, due->handler, due->owner);
        LIFE_UNTIL(&l, !has_unread(i));
        life_pass(&l, 20);
        ck_assert_int_eq(i->life, LIFE_READY);
        ck_assert_str_eq(i->reason, "");
        ck_assert(timer_is_started(&i->watchdog));
        life_end(&l);
}
END_TEST

int main(int argc, char *argv[]) {
        Suite *suite = suite_create("instance_notify");
        TCase *tests_ = tcase_create("instance_notify");

        if (argc > 1 && strcmp(argv[1], "play") == 0)
                return speaker_play(argv + 2);
        tcase_add_checked_fixture(tests_, support_setup, support_teardown);
        tcase_set_timeout(tests_, 60);
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
        tcase_add_loop_test(tests_, a_word_that_lies_unread_is_heard_before_the_time_is_over, 0, 2);
        tcase_add_loop_test(tests_, a_watchdog_of_all_time_is_none, 0, 2);
        TEST(a_watchdog_that_it_set_itself_outlives_the_broker);
        tcase_add_loop_test(tests_, who_does_not_feed_its_watchdog_is_told_with_its_own_signal, 0,
                            2);
        suite_add_tcase(suite, tests_);
        return support_run(suite);
}
