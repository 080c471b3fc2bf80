/*
 * See path_link.h. The private folder is used through a descriptor that was looked at, so that
 * nobody can exchange it between the look and the use: in a folder like /tmp anyone may have made
 * it before us.
 */
#include "sockets/path_link.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "cleanup.h"

/* NAME, NAME.2 … when a link of that name belongs to a living socket of someone else. */
#define NAMES_MAX 8

/* A path that can be bound, and what we add to it: the folder, a number; and behind that a spare.
 */
#define NAME_SIZE (sizeof(((struct sockaddr_un *) NULL)->sun_path) + 32)
#define SPARE_SIZE (NAME_SIZE + 24)

static const char *base_name(const char *path) {
        return strrchr(path, '/') + 1;
}

/* "/run/web.sock" → "/run/.fdpass-0" */
static void folder_of(const char *path, char ret[NAME_SIZE]) {
        (void) snprintf(ret, NAME_SIZE, "%.*s.fdpass-%u", (int) (base_name(path) - path), path,
                        (unsigned) geteuid());
}

static int folder_open(const char *folder) {
        _cleanup_close_ int fd = open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (st.st_uid != geteuid() || (st.st_mode & 07777) != 0700)
                return -EPERM;
        return take_fd(&fd);
}

/* Nearly always it is there: each listener of the folder has its link in it. */
static int folder_open_or_make(const char *folder) {
        int fd = folder_open(folder);

        if (fd != -ENOENT)
                return fd;
        if (mkdir(folder, 0700) < 0 && errno != EEXIST)
                return -errno;
        return folder_open(folder);
}

/*
 * Is no socket bound to this file any more? Connecting with another type than the socket's finds
 * out without a connection: ECONNREFUSED when there is no socket, EPROTOTYPE when there is one.
 */
static bool is_dead(int folder_fd, const char *name) {
        struct sockaddr_un un = {.sun_family = AF_UNIX};
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        int n = snprintf(un.sun_path, sizeof(un.sun_path), "/proc/self/fd/%d/%s", folder_fd, name);

        if (fd < 0 || n < 0 || (size_t) n >= sizeof(un.sun_path))
                return false;
        return connect(fd, (const struct sockaddr *) &un, sizeof(un)) < 0 && errno == ECONNREFUSED;
}

/* One name: 0, -EEXIST when it is taken by a living socket, or why there cannot be a link. */
static int link_as(const char *path, const struct stat *file, int folder_fd, const char *name) {
        struct stat st;

        /* The look first: after a crash or an upgrade the link is there, and an attempt to make one
         * costs several times as much. */
        for (int attempt = 0; attempt < 2; attempt++) {
                if (fstatat(folder_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
                        if (errno != ENOENT)
                                return -errno;
                        if (linkat(AT_FDCWD, path, folder_fd, name, 0) == 0)
                                return 0;
                        if (errno != EEXIST)
                                return -errno;
                        continue;
                }
                if (st.st_dev == file->st_dev && st.st_ino == file->st_ino)
                        return 0;
                if (!S_ISSOCK(st.st_mode) || !is_dead(folder_fd, name))
                        break;
                if (unlinkat(folder_fd, name, 0) < 0)
                        return -errno;
        }
        return -EEXIST;
}

/* The link's name in the folder: that of the path, or with a number behind it. */
static void name_of(const char *path, unsigned link, char ret[NAME_SIZE]) {
        if (link == 1)
                (void) snprintf(ret, NAME_SIZE, "%s", base_name(path));
        else
                (void) snprintf(ret, NAME_SIZE, "%s.%u", base_name(path), link);
}

int path_link_make(const char *path, const struct stat *file, unsigned char *ret_link) {
        char folder[NAME_SIZE], name[NAME_SIZE];
        _cleanup_close_ int fd = -1;
        unsigned char link = 0;
        int err = -EEXIST;

        folder_of(path, folder);
        fd = folder_open_or_make(folder);
        if (fd < 0)
                return fd;
        while (err == -EEXIST && link < NAMES_MAX) {
                name_of(path, ++link, name);
                err = link_as(path, file, fd, name);
        }
        if (err < 0) {
                (void) rmdir(folder);
                return err;
        }
        *ret_link = link;
        return 0;
}

/* Folder, descriptor of it and name. -ENOENT without a link. */
static int link_open(const char *path, unsigned char link, char ret_folder[NAME_SIZE],
                     char ret_name[NAME_SIZE]) {
        if (link == 0)
                return -ENOENT;
        folder_of(path, ret_folder);
        name_of(path, link, ret_name);
        return folder_open(ret_folder);
}

void path_link_remove(const char *path, unsigned char link) {
        char folder[NAME_SIZE], name[NAME_SIZE];
        _cleanup_close_ int fd = link_open(path, link, folder, name);

        if (fd < 0)
                return;
        (void) unlinkat(fd, name, 0);
        (void) rmdir(folder); /* unless other listeners have their links there */
}

int path_link_put_back(const char *path, unsigned char link) {
        char folder[NAME_SIZE], name[NAME_SIZE];
        _cleanup_close_ int fd = link_open(path, link, folder, name);

        if (fd < 0)
                return fd;
        return linkat(fd, name, AT_FDCWD, path, 0) < 0 ? -errno : 0;
}

/*
 * One more link beside the link, under a name that is free: any name may be that of another
 * listener's path, or be left from a broker that was killed.
 */
static int link_spare(int folder_fd, const char *name, char ret[SPARE_SIZE]) {
        int err = -EEXIST;

        for (int i = 1; err == -EEXIST && i <= NAMES_MAX; i++) {
                (void) snprintf(ret, SPARE_SIZE, "%s.spare%d", name, i);
                err = linkat(folder_fd, name, folder_fd, ret, 0) < 0 ? -errno : 0;
        }
        return err;
}

int path_link_put_over(const char *path, unsigned char link) {
        char folder[NAME_SIZE], name[NAME_SIZE], spare[SPARE_SIZE];
        _cleanup_close_ int fd = link_open(path, link, folder, name);
        int err;

        if (fd < 0)
                return fd;
        /* Renaming the link itself would leave us without one. */
        err = link_spare(fd, name, spare);
        if (err < 0)
                return err;
        err = renameat(fd, spare, AT_FDCWD, path) < 0 ? -errno : 0;
        /* Also when it went well: between two links of one file rename(2) does nothing at all. */
        (void) unlinkat(fd, spare, 0);
        return err;
}
