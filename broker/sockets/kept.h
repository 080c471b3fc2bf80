/*
 * What the broker's next life finds again of sockets/: the records of bound sockets, holders and
 * leases, and how they come back. Every call is allowed on objects of a table without a memory, and
 * does nothing there.
 *
 * A record that cannot be written (memory is out) is logged and costs what it describes at the next
 * crash, not now: serving goes on.
 */
#ifndef SOCKETS_KEPT_H
#define SOCKETS_KEPT_H

#include "sockets/lease.h"
#include "sockets/listener.h"

struct inherited;
struct listener_table;
struct memory;

/*
 * Write the socket's record, and store its descriptor when it is not stored under its id yet. The
 * socket has its listener. To be called again when name, address or repairs change.
 */
void kept_socket_put(struct listener_socket *socket);
/* In two steps, for thousands at once: true when the second one is to follow. */
bool kept_socket_write(struct listener_socket *socket);
void kept_socket_store(struct listener_socket *socket);
/* Its descriptor is another one now. */
void kept_socket_replace(struct listener_socket *socket);
/* Before the descriptor is closed for good. */
void kept_socket_remove(struct listener_socket *socket);

void kept_holder_put(struct holder *holder);
void kept_holder_remove(struct holder *holder);
/* Its holder's record first. Again after the listener got another name. */
void kept_lease_put(struct lease *lease);
void kept_lease_remove(struct lease *lease);

/*
 * At the start, before anything is bound: the kept sockets go into `inherited`, each under its
 * listener's name, for apply to claim. What is kept and is not the socket that its record says is
 * logged, and closed. -ENOMEM.
 */
int kept_give_sockets(struct memory *memory, struct inherited *inherited, struct log *log);

/*
 * After the first apply, before memory_forget_nameless(): sockets whose record was lost and that no
 * listener has claimed get one, under the name of their id. So they stay open over every death,
 * until `fdpass apply` claims or closes them. What cannot be remembered is logged.
 */
void kept_put_unclaimed(struct memory *memory, struct inherited *inherited, struct log *log);

/*
 * By apply, for a socket that it adopted from `inherited` under this id: age, repairs, origin,
 * options. True when the record is what kept_socket_put() would write for a socket of `listener`.
 */
bool kept_socket_restore(struct listener_table *table, struct listener_socket *socket,
                         const char *listener, const char *id);

/*
 * By the first apply, when the listeners are in place: holders that still live get their leases
 * back; those that ended meanwhile are forgotten.
 */
void kept_restore_leases(struct listener_table *table);

#endif
