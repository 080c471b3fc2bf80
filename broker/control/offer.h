/*
 * A start that waits for OFFERs (sockets/offers.h). Nothing but HELLO and OFFER is read from
 * sessions meanwhile: to everybody else the broker is one that takes its time to start.
 */
#ifndef CONTROL_OFFER_H
#define CONTROL_OFFER_H

#include <stdbool.h>

struct session;

/* Whether its next packet may be read now; if not, it is left alone until the wait is over. */
bool offer_may_read(struct session *session);

#endif
