/*
 * Where the broker's own cgroup is, and whether it may make others in it. In a hybrid hierarchy
 * cgroup v2 is mounted beside v1, in a container only a part of it may be, and read-only: so it is
 * looked for among the mounts, and tried.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "components/cgroup.h"
#include "core/log.h"

#define STALE_SECONDS 60
#define STALE_MAX 4096 /* looked at in one start */

/* "0::/system.slice/fdpassd.service": our place in the cgroup v2 hierarchy. NULL: in none. */
static char *own_path(void) {
        FILE *f = fopen("/proc/self/cgroup", "re");
        char *line = NULL, *path = NULL;
        size_t size = 0;

        while (f && !path && getline(&line, &size, f) > 0)
                if (strncmp(line, "0::/", 4) == 0) {
                        line[strcspn(line, "\n")] = '\0';
                        path = strdup(line + 3);
                }
        free(line);
        if (f)
                (void) fclose(f);
        return path;
}

/* mountinfo writes blanks, newlines and backslashes as three octal digits. */
static void unescape(char *text) {
        char *to = text;

        for (const char *p = text; *p;) {
                if (p[0] == '\\' && p[1] >= '0' && p[1] <= '3' && p[2] && p[3]) {
                        *to++ = (char) ((p[1] - '0') * 64 + (p[2] - '0') * 8 + (p[3] - '0'));
                        p += 4;
                } else
                        *to++ = *p++;
        }
        *to = '\0';
}

/* The folder of cgroup `path` in a mount that shows the hierarchy from `top` on; NULL: not there.
 */
static char *folder_in(const char *mount_point, const char *top, const char *path) {
        size_t length = strcmp(top, "/") == 0 ? 0 : strlen(top);
        char *folder;

        if (strncmp(path, top, length) != 0 || (path[length] != '/' && path[length] != '\0'))
                return NULL;
        return asprintf(&folder, "%s%s", mount_point, path + length) < 0 ? NULL : folder;
}

/* One line of mountinfo (proc(5)): ID PARENT DEVICE ROOT POINT OPTIONS... - TYPE SOURCE OPTIONS */
static char *folder_by_line(char *line, const char *path) {
        char top[4096], point[4096];
        const char *type = strstr(line, " - ");

        if (!type || strncmp(type, " - cgroup2 ", 11) != 0 ||
            sscanf(line, "%*d %*d %*s %4095s %4095s", top, point) != 2)
                return NULL;
        unescape(top);
        unescape(point);
        return folder_in(point, top, path);
}

static char *own_folder(const char *path) {
        FILE *f = fopen("/proc/self/mountinfo", "re");
        char *line = NULL, *folder = NULL;
        size_t size = 0;

        while (f && !folder && getline(&line, &size, f) > 0)
                folder = folder_by_line(line, path);
        free(line);
        if (f)
                (void) fclose(f);
        return folder;
}

/* A cgroup below one that is "threaded" is of no use: no process can be put into it. */
static bool is_domain(int cgroup_fd) {
        _cleanup_close_ int fd = openat(cgroup_fd, "cgroup.type", O_RDONLY | O_CLOEXEC);
        char type[32] = "";

        return fd >= 0 && read(fd, type, sizeof(type) - 1) > 0 && strcmp(type, "domain\n") == 0;
}

/*
 * Make one and remove it. To move a process from our cgroup into one below it, or to have it born
 * there, the kernel asks for the right to write to cgroup.procs of both.
 */
static int try(const struct cgroup_root *root) {
        char name[CGROUP_NAME_SIZE];
        int fd, r;

        if (faccessat(root->fd, "cgroup.procs", W_OK, AT_EACCESS) < 0)
                return -errno;
        r = cgroup_make(root, "fdpass-try", name, &fd);
        if (r < 0)
                return r;
        if (!is_domain(fd))
                r = -EOPNOTSUPP;
        close_fd(fd);
        cgroup_remove(root, name);
        return r;
}

static int find(struct cgroup_root *root) {
        _cleanup_free_ char *folder = NULL;
        int r;

        root->path = own_path();
        folder = root->path ? own_folder(root->path) : NULL;
        if (!folder)
                return -ENOENT;
        root->fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (root->fd < 0)
                return -errno;
        r = try(root);
        return r;
}

/*
 * Empty ones of brokers that died with their keeper. Not those that were made just now: another
 * broker may have a place here, and one of its processes on the way into it.
 */
static void remove_stale(const struct cgroup_root *root) {
        int fd = openat(root->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *folder = fd < 0 ? NULL : fdopendir(fd);
        time_t now = time(NULL);
        const struct dirent *entry;
        struct stat st;

        if (!folder) {
                close_fd(fd);
                return;
        }
        for (unsigned n = 0; n < STALE_MAX && (entry = readdir(folder)); n++)
                if (strncmp(entry->d_name, PLACE_PREFIX, strlen(PLACE_PREFIX)) == 0 &&
                    fstatat(root->fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                    S_ISDIR(st.st_mode) && now - st.st_mtime > STALE_SECONDS)
                        (void) unlinkat(root->fd, entry->d_name, AT_REMOVEDIR); /* if it is empty */
        (void) closedir(folder);
}

void cgroup_root_open(struct cgroup_root *root, struct log *log) {
        int r;

        *root = (struct cgroup_root){.fd = -1};
        r = find(root);
        if (r == 0) {
                remove_stale(root);
                log_info(log, NULL, "components run in cgroups of their own below %s", root->path);
                return;
        }
        log_notice(log, NULL,
                   "components run in process groups, because %s: %s; a process that leaves its "
                   "session is not ended with its component. Under systemd, Delegate=yes gives "
                   "cgroups",
                   root->path ? root->path : "cgroup v2",
                   r == -ENOENT ? "no cgroup v2 is mounted here" : strerror(-r));
        cgroup_root_close(root);
}

void cgroup_root_close(struct cgroup_root *root) {
        root->fd = close_fd(root->fd);
        free(root->path);
        root->path = NULL;
}
