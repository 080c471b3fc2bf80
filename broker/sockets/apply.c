/*
 * listener_table_apply(): plan, open, prepare, commit.
 *
 * Everything that can fail comes before the commit, in this order: compare (touches nothing), bind
 * what is missing, memory, mode and owner of kept socket files. Each of these steps can be taken
 * back, and is when a later one fails. The commit only moves what was prepared and so cannot fail
 * half-way; what it does to the kernel (listen(2) with another backlog, guards) is a repair that
 * the next hand-off would make as well, and is logged when it fails.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "core/heap.h"
#include "core/inherited.h"
#include "core/log.h"
#include "keeper/memory.h"
#include "sockets/conflict.h"
#include "sockets/hand_back.h"
#include "sockets/kept.h"
#include "sockets/listener_repair.h"
#include "sockets/options_pool.h"
#include "sockets/path_owners.h"
#include "sockets/plan.h"
#include "sockets/queue.h"

/* ---- open ---- */

static bool overlaps_bound(const struct planned_socket *p, const struct planned_socket *other) {
        return other != p && other->socket &&
               conflict_overlaps(p->address, &other->socket->address);
}

/*
 * Is it we ourselves who have the address? Then no look at other processes helps: another listener
 * of this configuration includes it, or one that is closed by this apply, but only after everything
 * new is open.
 */
static const char *find_own(const struct plan *plan, const struct planned_socket *p,
                            const struct listener_socket **ret) {
        for (size_t i = 0; i < plan->n_sockets; i++)
                if (overlaps_bound(p, &plan->sockets[i])) {
                        *ret = plan->sockets[i].socket;
                        return plan->sockets[i].listener->config->name;
                }
        for (size_t i = 0; i < plan->n_old_sockets; i++) {
                const struct listener_socket *old = plan->old_sockets[i].socket;

                if (conflict_overlaps(p->address, &old->address)) {
                        *ret = old;
                        return old->listener->name;
                }
        }
        return NULL;
}

static void explain_in_use(struct plan *plan, const struct planned_socket *p, const char *reason,
                           struct apply_result *result) {
        const char *name = p->listener->config->name, *own = NULL;
        char text[ADDRESS_TEXT_SIZE], own_text[ADDRESS_TEXT_SIZE];
        const struct listener_socket *socket;

        (void) address_text(p->address, text);
        /* Looking takes as long as there are sockets: not for the thousandth error. */
        if (plan->errors < 4 * APPLY_CONFLICTS_MAX)
                own = find_own(plan, p, &socket);
        if (own) {
                (void) address_text(&socket->address, own_text);
                plan_error(plan, p->listener,
                           "listener %s: cannot bind %s: the broker itself has %s, for listener "
                           "%s; take one of the two out (when the other is being taken out, apply "
                           "that first)",
                           name, text, own_text, own);
                return;
        }
        plan_error(plan, p->listener, "listener %s: cannot bind %s: %s", name, text, reason);
        result->n_in_use++;
        if (result->n_conflicts < APPLY_CONFLICTS_MAX)
                (void) address_copy(&result->conflicts[result->n_conflicts++], p->address);
}

/* `reason` is why it could not be bound. 0, also when it could not be taken, or -ENOMEM. */
static int take_from_holder(struct plan *plan, struct planned_socket *p, struct path_owners *owners,
                            const char *reason, struct apply_result *result) {
        struct hand_back_report report = {.pid = 0};
        int fd, r = -ENOENT;

        if (plan->hand_back)
                r = hand_back_take(plan->hand_back, p->listener->config, p->address, owners, &fd,
                                   &report);
        if (r < 0) {
                explain_in_use(plan, p, report.reason[0] ? report.reason : reason, result);
                return r == -ENOMEM ? r : 0;
        }
        p->socket = listener_socket_new(p->address, fd, false);
        if (!p->socket) {
                close_fd(fd);
                return -ENOMEM;
        }
        p->origin = ORIGIN_TAKEN;
        p->taken_pid = report.pid;
        memcpy(p->taken_from, report.name, sizeof(p->taken_from));
        return 0;
}

static int open_socket(struct plan *plan, struct planned_socket *p, struct path_owners *owners,
                       struct apply_result *result) {
        char text[ADDRESS_TEXT_SIZE];
        struct bind_report report;
        int fd, r;

        r = bind_socket(p->listener->config, p->address, owners, &fd, &report);
        if (r == -EADDRINUSE)
                return take_from_holder(plan, p, owners, report.reason, result);
        if (r < 0) {
                plan_error(plan, p->listener, "listener %s: cannot bind %s: %s",
                           p->listener->config->name, address_text(p->address, text),
                           report.reason);
                return 0;
        }
        p->socket = listener_socket_new(p->address, fd, false);
        if (!p->socket) {
                bind_undo(p->address, fd, report.folders_made);
                close_fd(fd);
                return -ENOMEM;
        }
        p->origin = ORIGIN_BOUND;
        p->folders_made = report.folders_made;
        return 0;
}

/* All of them, also after an error: all that is wrong is said at once. */
static int open_missing(struct plan *plan, struct apply_result *result) {
        struct path_owners *owners = NULL;
        int r = path_owners_new(&owners);

        if (r == 0 && plan->table->starting)
                r = hand_back_new(&plan->hand_back);
        for (size_t i = 0; i < plan->n_sockets && r == 0; i++)
                if (plan->sockets[i].origin == ORIGIN_NONE)
                        r = open_socket(plan, &plan->sockets[i], owners, result);
        path_owners_free(owners);
        return r;
}

static int wrap_given(struct plan *plan) {
        for (size_t i = 0; i < plan->n_sockets; i++) {
                struct planned_socket *p = &plan->sockets[i];
                const struct address *bound;
                struct address address;

                if (p->origin != ORIGIN_GIVEN)
                        continue;
                bound = p->address;
                if (p->given_elsewhere && address_of_socket(p->given_fd, &address) == 0)
                        bound = &address;
                p->socket = listener_socket_new(bound, p->given_fd,
                                                !offers_has(plan->table, p->given_fd));
                if (!p->socket)
                        return -ENOMEM;
                if (p->given_id)
                        p->is_kept = kept_socket_restore(plan->table, p->socket,
                                                         p->listener->config->name, p->given_id);
        }
        return 0;
}

/* ---- prepare ---- */

static int prepare_listener(struct plan *plan, struct planned_listener *l) {
        int r = socket_config_copy(l->config, &l->copy);

        if (r < 0)
                return r;
        l->places = calloc(l->n_sockets + 1, sizeof(l->places[0]));
        l->fds = calloc(l->n_sockets + 1, sizeof(l->fds[0]));
        if (!l->places || !l->fds)
                return -ENOMEM;
        if (!l->old) {
                struct socket_config *copy = l->copy;

                l->copy = NULL; /* listener_new() owns it in any case */
                l->fresh = listener_new(plan->table, copy);
                if (!l->fresh)
                        return -ENOMEM;
        }
        return 0;
}

static int prepare(struct plan *plan) {
        int r = listener_index_new(plan->n_listeners, &plan->index);

        for (size_t i = 0; i < plan->n_listeners && r == 0; i++) {
                struct planned_listener *l = &plan->listeners[i];

                r = prepare_listener(plan, l);
                if (r == 0 && l->old)
                        r = listener_index_add(plan->index, l->old, l->copy->name);
                else if (r == 0)
                        r = listener_index_add(plan->index, l->fresh, l->fresh->name);
        }
        return r;
}

/* What the configuration does not ask for any more goes back to us. */
static struct path_rights rights_after(const struct planned_socket *p) {
        struct path_rights before = bind_rights(p->socket->listener->config);
        struct path_rights after = bind_rights(p->listener->config);

        if (after.uid == (uid_t) -1 && before.uid != (uid_t) -1)
                after.uid = geteuid();
        if (after.gid == (gid_t) -1 && before.gid != (gid_t) -1)
                after.gid = getegid();
        return after;
}

static void change_rights(struct plan *plan) {
        for (size_t i = 0; i < plan->n_sockets; i++) {
                struct planned_socket *p = &plan->sockets[i];
                struct path_rights after;
                int r;

                if (!p->set_rights)
                        continue;
                after = rights_after(p);
                r = bind_set_rights(p->socket->address.un.sun_path, &after, &p->rights_before);
                p->rights_set = r == 0;
                if (r < 0) {
                        plan_error(plan, p->listener,
                                   "listener %s: cannot change mode and owner of %s: %s",
                                   p->listener->config->name, p->socket->address.un.sun_path,
                                   r == -EEXIST ? "it is no socket any more" : strerror(-r));
                }
        }
}

/* ---- take back ---- */

static void take_back(struct plan *plan) {
        for (size_t i = 0; i < plan->n_sockets && plan->sockets; i++) {
                struct planned_socket *p = &plan->sockets[i];

                if (p->origin == ORIGIN_KEPT && p->rights_set)
                        (void) bind_set_rights(p->socket->address.un.sun_path, &p->rights_before,
                                               NULL);
                if (p->origin == ORIGIN_BOUND)
                        bind_undo(p->address, p->socket->fd, p->folders_made);
                if (p->origin == ORIGIN_GIVEN && p->socket)
                        p->socket->fd = -1; /* it stays with `inherited` */
                if (p->origin != ORIGIN_KEPT)
                        p->socket = listener_socket_free(p->socket);
        }
}

/* ---- commit ---- */

static void close_unclaimed(struct plan *plan) {
        char text[ADDRESS_TEXT_SIZE];

        for (size_t i = 0; i < plan->n_old_sockets; i++) {
                struct listener_socket *socket = plan->old_sockets[i].socket;

                if (plan->old_sockets[i].claim)
                        continue;
                log_notice(plan->table->log, ABOUT(.listener = socket->listener->name),
                           "listener %s: closes %s, which is no longer configured",
                           socket->listener->name, address_text(&socket->address, text));
                /* A path that somebody else made belongs to him. */
                if (!socket->adopted)
                        bind_undo(&socket->address, socket->fd, 0);
                kept_socket_remove(socket);
                listener_socket_free(socket);
        }
}

static void take_given(struct plan *plan) {
        /* From the end: taking one moves those behind it. */
        for (size_t i = plan->n_given; i-- > 0;)
                if (plan->given[i])
                        (void) inherited_take_fd(plan->inherited, i);
}

/* Kept by a broker before us for listeners that are not configured any more. */
static void close_unconfigured(struct plan *plan) {
        for (size_t i = plan->inherited ? inherited_count(plan->inherited) : 0; i-- > 0;) {
                const char *id = inherited_id(plan->inherited, i);

                if (!id)
                        continue;
                log_notice(plan->table->log, ABOUT(.listener = inherited_name(plan->inherited, i)),
                           "listener %s: closes its socket, which is no longer configured",
                           inherited_name(plan->inherited, i));
                if (plan->table->memory)
                        memory_remove(plan->table->memory, id);
                close_fd(inherited_take_fd(plan->inherited, i));
        }
}

static void place_sockets(struct planned_listener *l, struct listener *listener) {
        free(listener->sockets);
        free(listener->fds);
        listener->sockets = l->places;
        listener->fds = l->fds;
        listener->n_sockets = l->n_sockets;
        l->places = NULL;
        l->fds = NULL;
        for (size_t i = 0; i < l->n_sockets; i++) {
                struct planned_socket *p = &l->sockets[i];

                p->socket->listener = listener;
                listener->sockets[i] = p->socket;
                listener->fds[i] = p->socket->fd;
        }
}

static struct listener *listener_of(const struct planned_listener *l) {
        return l->old ? l->old : l->fresh;
}

static void swap_config(struct planned_listener *l) {
        struct socket_config *before;

        if (!l->old)
                return;
        before = l->old->config;
        l->old->config = l->copy;
        l->old->name = l->copy->name;
        l->copy = before; /* until the events were told */
}

/* Those that go give their leases to who has their sockets now. */
static void move_leases(struct plan *plan) {
        for (size_t i = 0; i < plan->n_old; i++) {
                struct old_listener *o = &plan->old[i];

                if (!o->heir && o->target)
                        lease_move_all(o->listener, listener_of(o->target));
        }
}

static void change_kept(struct planned_socket *p) {
        unsigned backlog = p->listener->config->backlog;
        struct queue queue;

        if (p->set_backlog) {
                if (listen(p->socket->fd, backlog > INT_MAX ? INT_MAX : (int) backlog) < 0)
                        log_warning(p->socket->listener->table->log,
                                    ABOUT(.listener = p->socket->listener->name),
                                    "listener %s: cannot change the backlog: %s",
                                    p->socket->listener->name, strerror(errno));
                /* What the hand-off compares with, to see that a holder changed it. */
                if (!address_is_unix(&p->socket->address) && queue_read(p->socket->fd, &queue) == 0)
                        p->socket->queue_limit = queue.limit;
        }
        if (p->set_non_blocking)
                (void) bind_set_non_blocking(p->socket->fd, p->listener->config->non_blocking);
}

static void say_new(const struct planned_socket *p, const char *text) {
        struct listener *listener = p->socket->listener;

        if (p->origin == ORIGIN_TAKEN)
                log_notice(
                        listener->table->log,
                        ABOUT(.listener = listener->name, .pid = p->taken_pid),
                        "listener %s: %s was taken back from %s (pid %d), which had kept it open",
                        listener->name, text, p->taken_from, (int) p->taken_pid);
        else
                /* After a crash all are as they were: one line says so, not ten thousand. */
                log_write(listener->table->log, p->given_id ? LEVEL_DEBUG : LEVEL_INFO,
                          ABOUT(.listener = listener->name), "listener %s: %s %s", listener->name,
                          p->origin == ORIGIN_GIVEN ? "was given" : "listens on", text);
}

static void guard_new(struct planned_socket *p) {
        struct listener *listener = p->socket->listener;
        char text[ADDRESS_TEXT_SIZE];
        int r;

        say_new(p, address_text(&p->socket->address, text));
        r = p->origin == ORIGIN_BOUND
                    ? options_pool_read_bound(listener->table->options, p->socket->fd,
                                              p->socket->address.any.sa_family, &p->socket->options)
                    : 0;
        if (r == 0)
                r = listener_guard_start(p->socket);
        if (r < 0)
                log_error(listener->table->log, ABOUT(.listener = listener->name),
                          "listener %s: %s is held but not guarded: %s", listener->name, text,
                          strerror(-r));
}

/* Before anything is guarded: flags that holders share are left alone while there are leases. */
static void find_leases(struct plan *plan) {
        if (plan->table->starting) {
                kept_restore_leases(plan->table);
                offers_begin_leases(plan->table);
        }
        for (size_t i = 0; i < plan->n_sockets; i++)
                if (plan->sockets[i].origin == ORIGIN_TAKEN)
                        hand_back_begin_leases(plan->hand_back, plan->sockets[i].socket);
}

static void count(const struct plan *plan, struct apply_result *result) {
        for (size_t i = 0; i < plan->n_listeners; i++) {
                const struct planned_listener *l = &plan->listeners[i];
                bool bound = false;

                for (size_t j = 0; j < l->n_sockets; j++)
                        bound |= l->sockets[j].origin == ORIGIN_BOUND;
                if (l->old && l->changed)
                        result->changed++;
                else if (l->old)
                        result->kept++;
                else if (bound)
                        result->opened++;
                else
                        result->adopted++;
        }
        for (size_t i = 0; i < plan->n_old; i++)
                result->closed += !plan->old[i].heir;
}

/*
 * Told last, when the table is what it will be. A renamed listener is gone for those who know it by
 * its old name, unless another one has that name now.
 */
static void tell(const struct plan *plan) {
        for (size_t i = 0; i < plan->n_listeners; i++) {
                const struct planned_listener *l = &plan->listeners[i];

                if (!l->old || !l->changed)
                        continue;
                if (strcmp(l->copy->name, l->old->name) != 0) {
                        log_notice(plan->table->log, ABOUT(.listener = l->old->name),
                                   "listener %s: is called %s now", l->copy->name, l->old->name);
                        if (!listener_table_find(plan->table, l->copy->name)) {
                                struct listener before = *l->old;

                                before.name = l->copy->name;
                                before.config = l->copy;
                                listener_table_tell(&before, LISTENER_REMOVED);
                        }
                }
                listener_table_tell(l->old, LISTENER_CHANGED);
        }
        for (size_t i = 0; i < plan->n_old; i++)
                if (!plan->old[i].heir)
                        listener_table_tell(plan->old[i].listener, LISTENER_REMOVED);
}

/* Leases are kept by the name of their listener. */
static void remember_names(struct plan *plan) {
        for (size_t i = 0; i < plan->n_listeners; i++) {
                const struct planned_listener *l = &plan->listeners[i];
                struct lease *lease;

                if (!l->old || strcmp(l->copy->name, l->old->name) == 0)
                        continue;
                LIST_FOREACH (lease, &l->old->leases, in_listener)
                        kept_lease_put(lease);
        }
}

static void commit(struct plan *plan) {
        struct listener_index *before = plan->table->index;

        close_unclaimed(plan);
        take_given(plan);
        if (plan->allow_close)
                close_unconfigured(plan);
        for (size_t i = 0; i < plan->n_old; i++)
                plan->old[i].listener->n_sockets = 0; /* they are closed, or placed anew below */
        for (size_t i = 0; i < plan->n_listeners; i++) {
                struct planned_listener *l = &plan->listeners[i];

                place_sockets(l, listener_of(l));
                listener_of(l)->position = i;
        }
        move_leases(plan);
        for (size_t i = 0; i < plan->n_listeners; i++)
                swap_config(&plan->listeners[i]);
        plan->table->index = plan->index;
        plan->index = before;
        find_leases(plan);
        for (size_t i = 0; i < plan->n_sockets; i++) {
                struct planned_socket *p = &plan->sockets[i];

                if (p->origin == ORIGIN_KEPT)
                        change_kept(p);
                else
                        guard_new(p);
                if (!p->is_kept && (p->origin != ORIGIN_KEPT || p->listener->changed))
                        p->to_store = kept_socket_write(p->socket);
        }
        /* Apart from the records: what waits to be sent must not lie between what stays. */
        for (size_t i = 0; i < plan->n_sockets; i++)
                if (plan->sockets[i].to_store)
                        kept_socket_store(plan->sockets[i].socket);
        options_pool_settle(plan->table->options);
        remember_names(plan);
}

/* After the commit: events, and the end of what was replaced. */
static void finish(struct plan *plan) {
        tell(plan);
        for (size_t i = 0; i < plan->n_old; i++)
                if (!plan->old[i].heir)
                        listener_free(plan->old[i].listener);
        for (size_t i = 0; i < plan->n_listeners; i++)
                plan->listeners[i].fresh = NULL; /* the table's now */
}

int listener_table_apply(struct listener_table *table, const struct config *config,
                         struct inherited *inherited, bool allow_close,
                         struct diagnostics *diagnostics, struct apply_result *ret) {
        struct plan plan = {
                .table = table,
                .config = config,
                .inherited = inherited,
                .allow_close = allow_close,
                .diagnostics = diagnostics,
        };
        int r;

        *ret = (struct apply_result){0};
        r = plan_make(&plan);
        if (r == 0 && plan.errors == 0)
                r = open_missing(&plan, ret);
        if (r == 0 && plan.errors == 0)
                r = wrap_given(&plan);
        if (r == 0 && plan.errors == 0)
                r = prepare(&plan);
        if (r == 0 && plan.errors == 0)
                change_rights(&plan);
        if (r < 0)
                diagnostics_add(diagnostics, SEVERITY_ERROR, NULL, 0,
                                "not enough memory to apply the configuration; nothing was "
                                "changed");
        if (r < 0 || plan.errors > 0) {
                ret->only_in_use = r == 0 && plan.errors == ret->n_in_use;
                take_back(&plan);
                plan_clear(&plan);
                return r < 0 ? r : -EINVAL;
        }
        commit(&plan);
        count(&plan, ret);
        finish(&plan);
        plan_clear(&plan);
        heap_trim(); /* a plan takes as much as the listeners themselves */
        return 0;
}
