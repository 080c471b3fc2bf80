/*
 * A listener as an object: memory and descriptors, no decisions. Sockets are made and matched by
 * apply, mended by listener_repair, lent by leases; here they begin and end.
 */
#include "sockets/listener.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "core/clock.h"
#include "sockets/hand_back.h"
#include "sockets/lease.h"
#include "sockets/listener_repair.h"
#include "sockets/options_pool.h"

struct listener_socket *listener_socket_new(const struct address *address, int fd, bool adopted) {
        struct listener_socket *socket =
                calloc(1, offsetof(struct listener_socket, address) + address_size(address));
        struct stat st;

        if (!socket)
                return NULL;
        (void) address_copy(&socket->address, address);
        socket->fd = fd;
        if (fstat(fd, &st) == 0) {
                socket->inode = st.st_ino;
                socket->marked = hand_back_is_marked(&st);
        }
        socket->adopted = adopted;
        socket->since_usec = clock_realtime_usec();
        return socket;
}

struct listener_socket *listener_socket_free(struct listener_socket *socket) {
        if (!socket)
                return NULL;
        listener_guard_stop(socket);
        (void) shared_options_free(socket->options);
        free(socket->path_guard);
        free(socket->repair);
        close_fd(socket->fd);
        free(socket);
        return NULL;
}

struct listener *listener_new(struct listener_table *table, struct socket_config *config) {
        struct listener *listener = calloc(1, sizeof(*listener));

        if (!listener) {
                socket_config_free(config);
                return NULL;
        }
        listener->config = config;
        listener->name = config->name;
        listener->table = table;
        LIST_INIT(&listener->leases);
        return listener;
}

struct listener *listener_free(struct listener *listener) {
        if (!listener)
                return NULL;
        lease_end_all(listener);
        for (size_t i = 0; i < listener->n_sockets; i++)
                listener_socket_free(listener->sockets[i]);
        free(listener->sockets);
        free(listener->fds);
        socket_config_free(listener->config);
        free(listener);
        return NULL;
}
