/*
 * A bounded list of owned descriptors: what arrived with one packet.
 *
 * The verbs say who owns what: put gives to the list (also when it fails), take gives to the
 * caller, peek lends, clear closes the rest.
 */
#ifndef FDPASS_FD_LIST_H
#define FDPASS_FD_LIST_H

#include <stddef.h>

/* The kernel takes 253 (SCM_MAX_FD, unix(7)); musl and old kernels break at 253, hence 252. */
#define FD_LIST_MAX 252

struct fd_list {
        size_t count;
        int fds[FD_LIST_MAX + 1]; /* one spare: the kernel may deliver 253 */
};

static inline void fd_list_init(struct fd_list *list) {
        list->count = 0;
}

/* Close all that nobody took. close() of a foreign descriptor can block: see session.c. */
void fd_list_clear(struct fd_list *list);

/* 0, or -ENOSPC after closing fd. */
int fd_list_put_fd(struct fd_list *list, int fd);

/* The index-th descriptor, now owned by the caller; -1 when there is none or it was taken. */
int fd_list_take_fd(struct fd_list *list, size_t index);

/*
 * Programs run with 0, 1 or 2 closed, and what then gets that number is written to by the next
 * printf(). Consumes fd, also when it fails; returns it, or a duplicate above 2, or a negative
 * errno.
 */
int fd_above_stdio(int fd);

#endif
