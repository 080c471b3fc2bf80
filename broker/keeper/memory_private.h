/* The inside of the memory, for its two files. */
#ifndef KEEPER_MEMORY_PRIVATE_H
#define KEEPER_MEMORY_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/hash.h"
#include "keeper/catch_up.h"
#include "keeper/memory.h"

/* The document itself is stored under this id; it has no record. */
#define STATE_ID MEMORY_STATE_ID

/* A stored descriptor whose record is lost. It stays among what was inherited. */
struct nameless {
        char id[STATE_ID_SIZE];
        UT_hash_handle hh;
};

struct memory {
        struct state *state;
        struct fd_store *store;
        struct nameless *nameless;
        struct loop *loop;
        struct log *log;
        struct timer retry;
        struct catch_up catch_up;
        size_t n_refilled;  /* descriptors that were pushed to the last keeper */
        uint64_t lost_usec; /* the last keeper */
        int made_fd;        /* pidfd of the keeper, if a broker made it; -1: it is from outside */
        int leaving_fd;     /* of one that is ended once the next one has everything; -1: none */
        bool is_shared;     /* and both have a CHARGE */
        int (*new_keeper)(void *owner, int *ret_pidfd);
        void *owner;
        bool ready, ending; /* what every keeper has to know */
};

/* The store's link has hung up. */
void memory_lost_keeper(void *owner);

#endif
