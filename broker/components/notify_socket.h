/*
 * What one instance of a generation says of itself (sd_notify(3)). The socket is its own, so who
 * speaks is known without looking at pids, and who floods it starves itself alone: it is read a few
 * packets a turn, and not at all for a moment when it is over its rate. Nothing is dropped then:
 * the queue of the socket fills, and its own writers wait.
 *
 * Who may speak (NotifyAccess=) goes by the kernel's word on the sender of each packet, and nobody
 * is above it, root neither:
 *   main  the main process
 *   exec  that, and the commands that the broker runs for the component. These are processes of the
 *         same tree, and are not told from others of it: so for now the same as all
 *   all   any process of the tree
 * A packet is taken from the queue when what it said was handled, and kept where it is to be kept:
 * a broker that is killed between leaves it to the next one, which handles it (again, at worst: no
 * word of the protocol means more when it is said twice).
 *
 * A sender that has ended already (a systemd-notify that did not wait) belongs to no process group
 * any more and cannot be looked up. It is believed when it was the main process, or when its pidfd
 * remembers its cgroup (Linux 6.16); else it is refused, as systemd refuses it, and the log says
 * so. A pid of 0, which is a process of a foreign pid namespace, is always refused.
 */
#ifndef COMPONENTS_NOTIFY_SOCKET_H
#define COMPONENTS_NOTIFY_SOCKET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "components/notify_packet.h"
#include "config/component_config.h"
#include "core/log.h"
#include "core/loop.h"
#include "fd_list.h"

struct process_tree;

struct notify_socket {
        struct loop *loop;
        struct log *log;
        const char *component; /* lent; for the log */
        int fd;                /* owned; -1 */
        char path[112];        /* what NOTIFY_SOCKET says; begins with '@' when it is abstract */
        enum notify_access access;
        const struct process_tree *tree, *command; /* who may speak; command: or NULL */
        struct io_watch watch;
        struct timer pause; /* over its rate */
        struct rate_limit rate, refusals, floods;
        bool is_handled; /* the first packet of the queue: it is only to be dropped */
        bool *closed;    /* of the turn that is being read, when one is */
        void (*handle)(void *owner, struct notify_packet *packet);
        void (*dispose)(void *owner, struct fd_list *fds);
        void *owner;
};

/*
 * Open one beside the control socket, under a name made of its name, so that it is no other
 * broker's, and of `id`; abstract, with a name that nobody can guess, when the path would be too
 * long. uid and gid may write to it. What a former life left at the path is removed. 0 or -errno.
 */
int notify_socket_open(struct notify_socket *socket, struct loop *loop, struct log *log,
                       const char *component, const char *control_path, const char *id, uid_t uid,
                       gid_t gid);
/* One of a former life. Takes fd, also when it fails. 0 or -errno: it is no notify socket. */
int notify_socket_adopt(struct notify_socket *socket, struct loop *loop, struct log *log,
                        const char *component, int fd, const char *path);
/*
 * Listen to it. handle() may close the socket and free its owner.
 *
 * dispose() takes descriptors that nobody wants: all of the list, in which those that were taken
 * are -1. A peer chose them, so it must close them where that may block (control/disposal.h).
 * BARRIER=1 is answered by it: the barrier falls when its descriptor is closed, and when it is
 * disposed of all before was handled.
 */
void notify_socket_start(struct notify_socket *socket, enum notify_access access,
                         const struct process_tree *tree, const struct process_tree *command,
                         void (*handle)(void *owner, struct notify_packet *packet),
                         void (*dispose)(void *owner, struct fd_list *fds), void *owner);
/* Handles what waits in it, bounded, whatever its rate was; for the end of a process, whose last
 * words may be there. */
void notify_socket_drain(struct notify_socket *socket);
/*
 * Stops and closes; nothing when it was never opened (zeroed). `remove`: for ever, so it is
 * unlinked and what waits in it is disposed of, which leaves nothing in other copies of it either
 * (in the fd store). Without it those go on collecting what is said.
 */
void notify_socket_close(struct notify_socket *socket, bool remove);
/* Its path alone, ahead of that: before what says where it is gets lost. */
void notify_socket_unlink(const struct notify_socket *socket);
/* Remove those beside this control socket, which is locked for us, that nobody uses any more: left
 * by a broker that died with its keeper. */
void notify_socket_remove_stale(const char *control_path,
                                bool (*is_used)(void *owner, const char *name), void *owner);

#endif
