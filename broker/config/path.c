/* Absolute file names in one spelling. Text only: the file system is not asked. See path.h. */
#include "config/path.h"

#include <errno.h>
#include <string.h>

#include "config/values.h"

static int fail(int error, const char *reason, const char **ret_reason) {
        *ret_reason = reason;
        return error;
}

/* Append "/PART"; ".." is refused because what it means depends on symbolic links. */
static int append_part(const char *part, size_t length, char *ret, size_t *at, size_t size,
                       const char **ret_reason) {
        if (length == 0 || (length == 1 && part[0] == '.'))
                return 0;
        if (length == 2 && part[0] == '.' && part[1] == '.')
                return fail(-EINVAL, "a path may not contain '..': write where it leads",
                            ret_reason);
        if (*at + 1 + length >= size)
                return fail(-ENAMETOOLONG,
                            "the path is too long: a socket's path has at most 107 bytes",
                            ret_reason);
        ret[(*at)++] = '/';
        memcpy(ret + *at, part, length);
        *at += length;
        return 0;
}

int path_normalize(const char *path, char *ret, size_t size, const char **ret_reason) {
        size_t at = 0;

        if (path[0] != '/')
                return fail(-EINVAL, "a path must be absolute: begin it with '/'", ret_reason);
        if (!value_is_text(path))
                return fail(-EINVAL,
                            "a path may not contain control characters, nor end in a space or a "
                            "backslash",
                            ret_reason);
        while (*path) {
                size_t length;

                path++; /* the slash */
                length = strcspn(path, "/");
                int r = append_part(path, length, ret, &at, size, ret_reason);
                if (r < 0)
                        return r;
                path += length;
        }
        if (at == 0)
                return fail(-EINVAL, "this is the root folder: name a file in a folder",
                            ret_reason);
        ret[at] = '\0';
        return 0;
}
