/*
 * A state document that cannot be written, because there is no room for it: that is said once,
 * tried again every second, and said when it is over.
 */
#ifndef KEEPER_CATCH_UP_H
#define KEEPER_CATCH_UP_H

#include "core/loop.h"

struct fd_store;
struct log;
struct state;

struct catch_up {
        struct state *state;
        struct fd_store *store; /* gets the memfd, when there was none before */
        struct loop *loop;
        struct log *log;
        struct timer timer; /* is started while something is not written */
};

/* To be called after whatever may have changed the document. */
void catch_up_check(struct catch_up *catch_up);
void catch_up_stop(struct catch_up *catch_up);

#endif
