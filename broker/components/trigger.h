/*
 * On-demand start: the listeners of a component that waits are watched for a first connection or
 * packet. A trigger that comes too often pauses the watching and never closes anything.
 */
#ifndef COMPONENTS_TRIGGER_H
#define COMPONENTS_TRIGGER_H

struct component;

/* Watch or not, as the component's state demands. */
void trigger_update(struct component *component);
/* Its listeners are others than they were. */
void trigger_renew(struct component *component);
void trigger_stop(struct component *component);

#endif
