/*
 * A disposable child: runs one function that may block (close() of a foreign descriptor, reading
 * /proc), gives back at most HELPER_RESULT_MAX bytes through a pipe, and is killed at its deadline.
 * The loop never waits for it.
 */
#ifndef CORE_HELPER_H
#define CORE_HELPER_H

#include <stddef.h>
#include <stdint.h>

#include "core/loop.h"

#define HELPER_RESULT_MAX 4096

struct helper {
        struct io_watch pidfd_watch;
        struct io_watch pipe_watch;
        struct timer deadline;
        struct loop *loop;
        int pidfd;
        int pipe_fd;
        size_t size;
        char result[HELPER_RESULT_MAX + 1];
        void (*done)(void *owner, const char *result, size_t size);
        void *owner;
};

/*
 * Fork and run work(argument, result_fd) in the child, which writes its result to result_fd and
 * returns; the child has default signal dispositions and no other descriptors kept beyond what fork
 * gives. done() is called once in the loop when it has ended or was killed at the deadline (then
 * with what it had written so far).
 *
 * `helper` is the caller's, zeroed, and must live until done() or helper_cancel(). 0, -EAGAIN or
 * -ENOMEM (no process), -EMFILE.
 */
int helper_start(struct helper *helper, struct loop *loop, uint64_t deadline_usec,
                 void (*work)(void *argument, int result_fd), void *argument,
                 void (*done)(void *owner, const char *result, size_t size), void *owner);

/* What every such child does first: default dispositions, no mask, and its end with the broker's.
 */
void helper_begin(void);

/* Kill it and do not call done(). Nothing when it is not running. */
void helper_cancel(struct helper *helper);

#endif
