/*
 * StallSec=: connections wait, and nothing accepts them: the queue never became shorter, and of
 * those that waited in it none left it for StallSec=.
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
