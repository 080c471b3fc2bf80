/*
 * Addresses that cannot both be bound, found before anything is tried. All addresses are sorted so
 * that those of one port stand together and equal ones are neighbours; within a port only the one
 * that takes all IPv4 addresses and the one that takes all IPv6 addresses can overlap the others.
 */
#include "config/check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"

struct bound {
        const struct address *address;
        const struct draft_socket *socket;
        struct place place;
        size_t order; /* of finding: the later one of two is the one to report */
};

static int compare_numbers(size_t a, size_t b) {
        return a < b ? -1 : a > b;
}

static int compare_hosts(const struct address *a, const struct address *b) {
        int r;

        switch (a->any.sa_family) {
        case AF_INET:
                return memcmp(&a->in.sin_addr, &b->in.sin_addr, sizeof(a->in.sin_addr));
        case AF_INET6:
                r = memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof(a->in6.sin6_addr));
                return r ? r : compare_numbers(a->in6.sin6_scope_id, b->in6.sin6_scope_id);
        default:
                return strcmp(a->un.sun_path, b->un.sun_path);
        }
}

static int compare_bounds(const void *a, const void *b) {
        const struct bound *one = a, *other = b;
        int r = compare_numbers(address_port(one->address), address_port(other->address));

        if (r == 0)
                r = compare_numbers(one->address->any.sa_family, other->address->any.sa_family);
        if (r == 0)
                r = compare_hosts(one->address, other->address);
        return r ? r : compare_numbers(one->order, other->order);
}

/* What BindIPv6Only=default means on this machine. */
static bool system_binds_ipv6_only(void) {
        _cleanup_close_ int fd = open("/proc/sys/net/ipv6/bindv6only", O_RDONLY | O_CLOEXEC);
        char digit = '0';

        return fd >= 0 && read(fd, &digit, 1) == 1 && digit == '1';
}

static bool takes_all_ipv6(const struct bound *b) {
        return b->address->any.sa_family == AF_INET6 &&
               IN6_IS_ADDR_UNSPECIFIED(&b->address->in6.sin6_addr);
}

static bool takes_all_ipv4(const struct bound *b, bool default_is_ipv6_only) {
        enum ipv6_only only = b->socket->config.ipv6_only;

        if (b->address->any.sa_family == AF_INET)
                return b->address->in.sin_addr.s_addr == htonl(INADDR_ANY);
        return takes_all_ipv6(b) &&
               (only == IPV6_ONLY_BOTH || (only == IPV6_ONLY_DEFAULT && !default_is_ipv6_only));
}

static void report(struct draft *draft, const struct bound *b, const struct bound *other) {
        char text[ADDRESS_TEXT_SIZE], other_text[ADDRESS_TEXT_SIZE];

        address_text(b->address, text);
        address_text(other->address, other_text);
        if (address_equal(b->address, other->address))
                diagnostics_add(draft->diagnostics, SEVERITY_ERROR, b->place.file, b->place.line,
                                "%s is an address of listener %s already, at %s:%u: remove one of "
                                "the two",
                                text, other->socket->config.name, other->place.file,
                                other->place.line);
        else
                diagnostics_add(draft->diagnostics, SEVERITY_ERROR, b->place.file, b->place.line,
                                "%s and %s of listener %s, at %s:%u, overlap and cannot both be "
                                "bound: remove one%s",
                                text, other_text, other->socket->config.name, other->place.file,
                                other->place.line,
                                b->address->any.sa_family != other->address->any.sa_family
                                        ? ", or set BindIPv6Only=ipv6-only for the IPv6 one"
                                        : "");
}

/* The addresses of one port. */
static void check_port(struct draft *draft, const struct bound *bounds, size_t n,
                       bool default_is_ipv6_only) {
        const struct bound *all_ipv4 = NULL, *all_ipv6 = NULL;

        for (size_t i = 0; i < n; i++) {
                const struct bound *b = &bounds[i];

                if (takes_all_ipv4(b, default_is_ipv6_only) &&
                    (!all_ipv4 || b->order < all_ipv4->order))
                        all_ipv4 = b;
                if (takes_all_ipv6(b) && (!all_ipv6 || b->order < all_ipv6->order))
                        all_ipv6 = b;
        }
        for (size_t i = 0; i < n; i++) {
                const struct bound *b = &bounds[i];
                bool is_ipv4 = b->address->any.sa_family == AF_INET ||
                               takes_all_ipv4(b, default_is_ipv6_only);

                if (i > 0 && address_equal(b->address, bounds[i - 1].address))
                        report(draft, b, &bounds[i - 1]);
                else if (is_ipv4 && all_ipv4 && all_ipv4 != b)
                        report(draft, b, all_ipv4);
                else if (b->address->any.sa_family == AF_INET6 && all_ipv6 && all_ipv6 != b)
                        report(draft, b, all_ipv6);
        }
}

static void check_paths(struct draft *draft, const struct bound *bounds, size_t n) {
        const char *control = draft->broker.control_socket;

        for (size_t i = 0; i < n; i++) {
                const struct bound *b = &bounds[i];

                if (i > 0 && address_equal(b->address, bounds[i - 1].address))
                        report(draft, b, &bounds[i - 1]);
                if (control && strcmp(control, b->address->un.sun_path) == 0)
                        diagnostics_add(draft->diagnostics, SEVERITY_ERROR, b->place.file,
                                        b->place.line,
                                        "%s is the broker's own ControlSocket=, at %s:%u: choose "
                                        "another path",
                                        control, draft->control_socket_place.file,
                                        draft->control_socket_place.line);
        }
}

static void check_sorted(struct draft *draft, const struct bound *bounds, size_t n) {
        bool default_is_ipv6_only = system_binds_ipv6_only();

        for (size_t begin = 0, end; begin < n; begin = end) {
                unsigned port = address_port(bounds[begin].address);

                for (end = begin + 1; end < n && address_port(bounds[end].address) == port;)
                        end++;
                if (port == 0) /* Unix */
                        check_paths(draft, bounds + begin, end - begin);
                else
                        check_port(draft, bounds + begin, end - begin, default_is_ipv6_only);
        }
}

void check_addresses(struct draft *draft) {
        size_t n = 0, at = 0;
        struct bound *bounds;

        for (size_t i = 0; i < draft->n_sockets; i++)
                n += draft->sockets[i]->config.n_addresses;
        if (n == 0)
                return;
        bounds = calloc(n, sizeof(*bounds));
        if (!bounds) {
                draft->out_of_memory = true;
                return;
        }
        for (size_t i = 0; i < draft->n_sockets; i++) {
                const struct draft_socket *s = draft->sockets[i];

                for (size_t k = 0; k < s->config.n_addresses; k++, at++)
                        bounds[at] = (struct bound){.address = s->config.addresses[k],
                                                    .socket = s,
                                                    .place = s->address_places[k],
                                                    .order = at};
        }
        qsort(bounds, n, sizeof(*bounds), compare_bounds);
        check_sorted(draft, bounds, n);
        free(bounds);
}
