/* A table on stdout. Cells are escaped; colours only when asked for. */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "cleanup.h"

struct table;

struct table_column {
        const char *title;
        bool right; /* numbers */
        /* On a terminal that is too narrow: */
        bool cut;        /* its cells may be cut; */
        bool abbreviate; /* so may long names, which end in "..." then; */
        unsigned drop;   /* left out, lowest number first; 0: never */
};

enum tint { TINT_NONE, TINT_GOOD, TINT_WARNING, TINT_BAD };

/* 0 or -ENOMEM. `columns` must outlive the table. */
int table_new(struct table **ret, const struct table_column *columns, size_t n_columns, bool color);
struct table *table_free(struct table *table); /* NULL allowed; returns NULL */

static inline void table_free_p(struct table **table) {
        *table = table_free(*table);
}
#define _cleanup_table_ _cleanup_(table_free_p)

/* Later cells are in this new row. */
int table_row(struct table *table);
int table_cell(struct table *table, size_t column, enum tint tint, const char *text);
int table_cellf(struct table *table, size_t column, enum tint tint, const char *format, ...)
        __attribute__((format(printf, 4, 5)));

/* Nothing is left out or cut in a pipe or a file. 0 or -errno. */
int table_print(struct table *table, FILE *stream);

#endif
