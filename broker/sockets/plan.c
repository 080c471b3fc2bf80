/*
 * Old and new compared. See plan.h.
 *
 * Addresses come first: a socket belongs to whoever has its address now, whatever the listener is
 * called. Then each listener gets its object: the one of its own name when they share an address,
 * else one whose address it took over (a renamed listener, leases and all), else the one of its own
 * name. So leases follow the sockets that were lent.
 */
#include "sockets/plan.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "sockets/hand_back.h"

static int plan_allocate(struct plan *plan) {
        const struct config *config = plan->config;
        struct planned_socket *socket;

        plan->n_listeners = config->n_sockets;
        for (size_t i = 0; i < config->n_sockets; i++)
                plan->n_sockets += config->sockets[i]->n_addresses;
        plan->n_old = listener_table_count(plan->table);
        for (size_t i = 0; i < plan->n_old; i++)
                plan->n_old_sockets += plan->table->index->entries[i].listener->n_sockets;

        plan->listeners = calloc(plan->n_listeners + 1, sizeof(plan->listeners[0]));
        plan->sockets = calloc(plan->n_sockets + 1, sizeof(plan->sockets[0]));
        plan->old = calloc(plan->n_old + 1, sizeof(plan->old[0]));
        plan->old_sockets = calloc(plan->n_old_sockets + 1, sizeof(plan->old_sockets[0]));
        if (!plan->listeners || !plan->sockets || !plan->old || !plan->old_sockets)
                return -ENOMEM;

        socket = plan->sockets;
        for (size_t i = 0; i < plan->n_listeners; i++) {
                struct planned_listener *l = &plan->listeners[i];

                l->config = config->sockets[i];
                l->n_sockets = l->config->n_addresses;
                l->sockets = socket;
                for (size_t j = 0; j < l->n_sockets; j++, socket++) {
                        socket->address = l->config->addresses[j];
                        socket->listener = l;
                }
        }
        return 0;
}

static void list_old(struct plan *plan) {
        struct old_socket *socket = plan->old_sockets;

        for (size_t i = 0; i < plan->n_old; i++) {
                struct old_listener *o = &plan->old[i];

                o->listener = plan->table->index->entries[i].listener;
                o->sockets = socket;
                for (size_t j = 0; j < o->listener->n_sockets; j++, socket++)
                        socket->socket = o->listener->sockets[j];
        }
}

static void claim(struct plan *plan, const struct address_index *index) {
        for (size_t i = 0; i < plan->n_sockets; i++) {
                struct planned_socket *p = &plan->sockets[i];
                struct old_socket *o;
                struct old_listener *from;

                if (p->origin != ORIGIN_NONE)
                        continue;
                o = address_index_find(index, p->address);
                if (!o || o->claim)
                        continue;
                o->claim = p;
                p->origin = ORIGIN_KEPT;
                p->socket = o->socket;
                from = &plan->old[o->socket->listener->position];
                if (!from->target)
                        from->target = p->listener;
        }
}

/*
 * What a socket stands for in the configuration comes before what it is bound to: the two differ
 * when it was adopted by its name.
 */
static int claim_sockets(struct plan *plan) {
        struct address_index configured = {0}, bound = {0};
        int r = 0;

        for (size_t i = 0; i < plan->n_old && r == 0; i++)
                for (size_t j = 0; j < plan->old[i].listener->n_sockets && r == 0; j++) {
                        struct old_socket *o = &plan->old[i].sockets[j];

                        r = address_index_add(&configured,
                                              plan->old[i].listener->config->addresses[j], o);
                        if (r == 0)
                                r = address_index_add(&bound, &o->socket->address, o);
                }
        if (r == 0) {
                claim(plan, &configured);
                claim(plan, &bound);
        }
        address_index_clear(&configured);
        address_index_clear(&bound);
        return r;
}

static void inherit(struct plan *plan, struct planned_listener *l, struct listener *old) {
        struct old_listener *o = &plan->old[old->position];

        if (l->old || o->heir)
                return;
        l->old = old;
        o->heir = l;
}

static bool has_socket_of(const struct planned_listener *l, const struct listener *old) {
        for (size_t i = 0; i < l->n_sockets; i++)
                if (l->sockets[i].origin == ORIGIN_KEPT && l->sockets[i].socket->listener == old)
                        return true;
        return false;
}

static void find_heirs(struct plan *plan) {
        for (size_t i = 0; i < plan->n_listeners; i++) {
                struct planned_listener *l = &plan->listeners[i];
                struct listener *old = listener_table_find(plan->table, l->config->name);

                if (old && has_socket_of(l, old))
                        inherit(plan, l, old);
        }
        for (size_t i = 0; i < plan->n_sockets; i++) {
                struct planned_socket *p = &plan->sockets[i];

                if (p->origin == ORIGIN_KEPT)
                        inherit(plan, p->listener, p->socket->listener);
        }
        for (size_t i = 0; i < plan->n_listeners; i++) {
                struct planned_listener *l = &plan->listeners[i];
                struct listener *old = listener_table_find(plan->table, l->config->name);

                if (old)
                        inherit(plan, l, old);
        }
}

static void check_closing(struct plan *plan) {
        char text[ADDRESS_TEXT_SIZE];

        if (plan->allow_close)
                return;
        for (size_t i = 0; i < plan->n_old; i++) {
                struct old_listener *o = &plan->old[i];

                for (size_t j = 0; j < o->listener->n_sockets; j++) {
                        if (o->sockets[j].claim)
                                continue;
                        (void) address_text(&o->sockets[j].socket->address, text);
                        if (o->heir) {
                                plan_error(plan, o->heir,
                                           "listener %s: its address %s is no longer configured, "
                                           "and closing it ends what waits there; put it back, or "
                                           "apply with --allow-close",
                                           o->listener->name, text);
                                continue;
                        }
                        plan->errors++;
                        diagnostics_add(plan->diagnostics, SEVERITY_ERROR, NULL, 0,
                                        "listener %s (%s) is no longer configured, and closing it "
                                        "ends what waits there; put it back, or apply with "
                                        "--allow-close",
                                        o->listener->name, text);
                }
        }
}

static bool access_differs(const struct socket_config *a, const struct socket_config *b) {
        return !access_list_equal(&a->access, &b->access) ||
               !access_list_equal(&a->operators, &b->operators);
}

static bool listener_differs(const struct planned_listener *l) {
        const struct socket_config *old = l->old->config, *new = l->config;

        if (strcmp(old->name, new->name) != 0 || strcmp(old->fd_name, new->fd_name) != 0 ||
            !socket_config_equal(old, new) || access_differs(old, new))
                return true;
        for (size_t i = 0; i < l->n_sockets; i++)
                if (l->sockets[i].origin != ORIGIN_KEPT || l->sockets[i].socket->listener != l->old)
                        return true;
        return false;
}

/* A bound socket keeps IPV6_V6ONLY as it is, and a second one beside it cannot be bound. */
static void check_ipv6_only(struct plan *plan, struct planned_socket *p) {
        enum ipv6_only wanted = p->listener->config->ipv6_only;
        char text[ADDRESS_TEXT_SIZE];
        socklen_t size = sizeof(int);
        int only;

        if (p->socket->address.any.sa_family != AF_INET6 || wanted == IPV6_ONLY_DEFAULT ||
            wanted == p->socket->listener->config->ipv6_only ||
            getsockopt(p->socket->fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, &size) < 0 ||
            !!only == (wanted == IPV6_ONLY_ONLY))
                return;
        plan_error(plan, p->listener,
                   "listener %s: BindIPv6Only= of %s cannot be changed while the socket is open; "
                   "take the listener out, apply with --allow-close, put it back and apply again",
                   p->listener->config->name, address_text(&p->socket->address, text));
}

static void compare_socket(struct plan *plan, struct planned_socket *p) {
        const struct socket_config *old = p->socket->listener->config;
        const struct socket_config *new = p->listener->config;
        struct path_rights a = bind_rights(old), b = bind_rights(new);

        check_ipv6_only(plan, p);
        p->set_backlog = old->backlog != new->backlog;
        p->set_rights = address_is_unix(&p->socket->address) &&
                        (a.mode != b.mode || a.uid != b.uid || a.gid != b.gid);
        if (old->non_blocking == new->non_blocking)
                return;
        p->set_non_blocking = p->socket->listener->n_leases == 0;
        if (!p->set_non_blocking && p == &p->listener->sockets[0])
                plan_warning(plan, p->listener,
                             "listener %s: NonBlocking=%s takes effect when the last lease ends: "
                             "the flag is shared, and changing it under a running program hangs "
                             "or breaks it",
                             new->name, new->non_blocking ? "yes" : "no");
}

int plan_make(struct plan *plan) {
        int r = plan_allocate(plan);

        if (r < 0)
                return r;
        list_old(plan);
        r = claim_sockets(plan);
        if (r < 0)
                return r;
        find_heirs(plan);
        check_closing(plan);
        if (plan->n_sockets > plan->table->sockets_max) {
                plan->errors++;
                diagnostics_add(plan->diagnostics, SEVERITY_ERROR, NULL, 0,
                                "%zu addresses are configured and the limit is %u sockets; raise "
                                "ListenersMax= if it is set, or the limit of open descriptors "
                                "(LimitNOFILE=, 'ulimit -n'), or configure fewer",
                                plan->n_sockets, plan->table->sockets_max);
        }
        r = plan_adopt(plan);
        if (r < 0)
                return r;
        for (size_t i = 0; i < plan->n_sockets; i++)
                if (plan->sockets[i].origin == ORIGIN_KEPT)
                        compare_socket(plan, &plan->sockets[i]);
        for (size_t i = 0; i < plan->n_listeners; i++)
                if (plan->listeners[i].old)
                        plan->listeners[i].changed = listener_differs(&plan->listeners[i]);
        return 0;
}

void plan_clear(struct plan *plan) {
        for (size_t i = 0; i < plan->n_listeners && plan->listeners; i++) {
                struct planned_listener *l = &plan->listeners[i];

                if (l->fresh)
                        listener_free(l->fresh); /* has no sockets yet */
                else
                        socket_config_free(l->copy);
                free(l->places);
                free(l->fds);
        }
        listener_index_free(plan->index);
        hand_back_free(plan->hand_back);
        free(plan->listeners);
        free(plan->sockets);
        free(plan->old);
        free(plan->old_sockets);
        free(plan->given);
}
