/* The memory of malloc(3), beyond what that has of itself. */
#ifndef CORE_HEAP_H
#define CORE_HEAP_H

/*
 * Give what was freed back to the system, where the C library can. After work that took much memory
 * for a while: what outlives it lies between its parts, so that free(3) alone gives nothing back.
 * Takes about a millisecond.
 */
void heap_trim(void);

#endif
