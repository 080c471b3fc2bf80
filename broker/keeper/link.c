/* The socketpair between keeper and broker, and the broker's first read from it. See link.h. */
#include "keeper/link.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "core/inherited.h"
#include "core/loop.h"
#include "names.h"

#define RECEIVE_USEC 10000000

int link_new(int *ret_keeper_fd, int *ret_broker_fd) {
        int ends[2];

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
                return -errno;
        *ret_keeper_fd = ends[0];
        *ret_broker_fd = ends[1];
        return 0;
}

/* FDNAMES= and the descriptors go together one by one. */
static int take_batch(struct message *m, struct text names, struct inherited *inherited) {
        const char *p = names.start, *end = names.start + names.length;

        for (size_t i = 0; i < m->fds.count; i++) {
                const char *colon = p < end ? memchr(p, ':', (size_t) (end - p)) : NULL;
                size_t length = (size_t) ((colon ? colon : end) - p);
                char id[NAME_LENGTH_MAX + 1];
                int r;

                if (length == 0 || length >= sizeof(id))
                        return -EBADMSG;
                memcpy(id, p, length);
                id[length] = '\0';
                r = inherited_put_fd(inherited, id, fd_list_take_fd(&m->fds, i));
                if (r < 0)
                        return r;
                p = colon ? colon + 1 : end;
        }
        return p == end ? 0 : -EBADMSG;
}

/* 1 when that was all. */
static int take_packet(struct message *m, struct inherited *inherited) {
        struct assignments a;
        const struct text *names;

        if (grammar_parse(m->data, m->size, &a) < 0)
                return -EBADMSG;
        if (assignments_get(&a, "END"))
                return 1;
        names = assignments_get(&a, "FDNAMES");
        return names ? take_batch(m, *names, inherited) : 0;
}

int link_receive_kept(int link_fd, struct inherited *inherited) {
        _cleanup_free_ struct message *m = malloc(sizeof(*m));
        uint64_t deadline = loop_now_usec() + RECEIVE_USEC;
        int r = 0;

        if (!m)
                return -ENOMEM;
        while (r == 0) {
                struct pollfd p = {.fd = link_fd, .events = POLLIN};
                uint64_t now = loop_now_usec();

                if (now >= deadline)
                        return -ETIMEDOUT;
                if (poll(&p, 1, (int) ((deadline - now) / 1000) + 1) < 0 && errno != EINTR)
                        return -errno;
                r = message_receive(link_fd, m);
                if (r == -EAGAIN) {
                        r = 0;
                        continue;
                }
                if (r <= 0)
                        return r == 0 ? -ECONNRESET : r;
                r = take_packet(m, inherited);
                message_clear(m);
        }
        return r < 0 ? r : 0;
}
