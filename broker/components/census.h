/*
 * The connections of all instances that serve, counted by one disposable child for who wants to
 * know now: nobody counts while nobody asks.
 */
#ifndef COMPONENTS_CENSUS_H
#define COMPONENTS_CENSUS_H

#include "core/child.h"

struct component_table;
struct helper;

/* Instances of one census; with more of them none is counted. */
#define CENSUS_MAX 64

/* As helper_start(); the result is for census_take(). -ENOENT, there is nothing to be counted;
 * -E2BIG, too many. */
int census_start(struct helper **ret, struct component_table *table, child_done *done, void *owner);
/* The counts into instance->held, as far as they could be had in time. */
void census_take(struct component_table *table, const char *result, size_t size);

#endif
