/*
 * A thin cover over libsmartcols. Its own encoding of unsafe characters is switched off because
 * display_escape() has done it, in the same form that messages use.
 */
#include "cli/table.h"

#include <errno.h>
#include <libsmartcols.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <wchar.h>

#include "cleanup.h"
#include "cli/display.h"

#define COLUMNS_MAX 16
#define CUT_WIDTH 24    /* what is cut keeps so much as long as there are columns to be left out */
#define CUT_DOTS_FROM 8 /* narrower, "..." would be most of it */

struct table {
        struct libscols_table *scols;
        struct libscols_line *line; /* the table's; a borrowed view */
        bool color;
        const struct table_column *columns;
        size_t n_columns, widths[COLUMNS_MAX]; /* as wide as the widest cell */
};

static const char *const tint_colors[] = {
        [TINT_NONE] = NULL, [TINT_GOOD] = "green", [TINT_WARNING] = "yellow", [TINT_BAD] = "red"};

/* In columns of a terminal; a text that is no text in this locale has its bytes. */
static size_t width_of(const char *text) {
        wchar_t wide[1024];
        size_t n = mbstowcs(wide, text, sizeof(wide) / sizeof(wide[0]));
        int width = n < sizeof(wide) / sizeof(wide[0]) ? wcswidth(wide, n) : -1;

        return width >= 0 ? (size_t) width : strlen(text);
}

static void note_width(struct table *table, size_t column, const char *text) {
        size_t width = width_of(text);

        if (width > table->widths[column])
                table->widths[column] = width;
}

static int add_columns(struct table *table, const struct table_column *columns, size_t n_columns) {
        for (size_t i = 0; i < n_columns; i++) {
                struct libscols_column *column = scols_table_new_column(
                        table->scols, columns[i].title, 0, columns[i].right ? SCOLS_FL_RIGHT : 0);
                if (!column)
                        return -ENOMEM;
                note_width(table, i, columns[i].title);
                if (table->color &&
                    scols_cell_set_color(scols_column_get_header(column), "bold") < 0)
                        return -ENOMEM;
        }
        return 0;
}

int table_new(struct table **ret, const struct table_column *columns, size_t n_columns,
              bool color) {
        struct table *table = n_columns <= COLUMNS_MAX ? calloc(1, sizeof(*table)) : NULL;

        if (!table)
                return -ENOMEM;
        table->color = color;
        table->columns = columns;
        table->n_columns = n_columns;
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
        note_width(table, column, shown);
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

static bool has_flag(const struct table *table, size_t column, int flag) {
        return scols_column_get_flags(scols_table_get_column(table->scols, column)) & flag;
}

static void add_flag(const struct table *table, size_t column, int flag) {
        struct libscols_column *c = scols_table_get_column(table->scols, column);

        (void) scols_column_set_flags(c, scols_column_get_flags(c) | flag);
}

/* Of a line whose cells may be cut. */
static size_t line_width(const struct table *table) {
        size_t sum = 0;

        for (size_t i = 0; i < table->n_columns; i++) {
                size_t width = table->widths[i];

                if (has_flag(table, i, SCOLS_FL_HIDDEN))
                        continue;
                if ((table->columns[i].cut || table->columns[i].abbreviate) && width > CUT_WIDTH)
                        width = CUT_WIDTH;
                sum += width + (sum > 0); /* a space before it */
        }
        return sum;
}

/* The next to be left out, or n_columns. */
static size_t least_column(const struct table *table) {
        size_t least = table->n_columns;

        for (size_t i = 0; i < table->n_columns; i++)
                if (table->columns[i].drop > 0 && !has_flag(table, i, SCOLS_FL_HIDDEN) &&
                    (least == table->n_columns ||
                     table->columns[i].drop < table->columns[least].drop))
                        least = i;
        return least;
}

/* By bytes, which are no fewer than columns, and not within a character. Without memory a cell
 * stays as it is. */
static char *shorten(const char *text, size_t width) {
        const char *end = width >= CUT_DOTS_FROM ? "..." : "";
        size_t n = width - strlen(end);
        char *shorter;

        while (n > 0 && ((unsigned char) text[n] & 0xc0) == 0x80)
                n--;
        return asprintf(&shorter, "%.*s%s", (int) n, text, end) < 0 ? NULL : shorter;
}

static void shorten_cells(struct table *table, size_t column, size_t width) {
        for (size_t i = 0; i < scols_table_get_nlines(table->scols); i++) {
                struct libscols_line *line = scols_table_get_line(table->scols, i);
                const char *text = scols_cell_get_data(scols_line_get_cell(line, column));
                char *shorter = text && width_of(text) > width ? shorten(text, width) : NULL;

                if (shorter)
                        (void) scols_line_refer_data(line, column, shorter);
        }
        table->widths[column] = width;
}

/* Names, by no more than is too much, and so that they can still be told apart. */
static void abbreviate(struct table *table, size_t width) {
        for (size_t i = 0; i < table->n_columns; i++) {
                size_t others, room;

                if (!table->columns[i].abbreviate || table->widths[i] <= CUT_WIDTH)
                        continue;
                others = line_width(table) - CUT_WIDTH; /* so much of it is for this one */
                room = width > others + CUT_WIDTH ? width - others : CUT_WIDTH;
                if (room < table->widths[i])
                        shorten_cells(table, i, room);
        }
}

/* Of the line, when the cells that are cut have no more than this. */
static size_t width_with(const struct table *table, size_t most) {
        size_t sum = 0;

        for (size_t i = 0; i < table->n_columns; i++) {
                size_t width = table->widths[i];

                if (!has_flag(table, i, SCOLS_FL_HIDDEN))
                        sum += (table->columns[i].cut && width > most ? most : width) + (sum > 0);
        }
        return sum;
}

/* To the same width, of those that are wider; a title stays whole. */
static void cut(struct table *table, size_t width) {
        size_t most = width;

        while (most > 0 && width_with(table, most) > width)
                most--;
        for (size_t i = 0; i < table->n_columns; i++) {
                size_t title = strlen(table->columns[i].title);

                if (table->columns[i].cut && table->widths[i] > most)
                        shorten_cells(table, i, most > title ? most : title);
        }
}

static void fit(struct table *table, size_t width) {
        size_t least;

        while (line_width(table) > width && (least = least_column(table)) < table->n_columns)
                add_flag(table, least, SCOLS_FL_HIDDEN);
        abbreviate(table, width);
        cut(table, width);
}

int table_print(struct table *table, FILE *stream) {
        int r = scols_table_set_stream(table->scols, stream);
        struct winsize size;

        if (ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
                fit(table, size.ws_col);
        if (r == 0)
                r = scols_print_table(table->scols);
        return r < 0 ? r : 0;
}
