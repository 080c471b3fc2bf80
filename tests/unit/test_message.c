/*
 * The one receive path and the one send path, and what the kernel does with descriptors in transit:
 * a kernel that differs from what the code relies on fails here.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "message.h"
#include "support.h"

static struct message m; /* too large for a comfortable stack frame in a test */

static void pair(int ret[2]) {
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret), 0);
}

static void send_copies(int to, int fd, size_t n) {
        int fds[FD_LIST_MAX + 1];

        for (size_t i = 0; i < n; i++)
                fds[i] = fd;
        ck_assert_int_eq(message_send(to, "A=1", 3, fds, n), 0);
}

START_TEST(descriptors_arrive_with_their_packet_and_close_on_exec) {
        int s[2], fd;

        pair(s);
        ck_assert_int_eq(message_send(s[0], "A=1", 3, NULL, 0), 0);
        send_copies(s[0], s[0], 2);
        ck_assert_int_eq(message_receive(s[1], &m), 1);
        ck_assert_uint_eq(m.fds.count, 0);
        ck_assert_int_eq(message_receive(s[1], &m), 1);
        ck_assert_uint_eq(m.size, 3);
        ck_assert_uint_eq(m.fds.count, 2);
        fd = fd_list_take_fd(&m.fds, 1);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(fd_list_take_fd(&m.fds, 1), -1);
        ck_assert_int_eq(fd_list_take_fd(&m.fds, 2), -1);
        ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        close_fd(fd);
        message_clear(&m);
        close_fd(s[0]);
        ck_assert_int_eq(message_receive(s[1], &m), 0);
        close_fd(s[1]);
}
END_TEST

START_TEST(the_maximum_passes_and_one_more_is_refused) {
        int s[2];

        pair(s);
        send_copies(s[0], s[0], FD_LIST_MAX);
        ck_assert_int_eq(message_receive(s[1], &m), 1);
        ck_assert_uint_eq(m.fds.count, FD_LIST_MAX);
        message_clear(&m);
        int fds[FD_LIST_MAX + 1] = {0};
        ck_assert_int_eq(message_send(s[0], "A=1", 3, fds, FD_LIST_MAX + 1), -EINVAL);
        close_fd(s[0]);
        close_fd(s[1]);
}
END_TEST

/* unix(7): out of descriptors on receipt looks like truncation, not like EMFILE. */
START_TEST(truncated_descriptors_are_an_error_and_none_leaks) {
        struct rlimit old, low;
        unsigned before;
        int s[2];

        if (SKIPPED_UNDER_VALGRIND(VALGRIND_KEEPS_LIMITS))
                return;
        pair(s);
        send_copies(s[0], s[0], 5);
        ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
        before = test_open_fds();
        int next = fcntl(s[0], F_DUPFD_CLOEXEC, 3);
        close_fd(next);
        low = old;
        low.rlim_cur = (rlim_t) next + 2; /* room for two */
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
        int r = message_receive(s[1], &m);
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
        ck_assert_int_eq(r, -EMFILE);
        ck_assert_uint_eq(m.fds.count, 0);
        ck_assert_uint_eq(test_open_fds(), before);
        close_fd(s[0]);
        close_fd(s[1]);
}
END_TEST

/* For who must not close them himself: all that came, and each of them once. */
START_TEST(of_a_truncated_packet_what_came_can_be_had) {
        struct rlimit old, low;
        unsigned before;
        int s[2];

        if (SKIPPED_UNDER_VALGRIND(VALGRIND_KEEPS_LIMITS))
                return;
        pair(s);
        send_copies(s[0], s[0], 5);
        ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
        before = test_open_fds();
        int next = fcntl(s[0], F_DUPFD_CLOEXEC, 3);
        close_fd(next);
        low = old;
        low.rlim_cur = (rlim_t) next + 2;
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
        int r = message_receive_foreign(s[1], &m);
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
        ck_assert_int_eq(r, -EMFILE);
        ck_assert_uint_eq(m.fds.count, 2);
        ck_assert_uint_eq(test_open_fds(), before + 2);
        message_clear(&m);
        ck_assert_uint_eq(test_open_fds(), before);
        close_fd(s[0]);
        close_fd(s[1]);
}
END_TEST

START_TEST(a_copy_leaves_the_packet_where_it_is) {
        unsigned before;
        int s[2];

        pair(s);
        send_copies(s[0], s[0], 5);
        close_fd(s[0]);
        before = test_open_fds();
        for (int i = 0; i < 3; i++) {
                ck_assert_int_eq(message_receive_copy(s[1], &m), 1);
                ck_assert_uint_eq(m.fds.count, 5);
                message_clear(&m);
                ck_assert_uint_eq(test_open_fds(), before);
        }
        close_fd(s[1]);
}
END_TEST

START_TEST(a_packet_over_the_limit_is_an_error_with_its_descriptors_closed) {
        static char big[MESSAGE_SIZE_MAX + 1];
        unsigned before;
        int s[2];

        pair(s);
        before = test_open_fds();
        ck_assert_int_eq(message_send(s[0], big, sizeof(big), NULL, 0), -EMSGSIZE);
        ck_assert_int_eq(message_send(s[0], big, MESSAGE_SIZE_MAX, NULL, 0), 0);
        ck_assert_int_eq(message_receive(s[1], &m), 1);
        ck_assert_uint_eq(m.size, MESSAGE_SIZE_MAX);
        ck_assert_int_eq((int) send(s[0], big, sizeof(big), 0), (int) sizeof(big));
        ck_assert_int_eq(message_receive(s[1], &m), -EMSGSIZE);
        ck_assert_uint_eq(test_open_fds(), before);
        close_fd(s[0]);
        close_fd(s[1]);
}
END_TEST

START_TEST(nothing_blocks_and_an_empty_packet_is_never_sent) {
        int s[2], r;

        pair(s);
        ck_assert_int_eq(message_receive(s[1], &m), -EAGAIN);
        ck_assert_int_eq(message_send(s[0], "", 0, NULL, 0), -EINVAL);
        do
                r = message_send(s[0], "A=1", 3, NULL, 0);
        while (r == 0);
        ck_assert_int_eq(r, -EAGAIN);
        close_fd(s[1]);
        /* Once, because it closed with packets unread; then EPIPE for ever, and no SIGPIPE. */
        ck_assert_int_eq(message_send(s[0], "A=1", 3, NULL, 0), -ECONNRESET);
        ck_assert_int_eq(message_send(s[0], "A=1", 3, NULL, 0), -EPIPE);
        close_fd(s[0]);
}
END_TEST

/* CMSG_SPACE pads to 8 bytes: the padding of a buffer for one descriptor takes a second one. */
START_TEST(kernel_padding_takes_a_second_descriptor) {
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int))];
        } control;
        char byte[8];
        struct iovec iov = {byte, sizeof(byte)};
        struct msghdr h = {.msg_iov = &iov,
                           .msg_iovlen = 1,
                           .msg_control = &control,
                           .msg_controllen = sizeof(control)};
        int s[2], got[2];

        pair(s);
        send_copies(s[0], s[0], 2);
        ck_assert_int_eq((int) recvmsg(s[1], &h, MSG_CMSG_CLOEXEC), 3);
        ck_assert(!(h.msg_flags & MSG_CTRUNC));
        ck_assert_uint_eq(control.align.cmsg_len, CMSG_LEN(2 * sizeof(int)));
        memcpy(got, CMSG_DATA(&control.align), sizeof(got));
        close_fd(got[0]);
        close_fd(got[1]);
        close_fd(s[0]);
        close_fd(s[1]);
}
END_TEST

START_TEST(the_sender_is_told_in_the_kernels_words) {
        struct message_sender sender;
        int s[2], on = 1;

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, s), 0);
        ck_assert_int_eq(message_send(s[0], "A=1", 3, NULL, 0), 0);
        ck_assert_int_eq(message_receive_from(s[1], &m, &sender), 1);
        ck_assert(!sender.is_known); /* nobody had asked */
        ck_assert_int_eq(sender.pidfd, -1);
        ck_assert_int_eq(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), 0);
        (void) setsockopt(s[1], SOL_SOCKET, 76 /* SO_PASSPIDFD */, &on, sizeof(on));
        /* The sender takes none of the room of the descriptors. */
        send_copies(s[0], s[0], FD_LIST_MAX);
        ck_assert_int_eq(message_receive_from(s[1], &m, &sender), 1);
        ck_assert(sender.is_known);
        ck_assert_int_eq(sender.pid, getpid());
        ck_assert_uint_eq(sender.uid, getuid());
        ck_assert_uint_eq(sender.gid, getgid());
        if (sender.pidfd >= 0)
                ck_assert(fcntl(sender.pidfd, F_GETFD) & FD_CLOEXEC);
        ck_assert_uint_eq(m.fds.count, FD_LIST_MAX);
        message_clear(&m);
        close_fd(sender.pidfd);
        close_fd(s[0]);
        close_fd(s[1]);
}
END_TEST

START_TEST(truncated_descriptors_are_left_to_who_asked_for_the_sender) {
        struct message_sender sender;
        struct rlimit old, low;
        int s[2];

        if (SKIPPED_UNDER_VALGRIND(VALGRIND_KEEPS_LIMITS))
                return;
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, s), 0);
        send_copies(s[0], s[0], 10);
        ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
        low = old;
        low.rlim_cur = (rlim_t) s[1] + 4;
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
        int r = message_receive_from(s[1], &m, &sender);
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
        ck_assert_int_eq(r, -EMFILE);
        ck_assert_uint_gt(m.fds.count, 0);
        ck_assert_uint_lt(m.fds.count, 10);
        message_clear(&m);
        close_fd(s[0]);
        close_fd(s[1]);
}
END_TEST

SUITE("message", {
        TEST(the_sender_is_told_in_the_kernels_words);
        TEST(truncated_descriptors_are_left_to_who_asked_for_the_sender);
        TEST(descriptors_arrive_with_their_packet_and_close_on_exec);
        TEST(the_maximum_passes_and_one_more_is_refused);
        TEST(truncated_descriptors_are_an_error_and_none_leaks);
        TEST(of_a_truncated_packet_what_came_can_be_had);
        TEST(a_copy_leaves_the_packet_where_it_is);
        TEST(a_packet_over_the_limit_is_an_error_with_its_descriptors_closed);
        TEST(nothing_blocks_and_an_empty_packet_is_never_sent);
        TEST(kernel_padding_takes_a_second_descriptor);
})
