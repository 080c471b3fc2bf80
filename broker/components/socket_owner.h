/*
 * Which process of a tree has a socket open. In a disposable child: it reads /proc/PID/fd of all of
 * the tree, and what is registered in their io_urings.
 */
#ifndef COMPONENTS_SOCKET_OWNER_H
#define COMPONENTS_SOCKET_OWNER_H

#include <stdint.h>
#include <sys/types.h>

#include "core/child.h"

struct helper;
struct loop;
struct process_tree;

struct socket_owner {
        pid_t pid;       /* one that has it; 0: none of those that we may look into */
        unsigned hidden; /* processes of the tree of which not all that they have is to be seen */
};

/* As helper_start(); the result is a struct socket_owner, or none: it took too long. */
int socket_owner_search(struct helper **ret, struct loop *loop, const struct process_tree *tree,
                        uint32_t inode, child_done *done, void *owner);

/* Processes of a tree that are looked at; who has more has its first ones looked at. */
#define TREE_PIDS_MAX 4096

#endif
