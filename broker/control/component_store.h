/*
 * What components store (FDSTORE=1 to their NOTIFY_SOCKET): the same store as that of the verbs,
 * with entries that belong to a component, and to whichever of its generations comes next.
 */
#ifndef CONTROL_COMPONENT_STORE_H
#define CONTROL_COMPONENT_STORE_H

#include <stddef.h>

#include "grammar.h"

struct component_callbacks;
struct config;
struct control;
struct stored_table;

/* For component_table_set_callbacks(). */
void component_store_callbacks(struct control *control, struct component_callbacks *ret);

/* Drop what components left that are not configured any more. */
void component_store_prune(struct stored_table *table, const struct config *config);

/* Drop what a component stored under this name; how many entries there were. */
size_t component_store_drop(struct stored_table *table, struct text component, struct text name);

#endif
