/*
 * Where the broker's own cgroup is, and whether it may make others in it. In a hybrid hierarchy
 * cgroup v2 is mounted beside v1, in a container only a part of it may be, and read-only: so it is
 * looked for among the mounts, and tried.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "components/cgroup.h"
#include "core/log.h"

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

        root->path = own_path();
        folder = root->path ? own_folder(root->path) : NULL;
        if (!folder)
                return -ENOENT;
        root->fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return root->fd < 0 ? -errno : 0;
}

void cgroup_root_find(struct cgroup_root *root) {
        *root = (struct cgroup_root){.fd = -1};
        if (find(root) < 0)
                cgroup_root_close(root);
}

void cgroup_root_open(struct cgroup_root *root, struct log *log) {
        int r;

        *root = (struct cgroup_root){.fd = -1};
        r = find(root);
        if (r == 0)
                r = try(root);
        if (r == 0) {
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
