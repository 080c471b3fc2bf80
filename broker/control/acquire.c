/*
 * ACQUIRE and RELEASE.
 *
 * This is the path that is measured: a request that finds its lease is one recvmsg(2), the check of
 * the listener, and one sendmsg(2) with the descriptors as the listener keeps them.
 *
 * The lease is made before the answer is sent, because making it can be refused, and is taken back
 * when the answer can be neither sent nor queued: who could not be answered has changed nothing.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "control/answer.h"
#include "control/control_private.h"
#include "control/lending.h"
#include "control/permission.h"
#include "control/session.h"
#include "control/store.h"
#include "sockets/lease.h"
#include "sockets/listener_table.h"

static int send_part(struct session *s, const struct listener *l, struct text serial, size_t first,
                     size_t n) {
        const struct request request = {.session = s, .serial = serial};
        struct packet_writer *w = answer_begin(&request);

        packet_add(w, "NAME", l->name);
        packet_add_u64(w, "FDS", l->n_sockets);
        packet_add(w, "FDNAME", l->config->fd_name);
        if (l->n_sockets > FD_LIST_MAX) {
                packet_add_u64(w, "PART", first / FD_LIST_MAX + 1);
                packet_add_u64(w, "PARTS", (l->n_sockets + FD_LIST_MAX - 1) / FD_LIST_MAX);
        }
        return outgoing_try(s, w->data, w->size, l->fds + first, n);
}

static int send_parts(struct session *s, const struct listener *l, struct text serial,
                      size_t *first) {
        while (*first < l->n_sockets) {
                size_t left = l->n_sockets - *first;
                size_t n = left < FD_LIST_MAX ? left : FD_LIST_MAX;
                int r = send_part(s, l, serial, *first, n);

                if (r < 0)
                        return r;
                *first += n;
        }
        return 0;
}

/* Keep what is needed to go on when the peer reads again. */
static int queue_rest(const struct request *request, size_t first) {
        const struct listener *l = request->listener;
        struct lending *rest = calloc(1, sizeof(*rest));

        if (!rest)
                return -ENOMEM;
        rest->first = first;
        rest->total = l->n_sockets;
        memcpy(rest->name, l->name, strlen(l->name)); /* at most NAME_LENGTH_MAX; zeroed */
        rest->serial = serial_keep(request->serial);
        return outgoing_put_lending(request->session, rest);
}

int lending_continue(struct session *s, struct lending *rest) {
        const struct listener *l;

        if (rest->is_stored)
                return store_continue(s, rest);
        l = listener_table_find(s->control->broker->listeners, rest->name);
        /* It may have been an hour: nothing that was true then is taken for granted. */
        if (!l || l->n_sockets != rest->total || !s->holder || !lease_find(s->holder, l) ||
            !permission_to_acquire(s, l))
                return -ECANCELED;
        return send_parts(s, l, serial_text(&rest->serial), &rest->first);
}

static int lend(struct request *request) {
        struct session *s = request->session;
        size_t first = 0;
        int r = -EAGAIN;

        if (outgoing_is_empty(&s->outgoing))
                r = send_parts(s, request->listener, request->serial, &first);
        if (r == -EAGAIN)
                r = queue_rest(request, first);
        if (r == 0)
                return 0;
        if (first > 0 || !answer_unsendable(request, r))
                s->state = SESSION_ENDING;
        return first == 0 ? r : 0;
}

/* The holder, or NULL when the reason was answered. */
static struct holder *find_holder(const struct request *request) {
        struct holder *holder;
        int r = session_holder(request->session, &holder);

        if (r == 0)
                return holder;
        if (r == -EACCES)
                answer_error(request, EACCES,
                             "your process is in a pid namespace that the broker does not see, and "
                             "this kernel (before 6.5) cannot identify it otherwise");
        else if (r == -ESRCH)
                answer_error(request, ESRCH, "the process that made this connection has ended");
        else
                answer_error(request, -r, "your process cannot be watched: %s", strerror(-r));
        return NULL;
}

static int begin_lease(const struct request *request, struct holder *holder, struct lease **ret) {
        unsigned limit = permission_is_privileged(request->session)
                                 ? 0
                                 : request->session->control->broker->limits.leases_per_user;
        int r = lease_begin(holder, request->listener, LEASE_ACQUIRE, limit, ret);

        if (r == -EDQUOT)
                answer_error(request, EDQUOT, "this user has %u leases, which is the limit", limit);
        else if (r < 0)
                answer_error(request, -r, "no lease can be made: %s", strerror(-r));
        return r;
}

void handle_acquire(struct request *request) {
        struct holder *holder = find_holder(request);
        struct lease *lease, *begun = NULL;

        if (!holder)
                return;
        lease = lease_find(holder, request->listener);
        /* Before the lease: what may only be done while nobody holds the listener is done here. */
        if (listener_check(request->listener) < 0) {
                answer_error(request, EIO,
                             "the listener %s is broken and could not be mended: see the broker's "
                             "log",
                             request->listener->name);
                return;
        }
        if (!lease && begin_lease(request, holder, &begun) < 0)
                return;
        if (lend(request) < 0 && begun)
                lease_end(begun);
}

void handle_release(struct request *request) {
        const struct text *name = assignments_get(request->keys, "NAME");
        struct holder *holder = find_holder(request);
        struct lease *lease;

        if (!holder)
                return;
        LIST_FOREACH (lease, &holder->leases, in_holder)
                if (text_equal(*name, lease->listener->name))
                        break;
        if (!lease) {
                answer_error(request, ENOENT, "this process has no lease of a listener %.*s",
                             (int) name->length, name->start);
                return;
        }
        (void) answer_begin(request);
        if (answer_send(request) == 0)
                lease_end(lease);
}
