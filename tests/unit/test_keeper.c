/*
 * The keeper, with brokers that do what the test says. The keeper executes its own program as
 * broker, which here is this test: main() sees KEEPER_LINK_ENV and plays one of the lives in argv,
 * a letter an action:
 *
 *      p  push l1, l2 … in the life of that number      m  push 600
 *      d  drop l1                                       b  wait for a barrier
 *      r  say READY                                     s  say STOPPING
 *      t  SIGTERM to the keeper, and wait for ours      h  the same with SIGHUP
 *      w  wait for SIGTERM                               e  say ENDING
 *      o  leave an orphan, and wait until it is reaped
 *      k  die of SIGKILL                                v  of SIGVTALRM, as by its own fault
 *      g  give the link to the test, and wait for it
 *      0…9  exit with that status
 *
 * Each life first writes what it was given as a line to the report.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "core/inherited.h"
#include "core/loop.h"
#include "core/process.h"
#include "keeper/charge.h"
#include "keeper/keeper.h"
#include "keeper/link.h"
#include "support.h"

#define REPORT_ENV "TEST_KEEPER_REPORT"
#define GIVE_ENV "TEST_KEEPER_GIVE"
#define MANY 600

static struct message m;
static struct packet_writer w;

/* ---- a broker's life ---------------------------------------------------------------------------
 */

static int write_report(const struct inherited *given) {
        FILE *report = fopen(getenv(REPORT_ENV), "a+e");
        int life = 1;

        if (!report)
                _exit(99);
        for (int c; (c = fgetc(report)) != EOF;)
                life += c == '\n';
        if (inherited_count(given) > 10)
                (void) fprintf(report, "%zu", inherited_count(given));
        for (size_t i = 0; i < inherited_count(given) && inherited_count(given) <= 10; i++)
                (void) fprintf(report, "%s%s", i ? " " : "", inherited_name(given, i));
        (void) fprintf(report, "\n");
        (void) fclose(report);
        return life;
}

static void send_packet(int link_fd, const char *key, int number, int fd) {
        struct pollfd p = {.fd = link_fd, .events = POLLOUT};
        char id[STATE_ID_SIZE];
        int r;

        (void) snprintf(id, sizeof(id), "l%d", number);
        packet_begin(&w);
        packet_add(&w, key, "1");
        if (number > 0)
                packet_add(&w, "FDNAME", id);
        while ((r = message_send(link_fd, w.data, w.size, &fd, fd >= 0)) == -EAGAIN)
                (void) poll(&p, 1, -1);
        if (r < 0)
                _exit(98);
}

static void wait_barrier(int link_fd) {
        struct pollfd p = {.fd = link_fd, .events = POLLIN};

        send_packet(link_fd, "BARRIER", 0, -1);
        if (poll(&p, 1, 10000) != 1 || message_receive(link_fd, &m) <= 0 || m.size != 10 ||
            memcmp(m.data, "BARRIER=1\n", m.size) != 0)
                _exit(97);
        message_clear(&m);
}

/* Blocked all along, as the keeper promises: so it waits for us. */
static void signal_keeper(int number) {
        sigset_t set;

        (void) sigemptyset(&set);
        (void) sigaddset(&set, number);
        (void) kill(getppid(), number);
        if (sigtimedwait(&set, NULL, &(struct timespec){.tv_sec = 10}) != number)
                _exit(96);
}

static void wait_to_be_told(void) {
        sigset_t set;

        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGTERM);
        if (sigtimedwait(&set, NULL, &(struct timespec){.tv_sec = 10}) != SIGTERM)
                _exit(94);
}

static void leave_orphan(void) {
        int ends[2];
        pid_t orphan;

        if (pipe2(ends, O_CLOEXEC) < 0)
                _exit(95);
        if (fork() == 0) {
                orphan = fork();
                if (orphan > 0)
                        (void) !write(ends[1], &orphan, sizeof(orphan));
                _exit(0);
        }
        (void) wait(NULL);
        if (read(ends[0], &orphan, sizeof(orphan)) != sizeof(orphan))
                _exit(94);
        for (uint64_t begun = loop_now_usec(); kill(orphan, 0) == 0; (void) poll(NULL, 0, 1))
                if (loop_now_usec() - begun > 10000000)
                        _exit(93);
}

static void give_link(int link_fd) {
        int to = atoi(getenv(GIVE_ENV));
        char end;

        if (message_send(to, "LINK", 4, &link_fd, 1) < 0 || read(to, &end, 1) != 0)
                _exit(89);
}

static void act(int link_fd, char action, int life) {
        if (action == 'p')
                send_packet(link_fd, "FDSTORE", life, STDIN_FILENO);
        else if (action == 'm')
                for (int i = 1; i <= MANY; i++)
                        send_packet(link_fd, "FDSTORE", i, STDIN_FILENO);
        else if (action == 'd')
                send_packet(link_fd, "FDSTOREREMOVE", 1, -1);
        else if (action == 'b')
                wait_barrier(link_fd);
        else if (action == 'r')
                send_packet(link_fd, "READY", 0, -1);
        else if (action == 's')
                send_packet(link_fd, "STOPPING", 0, -1);
        else if (action == 'e')
                send_packet(link_fd, "ENDING", 0, -1);
        else if (action == 'w')
                wait_to_be_told();
        else if (action == 't' || action == 'h')
                signal_keeper(action == 't' ? SIGTERM : SIGHUP);
        else if (action == 'o')
                leave_orphan();
        else if (action == 'g')
                give_link(link_fd);
        else if (action == 'k')
                (void) kill(getpid(), SIGKILL);
        else if (action == 'v')
                (void) signal(SIGVTALRM, SIG_DFL), (void) raise(SIGVTALRM);
        else
                _exit(action - '0');
}

static int be_broker(char **argv) {
        int link_fd = atoi(getenv(KEEPER_LINK_ENV)), life;
        struct inherited *given;

        if (inherited_new(&given) < 0 || link_receive_kept(link_fd, given) < 0)
                return 92;
        life = write_report(given);
        inherited_free(given);
        for (int i = 0; i < life; i++)
                if (!argv[i])
                        return 91; /* once more than expected */
        for (const char *p = argv[life - 1]; p && *p; p++)
                act(link_fd, *p, life);
        return 90;
}

/* ---- the tests ---------------------------------------------------------------------------------
 */

#define LIVES(...) ((char *[]){__VA_ARGS__, NULL})

struct result {
        int status;
        char report[512];
};

/* In a process of its own: the keeper's exit status; 80 when it leaks. */
static int keep(char **lives, int link_fd, int broker_fd, bool inherits) {
        unsigned before = test_open_fds();
        struct keeper_options options = {.argv = lives, .link_fd = link_fd, .broker_fd = broker_fd};
        int status;

        (void) prctl(PR_SET_CHILD_SUBREAPER, 1);
        if (inherits && (inherited_new(&options.inherited) < 0 ||
                         inherited_put_fd(options.inherited, "web.socket",
                                          fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)) < 0))
                return 81;
        status = keeper_run(&options);
        if (link_fd >= 0)
                before -= 2;
        return test_open_fds() == before ? status : 80;
}

static struct result finish(pid_t pid) {
        struct result result = {0};
        FILE *report;
        int status;

        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFEXITED(status));
        result.status = WEXITSTATUS(status);
        report = fopen(getenv(REPORT_ENV), "re");
        if (report) {
                size_t n = fread(result.report, 1, sizeof(result.report) - 1, report);
                result.report[n] = '\0';
                (void) fclose(report);
        }
        return result;
}

static pid_t start(char **lives, int link_fd, int broker_fd, bool inherits) {
        pid_t pid;

        ck_assert_int_eq(setenv(REPORT_ENV, test_path("report"), 1), 0);
        (void) unlink(test_path("report")); /* of a run before in the same test */
        pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0)
                _exit(keep(lives, link_fd, broker_fd, inherits));
        return pid;
}

static struct result run(char **lives, bool inherits) {
        return finish(start(lives, -1, -1, inherits));
}

START_TEST(a_killed_broker_is_started_again_with_what_was_kept) {
        struct result r = run(LIVES("prk", "pk", "dk", "0"), false);

        ck_assert_int_eq(r.status, 0);
        ck_assert_str_eq(r.report, "\nl1\nl1 l2\nl2\n");
}
END_TEST

START_TEST(more_than_a_packet_holds_is_handed_over) {
        struct result r = run(LIVES("mbrk", "bk", "0"), false);

        ck_assert_int_eq(r.status, 0);
        ck_assert_str_eq(r.report, "\n600\n600\n");
}
END_TEST

/* What a broker stored the moment before it died is in the keeper's queue, and counts. */
START_TEST(what_was_pushed_last_is_kept) {
        struct result r = run(LIVES("rmk", "0"), false);

        ck_assert_int_eq(r.status, 0);
        ck_assert_str_eq(r.report, "\n600\n");
}
END_TEST

START_TEST(a_broker_that_fails_its_first_start_is_not_started_again) {
        struct result r = run(LIVES("p3"), false);

        ck_assert_int_eq(r.status, 3);
}
END_TEST

START_TEST(one_that_served_is_started_again_whatever_its_status) {
        struct result r = run(LIVES("pr3", "1", "0"), false);

        ck_assert_int_eq(r.status, 0);
        ck_assert_str_eq(r.report, "\nl1\nl1\n");
}
END_TEST

START_TEST(one_that_ends_of_its_own_will_is_not_started_again) {
        ck_assert_int_eq(run(LIVES("prs0"), false).status, 0);
}
END_TEST

/* Somebody who did not wait for it killed it; what it died of by itself is told. */
START_TEST(one_that_dies_while_it_ends_is_not_started_again) {
        ck_assert_int_eq(run(LIVES("prsk"), false).status, 0);
        ck_assert_int_eq(run(LIVES("prtsk"), false).status, 0);
        ck_assert_int_eq(run(LIVES("prsv"), false).status, 128 + SIGVTALRM);
}
END_TEST

/* It may have had something to stop. Whoever told it to end, and whatever it died of. */
START_TEST(an_end_that_is_cut_short_is_finished_by_another) {
        static const char *const first[] = {"prtk", "ptk", "prek", "prtv"};
        struct result r;

        if (SKIPPED_UNDER_VALGRIND("its own start takes the signal that waited for ours"))
                return;
        r = run(LIVES((char *) first[_i], "ws0"), false);
        ck_assert_int_eq(r.status, 0);
        ck_assert_str_eq(r.report, "\nl1\n");
}
END_TEST

START_TEST(nothing_kept_is_nothing_to_finish) {
        ck_assert_int_eq(run(LIVES("rtk"), false).status, 0);
}
END_TEST

/* The first time at its start, the second when it serves, so that it does not take them for one. */
START_TEST(who_was_told_twice_to_end_is_told_twice) {
        if (SKIPPED_UNDER_VALGRIND("its own start takes the signal that waited for ours"))
                return;
        ck_assert_int_eq(run(LIVES("prttk", "wrws0"), false).status, 0);
}
END_TEST

START_TEST(an_end_that_is_cut_short_again_and_again_has_failed) {
        ck_assert_int_eq(run(LIVES("prtk", "k", "k", "k", "k", "k"), false).status, EXIT_FAILURE);
}
END_TEST

START_TEST(signals_are_forwarded) {
        ck_assert_int_eq(run(LIVES("rhhts0"), false).status, 0);
}
END_TEST

/* At once, and then less and less often: 10 + 20 + 40 + 80 ms. */
START_TEST(a_broker_that_dies_at_once_again_and_again_is_started_at_intervals) {
        uint64_t begun = loop_now_usec();

        ck_assert_int_eq(run(LIVES("k", "k", "k", "k", "k", "0"), false).status, 0);
        ck_assert_uint_ge(loop_now_usec() - begun, 150000);
}
END_TEST

START_TEST(what_the_keeper_was_started_with_is_given_until_one_has_served) {
        struct result r = run(LIVES("pk", "pk", "rk", "0"), true);

        ck_assert_int_eq(r.status, 0);
        ck_assert_str_eq(r.report, "web.socket\nweb.socket l1\nweb.socket l1 l2\nl1 l2\n");
}
END_TEST

START_TEST(orphans_are_reaped) {
        ck_assert_int_eq(run(LIVES("roork", "o0"), false).status, 0);
}
END_TEST

/* As a broker does whose first keeper was killed, and which is killed next. */
static struct result run_second(char **lives, bool gives) {
        int keeper_end, broker_end, broker_fd;
        pid_t broker = fork(), pid;

        if (broker == 0) {
                (void) pause();
                _exit(0);
        }
        ck_assert_int_ge(broker, 0);
        broker_fd = process_open(broker);
        ck_assert_int_ge(broker_fd, 0);
        ck_assert_int_eq(link_new(&keeper_end, &broker_end), 0);
        pid = start(lives, keeper_end, broker_fd, false);
        close_fd(keeper_end);
        close_fd(broker_fd);
        if (gives)
                send_packet(broker_end, "FDSTORE", 7, STDIN_FILENO);
        wait_barrier(broker_end);
        ck_assert_int_eq(kill(broker, SIGKILL), 0);
        close_fd(broker_end);
        (void) waitpid(broker, NULL, 0);
        return finish(pid);
}

START_TEST(a_second_keeper_takes_over_a_living_broker) {
        struct result r = run_second(LIVES("s0"), true);

        ck_assert_int_eq(r.status, 0);
        ck_assert_str_eq(r.report, "l7 " LINK_MADE_KEEPER "\n");
}
END_TEST

/* The state document is stored before the lock is found taken. */
START_TEST(one_that_keeps_nothing_ends_when_another_broker_runs) {
        struct result r = run_second(LIVES("p4"), false);

        ck_assert_int_eq(r.status, KEEPER_STATUS_RUNNING);
        ck_assert_str_eq(r.report, LINK_MADE_KEEPER "\n");
}
END_TEST

/* Whatever else it exits with, or when there is something that only we have. */
START_TEST(one_that_keeps_nothing_or_something_goes_on) {
        struct result r = run_second(_i == 0 ? LIVES("1", "s0") : LIVES("4", "s0"), _i == 1);

        ck_assert_int_eq(r.status, 0);
        ck_assert_str_eq(r.report, _i == 0 ? LINK_MADE_KEEPER "\n" LINK_MADE_KEEPER "\n"
                                           : "l7 " LINK_MADE_KEEPER "\nl7 " LINK_MADE_KEEPER "\n");
}
END_TEST

/* What a broker does that takes the keeper of one that found it running; BROKER has its pidfd. */
static void be_found(int link_fd, int broker_fd) {
        ck_assert_int_eq(message_send(link_fd, "BROKER=1", 8, &broker_fd, 1), 0);
        send_packet(link_fd, "FDSTORE", 7, STDIN_FILENO);
        wait_barrier(link_fd);
}

/* A life that passes its link on: to this test, by the number that is in the environment. */
START_TEST(a_keeper_is_given_to_a_broker_that_runs_already) {
        int ends[2], link_fd, broker_fd, charge = -1;
        pid_t broker = fork(), pid;
        char number[16];
        struct result r;
        bool goes_on;

        if (broker == 0) {
                (void) pause();
                _exit(0);
        }
        broker_fd = process_open(broker);
        ck_assert_int_ge(broker_fd, 0);
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
        (void) snprintf(number, sizeof(number), "%d", ends[1]);
        ck_assert_int_eq(setenv(GIVE_ENV, number, 1), 0);
        pid = start(LIVES("pg0", "ps0"), -1, -1, false);
        ck_assert_int_eq(unsetenv(GIVE_ENV), 0);
        close_fd(ends[1]);
        ck_assert_int_gt(message_receive_wait(ends[0], &m), 0);
        link_fd = fd_list_take_fd(&m.fds, 0);
        message_clear(&m);
        be_found(link_fd, broker_fd);
        if (_i >= 2) { /* another keeper has it too, and (3) was faster */
                charge = eventfd(_i == 2 ? 1 : 0, EFD_CLOEXEC | EFD_NONBLOCK);
                ck_assert_int_eq(message_send(link_fd, "CHARGE=1", 8, &charge, 1), 0);
        }
        if (_i >= 1)
                send_packet(link_fd, "SOLE", 0, -1);
        wait_barrier(link_fd);
        close_fd(ends[0]); /* now that life may end, which is not the end of a broker */
        ck_assert_int_eq(kill(broker, SIGKILL), 0);
        close_fd(link_fd);
        close_fd(broker_fd);
        (void) waitpid(broker, NULL, 0);
        r = finish(pid);
        /* before SOLE another keeper is in charge; what that life had stored is not the broker's */
        goes_on = _i == 1 || _i == 2;
        ck_assert_int_eq(r.status, goes_on ? 0 : 1);
        ck_assert_str_eq(r.report, goes_on ? "\nl7\n" : "\n");
        if (_i == 2) /* it has drawn it */
                ck_assert(!charge_draw(&charge));
        close_fd(charge);
}
END_TEST

int main(int argc, char *argv[]) {
        Suite *suite = suite_create("keeper");
        TCase *tests_ = tcase_create("keeper");

        if (getenv(KEEPER_LINK_ENV))
                return be_broker(argv);
        tcase_add_checked_fixture(tests_, support_setup, support_teardown);
        tcase_set_timeout(tests_, 60);
        TEST(a_killed_broker_is_started_again_with_what_was_kept);
        TEST(more_than_a_packet_holds_is_handed_over);
        TEST(what_was_pushed_last_is_kept);
        TEST(a_broker_that_fails_its_first_start_is_not_started_again);
        TEST(one_that_served_is_started_again_whatever_its_status);
        TEST(one_that_ends_of_its_own_will_is_not_started_again);
        TEST(one_that_dies_while_it_ends_is_not_started_again);
        tcase_add_loop_test(tests_, an_end_that_is_cut_short_is_finished_by_another, 0, 4);
        TEST(nothing_kept_is_nothing_to_finish);
        TEST(who_was_told_twice_to_end_is_told_twice);
        TEST(an_end_that_is_cut_short_again_and_again_has_failed);
        TEST(signals_are_forwarded);
        TEST(a_broker_that_dies_at_once_again_and_again_is_started_at_intervals);
        TEST(what_the_keeper_was_started_with_is_given_until_one_has_served);
        TEST(orphans_are_reaped);
        TEST(a_second_keeper_takes_over_a_living_broker);
        TEST(one_that_keeps_nothing_ends_when_another_broker_runs);
        tcase_add_loop_test(tests_, one_that_keeps_nothing_or_something_goes_on, 0, 2);
        tcase_add_loop_test(tests_, a_keeper_is_given_to_a_broker_that_runs_already, 0, 4);
        suite_add_tcase(suite, tests_);
        return support_run(suite);
}
