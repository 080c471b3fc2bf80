/* Absolute file names, in the one spelling that comparison and bind(2) use. */
#ifndef CONFIG_PATH_H
#define CONFIG_PATH_H

#include <stddef.h>

/*
 * Write `path` to ret without "//", "/./" and a slash at the end. On failure *ret_reason is a
 * static sentence that says what would be right.
 *
 * Returns 0; -EINVAL (not absolute, "..", "/" alone, a control character, or a text that no line of
 * configuration can hold, see value_is_text()); -ENAMETOOLONG (not under `size` bytes).
 */
int path_normalize(const char *path, char *ret, size_t size, const char **ret_reason);

#endif
