/* Connections are counted for the tree that has them, and strays are told from those who may. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "components/connections.h"
#include "components/listener_inodes.h"
#include "core/worker.h"
#include "sockets_support.h"
#include "support.h"
#include "tree_support.h"

static struct loop *loop;
static struct worker_pool workers;
static int listening;
static bool done, failed;
static struct connections result;
static int told[2]; /* the server tells each accept */

static void on_counted(void *owner, const char *text, size_t size) {
        done = true;
        failed = !child_result_read(text, size, &result, sizeof(result));
}

static void accept_all(void *unused) {
        (void) prctl(PR_SET_NAME, "acceptor");
        for (;;) {
                if (accept4(listening, NULL, NULL, SOCK_CLOEXEC) >= 0)
                        (void) !write(told[1], "x", 1);
        }
}

/* Two connections, of which a worker has both, too. */
static void accept_two_and_fork(void *unused) {
        (void) accept4(listening, NULL, NULL, SOCK_CLOEXEC);
        (void) accept4(listening, NULL, NULL, SOCK_CLOEXEC);
        if (fork() == 0)
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void) !write(told[1], "x", 1);
        pause();
}

/* Of its cgroup, and not of its process group. */
static void accept_in_another_session(void *unused) {
        if (fork() == 0) {
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
                (void) setsid();
                accept_all(NULL);
        }
        pause();
}

static void hold(void *unused) {
        pause();
}

static const struct process_tree *known_trees[2];
static pid_t known_pid;
static struct strays strays;

static bool is_known(const void *owner, pid_t pid) {
        for (size_t i = 0; i < 2; i++)
                if (known_trees[i] && process_tree_has(known_trees[i], pid))
                        return true;
        return pid == known_pid;
}

static void on_looked(void *owner, const char *text, size_t size) {
        done = true;
        failed = !child_result_read(text, size, &strays, sizeof(strays));
}

static struct listener_inodes listening_inode(void) {
        struct stat st;

        ck_assert_int_eq(fstat(listening, &st), 0);
        return (struct listener_inodes){1, {st.st_ino}};
}

static void count(const struct process_tree *tree) {
        struct worker *c = NULL;
        struct listener_inodes inode = listening_inode();

        done = false;
        memset(&result, 0, sizeof(result));
        ck_assert_int_eq(connection_count_start(&c, &workers, tree, &inode, on_counted, NULL), 0);
        RUN_UNTIL(loop, done);
        ck_assert(!failed);
}

static void look_for_strays(void) {
        struct helper *search = NULL;
        struct listener_inodes inode = listening_inode();

        done = false;
        ck_assert_int_eq(stray_search_start(&search, loop, &inode, is_known, on_looked, NULL), 0);
        RUN_UNTIL(loop, done);
        ck_assert(!failed);
}

static int client(void) {
        struct sockaddr_storage address;
        socklen_t size = sizeof(address);
        int fd;

        ck_assert_int_eq(getsockname(listening, (struct sockaddr *) &address, &size), 0);
        fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ck_assert_int_eq(connect(fd, (struct sockaddr *) &address, size), 0);
        return fd;
}

static void wait_told(int n) {
        char byte;

        while (n-- > 0)
                ck_assert_int_eq(read(told[0], &byte, 1), 1);
}

static void set_up(int fd) {
        ck_assert_int_eq(loop_new(&loop), 0);
        worker_pool_init(&workers, loop);
        ck_assert_int_eq(pipe2(told, O_CLOEXEC), 0);
        listening = fd;
}

static void tear_down(void) {
        close(listening);
        close(told[0]);
        close(told[1]);
        worker_pool_clear(&workers);
        loop_free(loop);
}

static void expect_counts(int fd) {
        struct test_tree old, new;
        int clients[3];

        set_up(fd);
        test_tree_start(&old, loop, accept_all, NULL);
        test_tree_start(&new, loop, hold, NULL);
        count(&old.tree);
        ck_assert_uint_eq(result.count, 0);
        for (int i = 0; i < 3; i++)
                clients[i] = client();
        wait_told(3);
        count(&old.tree);
        ck_assert_uint_eq(result.count, 3);
        ck_assert_uint_eq(result.n_holders, 1);
        ck_assert_int_eq(result.holders[0].pid, old.tree.pid);
        ck_assert_str_eq(result.holders[0].name, "acceptor");
        ck_assert_uint_eq(result.holders[0].count, 3);
        count(&new.tree);
        ck_assert_uint_eq(result.count, 0);
        /* The client has said all that it has to say, and waits for the answer. */
        ck_assert_int_eq(shutdown(clients[0], SHUT_WR), 0);
        count(&old.tree);
        ck_assert_uint_eq(result.count, 3);
        test_tree_end(&old);
        test_tree_end(&new);
        for (int i = 0; i < 3; i++)
                close(clients[i]);
        tear_down();
}

START_TEST(connections_count_for_who_accepted_them) {
        expect_counts(test_tcp_listener());
        expect_counts(test_unix_listener(test_path("web.sock")));
}
END_TEST

START_TEST(a_connection_in_the_queue_or_of_another_listener_does_not_count) {
        struct test_tree t;
        int other = test_tcp_listener(), waiting, fd;

        set_up(other);
        fd = client();
        int accepted = accept4(other, NULL, NULL, SOCK_CLOEXEC);
        ck_assert_int_ge(accepted, 0);
        listening = test_tcp_listener();
        waiting = client();
        test_tree_start(&t, loop, hold, NULL); /* has all of these */
        count(&t.tree);
        ck_assert_uint_eq(result.count, 0);
        close(listening);
        listening = other;
        count(&t.tree);
        ck_assert_uint_eq(result.count, 1);
        test_tree_end(&t);
        close(waiting);
        close(fd);
        close(accepted);
        tear_down();
}
END_TEST

START_TEST(a_shared_connection_counts_once) {
        struct test_tree t;
        int a, b;

        set_up(test_tcp_listener());
        a = client();
        b = client();
        test_tree_start(&t, loop, accept_two_and_fork, NULL);
        wait_told(2);
        count(&t.tree);
        ck_assert_uint_eq(result.count, 2);
        ck_assert_uint_eq(result.n_holders, 1);
        test_tree_end(&t);
        close(a);
        close(b);
        tear_down();
}
END_TEST

START_TEST(who_is_counted_is_of_the_cgroup_if_there_is_one) {
        struct test_tree t;
        int a;

        set_up(test_tcp_listener());
        a = client();
        if (test_tree_start_in_cgroup(&t, loop, accept_in_another_session, NULL)) {
                wait_told(1);
                count(&t.tree);
                ck_assert_uint_eq(result.count, 1);
                test_tree_end(&t);
        }
        close(a);
        tear_down();
}
END_TEST

START_TEST(a_count_that_is_stopped_is_silent_and_one_that_is_not_leaves_its_child) {
        struct listener_inodes inode;
        struct worker *c = NULL;
        struct test_tree t;

        set_up(test_tcp_listener());
        inode = listening_inode();
        test_tree_start(&t, loop, hold, NULL);
        count(&t.tree);
        ck_assert_ptr_nonnull(workers.spare); /* for the next one */
        done = false;
        ck_assert_int_eq(connection_count_start(&c, &workers, &t.tree, &inode, on_counted, NULL),
                         0);
        ck_assert_ptr_null(workers.spare);
        worker_stop(c);
        test_tree_end(&t);
        ck_assert(!done);
        tear_down();
}
END_TEST

/* A grandchild that left its group, whose parent has ended: nobody's child, with the listener. */
static pid_t make_stray(void) {
        int ends[2];
        pid_t pid, stray;

        ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
        ck_assert_int_eq(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
        pid = fork();
        if (pid == 0) {
                pid = fork();
                if (pid > 0)
                        _exit(0);
                (void) prctl(PR_SET_NAME, "stray");
                (void) setsid();
                while (getppid() == getpgid(0))
                        ;
                pid = getpid();
                (void) !write(ends[1], &pid, sizeof(pid));
                /* Until the test has ended, however it ends. */
                close(told[1]);
                (void) !read(told[0], &pid, sizeof(pid));
                _exit(0);
        }
        ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
        ck_assert_int_eq(read(ends[0], &stray, sizeof(stray)), sizeof(stray));
        close(ends[0]);
        close(ends[1]);
        return stray;
}

/* Disposable children of the program that we were before an upgrade, for example. */
START_TEST(a_child_of_our_group_is_no_stray_whatever_it_executes) {
        int ends[2], copy;
        pid_t pid;

        set_up(test_tcp_listener());
        ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
        pid = fork();
        if (pid == 0) {
                if (_i == 1)
                        (void) setsid();
                copy = fcntl(listening, F_DUPFD, 3);
                (void) execlp("sleep", "sleep", "1000", NULL);
                _exit(copy < 0);
        }
        close(ends[1]);
        ck_assert_int_eq(read(ends[0], &(char){0}, 1), 0); /* it is executed */
        look_for_strays();
        ck_assert_uint_eq(strays.count, _i == 1 ? 1 : 0);
        ck_assert_int_eq(kill(pid, SIGKILL), 0);
        ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
        close(ends[0]);
        tear_down();
}
END_TEST

START_TEST(strays_are_who_has_the_listener_and_is_not_known) {
        struct test_tree t, other;
        pid_t stray;

        set_up(test_tcp_listener());
        stray = make_stray();
        test_tree_start(&t, loop, hold, NULL);
        test_tree_start(&other, loop, hold, NULL);
        known_trees[0] = &t.tree;
        known_trees[1] = &other.tree;
        look_for_strays();
        ck_assert_uint_eq(strays.count, 1);
        ck_assert_int_eq(strays.of[0].pid, stray);
        ck_assert_str_eq(strays.of[0].name, "stray");
        known_pid = stray;
        known_trees[1] = NULL;
        look_for_strays();
        ck_assert_uint_eq(strays.count, 0); /* our own child on its way to exec */
        ck_assert_int_eq(kill(stray, SIGKILL), 0);
        test_tree_end(&t);
        test_tree_end(&other);
        tear_down();
}
END_TEST

SUITE("connections", {
        TEST(connections_count_for_who_accepted_them);
        TEST(a_connection_in_the_queue_or_of_another_listener_does_not_count);
        TEST(a_shared_connection_counts_once);
        TEST(who_is_counted_is_of_the_cgroup_if_there_is_one);
        TEST(a_count_that_is_stopped_is_silent_and_one_that_is_not_leaves_its_child);
        TEST(strays_are_who_has_the_listener_and_is_not_known);
        tcase_add_loop_test(tests_, a_child_of_our_group_is_no_stray_whatever_it_executes, 0, 2);
})
