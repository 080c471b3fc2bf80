/*
 * Counting descriptors in flight. The kernel does not tell when a peer receives, but it does tell
 * whether all that we sent is gone from the peer's queue: SIOCOUTQ counts the memory of packets
 * that we sent and that still exist. It is asked only when a counter has reached a limit; until
 * then the counters only grow and say "at most".
 */
#include "control/in_flight.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

#include "control/control_private.h"
#include "control/permission.h"
#include "control/session.h"

/* How often all sessions are asked at most: with thousands of them that takes a millisecond. */
#define SETTLE_ALL_USEC 10000

/* An ordinary uid may have this share of the budget of all. */
#define SHARE_OF_ONE_USER 4

bool in_flight_settle(struct session *s) {
        int unread;

        if (ioctl(s->fd, SIOCOUTQ, &unread) == 0 && unread > 0)
                return false;
        if (s->user)
                s->user->fds_in_flight -= s->fds_in_flight;
        s->control->fds_in_flight -= s->fds_in_flight;
        s->fds_in_flight = 0;
        s->document_outstanding = false;
        return true;
}

void in_flight_add(struct session *s, size_t n) {
        s->fds_in_flight += (unsigned) n;
        s->user->fds_in_flight += (unsigned) n;
        s->control->fds_in_flight += (unsigned) n;
}

/* One packet may always go out to who has read everything: else a low limit would be "never". */
static bool fits(unsigned in_flight, size_t n, unsigned limit) {
        return in_flight == 0 || in_flight + n <= limit;
}

static bool fits_all(const struct session *s, size_t n) {
        const struct limits *limits = &s->control->broker->limits;

        return (permission_is_privileged(s) ||
                fits(s->user->fds_in_flight, n, limits->fds_in_flight / SHARE_OF_ONE_USER)) &&
               fits(s->control->fds_in_flight, n, limits->fds_in_flight);
}

/* Most of what is counted was read long ago by sessions that nobody asked since. */
static void settle_all(struct control *c) {
        uint64_t now = loop_now_usec();
        struct session *s;

        if (now - c->settled_all_usec < SETTLE_ALL_USEC)
                return;
        c->settled_all_usec = now;
        LIST_FOREACH (s, &c->sessions, in_control)
                if (s->fds_in_flight > 0)
                        (void) in_flight_settle(s);
}

bool in_flight_admits(struct session *s, size_t n) {
        unsigned limit = s->control->broker->limits.fds_in_flight_per_session;

        if (!fits(s->fds_in_flight, n, limit) && !in_flight_settle(s))
                return false;
        if (fits_all(s, n))
                return true;
        settle_all(s->control);
        return fits_all(s, n);
}
