/* Scope-bound release: `_cleanup_close_ int fd = -1;` closes fd when it goes out of scope. */
#ifndef FDPASS_CLEANUP_H
#define FDPASS_CLEANUP_H

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))

/* Close an owned descriptor, keep errno, and give back the value that means "none". */
static inline int close_fd(int fd) {
        if (fd >= 0) {
                int saved = errno;
                /* EINTR from close(2) on Linux means that the descriptor is gone: never repeat. */
                (void) close(fd);
                errno = saved;
        }
        return -1;
}

static inline void close_fd_p(int *fd) {
        *fd = close_fd(*fd);
}

static inline void free_p(void *pointer) {
        free(*(void **) pointer);
}

/* Hand ownership on: the variable forgets the descriptor, the caller of the macro has it. */
static inline int take_fd(int *fd) {
        int taken = *fd;
        *fd = -1;
        return taken;
}

#define _cleanup_close_ _cleanup_(close_fd_p)
#define _cleanup_free_ _cleanup_(free_p)

#endif
