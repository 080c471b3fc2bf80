/* Documents in memfds. A reader that is slow costs us one memfd and no wait. */
#include "control/document.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "cleanup.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3 */
#endif

int document_begin(struct document *d) {
        int fd = memfd_create("fdpass-document", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

        /* Where sysctl vm.memfd_noexec is 2, only the new flag is allowed; older kernels refuse it.
         */
        if (fd < 0 && errno == EINVAL)
                fd = memfd_create("fdpass-document", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (fd < 0)
                return -errno;
        d->fd = fd;
        json_begin_fd(&d->json, fd);
        return 0;
}

int document_end(struct document *d, int *ret_fd, size_t *ret_size) {
        _cleanup_close_ int fd = take_fd(&d->fd);
        size_t size;
        int r = json_end(&d->json, NULL, &size);

        if (r < 0)
                return r;
        if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
                return -errno;
        *ret_fd = take_fd(&fd);
        *ret_size = size;
        return 0;
}

void document_abandon(struct document *d) {
        size_t size;

        (void) json_end(&d->json, NULL, &size);
        d->fd = close_fd(d->fd);
}
