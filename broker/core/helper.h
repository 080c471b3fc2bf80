/*
 * A disposable child: runs one function that may block (close() of a foreign descriptor, reading
 * /proc), gives back at most CHILD_RESULT_MAX bytes through a pipe, and is killed at its deadline.
 * The loop never waits for it.
 */
#ifndef CORE_HELPER_H
#define CORE_HELPER_H

#include <stdint.h>

#include "core/child.h"
#include "core/loop.h"

struct helper;

/*
 * Fork and run work(argument, result_fd) in the child, which writes its result to result_fd and
 * returns. It has all of the broker's memory and descriptors as they are now, so `argument` need
 * not outlive this call, and default signal dispositions.
 *
 * done() is called once, from the loop, when the child has ended or was killed at its deadline.
 * *ret is NULL before; the helper is the caller's to forget in done(), or to give to helper_stop()
 * before. 0, -EBUSY (*ret is another), -EAGAIN or -ENOMEM (no process), -EMFILE.
 */
int helper_start(struct helper **ret, struct loop *loop, uint64_t deadline_usec,
                 void (*work)(void *argument, int result_fd), void *argument, child_done *done,
                 void *owner);
/* Kills it; done() is not called. NULL allowed. Returns NULL. */
struct helper *helper_stop(struct helper *helper);

#endif
