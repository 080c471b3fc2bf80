/*
 * Socket addresses: from text, from the kernel, to text. Nothing is looked up (no name server can
 * delay us); the only questions put to the kernel are whether it has IPv6 and what number a network
 * interface has.
 */
#include "config/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "config/path.h"
#include "config/values.h"

static int fail(int error, const char *reason, const char **ret_reason) {
        *ret_reason = reason;
        return error;
}

static int parse_port(const char *text, in_port_t *ret, const char **ret_reason) {
        static const char range[] = "a port is a number from 1 to 65535";
        uint64_t port;
        size_t digits = strspn(text, "0123456789");

        if (digits > 0 && text[digits] == '-')
                return fail(-EOPNOTSUPP,
                            "port ranges come in a later version: write one ListenStream= for each "
                            "port",
                            ret_reason);
        if (strcmp(text, "0") == 0)
                return fail(-EINVAL,
                            "port 0 means any free port, which could not be had again after it was "
                            "lost: choose a port from 1 to 65535",
                            ret_reason);
        if (text[0] == '0' || value_to_number(text, 1, 65535, &port) < 0)
                return fail(-EINVAL, range, ret_reason);
        *ret = htons((uint16_t) port);
        return 0;
}

static bool kernel_has_ipv6(void) {
        _cleanup_close_ int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

        /* any other failure (EMFILE) says nothing about IPv6 */
        return fd >= 0 || errno != EAFNOSUPPORT;
}

static void set_in(struct address *a, struct in_addr host, in_port_t port) {
        a->length = sizeof(a->in);
        a->in.sin_family = AF_INET;
        a->in.sin_addr = host;
        a->in.sin_port = port;
}

static void set_in6(struct address *a, const struct in6_addr *host, in_port_t port) {
        a->length = sizeof(a->in6);
        a->in6.sin6_family = AF_INET6;
        a->in6.sin6_addr = *host;
        a->in6.sin6_port = port;
}

static int parse_wildcard(const char *text, struct address *a, const char **ret_reason) {
        in_port_t port;
        int r = parse_port(text, &port, ret_reason);

        if (r < 0)
                return r;
        if (kernel_has_ipv6())
                set_in6(a, &in6addr_any, port);
        else
                set_in(a, (struct in_addr){htonl(INADDR_ANY)}, port);
        return 0;
}

static int parse_in(const char *text, struct address *a, const char **ret_reason) {
        const char *colon = strrchr(text, ':');
        char host_text[INET_ADDRSTRLEN];
        struct in_addr host;
        in_port_t port;
        int r;

        if ((size_t) (colon - text) >= sizeof(host_text))
                host_text[0] = '\0';
        else
                *(char *) mempcpy(host_text, text, (size_t) (colon - text)) = '\0';
        if (inet_pton(AF_INET, host_text, &host) != 1)
                return fail(-EINVAL,
                            "an IPv4 address looks like 127.0.0.1:8080, an IPv6 address like "
                            "[::1]:8080; names are not looked up",
                            ret_reason);
        if (IN_MULTICAST(ntohl(host.s_addr)) || host.s_addr == htonl(INADDR_BROADCAST))
                return fail(-EINVAL, "nobody can connect to a multicast or broadcast address",
                            ret_reason);
        r = parse_port(colon + 1, &port, ret_reason);
        if (r < 0)
                return r;
        set_in(a, host, port);
        return 0;
}

/* The kernel wants an interface for a link-local address and forgets it for any other. */
static int parse_scope(const char *scope, const struct in6_addr *host, uint32_t *ret,
                       const char **ret_reason) {
        uint64_t number;

        if (!scope && !IN6_IS_ADDR_LINKLOCAL(host)) {
                *ret = 0;
                return 0;
        }
        if (!scope)
                return fail(-EINVAL,
                            "a link-local address needs its network interface: "
                            "[fe80::1%eth0]:8080",
                            ret_reason);
        if (!IN6_IS_ADDR_LINKLOCAL(host))
                return fail(-EINVAL,
                            "only a link-local address (fe80::) takes a network interface: leave "
                            "out '%' and what follows it",
                            ret_reason);
        *ret = if_nametoindex(scope);
        if (*ret == 0 && value_to_number(scope, 1, INT32_MAX, &number) == 0)
                *ret = (uint32_t) number;
        if (*ret == 0)
                return fail(-EINVAL,
                            "there is no network interface of that name (`ip link` lists them)",
                            ret_reason);
        return 0;
}

static int check_in6(const struct in6_addr *host, const char **ret_reason) {
        if (IN6_IS_ADDR_V4MAPPED(host))
                return fail(-EINVAL, "this is an IPv4 address: write it as 127.0.0.1:8080",
                            ret_reason);
        if (IN6_IS_ADDR_MULTICAST(host))
                return fail(-EINVAL, "nobody can connect to a multicast address", ret_reason);
        return 0;
}

/* "[HOST%SCOPE]:PORT", or systemd's "[HOST]:PORT%SCOPE". Cuts `text` into its parts. */
static int parse_in6(char *text, struct address *a, const char **ret_reason) {
        char *end = strchr(text, ']'), *scope;
        struct in6_addr host;
        in_port_t port;
        uint32_t scope_id = 0;
        int r;

        if (!end || end[1] != ':')
                return fail(-EINVAL, "an IPv6 address looks like [::1]:8080", ret_reason);
        *end = '\0';
        scope = strchr(text, '%');
        if (!scope)
                scope = strchr(end + 2, '%');
        if (scope)
                *scope++ = '\0';
        if (inet_pton(AF_INET6, text + 1, &host) != 1)
                return fail(-EINVAL,
                            "an IPv6 address looks like [::1]:8080; names are not looked up",
                            ret_reason);
        r = check_in6(&host, ret_reason);
        if (r == 0)
                r = parse_port(end + 2, &port, ret_reason);
        if (r == 0)
                r = parse_scope(scope, &host, &scope_id, ret_reason);
        if (r < 0)
                return r;
        set_in6(a, &host, port);
        a->in6.sin6_scope_id = scope_id;
        return 0;
}

static int parse_unix(const char *text, struct address *a, const char **ret_reason) {
        int r = path_normalize(text, a->un.sun_path, sizeof(a->un.sun_path), ret_reason);

        if (r < 0)
                return r;
        a->un.sun_family = AF_UNIX;
        a->length =
                (socklen_t) (offsetof(struct sockaddr_un, sun_path) + strlen(a->un.sun_path) + 1);
        return 0;
}

/* Everything that is neither a path, a number nor in brackets. */
static int parse_other(const char *text, struct address *a, const char **ret_reason) {
        if (text[0] == '@')
                return fail(-EOPNOTSUPP,
                            "abstract Unix addresses come in a later version: use a path",
                            ret_reason);
        if (strncmp(text, "vsock", 5) == 0)
                return fail(-EOPNOTSUPP, "AF_VSOCK addresses are not supported: use TCP or a path",
                            ret_reason);
        if (text[strcspn(text, " \t")])
                return fail(-EINVAL, "write one ListenStream= for each address", ret_reason);
        if (strchr(text, '/'))
                return fail(-EINVAL, "a path must be absolute: begin it with '/'", ret_reason);
        if (!strchr(text, ':'))
                return fail(-EINVAL,
                            "this is no address: write a port (8080), 127.0.0.1:8080, [::1]:8080 "
                            "or an absolute path",
                            ret_reason);
        if (strchr(text, ':') != strrchr(text, ':'))
                return fail(-EINVAL, "an IPv6 address stands in brackets: [::1]:8080", ret_reason);
        return parse_in(text, a, ret_reason);
}

int address_parse(const char *text, struct address *ret, const char **ret_reason) {
        struct address a = {.type = SOCK_STREAM};
        char copy[ADDRESS_TEXT_SIZE];
        int r;

        if (text[0] == '/') {
                r = parse_unix(text, &a, ret_reason);
        } else if (strlen(text) >= sizeof(copy)) {
                r = fail(-EINVAL, "this is too long for an IP address, and a path begins with '/'",
                         ret_reason);
        } else if (text[0] == '[') {
                strcpy(copy, text);
                r = parse_in6(copy, &a, ret_reason);
        } else if (text[0] && !text[strspn(text, "0123456789-")]) {
                r = parse_wildcard(text, &a, ret_reason);
        } else {
                r = parse_other(text, &a, ret_reason);
        }
        if (r == 0)
                *ret = a;
        return r;
}

int address_of_socket(int socket_fd, struct address *ret) {
        struct address a = {0};
        socklen_t type_length = sizeof(a.type);

        a.length = sizeof(a.un);
        if (getsockname(socket_fd, &a.any, &a.length) < 0)
                return -errno;
        if (a.length > sizeof(a.un))
                a.length = sizeof(a.un); /* a family with longer addresses, which we cannot name */
        if (getsockopt(socket_fd, SOL_SOCKET, SO_TYPE, &a.type, &type_length) < 0)
                return -errno;
        *ret = a;
        return 0;
}

static size_t used_size(const struct address *a) {
        size_t length = a->length > sizeof(a->any) ? a->length : sizeof(a->any);

        return offsetof(struct address, any) + length;
}

size_t address_size(const struct address *a) {
        return used_size(a) + 1; /* the kernel may leave out the NUL of a path */
}

struct address *address_copy(void *room, const struct address *a) {
        *(char *) mempcpy(room, a, used_size(a)) = '\0';
        return room;
}

struct address *address_dup(const struct address *a) {
        void *room = malloc(address_size(a));

        return room ? address_copy(room, a) : NULL;
}

/* Bytes of sun_path that the address says are there; the kernel may leave out the NUL. */
static size_t unix_size(const struct address *a) {
        size_t offset = offsetof(struct sockaddr_un, sun_path);
        size_t size = a->length > offset ? a->length - offset : 0;

        /* a path ends at its NUL, an abstract name begins with one and counts all bytes */
        return size > 0 && a->un.sun_path[0] ? strnlen(a->un.sun_path, size) : size;
}

static bool unix_equal(const struct address *a, const struct address *b) {
        size_t size = unix_size(a);

        /* two unnamed sockets have no address in common */
        return size > 0 && size == unix_size(b) &&
               memcmp(a->un.sun_path, b->un.sun_path, size) == 0;
}

bool address_equal(const struct address *a, const struct address *b) {
        if (a->type != b->type || a->any.sa_family != b->any.sa_family)
                return false;
        switch (a->any.sa_family) {
        case AF_INET:
                return a->in.sin_port == b->in.sin_port &&
                       a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
        case AF_INET6:
                return a->in6.sin6_port == b->in6.sin6_port &&
                       a->in6.sin6_scope_id == b->in6.sin6_scope_id &&
                       IN6_ARE_ADDR_EQUAL(&a->in6.sin6_addr, &b->in6.sin6_addr);
        case AF_UNIX:
                return unix_equal(a, b);
        default:
                return false;
        }
}

bool address_is_unix(const struct address *a) {
        return a->any.sa_family == AF_UNIX;
}

unsigned address_port(const struct address *a) {
        if (a->any.sa_family == AF_INET)
                return ntohs(a->in.sin_port);
        if (a->any.sa_family == AF_INET6)
                return ntohs(a->in6.sin6_port);
        return 0;
}

static void text_of_in6(const struct address *a, char *ret) {
        char host[INET6_ADDRSTRLEN], scope[IF_NAMESIZE];

        inet_ntop(AF_INET6, &a->in6.sin6_addr, host, sizeof(host));
        if (a->in6.sin6_scope_id == 0)
                snprintf(ret, ADDRESS_TEXT_SIZE, "[%s]:%u", host, address_port(a));
        else if (if_indextoname(a->in6.sin6_scope_id, scope))
                snprintf(ret, ADDRESS_TEXT_SIZE, "[%s%%%s]:%u", host, scope, address_port(a));
        else
                snprintf(ret, ADDRESS_TEXT_SIZE, "[%s%%%u]:%u", host, a->in6.sin6_scope_id,
                         address_port(a));
}

/* Other people's sockets have any bytes in their names: what is printed must not be a terminal's
 * control sequence or a second line. */
static void text_of_unix(const struct address *a, char *ret) {
        size_t size = unix_size(a);

        if (size == 0) {
                strcpy(ret, "(unnamed Unix socket)");
                return;
        }
        for (size_t i = 0; i < size; i++) {
                unsigned char c = (unsigned char) a->un.sun_path[i];

                ret[i] = (char) (c < 0x20 || c == 0x7f ? '?' : c);
        }
        ret[size] = '\0';
        if (!a->un.sun_path[0])
                ret[0] = '@';
}

const char *address_text(const struct address *a, char ret[ADDRESS_TEXT_SIZE]) {
        const unsigned char *host = (const unsigned char *) &a->in.sin_addr;

        switch (a->any.sa_family) {
        case AF_INET: /* not by inet_ntop(), which would format it twice */
                snprintf(ret, ADDRESS_TEXT_SIZE, "%u.%u.%u.%u:%u", host[0], host[1], host[2],
                         host[3], address_port(a));
                break;
        case AF_INET6:
                text_of_in6(a, ret);
                break;
        case AF_UNIX:
                text_of_unix(a, ret);
                break;
        default:
                snprintf(ret, ADDRESS_TEXT_SIZE, "(socket of address family %d)", a->any.sa_family);
        }
        return ret;
}
