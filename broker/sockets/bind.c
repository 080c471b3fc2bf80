/*
 * Binding one socket. See bind.h.
 *
 * For a Unix path the order matters: missing folders are made; what stands at the path is looked
 * at and removed only when it is a socket file that no living socket is bound to; the umask gives
 * the new file its mode in the instant of its birth, so that there is no moment in which it is more
 * open than SocketMode= says; and it is given away last, because afterwards we may not be allowed
 * to change it.
 */
#include "sockets/bind.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "sockets/path_owners.h"
#include "sockets/socket_file.h"

enum step { STEP_SOCKET, STEP_OPTION, STEP_FOLDER, STEP_FILE, STEP_BIND, STEP_RIGHTS, STEP_LISTEN };

static const char *const step_names[] = {
        [STEP_SOCKET] = "making a socket",
        [STEP_OPTION] = "setting its options",
        [STEP_FOLDER] = "making its folder",
        [STEP_FILE] = "looking at the socket file that is there",
        [STEP_BIND] = "bind",
        [STEP_RIGHTS] = "setting the socket file's mode and owner",
        [STEP_LISTEN] = "listen",
};

static void set_reason(struct bind_report *report, const char *format, ...)
        __attribute__((format(printf, 2, 3)));
static void set_reason(struct bind_report *report, const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        (void) vsnprintf(report->reason, sizeof(report->reason), format, arguments);
        va_end(arguments);
}

enum { FAMILY_INET = 1, FAMILY_UNIX = 2, FAMILY_ANY = 3 };

/* What an errno of these calls means to an operator and what helps; the first that fits. */
static const struct reason {
        int error;
        int families;
        enum step first, last;
        const char *text;
} reasons[] = {
        {EADDRINUSE, FAMILY_ANY, STEP_SOCKET, STEP_LISTEN, "the address is in use"},
        {EADDRNOTAVAIL, FAMILY_INET, STEP_BIND, STEP_BIND,
         "no interface of this machine has this address; configure it there first, or choose one "
         "that 'ip address' shows"},
        {EAFNOSUPPORT, FAMILY_INET, STEP_SOCKET, STEP_SOCKET,
         "this kernel does not have this address family; IPv6 may be switched off, then write an "
         "IPv4 address such as 0.0.0.0:PORT"},
        {ENODEV, FAMILY_INET, STEP_BIND, STEP_BIND,
         "the interface after % is not there; 'ip link' shows those that are"},
        {EINVAL, FAMILY_INET, STEP_BIND, STEP_BIND,
         "the kernel does not take this address; a link-local one (fe80::) needs its interface: "
         "[fe80::1%eth0]:PORT"},
        {EPERM, FAMILY_INET, STEP_BIND, STEP_LISTEN,
         "a security policy (SELinux, AppArmor, a BPF or seccomp filter) forbids it; its log says "
         "which"},
        {EACCES, FAMILY_UNIX, STEP_FOLDER, STEP_FOLDER,
         "its folder is missing and we may not make it; make it as root, or choose another path"},
        {EACCES, FAMILY_UNIX, STEP_FILE, STEP_BIND,
         "we may not write to its folder; change the folder's owner or mode, or choose another "
         "path"},
        {EPERM, FAMILY_UNIX, STEP_FILE, STEP_FILE,
         "the socket file that is there belongs to another user in a folder with the sticky bit; "
         "remove it as its owner or root"},
        {EPERM, FAMILY_UNIX, STEP_RIGHTS, STEP_RIGHTS,
         "we may not give the socket file to SocketUser= and SocketGroup=; run as root or with "
         "CAP_CHOWN, or leave them out"},
        {ENOTDIR, FAMILY_UNIX, STEP_FOLDER, STEP_BIND,
         "a part of the path that should be a folder is a file; choose another path"},
        {ENOENT, FAMILY_UNIX, STEP_FOLDER, STEP_BIND,
         "a folder of the path vanished, or is a symbolic link that leads nowhere"},
        {EROFS, FAMILY_UNIX, STEP_FOLDER, STEP_BIND,
         "its file system is read-only; choose another path, such as one under /run"},
        {EMFILE, FAMILY_ANY, STEP_SOCKET, STEP_LISTEN,
         "the broker has no descriptors left; raise LimitNOFILE= or 'ulimit -n'"},
        {ENFILE, FAMILY_ANY, STEP_SOCKET, STEP_LISTEN,
         "the system has no descriptors left; raise fs.file-max"},
};

/* The first port that needs no privilege, in our network namespace. */
static unsigned first_free_port(void) {
        _cleanup_close_ int fd =
                open("/proc/sys/net/ipv4/ip_unprivileged_port_start", O_RDONLY | O_CLOEXEC);
        char text[16] = "";

        if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
                return 1024;
        return (unsigned) strtoul(text, NULL, 10);
}

static void explain(struct bind_report *report, const struct address *address, enum step step,
                    int error) {
        int family = address_is_unix(address) ? FAMILY_UNIX : FAMILY_INET;

        if (report->reason[0] != '\0')
                return;
        if (error == -EACCES && family == FAMILY_INET) {
                unsigned first = first_free_port();

                if (address_port(address) < first)
                        set_reason(report,
                                   "permission denied: ports below %u need CAP_NET_BIND_SERVICE; "
                                   "give it to fdpassd, run it as root, or lower "
                                   "net.ipv4.ip_unprivileged_port_start by sysctl",
                                   first);
                else
                        set_reason(report, "permission denied by a security policy (SELinux, "
                                           "AppArmor, a BPF filter); its log says which");
                return;
        }
        for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
                const struct reason *row = &reasons[i];

                if (row->error == -error && row->families & family && row->first <= step &&
                    step <= row->last) {
                        set_reason(report, "%s", row->text);
                        return;
                }
        }
        set_reason(report, "%s failed: %s", step_names[step], strerror(-error));
}

struct path_rights bind_rights(const struct socket_config *config) {
        return (struct path_rights){
                .mode = config->socket_mode & 07777,
                .uid = config->has_socket_user ? config->socket_uid : (uid_t) -1,
                /* Without SocketGroup= the configuration has the group of SocketUser= here. */
                .gid = config->has_socket_group ? config->socket_gid : (gid_t) -1,
        };
}

int bind_set_rights(const char *path, const struct path_rights *rights,
                    struct path_rights *ret_before) {
        _cleanup_close_ int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISSOCK(st.st_mode))
                return -EEXIST;
        /* The mode first: for what belongs to another we would need CAP_FOWNER. */
        if ((st.st_mode & 07777) != rights->mode) {
                char self[32];

                (void) snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
                if (chmod(self, rights->mode) < 0)
                        return -errno;
        }
        if ((rights->uid != (uid_t) -1 && rights->uid != st.st_uid) ||
            (rights->gid != (gid_t) -1 && rights->gid != st.st_gid)) {
                if (fchownat(fd, "", rights->uid, rights->gid, AT_EMPTY_PATH) < 0) {
                        int error = -errno;
                        char self[32];

                        (void) snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
                        (void) chmod(self, st.st_mode & 07777);
                        return error;
                }
        }
        if (ret_before)
                *ret_before = (struct path_rights){
                        .mode = st.st_mode & 07777, .uid = st.st_uid, .gid = st.st_gid};
        return 0;
}

int bind_set_non_blocking(int fd, bool non_blocking) {
        int flags = fcntl(fd, F_GETFL);

        if (flags < 0)
                return -errno;
        if (!!(flags & O_NONBLOCK) == non_blocking)
                return 0;
        return fcntl(fd, F_SETFL, flags ^ O_NONBLOCK) < 0 ? -errno : 0;
}

static void remove_folders(const char *path, unsigned count) {
        char folder[sizeof(((struct sockaddr_un *) 0)->sun_path) + 1];
        char *slash;

        (void) snprintf(folder, sizeof(folder), "%s", path);
        for (; count > 0 && (slash = strrchr(folder, '/')) && slash != folder; count--) {
                *slash = '\0';
                if (rmdir(folder) < 0)
                        return;
        }
}

/*
 * Make what is missing above `path`, exactly with `mode`: systemd.socket(5) says DirectoryMode= is
 * not subject to anybody's umask.
 */
static int make_folders(const char *path, mode_t mode, unsigned *ret_made) {
        char folder[sizeof(((struct sockaddr_un *) 0)->sun_path) + 1];
        mode_t before = umask(0);
        unsigned made = 0;
        int r = 0;

        (void) snprintf(folder, sizeof(folder), "%s", path);
        for (char *slash = strchr(folder + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
                *slash = '\0';
                if (slash[-1] != '/') {
                        if (mkdir(folder, mode) == 0) {
                                made++;
                        } else if (errno != EEXIST && access(folder, F_OK) < 0) {
                                /* On a read-only or foreign folder an existing one may give EROFS
                                 * or EACCES, hence the second question. */
                                r = -errno;
                                break;
                        }
                }
                *slash = '/';
        }
        (void) umask(before);
        if (r < 0) {
                remove_folders(folder, made);
                return r;
        }
        *ret_made = made;
        return 0;
}

/*
 * The last look before a file is removed, when no socket of our network namespace is bound to it:
 * a server in another one (a container that shares the folder) is invisible to unix_diag.
 * Connecting with another type than its socket's is refused in one way when there is a socket and
 * in another when there is none, and reaches nobody. 0: nobody is there.
 */
static int check_unreachable(const struct address *address, struct bind_report *report) {
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        if (fd < 0)
                return -errno;
        if (connect(fd, &address->any, address->length) == 0 || errno == EPROTOTYPE) {
                set_reason(report, "a server that is not in our network namespace, perhaps one in "
                                   "a container, has this path; stop it, or choose another path");
                return -EADDRINUSE;
        }
        if (errno == ECONNREFUSED || errno == ENOENT)
                return 0;
        if (errno == EACCES || errno == EPERM) {
                set_reason(report, "there is a socket file that we may not connect to, so it "
                                   "cannot be told whether anybody listens; if nobody does, "
                                   "remove it");
                return -EACCES;
        }
        return -errno;
}

/* Make way at the path: remove a socket file that nobody is behind, and nothing else. */
static int remove_stale(const struct address *address, struct path_owners *owners,
                        struct bind_report *report) {
        const char *path = address->un.sun_path;
        struct path_owner owner;
        struct stat st;
        int r;

        if (lstat(path, &st) < 0)
                return errno == ENOENT ? 0 : -errno;
        if (!S_ISSOCK(st.st_mode)) {
                set_reason(report, "there is something at this path that is not a socket; move it "
                                   "away, or choose another path");
                return -EEXIST;
        }
        r = path_owners_find(owners, path, &st, &owner, 1);
        if (r > 0)
                return -EADDRINUSE;
        /* A kernel without unix_diag leaves only the second look. */
        if (r < 0 && r != -ENOENT)
                return r;
        r = check_unreachable(address, report);
        if (r < 0)
                return r;
        return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

static int make_way(const struct socket_config *config, const struct address *address,
                    struct path_owners *owners, enum step *step, struct bind_report *report) {
        struct path_owners *own = NULL;
        int r;

        *step = STEP_FOLDER;
        r = make_folders(address->un.sun_path, config->directory_mode, &report->folders_made);
        if (r < 0)
                return r;
        *step = STEP_FILE;
        if (!owners) {
                r = path_owners_new(&own);
                if (r < 0)
                        return r;
                owners = own;
        }
        r = remove_stale(address, owners, report);
        path_owners_free(own);
        return r;
}

static int bind_unix(const struct socket_config *config, const struct address *address, int fd,
                     struct path_owners *owners, enum step *step, struct bind_report *report) {
        struct path_rights rights = bind_rights(config);
        mode_t before;
        int r;

        r = make_way(config, address, owners, step, report);
        if (r < 0)
                return r;
        *step = STEP_BIND;
        before = umask(~config->socket_mode & 0777);
        r = bind(fd, &address->any, address->length) < 0 ? -errno : 0;
        (void) umask(before);
        if (r < 0)
                return r;
        *step = STEP_RIGHTS;
        r = bind_set_rights(address->un.sun_path, &rights, NULL);
        if (r < 0)
                (void) unlink(address->un.sun_path);
        return r;
}

static int set_inet_options(const struct socket_config *config, const struct address *address,
                            int fd) {
        const int on = 1;

        /* Else remainders (TIME_WAIT) of connections that our own holders served would keep us
         * from binding again. On Linux it does not let two sockets listen on one address. */
        if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
                return -errno;
        if (address->any.sa_family == AF_INET6 && config->ipv6_only != IPV6_ONLY_DEFAULT) {
                int only = config->ipv6_only == IPV6_ONLY_ONLY;

                if (setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only)) < 0)
                        return -errno;
        }
        return 0;
}

static int bind_inet(const struct socket_config *config, const struct address *address, int fd,
                     enum step *step, struct bind_report *report) {
        int r;

        *step = STEP_OPTION;
        /* A kept port-0 bind would lose its port at the first shutdown() by a holder. */
        if (address_port(address) == 0) {
                set_reason(report, "a listener needs a port of its own; write one from 1 to 65535");
                return -EINVAL;
        }
        r = set_inet_options(config, address, fd);
        if (r < 0)
                return r;
        *step = STEP_BIND;
        return bind(fd, &address->any, address->length) < 0 ? -errno : 0;
}

int bind_socket(const struct socket_config *config, const struct address *address,
                struct path_owners *owners, int *ret_fd, struct bind_report *report) {
        int type = SOCK_STREAM | SOCK_CLOEXEC | (config->non_blocking ? SOCK_NONBLOCK : 0);
        int backlog = config->backlog > INT32_MAX ? INT32_MAX : (int) config->backlog;
        _cleanup_close_ int fd = -1;
        struct bind_report unread;
        enum step step = STEP_SOCKET;
        int r;

        if (!report)
                report = &unread;
        *report = (struct bind_report){.folders_made = 0};
        fd = socket(address->any.sa_family, type, 0);
        if (fd < 0)
                r = -errno;
        else if (address_is_unix(address))
                r = bind_unix(config, address, fd, owners, &step, report);
        else
                r = bind_inet(config, address, fd, &step, report);
        if (r == 0) {
                step = STEP_LISTEN;
                r = listen(fd, backlog) < 0 ? -errno : 0;
                if (r < 0)
                        bind_undo(address, fd, 0);
        }
        if (r < 0) {
                if (report->folders_made > 0)
                        remove_folders(address->un.sun_path, report->folders_made);
                report->folders_made = 0;
                explain(report, address, step, r);
                return r;
        }
        *ret_fd = take_fd(&fd);
        return 0;
}

void bind_undo(const struct address *address, int fd, unsigned folders_made) {
        const char *path = address->un.sun_path;
        struct stat st;

        if (!address_is_unix(address))
                return;
        /* Another program may have put its own socket there in the meantime. */
        if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode) && socket_file_is(fd, &st) > 0)
                (void) unlink(path);
        remove_folders(path, folders_made);
}
