/*
 * Looking at foreign descriptors. The link in /proc/self/fd is made from names in the kernel's
 * memory, getsockopt(2) and getsockname(2) are only reached on sockets, and F_GET_SEALS fails on
 * everything but a memfd, whose fstat(2) then asks nobody.
 */
#include "control/descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

typedef int name_function(int fd, struct sockaddr *address, socklen_t *size);

static bool is_at(int fd, name_function *name, const char *path) {
        struct sockaddr_un address = {0};
        socklen_t size = sizeof(address);

        return name(fd, (struct sockaddr *) &address, &size) == 0 &&
               address.sun_family == AF_UNIX &&
               strncmp(address.sun_path, path, sizeof(address.sun_path)) == 0;
}

/* A session that was stored would be a client that is never gone. */
static bool leads_to_us(int fd, const char *control_path) {
        return is_at(fd, getsockname, control_path) || is_at(fd, getpeername, control_path);
}

static bool begins_with(const char *text, const char *beginning) {
        return strncmp(text, beginning, strlen(beginning)) == 0;
}

const char *descriptor_refusal(int fd, const char *control_path) {
        char link[64], target[64];
        ssize_t n;

        (void) snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        n = readlink(link, target, sizeof(target) - 1);
        if (n < 0)
                return errno == ENAMETOOLONG ? NULL : "cannot be told apart: /proc is not there";
        target[n] = '\0';
        if (strcmp(target, "anon_inode:[eventpoll]") == 0)
                return "an epoll set, which is of use only to who made it";
        if (strcmp(target, "anon_inode:[io_uring]") == 0)
                return "an io_uring, which is of use only to who made it";
        if (begins_with(target, "socket:[") && leads_to_us(fd, control_path))
                return "a connection to this broker or its control socket";
        return NULL;
}

const char *descriptor_data_refusal(int fd, uint64_t size) {
        int seals = fcntl(fd, F_GET_SEALS);
        struct stat st;

        if (seals < 0)
                return "no memfd";
        if ((seals & SEALS) != SEALS)
                return "not sealed against writing, growing and shrinking";
        if (fstat(fd, &st) < 0 || (uint64_t) st.st_size != size)
                return "not of SIZE= bytes";
        return NULL;
}
