/* The control socket itself: where it is, who may have it, what happens to what is in its place. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "config/config.h"
#include "control_fixture.h"
#include "core/inherited.h"
#include "support.h"

static int try_again(struct fixture **ret) {
        return fixture_try("", NULL, ret);
}

static mode_t mode_of(const char *path) {
        struct stat st;

        ck_assert_int_eq(lstat(path, &st), 0);
        return st.st_mode & 07777;
}

/* Bound, and listening when backlog is not 0. */
static int bind_at(const char *path, int type, int backlog) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

        ck_assert_int_ge(fd, 0);
        (void) snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        ck_assert_int_eq(bind(fd, (struct sockaddr *) &address, sizeof(address)), 0);
        if (backlog)
                ck_assert_int_eq(listen(fd, backlog), 0);
        return fd;
}

static char *last_error;

static void on_line(void *owner, enum log_level level, const char *text) {
        if (level == LEVEL_ERROR)
                last_error = compose("%s", text);
}

static int open_endpoint(struct endpoint *e, const char *path, struct inherited *inherited) {
        struct log *log;
        int r;

        ck_assert_int_eq(log_new(&log, "test", LOG_TARGET_NONE, LEVEL_DEBUG), 0);
        log_set_sink(log, on_line, NULL);
        r = endpoint_open(e, path, inherited, NULL, log);
        log_free(log);
        return r;
}

START_TEST(the_socket_is_for_all_and_its_lock_for_us_and_the_path_goes_with_the_broker) {
        struct fixture *f = fixture_new("");

        ck_assert_str_eq(control_path(f->control), test_path("broker.sock"));
        ck_assert_uint_eq(mode_of(test_path("broker.sock")), 0666);
        ck_assert_uint_eq(mode_of(test_path("broker.sock.lock")), 0600);
        ck_assert(fcntl(control_socket_fd(f->control), F_GETFD) & FD_CLOEXEC);
        ck_assert(fcntl(f->control->endpoint.lock_fd, F_GETFD) & FD_CLOEXEC);
        fixture_free(f);
        ck_assert_int_lt(access(test_path("broker.sock"), F_OK), 0);
}
END_TEST

START_TEST(a_missing_folder_is_made_and_a_missing_one_above_it_is_not) {
        struct endpoint e;

        ck_assert_int_eq(open_endpoint(&e, test_path("run/broker.sock"), NULL), 0);
        ck_assert_uint_eq(mode_of(test_path("run")), geteuid() == 0 ? 0755 : 0700);
        endpoint_close(&e);
        ck_assert_int_eq(open_endpoint(&e, test_path("no/run/broker.sock"), NULL), -ENOENT);
        ck_assert_ptr_nonnull(strstr(last_error, test_path("no/run")));
}
END_TEST

START_TEST(a_second_broker_is_told_who_is_running) {
        struct fixture *f = fixture_new(""), *second = NULL;
        struct endpoint e;

        ck_assert_int_eq(open_endpoint(&e, control_path(f->control), NULL), -EADDRINUSE);
        ck_assert_ptr_nonnull(strstr(last_error, "already running"));
        ck_assert_ptr_nonnull(strstr(last_error, compose("pid %d", (int) getpid())));
        ck_assert_int_eq(try_again(&second), -EADDRINUSE);
        int fd = client_connect(f); /* and the first goes on */
        ask(f, fd, "VERB=HELLO", "OK=1\n");
        close_fd(fd);
        fixture_free(f);
}
END_TEST

/* Whoever holds the lock is the broker, even before there is a socket. */
START_TEST(the_lock_alone_keeps_a_second_broker_out) {
        int lock = open(test_path("broker.sock.lock"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        struct endpoint e;

        ck_assert_int_eq(flock(lock, LOCK_EX | LOCK_NB), 0);
        ck_assert_int_eq(open_endpoint(&e, test_path("broker.sock"), NULL), -EADDRINUSE);
        close_fd(lock);
        ck_assert_int_eq(open_endpoint(&e, test_path("broker.sock"), NULL), 0);
        endpoint_close(&e);
}
END_TEST

/* As when we were not scheduled for longer than one on its way out is waited for. */
static int end_while_we_are_held_up(const void *owner, int fd) {
        const int *its = owner;

        (void) poll(NULL, 0, 2100);
        close_fd(its[0]);
        close_fd(its[1]);
        return -ECONNRESET;
}

START_TEST(one_that_ended_while_we_were_held_up_is_not_there_any_more) {
        int its[] = {open(test_path("broker.sock.lock"), O_RDWR | O_CREAT | O_CLOEXEC, 0600),
                     bind_at(test_path("broker.sock"), SOCK_SEQPACKET, 1)};
        struct endpoint_offer offer = {end_while_we_are_held_up, its};
        struct endpoint e;
        struct log *log;

        ck_assert_int_eq(flock(its[0], LOCK_EX | LOCK_NB), 0);
        ck_assert_int_eq(log_new(&log, "test", LOG_TARGET_NONE, LEVEL_DEBUG), 0);
        ck_assert_int_eq(endpoint_open(&e, test_path("broker.sock"), NULL, &offer, log), 0);
        endpoint_close(&e);
        log_free(log);
}
END_TEST

/* Killed, it has the socket and the lock for some milliseconds yet, and one longer than the other.
 */
START_TEST(one_that_is_on_its_way_out_is_waited_for) {
        int ends[2], lock, fd, status;
        struct endpoint e;
        char said;
        pid_t pid;

        ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
        pid = fork();
        if (pid == 0) {
                lock = open(test_path("broker.sock.lock"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
                fd = bind_at(test_path("broker.sock"), SOCK_SEQPACKET, 1);
                if (_i == 1 || flock(lock, LOCK_EX | LOCK_NB) == 0)
                        (void) !write(ends[1], "x", 1);
                close_fd(accept(fd, NULL, NULL));
                close_fd(_i == 0 ? fd : lock);
                (void) poll(NULL, 0, 50);
                _exit(0);
        }
        close_fd(ends[1]);
        ck_assert_int_eq(read(ends[0], &said, 1), 1);
        ck_assert_int_eq(open_endpoint(&e, test_path("broker.sock"), NULL), 0);
        endpoint_close(&e);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        close_fd(ends[0]);
}
END_TEST

START_TEST(a_stale_socket_is_bound_over) {
        struct fixture *f = NULL;

        close_fd(bind_at(test_path("broker.sock"), SOCK_SEQPACKET, 1));
        ck_assert_int_eq(try_again(&f), 0);
        int fd = client_connect(f);
        ask(f, fd, "VERB=HELLO", "OK=1\n");
        close_fd(fd);
        fixture_free(f);
}
END_TEST

START_TEST(a_living_socket_without_our_lock_is_left_alone) {
        int fd = bind_at(test_path("broker.sock"), SOCK_SEQPACKET, 1);
        struct endpoint e;

        ck_assert_int_eq(open_endpoint(&e, test_path("broker.sock"), NULL), -EADDRINUSE);
        close_fd(fd);
        ck_assert_int_eq(unlink(test_path("broker.sock")), 0);
        fd = bind_at(test_path("broker.sock"), SOCK_STREAM, 1); /* some other program's */
        ck_assert_int_eq(open_endpoint(&e, test_path("broker.sock"), NULL), -EEXIST);
        ck_assert_int_eq(access(test_path("broker.sock"), F_OK), 0);
        close_fd(fd);
}
END_TEST

START_TEST(what_is_no_socket_is_never_removed) {
        struct endpoint e;

        (void) test_write("broker.sock", "precious");
        ck_assert_int_eq(open_endpoint(&e, test_path("broker.sock"), NULL), -EEXIST);
        ck_assert_ptr_nonnull(strstr(last_error, "not a socket"));
        ck_assert_int_eq(unlink(test_path("broker.sock")), 0);
        ck_assert_int_eq(symlink(test_path("elsewhere"), test_path("broker.sock")), 0);
        ck_assert_int_eq(open_endpoint(&e, test_path("broker.sock"), NULL), -EEXIST);
        ck_assert_int_eq(symlink(test_path("victim"), test_path("other.sock.lock")), 0);
        ck_assert_int_eq(open_endpoint(&e, test_path("other.sock"), NULL), -ELOOP);
        ck_assert_int_lt(access(test_path("victim"), F_OK), 0);
}
END_TEST

START_TEST(a_path_that_does_not_fit_is_refused_and_never_cut) {
        char path[CONTROL_SOCKET_PATH_SIZE + 1];
        struct endpoint e;

        memset(path, 'x', sizeof(path) - 1);
        memcpy(path, "/tmp/", 5);
        path[sizeof(path) - 1] = '\0';
        ck_assert_int_eq(open_endpoint(&e, path, NULL), -ENAMETOOLONG);
}
END_TEST

START_TEST(the_path_of_somebody_else_is_not_removed_at_the_end) {
        struct fixture *f = fixture_new("");

        ck_assert_int_eq(unlink(test_path("broker.sock")), 0);
        (void) test_write("broker.sock", "somebody else's");
        fixture_free(f);
        ck_assert_int_eq(access(test_path("broker.sock"), F_OK), 0);
}
END_TEST

static struct fixture *adopted(const char *name, const char *path, int *ret_r) {
        struct inherited *inherited;
        struct fixture *f = NULL;

        ck_assert_int_eq(inherited_new(&inherited), 0);
        ck_assert_int_eq(inherited_put_fd(inherited, name, bind_at(path, SOCK_SEQPACKET, 8)), 0);
        *ret_r = fixture_try("", inherited, &f);
        return f;
}

START_TEST(a_socket_that_was_passed_is_adopted_by_its_name) {
        int r, fd;
        struct fixture *f = adopted(ENDPOINT_NAME, test_path("passed.sock"), &r);

        ck_assert_int_eq(r, 0);
        ck_assert_str_eq(control_path(f->control), test_path("passed.sock"));
        ck_assert_int_lt(access(test_path("broker.sock"), F_OK), 0);
        ck_assert(fcntl(control_socket_fd(f->control), F_GETFL) & O_NONBLOCK);
        ck_assert_uint_eq(inherited_count(f->broker->inherited), 0);
        fd = client_connect(f);
        ask(f, fd, "VERB=HELLO", "OK=1\n");
        close_fd(fd);
        fixture_free(f);
        ck_assert_int_eq(access(test_path("passed.sock"), F_OK), 0); /* who made it removes it */
}
END_TEST

START_TEST(a_socket_that_was_passed_is_adopted_by_its_path) {
        int r;
        struct fixture *f = adopted("whatever", test_path("broker.sock"), &r);

        ck_assert_int_eq(r, 0);
        ck_assert(f->control->endpoint.adopted);
        fixture_free(f);
}
END_TEST

START_TEST(a_passed_socket_of_another_kind_is_refused_by_name) {
        struct inherited *inherited;
        struct endpoint e;

        ck_assert_int_eq(inherited_new(&inherited), 0);
        ck_assert_int_eq(inherited_put_fd(inherited, ENDPOINT_NAME,
                                          bind_at(test_path("s.sock"), SOCK_STREAM, 1)),
                         0);
        ck_assert_int_eq(open_endpoint(&e, test_path("broker.sock"), inherited), -EINVAL);
        ck_assert_ptr_nonnull(strstr(last_error, "ListenSequentialPacket="));
        inherited_free(inherited);
}
END_TEST

SUITE("endpoint", {
        TEST(the_socket_is_for_all_and_its_lock_for_us_and_the_path_goes_with_the_broker);
        TEST(a_missing_folder_is_made_and_a_missing_one_above_it_is_not);
        TEST(a_second_broker_is_told_who_is_running);
        TEST(the_lock_alone_keeps_a_second_broker_out);
        tcase_add_loop_test(tests_, one_that_is_on_its_way_out_is_waited_for, 0, 2);
        TEST(one_that_ended_while_we_were_held_up_is_not_there_any_more);
        TEST(a_stale_socket_is_bound_over);
        TEST(a_living_socket_without_our_lock_is_left_alone);
        TEST(what_is_no_socket_is_never_removed);
        TEST(a_path_that_does_not_fit_is_refused_and_never_cut);
        TEST(the_path_of_somebody_else_is_not_removed_at_the_end);
        TEST(a_socket_that_was_passed_is_adopted_by_its_name);
        TEST(a_socket_that_was_passed_is_adopted_by_its_path);
        TEST(a_passed_socket_of_another_kind_is_refused_by_name);
})
