/*
 * A process tree whose main process runs a function of the test, in a process group of its own. It
 * is killed at the end of the test, and dies with it when the test fails.
 */
#ifndef TESTS_TREE_SUPPORT_H
#define TESTS_TREE_SUPPORT_H

#include <stdbool.h>

#include "components/process_tree.h"
#include "core/loop.h"

struct test_tree {
        struct loop *loop;
        struct cgroup_root root;
        struct process_tree tree;
        bool main_ended, ended;
};

/* Returns when body(argument) is about to run. It exits when that returns. */
void test_tree_start(struct test_tree *t, struct loop *loop, void (*body)(void *argument),
                     void *argument);
/* The same in a cgroup, or false when there is none to be had (not root). */
bool test_tree_start_in_cgroup(struct test_tree *t, struct loop *loop, void (*body)(void *argument),
                               void *argument);
/* Kill all of it and wait for that. */
void test_tree_end(struct test_tree *t);

/* Turn the loop until the condition holds; a test that hangs is ended by Check. */
#define RUN_UNTIL(loop, condition)                                                                 \
        do {                                                                                       \
                while (!(condition))                                                               \
                        loop_run_once((loop), true);                                               \
        } while (0)

/* Milliseconds of CLOCK_MONOTONIC: for what must take a while, never for what must not. */
unsigned long test_msec(void);

#endif
