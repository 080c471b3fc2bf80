/* Binding one socket: options, paths, stale files, and what is said when it cannot be. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "sockets/bind.h"
#include "sockets/socket_file.h"
#include "sockets_support.h"
#include "support.h"

static struct socket_config config_of(void) {
        return (struct socket_config){
                .name = (char *) "web",
                .file = (char *) "test.conf",
                .line = 1,
                .backlog = 16,
                .socket_mode = 0666,
                .directory_mode = 0755,
                .fd_name = (char *) "web",
        };
}

static struct address address_of(const char *text) {
        const char *reason = "";
        struct address a;

        ck_assert_msg(address_parse(text, &a, &reason) == 0, "%s: %s", text, reason);
        return a;
}

static struct address loopback_address(const char *host) {
        char text[64];

        (void) snprintf(text, sizeof(text), "%s:%u", host, test_free_port());
        return address_of(text);
}

static int get_option(int fd, int level, int option) {
        int value = -1;
        socklen_t size = sizeof(value);

        ck_assert_int_eq(getsockopt(fd, level, option, &value, &size), 0);
        return value;
}

static mode_t mode_of(const char *path) {
        struct stat st;

        ck_assert_msg(lstat(path, &st) == 0, "%s: %s", path, strerror(errno));
        return st.st_mode & 07777;
}

START_TEST(a_tcp_socket_listens_and_is_close_on_exec) {
        struct socket_config config = config_of();
        struct address address = loopback_address("127.0.0.1");
        _cleanup_close_ int fd = -1;

        ck_assert_int_eq(bind_socket(&config, &address, NULL, &fd, NULL), 0);
        ck_assert(test_is_accepting(fd));
        ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
        ck_assert_int_eq(get_option(fd, SOL_SOCKET, SO_REUSEADDR), 1);
        ck_assert_int_eq(test_tcp_connect(address_port(&address)), 0);
}
END_TEST

START_TEST(o_nonblock_is_what_non_blocking_says) {
        struct socket_config config = config_of();
        struct address address = loopback_address("127.0.0.1");

        for (int i = 0; i < 2; i++) {
                _cleanup_close_ int fd = -1;

                config.non_blocking = i == 1;
                ck_assert_int_eq(bind_socket(&config, &address, NULL, &fd, NULL), 0);
                ck_assert_int_eq(!!(fcntl(fd, F_GETFL) & O_NONBLOCK), i);
                ck_assert_int_eq(bind_set_non_blocking(fd, i == 0), 0);
                ck_assert_int_eq(!!(fcntl(fd, F_GETFL) & O_NONBLOCK), i == 0);
        }
}
END_TEST

START_TEST(bind_ipv6_only_decides_about_ipv4) {
        struct socket_config config = config_of();
        struct address address = loopback_address("[::]");
        int expected[] = {[IPV6_ONLY_BOTH] = 0, [IPV6_ONLY_ONLY] = 1};

        for (int i = IPV6_ONLY_BOTH; i <= IPV6_ONLY_ONLY; i++) {
                _cleanup_close_ int fd = -1;

                config.ipv6_only = (enum ipv6_only) i;
                ck_assert_int_eq(bind_socket(&config, &address, NULL, &fd, NULL), 0);
                ck_assert_int_eq(get_option(fd, IPPROTO_IPV6, IPV6_V6ONLY), expected[i]);
        }
}
END_TEST

/* Without SO_REUSEADDR a served connection keeps the address for a minute. */
START_TEST(an_address_with_a_time_wait_remainder_is_bound) {
        struct socket_config config = config_of();
        struct address address = loopback_address("127.0.0.1");
        _cleanup_close_ int again = -1;
        int fd, client, server;
        char byte;

        ck_assert_int_eq(bind_socket(&config, &address, NULL, &fd, NULL), 0);
        client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ck_assert_int_eq(connect(client, &address.any, address.length), 0);
        server = accept(fd, NULL, NULL);
        ck_assert_int_ge(server, 0);
        close(server); /* closes first: the remainder has our port */
        ck_assert_int_eq(read(client, &byte, 1), 0);
        close(client);
        close(fd);
        ck_assert_int_eq(bind_socket(&config, &address, NULL, &again, NULL), 0);
}
END_TEST

START_TEST(an_address_in_use_is_eaddrinuse) {
        struct socket_config config = config_of();
        _cleanup_close_ int other = test_tcp_listener();
        struct bind_report report;
        struct address address;
        int fd = -7;

        ck_assert_int_eq(address_of_socket(other, &address), 0);
        ck_assert_int_eq(bind_socket(&config, &address, NULL, &fd, &report), -EADDRINUSE);
        ck_assert_int_eq(fd, -7);
        ck_assert_str_eq(report.reason, "the address is in use");
}
END_TEST

START_TEST(reasons_name_the_next_step) {
        struct socket_config config = config_of();
        struct address address;
        struct bind_report report;
        int fd;

        address = address_of("192.0.2.1:80"); /* TEST-NET-1: on no interface */
        ck_assert_int_eq(bind_socket(&config, &address, NULL, &fd, &report), -EADDRNOTAVAIL);
        ck_assert_ptr_nonnull(strstr(report.reason, "ip address"));

        address = address_of("127.0.0.1:80");
        address.in.sin_port = 0;
        ck_assert_int_eq(bind_socket(&config, &address, NULL, &fd, &report), -EINVAL);
        ck_assert_ptr_nonnull(strstr(report.reason, "1 to 65535"));

        address = address_of("/proc/fdpass-test/web.sock");
        ck_assert_int_lt(bind_socket(&config, &address, NULL, &fd, &report), 0);
        ck_assert_str_ne(report.reason, "");
}
END_TEST

/* In a child, which becomes an ordinary user. */
START_TEST(a_low_port_without_privilege_names_the_capability) {
        pid_t child;
        int status;

        if (geteuid() != 0)
                return;
        child = fork();
        if (child == 0) {
                struct socket_config config = config_of();
                struct address address = address_of("127.0.0.1:79");
                struct bind_report report;
                int fd;

                if (setgid(65534) < 0 || setuid(65534) < 0)
                        _exit(10);
                if (bind_socket(&config, &address, NULL, &fd, &report) != -EACCES)
                        _exit(11);
                _exit(strstr(report.reason, "CAP_NET_BIND_SERVICE") &&
                                      strstr(report.reason, "ip_unprivileged_port_start")
                              ? 0
                              : 12);
        }
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(a_path_has_socket_mode_whatever_the_umask) {
        struct socket_config config = config_of();
        struct address address = address_of(test_path("web.sock"));
        _cleanup_close_ int fd = -1;
        struct address name;
        mode_t before = umask(0077);

        config.socket_mode = 0622;
        ck_assert_int_eq(bind_socket(&config, &address, NULL, &fd, NULL), 0);
        ck_assert_uint_eq(umask(before), 0077);
        ck_assert_uint_eq(mode_of(address.un.sun_path), 0622);
        /* nginx compares what getsockname() says with its configuration */
        ck_assert_int_eq(address_of_socket(fd, &name), 0);
        ck_assert(address_equal(&name, &address));
        ck_assert_int_eq(test_unix_connect(address.un.sun_path, SOCK_STREAM), 0);
}
END_TEST

/* A chmod(2) after the bind would leave a moment in which anybody could connect. */
START_TEST(a_path_is_born_with_its_mode) {
        struct socket_config config = config_of();
        struct address address = address_of(test_path("web.sock"));
        char events[4096] __attribute__((aligned(8)));
        const struct inotify_event *event = (const struct inotify_event *) (const void *) events;
        _cleanup_close_ int fd = -1, watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        ssize_t size;

        config.socket_mode = 0600;
        ck_assert_int_ge(inotify_add_watch(watch, test_folder(), IN_CREATE | IN_ATTRIB), 0);
        ck_assert_int_eq(bind_socket(&config, &address, NULL, &fd, NULL), 0);
        ck_assert_uint_eq(mode_of(address.un.sun_path), 0600);
        size = read(watch, events, sizeof(events));
        ck_assert_int_eq(size, (ssize_t) (sizeof(*event) + event->len));
        ck_assert_uint_eq(event->mask, IN_CREATE);
}
END_TEST

START_TEST(missing_folders_are_made_with_directory_mode) {
        struct socket_config config = config_of();
        struct address address = address_of(test_path("a/b/c/web.sock"));
        struct bind_report report;
        int fd;

        config.directory_mode = 0773;
        (void) umask(0027);
        ck_assert_int_eq(bind_socket(&config, &address, NULL, &fd, &report), 0);
        ck_assert_uint_eq(report.folders_made, 3);
        ck_assert_uint_eq(mode_of(test_path("a")), 0773);
        ck_assert_uint_eq(mode_of(test_path("a/b/c")), 0773);

        bind_undo(&address, fd, report.folders_made);
        close(fd);
        ck_assert_int_eq(access(test_path("a"), F_OK), -1);
        ck_assert_int_eq(access(test_folder(), F_OK), 0);
}
END_TEST

START_TEST(a_failed_bind_leaves_no_folders) {
        struct socket_config config = config_of();
        struct address address = address_of(test_path("a/b/web.sock"));
        struct bind_report report;
        int fd;

        if (geteuid() == 0)
                return; /* the way to fail used here is SocketUser= without the right to give away
                         */
        config.has_socket_user = true;
        config.socket_uid = 0;
        ck_assert_int_eq(bind_socket(&config, &address, NULL, &fd, &report), -EPERM);
        ck_assert_ptr_nonnull(strstr(report.reason, "SocketUser="));
        ck_assert_int_eq(access(test_path("a"), F_OK), -1);
}
END_TEST

START_TEST(a_path_is_given_to_socket_user_and_group) {
        struct socket_config config = config_of();
        struct address address = address_of(test_path("web.sock"));
        _cleanup_close_ int fd = -1;
        struct stat st;

        if (geteuid() != 0)
                return;
        config.socket_mode = 0640;
        config.has_socket_user = config.has_socket_group = true;
        config.socket_uid = 1234;
        config.socket_gid = 2345;
        ck_assert_int_eq(bind_socket(&config, &address, NULL, &fd, NULL), 0);
        ck_assert_int_eq(lstat(address.un.sun_path, &st), 0);
        ck_assert_uint_eq(st.st_uid, 1234);
        ck_assert_uint_eq(st.st_gid, 2345);
        ck_assert_uint_eq(st.st_mode & 07777, 0640);
}
END_TEST

START_TEST(a_stale_socket_file_is_replaced) {
        struct socket_config config = config_of();
        struct address address = address_of(test_path("web.sock"));
        _cleanup_close_ int fd = -1;

        close(test_unix_listener(address.un.sun_path));
        ck_assert_int_eq(test_unix_connect(address.un.sun_path, SOCK_STREAM), ECONNREFUSED);
        ck_assert_int_eq(bind_socket(&config, &address, NULL, &fd, NULL), 0);
        ck_assert_int_eq(test_unix_connect(address.un.sun_path, SOCK_STREAM), 0);
}
END_TEST

/* Whose accepted connections live on, while the listener is gone. */
START_TEST(a_stale_file_with_living_connections_is_replaced) {
        struct socket_config config = config_of();
        struct address address = address_of(test_path("web.sock"));
        int old = test_unix_listener(address.un.sun_path);
        _cleanup_close_ int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        _cleanup_close_ int server = -1, fd = -1;

        ck_assert_int_eq(connect(client, &address.any, address.length), 0);
        server = accept(old, NULL, NULL);
        close(old);
        ck_assert_int_eq(bind_socket(&config, &address, NULL, &fd, NULL), 0);
}
END_TEST

static void refused_and_untouched(const char *path, int error) {
        struct socket_config config = config_of();
        struct address address = address_of(path);
        struct bind_report report;
        struct stat before, after;
        int fd;

        ck_assert_int_eq(lstat(path, &before), 0);
        ck_assert_int_eq(bind_socket(&config, &address, NULL, &fd, &report), error);
        ck_assert_int_eq(lstat(path, &after), 0);
        ck_assert_uint_eq(before.st_ino, after.st_ino);
        if (error == -EADDRINUSE)
                ck_assert_str_eq(report.reason, "the address is in use");
}

START_TEST(a_path_with_a_living_socket_is_in_use) {
        const char *path = test_path("web.sock");
        int other = test_unix_listener(path), type;
        socklen_t size = sizeof(type);
        struct sockaddr_un un = {.sun_family = AF_UNIX};

        refused_and_untouched(path, -EADDRINUSE);
        /* and nobody was woken to find that out */
        ck_assert_int_eq(fcntl(other, F_SETFL, O_NONBLOCK), 0);
        ck_assert_int_eq(accept(other, NULL, NULL), -1);
        close(other);

        /* a datagram socket never listens, and is alive all the same */
        path = test_path("log.sock");
        other = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        strcpy(un.sun_path, path);
        ck_assert_int_eq(bind(other, (struct sockaddr *) &un, sizeof(un)), 0);
        ck_assert_int_eq(getsockopt(other, SOL_SOCKET, SO_TYPE, &type, &size), 0);
        refused_and_untouched(path, -EADDRINUSE);
        close(other);

        /* one that is about to listen */
        path = test_path("soon.sock");
        other = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        strcpy(un.sun_path, path);
        ck_assert_int_eq(bind(other, (struct sockaddr *) &un, sizeof(un)), 0);
        refused_and_untouched(path, -EADDRINUSE);
        close(other);
}
END_TEST

/* As a container that shares the folder: unix_diag does not show it. */
START_TEST(a_server_of_another_network_namespace_is_alive) {
        struct socket_config config = config_of();
        struct address address = address_of(test_path("web.sock"));
        struct bind_report report;
        int ready[2], fd;
        char byte;
        pid_t child;

        if (geteuid() != 0)
                return;
        ck_assert_int_eq(pipe(ready), 0);
        child = fork();
        if (child == 0) {
                if (unshare(CLONE_NEWNET) < 0)
                        _exit(1); /* a container without the right to: nothing to see here */
                (void) test_unix_listener(address.un.sun_path);
                (void) !write(ready[1], "x", 1);
                for (;;)
                        pause();
        }
        close(ready[1]);
        if (read(ready[0], &byte, 1) == 1) {
                ck_assert_int_eq(bind_socket(&config, &address, NULL, &fd, &report), -EADDRINUSE);
                ck_assert_ptr_nonnull(strstr(report.reason, "network namespace"));
                ck_assert_int_eq(access(address.un.sun_path, F_OK), 0);
        }
        close(ready[0]);
        ck_assert_int_eq(kill(child, SIGKILL), 0);
        ck_assert_int_eq(waitpid(child, NULL, 0), child);
}
END_TEST

START_TEST(a_socket_bound_under_another_name_of_the_file_is_alive) {
        const char *path = test_path("web.sock"), *link_path = test_path("moved.sock");
        _cleanup_close_ int other = test_unix_listener(path);

        ck_assert(test_is_accepting(other));
        ck_assert_int_eq(rename(path, link_path), 0);
        refused_and_untouched(link_path, -EADDRINUSE);
}
END_TEST

START_TEST(what_is_no_socket_is_never_removed) {
        const char *link_path = test_path("link.sock"), *folder = test_path("folder.sock");
        const char *target = test_path("target.sock");

        refused_and_untouched(test_write("file.sock", "precious"), -EEXIST);
        ck_assert_int_eq(mkdir(folder, 0755), 0);
        refused_and_untouched(folder, -EEXIST);
        close(test_unix_listener(target));
        ck_assert_int_eq(symlink(target, link_path), 0);
        refused_and_untouched(link_path, -EEXIST);
        ck_assert_int_eq(access(target, F_OK), 0);
}
END_TEST

START_TEST(undo_leaves_what_another_program_put_there) {
        struct socket_config config = config_of();
        struct address address = address_of(test_path("web.sock"));
        _cleanup_close_ int fd = -1, other = -1;

        ck_assert_int_eq(bind_socket(&config, &address, NULL, &fd, NULL), 0);
        ck_assert_int_eq(unlink(address.un.sun_path), 0);
        other = test_unix_listener(address.un.sun_path);
        bind_undo(&address, fd, 0);
        ck_assert_int_eq(test_unix_connect(address.un.sun_path, SOCK_STREAM), 0);
}
END_TEST

/* As root the kernel opens the file for us; an ordinary user asks unix_diag. */
static void check_socket_file(void) {
        const char *path = test_path("own.sock"), *other_path = test_path("other.sock");
        int fd = test_unix_listener(path), other = test_unix_listener(other_path);
        int unbound = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct stat st;

        ck_assert_int_eq(lstat(path, &st), 0);
        ck_assert_int_eq(socket_file_is(fd, &st), 1);
        ck_assert_int_eq(socket_file_is(other, &st), 0);
        ck_assert_int_eq(socket_file_is(unbound, &st), 0);
        ck_assert_int_eq(rename(other_path, path), 0);
        ck_assert_int_eq(lstat(path, &st), 0);
        ck_assert_int_eq(socket_file_is(fd, &st), 0);
        ck_assert_int_eq(socket_file_is(other, &st), 1);
        close(fd);
        close(other);
        close(unbound);
        ck_assert_int_eq(unlink(path), 0);
}

START_TEST(the_file_of_a_socket_is_known_with_and_without_privilege) {
        pid_t child;
        int status;

        check_socket_file();
        if (geteuid() != 0)
                return;
        ck_assert_int_eq(chmod(test_folder(), 0777), 0);
        child = fork();
        if (child == 0) {
                if (setgid(65534) < 0 || setuid(65534) < 0)
                        _exit(10);
                check_socket_file(); /* a failed assertion exits with another status */
                _exit(0);
        }
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(rights_are_set_on_sockets_only) {
        const struct path_rights rights = {.mode = 0600, .uid = (uid_t) -1, .gid = (gid_t) -1};
        const char *path = test_path("web.sock"), *link_path = test_path("link.sock");
        _cleanup_close_ int fd = test_unix_listener(path);
        const char *file = test_write("file", "");
        struct path_rights before;

        ck_assert(test_is_accepting(fd));
        ck_assert_int_eq(chmod(path, 0666), 0);
        ck_assert_int_eq(chmod(file, 0644), 0);
        ck_assert_int_eq(symlink(file, link_path), 0);
        ck_assert_int_eq(bind_set_rights(path, &rights, &before), 0);
        ck_assert_uint_eq(before.mode, 0666);
        ck_assert_uint_eq(mode_of(path), 0600);
        ck_assert_int_eq(bind_set_rights(link_path, &rights, NULL), -EEXIST);
        ck_assert_int_eq(bind_set_rights(file, &rights, NULL), -EEXIST);
        ck_assert_uint_eq(mode_of(file), 0644);
        ck_assert_int_eq(symlink(path, test_path("link2.sock")), 0);
        ck_assert_int_eq(chmod(path, 0666), 0);
        ck_assert_int_eq(bind_set_rights(test_path("link2.sock"), &rights, NULL), -EEXIST);
        ck_assert_uint_eq(mode_of(path), 0666);
        ck_assert_int_eq(bind_set_rights(test_path("none"), &rights, NULL), -ENOENT);
}
END_TEST

SUITE("bind", {
        TEST(a_tcp_socket_listens_and_is_close_on_exec);
        TEST(o_nonblock_is_what_non_blocking_says);
        TEST(bind_ipv6_only_decides_about_ipv4);
        TEST(an_address_with_a_time_wait_remainder_is_bound);
        TEST(an_address_in_use_is_eaddrinuse);
        TEST(reasons_name_the_next_step);
        TEST(a_low_port_without_privilege_names_the_capability);
        TEST(a_path_has_socket_mode_whatever_the_umask);
        TEST(a_path_is_born_with_its_mode);
        TEST(missing_folders_are_made_with_directory_mode);
        TEST(a_failed_bind_leaves_no_folders);
        TEST(a_path_is_given_to_socket_user_and_group);
        TEST(a_stale_socket_file_is_replaced);
        TEST(a_stale_file_with_living_connections_is_replaced);
        TEST(a_path_with_a_living_socket_is_in_use);
        TEST(a_server_of_another_network_namespace_is_alive);
        TEST(a_socket_bound_under_another_name_of_the_file_is_alive);
        TEST(what_is_no_socket_is_never_removed);
        TEST(undo_leaves_what_another_program_put_there);
        TEST(the_file_of_a_socket_is_known_with_and_without_privilege);
        TEST(rights_are_set_on_sockets_only);
})
