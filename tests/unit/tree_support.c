#include "tree_support.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "core/process.h"
#include "support.h"

static void on_main_end(void *owner) {
        struct test_tree *t = owner;

        t->main_ended = true;
}

static void on_end(void *owner) {
        struct test_tree *t = owner;

        t->ended = true;
}

static void run(struct test_tree *t, void (*body)(void *), void *argument, int ready, int go) {
        char byte;

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void) setpgid(0, 0);
        (void) !write(ready, "x", 1);
        (void) !read(go, &byte, 1); /* until it is in its cgroup */
        body(argument);
        _exit(0);
}

static void enter_cgroup(struct test_tree *t, pid_t pid) {
        char number[16];
        int fd = openat(t->tree.cgroup_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);
        int n = snprintf(number, sizeof(number), "%d", (int) pid);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(write(fd, number, (size_t) n), n);
        close(fd);
}

static void start(struct test_tree *t, struct loop *loop, void (*body)(void *), void *argument) {
        int ready[2], go[2];
        char byte;
        pid_t pid;

        ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
        ck_assert_int_eq(pipe2(go, O_CLOEXEC), 0);
        pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0)
                run(t, body, argument, ready[1], go[0]);
        ck_assert_int_eq(read(ready[0], &byte, 1), 1);
        if (t->tree.cgroup_fd >= 0)
                enter_cgroup(t, pid);
        process_tree_start(&t->tree, pid, process_open(pid), on_main_end, on_end, t);
        ck_assert_int_eq(write(go[1], "x", 1), 1);
        for (int i = 0; i < 2; i++) {
                close(ready[i]);
                close(go[i]);
        }
}

void test_tree_start(struct test_tree *t, struct loop *loop, void (*body)(void *), void *argument) {
        *t = (struct test_tree){.loop = loop, .root.fd = -1};
        ck_assert_int_eq(process_tree_prepare(&t->tree, &t->root, loop, NULL, "test"), 0);
        start(t, loop, body, argument);
}

bool test_tree_start_in_cgroup(struct test_tree *t, struct loop *loop, void (*body)(void *),
                               void *argument) {
        char name[64];

        *t = (struct test_tree){.loop = loop};
        cgroup_root_open(&t->root, NULL);
        (void) snprintf(name, sizeof(name), "unit-test-%d", (int) getpid());
        ck_assert_int_eq(process_tree_prepare(&t->tree, &t->root, loop, NULL, name), 0);
        if (t->tree.cgroup_fd < 0) {
                process_tree_clear(&t->tree);
                cgroup_root_close(&t->root);
                return false;
        }
        start(t, loop, body, argument);
        return true;
}

void test_tree_end(struct test_tree *t) {
        process_tree_kill(&t->tree);
        RUN_UNTIL(t->loop, t->ended);
        process_tree_clear(&t->tree);
        if (t->root.fd >= 0)
                cgroup_root_close(&t->root);
}

unsigned long test_msec(void) {
        return (unsigned long) (loop_now_usec() / 1000);
}
