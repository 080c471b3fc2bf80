/* Where the broker's control socket is, for the library, the command and the broker alike. */
#ifndef FDPASS_CONTROL_SOCKET_H
#define FDPASS_CONTROL_SOCKET_H

#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>

#define CONTROL_SOCKET_SYSTEM "/run/fdpass/broker.sock"

/* The path without its NUL has at most 107 bytes, unix(7). */
#define CONTROL_SOCKET_PATH_SIZE sizeof(((struct sockaddr_un *) 0)->sun_path)

/*
 * Where a broker of this process's effective uid has its control socket when its configuration
 * does not say: $FDPASS_SOCKET; for root CONTROL_SOCKET_SYSTEM;
 * $XDG_RUNTIME_DIR/fdpass/broker.sock; /tmp/fdpass-UID/broker.sock. The environment is read by
 * secure_getenv(3).
 *
 * Returns 0, or -ENAMETOOLONG.
 */
int control_socket_default(char ret[CONTROL_SOCKET_PATH_SIZE]);

/*
 * Where a client looks when it was not told: control_socket_default(), but CONTROL_SOCKET_SYSTEM
 * when FDPASS_SOCKET is not set and nothing is at the default path.
 *
 * Returns 0, or -ENAMETOOLONG.
 */
int control_socket_find(char ret[CONTROL_SOCKET_PATH_SIZE]);

/*
 * Is the folder of `path` one that only we (or root) could have put a socket into? Asked of
 * /tmp/fdpass-UID/ only: a real directory (lstat), ours, mode 0700. 0, -ENOENT or -EPERM.
 */
int control_socket_folder_check(const char *path);

/*
 * Connect. The path is measured, never cut; one in /tmp/fdpass-UID/ passes
 * control_socket_folder_check() first. The socket is SOCK_SEQPACKET, close-on-exec, not 0, 1 or 2,
 * and O_NONBLOCK.
 *
 * Returns a descriptor, or -EHOSTDOWN, -EACCES, -EPERM (the peer's uid, or the folder),
 * -ENAMETOOLONG, -EAGAIN (backlog full: poll does not tell when it is not, so wait and repeat),
 * -EMFILE, -ENFILE, -ENOMEM.
 */
int control_socket_connect(const char *path);

/*
 * The same, but the socket is blocking, and when the backlog is full this waits for the broker
 * until the deadline (deadline.h), then returns -ETIMEDOUT.
 */
int control_socket_connect_until(const char *path, int64_t deadline);

#endif
