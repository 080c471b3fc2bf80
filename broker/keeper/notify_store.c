/* systemd as fd store. See notify_store.h. */
#include "keeper/notify_store.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cleanup.h"
#include "message.h"

int notify_store_connect(void) {
        const char *path = secure_getenv("NOTIFY_SOCKET");
        struct sockaddr_un to = {.sun_family = AF_UNIX};
        size_t length = path ? strlen(path) : 0;
        _cleanup_close_ int fd = -1;

        if (length < 2 || length >= sizeof(to.sun_path) || (path[0] != '/' && path[0] != '@'))
                return -EINVAL;
        memcpy(to.sun_path, path, length);
        if (path[0] == '@')
                to.sun_path[0] = '\0';
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *) &to,
                              (socklen_t) (offsetof(struct sockaddr_un, sun_path) + length)) < 0)
                return -errno;
        return take_fd(&fd);
}

int notify_store_send_probe(int socket_fd) {
        static const char text[] = "FDSTORE=1\nFDNAME=" NOTIFY_STORE_PROBE "\nFDPOLL=0\n";
        _cleanup_close_ int ours = -1, theirs = -1;
        int ends[2], r;

        if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
                return -errno;
        ours = ends[0];
        theirs = ends[1];
        r = message_send(socket_fd, text, sizeof(text) - 1, &theirs, 1);
        return r < 0 ? r : take_fd(&ours);
}

bool notify_store_is_full(int probe_fd) {
        struct pollfd p = {.fd = probe_fd};

        return probe_fd >= 0 && poll(&p, 1, 0) == 1 && p.revents & POLLHUP;
}
