/*
 * Who was lent what. A holder is a process, known by its pidfd; a lease is the record of one
 * listener lent to one holder. A lease ends when the process ends or gives it back, not when a
 * connection ends. Acquiring again is the same lease.
 */
#ifndef SOCKETS_LEASE_H
#define SOCKETS_LEASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "core/hash.h"
#include "core/loop.h"
#include "keeper/state.h"

struct listener;
struct holder_table;
struct log;

enum lease_how { LEASE_ACQUIRE, LEASE_HAND_BACK, LEASE_GENERATION };

struct lease {
        struct listener *listener;
        struct holder *holder;
        uint64_t since_usec; /* CLOCK_REALTIME */
        enum lease_how how;
        char id[STATE_ID_SIZE]; /* of its record; "" when it is not kept (sockets/kept.h) */
        LIST_ENTRY(lease) in_listener;
        LIST_ENTRY(lease) in_holder;
};

#define HOLDER_STATUS_SIZE 256

struct holder {
        pid_t pid; /* in our pid namespace; 0 when the process is in none that we see */
        uid_t uid;
        gid_t gid;
        int pidfd;            /* owned */
        uint64_t pidfd_inode; /* unique on pidfs (Linux 6.9), for holders with pid 0; else 0 */
        bool ready;           /* it said that it serves */
        char status[HOLDER_STATUS_SIZE]; /* what it said of itself */
        char id[STATE_ID_SIZE];          /* of its record, while it has leases; else "" */
        unsigned references; /* sessions; the holder lives as long as it has leases or sessions */
        LIST_HEAD(, lease) leases;
        size_t n_leases;
        struct io_watch exit_watch; /* started with the first lease */
        struct holder_table *table;
        uint64_t key;      /* pid, or made of pidfd_inode for pid 0 */
        UT_hash_handle hh; /* by key; out of the table once the process is known to have ended */
};

/* All holders of one broker. */
int holder_table_new(struct holder_table **ret, struct loop *loop, struct log *log);
struct holder_table *holder_table_free(struct holder_table *table);

/*
 * The holder of this process, made when it is not known yet; one reference is the caller's. Takes
 * pidfd, also when it fails. If a dead process of the same pid is known, its leases end now.
 * -ENOMEM, or what fstat(2) on the pidfd says.
 */
int holder_get(struct holder_table *table, int pidfd, pid_t pid, uid_t uid, gid_t gid,
               struct holder **ret);
void holder_put(struct holder *holder); /* give the reference back */

/* It said that it serves, or what it is doing (NULL: nothing of that). */
void holder_set_status(struct holder *holder, bool ready, const char *status, size_t length);

struct lease *lease_find(const struct holder *holder, const struct listener *listener);

/* The existing lease or a new one. 0, -ENOMEM, -EDQUOT (the uid is at `per_user_max`, 0: no limit).
 */
int lease_begin(struct holder *holder, struct listener *listener, enum lease_how how,
                unsigned per_user_max, struct lease **ret);

/* As lease_begin(), for one whose record `id` was kept. */
int lease_restore(struct holder *holder, struct listener *listener, const char *id,
                  struct lease **ret);

/*
 * Ends the lease and frees it; a holder without leases and references is freed too. When it was the
 * listener's last, the listener's configured options are restored (listener_restore()).
 */
void lease_end(struct lease *lease);

/* End all leases of a listener that goes away: nothing is restored. */
void lease_end_all(struct listener *listener);

/*
 * The listener's sockets have become those of `target` (two listeners made one): so do its leases.
 * A holder that has a lease on both keeps the older one.
 */
void lease_move_all(struct listener *listener, struct listener *target);

/* Leases of this uid over all listeners. */
unsigned holder_table_leases_of(const struct holder_table *table, uid_t uid);

#endif
