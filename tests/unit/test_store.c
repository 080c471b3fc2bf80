/*
 * The fd store for programs, in a broker without a keeper: what the end-to-end tests cannot bring
 * about. Those (tests/integration/test_store.py) have the keeper, other users and the library.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "control/descriptor.h"
#include "control_fixture.h"
#include "support.h"

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* Linux 6.16 */
#endif

static struct fixture *with_store(int *ret_client) {
        struct fixture *f = fixture_new("");

        *ret_client = client_connect(f);
        ask(f, *ret_client, "VERB=HELLO", "OK=1\n");
        return f;
}

static void store(struct fixture *f, int client, const char *request, int fd) {
        client_send_fd(client, request, fd, 0);
        ck_assert_str_eq(client_receive(f, client), "OK=1\n");
}

static bool has_hung_up(int read_end) {
        char byte;

        return read(read_end, &byte, 1) == 0;
}

START_TEST(without_hello_no_descriptor_is_taken) {
        struct fixture *f = fixture_new("");
        int fd = client_connect(f);

        TURN_UNTIL(f, f->control->n_sessions == 1);
        if (f->control->refuses_descriptors)
                client_send_fd(fd, "VERB=STORE\nNAME=a", STDIN_FILENO, EPERM);
        ask(f, fd, "VERB=HELLO", "OK=1\n");
        store(f, fd, "VERB=STORE\nNAME=a", STDIN_FILENO);
        close_fd(fd);
        fixture_free(f);
}
END_TEST

START_TEST(a_broker_that_ends_closes_what_is_stored) {
        int fd, ends[2];
        struct fixture *f = with_store(&fd);

        ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
        store(f, fd, "VERB=STORE\nNAME=a", ends[1]);
        close_fd(ends[1]);
        close_fd(fd);
        fixture_free(f);
        ck_assert(has_hung_up(ends[0])); /* waits for the child that was killed, not for luck */
        close_fd(ends[0]);
}
END_TEST

/* As on a kernel before 6.16, where descriptors come whether or not they are wanted. */
START_TEST(old_kernels_take_descriptors_after_hello_and_end_the_session_before) {
        struct fixture *f = fixture_new("");
        int fd, early, yes = 1;

        f->control->refuses_descriptors = false;
        (void) setsockopt(control_socket_fd(f->control), SOL_SOCKET, SO_PASSRIGHTS, &yes,
                          sizeof(yes));
        early = client_connect(f);
        client_send_fd(early, "VERB=STORE\nNAME=a", STDIN_FILENO, 0);
        ck_assert_int_eq(strncmp(client_receive(f, early), "ERROR=EINVAL\n", 13), 0);
        ck_assert_str_eq(client_receive(f, early), "");
        close_fd(early);
        fd = client_connect(f);
        ck_assert_ptr_nonnull(strstr(ask(f, fd, "VERB=HELLO", "OK=1\n"), "\nSTORE=1\n"));
        store(f, fd, "VERB=STORE\nNAME=a", STDIN_FILENO);
        ask(f, fd, "VERB=TAKE\nNAME=a", "OK=1\n");
        close_fd(fd);
        TURN_UNTIL(f, f->control->n_sessions == 0);
        fixture_free(f);
}
END_TEST

/* A session with descriptors that nobody received is closed by a child, not in the loop. */
START_TEST(a_session_that_may_hold_descriptors_ends_unclean) {
        int fd, ends[2];
        struct fixture *f = with_store(&fd);
        struct session *s = LIST_FIRST(&f->control->sessions);

        ck_assert(s->takes_descriptors);
        ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
        client_send_fd(fd, "VERB=STORE\nNAME=a", ends[1], 0);
        close_fd(ends[1]);
        session_end(s);
        ck_assert_ptr_nonnull(f->control->disposal.helper);
        TURN_UNTIL(f, !f->control->disposal.helper);
        ck_assert_uint_eq(f->control->n_sessions, 0);
        close_fd(fd);
        ck_assert(has_hung_up(ends[0]));
        close_fd(ends[0]);
        fixture_free(f);
}
END_TEST

START_TEST(quotas_count_what_stays_and_not_what_is_replaced) {
        int fd;
        struct fixture *f = with_store(&fd);

        f->broker->limits.stored = 2;
        store(f, fd, "VERB=STORE\nNAME=a", STDIN_FILENO);
        store(f, fd, "VERB=STORE\nNAME=b", STDIN_FILENO);
        store(f, fd, "VERB=STORE\nNAME=b", STDIN_FILENO);
        client_send_fd(fd, "VERB=STORE\nNAME=c", STDIN_FILENO, 0);
        ck_assert_int_eq(strncmp(client_receive(f, fd), "ERROR=EDQUOT\n", 13), 0);
        ask(f, fd, "VERB=DROP\nNAME=a", "OK=1\n");
        store(f, fd, "VERB=STORE\nNAME=c", STDIN_FILENO);
        close_fd(fd);
        fixture_free(f);
}
END_TEST

/* The answer that could not be sent at once is composed anew, from what is stored then. */
START_TEST(a_take_that_has_to_wait_is_answered_later) {
        int fd;
        struct fixture *f = with_store(&fd);

        store(f, fd, "VERB=STORE\nNAME=a", STDIN_FILENO);
        f->broker->limits.fds_in_flight_per_session = 1;
        client_send(fd, "VERB=TAKE\nNAME=a\nSERIAL=1");
        client_send(fd, "VERB=TAKE\nNAME=a\nSERIAL=2");
        TURN_UNTIL(f, !outgoing_is_empty(&LIST_FIRST(&f->control->sessions)->outgoing));
        ck_assert_ptr_nonnull(strstr(client_receive(f, fd), "\nSERIAL=1\n"));
        ck_assert_ptr_nonnull(strstr(client_receive(f, fd), "\nSERIAL=2\n"));
        ck_assert_uint_eq(client_fds()->count, 1);
        close_fd(fd);
        fixture_free(f);
}
END_TEST

START_TEST(kinds_of_descriptors_are_told_apart) {
        int epoll = epoll_create1(EPOLL_CLOEXEC), pair[2],
            plain = memfd_create("plain", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        ck_assert_ptr_nonnull(descriptor_refusal(epoll, "/run/x.sock"));
        ck_assert_ptr_null(descriptor_refusal(pair[0], "/run/x.sock"));
        ck_assert_ptr_null(descriptor_refusal(plain, "/run/x.sock"));
        ck_assert_ptr_nonnull(descriptor_data_refusal(pair[0], 1));
        ck_assert_int_eq(ftruncate(plain, 3), 0);
        ck_assert_ptr_nonnull(descriptor_data_refusal(plain, 3));
        ck_assert_int_eq(fcntl(plain, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK), 0);
        ck_assert_ptr_null(descriptor_data_refusal(plain, 3));
        ck_assert_ptr_nonnull(descriptor_data_refusal(plain, 4));
        close_fd(epoll);
        close_fd(plain);
        close_fd(pair[0]);
        close_fd(pair[1]);
}
END_TEST

SUITE("store", {
        TEST(without_hello_no_descriptor_is_taken);
        TEST(old_kernels_take_descriptors_after_hello_and_end_the_session_before);
        TEST(a_broker_that_ends_closes_what_is_stored);
        TEST(a_session_that_may_hold_descriptors_ends_unclean);
        TEST(quotas_count_what_stays_and_not_what_is_replaced);
        TEST(a_take_that_has_to_wait_is_answered_later);
        TEST(kinds_of_descriptors_are_told_apart);
})
