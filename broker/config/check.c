/*
 * Checks of a whole configuration, each linear or a sort: ten thousand listeners are checked in a
 * few milliseconds.
 */
#include "config/check.h"

#include <stdlib.h>
#include <string.h>

#include "fd_list.h"

#define check_error(d, p, ...)                                                                     \
        diagnostics_add((d)->diagnostics, SEVERITY_ERROR, (p).file, (p).line, __VA_ARGS__)

static void check_has_address(struct draft *draft, const struct draft_socket *s) {
        if (s->config.n_addresses > 0 || s->has_bad_address)
                return;
        check_error(draft, s->place,
                    "listener %s has no address: add a line such as ListenStream=8080 or "
                    "ListenStream=/run/%s.sock",
                    s->config.name, s->config.name);
}

/* SocketUser= alone means the user's own group too, as in systemd. */
static void complete_owner(struct draft *draft, struct draft_socket *s) {
        struct socket_config *c = &s->config;
        struct user user;

        if (!c->has_socket_user || c->has_socket_group)
                return;
        if (identities_user(draft->identities, c->socket_uid, &user) < 0) {
                check_error(draft, s->user_place,
                            "SocketUser=%u: /etc/passwd does not say which group user %u has: add "
                            "SocketGroup=",
                            c->socket_uid, c->socket_uid);
                return;
        }
        c->has_socket_group = true;
        c->socket_gid = user.gid;
}

/* All sockets of a listener, up to a packet's worth, are in flight at once when it is lent. */
static void check_in_flight(struct draft *draft, const struct draft_socket *s) {
        const struct limits *l = &draft->broker.limits;
        size_t packet = s->config.n_addresses < FD_LIST_MAX ? s->config.n_addresses : FD_LIST_MAX;

        if (packet > l->fds_in_flight_per_session)
                check_error(draft, s->place,
                            "listener %s has %zu sockets and could never be lent: raise "
                            "DescriptorsInFlightPerSessionMax=%u in [Broker]",
                            s->config.name, s->config.n_addresses, l->fds_in_flight_per_session);
        else if (packet > l->fds_in_flight)
                check_error(draft, s->place,
                            "listener %s has %zu sockets and could never be lent: raise "
                            "DescriptorsInFlightMax=%u in [Broker]",
                            s->config.name, s->config.n_addresses, l->fds_in_flight);
}

static void check_count(struct draft *draft, const char *path) {
        size_t count = 0;

        for (size_t i = 0; i < draft->n_sockets; i++)
                count += draft->sockets[i]->config.n_addresses;
        if (count > draft->broker.limits.listeners)
                diagnostics_add(draft->diagnostics, SEVERITY_ERROR, path, 0,
                                "there are %zu sockets and ListenersMax=%u allows fewer: raise it "
                                "in [Broker]",
                                count, draft->broker.limits.listeners);
        /* After an error it is not known whether there are none. */
        if (draft->n_sockets == 0 && draft->n_components == 0 && draft->diagnostics->errors == 0)
                diagnostics_add(draft->diagnostics, SEVERITY_WARNING, path, 0,
                                "no listener is configured: add a [Socket NAME] section with "
                                "ListenStream=, see fdpass.conf(5)");
}

/* ---- names of descriptors ---- */

/* How the library finds a descriptor by name: with ".socket" or without it. */
static size_t fd_name_length(const struct draft_socket *s, const char **ret_name) {
        const char *name = s->config.fd_name ? s->config.fd_name : s->config.name;
        size_t length = strlen(name);

        *ret_name = name;
        if (length > 7 && strcmp(name + length - 7, ".socket") == 0)
                length -= 7;
        return length;
}

static int compare_fd_names(const void *a, const void *b) {
        const struct draft_socket *one = *(const struct draft_socket *const *) a;
        const struct draft_socket *other = *(const struct draft_socket *const *) b;
        const char *name_one, *name_other;
        size_t length_one = fd_name_length(one, &name_one);
        size_t length_other = fd_name_length(other, &name_other);
        int r = memcmp(name_one, name_other, length_one < length_other ? length_one : length_other);

        if (r != 0)
                return r;
        if (length_one != length_other)
                return length_one < length_other ? -1 : 1;
        return strcmp(one->config.name, other->config.name);
}

static bool have_same_fd_name(const struct draft_socket *a, const struct draft_socket *b) {
        const char *name_a, *name_b;
        size_t length = fd_name_length(a, &name_a);

        return length == fd_name_length(b, &name_b) && memcmp(name_a, name_b, length) == 0;
}

static void report_fd_name(struct draft *draft, const struct draft_socket *first,
                           const struct draft_socket *s) {
        struct place p = s->config.fd_name ? s->fd_name_place : s->place;
        const char *name;
        int length = (int) fd_name_length(s, &name);

        diagnostics_add(draft->diagnostics, SEVERITY_WARNING, p.file, p.line,
                        "the descriptors of %s and of %s have the same name, %.*s: a program that "
                        "takes both cannot tell them apart by name",
                        first->config.name, s->config.name, length, name);
}

/* systemd allows it, and who takes both listeners can still tell them apart by their order. */
static void check_fd_names(struct draft *draft) {
        size_t n = draft->n_sockets;
        struct draft_socket **sorted = calloc(n + 1, sizeof(struct draft_socket *));

        if (!sorted) {
                draft->out_of_memory = true;
                return;
        }
        if (n > 0) {
                memcpy(sorted, draft->sockets, n * sizeof(struct draft_socket *));
                qsort(sorted, n, sizeof(struct draft_socket *), compare_fd_names);
        }
        for (size_t i = 1; i < n; i++)
                if (have_same_fd_name(sorted[i - 1], sorted[i]))
                        report_fd_name(draft, sorted[i - 1], sorted[i]);
        free(sorted);
}

void check_draft(struct draft *draft, const char *path) {
        for (size_t i = 0; i < draft->n_sockets; i++) {
                check_has_address(draft, draft->sockets[i]);
                complete_owner(draft, draft->sockets[i]);
                check_in_flight(draft, draft->sockets[i]);
        }
        check_addresses(draft);
        resolve_components(draft);
        check_components(draft);
        check_fd_names(draft);
        check_count(draft, path);
}
