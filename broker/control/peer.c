/*
 * The peer's credentials. All of them are of the time of connect(2) and do not change afterwards,
 * so each is read when it is first needed and never again: a connection that only asks one question
 * pays for one getsockopt(2).
 */
#include "control/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "core/process.h"
#include "grammar.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif

int peer_read(int socket_fd, struct peer *ret) {
        struct ucred credentials;
        socklen_t size = sizeof(credentials);

        if (getsockopt(socket_fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0)
                return -errno;
        *ret = (struct peer){
                .uid = credentials.uid, .gid = credentials.gid, .pid = credentials.pid};
        return 0;
}

void peer_clear(struct peer *peer) {
        free(peer->groups);
        peer->groups = NULL;
        peer->n_groups = 0;
}

/* Without memory, or from a kernel that does not say, the peer has no groups: the default is no. */
static void read_groups(struct peer *peer, int socket_fd) {
        socklen_t size = 0;
        gid_t *groups;

        peer->has_groups = true;
        /* With no room the kernel says how much it needs; success means that there are none. */
        if (getsockopt(socket_fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &size) == 0 || errno != ERANGE)
                return;
        groups = malloc(size);
        if (!groups)
                return;
        if (getsockopt(socket_fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) < 0) {
                free(groups);
                return;
        }
        peer->groups = groups;
        peer->n_groups = size / sizeof(*groups);
}

bool peer_is_named(struct peer *peer, int socket_fd, const struct access_list *list) {
        if (list->n_users == 0 && list->n_groups == 0)
                return false;
        if (access_list_has(list, peer->uid, &peer->gid, 1))
                return true;
        if (list->n_groups == 0)
                return false;
        if (!peer->has_groups)
                read_groups(peer, socket_fd);
        return access_list_has(list, peer->uid, peer->groups, peer->n_groups);
}

int peer_open_process(int socket_fd, const struct peer *peer) {
        socklen_t size = sizeof(int);
        int pidfd;

        if (getsockopt(socket_fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) == 0)
                return pidfd; /* close-on-exec by definition */
        if (errno != ENOPROTOOPT) {
                /* A process that was reaped already: EINVAL up to Linux 6.14, then ESRCH. */
                return errno == EINVAL ? -ESRCH : -errno;
        }
        /*
         * Before Linux 6.5 there is only the number. If the process has ended and its pid was given
         * to another one since connect(2), the lease is recorded for that one; permission was still
         * decided by the credentials that the kernel kept from connect(2).
         */
        return peer->pid > 0 ? process_open(peer->pid) : -EACCES;
}

uid_t peer_overflow_uid(void) {
        _cleanup_close_ int fd = open("/proc/sys/kernel/overflowuid", O_RDONLY | O_CLOEXEC);
        char digits[16];
        ssize_t n = fd >= 0 ? read(fd, digits, sizeof(digits)) : -1;
        uint64_t uid;

        if (n > 0 && digits[n - 1] == '\n')
                n--;
        if (n <= 0 || text_to_u64((struct text){digits, (size_t) n}, &uid) < 0)
                return 65534;
        return (uid_t) uid;
}
