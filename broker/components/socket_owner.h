/*
 * Which process of a tree has a socket open. In a disposable child: it reads /proc/PID/fd of all of
 * the tree, and what is registered in their io_urings.
 */
#ifndef COMPONENTS_SOCKET_OWNER_H
#define COMPONENTS_SOCKET_OWNER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/helper.h"

struct process_tree;

struct socket_owner {
        pid_t pid;       /* one that has it; 0: none of those that we may look into */
        unsigned hidden; /* processes of the tree of which not all that they have is to be seen */
};

struct socket_owner_search {
        const struct process_tree *tree;
        uint32_t inode;
        struct helper helper;
        void (*done)(void *owner, const struct socket_owner *found);
        void *owner;
};

/* done() is called once, from the loop; found is NULL when it took too long. `search` is zeroed and
 * lives until then. 0, -EAGAIN, -ENOMEM, -EMFILE. */
int socket_owner_search(struct socket_owner_search *search, struct loop *loop,
                        const struct process_tree *tree, uint32_t inode,
                        void (*done)(void *owner, const struct socket_owner *found), void *owner);
/* done() is not called any more. Nothing when it is not under way. */
void socket_owner_cancel(struct socket_owner_search *search);

/* Processes of a tree that are looked at; who has more has its first ones looked at. */
#define TREE_PIDS_MAX 4096

#endif
