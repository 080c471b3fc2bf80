/*
 * Reading one file of configuration. It is looked at before it is opened, because opening can have
 * effects (a tape winds, a FIFO's writer wakes), and looked at again afterwards, because it may
 * have been replaced meanwhile.
 */
#include "config/source.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "cleanup.h"
#include "config/unit_file.h"

#define source_error(d, path, ...) diagnostics_add((d), SEVERITY_ERROR, (path), 0, __VA_ARGS__)

static int report_errno(const char *path, int error, struct diagnostics *diagnostics) {
        char target[PATH_MAX];
        ssize_t length = error == ENOENT ? readlink(path, target, sizeof(target) - 1) : -1;

        if (length >= 0) {
                target[length] = '\0';
                source_error(diagnostics, path,
                             "this symbolic link leads to %s, which does not exist: mend or remove "
                             "it",
                             target);
        } else if (error == ENOENT) {
                source_error(diagnostics, path, "there is no such file");
        } else if (error == EACCES || error == EPERM) {
                source_error(diagnostics, path,
                             "may not be read by uid %u (%s): change its mode or its owner",
                             (unsigned) geteuid(), strerror(error));
        } else {
                source_error(diagnostics, path, "cannot be read: %s", strerror(error));
        }
        return -error;
}

/* 1 for a file that can be read, 0 for /dev/null. */
static int check_kind(const char *path, const struct stat *st, struct diagnostics *diagnostics) {
        if (S_ISCHR(st->st_mode) && st->st_rdev == makedev(1, 3))
                return 0;
        if (!S_ISREG(st->st_mode)) {
                source_error(diagnostics, path, "is %s, not a file: remove it or rename it",
                             S_ISDIR(st->st_mode)    ? "a folder"
                             : S_ISFIFO(st->st_mode) ? "a FIFO"
                             : S_ISSOCK(st->st_mode) ? "a socket"
                                                     : "a device");
                return -EINVAL;
        }
        if ((uintmax_t) st->st_size > UNIT_FILE_SIZE_MAX) {
                source_error(diagnostics, path, "is longer than %zu bytes: split it",
                             UNIT_FILE_SIZE_MAX);
                return -EINVAL;
        }
        return 1;
}

/* At most `capacity` bytes: a file that grows meanwhile does not take us along. */
static int read_whole(int fd, char *data, size_t capacity, size_t *ret_size) {
        size_t size = 0;

        while (size < capacity) {
                ssize_t n = read(fd, data + size, capacity - size);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                size += (size_t) n;
        }
        *ret_size = size;
        return 0;
}

int source_read(const char *path, struct diagnostics *diagnostics, struct source *ret) {
        _cleanup_close_ int fd = -1;
        struct source source;
        struct stat st;
        int r;

        if (stat(path, &st) < 0)
                return report_errno(path, errno, diagnostics);
        r = check_kind(path, &st, diagnostics);
        if (r <= 0)
                return r;
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd < 0 || fstat(fd, &st) < 0)
                return report_errno(path, errno, diagnostics);
        r = check_kind(path, &st, diagnostics);
        if (r <= 0)
                return r;
        source.data = malloc((size_t) st.st_size + 1);
        if (!source.data)
                return -ENOMEM;
        r = read_whole(fd, source.data, (size_t) st.st_size, &source.size);
        if (r < 0) {
                source_clear(&source);
                return report_errno(path, -r, diagnostics);
        }
        *ret = source;
        return 1;
}

void source_clear(struct source *source) {
        free(source->data);
        source->data = NULL;
}
