/*
 * A process tree that begins with a shell script, in a cgroup or in a process group of its own, and
 * how often its ends were told.
 */
#ifndef TESTS_TREE_LIFE_H
#define TESTS_TREE_LIFE_H

#include <stdbool.h>
#include <stdint.h>

#include "components/process_tree.h"
#include "core/loop.h"

enum { WITH_CGROUP, WITH_GROUP, N_KINDS };

struct tree_life {
        struct loop *loop;
        struct cgroup_root root;
        struct process_tree tree;
        int main_ends, ends, words[2];
};

/* False, and it is said, where no cgroup is to be had. */
bool tree_life_open(struct tree_life *l, int kind);
void tree_life_close(struct tree_life *l);

/* A shell that runs the script, with its words going into our pipe. */
void tree_life_run(struct tree_life *l, const char *script);
/* One that runs already. Takes the pidfd. */
void tree_life_adopt(struct tree_life *l, const struct process_tree_kept *kept);
/* For a test that starts its process by itself; the owner is the life. */
void tree_life_on_main_end(void *owner);
void tree_life_on_end(void *owner);

/* The next word that the tree says: a pid. */
pid_t tree_life_next_pid(struct tree_life *l);
void tree_life_until_end(struct tree_life *l);
/* A few turns more: nothing is told twice. */
void tree_life_told_once(struct tree_life *l);
const char *tree_life_end_text(const struct tree_life *l);
/* Any process. */
void tree_life_until_dead(int pidfd);

/* Once with a cgroup, once with a process group: _i is the kind. */
#define TEST_BOTH(name) tcase_add_loop_test(tests_, name, 0, N_KINDS)

#endif
