/*
 * Our own non-blocking sender of sd_notify(3) datagrams, and the watchdog. libsystemd tells only
 * whether there is a watchdog.
 */
#include "core/notify.h"

#include <systemd/sd-daemon.h>

#include "fdpass.h"

int notify_send(const char *assignments) {
        return fdpass_notify(assignments);
}

static void feed(void *owner) {
        struct notify *n = owner;

        (void) notify_send("WATCHDOG=1");
        timer_start(&n->watchdog, n->loop, n->watchdog_usec, feed, n);
}

void notify_start(struct notify *n, struct loop *loop) {
        uint64_t usec;

        *n = (struct notify){.loop = loop};
        if (sd_watchdog_enabled(0, &usec) > 0) {
                /* Half of the interval, as sd_watchdog_enabled(3) recommends. */
                n->watchdog_usec = usec / 2;
                feed(n);
        }
}

void notify_stop(struct notify *n) {
        timer_stop(&n->watchdog);
}
