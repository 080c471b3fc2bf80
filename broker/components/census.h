/*
 * The connections of all instances that serve, counted by one disposable child for who wants to
 * know now: nobody counts while nobody asks.
 */
#ifndef COMPONENTS_CENSUS_H
#define COMPONENTS_CENSUS_H

#include <stdbool.h>

#include "core/helper.h"

struct component_table;

/* Instances of one census; with more of them none is counted. */
#define CENSUS_MAX 64

struct census {
        struct component_table *table;
        struct helper helper;
        void (*done)(void *owner);
        void *owner;
};

/*
 * done() is called once from the loop, when the counts are in instance->held or could not be had in
 * time. `census` is zeroed by the caller and must live until then. 0; -ENOENT, there is nothing to
 * be counted; -E2BIG, too many; or the error of helper_start().
 */
int census_start(struct census *census, struct component_table *table, void (*done)(void *owner),
                 void *owner);
void census_stop(struct census *census); /* done() is not called; nothing when it is not started */

#endif
