/* The queues of all listeners of a component, as they are now. */
#ifndef COMPONENTS_QUEUE_SAMPLE_H
#define COMPONENTS_QUEUE_SAMPLE_H

#include <stdint.h>

struct component;

/* Connections that wait to be accepted. */
uint64_t queue_sample_waits(const struct component *component);
/* What the kernel dropped so far (queue.h), or QUEUE_DROPS_UNKNOWN. */
uint64_t queue_sample_drops(const struct component *component);

#endif
