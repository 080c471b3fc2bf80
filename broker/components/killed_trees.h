/*
 * Trees that were killed: what a command of an instance was when the instance had to go on without
 * it. They are here until the last process is gone, because only then their cgroup can be removed,
 * and what was asked to stop has stopped.
 */
#ifndef COMPONENTS_KILLED_TREES_H
#define COMPONENTS_KILLED_TREES_H

#include <sys/queue.h>

struct process_tree;

LIST_HEAD(killed_tree_list, killed_tree);

/*
 * Kills it. *tree is then as after process_tree_clear(). gone() comes once: when nothing of it is
 * left, or after five seconds when it hangs, or from within.
 */
void killed_trees_take(struct killed_tree_list *list, struct process_tree *tree,
                       void (*gone)(void *owner), void *owner);
/* At the end of the broker, without a gone(). */
void killed_trees_clear(struct killed_tree_list *list);

#endif
