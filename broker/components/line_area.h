/*
 * How the lines of a component lie in memory: for line_ring.c and line_part.c. It is known again
 * after an upgrade, so none of this changes under the same magic.
 */
#ifndef COMPONENTS_LINE_AREA_H
#define COMPONENTS_LINE_AREA_H

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "components/line_ring.h"

#define LINE_AREA_MAGIC UINT64_C(0x31656e696c706466) /* "fdpline1" */

/* Of a line that has no end yet. */
struct line_part {
        uint64_t inode; /* of its pipe */
        uint32_t length, unused;
        char text[OUTPUT_LINE_MAX];
};

#define LINE_DATA_SIZE (LINE_AREA_SIZE - 280 - LINE_PARTS * sizeof(struct line_part))

struct line_area {
        uint64_t magic; /* 0: not in use */
        char name[LINE_AREA_NAME_SIZE];
        _Atomic uint64_t state; /* struct line_ring_state, the first member lowest */
        _Atomic uint64_t parts; /* bit by place: which of them say something */
        char data[LINE_DATA_SIZE];
        struct line_part part[LINE_PARTS];
};

static_assert(sizeof(struct line_area) == LINE_AREA_SIZE, "it is what it was");
static_assert(offsetof(struct line_area, state) == LINE_AREA_HEAD_SIZE, "so is its head");
static_assert(LINE_AREA_SIZE % 65536 == 0, "whole pages, whatever their size");
static_assert(LINE_PARTS <= 16, "places have 16 bits");

/*
 * A word that says what is valid, written after that and before anything else is. A process that is
 * killed has done what comes before in the program and nothing of what comes after, so no more than
 * the compiler is to be kept from changing the order.
 */
static inline void line_area_say(_Atomic uint64_t *word, uint64_t value) {
        atomic_store_explicit(word, value, memory_order_release);
        atomic_signal_fence(memory_order_seq_cst);
}

/* Memory from `offset` in the area on, so that a write finds it there. 0, -ENOSPC, …. */
int line_area_reserve(const struct line_ring *ring, size_t offset, size_t size);

#endif
