/*
 * Where the control socket is, and how to reach it.
 *
 * The kernel vouches for the peer (SO_PEERCRED are the credentials of who called listen(2)), so a
 * path that somebody else could have made is harmless: what answers there is refused. The folder in
 * /tmp is checked all the same, before connecting, because a connection alone can already wait.
 */
#include "control_socket.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "deadline.h"
#include "fd_list.h"

static int format_path(char ret[CONTROL_SOCKET_PATH_SIZE], const char *folder, const char *rest) {
        char path[CONTROL_SOCKET_PATH_SIZE];
        int n = snprintf(path, sizeof(path), "%s%s", folder, rest);

        if (n < 0 || (size_t) n >= sizeof(path))
                return -ENAMETOOLONG;
        memcpy(ret, path, (size_t) n + 1);
        return 0;
}

/* "/tmp/fdpass-UID/" of this process. */
static void temporary_folder(char *ret, size_t size) {
        (void) snprintf(ret, size, "/tmp/fdpass-%u/", (unsigned) geteuid());
}

int control_socket_default(char ret[CONTROL_SOCKET_PATH_SIZE]) {
        const char *value = secure_getenv("FDPASS_SOCKET");
        char folder[32];

        if (value && *value)
                return format_path(ret, value, "");
        if (geteuid() == 0)
                return format_path(ret, CONTROL_SOCKET_SYSTEM, "");
        value = secure_getenv("XDG_RUNTIME_DIR");
        if (value && *value == '/')
                return format_path(ret, value, "/fdpass/broker.sock");
        temporary_folder(folder, sizeof(folder));
        return format_path(ret, folder, "broker.sock");
}

int control_socket_find(char ret[CONTROL_SOCKET_PATH_SIZE]) {
        const char *value = secure_getenv("FDPASS_SOCKET");
        char path[CONTROL_SOCKET_PATH_SIZE];
        struct stat st;
        int r = control_socket_default(path);

        if (r < 0)
                return r;
        /*
         * A socket that is there and refuses belongs to a broker of this user that is away: its
         * names are not those of the system's broker, so only a missing one sends us on.
         */
        if (!(value && *value) && lstat(path, &st) < 0 && (errno == ENOENT || errno == ENOTDIR))
                return format_path(ret, CONTROL_SOCKET_SYSTEM, "");
        return format_path(ret, path, "");
}

int control_socket_folder_check(const char *path) {
        char folder[CONTROL_SOCKET_PATH_SIZE];
        const char *slash = strrchr(path, '/');
        struct stat st;

        if (!slash || slash == path || (size_t) (slash - path) >= sizeof(folder))
                return -EPERM;
        memcpy(folder, path, (size_t) (slash - path));
        folder[slash - path] = '\0';
        if (lstat(folder, &st) < 0)
                return errno == ENOENT ? -ENOENT : -EPERM;
        if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 07777) != 0700)
                return -EPERM;
        return 0;
}

/* Only our own folder in /tmp: any other path was chosen by somebody who may choose it. */
static int check_temporary_folder(const char *path) {
        char folder[32];
        int r;

        if (path[0] != '/' || path[1] != 't')
                return 0; /* the usual case, without asking for our uid */
        temporary_folder(folder, sizeof(folder));
        if (strncmp(path, folder, strlen(folder)) != 0)
                return 0;
        r = control_socket_folder_check(path);
        return r == -ENOENT ? -EHOSTDOWN : r;
}

static int check_peer(int fd) {
        struct ucred peer;
        socklen_t size = sizeof(peer);

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
                return -errno;
        return peer.uid == 0 || peer.uid == geteuid() ? 0 : -EPERM;
}

static int translate(int error) {
        switch (error) {
        case EACCES:
        case EPERM:
                return -EACCES;
        case EAGAIN:
        case EMFILE:
        case ENFILE:
        case ENOBUFS:
        case ENOMEM:
                return error == ENOBUFS ? -ENOMEM : -error;
        default:
                /* ENOENT, ECONNREFUSED, ENOTDIR, EPROTOTYPE …: no broker is listening there. */
                return -EHOSTDOWN;
        }
}

static int make_address(const char *path, struct sockaddr_un *ret) {
        size_t length = strlen(path);

        if (length >= sizeof(ret->sun_path))
                return -ENAMETOOLONG;
        if (length == 0)
                return -EHOSTDOWN; /* would autobind, or reach an unnamed socket */
        *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
        memcpy(ret->sun_path, path, length + 1);
        return check_temporary_folder(path);
}

static int open_socket(int flags) {
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0);

        return fd < 0 ? -errno : fd_above_stdio(fd);
}

int control_socket_connect(const char *path) {
        struct sockaddr_un address;
        _cleanup_close_ int fd = -1;
        int r = make_address(path, &address);

        if (r < 0)
                return r;
        fd = open_socket(SOCK_NONBLOCK);
        if (fd < 0)
                return fd;
        do
                r = connect(fd, (struct sockaddr *) &address, sizeof(address));
        while (r < 0 && errno == EINTR);
        if (r < 0)
                return translate(errno);
        r = check_peer(fd);
        return r < 0 ? r : take_fd(&fd);
}

/*
 * A full backlog: connect(2) on a blocking socket waits in the kernel, for SO_SNDTIMEO, and is
 * woken as soon as the broker accepts; with a non-blocking one only sleeping and trying again would
 * be left.
 */
static int connect_patiently(int fd, const struct sockaddr_un *address, int64_t deadline) {
        for (;;) {
                int64_t left = deadline_remaining(deadline);
                struct timeval limit = usec_timeval(left);

                if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0)
                        return -errno;
                if (connect(fd, (const struct sockaddr *) address, sizeof(*address)) == 0)
                        return 0;
                if (errno != EINTR && errno != EAGAIN)
                        return translate(errno);
                if (left == 0) /* once at least: what came late is ourselves, perhaps */
                        return -ETIMEDOUT;
        }
}

int control_socket_connect_until(const char *path, int64_t deadline) {
        struct sockaddr_un address;
        _cleanup_close_ int fd = -1;
        int r = make_address(path, &address);

        if (r < 0)
                return r;
        fd = open_socket(0);
        if (fd < 0)
                return fd;
        r = connect_patiently(fd, &address, deadline);
        if (r < 0)
                return r;
        r = check_peer(fd);
        return r < 0 ? r : take_fd(&fd);
}
