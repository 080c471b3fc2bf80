/*
 * What we tell the service manager. Not sd_notify(3): that blocks when the receiver's queue is
 * full, and the broker never does.
 */
#ifndef CORE_NOTIFY_H
#define CORE_NOTIFY_H

#include <stdint.h>

#include "core/loop.h"

struct notify {
        struct loop *loop;
        struct timer watchdog;
        uint64_t watchdog_usec; /* half of what the manager allows; 0 without a watchdog */
};

/* Read WATCHDOG_USEC and WATCHDOG_PID and begin to feed the watchdog, if there is one. */
void notify_start(struct notify *n, struct loop *loop);
void notify_stop(struct notify *n);

/* As fdpass_notify(): 1 sent, 0 no manager, negative errno. */
int notify_send(const char *assignments);

#endif
