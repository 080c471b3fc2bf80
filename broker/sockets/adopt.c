/*
 * Descriptors that were given to us at start (systemd's socket activation) in place of binding: by
 * their address first, over all listeners; what is left by its name. Nothing is taken here, only
 * planned: an apply that fails leaves all descriptors where they were.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/inherited.h"
#include "names.h"
#include "sockets/plan.h"

/* One inherited descriptor. */
struct gift {
        size_t index;
        int fd;
        const char *name;
        bool is_socket;
        bool kept; /* by ourselves, before we were started again */
        struct address address;
        struct gift *next; /* of the same name, in the order given */
        struct gift *last; /* of the chain, in its first */
        UT_hash_handle hh; /* by name; the first of a chain */
};

struct gifts {
        size_t count;
        struct gift *all;
        struct gift *by_name;
        struct address_index by_address;
};

static void gifts_clear(struct gifts *gifts) {
        HASH_CLEAR(hh, gifts->by_name);
        address_index_clear(&gifts->by_address);
        free(gifts->all);
}

static int gifts_add(struct gifts *gifts, struct gift *gift) {
        struct gift *first;

        gift->is_socket = address_of_socket(gift->fd, &gift->address) == 0;
        if (gift->is_socket) {
                int r = address_index_add(&gifts->by_address, &gift->address, gift);

                if (r < 0)
                        return r;
        }
        HASH_FIND_STR(gifts->by_name, gift->name, first);
        if (!first) {
                gift->last = gift;
                HASH_ADD_KEYPTR(hh, gifts->by_name, gift->name, strlen(gift->name), gift);
                return gift->hh.tbl ? 0 : -ENOMEM;
        }
        first->last->next = gift;
        first->last = gift;
        return 0;
}

static int gifts_list(struct gifts *gifts, const struct inherited *inherited) {
        gifts->count = inherited_count(inherited);
        gifts->all = calloc(gifts->count + 1, sizeof(gifts->all[0]));
        if (!gifts->all)
                return -ENOMEM;
        for (size_t i = 0; i < gifts->count; i++) {
                struct gift *gift = &gifts->all[i];
                int r;

                gift->index = i;
                gift->fd = inherited_peek_fd(inherited, i);
                gift->name = inherited_name(inherited, i);
                gift->kept = inherited_id(inherited, i) != NULL;
                r = gifts_add(gifts, gift);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* NULL when it can be lent as a listener of ours, else what is wrong with it. */
static const char *unfit(const struct gift *gift) {
        int listening = 0;
        socklen_t size = sizeof(listening);

        if (!gift->is_socket)
                return "is not a socket";
        if (gift->address.type != SOCK_STREAM)
                return "is not a stream socket";
        if (gift->address.any.sa_family != AF_INET && gift->address.any.sa_family != AF_INET6 &&
            gift->address.any.sa_family != AF_UNIX)
                return "is neither a TCP nor a Unix socket";
        /* One of ours that a holder shut down while we were away is mended when it is guarded. */
        if (!gift->kept &&
            (getsockopt(gift->fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) < 0 || !listening))
                return "does not listen";
        return NULL;
}

/* `gift` becomes the socket of `p`, or an error is noted. */
static void accept_gift(struct plan *plan, struct planned_socket *p, const struct gift *gift) {
        const char *reason = unfit(gift);
        char text[ADDRESS_TEXT_SIZE];

        if (!reason && address_is_unix(&gift->address) != address_is_unix(p->address))
                reason = address_is_unix(p->address) ? "is a TCP socket" : "is a Unix socket";
        plan->given[gift->index] = p;
        if (reason) {
                plan_error(plan, p->listener,
                           "listener %s: descriptor %d, which was passed to the broker under the "
                           "name '%s' for %s, %s; correct the socket unit that passes it, or "
                           "remove it there and the broker binds the address itself",
                           p->listener->config->name, gift->fd, gift->name,
                           address_text(p->address, text), reason);
                return;
        }
        p->origin = ORIGIN_GIVEN;
        p->given_fd = gift->fd;
        p->given_elsewhere = !address_equal(&gift->address, p->address);
        p->given_id = inherited_id(plan->inherited, gift->index);
}

static void adopt_by_address(struct plan *plan, const struct gifts *gifts) {
        for (size_t i = 0; i < plan->n_sockets; i++) {
                struct planned_socket *p = &plan->sockets[i];
                const struct gift *gift;

                if (p->origin != ORIGIN_NONE)
                        continue;
                gift = address_index_find(&gifts->by_address, p->address);
                if (gift && !plan->given[gift->index])
                        accept_gift(plan, p, gift);
        }
}

/* The first address of the listener without a socket, of the same kind when there is one. */
static struct planned_socket *missing_socket(struct planned_listener *l, const struct gift *gift) {
        struct planned_socket *any = NULL;

        for (size_t i = 0; i < l->n_sockets; i++) {
                struct planned_socket *p = &l->sockets[i];

                if (p->origin != ORIGIN_NONE)
                        continue;
                if (address_is_unix(p->address) == address_is_unix(&gift->address))
                        return p;
                if (!any)
                        any = p;
        }
        return any;
}

static void adopt_named(struct plan *plan, const struct gifts *gifts, struct planned_listener *l,
                        const char *name) {
        char bound[ADDRESS_TEXT_SIZE], wanted[ADDRESS_TEXT_SIZE];
        struct gift *gift;

        HASH_FIND_STR(gifts->by_name, name, gift);
        for (; gift; gift = gift->next) {
                struct planned_socket *p;

                if (plan->given[gift->index])
                        continue;
                p = missing_socket(l, gift);
                if (!p)
                        return;
                accept_gift(plan, p, gift);
                if (p->origin != ORIGIN_GIVEN)
                        return;
                plan_warning(plan, l,
                             "listener %s: the socket that was passed to the broker under the "
                             "name '%s' listens on %s and not on %s as configured here; it is "
                             "used as it is. Make the two agree.",
                             l->config->name, name, address_text(&gift->address, bound),
                             address_text(p->address, wanted));
        }
}

/* systemd names what it passes after FileDescriptorName=, or else after the unit: "web.socket". */
static void adopt_by_name(struct plan *plan, const struct gifts *gifts,
                          struct planned_listener *l) {
        const char *const names[] = {l->config->name, l->config->fd_name};
        char unit[NAME_LENGTH_MAX + sizeof(".socket")];

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                adopt_named(plan, gifts, l, names[i]);
                (void) snprintf(unit, sizeof(unit), "%s.socket", names[i]);
                adopt_named(plan, gifts, l, unit);
        }
}

static bool is_complete(const struct planned_listener *l) {
        for (size_t i = 0; i < l->n_sockets; i++)
                if (l->sockets[i].origin == ORIGIN_NONE)
                        return false;
        return true;
}

int plan_adopt(struct plan *plan) {
        struct gifts gifts = {0};
        int r;

        if (!plan->inherited || inherited_count(plan->inherited) == 0)
                return 0;
        plan->n_given = inherited_count(plan->inherited);
        plan->given = calloc(plan->n_given, sizeof(plan->given[0]));
        if (!plan->given)
                return -ENOMEM;
        r = gifts_list(&gifts, plan->inherited);
        if (r == 0) {
                adopt_by_address(plan, &gifts);
                for (size_t i = 0; i < plan->n_listeners; i++)
                        if (!is_complete(&plan->listeners[i]))
                                adopt_by_name(plan, &gifts, &plan->listeners[i]);
        }
        gifts_clear(&gifts);
        return r;
}
