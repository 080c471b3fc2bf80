/*
 * The server that is killed and started again: takes the listener that LISTEN_FDS passes as
 * descriptor 3, and for each connection reads a request and answers "ok". One at a time, so that
 * a SIGKILL can cut one connection at most: the one that it had accepted. All others wait in the
 * listener's queue.
 */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "measure.h"

#define LISTEN_FDS_START 3

/* A client that reset its connection meanwhile is no error of ours. */
static void serve(int fd) {
        char request[256];

        if (recv(fd, request, sizeof(request), 0) > 0)
                (void) send(fd, "ok\n", 3, MSG_NOSIGNAL);
}

int main(void) {
        const char *fds = getenv("LISTEN_FDS");

        if (!fds || strcmp(fds, "1") != 0)
                give_up("start it by `fdpass exec NAME -- bench_server`, with one socket");
        for (;;) {
                _cleanup_close_ int fd = accept4(LISTEN_FDS_START, NULL, NULL, SOCK_CLOEXEC);
                if (fd >= 0) {
                        serve(fd);
                } else if (errno == EAGAIN) {
                        struct pollfd p = {.fd = LISTEN_FDS_START, .events = POLLIN};
                        (void) poll(&p, 1, -1);
                } else if (errno != ECONNABORTED && errno != EINTR) {
                        give_up_errno("accept");
                }
        }
}
