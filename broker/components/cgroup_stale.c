/*
 * Cgroups of brokers that died with their keeper. Another broker may have a place here, whose own
 * are not to be touched: it has them locked (cgroup_open()).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "components/cgroup.h"

#define LOOKED_AT_MAX 4096 /* in one look */

/* Does a broker live that made it, or took it over? We ourselves, too. */
static bool is_held(int cgroup_fd) {
        return flock(cgroup_fd, LOCK_EX | LOCK_NB) < 0;
}

static bool is_populated(int cgroup_fd) {
        _cleanup_close_ int fd = cgroup_open_events(cgroup_fd);

        return fd < 0 || cgroup_is_populated(fd);
}

void cgroup_remove_unheld(const struct cgroup_root *root, const char *name) {
        _cleanup_close_ int fd = cgroup_open_unlocked(root->fd, name);

        if (fd >= 0 && !is_held(fd))
                cgroup_remove(root, name); /* locked by us meanwhile: who makes it sees that */
}

/*
 * One that was made just now may not be locked yet, and a broker of a former version, which locks
 * none, may have a process on the way into it. The kernel may have forgotten when it was made: then
 * it is younger than it is, and stays for another look.
 */
static bool is_young(int cgroup_fd) {
        struct stat st;

        return fstat(cgroup_fd, &st) < 0 || time(NULL) - st.st_mtime <= CGROUP_STALE_SECONDS;
}

/*
 * What is left of one has lost the broker that waited for it, and nobody has a record of it. A
 * living broker's is locked before anybody is in it.
 */
static bool end_health_command(int cgroup_fd) {
        if (!is_held(cgroup_fd))
                (void) cgroup_kill(cgroup_fd);
        return true; /* or held by a child of the dead one, which is about to end */
}

/* True: it may be removed later. */
static bool look_at(const struct cgroup_root *root, const char *name) {
        _cleanup_close_ int fd = cgroup_open_unlocked(root->fd, name);

        if (fd < 0)
                return false;
        if (is_populated(fd))
                return strstr(name, PLACE_OF_HEALTH) && end_health_command(fd);
        if (is_young(fd)) /* and is not locked here, so that whoever made it can */
                return true;
        if (!is_held(fd))
                cgroup_remove(root, name);
        return false;
}

bool cgroup_remove_stale(const struct cgroup_root *root) {
        int fd = openat(root->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *folder = fd < 0 ? NULL : fdopendir(fd);
        const struct dirent *entry;
        bool some_stay = false;

        if (!folder) {
                close_fd(fd);
                return false;
        }
        for (unsigned n = 0; n < LOOKED_AT_MAX && (entry = readdir(folder)); n++)
                if (strncmp(entry->d_name, PLACE_PREFIX, strlen(PLACE_PREFIX)) == 0 &&
                    entry->d_type == DT_DIR)
                        some_stay |= look_at(root, entry->d_name);
        (void) closedir(folder);
        return some_stay;
}
