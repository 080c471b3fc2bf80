/*
 * Leases: begin, find, end. See lease.h. A lease stands in two lists, its listener's and its
 * holder's, and is counted for its holder's user; lease_begin() and unlink_lease() are the only
 * places that change either.
 */
#include "sockets/lease.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "sockets/holder_private.h"
#include "sockets/kept.h"
#include "sockets/listener_table.h"

static struct user_count *find_user(const struct holder_table *table, uid_t uid) {
        struct user_count *user;

        HASH_FIND(hh, table->by_uid, &uid, sizeof(uid), user);
        return user;
}

unsigned holder_table_leases_of(const struct holder_table *table, uid_t uid) {
        const struct user_count *user = find_user(table, uid);

        return user ? user->leases : 0;
}

static int count_for_user(struct holder_table *table, uid_t uid) {
        struct user_count *user = find_user(table, uid);

        if (!user) {
                user = calloc(1, sizeof(*user));
                if (!user)
                        return -ENOMEM;
                user->uid = uid;
                HASH_ADD(hh, table->by_uid, uid, sizeof(user->uid), user);
                if (!user->hh.tbl) {
                        free(user);
                        return -ENOMEM;
                }
        }
        user->leases++;
        return 0;
}

static void uncount_for_user(struct holder_table *table, uid_t uid) {
        struct user_count *user = find_user(table, uid);

        if (--user->leases > 0)
                return;
        HASH_DEL(table->by_uid, user);
        free(user);
}

void holder_table_clear_users(struct holder_table *table) {
        struct user_count *user, *tmp;

        HASH_ITER (hh, table->by_uid, user, tmp) {
                HASH_DEL(table->by_uid, user);
                free(user);
        }
}

/*
 * Of the two lists that a lease would stand in the shorter decides how long this takes: a server of
 * one listener with thousands of processes, or a process with thousands of listeners, is found at
 * once.
 */
struct lease *lease_find(const struct holder *holder, const struct listener *listener) {
        struct lease *a = LIST_FIRST(&holder->leases);
        struct lease *b = LIST_FIRST(&listener->leases);

        while (a && b) {
                if (a->listener == listener)
                        return a;
                if (b->holder == holder)
                        return b;
                a = LIST_NEXT(a, in_holder);
                b = LIST_NEXT(b, in_listener);
        }
        return NULL;
}

static void link_to_listener(struct lease *lease, struct listener *listener) {
        lease->listener = listener;
        LIST_INSERT_HEAD(&listener->leases, lease, in_listener);
        listener->n_leases++;
}

static int lease_new(struct holder *holder, struct listener *listener, enum lease_how how,
                     struct lease **ret) {
        struct lease *lease = calloc(1, sizeof(*lease));

        if (!lease)
                return -ENOMEM;
        if (count_for_user(holder->table, holder->uid) < 0) {
                free(lease);
                return -ENOMEM;
        }
        lease->since_usec = clock_realtime_usec();
        lease->how = how;
        lease->holder = holder;
        link_to_listener(lease, listener);
        LIST_INSERT_HEAD(&holder->leases, lease, in_holder);
        holder->n_leases++;
        holder_watch(holder);
        *ret = lease;
        return 0;
}

int lease_begin(struct holder *holder, struct listener *listener, enum lease_how how,
                unsigned per_user_max, struct lease **ret) {
        struct lease *lease = lease_find(holder, listener);
        int r;

        if (lease) {
                *ret = lease;
                return 0;
        }
        if (per_user_max > 0 && holder_table_leases_of(holder->table, holder->uid) >= per_user_max)
                return -EDQUOT;
        r = lease_new(holder, listener, how, ret);
        if (r == 0)
                kept_lease_put(*ret);
        return r;
}

int lease_restore(struct holder *holder, struct listener *listener, const char *id,
                  struct lease **ret) {
        int r = lease_find(holder, listener) ? -EEXIST
                                             : lease_new(holder, listener, LEASE_ACQUIRE, ret);

        if (r == 0)
                (void) snprintf((*ret)->id, sizeof((*ret)->id), "%s", id);
        return r;
}

/* Out of both lists and the count; the memory and the holder stay. */
static void unlink_lease(struct lease *lease) {
        struct holder *holder = lease->holder;

        LIST_REMOVE(lease, in_listener);
        lease->listener->n_leases--;
        LIST_REMOVE(lease, in_holder);
        holder->n_leases--;
        uncount_for_user(holder->table, holder->uid);
        if (holder->n_leases == 0)
                io_watch_stop(&holder->exit_watch);
}

static void lease_free(struct lease *lease) {
        struct holder *holder = lease->holder;

        kept_lease_remove(lease);
        unlink_lease(lease);
        if (holder->n_leases == 0)
                kept_holder_remove(holder);
        free(lease);
        holder_free_if_unused(holder);
}

void lease_end(struct lease *lease) {
        struct listener *listener = lease->listener;

        lease_free(lease);
        if (listener->n_leases == 0)
                listener_restore(listener);
}

void lease_end_all(struct listener *listener) {
        while (!LIST_EMPTY(&listener->leases))
                lease_free(LIST_FIRST(&listener->leases));
}

void lease_move_all(struct listener *listener, struct listener *target) {
        struct lease *lease;

        while ((lease = LIST_FIRST(&listener->leases))) {
                struct lease *other = lease_find(lease->holder, target);

                if (other) {
                        if (lease->since_usec < other->since_usec)
                                other->since_usec = lease->since_usec;
                        lease_free(lease);
                        continue;
                }
                LIST_REMOVE(lease, in_listener);
                listener->n_leases--;
                link_to_listener(lease, target);
                kept_lease_put(lease);
        }
}
