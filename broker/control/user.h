/*
 * What one uid has of the broker: the account that the limits for a uid are kept by. Sessions are
 * charged to it and give back what they had when they end.
 */
#ifndef CONTROL_USER_H
#define CONTROL_USER_H

#include <stdint.h>
#include <sys/types.h>

#include "core/hash.h"
#include "core/log.h"

struct user {
        uid_t uid;
        unsigned sessions;
        unsigned fds_in_flight;
        /* Lines in the log about this uid: each kind once in a while. */
        struct rate_limit breaches;
        struct rate_limit refusals;
        UT_hash_handle hh;
};

struct user_table {
        struct user *by_uid;
};

void user_table_clear(struct user_table *table);

/* The account of uid, with one session more in it. 0 or -ENOMEM. */
int user_get(struct user_table *table, uid_t uid, struct user **ret);
/* One session less. The account may be gone afterwards. */
void user_put(struct user_table *table, struct user *user);

#endif
