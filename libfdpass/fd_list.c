/* The descriptors of one packet. See fd_list.h for who owns what. */
#include "fd_list.h"

#include <fcntl.h>

#include "cleanup.h"

void fd_list_clear(struct fd_list *list) {
        for (size_t i = 0; i < list->count; i++)
                list->fds[i] = close_fd(list->fds[i]);
        list->count = 0;
}

int fd_list_put_fd(struct fd_list *list, int fd) {
        if (list->count >= sizeof(list->fds) / sizeof(list->fds[0])) {
                close_fd(fd);
                return -ENOSPC;
        }
        list->fds[list->count++] = fd;
        return 0;
}

int fd_list_take_fd(struct fd_list *list, size_t index) {
        if (index >= list->count)
                return -1;
        return take_fd(&list->fds[index]);
}

int fd_above_stdio(int fd) {
        int moved;

        if (fd > STDERR_FILENO)
                return fd;
        moved = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        if (moved < 0)
                moved = -errno;
        close_fd(fd);
        return moved;
}
