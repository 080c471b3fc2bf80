/*
 * Trees that were killed and whose end nobody waits for: what a command of an instance was when the
 * instance had to go on without it. They are here until the last process is gone, because only then
 * their cgroup can be removed.
 */
#ifndef COMPONENTS_KILLED_TREES_H
#define COMPONENTS_KILLED_TREES_H

#include <sys/queue.h>

struct process_tree;

LIST_HEAD(killed_tree_list, killed_tree);

/* Kills it. *tree is then as after process_tree_clear(). */
void killed_trees_take(struct killed_tree_list *list, struct process_tree *tree);
/* At the end of the broker. */
void killed_trees_clear(struct killed_tree_list *list);

#endif
