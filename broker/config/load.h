/* Loading from memory: what config_load() does behind the file system, for tests and fuzzing. */
#ifndef CONFIG_LOAD_H
#define CONFIG_LOAD_H

#include "config/config.h"

/*
 * As config_load(), of one text. `file` is its name in messages; when it ends in ".socket" or
 * ".service" the text is a unit file of that name.
 */
int config_load_text(const char *file, const char *data, size_t size,
                     struct diagnostics *diagnostics, struct config **ret);

#endif
