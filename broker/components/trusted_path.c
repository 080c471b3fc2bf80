/* Name by name, by descriptors: what was looked at is what is opened. See trusted_path.h. */
#include "components/trusted_path.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cleanup.h"

#define LINKS_MAX 40 /* as the kernel's */
#define FOLDER_MODE 0755
#define OPEN_FOLDER (O_PATH | O_DIRECTORY | O_CLOEXEC)

/* ---- who may change what ----------------------------------------------------------------------*/

/* Is the component's user in it? One that is us can do all that we can anyway. */
static bool is_in_group(const struct component_config *component, gid_t gid) {
        if (!component->has_user || trusted_path_is_ours(component->uid))
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

/* May the component's user, or everybody, put names in the folder? */
static bool is_open(const struct trusted_path *p) {
        return (p->status.st_mode & S_IWOTH) ||
               ((p->status.st_mode & S_IWGRP) &&
                (is_in_group(p->component, p->status.st_gid) || has_access_list(p->folder)));
}

/*
 * In a sticky folder nobody takes away what is ours. But who has a link of ours in a folder of his
 * can move it there (rename(2)), as he can a folder that he may write to: so a link in a sticky one
 * is nobody's word, and one sticky folder in another in anybody's hands.
 */
static enum hands hands_on(const struct trusted_path *p) {
        if (p->hands == HANDS_OTHERS || !trusted_path_is_ours(p->status.st_uid))
                return HANDS_OTHERS;
        if (!is_open(p))
                return HANDS_OURS;
        return (p->status.st_mode & S_ISVTX) && p->hands == HANDS_OURS ? HANDS_STICKY
                                                                       : HANDS_OTHERS;
}

/* Of the names that were walked only what the configuration and our links say: others may have
 * renamed the folder, and would be quoted. */
int trusted_path_refuse(const struct trusted_path *p, const char *name, const char *is, int error) {
        const char *slash = strrchr(name, '/');
        char path[PATH_MAX];

        (void) snprintf(path, sizeof(path), "%s", p->what);
        (void) snprintf(p->what, p->what_size, "%.60s is %s: %s", slash ? slash + 1 : name, is,
                        path);
        return error;
}

/* ---- the way ----------------------------------------------------------------------------------*/

/* fd is taken. */
static int step_into(struct trusted_path *p, int fd) {
        if (fd < 0)
                return -errno;
        (void) close_fd(p->folder);
        p->folder = fd;
        if (fstat(fd, &p->status) < 0)
                return -errno;
        p->above = p->hands;
        p->hands = hands_on(p);
        return 0;
}

static bool is_in_proc(int folder) {
        struct statfs fs;

        return fstatfs(folder, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC;
}

/* What the link says comes before the rest of the path. */
static int put_before(struct trusted_path *p, int link) {
        size_t rest = strlen(p->rest);
        char target[PATH_MAX];
        ssize_t n = readlinkat(link, "", target, sizeof(target));

        if (n <= 0)
                return n < 0 ? -errno : -ENOENT;
        if ((size_t) n + rest >= sizeof(p->rest))
                return -ENAMETOOLONG;
        memmove(p->rest + n, p->rest, rest + 1);
        memcpy(p->rest, target, (size_t) n);
        if (p->own > rest)
                p->own = rest;
        return target[0] == '/' ? step_into(p, open("/", OPEN_FOLDER)) : 0;
}

/* 0, or 1 as trusted_path_walk(). */
static int follow(struct trusted_path *p) {
        _cleanup_close_ int link = openat(p->folder, p->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        struct stat status;

        if (link < 0 || fstat(link, &status) < 0)
                return -errno;
        if (!S_ISLNK(status.st_mode))
                return -ENOTDIR;
        if (p->links++ == LINKS_MAX)
                return -ELOOP;
        /* With a second name it may have come from where others have a hand. */
        if (p->hands != HANDS_OURS || !trusted_path_is_ours(status.st_uid) || status.st_nlink > 1)
                return trusted_path_refuse(p, p->name, p->refusal, -EPERM);
        return is_in_proc(p->folder) ? 1 : put_before(p, link);
}

/* -1 and errno. Who makes another in between has made what we find. */
static int open_folder(const struct trusted_path *p) {
        int fd = openat(p->folder, p->name, OPEN_FOLDER | O_NOFOLLOW);

        if (fd >= 0 || errno != ENOENT || !p->makes || p->is_linked)
                return fd;
        if (mkdirat(p->folder, p->name, FOLDER_MODE) < 0 && errno != EEXIST)
                return -1;
        return openat(p->folder, p->name, OPEN_FOLDER | O_NOFOLLOW);
}

static int enter(struct trusted_path *p) {
        int fd, r;

        /* Who can move the folder decides what is above it. */
        if (strcmp(p->name, "..") == 0 && p->hands == HANDS_OTHERS)
                return trusted_path_refuse(
                        p, "..", "above a folder that not only root can move, so name it", -EPERM);
        fd = open_folder(p);
        if (fd >= 0 || (errno != ENOTDIR && errno != ELOOP))
                return step_into(p, fd);
        r = follow(p);
        return r == 1 ? step_into(p, openat(p->folder, p->name, OPEN_FOLDER)) : r;
}

/* The next name is cut off the rest. 0 when there is none. */
static int next_name(struct trusted_path *p) {
        const char *begin = p->rest + strspn(p->rest, "/");
        size_t length = strcspn(begin, "/");

        if (length > NAME_MAX)
                return -ENAMETOOLONG;
        p->is_linked = strlen(begin) > p->own;
        *(char *) mempcpy(p->name, begin, length) = '\0';
        memmove(p->rest, begin + length, strlen(begin + length) + 1);
        return length > 0;
}

static int to_last(struct trusted_path *p) {
        int r;

        while ((r = next_name(p)) > 0) {
                bool is_last = !*p->rest && strcmp(p->name, ".") != 0 && strcmp(p->name, "..") != 0;

                r = !is_last ? enter(p) : p->follows_last ? follow(p) : -ENOTDIR;
                if (is_last && (r == -ENOTDIR || r == -ENOENT))
                        return 0;
                if (r != 0)
                        return r;
        }
        return r < 0 ? r : -EISDIR;
}

int trusted_path_walk(struct trusted_path *p, const char *start, const char *rest) {
        int r;

        p->own = strlen(rest);
        if (p->own >= sizeof(p->rest))
                return -ENAMETOOLONG;
        memcpy(p->rest, rest, p->own + 1);
        p->hands = HANDS_OURS;
        r = step_into(p, open(start, OPEN_FOLDER));
        return r < 0 ? r : to_last(p);
}

int trusted_path_enter(struct trusted_path *p) {
        int r;

        do
                r = enter(p);
        while (r >= 0 && (r = next_name(p)) > 0);
        return r;
}
