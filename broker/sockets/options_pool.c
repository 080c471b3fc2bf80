/* Shared snapshots of socket options and their records. See options_pool.h. */
#include "sockets/options_pool.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "keeper/memory.h"
#include "keeper/record.h"

#define KIND "options"

/* Each is written once, so there is nothing that could be carried over. */
static const struct record_kind options_record = {KIND, 'o', NULL};

struct options_pool {
        struct memory *memory; /* NULL: nothing is kept */
        struct shared_options *by_value;
        struct shared_options *by_id;
        /* By family, of what was bound since the last options_pool_settle(); each held. */
        struct shared_options *bound[AF_INET6 + 1];
};

static_assert(AF_UNIX <= AF_INET6 && AF_INET <= AF_INET6, "the families are small numbers");
/* It is compared and hashed as bytes. */
static_assert(_Alignof(struct socket_options) == 1, "a snapshot has no padding");

/* ---- records -----------------------------------------------------------------------------------
 */

/* Without a record the next broker reads the sockets themselves: worse, and no reason to fail. */
static void keep(struct options_pool *pool, struct shared_options *shared) {
        struct packet_writer *w = record_new(pool->memory, &options_record);

        if (w)
                socket_options_write(&shared->options, w);
        if (record_put(pool->memory, &options_record, w, shared->id) < 0)
                return;
        HASH_ADD(by_id, pool->by_id, id, strlen(shared->id), shared);
        if (!shared->by_id.tbl)
                record_remove(pool->memory, shared->id);
}

static struct shared_options *add(struct options_pool *pool, const struct socket_options *options);

static int load(struct options_pool *pool, const char *id) {
        struct socket_options options;
        struct shared_options *shared;
        struct assignments a;

        if (!memory_get(pool->memory, id, &a))
                return 0;
        socket_options_parse(&a, &options);
        shared = add(pool, &options);
        if (!shared)
                return -ENOMEM;
        shared->held = true;
        (void) strcpy(shared->id, id);
        HASH_ADD(by_id, pool->by_id, id, strlen(shared->id), shared);
        if (!shared->by_id.tbl) {
                shared->id[0] = '\0'; /* its record stays */
                (void) shared_options_free(shared);
                return -ENOMEM;
        }
        return 0;
}

int options_pool_set_memory(struct options_pool *pool, struct memory *memory) {
        const char *id;
        int r = 0;

        pool->memory = memory;
        for (id = memory ? memory_first(memory, KIND) : NULL; id && r == 0;
             id = memory_next(memory, KIND, id))
                r = load(pool, id);
        return r;
}

struct shared_options *options_pool_find(struct options_pool *pool, const char *id) {
        struct shared_options *shared;

        HASH_FIND(by_id, pool->by_id, id, strlen(id), shared);
        if (shared)
                shared->n_users++;
        return shared;
}

/* ---- snapshots in memory -----------------------------------------------------------------------
 */

/* Nobody uses it yet. NULL: no memory. */
static struct shared_options *add(struct options_pool *pool, const struct socket_options *options) {
        struct shared_options *shared = calloc(1, sizeof(*shared)), *other;

        if (!shared)
                return NULL;
        shared->options = *options;
        shared->pool = pool;
        HASH_FIND(by_value, pool->by_value, options, sizeof(*options), other);
        if (other) /* two records of one value: each has its users */
                return shared;
        HASH_ADD(by_value, pool->by_value, options, sizeof(*options), shared);
        if (!shared->by_value.tbl) {
                free(shared);
                return NULL;
        }
        return shared;
}

static void drop_unused(struct shared_options *shared) {
        struct options_pool *pool = shared->pool;

        if (shared->n_users > 0 || shared->held)
                return;
        if (shared->by_value.tbl)
                HASH_DELETE(by_value, pool->by_value, shared);
        if (shared->id[0]) {
                HASH_DELETE(by_id, pool->by_id, shared);
                if (pool->memory)
                        memory_remove(pool->memory, shared->id);
        }
        free(shared);
}

struct shared_options *shared_options_free(struct shared_options *shared) {
        if (shared) {
                if (shared->n_users > 0)
                        shared->n_users--;
                drop_unused(shared);
        }
        return NULL;
}

int options_pool_read(struct options_pool *pool, int socket_fd, struct shared_options **ret) {
        struct shared_options *shared;
        struct socket_options options;
        int r = socket_options_read(socket_fd, &options);

        if (r < 0)
                return r;
        HASH_FIND(by_value, pool->by_value, &options, sizeof(options), shared);
        if (!shared) {
                shared = add(pool, &options);
                if (!shared)
                        return -ENOMEM;
                keep(pool, shared);
        }
        shared->n_users++;
        *ret = shared;
        return 0;
}

int options_pool_read_bound(struct options_pool *pool, int socket_fd, int family,
                            struct shared_options **ret) {
        struct shared_options **bound;
        int r = 0;

        if (family < 0 || family > AF_INET6)
                return options_pool_read(pool, socket_fd, ret);
        bound = &pool->bound[family];
        if (!*bound) {
                r = options_pool_read(pool, socket_fd, bound);
                if (r < 0)
                        return r;
        }
        (*bound)->n_users++;
        *ret = *bound;
        return 0;
}

void options_pool_settle(struct options_pool *pool) {
        struct shared_options *shared, *next;

        for (size_t i = 0; i < sizeof(pool->bound) / sizeof(pool->bound[0]); i++)
                pool->bound[i] = shared_options_free(pool->bound[i]);
        for (shared = pool->by_id; shared; shared = next) {
                next = shared->by_id.next;
                shared->held = false;
                drop_unused(shared);
        }
}

int options_pool_new(struct options_pool **ret) {
        struct options_pool *pool = calloc(1, sizeof(*pool));

        if (!pool)
                return -ENOMEM;
        *ret = pool;
        return 0;
}

struct options_pool *options_pool_free(struct options_pool *pool) {
        if (pool) {
                pool->memory = NULL;
                options_pool_settle(pool);
                free(pool);
        }
        return NULL;
}
