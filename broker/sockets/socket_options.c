/*
 * The options that a holder of a listening socket can change for all later holders: one table, read
 * into a snapshot and put back from it. Accepted connections inherit nearly all of them, so a
 * server that sets a timeout or TCP_DEFER_ACCEPT on a borrowed listener changes its successor.
 *
 * Left out: what cannot be read back (TCP_MD5SIG), what reads differently from how it is set
 * (TCP_MAXSEG, TCP_WINDOW_CLAMP), and what cannot change after bind (IPV6_V6ONLY).
 */
#include "sockets/socket_options.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "grammar.h"

/* Newer than the oldest headers that we build with. */
#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72
#endif
#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76
#endif
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

struct option {
        int level;
        int name;
        const char *text;
        bool doubled; /* the kernel keeps, and tells, twice what was set: socket(7) */
        int forced;   /* the same without the limit, for who may: tried first */
};

#define ROW(level, name)                                                                           \
        { level, name, #name, false, 0 }
#define BUFFER(name, forced)                                                                       \
        { SOL_SOCKET, name, #name, true, forced }

static const struct option options[] = {
        ROW(SOL_SOCKET, SO_BINDTOIFINDEX),
        ROW(SOL_SOCKET, SO_DONTROUTE),
        ROW(SOL_SOCKET, SO_KEEPALIVE),
        ROW(SOL_SOCKET, SO_LINGER),
        ROW(SOL_SOCKET, SO_MARK),
        ROW(SOL_SOCKET, SO_MAX_PACING_RATE),
        ROW(SOL_SOCKET, SO_OOBINLINE),
        ROW(SOL_SOCKET, SO_PASSCRED),
        ROW(SOL_SOCKET, SO_PASSPIDFD),
        ROW(SOL_SOCKET, SO_PASSRIGHTS),
        ROW(SOL_SOCKET, SO_PASSSEC),
        ROW(SOL_SOCKET, SO_PRIORITY),
        ROW(SOL_SOCKET, SO_RCVLOWAT),
        ROW(SOL_SOCKET, SO_RCVTIMEO),
        ROW(SOL_SOCKET, SO_REUSEADDR),
        ROW(SOL_SOCKET, SO_REUSEPORT),
        ROW(SOL_SOCKET, SO_SNDTIMEO),
        BUFFER(SO_RCVBUF, SO_RCVBUFFORCE),
        BUFFER(SO_SNDBUF, SO_SNDBUFFORCE),
        /* After the two, because setting them sets it: it ends the kernel's own tuning. */
        ROW(SOL_SOCKET, SO_BUF_LOCK),
        ROW(IPPROTO_IP, IP_FREEBIND),
        ROW(IPPROTO_IP, IP_MTU_DISCOVER),
        ROW(IPPROTO_IP, IP_TOS),
        ROW(IPPROTO_IP, IP_TRANSPARENT),
        ROW(IPPROTO_IP, IP_TTL),
        ROW(IPPROTO_IPV6, IPV6_TCLASS),
        ROW(IPPROTO_IPV6, IPV6_UNICAST_HOPS),
        ROW(IPPROTO_TCP, TCP_CONGESTION),
        ROW(IPPROTO_TCP, TCP_CORK),
        ROW(IPPROTO_TCP, TCP_DEFER_ACCEPT),
        ROW(IPPROTO_TCP, TCP_FASTOPEN),
        ROW(IPPROTO_TCP, TCP_KEEPCNT),
        ROW(IPPROTO_TCP, TCP_KEEPIDLE),
        ROW(IPPROTO_TCP, TCP_KEEPINTVL),
        ROW(IPPROTO_TCP, TCP_LINGER2),
        ROW(IPPROTO_TCP, TCP_NODELAY),
        ROW(IPPROTO_TCP, TCP_NOTSENT_LOWAT),
        ROW(IPPROTO_TCP, TCP_SAVE_SYN),
        ROW(IPPROTO_TCP, TCP_SYNCNT),
        ROW(IPPROTO_TCP, TCP_USER_TIMEOUT),
};

#define N_OPTIONS (sizeof(options) / sizeof(options[0]))
static_assert(N_OPTIONS <= SOCKET_OPTIONS_MAX, "the snapshot has room for every row");

static void value_read(int fd, const struct option *o, struct socket_option_value *ret) {
        socklen_t size = sizeof(ret->bytes);

        memset(ret, 0, sizeof(*ret));
        if (getsockopt(fd, o->level, o->name, ret->bytes, &size) == 0 && size <= sizeof(ret->bytes))
                ret->size = (uint8_t) size;
}

static int value_write(int fd, const struct option *o, const struct socket_option_value *value) {
        struct socket_option_value set = *value;

        if (o->doubled) {
                int n;

                memcpy(&n, set.bytes, sizeof(n));
                n /= 2;
                memcpy(set.bytes, &n, sizeof(n));
        }
        if (o->forced && setsockopt(fd, o->level, o->forced, set.bytes, set.size) == 0)
                return 0;
        return setsockopt(fd, o->level, o->name, set.bytes, set.size) == 0 ? 0 : -errno;
}

static bool has_filter(int fd) {
        socklen_t count = 0;

        /* With size 0 it is the number of instructions; EACCES is an eBPF program. */
        if (getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, NULL, &count) < 0)
                return errno == EACCES;
        return count > 0;
}

int socket_options_read(int socket_fd, struct socket_options *ret) {
        int type;
        socklen_t size = sizeof(type);

        if (getsockopt(socket_fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0)
                return -errno;
        memset(ret, 0, sizeof(*ret));
        for (size_t i = 0; i < N_OPTIONS; i++)
                value_read(socket_fd, &options[i], &ret->values[i]);
        ret->filtered = has_filter(socket_fd);
        return 0;
}

/* ---- as a record ---- */

void socket_options_write(const struct socket_options *snapshot, struct packet_writer *w) {
        packet_add_u64(w, "FILTERED", snapshot->filtered);
        for (size_t i = 0; i < N_OPTIONS; i++) {
                const struct socket_option_value *value = &snapshot->values[i];
                char hex[2 * SOCKET_OPTION_SIZE + 1];

                for (size_t j = 0; j < value->size; j++)
                        (void) sprintf(hex + 2 * j, "%02x", value->bytes[j]);
                if (value->size > 0)
                        packet_add(w, options[i].text, hex);
        }
}

static void value_parse(const struct text *hex, struct socket_option_value *ret) {
        for (size_t i = 0; hex && i < hex->length / 2 && i < SOCKET_OPTION_SIZE; i++) {
                const char byte[] = {hex->start[2 * i], hex->start[2 * i + 1], '\0'};

                ret->bytes[i] = (uint8_t) strtoul(byte, NULL, 16);
                ret->size = (uint8_t) (i + 1);
        }
}

void socket_options_parse(const struct assignments *a, struct socket_options *ret) {
        const struct text *filtered = assignments_get(a, "FILTERED");

        memset(ret, 0, sizeof(*ret));
        ret->filtered = filtered && text_equal(*filtered, "1");
        for (size_t i = 0; i < N_OPTIONS; i++)
                value_parse(assignments_get(a, options[i].text), &ret->values[i]);
}

static void name_add(char list[SOCKET_OPTIONS_CHANGED_SIZE], const char *name) {
        size_t used = strlen(list);

        (void) snprintf(list + used, SOCKET_OPTIONS_CHANGED_SIZE - used, "%s%s", used ? " " : "",
                        name);
}

static int filter_remove(int fd, char changed[SOCKET_OPTIONS_CHANGED_SIZE]) {
        int unused = 0;

        if (setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof(unused)) == 0) {
                name_add(changed, "socket filter");
                return 0;
        }
        /* A lock without a filter does no harm: it only keeps others from attaching one. */
        return errno == EPERM && has_filter(fd) ? -EPERM : 0;
}

int socket_options_restore(int socket_fd, const struct socket_options *snapshot,
                           char ret_changed[SOCKET_OPTIONS_CHANGED_SIZE]) {
        int err = 0, locked = 0;

        ret_changed[0] = '\0';
        for (size_t i = 0; i < N_OPTIONS; i++) {
                const struct socket_option_value *wanted = &snapshot->values[i];
                struct socket_option_value now;
                int one;

                if (wanted->size == 0)
                        continue;
                value_read(socket_fd, &options[i], &now);
                if (now.size == wanted->size && memcmp(now.bytes, wanted->bytes, now.size) == 0)
                        continue;
                one = value_write(socket_fd, &options[i], wanted);
                if (one == 0)
                        name_add(ret_changed, options[i].text);
                else if (err == 0)
                        err = one == -EPERM ? -EACCES : one; /* EPERM means the filter */
        }
        if (!snapshot->filtered)
                locked = filter_remove(socket_fd, ret_changed);
        return locked < 0 ? locked : err;
}
