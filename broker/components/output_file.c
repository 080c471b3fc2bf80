/* The way to it is trusted_path.h's; what it is shows when it is open. */
#include "components/output_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "components/trusted_path.h"

#define TRY_MSEC 10
#define READER_MSEC 1000 /* a FIFO's reader may be about to open it again */
#define LEASE_MSEC 60000 /* longer than the kernel lets one hold a lease that it takes back */
#define FILE_MODE 0644

/*
 * Where fs.protected_hardlinks is 0 anybody can give any file a second name. The log itself may be
 * root's, who has made it; what its folder's owner alone could link there is his to lose.
 */
static bool is_safe_file(const struct trusted_path *p, const struct stat *file) {
        bool is_the_folders = file->st_uid == p->status.st_uid &&
                              !trusted_path_is_ours(file->st_uid) &&
                              !(p->status.st_mode & (S_IWGRP | S_IWOTH));

        return !S_ISREG(file->st_mode) || file->st_nlink <= 1 || is_the_folders ||
               p->hands == HANDS_OURS;
}

/* How long what fails with this error is tried again. */
static unsigned patience_msec(int folder, const char *name, int error) {
        struct stat status;

        if (error == EWOULDBLOCK)
                return LEASE_MSEC;
        if (error == ENXIO && fstatat(folder, name, &status, 0) == 0 && S_ISFIFO(status.st_mode))
                return READER_MSEC;
        return 0;
}

static int try_open(const struct trusted_path *p, const char *name, int flags) {
        const struct timespec pause = {.tv_nsec = TRY_MSEC * 1000000L};

        flags |= O_WRONLY | O_CREAT | O_NOCTTY | O_NONBLOCK | O_CLOEXEC;
        for (unsigned msec = 0;; msec += TRY_MSEC) {
                int fd = openat(p->folder, name, flags, FILE_MODE), error = errno;
                unsigned patience;

                if (fd >= 0)
                        return fd;
                patience = patience_msec(p->folder, name, error);
                if (patience > 0 && msec >= patience && error == ENXIO)
                        return trusted_path_refuse(p, name, "a FIFO that nobody reads", -ENXIO);
                if (msec >= patience)
                        return -error;
                (void) nanosleep(&pause, NULL);
        }
}

/* fd is taken. Emptied only now that it is known what it is. */
static int finish(const struct trusted_path *p, const struct output_config *output, int fd) {
        _cleanup_close_ int file = fd;
        int flags = fcntl(fd, F_GETFL);
        struct stat status;

        if (flags < 0 || fstat(fd, &status) < 0)
                return -errno;
        if (p->folder >= 0 && !is_safe_file(p, &status))
                return trusted_path_refuse(p, p->name,
                                           "a file that not only root can have linked there, so "
                                           "remove its other names",
                                           -EPERM);
        if ((output->kind == OUTPUT_TRUNCATE && S_ISREG(status.st_mode) && ftruncate(fd, 0) < 0) ||
            fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
                return -errno;
        return take_fd(&file);
}

static bool can_more_than_its_user(const struct component_config *component) {
        return geteuid() == 0 || (component->has_user && component->uid != geteuid());
}

int output_file_open(const struct component_config *component, const struct output_config *output,
                     char *what, size_t size) {
        struct trusted_path p = {
                .component = component,
                .refusal = "a symbolic link that not only root can change, so name its target",
                .what = what,
                .what_size = size,
                .follows_last = true,
                .folder = -1,
        };
        int flags = output->kind == OUTPUT_APPEND ? O_APPEND : 0, r;

        (void) snprintf(what, size, "%s", output->path);
        if (!can_more_than_its_user(component)) {
                p.folder = AT_FDCWD;
                r = try_open(&p, output->path, flags);
        } else if ((r = trusted_path_walk(&p, "/", output->path)) >= 0) {
                r = try_open(&p, p.name, r == 1 ? flags : flags | O_NOFOLLOW);
        }
        if (r >= 0)
                r = finish(&p, output, r);
        (void) close_fd(p.folder);
        return r;
}
