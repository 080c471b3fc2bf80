/*
 * LISTEN_FDS, the protocol of sd_listen_fds(3): descriptors from 3 up, for the process LISTEN_PID.
 *
 * getenv(3) and not secure_getenv(3): the descriptors are there whatever the environment says, and
 * a server with file capabilities, for which secure_getenv(3) sees nothing, is meant to find them.
 */
#include "activation.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>

#include "cleanup.h"
#include "fd_list.h"
#include "fdpass.h"
#include "grammar.h"

#ifndef PIDFS_MAGIC
#define PIDFS_MAGIC 0x50494446
#endif

/* 1 with a number, 0 when the variable is not set, -EINVAL. */
static int number_variable(const char *variable, uint64_t *ret) {
        const char *value = getenv(variable);

        if (!value)
                return 0;
        return text_to_u64((struct text){value, strlen(value)}, ret) < 0 ? -EINVAL : 1;
}

/*
 * A pid can have been reused by the time it is compared; the inode of a pidfd never is, as long as
 * pidfds have a file system of their own (Linux 6.9). Before, all share one inode: no word on it.
 */
static bool is_our_pidfd_id(uint64_t id) {
        _cleanup_close_ int fd = (int) syscall(SYS_pidfd_open, getpid(), 0);
        struct statfs file_system;
        struct stat st;

        if (fd < 0 || fstatfs(fd, &file_system) < 0 || file_system.f_type != PIDFS_MAGIC ||
            fstat(fd, &st) < 0)
                return true;
        return st.st_ino == id;
}

/* Was LISTEN_FDS meant for this process? 1, 0 or -EINVAL. */
static int is_for_us(void) {
        uint64_t pid, id;
        int r = number_variable("LISTEN_PID", &pid);

        if (r <= 0)
                return r;
        if (pid != (uint64_t) getpid())
                return 0;
        r = number_variable("LISTEN_PIDFDID", &id);
        if (r < 0)
                return r;
        return r == 0 || is_our_pidfd_id(id);
}

static int close_on_exec(int fd) {
        int flags = fcntl(fd, F_GETFD);

        if (flags < 0)
                return -errno;
        if (!(flags & FD_CLOEXEC) && fcntl(fd, F_SETFD, flags | FD_CLOEXEC) < 0)
                return -errno;
        return 0;
}

/* How many were passed, all made close-on-exec. */
static int passed_count(void) {
        uint64_t n;
        int r = is_for_us();

        if (r <= 0)
                return r;
        r = number_variable("LISTEN_FDS", &n);
        if (r <= 0)
                return r;
        if (n > INT_MAX - LISTEN_FDS_START)
                return -EINVAL;
        for (int i = 0; i < (int) n; i++) {
                r = close_on_exec(LISTEN_FDS_START + i);
                if (r < 0)
                        return r;
        }
        return (int) n;
}

int fdpass_listen_fds(int unset_environment) {
        int r = passed_count();

        if (unset_environment) {
                (void) unsetenv("LISTEN_FDS");
                (void) unsetenv("LISTEN_PID");
                (void) unsetenv("LISTEN_PIDFDID");
                (void) unsetenv("LISTEN_FDNAMES");
        }
        return r;
}

/* Is this item of LISTEN_FDNAMES `name` or `name`.socket? */
static bool is_called(struct text item, const char *name) {
        static const char suffix[] = ".socket";
        size_t length = strlen(name);

        if (item.length < length || memcmp(item.start, name, length) != 0)
                return false;
        return text_equal((struct text){item.start + length, item.length - length}, "") ||
               text_equal((struct text){item.start + length, item.length - length}, suffix);
}

/* The next item of a colon-separated list; items may be empty. False at its end. */
static bool next_item(const char **list, struct text *ret) {
        const char *start = *list;

        if (!start)
                return false;
        ret->start = start;
        ret->length = strcspn(start, ":");
        *list = start[ret->length] ? start + ret->length + 1 : NULL;
        return true;
}

/* LISTEN_FDNAMES has one name for each descriptor: 0, or -EINVAL. */
static int check_names(const char *names, int n) {
        struct text item;

        while (next_item(&names, &item))
                n--;
        return n == 0 ? 0 : -EINVAL;
}

static int duplicate(int fd, int *fds, int count) {
        int copy = fcntl(fd, F_DUPFD_CLOEXEC, LISTEN_FDS_START);

        if (copy >= 0) {
                fds[count] = copy;
                return count + 1;
        }
        copy = -errno;
        while (count > 0)
                close_fd(fds[--count]);
        return copy;
}

static int duplicate_called(const char *names, const char *name, int *fds) {
        struct text item;
        int count = 0;

        for (int fd = LISTEN_FDS_START; count >= 0 && next_item(&names, &item); fd++)
                if (is_called(item, name))
                        count = duplicate(fd, fds, count);
        return count;
}

int activation_take(const char *name, int **ret_fds) {
        const char *names = getenv("LISTEN_FDNAMES");
        _cleanup_free_ int *fds = NULL;
        int n = passed_count(), r;

        if (n <= 0)
                return n;
        if (names && check_names(names, n) < 0)
                return -EINVAL;
        fds = malloc((size_t) n * sizeof(*fds));
        if (!fds)
                return -ENOMEM;
        if (names)
                r = duplicate_called(names, name, fds);
        else
                r = n == 1 ? duplicate(LISTEN_FDS_START, fds, 0) : 0;
        if (r <= 0)
                return r < 0 ? r : -ENOENT;
        *ret_fds = fds;
        fds = NULL;
        return r;
}
