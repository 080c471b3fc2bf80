/* How many connections an instance that was told to stop still serves, and who in it. */
#include "components/instance_private.h"
#include "components/listener_inodes.h"
#include "core/worker.h"

/* Most are gone by the first count; counting walks /proc in a child, so it is not done often. */
#define FIRST_COUNT_USEC (250 * 1000)
#define COUNT_USEC (1000 * 1000)

static void count(void *owner);

static void on_counted(void *owner, const char *result, size_t size) {
        struct instance *i = owner;

        i->count = NULL;
        (void) child_result_read(result, size, &i->held, sizeof(i->held));
        timer_start(&i->probe, instance_table(i)->loop, COUNT_USEC, count, i);
}

static void count(void *owner) {
        struct instance *i = owner;
        struct listener_inodes inodes;

        listener_inodes_get(i->component, &inodes);
        if (inodes.count > 0 && connection_count_start(&i->count, &instance_table(i)->workers,
                                                       &i->tree, &inodes, on_counted, i) < 0)
                timer_start(&i->probe, instance_table(i)->loop, COUNT_USEC, count, i);
}

void instance_drain_start(struct instance *i) {
        timer_start(&i->probe, instance_table(i)->loop, FIRST_COUNT_USEC, count, i);
}

void instance_drain_stop(struct instance *i) {
        timer_stop(&i->probe);
        i->count = worker_stop(i->count);
}
