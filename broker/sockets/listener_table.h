/*
 * All listeners of a broker, and how a configuration becomes listeners: plan what to open, keep,
 * change and close; open everything new first; and only when all of that went well, commit. Nothing
 * that is in both configurations is closed or bound again.
 */
#ifndef SOCKETS_LISTENER_TABLE_H
#define SOCKETS_LISTENER_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

#include "sockets/lease.h"
#include "sockets/listener.h"

struct inherited;
struct memory;
struct listener_table;

/* What happened to a listener. */
enum listener_event { LISTENER_REPLACED, LISTENER_CHANGED, LISTENER_REMOVED };

/* One that is told; embedded in its owner. */
struct listener_watcher {
        LIST_ENTRY(listener_watcher) entry;
        void (*event)(void *owner, const struct listener *listener, enum listener_event event);
        void *owner;
};

int listener_table_new(struct listener_table **ret, struct loop *loop, struct log *log,
                       unsigned sockets_max);
/*
 * Closes everything: the end of the broker. Unix paths stay (RemoveOnStop=no is the default of
 * systemd.socket(5)). Who references holders (sessions) may give them back later. NULL allowed.
 */
struct listener_table *listener_table_free(struct listener_table *table);
/* Until listener_table_unwatch(), which must come before the end of the table. event() may change
 * neither the table nor who watches it. */
void listener_table_watch(struct listener_table *table, struct listener_watcher *watcher);
void listener_table_unwatch(struct listener_watcher *watcher); /* nothing when it does not watch */

/* How many sockets the next apply may have; those that are there stay. */
void listener_table_set_max(struct listener_table *table, unsigned sockets_max);

/*
 * Remember all sockets and leases there from now on; NULL: forget nothing and remember nothing any
 * more, before the end of a broker whose successor is to find everything. -ENOMEM only with a
 * memory.
 */
int listener_table_set_memory(struct listener_table *table, struct memory *memory);

/*
 * True during the first apply alone, which finds again what was lent before: leases that were kept
 * (sockets/kept.h), and listeners whose address is in use because a process holds them from a
 * broker that ended, keeper and all (sockets/hand_back.h). Later an address in use is a conflict
 * that people are to know of.
 */
void listener_table_set_starting(struct listener_table *table, bool starting);

struct listener *listener_table_find(const struct listener_table *table, const char *name);
size_t listener_table_count(const struct listener_table *table);
/* In name order: for (l = listener_table_first(t); l; l = listener_table_next(l)) */
struct listener *listener_table_first(const struct listener_table *table);
struct listener *listener_table_next(const struct listener *listener);
struct holder_table *listener_table_holders(struct listener_table *table);

/* Addresses in use that one failed apply names at most, for conflict_explain(). */
#define APPLY_CONFLICTS_MAX 8

/* What one apply did, or why it did nothing. */
struct apply_result {
        /* Listeners, each counted once. Opened: new, at least one socket was bound; adopted: new,
         * of sockets that were given or taken back; kept: as it was; changed: kept, not all of it.
         */
        size_t opened, adopted, kept, changed, closed;
        size_t n_in_use;  /* addresses that others have */
        bool only_in_use; /* it failed, and for nothing but that */
        size_t n_conflicts;
        struct address conflicts[APPLY_CONFLICTS_MAX]; /* EADDRINUSE */
};

/*
 * Make the listeners what `config` says, all or nothing. `inherited` (may be NULL) is looked at
 * before anything is bound: by address, then by name. A listener whose name changed is found again
 * by its address and keeps socket and leases. A listener that is no longer configured is closed
 * only with allow_close; without it that is an error that names the listener.
 *
 * On failure nothing has changed, -EINVAL (or -ENOMEM) is returned, and `diagnostics` says for each
 * socket that could not be had why and what to do. Who has an address that is in use takes long to
 * find out, so that is left to the caller: ret->conflicts (written on failure too) and
 * sockets/conflict.h.
 */
int listener_table_apply(struct listener_table *table, const struct config *config,
                         struct inherited *inherited, bool allow_close,
                         struct diagnostics *diagnostics, struct apply_result *ret);

/*
 * Check and mend a listener before it is lent: flags, SO_ACCEPTCONN, backlog; only what is cheap
 * and safe under living holders. 0, or -EIO when a socket could not be mended (logged).
 */
int listener_check(struct listener *listener);

/* Set the configured options again; only when nobody holds the listener. */
void listener_restore(struct listener *listener);

#endif
