/*
 * The answer to an ACQUIRE (or a TAKE) that could not be sent at once. It keeps the name and not
 * the descriptors: when the peer reads again the answer is composed from the listener as it is
 * then. So a peer that does not read costs no descriptors and never gets ones that were replaced
 * meanwhile.
 */
#ifndef CONTROL_LENDING_H
#define CONTROL_LENDING_H

#include <stdbool.h>
#include <stddef.h>

#include "control/serial.h"
#include "names.h"

struct session;

struct lending {
        size_t first; /* descriptors sent so far */
        size_t total;
        bool is_stored; /* the answer to a TAKE instead: name is the entry's */
        struct serial serial;
        char name[NAME_LENGTH_MAX + 1];
};

/*
 * Send what is left. 0 done; -EAGAIN later; anything else: it cannot be completed (the listener,
 * the lease or the permission is gone), the session is to be ended, and the client asks again.
 */
int lending_continue(struct session *session, struct lending *lending);

#endif
