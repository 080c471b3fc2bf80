/* Inodes of sockets: as many are gathered as the kernel lists, then sorted, then looked up. */
#ifndef SOCKETS_INODE_SET_H
#define SOCKETS_INODE_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct inode_set { /* zeroed: empty */
        size_t count, room;
        uint32_t *inodes; /* owned */
};

int inode_set_add(struct inode_set *set, uint32_t inode); /* 0, -ENOMEM */
void inode_set_sort(struct inode_set *set); /* between the last add and the first find */
/* *ret: which one it is, from 0 to count - 1; NULL allowed. */
bool inode_set_find(const struct inode_set *set, uint32_t inode, size_t *ret);
void inode_set_clear(struct inode_set *set);

#endif
