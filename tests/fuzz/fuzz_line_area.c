/*
 * What may be found in the memory where the lines of a component lie: any bytes. What is taken of
 * them are lines that can be shown, and lines can be added to them.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "components/line_part.h"
#include "components/line_ring.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct line_ring *ring) {
        struct line_walk walk = line_ring_walk(ring);
        struct output_line line;
        uint64_t last = 0;
        size_t n = 0, bytes = 0;

        for (; line_walk_next(&walk, &line); n++) {
                if (line.number <= last || line.number > INT64_MAX || line.generation > INT64_MAX ||
                    line.time_usec > INT64_MAX)
                        abort();
                if (line.length > OUTPUT_LINE_MAX || strlen(line.text) != line.length)
                        abort();
                last = line.number;
                bytes += line.length;
        }
        if (n > OUTPUT_LINES_KEPT || bytes > OUTPUT_BYTES_KEPT || bytes != ring->bytes)
                abort();
}

/* More of them than there is room for. */
static void add(struct line_ring *ring) {
        char text[OUTPUT_LINE_MAX + 1];
        struct line_walk walk = line_ring_walk(ring);
        struct output_line line = {0};

        memset(text, 'x', sizeof(text));
        text[OUTPUT_LINE_MAX] = '\0';
        while (line_walk_next(&walk, &line))
                ;
        line = (struct output_line){.number = line.number};
        for (int n = 0; n < 60; n++) {
                line.number++;
                line.length = n % 3 == 0 ? OUTPUT_LINE_MAX : (size_t) n;
                line.text = text + OUTPUT_LINE_MAX - line.length;
                if (!line_ring_add(ring, &line))
                        abort();
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        /* Memory of its own size, watched by the sanitizer at both ends. */
        char *memory = calloc(1, LINE_AREA_SIZE), text[OUTPUT_LINE_MAX];
        struct line_area *area = (struct line_area *) (void *) memory;
        char name[LINE_AREA_NAME_SIZE];
        struct line_ring ring;
        unsigned place = 0;

        if (!memory)
                return 0;
        memcpy(memory, data, size < LINE_AREA_SIZE ? size : LINE_AREA_SIZE);
        if (line_area_name(memory, name) && strlen(name) == 0)
                abort();
        if (line_ring_open(&ring, area, -1, 0) == 0) {
                check(&ring);
                if (line_part_find(&ring, &place, STDIN_FILENO, text) >= OUTPUT_LINE_MAX)
                        abort();
                add(&ring);
                check(&ring);
                if (line_ring_open(&ring, area, -1, 0) < 0)
                        abort();
                check(&ring);
        }
        free(memory);
        return 0;
}
