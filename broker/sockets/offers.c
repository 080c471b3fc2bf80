/* Judging what holders offer, and their leases. See offers.h. */
#include "sockets/offers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "config/address.h"
#include "core/log.h"
#include "sockets/hand_back.h"
#include "sockets/lease.h"
#include "sockets/listener_table_private.h"

const char *offer_refusal(int fd, struct address *ret_address) {
        int type = 0, listening = 0;
        socklen_t size = sizeof(int);

        /* First: it fails on what is no socket, and a file must not be asked anything. */
        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0)
                return "no socket";
        if (type != SOCK_STREAM || address_of_socket(fd, ret_address) < 0)
                return "not a stream socket";
        size = sizeof(int);
        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) < 0 || !listening)
                return "not listening";
        if (!hand_back_knows(fd, ret_address))
                return "not one that a broker of this user has lent here";
        return NULL;
}

int offers_put(struct listener_table *table, struct holder *holder, const char *name, int fd) {
        struct offer *offer = calloc(1, sizeof(*offer));

        if (!offer) {
                holder_put(holder);
                return -ENOMEM;
        }
        offer->holder = holder;
        offer->fd = fd;
        memcpy(offer->name, name, strnlen(name, NAME_LENGTH_MAX));
        LIST_INSERT_HEAD(&table->offers, offer, in_table);
        return 0;
}

bool offers_has(const struct listener_table *table, int fd) {
        const struct offer *offer;

        LIST_FOREACH (offer, &table->offers, in_table)
                if (offer->fd == fd)
                        return true;
        return false;
}

static void begin_lease(struct listener_table *table, const struct offer *offer) {
        struct listener *listener = listener_table_find(table, offer->name);
        struct lease *lease;
        int r = 0;

        if (!listener)
                return;
        /* No limit, as for one that was taken back. */
        if (!lease_find(offer->holder, listener))
                r = lease_begin(offer->holder, listener, LEASE_HAND_BACK, 0, &lease);
        if (r < 0)
                log_warning(table->log,
                            ABOUT(.listener = listener->name, .pid = offer->holder->pid),
                            "listener %s: the process %d, which handed it back, has no lease: %s",
                            listener->name, (int) offer->holder->pid, strerror(-r));
        else
                log_notice(table->log, ABOUT(.listener = listener->name, .pid = offer->holder->pid),
                           "listener %s: was handed back by pid %d of uid %u, which had kept it "
                           "open",
                           listener->name, (int) offer->holder->pid, (unsigned) offer->holder->uid);
}

void offers_begin_leases(struct listener_table *table) {
        const struct offer *offer;

        LIST_FOREACH (offer, &table->offers, in_table)
                begin_lease(table, offer);
        offers_clear(table);
}

void offers_clear(struct listener_table *table) {
        while (!LIST_EMPTY(&table->offers)) {
                struct offer *offer = LIST_FIRST(&table->offers);

                LIST_REMOVE(offer, in_table);
                holder_put(offer->holder);
                free(offer);
        }
}
