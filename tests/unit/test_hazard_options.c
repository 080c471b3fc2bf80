/* A holder changes what all holders share: backlog, flags, options, filters. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "hazards_support.h"
#include "sockets_support.h"
#include "support.h"

START_TEST(a_changed_backlog_is_mended_at_the_next_hand_off) {
        struct hazard f;
        int fd;

        hazard_start_tcp(&f);
        fd = hazard_hold(&f);
        ck_assert_uint_eq(test_limit_of(fd), HAZARD_BACKLOG);
        ck_assert_int_eq(listen(fd, 1), 0);
        ck_assert_uint_eq(test_limit_of(fd), 1);
        ck_assert_int_eq(listener_check(f.listener), 0); /* also under a living holder */
        ck_assert_uint_eq(test_limit_of(fd), HAZARD_BACKLOG);
        ck_assert_ptr_nonnull(strstr(f.lines, "backlog"));
        hazard_let_go(&f, fd);
        hazard_stop(&f);
}
END_TEST

/* How many clients a Unix listener takes before it is full: backlog + 1, unix(7) is silent. */
static unsigned room_of(const char *path) {
        struct sockaddr_un un = {.sun_family = AF_UNIX};
        int clients[4 * HAZARD_BACKLOG];
        unsigned n = 0;

        (void) snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
        for (; n < 4 * HAZARD_BACKLOG; n++) {
                clients[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
                if (connect(clients[n], (struct sockaddr *) &un, sizeof(un)) < 0) {
                        close(clients[n]);
                        break;
                }
        }
        for (unsigned i = 0; i < n; i++)
                close(clients[i]);
        return n;
}

START_TEST(a_changed_backlog_of_a_unix_listener_is_mended_when_nobody_holds_it) {
        struct hazard f;
        int fd;

        hazard_start_unix(&f);
        fd = hazard_hold(&f);
        ck_assert_int_eq(listen(fd, 1), 0);
        hazard_let_go(&f, fd);
        ck_assert_uint_eq(room_of(f.address.un.sun_path), HAZARD_BACKLOG + 1);
        hazard_stop(&f);
}
END_TEST

START_TEST(o_nonblock_is_left_alone_under_a_living_holder_and_set_back_after_the_last) {
        struct hazard f;
        int fd;

        hazard_start_tcp(&f);
        fd = hazard_hold(&f);
        ck_assert_int_eq(fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK | O_ASYNC), 0);
        ck_assert_int_eq(fcntl(fd, F_SETOWN, getpid()), 0);
        ck_assert_int_eq(listener_check(f.listener), 0); /* another one acquires */
        ck_assert_int_ne(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
        hazard_let_go(&f, fd);
        ck_assert_int_eq(fcntl(hazard_fd(&f), F_GETFL) & (O_NONBLOCK | O_ASYNC), 0);
        ck_assert_int_eq(fcntl(hazard_fd(&f), F_GETOWN), 0);

        /* By one that is no holder, such as a stray: found when the next one comes. */
        ck_assert_int_eq(fcntl(hazard_fd(&f), F_SETFL, O_RDWR | O_NONBLOCK), 0);
        ck_assert_int_eq(listener_check(f.listener), 0);
        ck_assert_int_eq(fcntl(hazard_fd(&f), F_GETFL) & O_NONBLOCK, 0);
        hazard_stop(&f);
}
END_TEST

START_TEST(options_that_a_holder_changed_are_set_back_after_the_last_lease) {
        const struct linger linger = {1, 5};
        const struct timeval timeout = {3, 0};
        struct linger linger_now;
        struct timeval timeout_now;
        socklen_t size;
        struct hazard f;
        int fd, buffer, lock;

        hazard_start_tcp(&f);
        fd = hazard_hold(&f);
        buffer = test_option_of(fd, SOL_SOCKET, SO_RCVBUF);
        lock = test_option_of(fd, SOL_SOCKET, 72 /* SO_BUF_LOCK */);
        test_set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
        test_set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
        test_set_option(fd, SOL_SOCKET, SO_RCVBUF, 8192);
        test_set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
        test_set_option(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 10);
        test_set_option(fd, IPPROTO_TCP, TCP_FASTOPEN, 5);
        test_set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 17);
        ck_assert_int_eq(setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4), 0);
        ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
        ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)), 0);
        ck_assert_int_eq(listener_check(f.listener), 0);
        ck_assert_int_ne(test_option_of(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT), 0); /* still held */
        hazard_let_go(&f, fd);

        fd = hazard_fd(&f);
        ck_assert_int_eq(test_option_of(fd, SOL_SOCKET, SO_KEEPALIVE), 0);
        ck_assert_int_eq(test_option_of(fd, SOL_SOCKET, SO_REUSEPORT), 0);
        ck_assert_int_eq(test_option_of(fd, SOL_SOCKET, SO_RCVBUF), buffer);
        ck_assert_int_eq(test_option_of(fd, SOL_SOCKET, 72), lock);
        ck_assert_int_eq(test_option_of(fd, IPPROTO_TCP, TCP_NODELAY), 0);
        ck_assert_int_eq(test_option_of(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT), 0);
        ck_assert_int_eq(test_option_of(fd, IPPROTO_TCP, TCP_FASTOPEN), 0);
        ck_assert_int_ne(test_option_of(fd, IPPROTO_TCP, TCP_KEEPIDLE), 17);
        size = sizeof(linger_now);
        ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger_now, &size), 0);
        ck_assert_int_eq(linger_now.l_onoff, 0);
        size = sizeof(timeout_now);
        ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout_now, &size), 0);
        ck_assert_int_eq(timeout_now.tv_sec, 0);
        ck_assert_ptr_nonnull(strstr(f.lines, "TCP_DEFER_ACCEPT"));
        ck_assert_int_eq(hazard_reach(&f), 0);
        hazard_stop(&f);
}
END_TEST

START_TEST(an_adopted_socket_goes_back_to_what_it_was_when_it_was_adopted) {
        struct hazard f;
        int fd, given = test_tcp_listener();

        test_set_option(given, IPPROTO_TCP, TCP_NODELAY, 1); /* NoDelay=, KeepAlive= of systemd */
        test_set_option(given, SOL_SOCKET, SO_KEEPALIVE, 1);
        test_set_option(given, IPPROTO_TCP, TCP_DEFER_ACCEPT, 1);
        hazard_start_adopted(&f, given);
        fd = hazard_hold(&f);
        test_set_option(fd, IPPROTO_TCP, TCP_NODELAY, 0);
        test_set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 0);
        test_set_option(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 0);
        hazard_let_go(&f, fd);
        ck_assert_int_ne(test_option_of(hazard_fd(&f), IPPROTO_TCP, TCP_NODELAY), 0);
        ck_assert_int_ne(test_option_of(hazard_fd(&f), SOL_SOCKET, SO_KEEPALIVE), 0);
        ck_assert_int_eq(test_option_of(hazard_fd(&f), IPPROTO_TCP, TCP_DEFER_ACCEPT), 1);
        ck_assert_uint_eq(f.replaced, 0);
        hazard_stop(&f);
}
END_TEST

/* False where only root may: some kernels do not let others attach a filter. */
static bool attach_filter(int fd, bool lock) {
        struct sock_filter drop[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
        struct sock_fprog program = {1, drop};
        int r = setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));

        if (r < 0 && errno == EPERM && geteuid() != 0)
                return false;
        ck_assert_int_eq(r, 0);
        if (lock)
                test_set_option(fd, SOL_SOCKET, SO_LOCK_FILTER, 1);
        return true;
}

START_TEST(a_socket_filter_is_removed_after_the_last_lease) {
        struct hazard f;
        int fd;

        hazard_start_tcp(&f);
        fd = hazard_hold(&f);
        (void) attach_filter(fd, false);
        hazard_let_go(&f, fd);
        ck_assert_int_eq(hazard_reach(&f), 0);
        ck_assert_uint_eq(f.replaced, 0);
        hazard_stop(&f);
}
END_TEST

START_TEST(a_locked_socket_filter_is_answered_with_a_new_socket) {
        struct hazard f;
        bool filtered;
        int fd, stray;

        hazard_start_tcp(&f);
        fd = hazard_hold(&f);
        filtered = attach_filter(fd, true);
        stray = test_holder_of(fd); /* keeps the old socket */
        test_set_option(fd, SOL_SOCKET, SO_REUSEADDR, 0);
        hazard_let_go(&f, fd);
        ck_assert_uint_eq(f.replaced, filtered);
        ck_assert_int_eq(hazard_reach(&f), 0);
        close(stray);
        ck_assert_int_eq(hazard_reach(&f), 0);
        hazard_stop(&f);
}
END_TEST

START_TEST(a_locked_filter_on_a_unix_listener_is_answered_with_a_new_socket) {
        struct hazard f;
        bool filtered;
        int fd;

        hazard_start_unix(&f);
        fd = hazard_hold(&f);
        filtered = attach_filter(fd, true);
        hazard_let_go(&f, fd);
        ck_assert_uint_eq(f.replaced, filtered);
        ck_assert_int_eq(hazard_reach(&f), 0);
        hazard_stop(&f);
}
END_TEST

SUITE("hazard_options", {
        TEST(a_changed_backlog_is_mended_at_the_next_hand_off);
        TEST(a_changed_backlog_of_a_unix_listener_is_mended_when_nobody_holds_it);
        TEST(o_nonblock_is_left_alone_under_a_living_holder_and_set_back_after_the_last);
        TEST(options_that_a_holder_changed_are_set_back_after_the_last_lease);
        TEST(an_adopted_socket_goes_back_to_what_it_was_when_it_was_adopted);
        TEST(a_socket_filter_is_removed_after_the_last_lease);
        TEST(a_locked_socket_filter_is_answered_with_a_new_socket);
        TEST(a_locked_filter_on_a_unix_listener_is_answered_with_a_new_socket);
})
