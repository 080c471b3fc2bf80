/* Between holder.c and lease.c, which are one thing in two files. */
#ifndef SOCKETS_HOLDER_PRIVATE_H
#define SOCKETS_HOLDER_PRIVATE_H

#include <stdint.h>

#include "core/hash.h"
#include "sockets/lease.h"

/* How many leases a user has; there is one as long as it is not 0. */
struct user_count {
        uid_t uid;
        unsigned leases;
        UT_hash_handle hh;
};

struct holder_table {
        struct holder *by_key;
        struct user_count *by_uid;
        struct loop *loop;
        struct memory *memory; /* NULL: nothing is kept */
        struct log *log;
        uint64_t anonymous; /* next key of a holder that cannot be found again */
};

void holder_table_clear_users(struct holder_table *table);
void holder_watch(struct holder *holder); /* see when its process ends */
void holder_free_if_unused(struct holder *holder);

#endif
