/* Writing and reading records (memory.h) in a few words. */
#ifndef KEEPER_RECORD_H
#define KEEPER_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "grammar.h"
#include "keeper/state.h"

struct log;
struct memory;

struct record_kind {
        const char *name;         /* RECORD= */
        char letter;              /* what ids of this kind begin with */
        const char *const *known; /* keys, as in state_put() */
};

/*
 * A writer on the heap (a packet is large) that begins with RECORD=. NULL: out of memory, or there
 * is no `memory`, so that nothing is to be kept.
 */
struct packet_writer *record_new(const struct memory *memory, const struct record_kind *kind);

/*
 * Write it under `id`, which is made up when it is "", and free it. NULL, of record_new(), is
 * -ENOMEM. As memory_put(); an `id` that was made up is "" again when it fails.
 */
int record_put(struct memory *memory, const struct record_kind *kind, struct packet_writer *w,
               char id[STATE_ID_SIZE]);
/*
 * The same: true when it was kept. Else it is logged that `what` was not; without a memory nothing
 * is said.
 */
bool record_keep(struct memory *memory, struct log *log, const struct record_kind *kind,
                 struct packet_writer *w, char id[STATE_ID_SIZE], const char *what);
/* With its descriptor. Nothing without a memory, or when `id` is ""; it is so afterwards. */
void record_remove(struct memory *memory, char id[STATE_ID_SIZE]);

uint64_t record_u64(const struct assignments *a, const char *key); /* 0 when it is not there */
/* Of a few: `otherwise` when it is above `max`, of a later version or broken. */
unsigned record_choice(const struct assignments *a, const char *key, unsigned max,
                       unsigned otherwise);
/* Cut to size; "" when it is not there. */
void record_text(const struct assignments *a, const char *key, char *ret, size_t size);

#endif
