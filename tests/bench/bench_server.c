/*
 * The server that is killed or restarted: takes the listener that LISTEN_FDS passes as descriptor
 * 3, and for each connection reads a request and answers "ok". One at a time, so that a SIGKILL can
 * cut one connection at most: the one that it had accepted. All others wait in the listener's
 * queue.
 *
 *      bench_server [START-UP-MSEC]     that long until it says READY=1 and serves
 *
 * SIGTERM ends it between two connections. With a blocking listener that is after the next one.
 */
#include <errno.h>
#include <fdpass.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
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

static volatile sig_atomic_t stopping; /* a signal handler has nothing else */

static void stop(int number) {
        stopping = 1;
}

static void start(const char *msec) {
        /* A request that is being read is read to its end; ppoll() is interrupted all the same. */
        struct sigaction on_term = {.sa_handler = stop, .sa_flags = SA_RESTART};
        unsigned long n = msec ? strtoul(msec, NULL, 10) : 0;
        struct timespec pause = {.tv_sec = (time_t) (n / 1000),
                                 .tv_nsec = (long) (n % 1000) * 1000000};

        (void) nanosleep(&pause, NULL);
        (void) sigaction(SIGTERM, &on_term, NULL);
        (void) fdpass_notify("READY=1");
}

/* A signal between the look at `stopping` and the sleep is not missed: it is blocked meanwhile. */
static void wait_for_connection(void) {
        struct pollfd p = {.fd = LISTEN_FDS_START, .events = POLLIN};
        sigset_t term, before;

        (void) sigemptyset(&term);
        (void) sigaddset(&term, SIGTERM);
        (void) sigprocmask(SIG_BLOCK, &term, &before);
        if (!stopping)
                (void) ppoll(&p, 1, NULL, &before);
        (void) sigprocmask(SIG_SETMASK, &before, NULL);
}

int main(int argc, char **argv) {
        const char *fds = getenv("LISTEN_FDS");

        if (!fds || strcmp(fds, "1") != 0)
                give_up("start it by `fdpass exec NAME -- bench_server`, with one socket");
        start(argc > 1 ? argv[1] : NULL);
        while (!stopping) {
                _cleanup_close_ int fd = accept4(LISTEN_FDS_START, NULL, NULL, SOCK_CLOEXEC);
                if (fd >= 0)
                        serve(fd);
                else if (errno == EAGAIN)
                        wait_for_connection();
                else if (errno != ECONNABORTED && errno != EINTR)
                        give_up_errno("accept");
        }
        return 0;
}
