/*
 * A thin cover over libsmartcols. Its own encoding of unsafe characters is switched off because
 * display_escape() has done it, in the same form that messages use.
 */
#include "cli/table.h"

#include <errno.h>
#include <libsmartcols.h>
#include <stdarg.h>
#include <stdlib.h>

#include "cleanup.h"
#include "cli/display.h"

struct table {
        struct libscols_table *scols;
        struct libscols_line *line; /* the table's; a borrowed view */
        bool color;
};

static const char *const tint_colors[] = {
        [TINT_NONE] = NULL, [TINT_GOOD] = "green", [TINT_WARNING] = "yellow", [TINT_BAD] = "red"};

static int add_columns(struct table *table, const struct table_column *columns, size_t n_columns) {
        for (size_t i = 0; i < n_columns; i++) {
                struct libscols_column *column = scols_table_new_column(
                        table->scols, columns[i].title, 0, columns[i].right ? SCOLS_FL_RIGHT : 0);
                if (!column)
                        return -ENOMEM;
                if (table->color &&
                    scols_cell_set_color(scols_column_get_header(column), "bold") < 0)
                        return -ENOMEM;
        }
        return 0;
}

int table_new(struct table **ret, const struct table_column *columns, size_t n_columns,
              bool color) {
        struct table *table = calloc(1, sizeof(*table));

        if (!table)
                return -ENOMEM;
        table->color = color;
        table->scols = scols_new_table();
        if (!table->scols || scols_table_enable_colors(table->scols, color) < 0 ||
            scols_table_enable_noencoding(table->scols, 1) < 0 ||
            scols_table_enable_minout(table->scols, 1) < 0 ||
            add_columns(table, columns, n_columns) < 0) {
                table_free(table);
                return -ENOMEM;
        }
        *ret = table;
        return 0;
}

struct table *table_free(struct table *table) {
        if (table)
                scols_unref_table(table->scols);
        free(table);
        return NULL;
}

int table_row(struct table *table) {
        table->line = scols_table_new_line(table->scols, NULL);
        return table->line ? 0 : -ENOMEM;
}

int table_cell(struct table *table, size_t column, enum tint tint, const char *text) {
        struct libscols_cell *cell = scols_line_get_cell(table->line, column);
        char *shown = display_escape(text);

        if (!cell || !shown || scols_cell_refer_data(cell, shown) < 0) {
                free(shown);
                return -ENOMEM;
        }
        if (tint_colors[tint] && scols_cell_set_color(cell, tint_colors[tint]) < 0)
                return -ENOMEM;
        return 0;
}

int table_cellf(struct table *table, size_t column, enum tint tint, const char *format, ...) {
        _cleanup_free_ char *text = NULL;
        va_list arguments;
        int n;

        va_start(arguments, format);
        n = vasprintf(&text, format, arguments);
        va_end(arguments);
        if (n < 0) {
                text = NULL;
                return -ENOMEM;
        }
        return table_cell(table, column, tint, text);
}

int table_print(struct table *table, FILE *stream) {
        int r = scols_table_set_stream(table->scols, stream);

        /* Nothing is cut, in a pipe or on a terminal: that takes a column with SCOLS_FL_TRUNC. */
        if (r == 0)
                r = scols_print_table(table->scols);
        return r < 0 ? r : 0;
}
