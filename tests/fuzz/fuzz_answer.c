/*
 * A broker that sends any packets, with any number of descriptors: the library returns, loses none
 * of them, and is either alive or dead for good.
 *
 * The input is a row of packets, each ended by 0xff (which stands in no text); a packet's first
 * byte is how many descriptors go with it. The first byte of all chooses between a call and the
 * loop.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "connection.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The lowest free number tells whether one was left open below it, cheaply. */
static int lowest_free(int fd) {
        int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);

        close_fd(copy);
        return copy;
}

static void send_packets(int socket_fd, const uint8_t *data, size_t size) {
        int fds[FD_LIST_MAX];
        unsigned packets = 0;

        for (size_t i = 0; i < FD_LIST_MAX; i++)
                fds[i] = STDIN_FILENO;
        while (size > 1 && packets++ < 100) {
                const uint8_t *end = memchr(data, 0xff, size);
                size_t length = end ? (size_t) (end - data) : size;

                if (length > 1)
                        (void) message_send(socket_fd, data + 1, length - 1, fds, data[0] % 5);
                data += end ? length + 1 : length;
                size -= end ? length + 1 : length;
        }
}

static struct fdpass *connected(int socket_fd) {
        struct fdpass *c = calloc(1, sizeof(*c));

        assert(c);
        c->fd = socket_fd;
        c->loop_fd = -1;
        c->timeout = 1;
        strcpy(c->path, "/nonexistent/broker.sock"); /* never found again */
        c->watches[c->n_watches++] = strdup("web");
        return c;
}

static void check_call(struct fdpass *c) {
        int *fds = NULL, r = fdpass_acquire_all(c, "web", &fds);

        assert((r > 0) == (fds != NULL));
        assert(memchr(fdpass_error(c), '\0', ERROR_TEXT_SIZE));
        while (r > 0) {
                assert(fds[r - 1] > 2);
                close_fd(fds[--r]);
        }
        free(fds);
}

static void check_loop(struct fdpass *c) {
        int r;

        do {
                r = fdpass_process(c);
                assert((r == 1) == (fdpass_event(c) != NULL));
                if (r == 1) {
                        const char *name = fdpass_event_value(c, "NAME");

                        assert(!strchr(fdpass_event(c), '\n'));
                        assert(!name || !strchr(name, '\n'));
                }
        } while (r == 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct fdpass *c;
        int s[2], before, r;

        if (size < 2)
                return 0;
        before = lowest_free(STDIN_FILENO);
        r = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s);
        assert(r == 0);
        send_packets(s[1], data + 1, size - 1);
        (void) shutdown(s[1], SHUT_WR); /* then end of file, while our requests are still taken */
        c = connected(s[0]);
        if (data[0] & 1)
                check_call(c);
        check_loop(c);
        if (c->state == DEAD)
                assert(fdpass_process(c) == -ENOTCONN);
        fdpass_close(c);
        close_fd(s[1]);
        assert(lowest_free(STDIN_FILENO) == before);
        return 0;
}
