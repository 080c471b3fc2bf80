/* Calls to a broker that answers late or never, or goes away and perhaps comes back. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "cleanup.h"
#include "client.h"
#include "fake_broker.h"
#include "fdpass.h"
#include "message.h"
#include "support.h"

#define LEND_ONE "OK=1\nSERIAL=%s\nNAME=web\nFDS=1\nFDNAME=web"

/* What a fake and its test tell each other, in memory of both. */
static volatile struct shared {
        int msec;     /* how long the call waits */
        int attempts; /* to connect */
        long gone;    /* when it began to hang up, by now_msec() */
        long done;    /* when it had done its part, by now_msec() */
        bool resumed; /* it has let us go on */
} * shared;

static struct fake start_telling(fake_script *script, int msec) {
        if (!shared)
                shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        ck_assert_ptr_ne((void *) shared, MAP_FAILED);
        *shared = (struct shared){.msec = msec};
        return fake_start(script);
}

/* It had no processor in time. What a test is about was not to be seen then, and it gives twice
 * the time to another. */
static bool was_late(long since) {
        return shared->done - since >= shared->msec;
}

/* ---- time -------------------------------------------------------------------------------------
 */

static void script_never(int listening) {
        int c = fake_accept(listening);

        (void) fake_request(c);
        fake_wait_closed(c);
}

static long timed_acquire(struct fdpass *c, int expected) {
        long before = now_msec();
        int fd;

        ck_assert_int_eq(fdpass_acquire(c, "web", &fd), expected);
        return now_msec() - before;
}

START_TEST(no_answer_is_a_timeout_and_the_connection_is_dead) {
        struct fake fake = fake_start(script_never);
        struct fdpass *c = fake_open(&fake);

        ck_assert_int_eq(fdpass_set_timeout(c, 120), 0);
        ck_assert_int_ge((int) timed_acquire(c, -ETIMEDOUT), 119);
        fake_assert_dead(c);
        fdpass_close(c);
        fake_join(&fake);
}
END_TEST

/* The clock of the timeout does not start anew with each event, or with each signal below. */
static void script_only_events(int listening) {
        int c = fake_accept(listening);

        (void) fake_request(c);
        for (;;) {
                if (message_send(c, "EVENT=CHANGED\nNAME=a", 20, NULL, 0) < 0)
                        return;
                fake_pass_time(20);
        }
}

START_TEST(events_do_not_prolong_the_wait_for_an_answer) {
        struct fake fake = fake_start(script_only_events);
        struct fdpass *c = fake_open(&fake);
        long took;

        ck_assert_int_eq(fdpass_set_timeout(c, 200), 0);
        took = timed_acquire(c, -ETIMEDOUT);
        ck_assert_msg(took >= 199 && took < 20000, "%ld ms", took);
        fdpass_close(c);
        fake_join(&fake);
}
END_TEST

static void script_one_late_event(int listening) {
        int c = fake_accept(listening);

        (void) fake_request(c);
        fake_pass_time(500);
        (void) message_send(c, "EVENT=CHANGED\nNAME=a", 20, NULL, 0);
        fake_wait_closed(c);
}

/* A clock that starts anew takes 1100 ms each time, and a right one only when the machine is too
 * busy to come back to us. */
START_TEST(an_event_at_the_last_moment_does_not_start_the_clock_anew) {
        long took = 0;

        for (int tries = 0; tries < 10 && (tries == 0 || took >= 1050); tries++) {
                struct fake fake = fake_start(script_one_late_event);
                struct fdpass *c = fake_open(&fake);

                ck_assert_int_eq(fdpass_set_timeout(c, 600), 0);
                took = timed_acquire(c, -ETIMEDOUT);
                ck_assert_int_ge((int) took, 599);
                fdpass_close(c);
                fake_join(&fake);
        }
        ck_assert_msg(took < 1050, "%ld ms", took);
}
END_TEST

/* The caller is stopped for longer than its patience, and what it waits for comes meanwhile. */
static void script_to_one_held_up(int listening) {
        int c = fake_accept(listening);

        (void) fake_request(c);
        FAKE_ASSERT(kill(getppid(), SIGSTOP) == 0);
        if (message_send(c, "EVENT=CHANGED\nNAME=a", 20, NULL, 0) == 0) /* else it has given up */
                fake_send(c, LEND_ONE, 1);
        shared->done = now_msec();
        fake_pass_time(2 * shared->msec);
        FAKE_ASSERT(kill(getppid(), SIGCONT) == 0);
        fake_wait_closed(c);
}

START_TEST(an_answer_that_came_in_time_is_heard_late) {
        int fd, r = -ETIMEDOUT;

        for (int msec = 150; r != 0; msec *= 2) {
                struct fake fake = start_telling(script_to_one_held_up, msec);
                struct fdpass *c = fake_open(&fake);
                long begun;

                ck_assert_int_eq(fdpass_set_timeout(c, msec), 0);
                begun = now_msec();
                r = fdpass_acquire(c, "web", &fd);
                fdpass_close(c);
                fake_join(&fake);
                if (r != -ETIMEDOUT || !was_late(begun))
                        ck_assert_int_eq(r, 0);
        }
        close_fd(fd);
}
END_TEST

static void ignore_signal(int signal_number) {
}

START_TEST(signals_neither_end_nor_prolong_the_wait) {
        struct itimerval often = {{0, 10000}, {0, 10000}}, never = {{0, 0}, {0, 0}};
        struct sigaction action = {.sa_handler = ignore_signal};
        struct fake fake = fake_start(script_never);
        struct fdpass *c = fake_open(&fake);
        long took;

        ck_assert_int_eq(sigaction(SIGALRM, &action, NULL), 0);
        ck_assert_int_eq(setitimer(ITIMER_REAL, &often, NULL), 0);
        ck_assert_int_eq(fdpass_set_timeout(c, 200), 0);
        took = timed_acquire(c, -ETIMEDOUT);
        ck_assert_int_eq(setitimer(ITIMER_REAL, &never, NULL), 0);
        ck_assert_msg(took >= 199 && took < 20000, "%ld ms", took);
        fdpass_close(c);
        fake_join(&fake);
}
END_TEST

static void script_late(int listening) {
        int c = fake_accept(listening);

        (void) fake_request(c);
        fake_pass_time(150);
        fake_send(c, LEND_ONE, 1);
        (void) fake_request(c);
        fake_wait_closed(c); /* an answer never comes */
}

START_TEST(a_changed_timeout_holds_from_the_next_call_on) {
        struct fake fake = fake_start(script_late);
        struct fdpass *c = fake_open(&fake);
        int fd;

        ck_assert_int_eq(fdpass_set_timeout(c, -1), 0);
        ck_assert_int_eq(fdpass_acquire(c, "web", &fd), 0);
        close_fd(fd);
        ck_assert_int_eq(fdpass_set_timeout(c, 40), 0);
        ck_assert_int_ge((int) timed_acquire(c, -ETIMEDOUT), 39);
        fdpass_close(c);
        fake_join(&fake);
}
END_TEST

/* ---- a broker that goes away ------------------------------------------------------------------
 */

/* Hang up instead of answering, in each of the ways that the client can see it. */
static void script_hang_up(int listening) {
        int c = fake_accept(listening);

        (void) fake_request(c); /* end of file */
        close(c);
        c = fake_accept(listening); /* ECONNRESET, or EPIPE: with the request unread */
        struct pollfd p = {.fd = c, .events = POLLIN};
        (void) poll(&p, 1, -1);
        close(c);
        c = fake_accept(listening);
        fake_expect(c, "VERB=ACQUIRE\nNAME=web");
        FAKE_ASSERT(strcmp(fake_serial(), "1") == 0);
        fake_send(c, LEND_ONE, 1);
        close(c); /* and between two calls */
        c = fake_accept(listening);
        fake_expect(c, "VERB=NOTIFY\nREADY=1");
        fake_send(c, "OK=1\nSERIAL=%s", 0);
        fake_wait_closed(c);
}

START_TEST(a_lost_broker_is_found_again_and_the_request_repeated) {
        struct fake fake = fake_start(script_hang_up);
        struct fdpass *c = fake_open(&fake);
        int fd;

        ck_assert_int_eq(fdpass_acquire(c, "web", &fd), 0);
        close_fd(fd);
        ck_assert_int_eq(fdpass_ready(c), 0);
        fdpass_close(c);
        fake_join(&fake);
}
END_TEST

static void script_replaced(int listening) {
        int c = fake_accept(listening);

        (void) fake_request(c);
        unlink(test_path("broker.sock"));
        close(listening);
        close(c);
        fake_pass_time(60); /* meanwhile nothing is there */
        listening = fake_listen(test_path("broker.sock"), 4);
        c = fake_accept(listening);
        fake_expect(c, "VERB=ACQUIRE\nNAME=web");
        fake_send(c, LEND_ONE, 1);
        fake_wait_closed(c);
}

START_TEST(a_broker_that_starts_anew_is_waited_for) {
        struct fake fake = fake_start(script_replaced);
        struct fdpass *c = fake_open(&fake);
        int fd;

        ck_assert_int_eq(fdpass_acquire(c, "web", &fd), 0);
        close_fd(fd);
        fdpass_close(c);
        fake_join(&fake);
}
END_TEST

static void script_gone(int listening) {
        int c = fake_accept(listening);

        (void) fake_request(c);
        close(listening);
        close(c);
        shared->done = now_msec();
}

START_TEST(a_broker_that_does_not_come_back_in_time_is_an_error) {
        int fd, r = -ETIMEDOUT;

        for (int msec = 100; r != -EHOSTDOWN; msec *= 2) {
                struct fake fake = start_telling(script_gone, msec);
                struct fdpass *c = fake_open(&fake);
                long begun;

                ck_assert_int_eq(fdpass_set_timeout(c, msec), 0);
                begun = now_msec();
                r = fdpass_acquire(c, "web", &fd);
                ck_assert_int_ge((int) (now_msec() - begun), msec - 1);
                fake_assert_dead(c);
                fdpass_close(c);
                fake_join(&fake);
                if (r != -ETIMEDOUT || !was_late(begun))
                        ck_assert_int_eq(r, -EHOSTDOWN);
        }
}
END_TEST

static void count(void *owner) {
        ++*(unsigned *) owner;
}

/* Without an end to the call itself there is one to looking for a broker; who has to wait for long
 * is told so, once. */
START_TEST(patience_with_a_lost_broker_is_bounded_apart_from_the_call) {
        int msec = _i == 0 ? 150 : 2300;
        struct fake fake = start_telling(script_gone, msec);
        struct fdpass *c = fake_open(&fake);
        unsigned told = 0;
        long took;

        ck_assert_int_eq(fdpass_set_timeout(c, -1), 0);
        fdpass_set_patience(c, msec, count, &told);
        took = timed_acquire(c, -EHOSTDOWN);
        ck_assert_msg(took >= msec - 1 && took < 10000, "%ld ms", took);
        ck_assert_uint_eq(told, (unsigned) _i);
        fake_assert_dead(c);
        fdpass_close(c);
        fake_join(&fake);
}
END_TEST

static void script_back_for_one_held_up(int listening) {
        int c = fake_accept(listening);

        (void) fake_request(c);
        unlink(test_path("broker.sock"));
        close(listening);
        shared->gone = now_msec();
        close(c);
        fake_pass_time(50); /* it has begun to look for another one */
        FAKE_ASSERT(kill(getppid(), SIGSTOP) == 0);
        listening = fake_listen(test_path("broker.sock"), 4);
        shared->done = now_msec();
        fake_pass_time(2 * shared->msec);
        FAKE_ASSERT(kill(getppid(), SIGCONT) == 0);
        shared->resumed = true;
        c = fake_accept(listening);
        (void) fake_request(c);
        fake_send(c, LEND_ONE, 1);
        fake_wait_closed(c);
}

START_TEST(a_broker_that_came_back_in_time_is_found_late) {
        int fd, r = -EHOSTDOWN;

        for (int msec = 200; r != 0; msec *= 2) {
                struct fake fake = start_telling(script_back_for_one_held_up, msec);
                struct fdpass *c = fake_open(&fake);

                ck_assert_int_eq(fdpass_set_timeout(c, -1), 0);
                fdpass_set_patience(c, msec, NULL, NULL);
                r = fdpass_acquire(c, "web", &fd);
                fdpass_close(c);
                while (!shared->resumed) /* or nobody would wake us when it has stopped us */
                        fake_pass_time(1);
                if (r != -EHOSTDOWN || !was_late(shared->gone))
                        ck_assert_int_eq(r, 0);
                if (r == 0)
                        fake_join(&fake);
                else
                        fake_kill(&fake);
        }
        close_fd(fd);
}
END_TEST

static void script_always_hangs_up(int listening) {
        for (;;) {
                close(fake_accept(listening));
                shared->attempts++;
        }
}

/* With growing pauses up to 50 ms, 300 ms are about 11 attempts. A busy machine makes fewer of
 * them, and never more. */
START_TEST(a_broker_that_always_hangs_up_is_asked_less_and_less_often) {
        int msec = 300, fd, r = 0;
        long before;

        for (; r != -EHOSTDOWN || shared->attempts < 3; msec *= 2) {
                struct fake fake = start_telling(script_always_hangs_up, msec);
                struct fdpass *c = fake_open(&fake);

                ck_assert_int_eq(fdpass_set_timeout(c, msec), 0);
                before = now_msec();
                r = fdpass_acquire(c, "web", &fd);
                ck_assert_int_ge((int) (now_msec() - before), msec - 1);
                /* Not yet hung up on when the time was over: it had no processor. */
                ck_assert(r == -EHOSTDOWN || r == -ETIMEDOUT);
                ck_assert_int_lt(shared->attempts, 30 + msec / 30);
                fdpass_close(c);
                fake_kill(&fake);
        }
}
END_TEST

static void close_all(int *fds, int n) {
        for (int i = 0; i < n; i++) {
                ck_assert_int_gt(fds[i], 2);
                ck_assert_int_eq(close(fds[i]), 0);
        }
        free(fds);
}

static void script_cut_parts(int listening) {
        int c = fake_accept(listening);

        (void) fake_request(c);
        fake_send(c, "OK=1\nSERIAL=%s\nFDS=2\nPART=1\nPARTS=2", 1);
        close(c);
        c = fake_accept(listening);
        (void) fake_request(c);
        fake_send(c, "OK=1\nSERIAL=%s\nFDS=2\nPART=1\nPARTS=2", 1);
        fake_send(c, "OK=1\nSERIAL=%s\nFDS=2\nPART=2\nPARTS=2", 1);
        for (int i = 0; i < 3; i++) { /* and then it never ends well */
                (void) fake_request(c);
                fake_send(c, "OK=1\nSERIAL=%s\nFDS=2\nPART=1\nPARTS=2", 1);
                close(c);
                if (i < 2)
                        c = fake_accept(listening);
        }
}

START_TEST(an_answer_cut_off_between_parts_is_asked_for_again) {
        struct fake fake = fake_start(script_cut_parts);
        struct fdpass *c = fake_open(&fake);
        int *fds;

        ck_assert_int_eq(fdpass_acquire_all(c, "web", &fds), 2);
        close_all(fds, 2);
        ck_assert_int_eq(fdpass_acquire_all(c, "web", &fds), -EHOSTDOWN);
        fake_assert_dead(c);
        fdpass_close(c);
        fake_join(&fake);
}
END_TEST

SUITE("reconnect", {
        TEST(no_answer_is_a_timeout_and_the_connection_is_dead);
        TEST(events_do_not_prolong_the_wait_for_an_answer);
        TEST(an_event_at_the_last_moment_does_not_start_the_clock_anew);
        TEST(an_answer_that_came_in_time_is_heard_late);
        TEST(signals_neither_end_nor_prolong_the_wait);
        TEST(a_changed_timeout_holds_from_the_next_call_on);
        TEST(a_lost_broker_is_found_again_and_the_request_repeated);
        TEST(a_broker_that_starts_anew_is_waited_for);
        TEST(a_broker_that_does_not_come_back_in_time_is_an_error);
        TEST(a_broker_that_came_back_in_time_is_found_late);
        tcase_add_loop_test(tests_, patience_with_a_lost_broker_is_bounded_apart_from_the_call, 0,
                            2);
        TEST(a_broker_that_always_hangs_up_is_asked_less_and_less_often);
        TEST(an_answer_cut_off_between_parts_is_asked_for_again);
})
