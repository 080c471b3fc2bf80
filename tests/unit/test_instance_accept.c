/*
 * Instances that are not seen to wait for connections, asked by connections of ours. The program
 * sleeps and never accepts; others who share its listeners are the test itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "life_support.h"
#include "sockets/queue.h"
#include "sockets_support.h"
#include "support.h"

#define TAKEN_MAX 512

static struct scene l;

static struct listener_socket *socket_at(size_t at) {
        return find(l.w, "web")->sockets[at];
}

static unsigned waiting(size_t at) {
        struct queue q;

        ck_assert_int_eq(queue_read(socket_at(at)->fd, &q), 0);
        return q.length;
}

/* `addresses`: ListenStream= lines. */
static void begin(const char *addresses, const char *component) {
        life_begin(&l, false);
        life_apply(&l,
                   "[Socket web]\n%s\nBacklog=64\nNonBlocking=yes\n"
                   "[Component a]\nSockets=web\nExecStart=sleep 60\nStart=manual\n%s\n",
                   addresses, component);
}

static const char *tcp(void) {
        static char text[64];

        (void) snprintf(text, sizeof(text), "ListenStream=127.0.0.1:%u\n", test_free_port());
        return text;
}

static const char *path(void) {
        static char text[128];

        (void) snprintf(text, sizeof(text), "ListenStream=%s\n", test_path("web.sock"));
        return text;
}

/* It runs, and was looked at for long enough: now it is asked. */
static struct instance *asked(uint64_t generation) {
        struct instance *i;

        LIFE_UNTIL(&l, (i = life_instance(&l, "a", generation)) && i->said_ready_usec > 0);
        i->said_ready_usec = 1;
        return i;
}

static struct instance *start(struct job **job) {
        *job = life_begin_job(&l, JOB_START, "", "a");
        return asked(1);
}

static const char *reason(struct job *job) {
        const struct receipt *r = life_receipt(&l, job, "a");

        ck_assert_int_eq(r->verdict, VERDICT_FAILED);
        return r->reason;
}

#define EXPECT_WORDS(text, words)                                                                  \
        do {                                                                                       \
                const char *text_ = (text);                                                        \
                ck_assert_msg(strstr(text_, words), "no '%s' in: %s", words, text_);               \
        } while (0)

/* It is not given up and made again: a closed one would stay in the queue. */
START_TEST(one_connection_waits_for_as_long_as_it_takes) {
        struct instance *i;
        struct job *job;

        begin(_i == 0 ? tcp() : path(), "TimeoutStartSec=60\nRestart=no\n");
        i = start(&job);
        LIFE_UNTIL(&l, waiting(0) == 1);
        life_pass(&l, 100);
        life_let_pass(i);
        EXPECT_WORDS(reason(job), "not seen to accept within TimeoutStartSec= (60 s): it runs and "
                                  "accepted none of 1 connection; if that is meant, set "
                                  "HealthCheck=no");
        ck_assert_uint_eq(waiting(0), 1);
        ck_assert_uint_eq(socket_at(0)->left_waiting, 1);
        life_end(&l);
}
END_TEST

START_TEST(of_those_that_were_left_in_a_queue_there_are_few) {
        struct instance *i;
        int fd;

        begin(tcp(), "TimeoutStartSec=60\nRestart=always\nRestartSec=1ms\nRestartSteps=0\n"
                     "StartLimitIntervalSec=0\n");
        (void) life_begin_job(&l, JOB_START, "", "a");
        for (unsigned k = 1; k <= 10; k++) {
                i = asked(k);
                LIFE_UNTIL(&l, i->accepting);
                if (k <= 4)
                        LIFE_UNTIL(&l, waiting(0) == k);
                else
                        life_pass(&l, 20);
                life_let_pass(i);
        }
        ck_assert_uint_eq(waiting(0), 4);
        /* Whoever takes them makes room. */
        while ((fd = accept4(socket_at(0)->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0)
                close(fd);
        (void) asked(11);
        LIFE_UNTIL(&l, waiting(0) > 0);
        life_end(&l);
}
END_TEST

/* ---- others accept ----------------------------------------------------------------------------*/

static int taken[TAKEN_MAX];
static size_t n_taken, at_once;

static void take(size_t at) {
        size_t before = n_taken;

        while (n_taken < TAKEN_MAX &&
               (taken[n_taken] = accept4(socket_at(at)->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0)
                n_taken++;
        if (n_taken - before > at_once)
                at_once = n_taken - before;
}

static void drop_taken(void) {
        while (n_taken > 0)
                close(taken[--n_taken]);
}

/* Which would be enough if it were not known whose it is. */
START_TEST(what_others_accept_does_not_make_it_ready) {
        uint64_t begun = loop_now_usec();
        struct instance *i;
        struct job *job;

        begin(tcp(), "TimeoutStartSec=60\nRestart=no\n");
        i = start(&job);
        at_once = 0;
        while (n_taken <= 8 || at_once < INSTANCE_PROBES_MAX || loop_now_usec() - begun < 1200000) {
                ck_assert(!job->finished);
                life_turn(&l);
                take(0);
        }
        ck_assert_uint_eq(at_once, INSTANCE_PROBES_MAX); /* a burst */
        /* At growing intervals. */
        ck_assert_uint_lt(n_taken, 250);
        life_let_pass(i);
        EXPECT_WORDS(reason(job), "(others accepted ");
        drop_taken();
        life_end(&l);
}
END_TEST

/* As a server that sends the time of day: by whom it was accepted nobody sees. */
START_TEST(where_nobody_can_tell_its_own_word_is_enough) {
        struct job *job;

        begin(tcp(), "TimeoutStartSec=60\nRestart=no\n");
        (void) start(&job);
        while (!life_is(&l, "a", COMPONENT_READY)) {
                life_turn(&l);
                take(0);
                drop_taken();
        }
        EXPECT_WORDS(life_receipt(&l, job, "a")->ready_by, "its own word: it runs");
        life_end(&l);
}
END_TEST

/* ---- listeners that cannot be asked -----------------------------------------------------------*/

static void expect_own_word(void) {
        const struct receipt *r;
        struct job *job;

        (void) start(&job);
        r = life_receipt(&l, job, "a");
        ck_assert_int_eq(r->verdict, VERDICT_SERVES);
        ck_assert_str_eq(r->ready_by, "its own word: it runs");
}

START_TEST(a_listener_that_waits_for_data_is_not_asked) {
        int seconds = 60;

        begin(tcp(), "TimeoutStartSec=60\nRestart=no\n");
        ck_assert_int_eq(setsockopt(socket_at(0)->fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds,
                                    sizeof(seconds)),
                         0);
        expect_own_word();
        ck_assert(!life_said(&l, "some are made to find out"));
        life_end(&l);
}
END_TEST

/* Bound to a device, or in another network than ours: here its own, without a way out. */
START_TEST(a_listener_that_cannot_be_reached_is_not_held_against_it) {
        begin(tcp(), "TimeoutStartSec=60\nRestart=no\n");
        if (unshare(CLONE_NEWNET) == 0)
                expect_own_word();
        life_end(&l);
}
END_TEST

START_TEST(one_of_several_that_is_never_taken_from_proves_nothing_alone) {
        char addresses[256];
        struct instance *i;
        struct job *job;

        (void) snprintf(addresses, sizeof(addresses), "%s%s", tcp(), path());
        begin(addresses, "TimeoutStartSec=60\nRestart=no\n");
        i = start(&job);
        at_once = 0;
        while (at_once < INSTANCE_PROBES_MAX || waiting(0) == 0) {
                ck_assert(!job->finished);
                life_turn(&l);
                take(1);
        }
        life_let_pass(i);
        EXPECT_WORDS(reason(job), "accepted none of ");
        ck_assert_uint_eq(at_once, INSTANCE_PROBES_MAX);
        ck_assert_uint_eq(waiting(0), 1);
        drop_taken();
        life_end(&l);
}
END_TEST

START_TEST(its_own_word_is_enough_when_that_is_said) {
        begin(tcp(), "HealthCheck=no\n");
        expect_own_word();
        ck_assert_uint_eq(waiting(0), 0);
        life_end(&l);
}
END_TEST

SUITE("instance_accept", {
        tcase_add_loop_test(tests_, one_connection_waits_for_as_long_as_it_takes, 0, 2);
        TEST(of_those_that_were_left_in_a_queue_there_are_few);
        TEST(what_others_accept_does_not_make_it_ready);
        TEST(where_nobody_can_tell_its_own_word_is_enough);
        TEST(a_listener_that_waits_for_data_is_not_asked);
        TEST(a_listener_that_cannot_be_reached_is_not_held_against_it);
        TEST(one_of_several_that_is_never_taken_from_proves_nothing_alone);
        TEST(its_own_word_is_enough_when_that_is_said);
})
