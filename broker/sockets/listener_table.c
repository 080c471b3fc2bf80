/*
 * The table of all listeners: what it is made of and how one is found. What stands in it is decided
 * by apply.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sockets/holder_private.h"
#include "sockets/listener_table_private.h"
#include "sockets/options_pool.h"
#include "sockets/path_guard.h"
#include "sockets/shutdown_guard.h"

int listener_index_new(size_t count, struct listener_index **ret) {
        struct listener_index *index = calloc(1, sizeof(*index));

        if (!index)
                return -ENOMEM;
        index->entries = calloc(count + 1, sizeof(index->entries[0]));
        if (!index->entries) {
                free(index);
                return -ENOMEM;
        }
        *ret = index;
        return 0;
}

struct listener_index *listener_index_free(struct listener_index *index) {
        if (!index)
                return NULL;
        HASH_CLEAR(hh, index->by_name);
        free(index->entries);
        free(index);
        return NULL;
}

int listener_index_add(struct listener_index *index, struct listener *listener, const char *name) {
        struct name_entry *entry = &index->entries[index->count];

        entry->listener = listener;
        HASH_ADD_KEYPTR(hh, index->by_name, name, strlen(name), entry);
        if (!entry->hh.tbl)
                return -ENOMEM;
        index->count++;
        return 0;
}

int listener_table_new(struct listener_table **ret, struct loop *loop, struct log *log,
                       unsigned sockets_max) {
        struct listener_table *table = calloc(1, sizeof(*table));
        int r;

        if (!table)
                return -ENOMEM;
        table->loop = loop;
        table->log = log;
        table->sockets_max = sockets_max;
        r = listener_index_new(0, &table->index);
        if (r == 0)
                r = shutdown_watch_new(&table->shutdown_watch, loop);
        if (r == 0)
                r = path_watch_new(&table->path_watch, loop, log);
        if (r == 0)
                r = options_pool_new(&table->options);
        if (r == 0)
                r = holder_table_new(&table->holders, loop, log);
        if (r < 0) {
                listener_table_free(table);
                return r;
        }
        *ret = table;
        return 0;
}

struct listener_table *listener_table_free(struct listener_table *table) {
        if (!table)
                return NULL;
        /* Leases end with their listeners, so this comes before the holders; sockets are guarded,
         * so it comes before the watches. */
        for (size_t i = 0; table->index && i < table->index->count; i++)
                listener_free(table->index->entries[i].listener);
        listener_index_free(table->index);
        offers_clear(table);
        holder_table_free(table->holders);
        options_pool_free(table->options);
        path_watch_free(table->path_watch);
        shutdown_watch_free(table->shutdown_watch);
        free(table);
        return NULL;
}

void listener_table_watch(struct listener_table *table, struct listener_watcher *watcher) {
        LIST_INSERT_HEAD(&table->watchers, watcher, entry);
}

void listener_table_unwatch(struct listener_watcher *watcher) {
        if (watcher->entry.le_prev)
                LIST_REMOVE(watcher, entry);
        watcher->entry.le_prev = NULL;
}

int listener_table_set_memory(struct listener_table *table, struct memory *memory) {
        table->memory = memory;
        table->holders->memory = memory;
        if (memory)
                path_watch_keep(table->path_watch, memory, "listeners");
        return options_pool_set_memory(table->options, memory);
}

void listener_table_set_max(struct listener_table *table, unsigned sockets_max) {
        table->sockets_max = sockets_max;
}

void listener_table_set_starting(struct listener_table *table, bool starting) {
        table->starting = starting;
}

struct listener *listener_table_find(const struct listener_table *table, const char *name) {
        struct name_entry *entry;

        HASH_FIND(hh, table->index->by_name, name, strlen(name), entry);
        return entry ? entry->listener : NULL;
}

size_t listener_table_count(const struct listener_table *table) {
        return table->index->count;
}

struct listener *listener_table_first(const struct listener_table *table) {
        return table->index->count > 0 ? table->index->entries[0].listener : NULL;
}

struct listener *listener_table_next(const struct listener *listener) {
        const struct listener_index *index = listener->table->index;
        size_t next = listener->position + 1;

        return next < index->count ? index->entries[next].listener : NULL;
}

struct holder_table *listener_table_holders(struct listener_table *table) {
        return table->holders;
}
