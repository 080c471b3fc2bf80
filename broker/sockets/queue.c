/*
 * Queue lengths from our own descriptor, without privilege. For a listening TCP socket the kernel
 * reports its queue in the fields that mean unacknowledged segments elsewhere; for a Unix socket
 * only unix_diag knows, asked for that one inode.
 */
#include "sockets/queue.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "sockets/socket_diag.h"

static bool is_deferred(int fd) {
        int seconds = 0;
        socklen_t size = sizeof(seconds);

        return getsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, &size) == 0 && seconds > 0;
}

static int read_tcp(int fd, struct queue *ret) {
        struct tcp_info info;
        socklen_t size = sizeof(info);
        uint32_t memory[SK_MEMINFO_VARS] = {0};

        memset(&info, 0, sizeof(info));
        if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0)
                return -errno;
        if (info.tcpi_state != TCP_LISTEN)
                return -EINVAL;
        size = sizeof(memory);
        if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &size) < 0)
                return -errno;
        *ret = (struct queue){
                .length = info.tcpi_unacked,
                .limit = info.tcpi_sacked,
                .drops = is_deferred(fd) ? QUEUE_DROPS_UNKNOWN : memory[SK_MEMINFO_DROPS],
        };
        return 0;
}

static int read_unix(int fd, struct queue *ret) {
        struct diag_socket found;
        struct stat st;
        int r;

        if (fstat(fd, &st) < 0)
                return -errno;
        r = socket_diag_unix_one((uint32_t) st.st_ino, &found);
        if (r == -ENOENT) /* no unix_diag, or a socket of another network namespace */
                return -EOPNOTSUPP;
        if (r < 0)
                return r;
        if (found.state != TCP_LISTEN)
                return -EINVAL;
        if (!found.has_queue)
                return -EOPNOTSUPP;
        *ret = (struct queue){.length = found.queue_length, .limit = found.queue_limit};
        return 0;
}

int queue_read(int socket_fd, struct queue *ret) {
        int domain, protocol;
        socklen_t size = sizeof(domain);

        if (getsockopt(socket_fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0)
                return -errno;
        if (domain == AF_UNIX)
                return read_unix(socket_fd, ret);
        size = sizeof(protocol);
        if (getsockopt(socket_fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) < 0)
                return -errno;
        if ((domain != AF_INET && domain != AF_INET6) || protocol != IPPROTO_TCP)
                return -EOPNOTSUPP;
        return read_tcp(socket_fd, ret);
}
