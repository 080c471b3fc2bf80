/* The queues of all listening Unix sockets, by inode: an array that is sorted when it is whole. */
#include "sockets/queue_map.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>

#include "sockets/socket_diag.h"

struct entry {
        uint32_t inode, length, limit;
};

struct queue_map {
        struct socket_diag *diag;
        struct entry *entries;
        size_t count, room;
};

int queue_map_new(struct queue_map **ret) {
        struct queue_map *map = calloc(1, sizeof(*map));
        int r;

        if (!map)
                return -ENOMEM;
        r = socket_diag_unix_queues(&map->diag);
        if (r < 0) {
                free(map);
                return r;
        }
        *ret = map;
        return 0;
}

struct queue_map *queue_map_free(struct queue_map *map) {
        if (map) {
                socket_diag_free(map->diag);
                free(map->entries);
                free(map);
        }
        return NULL;
}

static int add(void *owner, const struct diag_socket *found) {
        struct queue_map *map = owner;

        if (found->state != TCP_LISTEN || !found->has_queue || map->count == QUEUE_MAP_MAX)
                return 0;
        if (map->count == map->room) {
                size_t room = map->room ? 2 * map->room : 256;
                struct entry *entries = reallocarray(map->entries, room, sizeof(*entries));

                if (!entries)
                        return -ENOMEM;
                map->entries = entries;
                map->room = room;
        }
        map->entries[map->count++] =
                (struct entry){found->inode, found->queue_length, found->queue_limit};
        return 0;
}

static int compare(const void *a, const void *b) {
        const struct entry *one = a, *other = b;

        return (one->inode > other->inode) - (one->inode < other->inode);
}

int queue_map_read(struct queue_map *map) {
        int r = socket_diag_read(map->diag, add, map);

        if (r != 0 && map->count > 0)
                qsort(map->entries, map->count, sizeof(map->entries[0]), compare);
        return r;
}

bool queue_map_find(const struct queue_map *map, ino_t inode, struct queue *ret) {
        const struct entry key = {.inode = (uint32_t) inode}, *found = NULL;

        if (map->count > 0)
                found = bsearch(&key, map->entries, map->count, sizeof(key), compare);
        if (found)
                *ret = (struct queue){.length = found->length, .limit = found->limit};
        return found;
}
