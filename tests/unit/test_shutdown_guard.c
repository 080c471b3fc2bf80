#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "core/loop.h"
#include "sockets/shutdown_guard.h"
#include "sockets_support.h"
#include "support.h"

/* A guarded socket, and what its guard reported. */
struct guarded {
        struct shutdown_guard guard;
        struct shutdown_guard *stop_too; /* stopped by the handler */
        int fd;
        unsigned reports;
};

struct fixture {
        struct loop *loop;
        struct shutdown_watch *watch;
};

static void on_hung_up(void *owner) {
        struct guarded *g = owner;

        g->reports++;
        if (g->stop_too)
                shutdown_guard_stop(g->stop_too);
}

static void start(struct fixture *f) {
        ck_assert_int_eq(loop_new(&f->loop), 0);
        ck_assert_int_eq(shutdown_watch_new(&f->watch, f->loop), 0);
}

static void stop(struct fixture *f) {
        shutdown_watch_free(f->watch);
        loop_free(f->loop);
}

static void guard(struct fixture *f, struct guarded *g) {
        ck_assert_int_eq(shutdown_guard_start(&g->guard, f->watch, g->fd, on_hung_up, g), 0);
}

static void turns(struct fixture *f, unsigned n) {
        while (n--)
                loop_run_once(f->loop, false);
}

START_TEST(shutdown_by_a_holder_is_reported_once_and_does_not_spin) {
        struct guarded g = {.fd = test_tcp_listener()};
        int holder = test_holder_of(g.fd);
        struct fixture f;

        start(&f);
        guard(&f, &g);
        turns(&f, 3);
        ck_assert_uint_eq(g.reports, 0);
        ck_assert_int_eq(shutdown(holder, SHUT_RDWR), 0);
        turns(&f, 10); /* not mended: a guard that did not sleep would report ten times */
        ck_assert_uint_eq(g.reports, 1);

        guard(&f, &g); /* started again while the cause is still there */
        turns(&f, 3);
        ck_assert_uint_eq(g.reports, 2);
        ck_assert_int_eq(listen(g.fd, TEST_BACKLOG), 0);
        guard(&f, &g);
        turns(&f, 3);
        ck_assert_uint_eq(g.reports, 2);

        shutdown_guard_stop(&g.guard);
        close(holder);
        close(g.fd);
        stop(&f);
}
END_TEST

START_TEST(disconnect_and_unix_shutdown_are_reported) {
        struct guarded tcp = {.fd = test_tcp_listener()};
        struct guarded local = {.fd = test_unix_listener(test_path("s"))};
        struct fixture f;

        start(&f);
        guard(&f, &tcp);
        guard(&f, &local);
        ck_assert_int_eq(test_disconnect(tcp.fd), 0);
        ck_assert_int_eq(shutdown(local.fd, SHUT_RD), 0);
        turns(&f, 2);
        ck_assert_uint_eq(tcp.reports, 1);
        ck_assert_uint_eq(local.reports, 1);
        shutdown_guard_stop(&tcp.guard);
        shutdown_guard_stop(&local.guard);
        close(tcp.fd);
        close(local.fd);
        stop(&f);
}
END_TEST

static void on_timeout(void *owner) {
        *(bool *) owner = true;
}

START_TEST(a_waiting_connection_does_not_wake_the_loop) {
        struct guarded g = {.fd = test_tcp_listener()};
        struct timer timer = {0};
        struct fixture f;
        uint64_t begin;
        bool timed_out = false;

        start(&f);
        guard(&f, &g);
        ck_assert_int_eq(test_tcp_connect(test_port_of(g.fd)), 0);
        /* One turn of a loop with nothing to do but the timer: if the first thing that happens is
         * not the timer, the connection woke us. */
        begin = loop_now_usec();
        timer_start(&timer, f.loop, 20000, on_timeout, &timed_out);
        loop_run_once(f.loop, true);
        ck_assert_uint_ge(loop_now_usec() - begin, 19000);
        while (!timed_out)
                loop_run_once(f.loop, true);
        ck_assert_uint_eq(g.reports, 0);
        shutdown_guard_stop(&g.guard);
        close(g.fd);
        stop(&f);
}
END_TEST

START_TEST(a_stopped_guard_reports_nothing_though_holders_keep_the_socket) {
        struct guarded g = {.fd = test_tcp_listener()};
        int holder = test_holder_of(g.fd);
        struct fixture f;

        start(&f);
        guard(&f, &g);
        shutdown_guard_stop(&g.guard);
        shutdown_guard_stop(&g.guard); /* and twice is once */
        close(g.fd);
        ck_assert_int_eq(shutdown(holder, SHUT_RD), 0);
        turns(&f, 3);
        ck_assert_uint_eq(g.reports, 0);
        close(holder);
        stop(&f);
}
END_TEST

START_TEST(a_handler_may_stop_another_guard_that_is_due) {
        struct guarded a = {.fd = test_tcp_listener()}, b = {.fd = test_tcp_listener()};
        struct fixture f;

        start(&f);
        guard(&f, &a);
        guard(&f, &b);
        a.stop_too = &b.guard;
        b.stop_too = &a.guard;
        ck_assert_int_eq(shutdown(a.fd, SHUT_RD), 0);
        ck_assert_int_eq(shutdown(b.fd, SHUT_RD), 0);
        turns(&f, 3);
        ck_assert_uint_eq(a.reports + b.reports, 1);
        shutdown_guard_stop(&a.guard);
        shutdown_guard_stop(&b.guard);
        close(a.fd);
        close(b.fd);
        stop(&f);
}
END_TEST

START_TEST(what_cannot_be_watched_is_an_error) {
        struct guarded g = {.fd = open("/dev/null", O_RDONLY | O_CLOEXEC)};
        struct fixture f;

        start(&f);
        close(g.fd);
        ck_assert_int_eq(shutdown_guard_start(&g.guard, f.watch, g.fd, on_hung_up, &g), -EBADF);
        shutdown_guard_stop(&g.guard); /* nothing was started */
        stop(&f);
}
END_TEST

SUITE("shutdown guard", {
        TEST(shutdown_by_a_holder_is_reported_once_and_does_not_spin);
        TEST(disconnect_and_unix_shutdown_are_reported);
        TEST(a_waiting_connection_does_not_wake_the_loop);
        TEST(a_stopped_guard_reports_nothing_though_holders_keep_the_socket);
        TEST(a_handler_may_stop_another_guard_that_is_due);
        TEST(what_cannot_be_watched_is_an_error);
})
