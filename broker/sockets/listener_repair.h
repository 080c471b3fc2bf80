/*
 * What keeps the sockets of a listener serving while others hold them: starts the guards of a
 * socket, mends what they report, and implements listener_check() and listener_restore() of
 * listener_table.h.
 *
 * Relies on struct listener_table (listener_table_private.h) for loop, log, watches and callbacks,
 * and on sockets/bind.h to bind a lost address anew.
 */
#ifndef SOCKETS_LISTENER_REPAIR_H
#define SOCKETS_LISTENER_REPAIR_H

struct listener_socket;

/*
 * Guard a socket that is bound, listens, and stands in its listener with address, fd, inode and
 * listener set; call it when the socket was bound or adopted and the listener is in its final
 * place. Remembers the socket's options as what listener_restore() goes back to, sets the
 * configured backlog and, when nobody holds the listener, O_NONBLOCK as configured.
 *
 * The listener_socket must not move in memory until listener_guard_stop(). A path that cannot be
 * guarded is logged and is no failure. Returns 0 or the error of epoll_ctl(2) or listen(2); then
 * no guard runs.
 */
int listener_guard_start(struct listener_socket *socket);

/*
 * Always before the descriptor is closed: others hold duplicates, and epoll would go on reporting
 * it. Removes the private link to a Unix path, not the path. Nothing when it is not guarded.
 */
void listener_guard_stop(struct listener_socket *socket);

#endif
