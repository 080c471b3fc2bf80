/*
 * LISTEN_FDS: what sd_listen_fds(3) promises, what fdpass_listener() makes of it, and
 * NOTIFY_SOCKET. Each test body runs in a fork, where the descriptors from 3 up and the environment
 * are its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "cleanup.h"
#include "fake_broker.h"
#include "fdpass.h"
#include "support.h"

#define SET(name, value) FAKE_ASSERT(setenv(name, value, 1) == 0)

static void set_number(const char *name, long long value) {
        char text[32];

        (void) snprintf(text, sizeof(text), "%lld", value);
        SET(name, text);
}

/* Sockets at 3, 4 … and nothing above; all the variables as a service manager sets them. */
static void pass(int n, const char *names) {
        (void) syscall(SYS_close_range, 3, ~0U, 0);
        for (int i = 0; i < n; i++)
                FAKE_ASSERT(socket(AF_UNIX, SOCK_STREAM, 0) == 3 + i);
        set_number("LISTEN_FDS", n);
        set_number("LISTEN_PID", getpid());
        if (names)
                SET("LISTEN_FDNAMES", names);
        else
                unsetenv("LISTEN_FDNAMES");
        SET("FDPASS_SOCKET", "/nonexistent/broker.sock");
}

static unsigned long long inode(int fd) {
        struct stat st;

        FAKE_ASSERT(fstat(fd, &st) == 0);
        return st.st_ino;
}

static void body_count(void) {
        pass(3, NULL);
        FAKE_ASSERT(fdpass_listen_fds(0) == 3);
        for (int fd = 3; fd < 6; fd++)
                FAKE_ASSERT(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        FAKE_ASSERT(getenv("LISTEN_FDS") != NULL);
        FAKE_ASSERT(fdpass_listen_fds(1) == 3);
        FAKE_ASSERT(!getenv("LISTEN_FDS") && !getenv("LISTEN_PID"));
        FAKE_ASSERT(fdpass_listen_fds(0) == 0);
}

START_TEST(passed_descriptors_are_counted_and_made_close_on_exec) {
        run_in_child(body_count);
}
END_TEST

static void body_other_process(void) {
        pass(1, "web");
        set_number("LISTEN_PID", getppid());
        SET("LISTEN_PIDFDID", "7");
        FAKE_ASSERT(fdpass_listen_fds(0) == 0);
        FAKE_ASSERT(!(fcntl(3, F_GETFD) & FD_CLOEXEC));
        FAKE_ASSERT(fdpass_listener("web") == -EHOSTDOWN);
        FAKE_ASSERT(fdpass_listen_fds(1) == 0);
        FAKE_ASSERT(!getenv("LISTEN_FDS") && !getenv("LISTEN_PID") && !getenv("LISTEN_FDNAMES") &&
                    !getenv("LISTEN_PIDFDID"));
        SET("LISTEN_FDS", "1");
        FAKE_ASSERT(fdpass_listen_fds(0) == 0); /* without LISTEN_PID */
}

START_TEST(what_was_meant_for_another_process_is_left_alone) {
        run_in_child(body_other_process);
}
END_TEST

/* The inode of a pidfd is the process's own since Linux 6.9; before, there is nothing to compare.
 */
static void body_pidfd_id(void) {
        struct stat mine, parents;
        int fd;

        pass(1, "web");
        fd = (int) syscall(SYS_pidfd_open, getpid(), 0);
        if (fd < 0 && errno == ENOSYS && SKIPPED_UNDER_VALGRIND("it knows no pidfds"))
                return;
        FAKE_ASSERT(fd >= 0 && fstat(fd, &mine) == 0);
        close(fd);
        fd = (int) syscall(SYS_pidfd_open, getppid(), 0);
        FAKE_ASSERT(fd >= 0 && fstat(fd, &parents) == 0);
        close(fd);
        set_number("LISTEN_PIDFDID", (long long) mine.st_ino);
        FAKE_ASSERT(fdpass_listen_fds(0) == 1);
        set_number("LISTEN_PIDFDID", (long long) parents.st_ino);
        FAKE_ASSERT(fdpass_listen_fds(0) == (mine.st_ino == parents.st_ino));
}

START_TEST(a_reused_pid_is_recognised_by_the_pidfd_id) {
        run_in_child(body_pidfd_id);
}
END_TEST

static void body_malformed(void) {
        static const char *const numbers[] = {
                "", "x", "-1", "1 ", "0x1", "99999999999999999999", "1.0", "+1", "2147483647"};

        pass(1, NULL);
        for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
                SET("LISTEN_FDS", numbers[i]);
                FAKE_ASSERT(fdpass_listen_fds(0) == -EINVAL);
                FAKE_ASSERT(fdpass_listener("web") == -EINVAL);
        }
        SET("LISTEN_FDS", "1");
        SET("LISTEN_PID", "x");
        FAKE_ASSERT(fdpass_listen_fds(0) == -EINVAL);
        set_number("LISTEN_PID", getpid());
        SET("LISTEN_PIDFDID", "x");
        FAKE_ASSERT(fdpass_listen_fds(0) == -EINVAL);
        unsetenv("LISTEN_PIDFDID");
        SET("LISTEN_FDS", "2");
        FAKE_ASSERT(fdpass_listen_fds(0) == -EBADF);
        FAKE_ASSERT(fdpass_listener("web") == -EBADF);
        SET("LISTEN_FDS", "1");
        SET("LISTEN_FDNAMES", "web:more");
        FAKE_ASSERT(fdpass_listener("web") == -EINVAL);
        FAKE_ASSERT(fdpass_listen_fds(1) == 1); /* the names are not its business */
}

START_TEST(malformed_variables_are_errors_not_guesses) {
        run_in_child(body_malformed);
}
END_TEST

static void body_by_name(void) {
        int *fds = NULL, fd;

        pass(5, "web:rpc.socket::web.socket:websocket");
        FAKE_ASSERT(fdpass_listener("web") == -ENOTUNIQ);
        FAKE_ASSERT(dup(3) == 8 && close(8) == 0); /* nothing was left open by the failure */
        FAKE_ASSERT(fdpass_listeners("web", &fds) == 2);
        FAKE_ASSERT(inode(fds[0]) == inode(3) && inode(fds[1]) == inode(6));
        FAKE_ASSERT(fcntl(fds[0], F_GETFD) & FD_CLOEXEC);
        close(fds[0]);
        close(fds[1]);
        free(fds);
        fd = fdpass_listener("rpc");
        FAKE_ASSERT(fd > 7 && inode(fd) == inode(4));
        close(fd);
        fd = fdpass_listener("rpc"); /* can be repeated */
        FAKE_ASSERT(fd > 7 && inode(fd) == inode(4));
        close(fd);
}

START_TEST(a_passed_descriptor_is_found_by_its_name) {
        run_in_child(body_by_name);
}
END_TEST

static void body_without_names(void) {
        int fd;

        pass(1, NULL);
        fd = fdpass_listener("anything");
        FAKE_ASSERT(fd > 3 && inode(fd) == inode(3));
        pass(2, NULL);
        FAKE_ASSERT(fdpass_listener("anything") == -ENOENT); /* which of the two? */
        pass(1, "other");
        FAKE_ASSERT(fdpass_listener("web") == -ENOENT);
        pass(0, "");
        FAKE_ASSERT(fdpass_listener("web") == -EHOSTDOWN);
}

START_TEST(without_names_only_a_single_descriptor_is_taken) {
        run_in_child(body_without_names);
}
END_TEST

static void script_lend_one(int listening) {
        int c = fake_accept(listening);

        fake_expect(c, "VERB=ACQUIRE\nNAME=web");
        fake_send(c, "OK=1\nSERIAL=%s\nNAME=web\nFDS=1\nFDNAME=web", 1);
        fake_wait_closed(c);
}

static void body_ask_broker(void) {
        int fd;

        pass(1, "other");
        SET("FDPASS_SOCKET", test_path("broker.sock"));
        fd = fdpass_listener("web");
        FAKE_ASSERT(fd > 3 && inode(fd) != inode(3));
        FAKE_ASSERT(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        close(fd);
        FAKE_ASSERT(dup(3) == 4); /* and the connection is closed */
}

START_TEST(a_name_that_was_not_passed_is_asked_of_the_broker) {
        struct fake fake = fake_start(script_lend_one);

        run_in_child(body_ask_broker);
        fake_join(&fake);
}
END_TEST

static void body_stdio_closed(void) {
        int fd;

        pass(1, "web");
        SET("FDPASS_SOCKET", test_path("broker.sock"));
        for (fd = 0; fd < 3; fd++)
                close(fd);
        fd = fdpass_listener("web");
        FAKE_ASSERT(fd == 4);
        unsetenv("LISTEN_FDS");
        fd = fdpass_listener("web"); /* from the broker */
        FAKE_ASSERT(fd > 4);
        for (fd = 0; fd < 3; fd++)
                FAKE_ASSERT(fcntl(fd, F_GETFD) < 0);
}

START_TEST(standard_descriptors_are_never_used_when_they_are_closed) {
        struct fake fake = fake_start(script_lend_one);

        run_in_child(body_stdio_closed);
        fake_join(&fake);
}
END_TEST

START_TEST(impossible_names_are_refused) {
        static const char *const names[] = {"", "a:b", "a/b", ".a", "-a", "a b", "a\n"};
        char name[258];
        int *fds;

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                ck_assert_int_eq(fdpass_listener(names[i]), -EINVAL);
        memset(name, 'n', sizeof(name));
        name[256] = '\0';
        ck_assert_int_eq(fdpass_listener(name), -EINVAL);
        name[255] = '\0';
        ck_assert_int_eq(setenv("FDPASS_SOCKET", "/nonexistent/x", 1), 0);
        ck_assert_int_eq(fdpass_listener(name), -EHOSTDOWN);
        ck_assert_int_eq(fdpass_listener(NULL), -EINVAL);
        ck_assert_int_eq(fdpass_listeners("web", NULL), -EINVAL);
        ck_assert_int_eq(fdpass_listeners(NULL, &fds), -EINVAL);
}
END_TEST

static int bind_datagram(const char *name, size_t length) {
        struct sockaddr_un a = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        memcpy(a.sun_path, name, length);
        ck_assert_int_eq(bind(fd, (struct sockaddr *) &a,
                              (socklen_t) (offsetof(struct sockaddr_un, sun_path) + length)),
                         0);
        return fd;
}

START_TEST(notify_sends_and_never_blocks) {
        const char *path = test_path("notify");
        char buffer[64] = "";
        int fd = bind_datagram(path, strlen(path)), r;

        unsetenv("NOTIFY_SOCKET");
        ck_assert_int_eq(fdpass_notify("READY=1"), 0);
        setenv("NOTIFY_SOCKET", path, 1);
        ck_assert_int_eq(fdpass_notify("READY=1\nSTATUS=a b"), 1);
        ck_assert_int_eq((int) recv(fd, buffer, sizeof(buffer), 0), 18);
        ck_assert_mem_eq(buffer, "READY=1\nSTATUS=a b", 18);
        while ((r = fdpass_notify("STATUS=flood")) == 1)
                ;
        ck_assert_int_eq(r, -EAGAIN);
        close_fd(fd);
        ck_assert_int_eq(fdpass_notify("READY=1"), -ECONNREFUSED);
}
END_TEST

START_TEST(notify_knows_abstract_names_and_refuses_nonsense) {
        static const char *const bad[] = {"", "READY", "=1", "ready=1", "A=1\n\nB=1", "A=1\nA=2"};
        static const char *const addresses[] = {"", "/", "@", "relative", "vsock:2:1234"};
        char name[64], long_name[109];
        int fd;

        ck_assert_int_gt(snprintf(name, sizeof(name), "@fdpass-unit-%d", getpid()), 0);
        name[0] = '\0';
        fd = bind_datagram(name, 1 + strlen(name + 1));
        name[0] = '@';
        setenv("NOTIFY_SOCKET", name, 1);
        ck_assert_int_eq(fdpass_notify("READY=1"), 1);
        ck_assert_int_eq((int) recv(fd, long_name, sizeof(long_name), 0), 7);
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                ck_assert_int_eq(fdpass_notify(bad[i]), -EINVAL);
        ck_assert_int_eq(fdpass_notify(NULL), -EINVAL);
        close_fd(fd);
        for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
                setenv("NOTIFY_SOCKET", addresses[i], 1);
                ck_assert_int_eq(fdpass_notify("READY=1"), -EINVAL);
        }
        memset(long_name, '/', sizeof(long_name) - 1);
        long_name[108] = '\0';
        setenv("NOTIFY_SOCKET", long_name, 1);
        ck_assert_int_eq(fdpass_notify("READY=1"), -EINVAL);
}
END_TEST

SUITE("activation", {
        TEST(passed_descriptors_are_counted_and_made_close_on_exec);
        TEST(what_was_meant_for_another_process_is_left_alone);
        TEST(a_reused_pid_is_recognised_by_the_pidfd_id);
        TEST(malformed_variables_are_errors_not_guesses);
        TEST(a_passed_descriptor_is_found_by_its_name);
        TEST(without_names_only_a_single_descriptor_is_taken);
        TEST(a_name_that_was_not_passed_is_asked_of_the_broker);
        TEST(standard_descriptors_are_never_used_when_they_are_closed);
        TEST(impossible_names_are_refused);
        TEST(notify_sends_and_never_blocks);
        TEST(notify_knows_abstract_names_and_refuses_nonsense);
})
