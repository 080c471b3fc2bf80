/*
 * Accounts of uids. An account without sessions is kept for a while, because the rate limit of its
 * log lines must outlive a connection (else a peer gets a line for each time that it reconnects),
 * and because making it anew for each short connection of the same uid costs more than keeping it.
 */
#include "control/user.h"

#include <errno.h>
#include <stdlib.h>

/* Accounts in all, before those without sessions are thrown out. */
#define ACCOUNTS_KEPT 256

static const struct rate_limit once_a_while = {.interval_usec = 10 * 1000 * 1000, .burst = 5};

static void forget_idle(struct user_table *table) {
        struct user *user, *next;

        HASH_ITER (hh, table->by_uid, user, next) {
                if (user->sessions == 0) {
                        HASH_DEL(table->by_uid, user);
                        free(user);
                }
        }
}

void user_table_clear(struct user_table *table) {
        forget_idle(table);
}

static struct user *add(struct user_table *table, uid_t uid) {
        struct user *user = calloc(1, sizeof(*user));

        if (!user)
                return NULL;
        user->uid = uid;
        user->breaches = once_a_while;
        user->refusals = once_a_while;
        HASH_ADD(hh, table->by_uid, uid, sizeof(user->uid), user);
        if (!user->hh.tbl) {
                free(user);
                return NULL;
        }
        return user;
}

int user_get(struct user_table *table, uid_t uid, struct user **ret) {
        struct user *user;

        HASH_FIND(hh, table->by_uid, &uid, sizeof(uid), user);
        if (!user) {
                if (HASH_COUNT(table->by_uid) >= ACCOUNTS_KEPT)
                        forget_idle(table);
                user = add(table, uid);
                if (!user)
                        return -ENOMEM;
        }
        user->sessions++;
        *ret = user;
        return 0;
}

void user_put(struct user_table *table, struct user *user) {
        user->sessions--;
        if (user->sessions == 0 && HASH_COUNT(table->by_uid) > ACCOUNTS_KEPT)
                forget_idle(table);
}
