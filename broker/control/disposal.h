/*
 * Closing sockets that may hold descriptors which a peer sent and nobody received. The last close
 * of a foreign descriptor can block for seconds (a TCP socket with SO_LINGER, a file on FUSE), so a
 * disposable child has a copy when we close ours, and blocks in our place. Needed only where the
 * kernel has no SO_PASSRIGHTS (before 6.16).
 */
#ifndef CONTROL_DISPOSAL_H
#define CONTROL_DISPOSAL_H

#include <stdbool.h>
#include <stddef.h>

#include "core/helper.h"

struct control;

struct disposal {
        bool running;
        int gate[2]; /* the child waits until our end is closed */
        struct helper helper;
};

/* Close all UNCLEAN sessions, unless a child is busy with others: then after that. */
void disposal_run(struct control *control);

void disposal_cancel(struct disposal *disposal);

#endif
