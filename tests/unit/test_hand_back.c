/* At start a broker's listener is taken back from a process that holds it, and nothing else is. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "sockets/hand_back.h"
#include "sockets_support.h"
#include "support.h"
#include "table_support.h"

static struct world *world_at_start(void) {
        struct world *w = world_new();

        listener_table_set_starting(w->table, true);
        return w;
}

static void end_process(pid_t pid) {
        ck_assert_int_eq(kill(pid, SIGKILL), 0);
        ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

static ino_t inode_of(int fd) {
        struct stat st;

        ck_assert_int_eq(fstat(fd, &st), 0);
        return st.st_ino;
}

static int apply_port(struct world *w, unsigned port) {
        return apply(w, "[Socket web]\nListenStream=127.0.0.1:%u\n", port);
}

START_TEST(what_a_broker_holds_is_marked) {
        struct world *w = world_new();
        struct stat st;

        ck_assert_int_eq(apply(w,
                               "[Socket web]\nListenStream=127.0.0.1:%u\n"
                               "[Socket api]\nListenStream=%s\n",
                               test_free_port(), test_path("api.sock")),
                         0);
        ck_assert_int_eq(fstat(find(w, "web")->fds[0], &st), 0);
        ck_assert_uint_eq(st.st_mode & 07777, 01777);
        ck_assert_int_eq(fstat(find(w, "api")->fds[0], &st), 0);
        ck_assert_uint_eq(st.st_mode & 07777, 01777);
        /* it is the socket's mark and not its path's */
        ck_assert_int_eq(stat(test_path("api.sock"), &st), 0);
        ck_assert_uint_eq(st.st_mode & S_ISVTX, 0);
        world_free(w);
}
END_TEST

START_TEST(a_listener_is_taken_back_with_a_lease_of_its_holder) {
        struct world *w = world_at_start();
        int fd = test_marked_listener();
        unsigned port = test_port_of(fd);
        ino_t inode = inode_of(fd);
        pid_t pid = test_hold_elsewhere(fd);
        struct lease *lease;

        ck_assert_int_eq(apply_port(w, port), 0);
        expect_counts(w, 0, 1, 0, 0, 0);
        ck_assert_uint_eq(find(w, "web")->sockets[0]->inode, inode);
        ck_assert(!find(w, "web")->sockets[0]->adopted);
        ck_assert(fcntl(find(w, "web")->fds[0], F_GETFD) & FD_CLOEXEC);
        ck_assert_uint_eq(find(w, "web")->n_leases, 1);
        lease = LIST_FIRST(&find(w, "web")->leases);
        ck_assert_int_eq(lease->how, LEASE_HAND_BACK);
        ck_assert_int_eq(lease->holder->pid, pid);
        ck_assert_uint_eq(lease->holder->uid, geteuid());
        end_process(pid);
        ck_assert_int_eq(test_tcp_connect(port), 0);
        world_free(w);
}
END_TEST

START_TEST(a_path_is_taken_back) {
        struct world *w = world_at_start();
        int fd = test_unix_listener(test_path("api.sock"));
        ino_t inode = inode_of(fd);
        pid_t pid;

        hand_back_mark(fd);
        pid = test_hold_elsewhere(fd);
        ck_assert_int_eq(apply(w, "[Socket api]\nListenStream=%s\n", test_path("api.sock")), 0);
        ck_assert_uint_eq(find(w, "api")->sockets[0]->inode, inode);
        ck_assert_uint_eq(find(w, "api")->n_leases, 1);
        end_process(pid);
        ck_assert_int_eq(test_unix_connect(test_path("api.sock"), SOCK_STREAM), 0);
        world_free(w);
}
END_TEST

START_TEST(nothing_is_taken_after_the_start) {
        struct world *w = world_new();
        int fd = test_marked_listener();
        unsigned port = test_port_of(fd);
        pid_t pid = test_hold_elsewhere(fd);

        ck_assert_int_eq(apply_port(w, port), -EINVAL);
        expect_diagnostic(w, SEVERITY_ERROR, "cannot bind");
        end_process(pid);
        world_free(w);
}
END_TEST

START_TEST(what_no_broker_marked_is_not_taken) {
        struct world *w = world_at_start();
        int fd = test_tcp_listener();
        unsigned port = test_port_of(fd);
        pid_t pid = test_hold_elsewhere(fd);

        ck_assert_int_eq(apply_port(w, port), -EINVAL);
        ck_assert_uint_eq(w->result.n_conflicts, 1);
        end_process(pid);
        world_free(w);
}
END_TEST

/* What includes our address is in the way of it as well, and is another listener. */
START_TEST(another_address_is_not_taken) {
        struct world *w = world_at_start();
        struct sockaddr_in any = {.sin_family = AF_INET};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        unsigned port;
        pid_t pid;

        ck_assert_int_eq(bind(fd, (struct sockaddr *) &any, sizeof(any)), 0);
        ck_assert_int_eq(listen(fd, 4), 0);
        port = test_port_of(fd);
        hand_back_mark(fd);
        pid = test_hold_elsewhere(fd);
        ck_assert_int_eq(apply_port(w, port), -EINVAL);
        end_process(pid);
        world_free(w);
}
END_TEST

START_TEST(what_does_not_listen_is_not_taken) {
        struct world *w = world_at_start();
        int fd = test_tcp_bound(0);
        struct address address;
        pid_t pid;

        hand_back_mark(fd);
        ck_assert_int_eq(address_of_socket(fd, &address), 0);
        pid = test_hold_elsewhere(fd);
        /* SO_REUSEADDR on both: the address can be had beside it */
        ck_assert_int_eq(apply_port(w, address_port(&address)), 0);
        expect_counts(w, 1, 0, 0, 0, 0);
        ck_assert_uint_eq(find(w, "web")->n_leases, 0);
        end_process(pid);
        world_free(w);
}
END_TEST

START_TEST(an_apply_that_fails_gives_it_up_again) {
        struct world *w = world_at_start();
        _cleanup_close_ int other = test_tcp_listener();
        int fd = test_marked_listener();
        unsigned port = test_port_of(fd);
        pid_t pid = test_hold_elsewhere(fd);

        ck_assert_int_eq(apply(w,
                               "[Socket web]\nListenStream=127.0.0.1:%u\n"
                               "[Socket zoo]\nListenStream=127.0.0.1:%u\n",
                               port, test_port_of(other)),
                         -EINVAL);
        ck_assert_int_eq(test_tcp_connect(port), 0); /* its holder's as before */
        end_process(pid);
        ck_assert_int_eq(test_tcp_connect(port), ECONNREFUSED);
        world_free(w);
}
END_TEST

/* Several have it: one is asked for it, and each that has it of its own right gets a lease. */
START_TEST(each_of_several_holders_has_a_lease) {
        struct world *w = world_at_start();
        int fd = test_marked_listener();
        unsigned port = test_port_of(fd);
        pid_t one = test_hold_elsewhere(fcntl(fd, F_DUPFD_CLOEXEC, 3)),
              two = test_hold_elsewhere(fd);

        ck_assert_int_eq(apply_port(w, port), 0);
        ck_assert_uint_eq(find(w, "web")->n_leases, 2);
        end_process(one);
        end_process(two);
        world_free(w);
}
END_TEST

SUITE("hand_back", {
        TEST(what_a_broker_holds_is_marked);
        TEST(nothing_is_taken_after_the_start);
        TEST(what_no_broker_marked_is_not_taken);
        TEST(another_address_is_not_taken);
        TEST(what_does_not_listen_is_not_taken);
        TEST(an_apply_that_fails_gives_it_up_again);
        if (!SKIPPED_UNDER_VALGRIND("it knows no pidfd_getfd(2)")) {
                TEST(a_listener_is_taken_back_with_a_lease_of_its_holder);
                TEST(a_path_is_taken_back);
                TEST(each_of_several_holders_has_a_lease);
        }
})
