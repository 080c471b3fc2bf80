/* See inode_set.h. */
#include "sockets/inode_set.h"

#include <errno.h>
#include <stdlib.h>

int inode_set_add(struct inode_set *set, uint32_t inode) {
        if (set->count == set->room) {
                size_t room = set->room > 0 ? 2 * set->room : 256;
                uint32_t *more = reallocarray(set->inodes, room, sizeof(*more));

                if (!more)
                        return -ENOMEM;
                set->inodes = more;
                set->room = room;
        }
        set->inodes[set->count++] = inode;
        return 0;
}

static int compare(const void *a, const void *b) {
        uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;

        return x < y ? -1 : x > y;
}

void inode_set_sort(struct inode_set *set) {
        if (set->count > 1)
                qsort(set->inodes, set->count, sizeof(*set->inodes), compare);
}

bool inode_set_find(const struct inode_set *set, uint32_t inode, size_t *ret) {
        const uint32_t *found = NULL;

        if (set->count > 0)
                found = bsearch(&inode, set->inodes, set->count, sizeof(inode), compare);
        if (found && ret)
                *ret = (size_t) (found - set->inodes);
        return found;
}

void inode_set_clear(struct inode_set *set) {
        free(set->inodes);
        *set = (struct inode_set){0};
}
