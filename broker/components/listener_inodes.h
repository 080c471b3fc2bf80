/* The inodes of a component's listening sockets, by which /proc and sock_diag name them. */
#ifndef COMPONENTS_LISTENER_INODES_H
#define COMPONENTS_LISTENER_INODES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct component;

/* Of a range of ports with more sockets the first ones stand for all. */
#define LISTENER_INODES_MAX 64

struct listener_inodes {
        size_t count;
        uint64_t of[LISTENER_INODES_MAX];
};

/* Of all its listeners; every byte is set, so that it may be part of a request to a child. */
void listener_inodes_get(const struct component *component, struct listener_inodes *ret);
bool listener_inodes_have(const struct listener_inodes *inodes, uint64_t inode);

#endif
