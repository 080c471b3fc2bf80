/* The last look after a tree: until it is empty. */
#include "components/killed_trees.h"

#include <stdlib.h>

#include "components/process_tree.h"

struct killed_tree {
        struct process_tree tree;
        LIST_ENTRY(killed_tree) entry;
};

static void on_main_end(void *owner) {
        (void) owner; /* the end of all of it follows */
}

static void on_end(void *owner) {
        struct killed_tree *k = owner;

        LIST_REMOVE(k, entry);
        process_tree_clear(&k->tree);
        free(k);
}

void killed_trees_take(struct killed_tree_list *list, struct process_tree *tree) {
        struct killed_tree *k = tree->ended ? NULL : calloc(1, sizeof(*k));

        process_tree_kill(tree);
        if (!k) { /* without memory: all but the removal of its cgroup */
                process_tree_clear(tree);
                return;
        }
        process_tree_move(tree, &k->tree, on_main_end, on_end, k);
        LIST_INSERT_HEAD(list, k, entry);
}

void killed_trees_clear(struct killed_tree_list *list) {
        while (!LIST_EMPTY(list))
                on_end(LIST_FIRST(list));
}
