/*
 * What is wrong with a configuration: all errors and warnings of one run, each with its place. A
 * message says what was read and what would be right.
 */
#ifndef CONFIG_DIAGNOSTICS_H
#define CONFIG_DIAGNOSTICS_H

#include <stddef.h>
#include <stdio.h>

enum severity { SEVERITY_WARNING, SEVERITY_ERROR };

struct diagnostic {
        enum severity severity;
        char *file;    /* NULL when it is about no file */
        unsigned line; /* 0 when it is about the whole file */
        char *text;
};

struct diagnostics {
        size_t count;
        size_t errors;
        size_t warnings;
        struct diagnostic *items;
};

/* Out of memory counts as an error without text, so that nothing wrong passes as right. */
void diagnostics_add(struct diagnostics *d, enum severity severity, const char *file, unsigned line,
                     const char *format, ...) __attribute__((format(printf, 5, 6)));
void diagnostics_clear(struct diagnostics *d);

/* "FILE:LINE: error: TEXT\n" each, in the order of finding. */
void diagnostics_print(const struct diagnostics *d, FILE *stream);

struct log;

/* The same, each into the log with its file and line as fields. */
void diagnostics_log(const struct diagnostics *d, struct log *log);

#endif
