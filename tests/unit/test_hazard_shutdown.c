/* A holder shuts a listener down, or ends: what clients then see. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/process.h"
#include "hazards_support.h"
#include "sockets_support.h"
#include "support.h"

START_TEST(a_tcp_listener_that_a_holder_shut_down_listens_again_at_once) {
        struct hazard f;
        char name[PROCESS_NAME_SIZE], suspect[64];
        int fd, socket;

        hazard_start_tcp(&f);
        socket = hazard_fd(&f);
        fd = hazard_hold(&f);
        ck_assert_int_eq(shutdown(fd, SHUT_RDWR), 0);
        ck_assert_int_eq(hazard_reach(&f), ECONNREFUSED);
        hazard_turns(&f);
        ck_assert_int_eq(hazard_reach(&f), 0);
        ck_assert_uint_eq(hazard_repairs(&f), 1);
        ck_assert_int_eq(hazard_fd(&f), socket); /* the same socket: holders go on with it */
        ck_assert_uint_eq(f.replaced, 0);
        ck_assert_uint_eq(test_limit_of(socket), HAZARD_BACKLOG);

        ck_assert_uint_eq(f.warnings, 1);
        process_name(getpid(), name);
        (void) snprintf(suspect, sizeof(suspect), "%s (pid %d)", name, (int) getpid());
        ck_assert_msg(strstr(f.lines, suspect) != NULL, "'%s' not in: %s", suspect, f.lines);

        ck_assert_int_eq(shutdown(fd, SHUT_RD), 0); /* and the guard is awake again */
        hazard_turns(&f);
        ck_assert_int_eq(hazard_reach(&f), 0);
        hazard_let_go(&f, fd);
        hazard_stop(&f);
}
END_TEST

START_TEST(a_disconnected_tcp_listener_listens_again_at_its_address) {
        struct hazard f;
        int fd;

        hazard_start_tcp(&f);
        fd = hazard_hold(&f);
        ck_assert_int_eq(test_disconnect(fd), 0);
        hazard_turns(&f);
        ck_assert_int_eq(hazard_reach(&f), 0);
        ck_assert_uint_eq(f.replaced, 0);
        hazard_let_go(&f, fd);
        hazard_stop(&f);
}
END_TEST

START_TEST(a_wildcard_listener_keeps_its_address_too) {
        struct hazard f;
        char where[32];
        int fd;

        (void) snprintf(where, sizeof(where), "0.0.0.0:%u", test_free_port());
        hazard_start(&f, where);
        fd = hazard_hold(&f);
        ck_assert_int_eq(test_disconnect(fd), 0);
        hazard_turns(&f);
        ck_assert_int_eq(hazard_reach(&f), 0);
        ck_assert_int_eq(shutdown(fd, SHUT_RD), 0);
        hazard_turns(&f);
        ck_assert_int_eq(hazard_reach(&f), 0);
        ck_assert_uint_eq(f.replaced, 0);
        ck_assert_uint_eq(hazard_repairs(&f), 2);
        hazard_let_go(&f, fd);
        hazard_stop(&f);
}
END_TEST

START_TEST(a_shut_down_listener_is_mended_before_it_is_lent_even_when_no_event_came_yet) {
        struct hazard f;
        int fd;

        hazard_start_tcp(&f);
        fd = hazard_hold(&f);
        ck_assert_int_eq(shutdown(fd, SHUT_RD), 0);
        ck_assert_int_eq(listener_check(f.listener), 0);
        ck_assert_int_eq(hazard_reach(&f), 0);
        ck_assert_uint_eq(hazard_repairs(&f), 1);
        hazard_turns(&f); /* the event that comes late finds nothing to do */
        ck_assert_uint_eq(hazard_repairs(&f), 1);
        hazard_let_go(&f, fd);
        hazard_stop(&f);
}
END_TEST

START_TEST(living_connections_are_not_in_the_way_when_a_holder_cleared_reuseaddr) {
        struct sockaddr_in in;
        socklen_t size = sizeof(in);
        struct hazard f;
        int fd, client, accepted;

        hazard_start_tcp(&f);
        fd = hazard_hold(&f);
        client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ck_assert_int_eq(getsockname(fd, (struct sockaddr *) &in, &size), 0);
        ck_assert_int_eq(connect(client, (struct sockaddr *) &in, size), 0);
        accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        ck_assert_int_ge(accepted, 0);
        test_set_option(fd, SOL_SOCKET, SO_REUSEADDR, 0);
        ck_assert_int_eq(shutdown(fd, SHUT_RD), 0);
        hazard_turns(&f);
        ck_assert_int_eq(hazard_reach(&f), 0);
        ck_assert_uint_eq(f.errors, 0);
        close(accepted);
        close(client);
        hazard_let_go(&f, fd);
        hazard_stop(&f);
}
END_TEST

START_TEST(a_lost_port_is_said_tried_again_and_taken_back) {
        struct hazard f;
        uint64_t begin;
        int fd, thief;

        hazard_start_tcp(&f);
        fd = hazard_hold(&f);
        ck_assert_int_eq(shutdown(fd, SHUT_RD), 0);
        thief = test_tcp_bound(address_port(&f.address));
        ck_assert_int_eq(listen(thief, 1), 0);
        hazard_turns(&f);
        ck_assert_uint_eq(f.errors, 1);
        ck_assert_ptr_nonnull(strstr(f.lines, "tried again"));
        for (unsigned i = 0; i < 20; i++) /* many ask for it: that puts the repair off no further */
                ck_assert_int_eq(listener_check(f.listener), -EIO);
        close(thief);
        begin = loop_now_usec();
        for (unsigned i = 0; i < 100 && !test_is_accepting(hazard_fd(&f)); i++)
                loop_run_once(f.loop, true); /* nothing but the retry can wake it */
        ck_assert_int_eq(hazard_reach(&f), 0);
        ck_assert_uint_lt(loop_now_usec() - begin, 5000000);
        ck_assert_int_eq(listener_check(f.listener), 0);
        hazard_let_go(&f, fd);
        hazard_stop(&f);
}
END_TEST

/* 20 a second are mended at once, and 20 more when the next second has begun. */
static uint64_t mended_at_once(uint64_t begin) {
        return 20 * ((loop_now_usec() - begin) / 1000000 + 2);
}

START_TEST(a_holder_that_shuts_down_in_a_loop_is_slowed_down_and_mended_in_the_end) {
        uint64_t begin = loop_now_usec();
        struct hazard f;
        int fd;

        hazard_start_tcp(&f);
        fd = hazard_hold(&f);
        for (unsigned i = 0; i < 100; i++) {
                (void) shutdown(fd, SHUT_RD);
                hazard_turns(&f);
        }
        ck_assert_uint_le(hazard_repairs(&f), mended_at_once(begin));
        ck_assert_uint_le(f.warnings, 10);
        for (unsigned i = 0; i < 100 && !test_is_accepting(hazard_fd(&f)); i++)
                loop_run_once(f.loop, true);
        ck_assert_int_eq(hazard_reach(&f), 0);
        hazard_let_go(&f, fd);
        hazard_stop(&f);
}
END_TEST

START_TEST(a_unix_listener_that_was_shut_down_is_bound_anew_at_its_path) {
        struct hazard f;
        struct stat st;
        int fd;

        hazard_start_unix(&f);
        ck_assert_int_eq(chmod(f.address.un.sun_path, 0600), 0);
        fd = hazard_hold(&f);
        ck_assert_int_eq(shutdown(fd, SHUT_RDWR), 0);
        ck_assert_int_eq(hazard_reach(&f), ECONNREFUSED);
        hazard_turns(&f);
        ck_assert_int_eq(hazard_reach(&f), 0);
        ck_assert_uint_eq(f.replaced, 1);
        ck_assert_uint_eq(hazard_repairs(&f), 1);
        ck_assert_int_eq(hazard_fd(&f), f.listener->sockets[0]->fd);
        ck_assert_int_eq(fstat(hazard_fd(&f), &st), 0);
        ck_assert_uint_eq(f.listener->sockets[0]->inode, st.st_ino);
        ck_assert_int_eq(lstat(f.address.un.sun_path, &st), 0);
        ck_assert_uint_eq(st.st_mode & 07777, 0666); /* as configured */

        /* The guards are those of the new socket. */
        ck_assert_int_eq(unlink(f.address.un.sun_path), 0);
        hazard_turns(&f);
        ck_assert_int_eq(hazard_reach(&f), 0);
        ck_assert_int_eq(shutdown(hazard_fd(&f), SHUT_RD), 0);
        hazard_turns(&f);
        ck_assert_int_eq(hazard_reach(&f), 0);
        ck_assert_uint_eq(f.replaced, 2);
        hazard_let_go(&f, fd);
        hazard_stop(&f);
}
END_TEST

START_TEST(a_unix_listener_is_mended_before_it_is_lent_even_when_no_event_came_yet) {
        struct hazard f;
        int fd;

        hazard_start_unix(&f);
        fd = hazard_hold(&f);
        ck_assert_int_eq(shutdown(fd, SHUT_RD), 0);
        ck_assert_int_eq(listener_check(f.listener), 0);
        ck_assert_int_eq(hazard_reach(&f), 0);
        hazard_turns(&f);
        ck_assert_uint_eq(f.replaced, 1);
        hazard_let_go(&f, fd);
        hazard_stop(&f);
}
END_TEST

START_TEST(a_unix_listener_that_is_shut_down_in_a_loop_is_not_bound_anew_in_a_loop) {
        uint64_t begin = loop_now_usec();
        struct hazard f;

        hazard_start_unix(&f);
        for (unsigned i = 0; i < 100; i++) {
                (void) shutdown(hazard_fd(&f), SHUT_RD);
                (void) listener_check(f.listener);
                hazard_turns(&f);
        }
        ck_assert_uint_le(f.replaced, mended_at_once(begin));
        for (unsigned i = 0; i < 100 && hazard_reach(&f) != 0; i++)
                loop_run_once(f.loop, true);
        ck_assert_int_eq(hazard_reach(&f), 0);
        ck_assert_int_eq(listener_check(f.listener), 0);
        hazard_stop(&f);
}
END_TEST

START_TEST(an_adopted_socket_that_loses_its_port_by_a_shutdown_is_bound_anew) {
        struct hazard f;
        int fd, given = test_tcp_bound(0); /* not an explicit port: the kernel takes it back */

        ck_assert_int_eq(listen(given, TEST_BACKLOG), 0);
        hazard_start_adopted(&f, given);
        fd = hazard_hold(&f);
        ck_assert_int_eq(shutdown(fd, SHUT_RD), 0);
        hazard_turns(&f);
        ck_assert_int_eq(hazard_reach(&f), 0);
        ck_assert_uint_eq(test_port_of(hazard_fd(&f)), address_port(&f.address));
        ck_assert_uint_eq(f.replaced, 1);
        hazard_let_go(&f, fd);
        hazard_stop(&f);
}
END_TEST

START_TEST(connections_that_wait_outlive_the_end_of_the_last_holder) {
        struct hazard f;
        int fd, accepted;

        hazard_start_tcp(&f);
        fd = hazard_hold(&f);
        ck_assert_int_eq(hazard_reach(&f), 0);
        hazard_let_go(&f, fd);
        ck_assert_int_eq(hazard_reach(&f), 0);
        fd = hazard_hold(&f);
        for (unsigned i = 0; i < 2; i++) {
                struct pollfd p = {.fd = fd, .events = POLLIN};

                ck_assert_int_eq(poll(&p, 1, 0), 1);
                accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
                ck_assert_int_ge(accepted, 0);
                close(accepted);
        }
        hazard_let_go(&f, fd);
        hazard_stop(&f);
}
END_TEST

static void on_timeout(void *owner) {
        *(bool *) owner = true;
}

START_TEST(a_listener_with_a_repair_under_way_can_be_freed) {
        struct timer timer = {0};
        bool timed_out = false;
        struct hazard f;
        int fd, thief;

        hazard_start_tcp(&f);
        fd = hazard_hold(&f);
        ck_assert_int_eq(shutdown(fd, SHUT_RD), 0);
        thief = test_tcp_bound(address_port(&f.address));
        ck_assert_int_eq(listen(thief, 1), 0);
        hazard_turns(&f);
        close(fd);
        holder_put(f.holder);
        f.table = listener_table_free(f.table);
        timer_start(&timer, f.loop, 200000, on_timeout, &timed_out);
        while (!timed_out) /* longer than the repair would have waited */
                loop_run_once(f.loop, true);
        hazard_stop(&f);
        close(thief);
}
END_TEST

SUITE("hazard_shutdown", {
        TEST(a_tcp_listener_that_a_holder_shut_down_listens_again_at_once);
        TEST(a_disconnected_tcp_listener_listens_again_at_its_address);
        TEST(a_wildcard_listener_keeps_its_address_too);
        TEST(a_shut_down_listener_is_mended_before_it_is_lent_even_when_no_event_came_yet);
        TEST(living_connections_are_not_in_the_way_when_a_holder_cleared_reuseaddr);
        TEST(a_lost_port_is_said_tried_again_and_taken_back);
        TEST(a_holder_that_shuts_down_in_a_loop_is_slowed_down_and_mended_in_the_end);
        TEST(a_unix_listener_that_was_shut_down_is_bound_anew_at_its_path);
        TEST(a_unix_listener_is_mended_before_it_is_lent_even_when_no_event_came_yet);
        TEST(a_unix_listener_that_is_shut_down_in_a_loop_is_not_bound_anew_in_a_loop);
        TEST(an_adopted_socket_that_loses_its_port_by_a_shutdown_is_bound_anew);
        TEST(connections_that_wait_outlive_the_end_of_the_last_holder);
        TEST(a_listener_with_a_repair_under_way_can_be_freed);
})
