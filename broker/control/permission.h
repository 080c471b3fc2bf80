/*
 * Who may what. The default is no: root and the broker's own uid may everything, others what a rule
 * of the configuration says, and the overflow uid, which stands for anybody, nothing.
 */
#ifndef CONTROL_PERMISSION_H
#define CONTROL_PERMISSION_H

#include <stdbool.h>

struct access_list;
struct component;
struct session;
struct listener;

/* Root or the broker's own uid: also free of the limits that are set for a uid. */
bool permission_is_privileged(const struct session *session);

/* Operators= of [Broker]. */
bool permission_to_operate(struct session *session);

/* StoreAccess= of [Broker]. */
bool permission_to_store(struct session *session);

/* Access= or Operators= of the listener, or an operator of the broker. */
bool permission_to_see(struct session *session, const struct listener *listener);

/* An operator of the broker, or Operators= of one of the listeners on which it serves. */
bool permission_to_see_component(struct session *session, const struct component *component);

/* This Access=, of a listener that need not be there yet. */
bool permission_by_list(struct session *session, const struct access_list *access);

/* Access= of the listener. */
bool permission_to_acquire(struct session *session, const struct listener *listener);

#endif
