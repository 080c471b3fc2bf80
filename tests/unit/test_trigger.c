/*
 * What a queue does to a component: the first connection starts one that waits for it, too many
 * starts pause that and never close, and a queue that nobody takes from is reported.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "components/operation.h"
#include "components/stall.h"
#include "components/trigger.h"
#include "life_support.h"
#include "sockets_support.h"
#include "support.h"

#define MANY 200

static struct scene l;
static unsigned port;

static const char *address(bool is_unix) {
        static char text[128];

        port = test_free_port();
        if (is_unix)
                (void) snprintf(text, sizeof(text), "%s", test_path("web.sock"));
        else
                (void) snprintf(text, sizeof(text), "127.0.0.1:%u", port);
        return text;
}

static struct component *a(void) {
        return life_component(&l, "a");
}

static void begin_on(const char *where, const char *socket, const char *component) {
        life_begin(&l, false);
        life_apply(&l,
                   "[Socket web]\nListenStream=%s\nBacklog=16\n%s\n"
                   "[Component a]\nSockets=web\nHealthCheck=exec:true\n%s\n",
                   where, socket, component);
}

static void begin(const char *socket, const char *component) {
        begin_on(address(false), socket, component);
}

/* As a component would. */
static void take(void) {
        int fd = accept4(find(l.w, "web")->fds[0], NULL, NULL, SOCK_CLOEXEC);

        ck_assert_int_ge(fd, 0);
        close(fd);
}

START_TEST(the_first_connection_starts_it) {
        begin("", "Start=on-demand\nExecStart=sleep 60\n");
        life_pass(&l, 20);
        ck_assert(life_is(&l, "a", COMPONENT_WAITING));
        ck_assert_ptr_nonnull(a()->trigger);
        ck_assert_int_eq(test_tcp_connect(port), 0);
        LIFE_UNTIL(&l, life_is(&l, "a", COMPONENT_READY));
        ck_assert(life_said(&l, "a is started: a connection waits"));
        ck_assert_ptr_null(a()->trigger); /* the connection is its affair */
        ck_assert_uint_eq(a()->last_generation, 1);
        life_end(&l);
}
END_TEST

/* None is beyond a bound of ours. */
START_TEST(a_connection_to_the_last_of_many_sockets_starts_it) {
        char sockets[MANY * 64] = "", *end = sockets, last[64];

        for (int k = 0; k < MANY; k++) {
                (void) snprintf(last, sizeof(last), "many-%d", k);
                end += sprintf(end, "ListenStream=%s\n", test_path(last));
        }
        begin(sockets, "Start=on-demand\nExecStart=sleep 60\n");
        life_pass(&l, 20);
        ck_assert(life_is(&l, "a", COMPONENT_WAITING));
        ck_assert_int_ge(test_unix_connect(test_path(last), SOCK_STREAM), 0);
        LIFE_UNTIL(&l, life_is(&l, "a", COMPONENT_READY));
        life_end(&l);
}
END_TEST

START_TEST(what_cannot_be_watched_now_is_watched_later) {
        struct rlimit limit, none;
        int lowest;

        begin("", "Start=on-demand\nExecStart=sleep 60\n");
        life_pass(&l, 20);
        trigger_stop(a());
        lowest = dup(STDIN_FILENO);
        close(lowest);
        ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
        none = (struct rlimit){(rlim_t) lowest, limit.rlim_max};
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
        trigger_update(a());
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
        ck_assert_int_eq(test_tcp_connect(port), 0);
        life_pass(&l, 20);
        ck_assert(life_is(&l, "a", COMPONENT_WAITING));
        LIFE_UNTIL(&l, life_is(&l, "a", COMPONENT_READY));
        life_end(&l);
}
END_TEST

START_TEST(one_that_ends_well_waits_for_the_next) {
        char component[256];

        (void) snprintf(component, sizeof(component),
                        "Start=on-demand\nExecStart=sh -c 'until [ -e %s ]; do sleep 0.01; done'\n",
                        test_path("taken"));
        begin("", component);
        ck_assert_int_eq(test_tcp_connect(port), 0);
        LIFE_UNTIL(&l, life_is(&l, "a", COMPONENT_READY));
        take();
        test_write("taken", "");
        LIFE_UNTIL(&l, a()->trigger && life_is(&l, "a", COMPONENT_WAITING));
        life_pass(&l, 20);
        ck_assert_uint_eq(a()->last_generation, 1);
        ck_assert_int_eq(test_tcp_connect(port), 0);
        LIFE_UNTIL(&l, a()->last_generation == 2);
        life_end(&l);
}
END_TEST

START_TEST(too_many_starts_pause_it_and_the_listener_is_held) {
        struct identity before;
        uint64_t paused;

        begin("TriggerLimitBurst=2\nTriggerLimitIntervalSec=3s\n",
              "Start=on-demand\nExecStart=true\nHandover=stop-first\n");
        before = identity_of(l.w, "web", 0);
        ck_assert_int_eq(test_tcp_connect(port),
                         0); /* taken by nobody: starts it again and again */
        do {                 /* not asked after the turn: we may not come to that at once */
                paused = loop_now_usec();
                life_turn(&l);
        } while (!life_said(&l, "a was started too often by connections"));
        ck_assert_uint_eq(a()->last_generation, 2);
        expect_identity(l.w, "web", 0, before);
        ck_assert_int_eq(test_tcp_connect(port), 0);
        LIFE_UNTIL(&l, a()->last_generation == 3);
        ck_assert_uint_ge(loop_now_usec() - paused, 2900 * 1000);
        life_end(&l);
}
END_TEST

START_TEST(one_that_is_stopped_or_paused_is_not_started_by_connections) {
        struct job *job;

        begin("", "Start=on-demand\nExecStart=sleep 60\n");
        job = life_begin_job(&l, _i == 0 ? JOB_STOP : JOB_PAUSE, "", "a");
        LIFE_UNTIL(&l, job->finished);
        ck_assert_int_eq(test_tcp_connect(port), 0);
        life_pass(&l, 30);
        ck_assert_uint_eq(a()->last_generation, 0);
        ck_assert_ptr_null(a()->trigger);
        job = life_begin_job(&l, _i == 0 ? JOB_START : JOB_RESUME, "", "a");
        ck_assert_int_eq(life_receipt(&l, job, "a")->verdict, VERDICT_SERVES);
        life_end(&l);
}
END_TEST

/* It is to see the connections of the socket that is there now. */
START_TEST(a_changed_listener_is_watched_anew) {
        unsigned other = test_free_port();

        begin("", "Start=on-demand\nExecStart=sleep 60\n");
        LIFE_UNTIL(&l, a()->trigger);
        life_apply(&l,
                   "[Socket web]\nListenStream=127.0.0.1:%u\nListenStream=127.0.0.1:%u\n"
                   "[Component a]\nSockets=web\nStart=on-demand\nHealthCheck=exec:true\n"
                   "ExecStart=sleep 60\n",
                   port, other);
        life_pass(&l, 5);
        ck_assert_int_eq(test_tcp_connect(other), 0);
        LIFE_UNTIL(&l, life_is(&l, "a", COMPONENT_READY));
        life_end(&l);
}
END_TEST

/* ---- a queue that nobody takes from
 * ------------------------------------------------------------*/

START_TEST(a_stalled_queue_is_reported_once_and_its_end_too) {
        const char *said;

        begin("", "ExecStart=sleep 60\nStallSec=100ms\n");
        LIFE_UNTIL(&l, life_is(&l, "a", COMPONENT_READY));
        life_pass(&l, 150);
        ck_assert(!stall_is_stalled(a())); /* nobody waits */
        ck_assert_int_eq(test_tcp_connect(port), 0);
        ck_assert_int_eq(test_tcp_connect(port), 0);
        LIFE_UNTIL(&l, stall_is_stalled(a()));
        ck_assert_ptr_nonnull(said = strstr(l.said, "a is stalled: 2 connections wait and none was "
                                                    "accepted for 100 ms"));
        life_pass(&l, 150);
        ck_assert_ptr_null(strstr(said + 1, "a is stalled"));
        take();
        LIFE_UNTIL(&l, !stall_is_stalled(a()));
        ck_assert(life_said(&l, "a accepts connections again"));
        ck_assert_uint_eq(a()->last_generation, 1);
        life_end(&l);
}
END_TEST

#define STALL_USEC (1000 * 1000)

/* False when the machine was too busy for it, or for the samples: that may have been a stall. */
static bool pass_in_time(unsigned long msec) {
        uint64_t begin = loop_now_usec();

        life_pass(&l, msec);
        return loop_now_usec() - begin < STALL_USEC / 2;
}

static bool is_shortened_in_time(void) {
        bool in_time = true;

        begin("", "ExecStart=sleep 60\nStallSec=1s\n");
        LIFE_UNTIL(&l, life_is(&l, "a", COMPONENT_READY));
        for (int k = 0; k < 12; k++)
                ck_assert_int_eq(test_tcp_connect(port), 0);
        for (int k = 0; k < 11; k++) {
                in_time &= pass_in_time(250);
                take();
        }
        if (!in_time)
                life_end(&l);
        return in_time;
}

/* However slowly it is taken from. */
START_TEST(a_queue_that_becomes_shorter_is_not_stalled) {
        while (!is_shortened_in_time())
                ; /* the next time it may be less busy */
        ck_assert(!life_said(&l, "a is stalled"));
        LIFE_UNTIL(&l, life_said(&l, "a is stalled: 1 connection waits"));
        life_end(&l);
}
END_TEST

static int connect_one(void) {
        struct sockaddr_storage where;
        socklen_t size = sizeof(where);
        int fd;

        ck_assert_int_eq(getsockname(find(l.w, "web")->fds[0], (struct sockaddr *) &where, &size),
                         0);
        fd = socket(where.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ck_assert_int_eq(connect(fd, (struct sockaddr *) &where, size), 0);
        return fd;
}

/* A TCP client that does so is not listed any more, as one that was accepted and closed. */
static void reset(int fd) {
        const struct linger at_once = {.l_onoff = 1};

        (void) setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
        close(fd);
}

static int clients[20];
static size_t n_clients;

static void drop_clients(void) {
        while (n_clients > 0)
                close(clients[--n_clients]);
}

static bool is_taken_from_in_time(bool is_unix) {
        bool in_time = true;

        begin_on(address(is_unix), "", "ExecStart=sleep 60\nStallSec=1s\n");
        LIFE_UNTIL(&l, life_is(&l, "a", COMPONENT_READY));
        while (n_clients < 5)
                clients[n_clients++] = connect_one();
        for (int k = 0; k < 12 && in_time; k++) {
                in_time = pass_in_time(200);
                clients[n_clients++] = connect_one();
                take();
                ck_assert(!in_time || !stall_is_stalled(a()));
        }
        if (!in_time) {
                drop_clients();
                life_end(&l);
        }
        return in_time;
}

/* For each that is taken another one comes: its length says nothing. */
START_TEST(a_full_queue_that_is_taken_from_is_not_stalled) {
        while (!is_taken_from_in_time(_i == 1))
                ; /* the next time it may be less busy */
        LIFE_UNTIL(&l, stall_is_stalled(a()));
        ck_assert(life_said(&l, "5 connections wait and none was accepted"));
        clients[n_clients++] = connect_one();
        take(); /* and its length says nothing of this either */
        LIFE_UNTIL(&l, !stall_is_stalled(a()));
        ck_assert(life_said(&l, "a accepts connections again"));
        drop_clients();
        life_end(&l);
}
END_TEST

/* They come and go, and none is accepted. */
START_TEST(clients_that_give_up_do_not_make_a_queue_move) {
        begin_on(address(_i == 1), "", "ExecStart=sleep 60\nStallSec=200ms\n");
        LIFE_UNTIL(&l, life_is(&l, "a", COMPONENT_READY));
        for (int k = 0; k < 8; k++)
                clients[k] = connect_one();
        for (int k = 0; k < 4; k++) {
                life_pass(&l, 50);
                reset(clients[k]);
                reset(connect_one());
        }
        LIFE_UNTIL(&l, stall_is_stalled(a()));
        for (int k = 4; k < 8; k++) {
                life_pass(&l, 150);
                reset(clients[k]);
        }
        ck_assert(stall_is_stalled(a()));
        ck_assert(!life_said(&l, "a accepts connections again"));
        life_end(&l);
}
END_TEST

START_TEST(a_stalled_component_is_replaced_if_that_is_asked) {
        /* it has not ended: Restart= has no say in it */
        begin("", "ExecStart=sleep 60\nStallSec=100ms\nStallAction=restart\nRestart=no\n");
        LIFE_UNTIL(&l, life_is(&l, "a", COMPONENT_READY));
        ck_assert_int_eq(test_tcp_connect(port), 0);
        LIFE_UNTIL(&l, a()->last_generation == 2);
        ck_assert_uint_eq(a()->restarts, 1);
        take();
        LIFE_UNTIL(&l, life_is(&l, "a", COMPONENT_READY));
        life_end(&l);
}
END_TEST

/* What was refused is asked for again, as long as it lasts. */
START_TEST(a_stalled_component_asks_again) {
        begin("", "ExecStart=sleep 60\nStallSec=100ms\nStallAction=restart\nRestart=always\n"
                  "StartLimitBurst=1\nStartLimitIntervalSec=60\n");
        LIFE_UNTIL(&l, life_is(&l, "a", COMPONENT_READY));
        ck_assert_int_eq(test_tcp_connect(port), 0);
        LIFE_UNTIL(&l, life_said(&l, "a is left as it is for now: it was started too often"));
        ck_assert_uint_eq(a()->last_generation, 2);
        a()->policy.starts.begin_usec -= UINT64_C(60) * 1000 * 1000; /* the minute is over */
        LIFE_UNTIL(&l, a()->last_generation == 3);
        take();
        LIFE_UNTIL(&l, life_is(&l, "a", COMPONENT_READY));
        life_end(&l);
}
END_TEST

SUITE("trigger", {
        TEST(the_first_connection_starts_it);
        TEST(a_connection_to_the_last_of_many_sockets_starts_it);
        TEST(what_cannot_be_watched_now_is_watched_later);
        TEST(one_that_ends_well_waits_for_the_next);
        TEST(too_many_starts_pause_it_and_the_listener_is_held);
        tcase_add_loop_test(tests_, one_that_is_stopped_or_paused_is_not_started_by_connections, 0,
                            2);
        TEST(a_changed_listener_is_watched_anew);
        TEST(a_stalled_queue_is_reported_once_and_its_end_too);
        TEST(a_queue_that_becomes_shorter_is_not_stalled);
        tcase_add_loop_test(tests_, a_full_queue_that_is_taken_from_is_not_stalled, 0, 2);
        tcase_add_loop_test(tests_, clients_that_give_up_do_not_make_a_queue_move, 0, 2);
        TEST(a_stalled_component_is_replaced_if_that_is_asked);
        TEST(a_stalled_component_asks_again);
})
