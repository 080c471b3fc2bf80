/* Name by name from the root folder, by descriptors: what was looked at is what is opened. */
#include "components/output_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"

#define LINKS_MAX 40 /* as the kernel's */
#define TRY_MSEC 10
#define READER_MSEC 1000 /* a FIFO's reader may be about to open it again */
#define LEASE_MSEC 60000 /* longer than the kernel lets one hold a lease that it takes back */
#define FILE_MODE 0644
#define OPEN_FOLDER (O_PATH | O_DIRECTORY | O_CLOEXEC)

struct walk {
        const struct component_config *component;
        const char *path; /* as it is configured */
        int flags;
        int folder;         /* owned; where it has come to */
        struct stat status; /* of the folder */
        bool is_safe;       /* nobody but root could have put another in the place of the folder */
        unsigned links;
        char rest[PATH_MAX]; /* of the path */
        char *what;
        size_t what_size;
};

/* ---- who may change what ----------------------------------------------------------------------*/

static bool is_ours(uid_t uid) {
        return uid == 0 || uid == geteuid();
}

static bool is_in_group(const struct component_config *component, gid_t gid) {
        if (!component->has_user)
                return false;
        for (size_t i = 0; i < component->n_groups; i++)
                if (component->groups[i] == gid)
                        return true;
        return gid == component->gid;
}

/* With a list the bits of the group are its mask and tell of nobody. */
static bool has_access_list(int fd) {
        char path[40];

        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", fd); /* O_PATH: no fgetxattr() */
        return getxattr(path, "system.posix_acl_access", NULL, 0) >= 0 ||
               (errno != ENODATA && errno != EOPNOTSUPP);
}

/* May the component's user, or everybody, make names in it? The group alone may be one of
 * administrators: that of /var/log often is. */
static bool is_open(const struct walk *w) {
        return (w->status.st_mode & S_IWOTH) ||
               ((w->status.st_mode & S_IWGRP) &&
                (is_in_group(w->component, w->status.st_gid) || has_access_list(w->folder)));
}

static bool is_safe_link(const struct walk *w, const struct stat *link) {
        return w->is_safe && is_ours(link->st_uid) && link->st_nlink == 1;
}

/*
 * Where fs.protected_hardlinks is 0 anybody can give any file a second name. The log itself may be
 * root's, who has made it; what its folder's owner alone could link there is his to lose.
 */
static bool is_safe_file(const struct walk *w, const struct stat *file) {
        bool is_the_folders = file->st_uid == w->status.st_uid && !is_ours(file->st_uid) &&
                              !(w->status.st_mode & (S_IWGRP | S_IWOTH));

        return !S_ISREG(file->st_mode) || file->st_nlink <= 1 || is_the_folders ||
               (w->is_safe && !is_open(w));
}

/* Of the names that were walked only what the configuration and root's links say: others may have
 * renamed the folder, and would be quoted. */
static int refuse(const struct walk *w, const char *name, const char *is, int error) {
        const char *slash = strrchr(name, '/'); /* of a path that was not walked */

        (void) snprintf(w->what, w->what_size, "%.60s is %s: %s", slash ? slash + 1 : name, is,
                        w->path);
        return error;
}

/* ---- the way ----------------------------------------------------------------------------------*/

/* fd is taken. */
static int step_into(struct walk *w, int fd) {
        if (fd < 0)
                return -errno;
        (void) close_fd(w->folder);
        w->folder = fd;
        if (fstat(fd, &w->status) < 0)
                return -errno;
        /* In a sticky one nobody takes away what is root's. */
        w->is_safe = w->is_safe && is_ours(w->status.st_uid) &&
                     ((w->status.st_mode & S_ISVTX) || !is_open(w));
        return 0;
}

static bool is_in_proc(int folder) {
        struct statfs fs;

        return fstatfs(folder, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC;
}

/* What the link says comes before the rest of the path. */
static int put_before(struct walk *w, int link) {
        size_t rest = strlen(w->rest);
        char target[PATH_MAX];
        ssize_t n = readlinkat(link, "", target, sizeof(target));

        if (n <= 0)
                return n < 0 ? -errno : -ENOENT;
        if ((size_t) n + rest >= sizeof(w->rest))
                return -ENAMETOOLONG;
        memmove(w->rest + n, w->rest, rest + 1);
        memcpy(w->rest, target, (size_t) n);
        return target[0] == '/' ? step_into(w, open("/", OPEN_FOLDER)) : 0;
}

/* 0, or 1 for a link that only the kernel can follow: those below /proc are no paths. */
static int follow(struct walk *w, const char *name) {
        _cleanup_close_ int link = openat(w->folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        struct stat status;

        if (link < 0 || fstat(link, &status) < 0)
                return -errno;
        if (!S_ISLNK(status.st_mode))
                return -ENOTDIR;
        if (w->links++ == LINKS_MAX)
                return -ELOOP;
        if (!is_safe_link(w, &status))
                return refuse(w, name,
                              "a symbolic link that not only root can change, so name its target",
                              -EPERM);
        return is_in_proc(w->folder) ? 1 : put_before(w, link);
}

static int enter(struct walk *w, const char *name) {
        int fd, r;

        /* Who can move the folder decides what is above it. */
        if (strcmp(name, "..") == 0 && !w->is_safe)
                return refuse(w, name, "above a folder that not only root can move, so name it",
                              -EPERM);
        fd = openat(w->folder, name, OPEN_FOLDER | O_NOFOLLOW);
        if (fd >= 0 || (errno != ENOTDIR && errno != ELOOP))
                return step_into(w, fd);
        r = follow(w, name);
        return r == 1 ? step_into(w, openat(w->folder, name, OPEN_FOLDER)) : r;
}

/* ---- the file ---------------------------------------------------------------------------------*/

/* How long what fails with this error is tried again. */
static unsigned patience_msec(const struct walk *w, const char *name, int error) {
        struct stat status;

        if (error == EWOULDBLOCK)
                return LEASE_MSEC;
        if (error == ENXIO && fstatat(w->folder, name, &status, 0) == 0 && S_ISFIFO(status.st_mode))
                return READER_MSEC;
        return 0;
}

static int try_open(const struct walk *w, const char *name, int flags) {
        const struct timespec pause = {.tv_nsec = TRY_MSEC * 1000000L};

        for (unsigned msec = 0;; msec += TRY_MSEC) {
                int fd = openat(w->folder, name, w->flags | flags, FILE_MODE), error = errno;
                unsigned patience;

                if (fd >= 0)
                        return fd;
                patience = patience_msec(w, name, error);
                if (patience > 0 && msec >= patience && error == ENXIO)
                        return refuse(w, name, "a FIFO that nobody reads", -ENXIO);
                if (msec >= patience)
                        return -error;
                (void) nanosleep(&pause, NULL);
        }
}

/* fd is taken. Emptied only now that it is known what it is. */
static int finish(const struct walk *w, const char *name, bool truncate, int fd) {
        _cleanup_close_ int file = fd;
        int flags = fcntl(fd, F_GETFL);
        struct stat status;

        if (flags < 0 || fstat(fd, &status) < 0)
                return -errno;
        if (w->folder >= 0 && !is_safe_file(w, &status))
                return refuse(w, name,
                              "a file that not only root can have linked there, so remove its "
                              "other names",
                              -EPERM);
        if ((truncate && S_ISREG(status.st_mode) && ftruncate(fd, 0) < 0) ||
            fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
                return -errno;
        return take_fd(&file);
}

/* The next name is cut off the rest. 0 when there is none. */
static int next_name(struct walk *w, char name[NAME_MAX + 1]) {
        const char *begin = w->rest + strspn(w->rest, "/");
        size_t length = strcspn(begin, "/");

        if (length > NAME_MAX)
                return -ENAMETOOLONG;
        *(char *) mempcpy(name, begin, length) = '\0';
        memmove(w->rest, begin + length, strlen(begin + length) + 1);
        return length > 0;
}

static bool is_file_name(const struct walk *w, const char *name) {
        return !*w->rest && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* Along the rest; the file, opened, or -errno. */
static int walk_and_open(struct walk *w, bool truncate) {
        char name[NAME_MAX + 1];
        int r = step_into(w, open("/", OPEN_FOLDER));

        while (r >= 0 && (r = next_name(w, name)) > 0) {
                int fd;

                if (!is_file_name(w, name)) {
                        r = enter(w, name);
                        continue;
                }
                fd = try_open(w, name, O_NOFOLLOW);
                if (fd == -ELOOP) {
                        r = follow(w, name);
                        if (r <= 0)
                                continue;
                        fd = try_open(w, name, 0);
                }
                return fd < 0 ? fd : finish(w, name, truncate, fd);
        }
        return r < 0 ? r : -EISDIR;
}

static bool can_more_than_its_user(const struct component_config *component) {
        return geteuid() == 0 || (component->has_user && component->uid != geteuid());
}

int output_file_open(const struct component_config *component, const struct output_config *output,
                     char *what, size_t size) {
        struct walk w = {
                .component = component,
                .path = output->path,
                .flags = O_WRONLY | O_CREAT | O_NOCTTY | O_NONBLOCK | O_CLOEXEC |
                         (output->kind == OUTPUT_APPEND ? O_APPEND : 0),
                .folder = -1,
                .is_safe = true,
                .what = what,
                .what_size = size,
        };
        bool truncate = output->kind == OUTPUT_TRUNCATE;
        int r;

        (void) snprintf(what, size, "%s", output->path);
        if (!can_more_than_its_user(component)) {
                w.folder = AT_FDCWD;
                r = try_open(&w, output->path, 0);
                return r < 0 ? r : finish(&w, output->path, truncate, r);
        }
        if (strlen(output->path) >= sizeof(w.rest))
                return -ENAMETOOLONG;
        (void) strcpy(w.rest, output->path);
        r = walk_and_open(&w, truncate);
        (void) close_fd(w.folder);
        return r;
}
