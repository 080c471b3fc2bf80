/* Who starts the next broker. See charge.h. */
#include "keeper/charge.h"

#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "cleanup.h"
#include "keeper/fd_store.h"

int charge_share(struct fd_store *store) {
        int fd = fd_store_is_sent(store) ? eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK) : -1;

        if (fd < 0)
                return -1;
        /* In its queue it counts: a keeper reads all that the broker said before it acts. */
        if (fd_store_say_charge(store, fd) < 0 || !fd_store_is_sent(store))
                return close_fd(fd);
        return fd;
}

bool charge_draw(int *fd) {
        bool drawn = true;
        uint64_t one;

        if (*fd >= 0)
                drawn = read(*fd, &one, sizeof(one)) == sizeof(one);
        *fd = close_fd(*fd);
        return drawn;
}
