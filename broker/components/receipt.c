/* What became of one component of a job. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "components/job.h"

static const struct {
        const char *name;
        bool is_good;
} verdicts[] = {
        [VERDICT_NONE] = {"none", false},       [VERDICT_SERVES] = {"serves", true},
        [VERDICT_KEPT] = {"kept", false},       [VERDICT_FAILED] = {"failed", false},
        [VERDICT_DONE] = {"done", true},        [VERDICT_NOTHING] = {"nothing", true},
        [VERDICT_SKIPPED] = {"skipped", false}, [VERDICT_CANCELED] = {"canceled", false},
};

const char *verdict_name(enum verdict verdict) {
        return verdicts[verdict].name;
}

bool verdict_is_good(enum verdict verdict) {
        return verdicts[verdict].is_good;
}

int verdict_from_name(struct text name, enum verdict *ret) {
        for (size_t k = 0; k < sizeof(verdicts) / sizeof(verdicts[0]); k++)
                if (text_equal(name, verdicts[k].name)) {
                        *ret = (enum verdict) k;
                        return 0;
                }
        return -EINVAL;
}

void receipt_clear(struct receipt *r) {
        for (size_t k = 0; k < r->n_lines; k++)
                free(r->lines[k]);
        *r = (struct receipt){0};
}

int receipt_copy(struct receipt *copy, const struct receipt *original) {
        size_t n = 0;

        receipt_clear(copy);
        *copy = *original;
        while (n < original->n_lines && (copy->lines[n] = strdup(original->lines[n])))
                n++;
        copy->n_lines = n;
        return n == original->n_lines ? 0 : -ENOMEM;
}

static bool is_of(const struct output_line *line, const struct instance *i) {
        return line->generation == i->generation && line->instance == i->index;
}

void receipt_take_lines(struct receipt *r, const struct output_log *log, const struct instance *i) {
        struct output_line line;
        struct line_walk w;
        size_t n = 0, skip;

        for (w = line_ring_walk(&log->lines); line_walk_next(&w, &line);)
                n += is_of(&line, i);
        skip = n > RECEIPT_LINES_MAX ? n - RECEIPT_LINES_MAX : 0;
        for (w = line_ring_walk(&log->lines); line_walk_next(&w, &line);) {
                if (!is_of(&line, i))
                        continue;
                if (skip > 0) {
                        skip--;
                        continue;
                }
                r->lines[r->n_lines] = strdup(line.text);
                if (!r->lines[r->n_lines])
                        return;
                r->n_lines++;
        }
}
