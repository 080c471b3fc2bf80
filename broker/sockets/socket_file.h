/* Is a file the one that a Unix socket of ours is bound to? */
#ifndef SOCKETS_SOCKET_FILE_H
#define SOCKETS_SOCKET_FILE_H

#include <sys/stat.h>

/*
 * 1: `file` (of lstat(2)) is what `socket_fd` is bound to, 0: it is another one, or the socket is
 * bound to none; negative errno: the kernel does not tell.
 */
int socket_file_is(int socket_fd, const struct stat *file);

#endif
