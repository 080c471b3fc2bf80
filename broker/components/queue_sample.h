/* The queues of all listeners of a component, as they are now. */
#ifndef COMPONENTS_QUEUE_SAMPLE_H
#define COMPONENTS_QUEUE_SAMPLE_H

#include <stdint.h>

struct component;

/* Connections that wait to be accepted; those that the kernel dropped so far. */
uint64_t queue_sample_waits(const struct component *component);
uint64_t queue_sample_drops(const struct component *component);

#endif
