/*
 * The dialect of unit files, systemd.syntax(7): sections, assignments, comments, continued lines.
 * The reader knows no section and no key; it calls handlers in the order of the file.
 */
#ifndef CONFIG_UNIT_FILE_H
#define CONFIG_UNIT_FILE_H

#include <stddef.h>

#include "config/diagnostics.h"

/* A line with all its continuations; systemd's own limit is 1 MiB. */
#define UNIT_FILE_LINE_MAX 65536
#define UNIT_FILE_SECTIONS_MAX 65536
#define UNIT_FILE_SIZE_MAX ((size_t) 16 * 1024 * 1024)

struct unit_file_handlers {
        /*
         * [KIND] or [KIND NAME]; name is NULL in the first form, and never empty. An empty kind
         * stands for a line that could not be read (and is reported): the assignments that follow
         * belong to no section that anybody knows.
         */
        void (*section)(void *owner, unsigned line, const char *kind, const char *name);
        /* KEY=VALUE inside a section; value without white space at its ends, may be empty. */
        void (*assignment)(void *owner, unsigned line, const char *key, const char *value);
        void *owner;
};

/*
 * Read `size` bytes. `file` is for messages. What does not fit the grammar is an error in
 * `diagnostics` and reading goes on behind it, so that one run finds all. A line is numbered by
 * where it begins. The strings live until the handler returns.
 *
 * Returns 0, also when there were errors; -ENOMEM.
 */
int unit_file_read(const char *file, const char *data, size_t size,
                   const struct unit_file_handlers *handlers, struct diagnostics *diagnostics);

#endif
