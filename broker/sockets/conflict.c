/*
 * Why an address cannot be bound. See conflict.h.
 *
 * bind(2) fails for three different reasons with one errno: somebody listens (or is about to), a
 * connection has the port as its own, or the kernel keeps what is left of a closed connection. They
 * are told apart by sock_diag, which shows sockets that have no process as well. What is in the way
 * need not have the same address: a wildcard includes all addresses, and an IPv6 wildcard IPv4 too
 * unless it was bound IPv6-only.
 */
#include "sockets/conflict.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "sockets/path_owners.h"
#include "sockets/process_sockets.h"
#include "sockets/socket_diag.h"

#define INODES_MAX 32

/* A TCP end point in one form: IPv4 is mapped (::ffff:a.b.c.d). */
struct end {
        struct in6_addr host;
        unsigned port;
        bool is_ipv4;
        bool ipv6_only;
        bool is_any;
};

static bool is_any_host(const struct in6_addr *host) {
        static const struct in6_addr any4 = {{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}}};

        return IN6_IS_ADDR_UNSPECIFIED(host) || IN6_ARE_ADDR_EQUAL(host, &any4);
}

static struct end make_end(const struct in6_addr *host, unsigned port, bool ipv6_only) {
        return (struct end){
                .host = *host,
                .port = port,
                .is_ipv4 = IN6_IS_ADDR_V4MAPPED(host),
                .ipv6_only = ipv6_only,
                .is_any = is_any_host(host),
        };
}

static struct end end_of_address(const struct address *a) {
        struct in6_addr host = {.s6_addr = {[10] = 0xff, [11] = 0xff}};

        if (a->any.sa_family == AF_INET6)
                host = a->in6.sin6_addr;
        else
                memcpy(host.s6_addr + 12, &a->in.sin_addr, 4);
        return make_end(&host, address_port(a), false);
}

static bool includes(const struct end *a, const struct end *b) {
        if (!a->is_any)
                return false;
        if (a->is_ipv4)
                return b->is_ipv4;
        return !b->is_ipv4 || !a->ipv6_only;
}

static bool ends_overlap(const struct end *a, const struct end *b) {
        if (a->port != b->port)
                return false;
        return IN6_ARE_ADDR_EQUAL(&a->host, &b->host) || includes(a, b) || includes(b, a);
}

bool conflict_overlaps(const struct address *a, const struct address *b) {
        struct end x, y;

        if (address_is_unix(a) || address_is_unix(b))
                return address_equal(a, b);
        x = end_of_address(a);
        y = end_of_address(b);
        return ends_overlap(&x, &y);
}

/* "0.0.0.0:8080" of what the kernel told. Returns ret. */
static const char *end_text(const struct in6_addr *host, unsigned port,
                            char ret[ADDRESS_TEXT_SIZE]) {
        struct address a = {.type = SOCK_STREAM};

        if (IN6_IS_ADDR_V4MAPPED(host)) {
                a.length = sizeof(a.in);
                a.in.sin_family = AF_INET;
                a.in.sin_port = htons((uint16_t) port);
                memcpy(&a.in.sin_addr, host->s6_addr + 12, 4);
        } else {
                a.length = sizeof(a.in6);
                a.in6.sin6_family = AF_INET6;
                a.in6.sin6_port = htons((uint16_t) port);
                a.in6.sin6_addr = *host;
        }
        return address_text(&a, ret);
}

/* ---- what is there ---- */

enum obstacle { OBSTACLE_LISTENER, OBSTACLE_BOUND, OBSTACLE_CONNECTION, OBSTACLE_REMAINDER };

/* All obstacles of one kind: the first as a whole, of the others the inodes. */
struct found {
        size_t count;
        size_t n_inodes;
        uint32_t inodes[INODES_MAX];
        struct diag_socket first;
};

struct search {
        struct end wanted;
        struct found kinds[OBSTACLE_REMAINDER + 1];
};

static enum obstacle kind_of(const struct diag_socket *s) {
        if (s->state == TCP_LISTEN)
                return OBSTACLE_LISTENER;
        if (s->inode == 0)
                return OBSTACLE_REMAINDER;
        if (s->state == TCP_CLOSE || s->state == SOCKET_DIAG_BOUND_INACTIVE)
                return OBSTACLE_BOUND;
        return OBSTACLE_CONNECTION;
}

static void add_found(struct found *found, const struct diag_socket *s) {
        if (found->count == 0)
                found->first = *s;
        found->count++;
        if (s->inode != 0 && found->n_inodes < INODES_MAX)
                found->inodes[found->n_inodes++] = s->inode;
}

static int on_tcp_socket(void *owner, const struct diag_socket *s) {
        struct search *search = owner;
        struct end end = make_end(&s->local, s->local_port, s->ipv6_only);

        if (ends_overlap(&search->wanted, &end))
                add_found(&search->kinds[kind_of(s)], s);
        return 0;
}

/* ---- sentences ---- */

static void put(char ret[CONFLICT_TEXT_SIZE], const char *format, ...)
        __attribute__((format(printf, 2, 3)));
static void put(char ret[CONFLICT_TEXT_SIZE], const char *format, ...) {
        size_t used = strlen(ret);
        va_list arguments;

        va_start(arguments, format);
        (void) vsnprintf(ret + used, CONFLICT_TEXT_SIZE - used, format, arguments);
        va_end(arguments);
}

/*
 * "nginx (pid 812, uid 33) and 3 more processes". True when the processes are known, false when
 * only that there is one.
 */
static bool put_who(char ret[CONFLICT_TEXT_SIZE], const struct found *found, bool *ret_plural) {
        struct socket_processes processes = {0};
        const struct socket_process *first = &processes.first[0];

        *ret_plural = false;
        if (found->n_inodes > 0)
                (void) process_sockets_find(found->inodes, found->n_inodes, &processes);
        if (processes.count == 0 && found->n_inodes == 0) {
                put(ret, "The kernel itself");
                return false;
        }
        if (processes.count == 0) {
                put(ret, "%s",
                    processes.hidden > 0
                            ? "Another user's process"
                            : "A process that cannot be seen from here, perhaps in a container,");
                if (found->first.has_uid)
                        put(ret, " (its socket is of uid %u)", found->first.uid);
                return false;
        }
        put(ret, "%s (pid %d", first->name, (int) first->pid);
        if (first->has_uid)
                put(ret, ", uid %u", (unsigned) first->uid);
        put(ret, ")");
        *ret_plural = processes.count > 1;
        if (processes.count > 1)
                put(ret, " and %zu more process%s", processes.count - 1,
                    processes.count > 2 ? "es" : "");
        return true;
}

/* A command that names the process to whoever may see it. */
static void put_how_to_see(char ret[CONFLICT_TEXT_SIZE], unsigned port) {
        put(ret, " Run as root to see which: ss -tlnp 'sport = :%u'.", port);
}

/* What a process does to an address, of one and of several. */
struct verb {
        const char *one, *several;
};
static const struct verb listens = {"listens on", "listen on"};
static const struct verb has_bound = {"has bound, without listening yet,",
                                      "have bound, without listening yet,"};

static void put_listener(char ret[CONFLICT_TEXT_SIZE], const struct found *found,
                         const struct address *wanted, const struct verb *verb) {
        char held[ADDRESS_TEXT_SIZE], want[ADDRESS_TEXT_SIZE];
        bool plural;
        bool known = put_who(ret, found, &plural);

        (void) end_text(&found->first.local, found->first.local_port, held);
        (void) address_text(wanted, want);
        put(ret, " %s %s", plural ? verb->several : verb->one, held);
        if (strcmp(held, want) != 0)
                put(ret, ", and %s cannot be had beside that", want);
        put(ret, ".");
        if (!known && found->n_inodes > 0)
                put_how_to_see(ret, found->first.local_port);
        put(ret, " Stop %s, or choose another address.", plural ? "them" : "it");
}

static void put_ends(char ret[CONFLICT_TEXT_SIZE], const struct diag_socket *s) {
        char local[ADDRESS_TEXT_SIZE], remote[ADDRESS_TEXT_SIZE];

        put(ret, "%s to %s", end_text(&s->local, s->local_port, local),
            end_text(&s->remote, s->remote_port, remote));
}

/* Ports that the kernel gives to outgoing connections: there anybody can be in the way. */
static bool is_ephemeral(unsigned port, unsigned *ret_first, unsigned *ret_last) {
        FILE *f = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
        bool read = f && fscanf(f, "%u %u", ret_first, ret_last) == 2;

        if (f)
                (void) fclose(f);
        return read && *ret_first <= port && port <= *ret_last;
}

static void put_connection(char ret[CONFLICT_TEXT_SIZE], const struct found *found) {
        const struct diag_socket *s = &found->first;
        unsigned first, last;
        bool plural;
        bool known = put_who(ret, found, &plural);

        put(ret, " %s a connection with this port at its own end, ", plural ? "have" : "has");
        put_ends(ret, s);
        put(ret, "; nobody listens.");
        if (!known)
                put_how_to_see(ret, s->local_port);
        if (is_ephemeral(s->local_port, &first, &last))
                put(ret,
                    " Ports %u to %u are given to outgoing connections: wait for its end, and "
                    "choose a port outside them or add this one to "
                    "net.ipv4.ip_local_reserved_ports.",
                    first, last);
        else
                put(ret, " Wait for its end, or stop the program.");
}

static const char *state_name(int state) {
        static const char *const names[] = {
                [TCP_FIN_WAIT1] = "FIN_WAIT1",   [TCP_FIN_WAIT2] = "FIN_WAIT2",
                [TCP_TIME_WAIT] = "TIME_WAIT",   [TCP_CLOSE_WAIT] = "CLOSE_WAIT",
                [TCP_LAST_ACK] = "LAST_ACK",     [TCP_CLOSING] = "CLOSING",
                [TCP_ESTABLISHED] = "connected", [TCP_SYN_RECV] = "SYN_RECV",
        };

        if (state < 0 || (size_t) state >= sizeof(names) / sizeof(names[0]) || !names[state])
                return "closing";
        return names[state];
}

static void put_remainder(char ret[CONFLICT_TEXT_SIZE], const struct found *found) {
        const struct diag_socket *s = &found->first;

        put(ret, "No process has it: the kernel keeps what is left of a closed connection, ");
        put_ends(ret, s);
        put(ret, " (%s", state_name(s->state));
        if (found->count > 1)
                put(ret, ", and %zu more", found->count - 1);
        if (s->in_timer)
                put(ret, "), for another %u s", (s->timer_msec + 999) / 1000);
        else
                put(ret, "), until the other end answers, at most some minutes");
        put(ret, ". It is in the way because the program that had it did not set SO_REUSEADDR; the "
                 "broker does. Wait and try again.");
}

static void explain_tcp(const struct address *address, char ret[CONFLICT_TEXT_SIZE]) {
        struct search search;
        int r4, r6;

        memset(&search, 0, sizeof(search));
        search.wanted = end_of_address(address);
        r4 = socket_diag_tcp(AF_INET, search.wanted.port, on_tcp_socket, &search);
        r6 = socket_diag_tcp(AF_INET6, search.wanted.port, on_tcp_socket, &search);
        if (search.kinds[OBSTACLE_LISTENER].count > 0)
                put_listener(ret, &search.kinds[OBSTACLE_LISTENER], address, &listens);
        else if (search.kinds[OBSTACLE_BOUND].count > 0)
                put_listener(ret, &search.kinds[OBSTACLE_BOUND], address, &has_bound);
        else if (search.kinds[OBSTACLE_CONNECTION].count > 0)
                put_connection(ret, &search.kinds[OBSTACLE_CONNECTION]);
        else if (search.kinds[OBSTACLE_REMAINDER].count > 0)
                put_remainder(ret, &search.kinds[OBSTACLE_REMAINDER]);
        else if (r4 < 0 && r6 < 0)
                put(ret,
                    "Who has it cannot be told: this kernel does not list its sockets (%s). See: "
                    "ss -tanp 'sport = :%u'.",
                    strerror(-r4), search.wanted.port);
        else
                put(ret, "Nobody has it any more. Try again.");
}

/* ---- Unix paths ---- */

static void put_path_owner(char ret[CONFLICT_TEXT_SIZE], const char *path,
                           const struct path_owner *owners, size_t count) {
        struct found found = {.count = count};
        const struct verb *verb;
        bool plural, known;

        for (size_t i = 0; i < count && i < INODES_MAX; i++)
                found.inodes[found.n_inodes++] = owners[i].inode;
        found.first.has_uid = owners[0].has_uid;
        found.first.uid = owners[0].uid;
        known = put_who(ret, &found, &plural);
        verb = owners[0].listening ? &listens : &has_bound;
        put(ret, " %s %s.", plural ? verb->several : verb->one, path);
        if (!known)
                put(ret, " Run as root to see which: ss -xlp src %s.", path);
        put(ret, " Stop %s, or choose another path.", plural ? "them" : "it");
}

static void explain_unix(const char *path, char ret[CONFLICT_TEXT_SIZE]) {
        struct path_owner owners[INODES_MAX];
        struct path_owners *all = NULL;
        struct stat st;
        int n;

        if (lstat(path, &st) < 0) {
                if (errno == ENOENT)
                        put(ret, "%s is not there any more. Try again.", path);
                else
                        put(ret, "%s cannot be looked at: %s.", path, strerror(errno));
                return;
        }
        if (!S_ISSOCK(st.st_mode)) {
                put(ret, "%s is there and is not a socket. Move it away, or choose another path.",
                    path);
                return;
        }
        n = path_owners_new(&all);
        if (n == 0) {
                n = path_owners_find(all, path, &st, owners, INODES_MAX);
                path_owners_free(all);
        }
        if (n > 0)
                put_path_owner(ret, path, owners, (size_t) (n < INODES_MAX ? n : INODES_MAX));
        else if (n < 0)
                put(ret, "Who has %s cannot be told: %s. See: ss -xlp src %s.", path, strerror(-n),
                    path);
        else
                put(ret,
                    "No process of this network namespace has %s: a program in a container that "
                    "shares the folder may, or it has just ended. Stop that program, or try again.",
                    path);
}

const char *conflict_explain(const struct address *address, char ret[CONFLICT_TEXT_SIZE]) {
        ret[0] = '\0';
        if (address_is_unix(address))
                explain_unix(address->un.sun_path, ret);
        else
                explain_tcp(address, ret);
        return ret;
}
