/* One file of configuration, in memory. */
#ifndef CONFIG_SOURCE_H
#define CONFIG_SOURCE_H

#include <stddef.h>

#include "config/diagnostics.h"

struct source {
        char *data;
        size_t size;
};

/*
 * Read `path`, which must be a regular file of at most UNIT_FILE_SIZE_MAX bytes; never blocks on a
 * FIFO or a device. Failures are reported in `diagnostics`, naming the file.
 *
 * Returns 1 with *ret for the caller to source_clear(); 0 when it is a link to /dev/null, which is
 * how systemd masks a unit; -ENOENT, -EINVAL (not a regular file, too long) and what open(2) and
 * read(2) say, all reported; -ENOMEM, not reported.
 */
int source_read(const char *path, struct diagnostics *diagnostics, struct source *ret);
void source_clear(struct source *source);

#endif
