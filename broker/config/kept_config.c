/* The configuration in force, in its own syntax, in a memfd. */
#include "config/kept_config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "keeper/memory.h"
#include "keeper/record.h"

#define KIND KEPT_CONFIG_KIND

static const char *const known[] = {"RECORD", NULL};
static const struct record_kind config_record = {KIND, 'f', known};

static int write_config(const struct config *config, int *ret_fd) {
        _cleanup_close_ int fd = memfd_create(KEPT_CONFIG_MEMFD, MFD_CLOEXEC);
        FILE *stream;
        int copy, r;

        copy = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (copy < 0)
                return -errno;
        stream = fdopen(copy, "w");
        if (!stream) {
                close_fd(copy);
                return -ENOMEM;
        }
        r = config_print(config, stream);
        if (fclose(stream) != 0 && r == 0)
                r = -errno;
        if (r < 0)
                return r;
        *ret_fd = take_fd(&fd);
        return 0;
}

static int put_record(struct memory *m, char id[STATE_ID_SIZE]) {
        const char *old = memory_first(m, KIND);

        (void) strcpy(id, old ? old : "");
        return record_put(m, &config_record, record_new(m, &config_record), id);
}

int kept_config_put(struct memory *m, const struct config *config, int *fd, struct log *log) {
        char id[STATE_ID_SIZE];
        int fresh, r;

        r = write_config(config, &fresh);
        if (r == 0)
                r = put_record(m, id);
        if (r == 0)
                r = memory_put_fd(m, id, fresh);
        if (r < 0) {
                log_error(log, NULL,
                          "the configuration in force cannot be kept: %s; after a crash the files "
                          "would be read",
                          strerror(-r));
                return r;
        }
        close_fd(*fd);
        *fd = fresh;
        return 0;
}

void kept_config_remove(struct memory *m, int *fd) {
        const char *id = memory_first(m, KIND);
        char copy[STATE_ID_SIZE];

        if (id) {
                (void) strcpy(copy, id);
                memory_remove(m, copy);
        }
        *fd = close_fd(*fd);
}

/* ---- loading ----------------------------------------------------------------------------------*/

static bool same_content(int a, int b) {
        _cleanup_free_ char *x = NULL, *y = NULL;
        struct stat sa, sb;
        size_t size;

        if (fstat(a, &sa) < 0 || fstat(b, &sb) < 0 || sa.st_size != sb.st_size)
                return false;
        size = (size_t) sa.st_size;
        x = malloc(size + 1);
        y = malloc(size + 1);
        return x && y && pread(a, x, size, 0) == (ssize_t) size &&
               pread(b, y, size, 0) == (ssize_t) size && memcmp(x, y, size) == 0;
}

static bool says_the_same(const struct config *config, int kept_fd) {
        _cleanup_close_ int fd = -1;

        return write_config(config, &fd) == 0 && same_content(fd, kept_fd);
}

int kept_config_read(int fd, struct log *log, struct config **ret) {
        struct diagnostics diagnostics = {0};
        char path[32];
        int r;

        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        r = config_load(path, &diagnostics, ret);
        if (r < 0)
                diagnostics_log(&diagnostics, log);
        diagnostics_clear(&diagnostics);
        return r;
}

int kept_config_load(struct memory *m, const char *path, struct diagnostics *diagnostics,
                     struct log *log, struct config **ret, int *ret_fd) {
        struct config *from_files = NULL, *kept;
        const char *id = memory_first(m, KIND);
        int fd = id ? memory_take_fd(m, id) : -1;
        int r = config_load(path, diagnostics, &from_files);

        *ret_fd = fd;
        if (r == 0 && (fd < 0 || says_the_same(from_files, fd))) {
                *ret = from_files;
                return fd < 0 ? 0 : 1;
        }
        if (fd < 0)
                return r;
        if (kept_config_read(fd, log, &kept) < 0) {
                log_error(log, NULL, "the kept configuration cannot be used, the files are read");
                if (r == 0)
                        *ret = from_files;
                return r;
        }
        config_free(from_files);
        log_notice(log, NULL,
                   "the files at %s are not what was in force before; that stays in "
                   "force until `fdpass apply`",
                   path);
        diagnostics_clear(diagnostics);
        *ret = kept;
        return 0;
}
