/*
 * The queues of all listening Unix sockets at once. For one of them the kernel looks at all Unix
 * sockets of the machine, so that thousands of queue_read() cost the square; this looks once.
 */
#ifndef SOCKETS_QUEUE_MAP_H
#define SOCKETS_QUEUE_MAP_H

#include <stdbool.h>
#include <sys/types.h>

#include "sockets/queue.h"

/* Other people's sockets are in it too: of more than these some are left out. */
#define QUEUE_MAP_MAX 65536

struct queue_map;

/* Asks the kernel; queue_map_read() gets the answer. 0 or a negative errno. */
int queue_map_new(struct queue_map **ret);
struct queue_map *queue_map_free(struct queue_map *map); /* NULL allowed; returns NULL */

/*
 * The next part of the answer, some hundred sockets; does not wait. 0: there is more, 1: that was
 * all, or a negative errno: what was read so far can be found.
 */
int queue_map_read(struct queue_map *map);

/* After the last queue_map_read(). False: ask queue_read(). */
bool queue_map_find(const struct queue_map *map, ino_t inode, struct queue *ret);

#endif
