/*
 * Snapshots of socket options, shared: nearly all sockets of a broker have the same, and reading
 * one takes dozens of system calls. A snapshot is kept with the sockets' records, so that after a
 * crash a socket goes back to what it had before anybody held it, and not to what a holder had
 * made of it by then.
 */
#ifndef SOCKETS_OPTIONS_POOL_H
#define SOCKETS_OPTIONS_POOL_H

#include "core/hash.h"
#include "keeper/state.h"
#include "sockets/socket_options.h"

struct memory;
struct options_pool;

struct shared_options {
        struct socket_options options;
        char id[STATE_ID_SIZE]; /* of its record; "" when it is not kept */
        /* The pool's own. */
        struct options_pool *pool;
        size_t n_users;
        bool held;               /* by the pool itself, until options_pool_settle() */
        UT_hash_handle by_value; /* the first of that value */
        UT_hash_handle by_id;
};

int options_pool_new(struct options_pool **ret);
/* No snapshot is used any more; what is kept stays kept. NULL allowed. */
struct options_pool *options_pool_free(struct options_pool *pool);

/* Keep all that is read from now on, and take what is kept; NULL: neither. -ENOMEM. */
int options_pool_set_memory(struct options_pool *pool, struct memory *memory);

/*
 * What the socket has now. For the caller to shared_options_free(). 0, -ENOMEM, or as
 * socket_options_read().
 */
int options_pool_read(struct options_pool *pool, int socket_fd, struct shared_options **ret);

/*
 * The same for one that we bound ourselves since the last options_pool_settle(), and that nobody
 * was lent: those of one family are alike, so only the first is asked.
 */
int options_pool_read_bound(struct options_pool *pool, int socket_fd, int family,
                            struct shared_options **ret);

/* The kept one of this id, as the other two; NULL when there is none. */
struct shared_options *options_pool_find(struct options_pool *pool, const char *id);

/* Drop what nobody uses: at the end of an apply. The system's defaults may change until the next.
 */
void options_pool_settle(struct options_pool *pool);

/* One user less; the last one takes it with him. NULL allowed; returns NULL. */
struct shared_options *shared_options_free(struct shared_options *shared);

#endif
