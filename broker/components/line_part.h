/*
 * What was read of a line whose end has not come yet: kept beside the lines, because it is not in
 * its pipe any more. Whoever reads on from that pipe, after our death too, has the whole line.
 */
#ifndef COMPONENTS_LINE_PART_H
#define COMPONENTS_LINE_PART_H

#include <stddef.h>

#include "components/line_ring.h"

/*
 * Keep it for the pipe `fd`; *place is 0 for one that has none, and for those that found no room,
 * which are not kept.
 */
void line_part_put(struct line_ring *ring, unsigned *place, int fd, const char *text,
                   size_t length);
/* It has become a line, or is none of ours any more. Nothing for place 0. */
void line_part_drop(struct line_ring *ring, unsigned *place);

/* What the broker before us had read of this pipe, OUTPUT_LINE_MAX bytes at most; 0: nothing. */
size_t line_part_find(struct line_ring *ring, unsigned *place, int fd, char ret[OUTPUT_LINE_MAX]);
/* That of pipes that are gone. */
void line_part_forget_unclaimed(struct line_ring *ring);

#endif
