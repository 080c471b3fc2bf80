/* How many connections an instance that was told to stop still serves, and who in it. */
#include "components/instance_private.h"

/* Most are gone by the first count; counting walks /proc in a child, so it is not done often. */
#define FIRST_COUNT_USEC (250 * 1000)
#define COUNT_USEC (1000 * 1000)
#define INODES_MAX 64

static void count(void *owner);

static void on_counted(void *owner, const struct connections *result) {
        struct instance *i = owner;

        i->count = NULL;
        if (result)
                i->held = *result;
        timer_start(&i->probe, instance_table(i)->loop, COUNT_USEC, count, i);
}

static void count(void *owner) {
        struct instance *i = owner;
        uint64_t inodes[INODES_MAX];
        size_t n = component_listener_inodes(i->component, inodes, INODES_MAX);

        if (n > 0 && connection_count_start(&i->count, instance_table(i)->loop, &i->tree, inodes, n,
                                            on_counted, i) < 0)
                timer_start(&i->probe, instance_table(i)->loop, COUNT_USEC, count, i);
}

void instance_drain_start(struct instance *i) {
        timer_start(&i->probe, instance_table(i)->loop, FIRST_COUNT_USEC, count, i);
}

void instance_drain_stop(struct instance *i) {
        timer_stop(&i->probe);
        i->count = connection_count_stop(i->count);
}
