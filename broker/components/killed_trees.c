/* The last look after a tree: until it is empty. */
#include "components/killed_trees.h"

#include <stdlib.h>

#include "components/process_tree.h"
#include "core/log.h"

/* What SIGKILL does not end in that time hangs. */
#define PATIENCE_USEC (5 * 1000 * 1000)

struct killed_tree {
        struct process_tree tree;
        struct timer patience;
        void (*gone)(void *owner); /* NULL: was told */
        void *owner;
        LIST_ENTRY(killed_tree) entry;
};

static void on_main_end(void *owner) {
        (void) owner; /* the end of all of it follows */
}

static void tell_gone(struct killed_tree *k) {
        void (*gone)(void *owner) = k->gone;

        k->gone = NULL;
        if (gone)
                gone(k->owner);
}

static void forget(struct killed_tree *k) {
        timer_stop(&k->patience);
        LIST_REMOVE(k, entry);
        process_tree_clear(&k->tree);
        free(k);
}

static void on_end(void *owner) {
        struct killed_tree *k = owner;

        tell_gone(k);
        forget(k);
}

static void on_impatient(void *owner) {
        struct killed_tree *k = owner;

        log_error(
                k->tree.log, ABOUT(.pid = k->tree.pid),
                "pid %d, or what it started, was killed, hangs in the kernel and cannot be ended; "
                "it is left alone",
                (int) k->tree.pid);
        tell_gone(k);
}

void killed_trees_take(struct killed_tree_list *list, struct process_tree *tree,
                       void (*gone)(void *owner), void *owner) {
        struct killed_tree *k = tree->ended ? NULL : calloc(1, sizeof(*k));

        process_tree_kill(tree);
        if (!k) { /* without memory: all but the wait, and the removal of its cgroup */
                process_tree_clear(tree);
                gone(owner);
                return;
        }
        k->gone = gone;
        k->owner = owner;
        process_tree_move(tree, &k->tree, on_main_end, on_end, k);
        deadline_start(&k->patience, k->tree.loop, PATIENCE_USEC, on_impatient, k);
        LIST_INSERT_HEAD(list, k, entry);
}

void killed_trees_clear(struct killed_tree_list *list) {
        while (!LIST_EMPTY(list))
                forget(LIST_FIRST(list));
}
