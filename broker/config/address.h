/* A socket address in the form that configuration, kernel and messages agree on. */
#ifndef CONFIG_ADDRESS_H
#define CONFIG_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

/* "[" + INET6_ADDRSTRLEN + "%" + IFNAMSIZ + "]:65535", or a path */
#define ADDRESS_TEXT_SIZE 128

struct address {
        int type; /* SOCK_STREAM */
        socklen_t length;
        union {
                struct sockaddr any;
                struct sockaddr_in in;
                struct sockaddr_in6 in6;
                struct sockaddr_un un;
        };
};

/*
 * What stands after ListenStream=: "8080" (all addresses, IPv6 with BindIPv6Only deciding about
 * IPv4; 0.0.0.0 where the kernel has no IPv6), "127.0.0.1:8080", "[::1]:8080", "[fe80::1%eth0]:80",
 * "/run/web.sock". On failure *ret_reason is a static sentence that says what would be right.
 *
 * Returns 0 or -EINVAL (not an address), -ENAMETOOLONG (a path over 107 bytes), -EOPNOTSUPP (a form
 * that systemd knows and this version does not: abstract names, port ranges, vsock).
 */
int address_parse(const char *text, struct address *ret, const char **ret_reason);

/* What getsockname(2) says, with SO_TYPE. 0 or a negative errno (-ENOTSOCK). */
int address_of_socket(int socket_fd, struct address *ret);

/*
 * What one takes when it is kept: the length of its own kind and a NUL, not the room for the
 * longest path, which would be most of what a listener costs. Such a one is read as any other, but
 * copied with address_copy() and never by assignment. `room` has that many bytes, or is an address.
 */
size_t address_size(const struct address *a);
struct address *address_copy(void *room, const struct address *a);
struct address *address_dup(const struct address *a); /* for free(3); NULL: no memory */

bool address_equal(const struct address *a, const struct address *b);
bool address_is_unix(const struct address *a);
unsigned address_port(const struct address *a); /* 0 for Unix */

/* As configuration writes it: "0.0.0.0:8080", "[::]:8080", "/run/web.sock". Returns ret. */
const char *address_text(const struct address *a, char ret[ADDRESS_TEXT_SIZE]);

#endif
