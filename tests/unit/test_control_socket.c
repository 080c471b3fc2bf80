/* Where the control socket is, and what connecting to it says. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "control_socket.h"
#include "deadline.h"
#include "fake_broker.h"
#include "support.h"

static void expect_default(const char *expected) {
        char path[CONTROL_SOCKET_PATH_SIZE];

        FAKE_ASSERT(control_socket_default(path) == 0);
        FAKE_ASSERT(strcmp(path, expected) == 0);
}

static void body_default(void) {
        char path[CONTROL_SOCKET_PATH_SIZE] = "untouched", value[200];

        unsetenv("FDPASS_SOCKET");
        setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
        if (geteuid() == 0) {
                expect_default("/run/fdpass/broker.sock");
                FAKE_ASSERT(setresuid(65534, 65534, 65534) == 0);
        }
        expect_default("/run/user/7/fdpass/broker.sock");
        setenv("XDG_RUNTIME_DIR", "relative", 1);
        (void) snprintf(value, sizeof(value), "/tmp/fdpass-%u/broker.sock", geteuid());
        expect_default(value);
        unsetenv("XDG_RUNTIME_DIR");
        expect_default(value);
        setenv("FDPASS_SOCKET", "", 1);
        expect_default(value);
        setenv("FDPASS_SOCKET", "/a/b", 1);
        expect_default("/a/b");
        memset(value, 'x', sizeof(value));
        value[107] = '\0';
        setenv("FDPASS_SOCKET", value, 1);
        expect_default(value);
        value[107] = 'x';
        value[108] = '\0';
        setenv("FDPASS_SOCKET", value, 1);
        (void) strcpy(path, "untouched");
        FAKE_ASSERT(control_socket_default(path) == -ENAMETOOLONG);
        FAKE_ASSERT(strcmp(path, "untouched") == 0);
}

START_TEST(the_default_path_follows_the_user_and_the_environment) {
        run_in_child(body_default);
}
END_TEST

static void body_find(void) {
        char path[CONTROL_SOCKET_PATH_SIZE];
        const char *own = test_path("fdpass/broker.sock");

        if (geteuid() == 0)
                FAKE_ASSERT(setresuid(65534, 65534, 65534) == 0);
        unsetenv("FDPASS_SOCKET");
        setenv("XDG_RUNTIME_DIR", test_folder(), 1);
        FAKE_ASSERT(control_socket_find(path) == 0);
        FAKE_ASSERT(strcmp(path, CONTROL_SOCKET_SYSTEM) == 0);
        FAKE_ASSERT(mkdir(test_path("fdpass"), 0700) == 0);
        FAKE_ASSERT(control_socket_find(path) == 0);
        FAKE_ASSERT(strcmp(path, CONTROL_SOCKET_SYSTEM) == 0);
        /* A broker of this user that is away is still the broker of this user. */
        close(fake_listen(own, 1));
        FAKE_ASSERT(control_socket_find(path) == 0);
        FAKE_ASSERT(strcmp(path, own) == 0);
        setenv("FDPASS_SOCKET", "/missing", 1);
        FAKE_ASSERT(control_socket_find(path) == 0);
        FAKE_ASSERT(strcmp(path, "/missing") == 0);
}

START_TEST(a_user_without_a_broker_of_their_own_is_sent_to_the_systems) {
        ck_assert_int_eq(chmod(test_folder(), 0777), 0);
        run_in_child(body_find);
}
END_TEST

START_TEST(a_folder_that_others_could_write_to_is_not_trusted) {
        const char *folder = test_path("d"), *path = test_path("d/broker.sock");

        ck_assert_int_eq(control_socket_folder_check(path), -ENOENT);
        ck_assert_int_eq(mkdir(folder, 0700), 0);
        ck_assert_int_eq(control_socket_folder_check(path), 0);
        ck_assert_int_eq(chmod(folder, 0701), 0);
        ck_assert_int_eq(control_socket_folder_check(path), -EPERM);
        ck_assert_int_eq(chmod(folder, 01700), 0);
        ck_assert_int_eq(control_socket_folder_check(path), -EPERM);
        ck_assert_int_eq(chmod(folder, 0700), 0);
        if (geteuid() == 0) {
                ck_assert_int_eq(chown(folder, 65534, 65534), 0);
                ck_assert_int_eq(control_socket_folder_check(path), -EPERM);
                ck_assert_int_eq(chown(folder, 0, 0), 0);
        }
        ck_assert_int_eq(symlink(folder, test_path("link")), 0);
        ck_assert_int_eq(control_socket_folder_check(test_path("link/broker.sock")), -EPERM);
        test_write("file", "");
        ck_assert_int_eq(control_socket_folder_check(test_path("file/broker.sock")), -EPERM);
        ck_assert_int_eq(control_socket_folder_check("broker.sock"), -EPERM);
        ck_assert_int_eq(control_socket_folder_check("/broker.sock"), -EPERM);
}
END_TEST

/* In a mount namespace of its own: /tmp/fdpass-0 may be somebody's. */
static void body_temporary_folder(void) {
        char folder[64], path[80];
        int fd;

        if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("tmpfs", "/tmp", "tmpfs", 0, NULL) < 0)
                return; /* needs CAP_SYS_ADMIN */
        (void) snprintf(folder, sizeof(folder), "/tmp/fdpass-%u", geteuid());
        (void) snprintf(path, sizeof(path), "%s/broker.sock", folder);
        FAKE_ASSERT(control_socket_connect(path) == -EHOSTDOWN);
        FAKE_ASSERT(mkdir(folder, 0700) == 0);
        fd = fake_listen(path, 4);
        close(control_socket_connect(path));
        FAKE_ASSERT(chmod(folder, 0755) == 0);
        FAKE_ASSERT(control_socket_connect(path) == -EPERM);
        FAKE_ASSERT(control_socket_connect_until(path, DEADLINE_NEVER) == -EPERM);
        close(fd);
}

START_TEST(the_folder_in_tmp_is_checked_before_connecting) {
        run_in_child(body_temporary_folder);
}
END_TEST

START_TEST(a_connection_is_close_on_exec_and_as_blocking_as_promised) {
        const char *path = test_path("s");
        int listening = fake_listen(path, 4), fd;

        fd = control_socket_connect(path);
        ck_assert_int_gt(fd, 2);
        ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
        ck_assert_int_eq(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
        close_fd(fd);
        fd = control_socket_connect_until(path, DEADLINE_NEVER);
        ck_assert_int_gt(fd, 2);
        ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
        ck_assert_int_eq(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
        close_fd(fd);
        close_fd(listening);
}
END_TEST

/* A stream socket listens there, or a datagram socket: something, but no broker. */
START_TEST(a_socket_of_another_type_is_no_broker) {
        struct sockaddr_un a = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);

        strcpy(a.sun_path, test_path("stream"));
        ck_assert_int_eq(bind(fd, (struct sockaddr *) &a, sizeof(a)), 0);
        ck_assert_int_eq(listen(fd, 1), 0);
        ck_assert_int_eq(control_socket_connect(a.sun_path), -EHOSTDOWN);
        close_fd(fd);
}
END_TEST

/* Connect until the backlog is full; returns how many connections are waiting in it. */
static size_t fill_backlog(const char *path, int fds[8]) {
        size_t n = 0;
        int fd;

        while ((fd = control_socket_connect(path)) >= 0 && n < 8)
                fds[n++] = fd;
        ck_assert_int_eq(fd, -EAGAIN);
        return n;
}

START_TEST(a_full_backlog_is_told_or_waited_for_until_the_deadline) {
        const char *path = test_path("s");
        int listening = fake_listen(path, 0), fds[8];
        size_t n = fill_backlog(path, fds);
        long before = now_msec();

        ck_assert_int_eq(control_socket_connect_until(path, deadline_in(80)), -ETIMEDOUT);
        ck_assert_int_ge((int) (now_msec() - before), 79);
        while (n > 0)
                close_fd(fds[--n]);
        close_fd(listening);
}
END_TEST

static void script_slow_to_accept(int listening) {
        fake_pass_time(60);
        for (int i = 0; i < 18; i++) /* 17 fit into the backlog of 16 */
                close(fake_accept(listening));
}

START_TEST(a_wait_for_the_backlog_ends_when_the_broker_accepts) {
        struct fake fake = fake_start(script_slow_to_accept);
        int fds[18];

        for (int i = 0; i < 18; i++) {
                fds[i] = control_socket_connect_until(fake.path, deadline_in(20000));
                ck_assert_int_ge(fds[i], 0);
        }
        for (int i = 0; i < 18; i++)
                close_fd(fds[i]);
        fake_join(&fake);
}
END_TEST

SUITE("control_socket", {
        TEST(the_default_path_follows_the_user_and_the_environment);
        TEST(a_user_without_a_broker_of_their_own_is_sent_to_the_systems);
        TEST(a_folder_that_others_could_write_to_is_not_trusted);
        TEST(the_folder_in_tmp_is_checked_before_connecting);
        TEST(a_connection_is_close_on_exec_and_as_blocking_as_promised);
        TEST(a_socket_of_another_type_is_no_broker);
        TEST(a_full_backlog_is_told_or_waited_for_until_the_deadline);
        TEST(a_wait_for_the_backlog_ends_when_the_broker_accepts);
})
