/* Step by step from a base, by descriptors: no path is looked up twice, and none as a whole. */
#include "components/directory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"

#define LINKS_MAX 8
#define DEPTH_MAX 512 /* each level has a descriptor open */
#define PARENT_MODE 0755

/* ---- walking ----------------------------------------------------------------------------------*/

static int walk(int fd, const char *path, bool make, unsigned links);

static bool is_ours(const struct stat *st) {
        return st->st_uid == 0 || st->st_uid == geteuid();
}

/* Could nobody but root and us have put it there, or could replace it meanwhile? */
static bool is_trusted(const struct stat *folder, const struct stat *link) {
        bool is_open_to_others = folder->st_mode & (S_IWGRP | S_IWOTH);

        return is_ours(folder) && is_ours(link) &&
               (!is_open_to_others || (folder->st_mode & S_ISVTX));
}

/* What the symbolic link leads to. */
static int follow(int parent, const char *name, unsigned links) {
        char target[PATH_MAX];
        struct stat folder, link;
        ssize_t n;
        int start;

        if (fstat(parent, &folder) < 0 || fstatat(parent, name, &link, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        if (!S_ISLNK(link.st_mode))
                return -ENOTDIR;
        if (links == LINKS_MAX || !is_trusted(&folder, &link))
                return -ELOOP;
        n = readlinkat(parent, name, target, sizeof(target));
        if (n < 0 || n == (ssize_t) sizeof(target))
                return n < 0 ? -errno : -ENAMETOOLONG;
        target[n] = '\0';
        start = target[0] == '/' ? open("/", O_PATH | O_DIRECTORY | O_CLOEXEC)
                                 : fcntl(parent, F_DUPFD_CLOEXEC, 0);
        return start < 0 ? -errno : walk(start, target, false, links + 1);
}

static int enter(int parent, const char *name, bool make, unsigned links) {
        int fd, flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

        if (strcmp(name, "..") == 0)
                return -ELOOP; /* of a link: where that leads depends on other links */
        fd = openat(parent, name, flags);
        if (fd < 0 && errno == ENOENT && make) {
                if (mkdirat(parent, name, PARENT_MODE) < 0 && errno != EEXIST)
                        return -errno;
                fd = openat(parent, name, flags);
        }
        if (fd >= 0)
                return fd;
        return errno == ENOTDIR || errno == ELOOP ? follow(parent, name, links) : -errno;
}

/* From fd, which is taken, along a relative path; slashes before it do not count. */
static int walk(int fd, const char *path, bool make, unsigned links) {
        char name[NAME_MAX + 1];

        for (path += strspn(path, "/"); *path; path += strspn(path, "/")) {
                size_t length = strcspn(path, "/");
                int next;

                if (length > NAME_MAX) {
                        close_fd(fd);
                        return -ENAMETOOLONG;
                }
                *(char *) mempcpy(name, path, length) = '\0';
                next = enter(fd, name, make, links);
                close_fd(fd);
                if (next < 0)
                        return next;
                fd = next;
                path += length;
        }
        return fd;
}

/* The base is the administrator's, or our own user's, with its links. */
static int open_base(const char *base, bool make) {
        int fd = open(base, O_PATH | O_DIRECTORY | O_CLOEXEC);

        if (fd >= 0 || errno != ENOENT || !make)
                return fd < 0 ? -errno : fd;
        fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? -errno : walk(fd, base, true, 0);
}

/* The folder that has it in it, and under which name. */
static int open_parent(const char *base, const char *name, bool make, const char **ret_last) {
        const char *slash = strrchr(name, '/');
        char path[PATH_MAX];
        int fd = open_base(base, make);

        *ret_last = slash ? slash + 1 : name;
        if (fd < 0 || !slash)
                return fd;
        if ((size_t) (slash - name) >= sizeof(path)) {
                close_fd(fd);
                return -ENAMETOOLONG;
        }
        *(char *) mempcpy(path, name, (size_t) (slash - name)) = '\0';
        return walk(fd, path, make, 0);
}

/* ---- what is in one ---------------------------------------------------------------------------*/

typedef int entry_handler(int parent, const char *name, unsigned depth, const void *argument);

/* Takes fd. Goes on after a failure; the first one is returned. */
static int for_each_entry(int fd, unsigned depth, entry_handler *handler, const void *argument) {
        DIR *folder = fdopendir(fd);
        const struct dirent *entry;
        int r = 0;

        if (!folder) {
                r = -errno;
                close_fd(fd);
                return r;
        }
        while ((entry = readdir(folder))) {
                int error = strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0
                                    ? handler(fd, entry->d_name, depth, argument)
                                    : 0;

                if (r == 0)
                        r = error;
        }
        (void) closedir(folder);
        return r;
}

static bool is_mount(int fd) {
        struct statx stx;

        return statx(fd, "", AT_EMPTY_PATH, STATX_TYPE, &stx) == 0 &&
               (stx.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

/* ---- giving away ------------------------------------------------------------------------------*/

struct owners {
        uid_t from; /* whose things are given */
        uid_t uid;
        gid_t gid;
};

static int give_entry(int parent, const char *name, unsigned depth, const void *argument) {
        const struct owners *owners = argument;
        _cleanup_close_ int fd = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        struct stat st;
        int r = 0;

        if (fd < 0 || fstat(fd, &st) < 0)
                return errno == ENOENT ? 0 : -errno;
        /* A file with a name elsewhere may have been linked here by who wants to be given it. */
        if (st.st_uid != owners->from || (S_ISDIR(st.st_mode) ? is_mount(fd) : st.st_nlink > 1))
                return 0;
        if (S_ISDIR(st.st_mode)) {
                int folder = depth < DEPTH_MAX ? openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
                                               : -1;

                if (folder < 0)
                        return depth < DEPTH_MAX ? -errno : -EMLINK;
                r = for_each_entry(folder, depth + 1, give_entry, owners);
        }
        if (fchownat(fd, "", owners->uid, owners->gid, AT_EMPTY_PATH) < 0 && r == 0)
                r = -errno;
        return r;
}

/* What its owner has in it goes with it. Itself at last: where that was not reached, the next time
 * goes on. */
static int give(int fd, uid_t from, uid_t uid, gid_t gid) {
        struct owners owners = {.from = from, .uid = uid, .gid = gid};
        int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        int r = copy < 0 ? -errno : for_each_entry(copy, 0, give_entry, &owners);

        return r == 0 && fchown(fd, uid, gid) < 0 ? -errno : r;
}

/* ---- making -----------------------------------------------------------------------------------*/

static bool has_owner(const struct stat *st, uid_t uid, gid_t gid) {
        return (uid == (uid_t) -1 || st->st_uid == uid) && (gid == (gid_t) -1 || st->st_gid == gid);
}

int directory_make(const struct directory *d) {
        const char *last;
        _cleanup_close_ int parent = open_parent(d->base, d->name, true, &last), path = -1, fd = -1;
        struct stat st;
        bool made;

        if (parent < 0)
                return parent;
        made = mkdirat(parent, last, d->mode) == 0;
        if (!made && errno != EEXIST)
                return -errno;
        path = enter(parent, last, false, 0);
        if (path < 0)
                return path;
        if (!made && d->leave_existing)
                return 0;
        fd = openat(path, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (!has_owner(&st, d->uid, d->gid)) {
                int r = give(fd, st.st_uid, d->uid, d->gid);

                if (r < 0)
                        return r;
        }
        /* After the owner, whose change takes bits away. */
        if (fstat(fd, &st) < 0 || ((st.st_mode & 07777) != d->mode && fchmod(fd, d->mode) < 0))
                return -errno;
        return 0;
}

/* ---- removing ---------------------------------------------------------------------------------*/

static entry_handler remove_entry;

static int remove_folder(int parent, const char *name, unsigned depth) {
        int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), r;

        if (fd < 0)
                return errno == ENOENT ? 0 : -errno;
        if (is_mount(fd) || depth == DEPTH_MAX) {
                close_fd(fd);
                return depth == DEPTH_MAX ? -EMLINK : -EBUSY;
        }
        r = for_each_entry(fd, depth + 1, remove_entry, NULL);
        if (r == 0 && unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
                r = -errno;
        return r;
}

static int remove_entry(int parent, const char *name, unsigned depth, const void *argument) {
        if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
                return 0;
        return errno == EISDIR ? remove_folder(parent, name, depth) : -errno;
}

int directory_remove(const char *base, const char *name) {
        const char *last;
        _cleanup_close_ int parent = open_parent(base, name, false, &last);

        if (parent < 0)
                return parent == -ENOENT ? 0 : parent;
        return remove_folder(parent, last, 0);
}
