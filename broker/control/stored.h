/*
 * The fd store for programs: descriptors kept for the next process, with a little data, under a
 * name of its owner's. They belong to a uid, or to a component, and not to a process: what one
 * process stored another one takes, and the next generation is given. The descriptors are somebody
 * else's: the loop neither looks into them nor closes them (disposal.h), and hears of hang-ups only
 * from what the kernel itself polls (stored_hangups.c).
 */
#ifndef CONTROL_STORED_H
#define CONTROL_STORED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/hash.h"
#include "core/log.h"
#include "core/loop.h"
#include "fd_list.h"
#include "grammar.h"
#include "keeper/state.h"
#include "names.h"

struct control;
struct memory;
struct session;

/* Zeroed to its end: the hash is over all of it. */
struct stored_key {
        uid_t uid;                           /* 0 of a component's */
        char component[NAME_LENGTH_MAX + 1]; /* "": of the uid's */
        char name[NAME_LENGTH_MAX + 1];
        unsigned part; /* a component may store under one name again and again; else 0 */
};

struct stored {
        struct stored_key key;
        int box_fd;                 /* see stored_kept.c; -1: each is kept by itself */
        char id[STATE_ID_SIZE];     /* of the record, and what TAKEN acknowledges */
        uint64_t since_usec;        /* CLOCK_REALTIME */
        uint64_t size;              /* of the data, in the last descriptor; 0: there is none */
        size_t n_fds;               /* with that one */
        int *fds;                   /* owned */
        char (*ids)[STATE_ID_SIZE]; /* each is stored under an id of its own; "" not yet */
        bool is_polled;             /* dropped when all of it has hung up, see stored_hangups.c */
        size_t n_open;              /* of those: have not */
        struct session *taker;      /* was sent it and has not acknowledged; NULL: nobody */
        UT_hash_handle hh;
};

/* An epoll set beside the loop's. Zeroed but for the descriptor, which is -1 until there is one. */
struct stored_hangups {
        int epoll_fd;
        struct io_watch watch;
};

struct stored_table {
        struct control *control;
        struct stored_hangups hangups;
        struct rate_limit component_refusals;
        struct stored *entries;
        uint64_t serial; /* of ids where nothing is kept */
};

/* What a uid, or a component, has, or all. */
struct stored_sum {
        uint64_t fds;
        uint64_t bytes;
};

/* Entries that were kept by the broker before us come back. 0 or -ENOMEM. */
int stored_table_init(struct stored_table *table, struct control *control);
/* At the end: the descriptors go to disposal, and stay kept. */
void stored_table_clear(struct stored_table *table);

/* Of a uid. `name` is a valid one. */
struct stored_key stored_key(uid_t uid, struct text name);

/* NULL when there is none. */
struct stored *stored_find(const struct stored_table *table, uid_t uid, struct text name);
/* `except` (NULL: none) is not counted. */
struct stored_sum stored_sum_of_user(const struct stored_table *table, uid_t uid,
                                     const struct stored *except);
struct stored_sum stored_sum_of_all(const struct stored_table *table, const struct stored *except);

/* An entry for all descriptors of the list, which are taken only on success. -ENOMEM. */
int stored_new(const struct stored_key *key, uint64_t size, struct fd_list *fds,
               struct stored **ret);
/* Memory only: the descriptors are not its any more. */
void stored_free(struct stored *stored);

/*
 * Put it into the table and keep it. *ret_old is the entry that had its name, out of the table and
 * still kept: for stored_discard() when the new one has arrived. 0, -ENOSPC (memory_error()), or
 * the error of memory_put() and memory_put_fd(), with nothing changed.
 */
int stored_put(struct stored_table *table, struct stored *stored, struct stored **ret_old);

/* The table's part of it. 0 or -ENOMEM. */
int stored_insert(struct stored_table *table, struct stored *stored, struct stored **ret_old);

/* This session alone may take it, until it is gone (stored_end_taking()) or the entry is. */
void stored_begin_taking(struct stored *stored, struct session *session);
/* By a session that ends: somebody else may take now what it has not acknowledged. */
void stored_end_taking(struct stored_table *table, struct session *session);

/* Out of the table; for stored_discard(). */
void stored_remove(struct stored_table *table, struct stored *stored);

/* Forget it, which is in no table, and close its descriptors once nobody else has to. */
void stored_discard(struct stored_table *table, struct stored *stored);

/* ---- stored_hangups.c ---------------------------------------------------------------------------
 */

void stored_hangups_init(struct stored_table *table);
void stored_hangups_clear(struct stored_table *table);
/* Of an entry of the table; what cannot be watched stays for good. */
void stored_watch(struct stored_table *table, struct stored *stored);
void stored_unwatch(struct stored_table *table, struct stored *stored);

/* ---- stored_kept.c: what the next broker finds --------------------------------------------------
 */

int stored_keep(struct memory *memory, struct stored *stored);
void stored_forget(struct memory *memory, struct stored *stored);
/* Adds what was kept to the table; what is not whole is discarded, with a line in the log. */
int stored_load(struct stored_table *table, struct memory *memory, struct log *log);

#endif
