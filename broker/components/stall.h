/*
 * StallSec=: connections wait, and nothing accepts them. Seen from the length of the queue, which
 * in all that time never became shorter.
 */
#ifndef COMPONENTS_STALL_H
#define COMPONENTS_STALL_H

#include <stdbool.h>

struct component;

/* Watch or not, as the component's state demands. */
void stall_update(struct component *component);
void stall_stop(struct component *component);
bool stall_is_stalled(const struct component *component);

#endif
