/*
 * getsockname(2) tells the path that a socket was bound to, not whether it still leads to it. With
 * CAP_NET_ADMIN the kernel opens the very file for us; without it unix_diag knows the inode, at a
 * price that grows with the number of sockets of the system.
 */
#include "sockets/socket_file.h"

#include <errno.h>
#include <linux/un.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "sockets/socket_diag.h"

#ifndef SIOCPROTOPRIVATE
#define SIOCPROTOPRIVATE 0x89E0
#endif

static int ask_unix_diag(int socket_fd, const struct stat *file) {
        struct diag_socket found;
        struct stat st;
        int r;

        if (fstat(socket_fd, &st) < 0)
                return -errno;
        r = socket_diag_unix_one((uint32_t) st.st_ino, &found);
        if (r < 0)
                return r;
        return found.has_file && found.file_inode == (uint32_t) file->st_ino;
}

int socket_file_is(int socket_fd, const struct stat *file) {
        _cleanup_close_ int fd = ioctl(socket_fd, SIOCUNIXFILE); /* O_PATH and close-on-exec */
        struct stat st;

        if (fd < 0 && errno == ENOENT)
                return 0;
        if (fd < 0 || fstat(fd, &st) < 0)
                return ask_unix_diag(socket_fd, file);
        return st.st_dev == file->st_dev && st.st_ino == file->st_ino;
}
