/*
 * Which Unix sockets are bound to which files: one reading of unix_diag, kept for many questions.
 *
 * A socket file says nothing of whether anybody is behind it, and connecting to find out would
 * disturb a server. The kernel knows the file's inode for each bound socket.
 */
#ifndef SOCKETS_PATH_OWNERS_H
#define SOCKETS_PATH_OWNERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

struct path_owners;

/* Reads nothing yet: the kernel is asked at the first question. -ENOMEM. */
int path_owners_new(struct path_owners **ret);
struct path_owners *path_owners_free(struct path_owners *owners);

/* A living socket bound to a file: it listens, is about to, or takes datagrams. */
struct path_owner {
        uint32_t inode; /* of the socket */
        bool listening;
        bool has_uid;
        uint32_t uid;
};

/*
 * The sockets bound to the file `path`, whose lstat(2) is `st`: writes at most `max` of them and
 * returns how many there are, or a negative errno (-ENOENT: a kernel without unix_diag). Accepted
 * connections, which bear their listener's address, do not count.
 */
int path_owners_find(struct path_owners *owners, const char *path, const struct stat *st,
                     struct path_owner *ret, size_t max);

#endif
