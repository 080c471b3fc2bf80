/*
 * The last lines of one component, in an area of memory that may outlive us: shared with nobody but
 * the broker that comes after. A line costs no system call, and death in the middle of one leaves
 * all lines but that one: what is valid is said by one word, which is written when the line is
 * there.
 *
 * Lines lie one behind the other, from the start again when there is room, so that a component that
 * writes little has little memory. Whatever is found in an area is taken for no more than what it
 * proves to be.
 */
#ifndef COMPONENTS_LINE_RING_H
#define COMPONENTS_LINE_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "names.h"

#define OUTPUT_LINE_MAX 2048  /* longer ones are cut into several */
#define OUTPUT_LINES_KEPT 200 /* of a component, all generations together */
#define OUTPUT_BYTES_KEPT 65536

struct output_line {
        uint64_t number;    /* from 1, of the component */
        uint64_t time_usec; /* CLOCK_REALTIME */
        uint64_t generation;
        unsigned instance;
        bool is_error; /* from a standard error that has a pipe of its own */
        size_t length;
        const char *text; /* terminated; control characters as they came, but NUL and a last CR */
};

/*
 * Address space, of which pages are used as lines come: at most twice what is kept, because a ring
 * that has become too small goes on behind its end.
 */
#define LINE_AREA_SIZE (192 * 1024)
#define LINE_AREA_NAME_SIZE (NAME_LENGTH_MAX + 1)
/* Pipes whose last line has no end yet, at a time: line_part.h. */
#define LINE_PARTS 16

struct line_area; /* line_area.h */

/* In units of the area, see line_ring.c. */
struct line_ring_state {
        uint16_t first, next; /* the oldest line; behind the newest */
        uint16_t end;         /* of the older ones, when the newer are before them; else 0 */
        uint16_t count;
};

struct line_ring {
        struct line_area *area; /* LINE_AREA_SIZE bytes, lent; NULL: nothing is kept */
        int fd;                 /* its memfd, lent; -1: memory of our own, which needs no reserve */
        off_t offset;           /* there */
        size_t reserved;        /* bytes of it that are sure to be there */
        size_t bytes;           /* of text */
        uint16_t parts_reserved, parts_taken; /* line_part.c */
        struct line_ring_state state;
};

/* An empty one in an area that may have any content; `name` is of the component. -ENOSPC, …. */
int line_ring_new(struct line_ring *ring, struct line_area *area, int fd, off_t offset,
                  const char *name);
/* With the lines that are whole in this area. -EBADMSG (no ring is here), -ENOSPC, …. */
int line_ring_open(struct line_ring *ring, struct line_area *area, int fd, off_t offset);
/* The name of the component whose area begins with `head`; false when none does. */
#define LINE_AREA_HEAD_SIZE 264
bool line_area_name(const char head[LINE_AREA_HEAD_SIZE], char ret[LINE_AREA_NAME_SIZE]);

static inline bool line_ring_is_there(const struct line_ring *ring) {
        return ring->area;
}

/* The oldest go for it. False: there is no memory for it, and it is not kept. */
bool line_ring_add(struct line_ring *ring, const struct output_line *line);

/*
 * From the oldest to the newest: struct line_walk w = line_ring_walk(ring); while
 * (line_walk_next(&w, &line)) …. Lines live until the next one is added.
 */
struct line_walk {
        const struct line_ring *ring;
        size_t at, left;
};
struct line_walk line_ring_walk(const struct line_ring *ring);
bool line_walk_next(struct line_walk *walk, struct output_line *ret);

#endif
