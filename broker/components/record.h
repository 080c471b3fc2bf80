/* Writing and reading records (keeper/memory.h) in a few words. */
#ifndef COMPONENTS_RECORD_H
#define COMPONENTS_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "grammar.h"
#include "keeper/state.h"

struct component_table;

/* A writer that begins with RECORD=`kind`; NULL: nothing is to be kept, or out of memory. */
struct packet_writer *record_begin(const struct component_table *table, const char *kind);
/*
 * Write it under `id`, which is made up of `letter` first when it is "", and free the writer (NULL
 * allowed: nothing). True when it was kept; else logged.
 */
bool record_end(const struct component_table *table, struct packet_writer *w, char letter,
                char id[STATE_ID_SIZE], const char *const known[]);
void record_remove(const struct component_table *table, char id[STATE_ID_SIZE]);

uint64_t record_u64(const struct assignments *a, const char *key); /* 0 when it is not there */
/* Cut to size; "" when it is not there. */
void record_text(const struct assignments *a, const char *key, char *ret, size_t size);

#endif
