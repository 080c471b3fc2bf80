/* The table of kept descriptors. Nobody here looks into any of them. */
#include "keeper/kept.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"

struct kept *kept_find(struct kept *all, const char *id) {
        struct kept *one;

        HASH_FIND_STR(all, id, one);
        return one;
}

int kept_put_fd(struct kept **all, const char *id, int fd) {
        struct kept *one = kept_find(*all, id);

        if (one) {
                close_fd(one->fd);
                one->fd = fd;
                return 0;
        }
        one = calloc(1, sizeof(*one));
        if (one) {
                (void) strcpy(one->id, id);
                HASH_ADD_STR(*all, id, one);
        }
        if (!one || !one->hh.tbl) {
                free(one);
                close_fd(fd);
                return -ENOMEM;
        }
        one->fd = fd;
        return 0;
}

void kept_remove(struct kept **all, struct kept *one) {
        HASH_DEL(*all, one);
        close_fd(one->fd);
        free(one);
}
