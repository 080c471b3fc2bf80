/*
 * What is special about systemd as fd store: where it is, and how to know that it is full. It
 * answers nothing; a descriptor beyond FileDescriptorStoreMax= it closes, with a line in its own
 * log. So one that tells us when it is closed is stored last, as a probe: if systemd has not kept
 * that one, what came just before may be lost as well.
 */
#ifndef KEEPER_NOTIFY_STORE_H
#define KEEPER_NOTIFY_STORE_H

#include <stdbool.h>

/* The probe is stored under this id until somebody removes it. */
#define NOTIFY_STORE_PROBE "probe"

/* A datagram socket connected to $NOTIFY_SOCKET, or a negative errno. */
int notify_store_connect(void);

/* Store a probe. Returns our end of it, to be closed; or the error of message_send(), -EMFILE. */
int notify_store_send_probe(int socket_fd);

/* Was it refused? To be asked when all before it has been acknowledged. */
bool notify_store_is_full(int probe_fd);

#endif
