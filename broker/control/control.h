/*
 * The control socket and everything that talks over it: sessions, the verbs, the watchers of
 * events. One object a broker.
 */
#ifndef CONTROL_CONTROL_H
#define CONTROL_CONTROL_H

#include <stdint.h>

struct broker;
struct control;

/*
 * Open the control socket (broker->config says where, else libfdpass/control_socket.h) and serve it
 * from broker->loop. A listening SOCK_SEQPACKET socket among broker->inherited that is named
 * "fdpass-control" or is bound to that path is adopted and not bound again.
 *
 * Needs broker->loop, log, limits, config and inherited (which may be NULL); broker->listeners only
 * from the first turn of the loop on.
 *
 * What is wrong is in the log. Returns 0, -EADDRINUSE (a broker is already running there),
 * -EALREADY (one is, and our keeper keeps for it now), or another negative errno.
 */
int control_new(struct control **ret, struct broker *broker);

/*
 * The store is theirs, too: broker->components is there, and nothing was applied to it yet. It must
 * be freed after the control object, whose sessions listen to its jobs.
 */
void control_serve_components(struct control *control);

/*
 * Ends all sessions and closes the socket; removes its path if we made it. Before the listener
 * table is freed, because sessions refer to holders. NULL is allowed. Returns NULL.
 */
struct control *control_free(struct control *control);

/* This start fails: the path of a socket from the life before stays, for the one after. */
void control_leave_path(struct control *control);

/*
 * Serve for so long, or until one was accepted, nothing but HELLO and OFFER, which adds to
 * broker->inherited: the listeners are to be tried again. -ECANCELED: loop_stop() was called.
 */
int control_wait_for_offers(struct control *control, uint64_t usec);
/* The start is over, well or not: all that came meanwhile is answered now. */
void control_end_offers(struct control *control);

const char *control_path(const struct control *control);
int control_socket_fd(const struct control *control); /* lent */

/*
 * Load broker->config_path again and apply it, as the verb APPLY without ALLOW_CLOSE= does: all of
 * it or nothing. The result goes to the log; when this returns it is in force, or it is not. While
 * an APPLY is still being answered it is done after that.
 */
void control_reload(struct broker *broker);

#endif
