/* By descriptors, below the base and in what is there: no path is looked up twice. */
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
#include "components/trusted_path.h"

#define DEPTH_MAX 512 /* each level has a descriptor open */

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
        /* A file with a name elsewhere may have been linked here by who wants to be given it, and a
         * link that becomes ours would be followed from then on. */
        if (st.st_uid != owners->from || (S_ISDIR(st.st_mode) ? is_mount(fd) : st.st_nlink > 1) ||
            (S_ISLNK(st.st_mode) && trusted_path_is_ours(owners->uid)))
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

static int refuse_entry(int parent, const char *name, unsigned depth, const void *argument) {
        return -ENOTEMPTY;
}

/* What its owner has in it goes with it. Itself at last: where that was not reached, the next time
 * goes on. */
static int give(const struct trusted_path *p, int fd, uid_t from, const struct directory *d) {
        struct owners owners = {.from = from, .uid = d->uid, .gid = d->gid};
        /* Another directory may have been moved here by who wants to be given what is in it. */
        bool is_theirs = p->above == HANDS_OTHERS && from != d->uid;
        int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        int r = copy < 0 ? -errno
                         : for_each_entry(copy, 0, is_theirs ? refuse_entry : give_entry, &owners);

        if (is_theirs && r == -ENOTEMPTY)
                return trusted_path_refuse(p, d->name,
                                           "somebody else's and not empty, where not only root can "
                                           "have put it, so give it to its user",
                                           -EPERM);
        return r == 0 && fchown(fd, d->uid, d->gid) < 0 ? -errno : r;
}

/* ---- making -----------------------------------------------------------------------------------*/

static bool has_owner(const struct stat *st, uid_t uid, gid_t gid) {
        return (uid == (uid_t) -1 || st->st_uid == uid) && (gid == (gid_t) -1 || st->st_gid == gid);
}

/* Of that name in the folder where the path has come to. */
static int make(struct trusted_path *p, const struct directory *d) {
        bool made = mkdirat(p->folder, p->name, d->mode) == 0;
        _cleanup_close_ int fd = -1;
        struct stat st;
        int r;

        if (!made && errno != EEXIST)
                return -errno;
        r = trusted_path_enter(p);
        if (r < 0 || (!made && d->leave_existing))
                return r;
        fd = openat(p->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (!has_owner(&st, d->uid, d->gid) && (r = give(p, fd, st.st_uid, d)) < 0)
                return r;
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

/* ---- the way there ----------------------------------------------------------------------------*/

static int make_or_remove(const struct directory *d, bool is_made, char *what, size_t size) {
        struct trusted_path p = {
                .component = d->component,
                .refusal = "a symbolic link that not only root can change, so remove it",
                .what = what,
                .what_size = size,
                .makes = is_made,
                .folder = -1,
        };
        char path[PATH_MAX];
        int r = snprintf(path, sizeof(path), "%s/%s", d->base, d->name);

        (void) snprintf(what, size, "%s", path);
        if (r >= PATH_MAX)
                return -ENAMETOOLONG;
        /* The base is the administrator's, or our own user's, with its links. */
        r = trusted_path_walk(&p, d->base, d->name);
        if (r == -ENOENT && is_made)
                r = trusted_path_walk(&p, "/", path);
        if (r == 0)
                r = is_made ? make(&p, d) : remove_folder(p.folder, p.name, 0);
        (void) close_fd(p.folder);
        return r;
}

int directory_make(const struct directory *directory, char *what, size_t size) {
        return make_or_remove(directory, true, what, size);
}

int directory_remove(const struct directory *directory, char *what, size_t size) {
        int r = make_or_remove(directory, false, what, size);

        return r == -ENOENT ? 0 : r;
}
