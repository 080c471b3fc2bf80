/*
 * dup2(2) onto a number that still holds another of the descriptors would lose it. So in a first
 * round every descriptor that stands in the target range, but not at its own place, is moved above
 * the range; in the second none is in the way of another.
 */
#include "cli/descriptors.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "cleanup.h"

void descriptors_reserve_standard(void) {
        int fd;

        /* O_PATH of the root folder: always there, and neither readable nor writable. */
        do
                fd = open("/", O_PATH | O_CLOEXEC);
        while (fd >= 0 && fd < STDERR_FILENO);
        if (fd > STDERR_FILENO)
                (void) close_fd(fd);
}

static int target_of(size_t index) {
        return DESCRIPTORS_START + (int) index;
}

static int move_above(int *fds, size_t count) {
        for (size_t i = 0; i < count; i++) {
                int moved;

                if (fds[i] >= target_of(count) || fds[i] == target_of(i))
                        continue;
                moved = fcntl(fds[i], F_DUPFD_CLOEXEC, target_of(count));
                if (moved < 0)
                        return errno == EINVAL ? -EMFILE : -errno;
                (void) close_fd(fds[i]);
                fds[i] = moved;
        }
        return 0;
}

static int place_one(int *fd, int target, size_t *replaced) {
        int flags;

        if (*fd == target)
                return fcntl(target, F_SETFD, 0) < 0 ? -errno : 0;
        /* ours have all moved away: what is open here, and would have stayed open, was given to us
         * by who started us */
        flags = fcntl(target, F_GETFD);
        if (flags >= 0 && !(flags & FD_CLOEXEC))
                (*replaced)++;
        if (dup2(*fd, target) < 0)
                return errno == EBADF ? -EMFILE : -errno;
        (void) close_fd(*fd);
        *fd = target;
        return 0;
}

int descriptors_place(int *fds, size_t count, size_t *ret_replaced) {
        size_t replaced = 0;
        int r = move_above(fds, count);

        for (size_t i = 0; r == 0 && i < count; i++)
                r = place_one(&fds[i], target_of(i), &replaced);
        if (r == 0)
                *ret_replaced = replaced;
        return r;
}
