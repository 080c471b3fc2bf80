/*
 * One cgroup of a tree. What it relies on: a folder that is open can be given up by rmdir(2) only
 * when no process lives in it, and stays usable (with ENODEV) after that.
 */
#include "components/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"

/* A program that runs as root may make cgroups of its own below its one; so deep we look. */
#define DEPTH_MAX 8
#define NAMES_TRIED 1000

uint64_t cgroup_inode(int cgroup_fd) {
        struct stat st;

        return fstat(cgroup_fd, &st) == 0 ? st.st_ino : 0;
}

int cgroup_open_unlocked(int parent_fd, const char *name) {
        int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        return fd < 0 ? -errno : fd;
}

int cgroup_open(const struct cgroup_root *root, const char *name, uint64_t inode) {
        int fd = cgroup_open_unlocked(root->fd, name);

        if (fd < 0)
                return fd;
        if (inode != 0 && cgroup_inode(fd) != inode) {
                close_fd(fd);
                return -ESTALE;
        }
        (void) flock(fd, LOCK_SH | LOCK_NB); /* refused only to who comes while it is looked at */
        return fd;
}

/*
 * One that was made just now. Until it is locked, who removes what nobody has may have done so, and
 * another broker may have made the name anew: only one of the two gets it exclusively.
 */
static int lock_new(const struct cgroup_root *root, const char *name) {
        int fd = cgroup_open_unlocked(root->fd, name);
        struct stat st;

        if (fd < 0)
                return fd == -ENOENT ? -EAGAIN : fd;
        if (flock(fd, LOCK_EX | LOCK_NB) == 0 &&
            fstatat(root->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            st.st_ino == cgroup_inode(fd) && flock(fd, LOCK_SH | LOCK_NB) == 0)
                return fd;
        close_fd(fd);
        return -EAGAIN;
}

int cgroup_make(const struct cgroup_root *root, const char *name, char ret_name[CGROUP_NAME_SIZE],
                int *ret_fd) {
        char made[CGROUP_NAME_SIZE];
        int fd;

        /*
         * One that is there already may be what a broker that lost everything left behind, or
         * another broker's in the same cgroup: never shared, the next number is taken.
         */
        for (unsigned i = 1; i <= NAMES_TRIED; i++) {
                int n = i == 1 ? snprintf(made, sizeof(made), "%s", name)
                               : snprintf(made, sizeof(made), "%.100s.%u", name, i);
                if (n < 0 || (size_t) n >= sizeof(made) || strchr(made, '/'))
                        return -ENAMETOOLONG;
                if (mkdirat(root->fd, made, 0755) == 0) {
                        fd = lock_new(root, made);
                        if (fd == -EAGAIN)
                                continue;
                        if (fd < 0) {
                                (void) unlinkat(root->fd, made, AT_REMOVEDIR);
                                return fd;
                        }
                        (void) strcpy(ret_name, made);
                        *ret_fd = fd;
                        return 0;
                }
                if (errno != EEXIST)
                        return -errno;
        }
        return -EEXIST;
}

/* Each folder below, closed after the call. */
static void each_below(int cgroup_fd, void (*visit)(int parent_fd, const char *name, void *data),
                       void *data) {
        struct stat st;
        DIR *folder;
        const struct dirent *d;
        int fd;

        /* Two links are its name and its own ".": none below, which is known without reading it. */
        if (fstat(cgroup_fd, &st) == 0 && st.st_nlink == 2)
                return;
        fd = openat(cgroup_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        folder = fd >= 0 ? fdopendir(fd) : NULL;
        if (!folder) {
                close_fd(fd);
                return;
        }
        while ((d = readdir(folder)))
                if (d->d_type == DT_DIR && d->d_name[0] != '.')
                        visit(cgroup_fd, d->d_name, data);
        (void) closedir(folder);
}

static void remove_at(int parent_fd, const char *name, void *data) {
        unsigned depth = *(const unsigned *) data;

        if (unlinkat(parent_fd, name, AT_REMOVEDIR) == 0 || depth == 0)
                return;
        depth--;
        _cleanup_close_ int fd = cgroup_open_unlocked(parent_fd, name);
        if (fd < 0)
                return;
        each_below(fd, remove_at, &depth);
        (void) unlinkat(parent_fd, name, AT_REMOVEDIR);
}

void cgroup_remove(const struct cgroup_root *root, const char *name) {
        unsigned depth = DEPTH_MAX;

        remove_at(root->fd, name, &depth);
}

int cgroup_open_events(int cgroup_fd) {
        int fd = openat(cgroup_fd, "cgroup.events", O_RDONLY | O_CLOEXEC);

        return fd < 0 ? -errno : fd;
}

bool cgroup_is_populated(int events_fd) {
        char text[256];
        ssize_t n = pread(events_fd, text, sizeof(text) - 1, 0);

        if (n <= 0)
                return false; /* ENODEV: somebody removed it, which takes that it is empty */
        text[n] = '\0';
        return strstr(text, "populated 1") != NULL;
}

static int write_one(int cgroup_fd, const char *file) {
        _cleanup_close_ int fd = openat(cgroup_fd, file, O_WRONLY | O_CLOEXEC);

        return fd < 0 || write(fd, "1", 1) < 0 ? -errno : 0;
}

int cgroup_kill(int cgroup_fd) {
        return write_one(cgroup_fd, "cgroup.kill");
}

int cgroup_freeze(int cgroup_fd) {
        return write_one(cgroup_fd, "cgroup.freeze");
}

struct listing {
        pid_t *pids;
        size_t count, max;
        unsigned depth;
};

static void list(int cgroup_fd, struct listing *l);

static void list_at(int parent_fd, const char *name, void *data) {
        struct listing *l = data;
        _cleanup_close_ int fd = cgroup_open_unlocked(parent_fd, name);

        if (fd >= 0 && l->depth > 0) {
                l->depth--;
                list(fd, l);
                l->depth++;
        }
}

static void list(int cgroup_fd, struct listing *l) {
        int fd = openat(cgroup_fd, "cgroup.procs", O_RDONLY | O_CLOEXEC);
        FILE *f = fd >= 0 ? fdopen(fd, "re") : NULL;
        int pid;

        if (!f)
                close_fd(fd);
        /* 0 is a process of another pid namespace, which cannot be named from here. */
        while (f && l->count < l->max && fscanf(f, "%d", &pid) == 1)
                if (pid > 0)
                        l->pids[l->count++] = pid;
        if (f)
                (void) fclose(f);
        each_below(cgroup_fd, list_at, l);
}

size_t cgroup_pids(int cgroup_fd, pid_t *ret, size_t max) {
        struct listing l = {.max = max, .depth = DEPTH_MAX};

        l.pids = ret;
        list(cgroup_fd, &l);
        return l.count;
}

bool cgroup_has(const struct cgroup_root *root, const char *name, pid_t pid) {
        size_t top = strcmp(root->path, "/") == 0 ? 0 : strlen(root->path), length = strlen(name);
        char path[64], text[4096], *own;
        _cleanup_close_ int fd = -1;
        ssize_t n;

        (void) snprintf(path, sizeof(path), "/proc/%d/cgroup", (int) pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
        if (n <= 0)
                return false;
        text[n] = '\0';
        own = strncmp(text, "0::", 3) == 0 ? text : strstr(text, "\n0::");
        if (!own)
                return false;
        own = strchr(own, '/'); /* its path; both begin with the broker's own */
        if (!own || strncmp(own, root->path, top) != 0 || own[top] != '/' ||
            strncmp(own + top + 1, name, length) != 0)
                return false;
        own += top + 1 + length;
        /* " (deleted)" stands there when it was removed, which takes that only zombies are in it.
         */
        return *own == '/' || *own == '\n' || *own == '\0' || strncmp(own, " (", 2) == 0;
}
