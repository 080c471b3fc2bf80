/*
 * Where the last lines of components lie: one memfd for all, which is kept for the broker's next
 * life, with an area for each that has written. It has as many pages as there are lines, and a
 * component that is silent has none.
 *
 * Where there is no memory for it, lines lie in memory of our own and end with us, or are not
 * remembered; nothing fails of it.
 */
#ifndef COMPONENTS_KEPT_LINES_H
#define COMPONENTS_KEPT_LINES_H

#include <stdbool.h>
#include <stddef.h>

#include "components/line_ring.h"
#include "keeper/state.h"

struct log;
struct memory;

struct kept_lines {
        struct memory *memory; /* lent; NULL: nothing outlives us */
        struct log *log;
        int fd;                 /* the memfd, owned; -1: there is none yet */
        char id[STATE_ID_SIZE]; /* of its record; "" none */
        bool *is_taken;         /* of each area in it */
        size_t count;
        bool is_told; /* that something is not kept */
};

void kept_lines_init(struct kept_lines *kept, struct memory *memory, struct log *log);
/* What is kept stays so. The rings have been closed. */
void kept_lines_close(struct kept_lines *kept);

/* Take the memfd that was kept, if there is one. */
void kept_lines_load(struct kept_lines *kept);
/*
 * The name of the component that has area `k` of kept->count; false: that is nobody's, or a ring
 * has it already.
 */
bool kept_lines_name(const struct kept_lines *kept, size_t k, char ret[LINE_AREA_NAME_SIZE]);
/* That one's lines. Nothing when they cannot be had. */
void kept_lines_find(struct kept_lines *kept, size_t k, struct line_ring *ring);
/* Areas that nobody has taken give their memory back. */
void kept_lines_forget_unclaimed(struct kept_lines *kept);

/* For the first line of this component. Without any memory the ring stays as it is. */
void kept_lines_new(struct kept_lines *kept, const char *name, struct line_ring *ring);
/* The lines stay, and are not at hand any more; or go with their component. */
void kept_lines_leave(struct line_ring *ring);
void kept_lines_forget(struct kept_lines *kept, struct line_ring *ring);

#endif
