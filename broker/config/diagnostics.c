/*
 * The list of all that is wrong with a configuration. It is bounded: a file that is garbage from
 * end to end must not make us hold a message for each of its lines, so past DIAGNOSTICS_MAX items
 * only the counters go on, and printing says how many are not shown.
 */
#include "config/diagnostics.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "config/array.h"
#include "core/log.h"
#include "core/utf8.h"

#define DIAGNOSTICS_MAX 1000

static void count(struct diagnostics *d, enum severity severity) {
        if (severity == SEVERITY_ERROR)
                d->errors++;
        else
                d->warnings++;
}

/*
 * Files may hold anything, and what is quoted of them goes to terminals and into JSON: no control
 * characters, and no half characters, which cutting a long text can leave.
 */
static void make_presentable(char *text) {
        size_t left = strlen(text);

        while (left > 0) {
                uint32_t code;
                size_t length = utf8_decode(text, left, &code);

                if (length == 0 || code < 0x20 || code == 0x7f) {
                        text[0] = '?';
                        length = 1;
                } else if (utf8_is_c1_control(code)) {
                        text[0] = text[1] = '?';
                }
                text += length;
                left -= length;
        }
}

static int store(struct diagnostics *d, const struct diagnostic *item) {
        if (array_grow(&d->items, d->count, sizeof(*d->items)) < 0)
                return -1;
        d->items[d->count++] = *item;
        return 0;
}

void diagnostics_add(struct diagnostics *d, enum severity severity, const char *file, unsigned line,
                     const char *format, ...) {
        struct diagnostic item = {.severity = severity, .line = line};
        va_list arguments;
        int r;

        if (d->count >= DIAGNOSTICS_MAX) {
                count(d, severity);
                return;
        }
        va_start(arguments, format);
        r = vasprintf(&item.text, format, arguments);
        va_end(arguments);
        if (r < 0)
                item.text = NULL; /* what it holds after a failure is undefined */
        else if (file)
                item.file = strdup(file);
        if (item.text)
                make_presentable(item.text);
        if (item.file)
                make_presentable(item.file);
        if (!item.text || (file && !item.file) || store(d, &item) < 0) {
                free(item.text);
                free(item.file);
                /* even a warning: a run that could not say all it had to say has not passed */
                d->errors++;
                return;
        }
        count(d, severity);
}

void diagnostics_clear(struct diagnostics *d) {
        for (size_t i = 0; i < d->count; i++) {
                free(d->items[i].file);
                free(d->items[i].text);
        }
        free(d->items);
        *d = (struct diagnostics){0};
}

static void print_one(const struct diagnostic *item, FILE *stream) {
        if (item->file && item->line > 0)
                fprintf(stream, "%s:%u: ", item->file, item->line);
        else if (item->file)
                fprintf(stream, "%s: ", item->file);
        fprintf(stream, "%s: %s\n", item->severity == SEVERITY_ERROR ? "error" : "warning",
                item->text);
}

void diagnostics_print(const struct diagnostics *d, FILE *stream) {
        for (size_t i = 0; i < d->count; i++)
                print_one(&d->items[i], stream);
        if (d->errors + d->warnings > d->count)
                fprintf(stream, "error: %zu more messages are not shown.\n",
                        d->errors + d->warnings - d->count);
}

/* The place stands in the text too: not every log shows fields. */
void diagnostics_log(const struct diagnostics *d, struct log *log) {
        for (size_t i = 0; i < d->count; i++) {
                const struct diagnostic *item = &d->items[i];
                enum log_level level =
                        item->severity == SEVERITY_ERROR ? LEVEL_ERROR : LEVEL_WARNING;
                const struct log_about about = {.file = item->file, .line = (int) item->line};

                if (item->file && item->line > 0)
                        log_write(log, level, &about, "%s:%u: %s", item->file, item->line,
                                  item->text);
                else if (item->file)
                        log_write(log, level, &about, "%s: %s", item->file, item->text);
                else
                        log_write(log, level, NULL, "%s", item->text);
        }
        if (d->errors + d->warnings > d->count)
                log_error(log, NULL, "%zu more messages about the configuration are not shown",
                          d->errors + d->warnings - d->count);
}
