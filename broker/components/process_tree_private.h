/* What of a tree is only for process_tree.c, and for tests of how it is done on older kernels. */
#ifndef COMPONENTS_PROCESS_TREE_PRIVATE_H
#define COMPONENTS_PROCESS_TREE_PRIVATE_H

struct process_tree;

/* SIGKILL to each process of the cgroup that is there now. */
void process_tree_kill_round(struct process_tree *tree);
/* One round now, and others from the loop until none is left: without cgroup.kill (before 5.14). */
void process_tree_kill_in_rounds(struct process_tree *tree);

#endif
