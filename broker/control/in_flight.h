/*
 * The budget of descriptors in flight. A descriptor that was sent and not yet received counts
 * against the sender's uid; beyond RLIMIT_NOFILE of them every socket of that uid gets
 * ETOOMANYREFS (unix(7)). So a peer that does not read must not be able to hold more than its
 * share.
 */
#ifndef CONTROL_IN_FLIGHT_H
#define CONTROL_IN_FLIGHT_H

#include <stdbool.h>
#include <stddef.h>

struct session;

/* May n more be sent to this session now? */
bool in_flight_admits(struct session *session, size_t n);

void in_flight_add(struct session *session, size_t n);

/*
 * Has the peer read (or dropped, by closing) everything that we sent? Then its descriptors and its
 * document are no longer in flight. One ioctl(2).
 */
bool in_flight_settle(struct session *session);

#endif
