/* What the keeper keeps: descriptors by id, in the order in which they came. */
#ifndef KEEPER_KEPT_H
#define KEEPER_KEPT_H

#include "core/hash.h"
#include "keeper/state.h"

struct kept {
        char id[STATE_ID_SIZE];
        int fd; /* owned */
        UT_hash_handle hh;
};

/* NULL when there is none of that id. */
struct kept *kept_find(struct kept *all, const char *id);

/*
 * Takes fd, also when it fails: -ENOMEM. The same id again: the newer one, as systemd does after
 * FDSTOREREMOVE.
 */
int kept_put_fd(struct kept **all, const char *id, int fd);

/* Closes its descriptor and frees it. */
void kept_remove(struct kept **all, struct kept *one);

#endif
