/*
 * Children that are kept for the next errand, for what may block like the work of a helper
 * (core/helper.h) and is asked so often, and so urgently, that a fork each time would be felt: it
 * copies page tables, both sides then copy each page that one of them writes to, and the child has
 * to be ended before its result counts.
 *
 * So an errand is a function and a copy of what it needs, with no pointer and at most one
 * descriptor in it. One child is kept, and not for long when nobody asks; more are made while it is
 * at work. A child has no descriptor of the broker's but standard input, output and error: it keeps
 * no socket alive.
 */
#ifndef CORE_WORKER_H
#define CORE_WORKER_H

#include <stddef.h>
#include <stdint.h>

#include "core/child.h"
#include "core/loop.h"

#define WORKER_REQUEST_MAX 4096

struct worker;

struct worker_pool {
        struct loop *loop;
        struct worker *spare; /* owned: the one that is kept; NULL */
};

struct errand {
        /* In the child: writes what it finds, when it finds it, to result_fd, a socket of packets:
         * to write no bytes would be the end. `fd` is the copy of the descriptor below, -1 if there
         * was none, and closed afterwards. */
        void (*work)(const void *request, int fd, int result_fd);
        const void *request; /* aligned for anything there */
        size_t size;         /* at most WORKER_REQUEST_MAX */
        int fd;              /* lent; -1: none */
};

void worker_pool_init(struct worker_pool *pool, struct loop *loop);
void worker_pool_clear(struct worker_pool *pool); /* those at work are their owners' to stop */

/*
 * done() is called once, from the loop, with what was written: all of it, or what there was at the
 * deadline or when the child died; good only until it asks for more.
 * *ret is NULL before; the worker is the caller's to forget in done(), or to give to worker_stop()
 * before. 0, -EBUSY (*ret is another), -EAGAIN or -ENOMEM (no process), -EMFILE, -EMSGSIZE.
 */
int worker_start(struct worker **ret, struct worker_pool *pool, const struct errand *errand,
                 uint64_t deadline_usec, child_done *done, void *owner);
/* Kills it; done() is not called. NULL allowed. Returns NULL. */
struct worker *worker_stop(struct worker *worker);

#endif
