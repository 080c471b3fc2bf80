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
        return 1;
}

static int reserve(struct source *source, size_t *capacity, size_t wanted) {
        char *data = realloc(source->data, wanted);

        if (!data)
                return -ENOMEM;
        source->data = data;
        *capacity = wanted;
        return 0;
}

/*
 * To its end, wherever stat(2) says that it is: a file of /proc has a size of 0. The bound is for
 * one that grows meanwhile, too. 0, -EFBIG, or a negative errno.
 */
static int read_whole(int fd, size_t expected, struct source *source) {
        size_t capacity;
        int r;

        if (expected > UNIT_FILE_SIZE_MAX)
                return -EFBIG;
        r = reserve(source, &capacity, expected + 1); /* one more, to see the end */
        while (r == 0) {
                ssize_t n = read(fd, source->data + source->size, capacity - source->size);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? -errno : 0;
                source->size += (size_t) n;
                if (source->size > UNIT_FILE_SIZE_MAX)
                        return -EFBIG;
                if (source->size == capacity)
                        r = reserve(source, &capacity, 2 * capacity + 4096);
        }
        return r;
}

int source_read(const char *path, struct diagnostics *diagnostics, struct source *ret) {
        _cleanup_close_ int fd = -1;
        struct source source = {.data = NULL};
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
        r = read_whole(fd, (size_t) st.st_size, &source);
        if (r < 0)
                source_clear(&source);
        if (r == -EFBIG) {
                source_error(diagnostics, path, "is longer than %zu bytes: split it",
                             UNIT_FILE_SIZE_MAX);
                return -EINVAL;
        }
        if (r < 0)
                return r == -ENOMEM ? r : report_errno(path, -r, diagnostics);
        *ret = source;
        return 1;
}

void source_clear(struct source *source) {
        free(source->data);
        source->data = NULL;
}
