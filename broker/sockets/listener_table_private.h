/* The inside of the listener table, for the files of this folder that are the table together. */
#ifndef SOCKETS_LISTENER_TABLE_PRIVATE_H
#define SOCKETS_LISTENER_TABLE_PRIVATE_H

#include "core/hash.h"
#include "core/log.h"
#include "core/loop.h"
#include "sockets/listener_table.h"
#include "sockets/offers.h"

struct options_pool;

struct name_entry {
        struct listener *listener;
        UT_hash_handle hh; /* by listener->name */
};

/*
 * The listeners in name order, and by name. One apply makes a new one beside the old, so that the
 * commit is the exchange of a pointer and cannot run out of memory.
 */
struct listener_index {
        size_t count;
        struct name_entry *entries; /* by position */
        struct name_entry *by_name;
};

/* For at most `count` listeners. -ENOMEM. */
int listener_index_new(size_t count, struct listener_index **ret);
struct listener_index *listener_index_free(struct listener_index *index);
/* At the end of the order; `name` must live as long as the index. -ENOMEM. */
int listener_index_add(struct listener_index *index, struct listener *listener, const char *name);

struct listener_table {
        struct listener_index *index;
        struct loop *loop;
        struct log *log;
        struct memory *memory; /* NULL: nothing is kept */
        unsigned sockets_max;
        bool starting; /* what was lent before is found again */
        struct offer_list offers;
        struct shutdown_watch *shutdown_watch;
        struct path_watch *path_watch;
        struct options_pool *options;
        struct holder_table *holders;
        LIST_HEAD(, listener_watcher) watchers;
};

static inline void listener_table_tell(const struct listener *listener, enum listener_event event) {
        struct listener_watcher *w;

        LIST_FOREACH (w, &listener->table->watchers, entry)
                w->event(w->owner, listener, event);
}

#endif
