/* Counting for all: the child sees the table as it was when it was forked. */
#include "components/census.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "components/component_table.h"
#include "components/connections.h"
#include "components/listener_inodes.h"
#include "core/helper.h"

#define DEADLINE_USEC (500 * 1000)

struct counted {
        uint64_t number; /* of the instance */
        uint64_t count;
};

_Static_assert(CENSUS_MAX * sizeof(struct counted) <= CHILD_RESULT_MAX, "the result of one write");

static bool can_be_counted(const struct instance *i) {
        return i->life == LIFE_READY && i->config->n_sockets > 0;
}

static void count_all(void *argument, int result_fd) {
        const struct component_table *table = argument;
        struct counted all[CENSUS_MAX];
        struct listener_inodes inodes;
        struct connections found;
        size_t n = 0;

        for (const struct component *c = component_first(table); c; c = component_next(c)) {
                const struct instance *i;

                listener_inodes_get(c, &inodes);
                TAILQ_FOREACH (i, &c->instances, entry)
                        if (can_be_counted(i) && n < CENSUS_MAX &&
                            connection_count_now(&i->tree, &inodes, &found) == 0)
                                all[n++] = (struct counted){i->number, found.count};
        }
        (void) !write(result_fd, all, n * sizeof(*all));
}

static void take_count(struct component_table *table, const struct counted *counted) {
        for (const struct component *c = component_first(table); c; c = component_next(c)) {
                struct instance *i;

                TAILQ_FOREACH (i, &c->instances, entry)
                        if (i->number == counted->number)
                                i->held.count = counted->count;
        }
}

void census_take(struct component_table *table, const char *result, size_t size) {
        struct counted counted;

        for (size_t at = 0; at + sizeof(counted) <= size; at += sizeof(counted)) {
                memcpy(&counted, result + at, sizeof(counted));
                take_count(table, &counted);
        }
}

int census_start(struct helper **ret, struct component_table *table, child_done *done,
                 void *owner) {
        size_t n = 0;

        for (const struct component *c = component_first(table); c; c = component_next(c)) {
                const struct instance *i;

                TAILQ_FOREACH (i, &c->instances, entry)
                        n += can_be_counted(i);
        }
        if (n == 0)
                return -ENOENT;
        if (n > CENSUS_MAX)
                return -E2BIG;
        return helper_start(ret, table->loop, DEADLINE_USEC, count_all, table, done, owner);
}
