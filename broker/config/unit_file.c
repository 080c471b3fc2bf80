/*
 * The reader of unit-file syntax. It works on a file that is in memory as a whole, and joins
 * continued lines in one buffer that grows up to UNIT_FILE_LINE_MAX. Total: any bytes give calls of
 * the handlers and errors, nothing else.
 *
 * Like systemd's, and unlike general INI readers, it knows comments only at the beginning of a
 * line (`sh -c 'a ; b'` stays whole), skips comments inside a continued line, and lets an empty
 * line end one.
 */
#include "config/unit_file.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "config/values.h"

struct reader {
        const char *file;
        const struct unit_file_handlers *handlers;
        struct diagnostics *diagnostics;
        unsigned line;       /* of what is being read */
        unsigned first_line; /* of the continued line */
        bool is_continued;
        bool is_too_long;
        bool in_section;
        unsigned sections;
        bool sections_exhausted;
        char *text; /* the continued line */
        size_t length;
        size_t capacity;
};

#define reader_error(r, ...)                                                                       \
        diagnostics_add((r)->diagnostics, SEVERITY_ERROR, (r)->file, (r)->first_line, __VA_ARGS__)

static bool is_space(char c) {
        return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* In place; returns where the text begins now. */
static char *strip(char *text) {
        size_t length;

        while (is_space(*text))
                text++;
        length = strlen(text);
        while (length > 0 && is_space(text[length - 1]))
                length--;
        text[length] = '\0';
        return text;
}

static int reserve(struct reader *r, size_t size) {
        size_t capacity = r->capacity ? r->capacity : 256;
        char *grown;

        while (capacity < size)
                capacity *= 2;
        if (capacity == r->capacity)
                return 0;
        grown = realloc(r->text, capacity);
        if (!grown)
                return -ENOMEM;
        r->text = grown;
        r->capacity = capacity;
        return 0;
}

static int append(struct reader *r, const char *data, size_t size) {
        int error;

        if (r->is_too_long || r->length + size > UNIT_FILE_LINE_MAX) {
                r->is_too_long = true; /* what follows is read over, up to the line's end */
                return 0;
        }
        error = reserve(r, r->length + size + 1);
        if (error < 0)
                return error;
        if (size > 0)
                memcpy(r->text + r->length, data, size);
        r->length += size;
        r->text[r->length] = '\0';
        return 0;
}

/* An odd number of backslashes: each pair is an escaped one. */
static bool ends_in_backslash(const char *data, size_t size) {
        size_t n = 0;

        while (n < size && data[size - 1 - n] == '\\')
                n++;
        return n % 2 == 1;
}

static void read_section(struct reader *r, char *text) {
        size_t length = strlen(text);
        char *name;

        if (text[length - 1] != ']' || !text[1 + strspn(text + 1, " \t]")]) {
                reader_error(r, "'%.80s': a section's line looks like [Socket web]", text);
                r->handlers->section(r->handlers->owner, r->first_line, "", NULL);
                r->in_section = true;
                return;
        }
        if (++r->sections > UNIT_FILE_SECTIONS_MAX) {
                reader_error(r, "more than %d sections: split the file", UNIT_FILE_SECTIONS_MAX);
                r->sections_exhausted = true;
                return;
        }
        text[length - 1] = '\0';
        text = strip(text + 1);
        name = text + strcspn(text, " \t");
        if (*name) {
                *name++ = '\0';
                name = strip(name);
        } else {
                name = NULL;
        }
        r->in_section = true;
        r->handlers->section(r->handlers->owner, r->first_line, text, name);
}

static void read_assignment(struct reader *r, char *text) {
        char *equals = strchr(text, '=');

        if (!equals) {
                reader_error(r, "'%.80s': a line is [SECTION], KEY=VALUE or a # comment", text);
                return;
        }
        *equals = '\0';
        char *key = strip(text), *value = strip(equals + 1);
        if (!*key)
                reader_error(r, "'=%.80s': the key before '=' is missing", value);
        else if (!r->in_section)
                reader_error(r,
                             "%.80s= stands before the first section: begin with a line such "
                             "as [Socket web]",
                             key);
        else
                r->handlers->assignment(r->handlers->owner, r->first_line, key, value);
}

static void read_whole_line(struct reader *r) {
        char *text;

        if (r->is_too_long) {
                reader_error(r, "the line is longer than %d bytes: use several assignments",
                             UNIT_FILE_LINE_MAX);
                return;
        }
        if (memchr(r->text, '\0', r->length)) {
                reader_error(r, "the line contains a NUL byte: this is not a text file");
                return;
        }
        if (!value_is_utf8(r->text, r->length)) {
                reader_error(r, "the line is not valid UTF-8: save the file as UTF-8");
                return;
        }
        text = strip(r->text);
        if (!*text)
                return;
        if (*text == '[')
                read_section(r, text);
        else
                read_assignment(r, text);
}

static bool is_comment(const char *data, size_t size) {
        while (size > 0 && (*data == ' ' || *data == '\t')) {
                data++;
                size--;
        }
        return size > 0 && (*data == '#' || *data == ';');
}

/* One line of the file, without its line end. */
static int read_line(struct reader *r, const char *data, size_t size) {
        int error;

        r->line++;
        if (size > 0 && data[size - 1] == '\r')
                size--;
        if (is_comment(data, size))
                return 0;
        if (!r->is_continued) {
                r->first_line = r->line;
                r->length = 0;
                r->is_too_long = false;
        }
        r->is_continued = ends_in_backslash(data, size);
        if (r->is_continued)
                size--;
        error = append(r, data, size);
        if (error == 0 && r->is_continued)
                return append(r, " ", 1);
        if (error == 0)
                read_whole_line(r);
        return error;
}

static int read_all(struct reader *r, const char *data, size_t size) {
        const char *end = data + size;

        if (size >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0)
                data += 3; /* the byte order mark that some editors write */
        while (data < end && !r->sections_exhausted) {
                const char *newline = memchr(data, '\n', (size_t) (end - data));
                const char *line_end = newline ? newline : end;
                int error = read_line(r, data, (size_t) (line_end - data));

                if (error < 0)
                        return error;
                data = newline ? newline + 1 : end;
        }
        if (r->is_continued) /* the file ends in a backslash or in a comment behind one */
                read_whole_line(r);
        return 0;
}

int unit_file_read(const char *file, const char *data, size_t size,
                   const struct unit_file_handlers *handlers, struct diagnostics *diagnostics) {
        struct reader r = {.file = file, .handlers = handlers, .diagnostics = diagnostics};
        int error = read_all(&r, data, size);

        free(r.text);
        return error;
}
