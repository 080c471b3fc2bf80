/*
 * Closing descriptors that a peer chose: those that were received and are not wanted (any more),
 * and sockets that may hold some which nobody received. The last close of a foreign descriptor can
 * block for seconds (a TCP socket with SO_LINGER, a file on FUSE), so a disposable child has a copy
 * when we close ours, and blocks in our place.
 */
#ifndef CONTROL_DISPOSAL_H
#define CONTROL_DISPOSAL_H

#include <stddef.h>

#include "core/loop.h"

struct control;
struct helper;

struct disposal {
        int gate[2];           /* the child waits until our end is closed */
        struct helper *helper; /* it; NULL */
        struct timer retry;    /* there was no child to be had */
        size_t n_fds, capacity;
        int *fds; /* owned; to be closed with the next child */
};

/* Close these. Takes them; -1 among them is allowed. */
void disposal_put_fds(struct control *control, const int *fds, size_t n_fds);

/* Close all UNCLEAN sessions and what was put, unless a child is busy with others: then after that.
 */
void disposal_run(struct control *control);

/* At the end: what is left is closed at once, and waits for nobody either. */
void disposal_end(struct control *control);

#endif
