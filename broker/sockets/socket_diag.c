/*
 * Questions to sock_diag(7) over netlink, one netlink socket a question.
 *
 * Nothing here waits: the kernel puts the first part of an answer into our queue within sendto(2),
 * and each recv(2) makes it put the next one. So every call is MSG_DONTWAIT, and an empty queue is
 * an error and not a reason to wait.
 */
#include "sockets/socket_diag.h"

#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"

/* The kernel fills a part of a dump up to the receiver's buffer, at most 32 KiB. */
#define ANSWER_SIZE 32768
#define SEQUENCE 1

/* Attributes of one message, by type; those that are too short for theirs are left out. */
struct attributes {
        const struct nlattr *by_type[32];
};

static void attributes_read(const struct nlmsghdr *message, size_t offset, struct attributes *ret) {
        const char *end = (const char *) message + message->nlmsg_len;
        const struct nlattr *attribute = mnl_nlmsg_get_payload_offset(message, offset);

        memset(ret, 0, sizeof(*ret));
        /* Not mnl_attr_for_each(): it rounds the message's length up, past the end of the last. */
        for (; mnl_attr_ok(attribute, (int) (end - (const char *) attribute));
             attribute = mnl_attr_next(attribute)) {
                uint16_t type = mnl_attr_get_type(attribute);

                if (type < sizeof(ret->by_type) / sizeof(ret->by_type[0]))
                        ret->by_type[type] = attribute;
        }
}

/* The payload of an attribute when it is there and has at least `size` bytes. */
static const void *attribute_get(const struct attributes *all, unsigned type, size_t size) {
        const struct nlattr *attribute = all->by_type[type];

        if (!attribute || mnl_attr_get_payload_len(attribute) < size)
                return NULL;
        return mnl_attr_get_payload(attribute);
}

static void set_address(struct in6_addr *ret, int family, const __be32 words[4]) {
        if (family == AF_INET) {
                static const unsigned char prefix[12] = {[10] = 0xff, [11] = 0xff};

                memcpy(ret->s6_addr, prefix, sizeof(prefix));
                memcpy(ret->s6_addr + sizeof(prefix), words, 4);
        } else {
                memcpy(ret->s6_addr, words, sizeof(ret->s6_addr));
        }
}

static uint64_t cookie_of(const uint32_t words[2]) {
        return (uint64_t) words[1] << 32 | words[0];
}

static int parse_tcp(const struct nlmsghdr *message, struct diag_socket *ret) {
        const struct inet_diag_msg *m = mnl_nlmsg_get_payload(message);
        struct attributes attributes;
        const uint8_t *flag;

        if (mnl_nlmsg_get_payload_len(message) < sizeof(*m))
                return -EBADMSG;
        attributes_read(message, sizeof(*m), &attributes);
        ret->family = m->idiag_family;
        ret->state = m->idiag_state;
        ret->inode = m->idiag_inode;
        ret->cookie = cookie_of(m->id.idiag_cookie);
        ret->has_uid = true;
        ret->uid = m->idiag_uid;
        set_address(&ret->local, m->idiag_family, m->id.idiag_src);
        set_address(&ret->remote, m->idiag_family, m->id.idiag_dst);
        ret->local_port = ntohs(m->id.idiag_sport);
        ret->remote_port = ntohs(m->id.idiag_dport);
        /* Timer 3 is the life of a TIME_WAIT remainder, whatever state it shows. */
        ret->in_timer = m->idiag_timer == 3;
        ret->timer_msec = ret->in_timer ? m->idiag_expires : 0;
        flag = attribute_get(&attributes, INET_DIAG_SKV6ONLY, sizeof(*flag));
        ret->ipv6_only = flag && *flag;
        return 0;
}

static int parse_unix(const struct nlmsghdr *message, struct diag_socket *ret) {
        const struct unix_diag_msg *m = mnl_nlmsg_get_payload(message);
        struct attributes attributes;
        const void *payload;

        if (mnl_nlmsg_get_payload_len(message) < sizeof(*m))
                return -EBADMSG;
        attributes_read(message, sizeof(*m), &attributes);
        ret->family = AF_UNIX;
        ret->type = m->udiag_type;
        ret->state = m->udiag_state;
        ret->inode = m->udiag_ino;
        ret->cookie = cookie_of(m->udiag_cookie);
        payload = attribute_get(&attributes, UNIX_DIAG_VFS, sizeof(struct unix_diag_vfs));
        if (payload) {
                const struct unix_diag_vfs *file = payload;

                ret->has_file = true;
                ret->file_inode = file->udiag_vfs_ino;
                ret->file_device = file->udiag_vfs_dev;
        }
        payload = attribute_get(&attributes, UNIX_DIAG_RQLEN, sizeof(struct unix_diag_rqlen));
        if (payload) {
                const struct unix_diag_rqlen *queue = payload;

                ret->has_queue = true;
                ret->queue_length = queue->udiag_rqueue;
                ret->queue_limit = queue->udiag_wqueue;
        }
        payload = attribute_get(&attributes, UNIX_DIAG_PEER, sizeof(uint32_t));
        if (payload) {
                ret->has_peer = true;
                memcpy(&ret->peer_inode, payload, sizeof(ret->peer_inode));
        }
        ret->clients = attribute_get(&attributes, UNIX_DIAG_ICONS, sizeof(uint32_t));
        if (ret->clients)
                ret->n_clients = mnl_attr_get_payload_len(attributes.by_type[UNIX_DIAG_ICONS]) /
                                 sizeof(uint32_t);
        payload = attribute_get(&attributes, UNIX_DIAG_UID, sizeof(uint32_t));
        if (payload) {
                ret->has_uid = true;
                memcpy(&ret->uid, payload, sizeof(ret->uid));
        }
        payload = attribute_get(&attributes, UNIX_DIAG_NAME, 1);
        if (payload) {
                size_t length = mnl_attr_get_payload_len(attributes.by_type[UNIX_DIAG_NAME]);

                ret->name_length = length < sizeof(ret->name) ? length : sizeof(ret->name);
                memcpy(ret->name, payload, ret->name_length);
        }
        return 0;
}

static int parse_socket(const struct nlmsghdr *message, socket_diag_handler *handler, void *owner) {
        struct diag_socket found;
        int r;

        /* Both kinds of message begin with the family. */
        if (mnl_nlmsg_get_payload_len(message) < 1)
                return -EBADMSG;
        memset(&found, 0, sizeof(found));
        switch (*(const uint8_t *) mnl_nlmsg_get_payload(message)) {
        case AF_INET:
        case AF_INET6:
                r = parse_tcp(message, &found);
                break;
        case AF_UNIX:
                r = parse_unix(message, &found);
                break;
        default:
                return 0;
        }
        if (r < 0)
                return r;
        r = handler(owner, &found);
        return r < 0 ? r : 0;
}

static int parse_error(const struct nlmsghdr *message) {
        const struct nlmsgerr *error = mnl_nlmsg_get_payload(message);

        if (mnl_nlmsg_get_payload_len(message) < sizeof(*error))
                return -EBADMSG;
        if (error->error == 0)
                return 1; /* an acknowledgement */
        return error->error < 0 && error->error >= -4095 ? error->error : -EBADMSG;
}

/* The end of a dump carries its result: a dump that broke off must not look complete. */
static int parse_done(const struct nlmsghdr *message) {
        int32_t result;

        if (mnl_nlmsg_get_payload_len(message) < sizeof(result))
                return 1;
        memcpy(&result, mnl_nlmsg_get_payload(message), sizeof(result));
        if (result >= 0)
                return 1;
        return result >= -4095 ? (int) result : -EBADMSG;
}

static int parse_message(const struct nlmsghdr *message, uint32_t sequence,
                         socket_diag_handler *handler, void *owner) {
        int r;

        if (message->nlmsg_seq != sequence)
                return -EBADMSG;
        switch (message->nlmsg_type) {
        case NLMSG_NOOP:
                return 0;
        case NLMSG_ERROR:
                return parse_error(message);
        case NLMSG_DONE:
                return parse_done(message);
        case SOCK_DIAG_BY_FAMILY:
                r = parse_socket(message, handler, owner);
                if (r < 0)
                        return r;
                return message->nlmsg_flags & NLM_F_MULTI ? 0 : 1;
        default:
                return -EBADMSG;
        }
}

int socket_diag_parse(const void *buffer, size_t size, uint32_t sequence,
                      socket_diag_handler *handler, void *owner) {
        const unsigned char *rest = buffer;

        /* Not mnl_nlmsg_ok(): in the floor's libmnl it takes a length over INT_MAX for negative. */
        while (size >= sizeof(struct nlmsghdr)) {
                const struct nlmsghdr *message = (const struct nlmsghdr *) (const void *) rest;
                size_t length = message->nlmsg_len;
                int r;

                if (length < sizeof(*message) || length > size)
                        return -EBADMSG;
                r = parse_message(message, sequence, handler, owner);
                if (r != 0)
                        return r;
                length = MNL_ALIGN(length);
                if (length >= size)
                        return 0;
                rest += length;
                size -= length;
        }
        return size == 0 ? 0 : -EBADMSG;
}

/* One datagram of the answer: 1 when it is complete, 0, or a negative errno. */
static int receive(struct mnl_socket *netlink, socket_diag_handler *handler, void *owner) {
        _cleanup_free_ char *buffer = malloc(ANSWER_SIZE);
        ssize_t n;

        if (!buffer)
                return -ENOMEM;
        n = recv(mnl_socket_get_fd(netlink), buffer, ANSWER_SIZE, MSG_DONTWAIT | MSG_TRUNC);
        if (n < 0)
                return errno == EINTR ? 0 : -errno;
        if (n == 0 || n > ANSWER_SIZE)
                return -EBADMSG;
        return socket_diag_parse(buffer, (size_t) n, SEQUENCE, handler, owner);
}

static int begin(const void *question, size_t size, uint16_t flags, struct mnl_socket **ret) {
        char buffer[256] __attribute__((aligned(8)));
        struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
        struct mnl_socket *netlink;

        message->nlmsg_type = SOCK_DIAG_BY_FAMILY;
        message->nlmsg_flags = (uint16_t) (NLM_F_REQUEST | flags);
        message->nlmsg_seq = SEQUENCE;
        memcpy(mnl_nlmsg_put_extra_header(message, size), question, size);

        netlink = mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC);
        if (!netlink)
                return -errno;
        if (mnl_socket_sendto(netlink, message, message->nlmsg_len) < 0) {
                int error = -errno;

                mnl_socket_close(netlink);
                return error;
        }
        *ret = netlink;
        return 0;
}

static int ask(const void *question, size_t size, uint16_t flags, socket_diag_handler *handler,
               void *owner) {
        struct mnl_socket *netlink;
        int r = begin(question, size, flags, &netlink);

        if (r < 0)
                return r;
        do
                r = receive(netlink, handler, owner);
        while (r == 0);
        mnl_socket_close(netlink);
        return r < 0 ? r : 0;
}

static int dump_tcp(int family, unsigned port, uint32_t states, socket_diag_handler *handler,
                    void *owner) {
        struct inet_diag_req_v2 question = {
                .sdiag_family = (uint8_t) family,
                .sdiag_protocol = IPPROTO_TCP,
                .idiag_states = states,
                /* In a dump the kernel takes the local port alone as a filter; 0 is any. */
                .id.idiag_sport = htons((uint16_t) port),
        };

        return ask(&question, sizeof(question), NLM_F_DUMP, handler, owner);
}

int socket_diag_tcp(int family, unsigned port, socket_diag_handler *handler, void *owner) {
        return dump_tcp(family, port, UINT32_MAX, handler, owner);
}

int socket_diag_tcp_listening(int family, socket_diag_handler *handler, void *owner) {
        return dump_tcp(family, 0, 1U << TCP_LISTEN, handler, owner);
}

static void set_end(const struct sockaddr *end, __be16 *ret_port, __be32 ret_host[4]) {
        if (end->sa_family == AF_INET) {
                struct sockaddr_in in;

                memcpy(&in, end, sizeof(in));
                *ret_port = in.sin_port;
                memcpy(ret_host, &in.sin_addr, sizeof(in.sin_addr));
        } else {
                struct sockaddr_in6 in6;

                memcpy(&in6, end, sizeof(in6));
                *ret_port = in6.sin6_port;
                memcpy(ret_host, &in6.sin6_addr, sizeof(in6.sin6_addr));
        }
}

static int keep_one(void *owner, const struct diag_socket *found) {
        *(struct diag_socket *) owner = *found;
        return 0;
}

int socket_diag_tcp_one(const struct sockaddr *local, const struct sockaddr *remote,
                        struct diag_socket *ret) {
        struct inet_diag_req_v2 question = {
                .sdiag_family = (uint8_t) local->sa_family,
                .sdiag_protocol = IPPROTO_TCP,
                .idiag_states = UINT32_MAX,
                .id.idiag_cookie = {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE},
        };
        struct diag_socket found = {.family = AF_UNSPEC};
        int r;

        set_end(local, &question.id.idiag_sport, question.id.idiag_src);
        set_end(remote, &question.id.idiag_dport, question.id.idiag_dst);
        r = ask(&question, sizeof(question), 0, keep_one, &found);
        if (r < 0)
                return r;
        /* Where there is no such connection the kernel answers with the listener. */
        if (found.family == AF_UNSPEC || found.state == TCP_LISTEN)
                return -ENOENT;
        *ret = found;
        return 0;
}

bool socket_diag_is_complete(int result) {
        return result == 0 || result == -ENOENT;
}

int socket_diag_unix(socket_diag_handler *handler, void *owner) {
        struct unix_diag_req question = {
                .sdiag_family = AF_UNIX,
                .udiag_states = UINT32_MAX,
                .udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_VFS | UDIAG_SHOW_UID,
        };

        return ask(&question, sizeof(question), NLM_F_DUMP, handler, owner);
}

int socket_diag_unix_one(uint32_t inode, struct diag_socket *ret) {
        struct unix_diag_req question = {
                .sdiag_family = AF_UNIX,
                .udiag_states = UINT32_MAX,
                .udiag_ino = inode,
                .udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_VFS | UDIAG_SHOW_RQLEN | UDIAG_SHOW_PEER,
                .udiag_cookie = {UINT32_MAX, UINT32_MAX}, /* not known */
        };
        struct diag_socket found = {.family = AF_UNSPEC};
        int r;

        r = ask(&question, sizeof(question), 0, keep_one, &found);
        if (r < 0)
                return r;
        if (found.family != AF_UNIX || found.inode != inode)
                return -ENOENT;
        *ret = found;
        return 0;
}

int socket_diag_unix_clients(socket_diag_handler *handler, void *owner) {
        /* Not asked for by inode: then an answer has a page at most, a thousand clients. */
        struct unix_diag_req question = {
                .sdiag_family = AF_UNIX,
                .udiag_states = 1 << TCP_LISTEN,
                .udiag_show = UDIAG_SHOW_ICONS,
        };

        return ask(&question, sizeof(question), NLM_F_DUMP, handler, owner);
}

static bool is_any(const struct in6_addr *host) {
        static const struct in6_addr any4 = {{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}}};

        return IN6_IS_ADDR_UNSPECIFIED(host) || IN6_ARE_ADDR_EQUAL(host, &any4);
}

bool socket_diag_is_of(const struct diag_socket *s, const struct diag_socket *listener) {
        if ((s->family == AF_UNIX) != (listener->family == AF_UNIX))
                return false;
        if (s->family != AF_UNIX)
                return s->local_port == listener->local_port &&
                       (is_any(&listener->local) ||
                        IN6_ARE_ADDR_EQUAL(&s->local, &listener->local));
        if (listener->has_file)
                return s->has_file && s->file_inode == listener->file_inode &&
                       s->file_device == listener->file_device;
        return listener->name_length > 0 && s->name_length == listener->name_length &&
               memcmp(s->name, listener->name, s->name_length) == 0;
}

int socket_diag_unix_queues(struct socket_diag **ret) {
        struct unix_diag_req question = {
                .sdiag_family = AF_UNIX,
                .udiag_states = 1 << TCP_LISTEN,
                .udiag_show = UDIAG_SHOW_RQLEN,
        };

        struct mnl_socket *netlink;
        int r = begin(&question, sizeof(question), NLM_F_DUMP, &netlink);

        if (r == 0)
                *ret = (struct socket_diag *) netlink;
        return r;
}

int socket_diag_read(struct socket_diag *diag, socket_diag_handler *handler, void *owner) {
        return receive((struct mnl_socket *) diag, handler, owner);
}

struct socket_diag *socket_diag_free(struct socket_diag *diag) {
        if (diag)
                mnl_socket_close((struct mnl_socket *) diag);
        return NULL;
}
