/*
 * Opening the control socket.
 *
 * The lock beside the socket decides who is the broker at this path: it is taken before the path is
 * looked at and held until the process ends, however it ends. Two brokers that start at once so
 * cannot both find a stale socket and bind over each other. The lock file is never removed: whoever
 * waited on the removed one would hold a lock that nobody else sees.
 */
#include "control/endpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "cleanup.h"
#include "core/inherited.h"
#include "core/log.h"
#include "core/loop.h"
#include "core/process.h"
#include "keeper/memory.h"
#include "keeper/record.h"

#define KIND_ENDPOINT "control"
#define KIND_LOCK "lock"

static const char *const kept_keys[] = {"RECORD", "BOUND", NULL};
static const struct record_kind endpoint_record = {KIND_ENDPOINT, 'c', kept_keys};
static const struct record_kind lock_record = {KIND_LOCK, 'c', kept_keys};

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* Linux 6.16 */
#endif

#define LOCK_PATH_SIZE (CONTROL_SOCKET_PATH_SIZE + sizeof(".lock"))

/* Cut by the kernel to net.core.somaxconn. */
#define BACKLOG 4096

/* So long whoever has the lock may be on its way out, with pauses between looks at it. */
#define DYING_USEC 2000000
#define DYING_PAUSE_MSEC 10
/* Of one that we cannot ask anything: it hangs up in this time, or it runs. */
#define HANG_UP_MSEC 500

static int set_path(struct endpoint *e, const char *path) {
        size_t length = strlen(path);

        if (length >= sizeof(e->path))
                return -ENAMETOOLONG;
        memcpy(e->path, path, length + 1);
        return 0;
}

static struct sockaddr_un to_address(const char *path) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};

        memcpy(address.sun_path, path, strlen(path)); /* measured by set_path() */
        return address;
}

/* Connections inherit it at connect(2), so it holds before they are accepted. */
static void refuse_descriptors(struct endpoint *e) {
        int no = 0;

        e->refuses_descriptors = setsockopt(e->fd, SOL_SOCKET, SO_PASSRIGHTS, &no, sizeof(no)) == 0;
}

/* ---- adopted ----------------------------------------------------------------------------------*/

static int get_option(int fd, int option) {
        int value;
        socklen_t size = sizeof(value);

        return getsockopt(fd, SOL_SOCKET, option, &value, &size) < 0 ? -errno : value;
}

static bool is_control_socket(int fd) {
        return get_option(fd, SO_DOMAIN) == AF_UNIX && get_option(fd, SO_TYPE) == SOCK_SEQPACKET &&
               get_option(fd, SO_ACCEPTCONN) == 1;
}

/* The path that the socket is bound to; "" when that is no path. */
static void bound_path(int fd, char ret[CONTROL_SOCKET_PATH_SIZE]) {
        struct sockaddr_un address = {0};
        socklen_t size = sizeof(address);

        ret[0] = '\0';
        if (getsockname(fd, (struct sockaddr *) &address, &size) == 0 &&
            address.sun_family == AF_UNIX)
                (void) snprintf(ret, CONTROL_SOCKET_PATH_SIZE, "%.*s",
                                (int) sizeof(address.sun_path), address.sun_path);
}

static int find_inherited(const struct endpoint *e, const struct inherited *inherited,
                          struct log *log, size_t *ret_index) {
        char path[CONTROL_SOCKET_PATH_SIZE];

        for (size_t i = 0; inherited && i < inherited_count(inherited); i++) {
                int fd = inherited_peek_fd(inherited, i);
                bool named = strcmp(inherited_name(inherited, i), ENDPOINT_NAME) == 0;
                bool fits = is_control_socket(fd);

                if (named && !fits) {
                        log_error(log, NULL,
                                  "the socket passed as %s is not a listening sequential-packet "
                                  "Unix socket: use ListenSequentialPacket= in its socket unit",
                                  ENDPOINT_NAME);
                        return -EINVAL;
                }
                if (fits)
                        bound_path(fd, path);
                if (named || (fits && strcmp(path, e->path) == 0)) {
                        *ret_index = i;
                        return 0;
                }
        }
        return -ENOENT;
}

static int adopt(struct endpoint *e, struct inherited *inherited, size_t index, struct log *log) {
        char path[CONTROL_SOCKET_PATH_SIZE];
        int flags;

        e->kept = inherited_id(inherited, index) != NULL;
        e->fd = inherited_take_fd(inherited, index);
        e->adopted = true;
        refuse_descriptors(e);
        bound_path(e->fd, path);
        if (path[0] == '/' && strcmp(path, e->path) != 0) {
                log_notice(log, NULL, "the control socket was passed to us at %s, not %s", path,
                           e->path);
                (void) set_path(e, path);
        }
        flags = fcntl(e->fd, F_GETFL);
        if (flags < 0 || fcntl(e->fd, F_SETFL, flags | O_NONBLOCK) < 0)
                return -errno;
        return 0;
}

/* ---- bound by us ------------------------------------------------------------------------------*/

/* Only the last folder of the path, and only when it is missing. */
static int make_folder(const struct endpoint *e, struct log *log) {
        char folder[CONTROL_SOCKET_PATH_SIZE];
        char *slash;

        memcpy(folder, e->path, sizeof(folder));
        slash = strrchr(folder, '/');
        if (!slash || slash == folder)
                return 0;
        *slash = '\0';
        if (mkdir(folder, geteuid() == 0 ? 0755 : 0700) == 0 || errno == EEXIST)
                return 0;
        int r = -errno;
        log_error(log, NULL,
                  "the folder %s of the control socket cannot be made: %s; make it, or set "
                  "ControlSocket= in [Broker]",
                  folder, strerror(-r));
        return r;
}

/* In /tmp somebody else may have been first with the name of our folder. */
static int check_folder(const struct endpoint *e, struct log *log) {
        char ours[32];

        (void) snprintf(ours, sizeof(ours), "/tmp/fdpass-%u/", (unsigned) geteuid());
        if (strncmp(e->path, ours, strlen(ours)) != 0 || control_socket_folder_check(e->path) == 0)
                return 0;
        log_error(log, NULL,
                  "%s is not a folder of ours with mode 0700, so others could take the control "
                  "socket away; remove it, or set ControlSocket= in [Broker]",
                  ours);
        return -EPERM;
}

static void say_running(const struct endpoint *e, int fd, struct log *log) {
        char name[PROCESS_NAME_SIZE];
        struct ucred peer = {0};
        socklen_t size = sizeof(peer);

        if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 || peer.pid <= 0) {
                log_error(log, NULL, "already running: another broker has the control socket %s",
                          e->path);
                return;
        }
        process_name(peer.pid, name);
        log_error(log, ABOUT(.pid = peer.pid),
                  "already running: %s (pid %d, uid %u) has the control socket %s; stop it, or set "
                  "another ControlSocket= in [Broker]",
                  name, (int) peer.pid, (unsigned) peer.uid, e->path);
}

/*
 * Connect to what is at the path: a descriptor when somebody answers, else -ECONNREFUSED (nobody
 * listens), -ENOENT, …. EAGAIN means a full backlog, so somebody is there; connect(2) to a socket
 * of another type says EPROTOTYPE, and that one is alive too.
 */
static int probe(const struct endpoint *e) {
        struct sockaddr_un address = to_address(e->path);
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        if (fd < 0)
                return -errno;
        if (connect(fd, (struct sockaddr *) &address, sizeof(address)) < 0)
                return -errno;
        return take_fd(&fd);
}

static void lock_path(const struct endpoint *e, char ret[LOCK_PATH_SIZE]) {
        (void) snprintf(ret, LOCK_PATH_SIZE, "%s.lock", e->path);
}

/* With its record lost it is known by its file. */
static bool is_lock(const struct inherited *inherited, size_t i, const struct stat *lock) {
        struct stat st;

        if (inherited_id(inherited, i))
                return strcmp(inherited_name(inherited, i), ENDPOINT_LOCK_NAME) == 0;
        return lock->st_ino && fstat(inherited_peek_fd(inherited, i), &st) == 0 &&
               st.st_dev == lock->st_dev && st.st_ino == lock->st_ino;
}

/* The lock belongs to the open file description: what was kept has never been without it. */
static bool find_lock(struct endpoint *e, struct inherited *inherited) {
        char path[LOCK_PATH_SIZE];
        struct stat lock;

        lock_path(e, path);
        if (lstat(path, &lock) < 0 || !S_ISREG(lock.st_mode))
                lock.st_ino = 0;
        for (size_t i = 0; inherited && i < inherited_count(inherited); i++)
                if (is_lock(inherited, i, &lock)) {
                        e->lock_kept = inherited_id(inherited, i) != NULL;
                        e->lock_fd = inherited_take_fd(inherited, i);
                        return true;
                }
        return false;
}

/* ---- who has it, if we have not ----------------------------------------------------------------
 *
 * What is killed has its descriptors for some milliseconds yet, and a child that it forked has them
 * until its exec: the lock is not to be had, and connections to the control socket are taken in
 * vain. Whoever is started again at once must not take that for a broker that runs.
 */

static bool hangs_up(int fd) {
        struct pollfd p = {.fd = fd, .events = POLLRDHUP};

        return poll(&p, 1, HANG_UP_MSEC) == 1;
}

/* 0: it was given up meanwhile, or is about to be; -EALREADY: the offer was accepted. */
static int ask_who_runs(const struct endpoint *e, const struct endpoint_offer *offer, int fd) {
        int r = -ENOTCONN;

        if (fd == -ECONNREFUSED || fd == -ENOENT)
                return 0;
        if (fd < 0)
                return -EADDRINUSE;
        if (offer)
                r = offer->make(offer->owner, fd);
        if (r == 0)
                return -EALREADY;
        if (r == -ENOTCONN) /* nothing was offered */
                return hangs_up(fd) ? 0 : -EADDRINUSE;
        return r == -ECONNRESET || r == -EPIPE ? 0 : -EADDRINUSE;
}

/* 0: try again to get it. `is_over`: it was tried when the time for that had passed. */
static int wait_for_lock(const struct endpoint *e, const struct endpoint_offer *offer, bool is_over,
                         struct log *log) {
        _cleanup_close_ int other = probe(e);
        int r = ask_who_runs(e, offer, other);

        if (r == 0 && is_over)
                r = -EADDRINUSE;
        if (r == 0)
                (void) poll(NULL, 0, DYING_PAUSE_MSEC);
        else if (r != -EALREADY)
                say_running(e, other, log);
        return r;
}

static int take_lock(struct endpoint *e, const struct endpoint_offer *offer, struct log *log) {
        uint64_t until_usec = loop_now_usec() + DYING_USEC;
        char path[LOCK_PATH_SIZE];
        _cleanup_close_ int fd = -1;
        bool is_over = false;
        int r;

        lock_path(e, path);
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        r = fd < 0 ? -errno : 0;
        while (r == 0 && flock(fd, LOCK_EX | LOCK_NB) < 0) {
                if (errno != EWOULDBLOCK) {
                        r = -errno;
                        break;
                }
                r = wait_for_lock(e, offer, is_over, log);
                if (r < 0)
                        return r;
                /* An offer takes its time, and so may we: what ended meanwhile is not there. */
                is_over = loop_now_usec() >= until_usec;
        }
        /* An adopted socket may lie where we cannot write; whoever passed it starts us once. */
        if (r < 0 && e->adopted) {
                log_debug(log, NULL, "no lock %s: %s", path, strerror(-r));
                return 0;
        }
        if (r < 0) {
                log_error(log, NULL,
                          "the lock %s cannot be taken: %s; remove it if it is another user's, or "
                          "set another ControlSocket= in [Broker]",
                          path, strerror(-r));
                return r;
        }
        e->lock_fd = take_fd(&fd);
        return 0;
}

/* Make the path free: 0, or why it is not ours to have. */
static int clear_path(const struct endpoint *e, struct log *log) {
        uint64_t until_usec = loop_now_usec() + DYING_USEC;
        struct stat st;
        int fd, r;

        if (lstat(e->path, &st) < 0)
                return errno == ENOENT ? 0 : -errno;
        if (!S_ISSOCK(st.st_mode)) {
                log_error(log, NULL,
                          "%s is there and is not a socket; remove it, or set another "
                          "ControlSocket= in [Broker]",
                          e->path);
                return -EEXIST;
        }
        while ((fd = probe(e)) >= 0 && loop_now_usec() < until_usec && hangs_up(fd))
                close_fd(fd);
        if (fd >= 0 || fd == -EAGAIN) {
                say_running(e, fd, log);
                close_fd(fd);
                return -EADDRINUSE;
        }
        if (fd != -ECONNREFUSED && fd != -ENOENT) {
                log_error(log, NULL,
                          "another program has the socket %s: %s; stop it, or set "
                          "another ControlSocket= in [Broker]",
                          e->path, strerror(-fd));
                return fd == -EPROTOTYPE ? -EEXIST : fd;
        }
        r = unlink(e->path) < 0 && errno != ENOENT ? -errno : 0;
        if (r < 0)
                log_error(log, NULL, "the stale socket %s cannot be removed: %s", e->path,
                          strerror(-r));
        else
                log_info(log, NULL, "bound over %s, where nobody listens any more", e->path);
        return r;
}

/*
 * Anybody may connect, also to a user's broker: who may do what is decided by the kernel's word on
 * the peer, and who may come near at all by the folder, which for a user is 0700. Until listen(2)
 * nobody can connect, so the mode is set in time and without touching the umask.
 */
static int bind_path(struct endpoint *e) {
        struct sockaddr_un address = to_address(e->path);
        struct stat st;

        e->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (e->fd < 0)
                return -errno;
        if (bind(e->fd, (struct sockaddr *) &address, sizeof(address)) < 0)
                return -errno;
        if (lstat(e->path, &st) < 0)
                return -errno;
        e->device = st.st_dev;
        e->inode = st.st_ino;
        if (fchmodat(AT_FDCWD, e->path, 0666, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        refuse_descriptors(e);
        return listen(e->fd, BACKLOG) < 0 ? -errno : 0;
}

static int bind_anew(struct endpoint *e, struct log *log) {
        int r = clear_path(e, log);

        if (r < 0)
                return r;
        r = bind_path(e);
        if (r < 0)
                log_error(log, NULL, "the control socket %s cannot be opened: %s", e->path,
                          strerror(-r));
        return r;
}

/* ---- both -------------------------------------------------------------------------------------*/

static int open_at(struct endpoint *e, struct inherited *inherited,
                   const struct endpoint_offer *offer, struct log *log) {
        size_t index;
        int r = find_inherited(e, inherited, log, &index);

        if (r == 0)
                r = adopt(e, inherited, index, log);
        else if (r == -ENOENT)
                r = make_folder(e, log);
        if (r == 0 && !e->adopted)
                r = check_folder(e, log);
        if (r == 0 && !find_lock(e, inherited))
                r = take_lock(e, offer, log);
        if (r == 0 && !e->adopted)
                r = bind_anew(e, log);
        return r;
}

int endpoint_open(struct endpoint *ret, const char *path, struct inherited *inherited,
                  const struct endpoint_offer *offer, struct log *log) {
        struct endpoint e = {.fd = -1, .lock_fd = -1};
        int r = path ? set_path(&e, path) : control_socket_default(e.path);

        if (r < 0) {
                log_error(log, NULL, "the path of the control socket is longer than %zu bytes: %s",
                          sizeof(e.path) - 1, path ? path : "see FDPASS_SOCKET");
                return r;
        }
        r = open_at(&e, inherited, offer, log);
        if (r < 0) {
                endpoint_close(&e);
                return r;
        }
        if (!e.refuses_descriptors)
                log_info(log, NULL,
                         "the kernel cannot refuse descriptors that peers send (SO_PASSRIGHTS, "
                         "Linux 6.16): unwanted ones are closed by a child process");
        *ret = e;
        return 0;
}

/* The path that a broker before us bound is ours to remove. */
static void own_path(struct endpoint *e) {
        struct stat st;

        if (lstat(e->path, &st) == 0 && S_ISSOCK(st.st_mode)) {
                e->device = st.st_dev;
                e->inode = st.st_ino;
        }
}

static void keep_one(struct memory *m, const struct record_kind *kind, bool bound, int fd,
                     struct log *log) {
        struct packet_writer *w = record_new(m, kind);
        char id[STATE_ID_SIZE] = "";
        int r;

        if (w)
                packet_add_u64(w, "BOUND", bound);
        r = record_put(m, kind, w, id);
        if (r == 0)
                r = memory_put_fd(m, id, fd);
        if (r < 0)
                log_error(log, NULL,
                          "the control socket cannot be kept: %s; clients would be refused after a "
                          "crash",
                          strerror(-r));
}

void endpoint_keep(struct endpoint *e, struct memory *m, struct log *log) {
        const char *id = memory_first(m, KIND_ENDPOINT);
        const struct text *bound = NULL;
        struct assignments a;

        if (!e->lock_kept && e->lock_fd >= 0)
                keep_one(m, &lock_record, false, e->lock_fd, log);
        if (!e->kept)
                keep_one(m, &endpoint_record, !e->adopted, e->fd, log);
        else if (id && memory_get(m, id, &a)) {
                bound = assignments_get(&a, "BOUND");
                if (bound && text_equal(*bound, "1"))
                        own_path(e);
        }
        /* The next broker serves this very socket: its path must not go when we end. */
        if (memory_outlives_us(m))
                e->inode = 0;
}

static int give(struct memory *m, struct inherited *inherited, const char *kind, const char *name) {
        const char *id, *next;

        for (id = memory_first(m, kind); id; id = next) {
                int fd = memory_take_fd(m, id);

                if (fd >= 0)
                        return inherited_put_kept_fd(inherited, name, id, fd);
                /* We died between record and descriptor. */
                next = memory_next(m, kind, id);
                memory_remove(m, id);
        }
        return 0;
}

int endpoint_give(struct memory *m, struct inherited *inherited) {
        int r = give(m, inherited, KIND_ENDPOINT, ENDPOINT_NAME);

        return r < 0 ? r : give(m, inherited, KIND_LOCK, ENDPOINT_LOCK_NAME);
}

void endpoint_close(struct endpoint *e) {
        struct stat st;

        if (e->inode && lstat(e->path, &st) == 0 && st.st_dev == e->device && st.st_ino == e->inode)
                (void) unlink(e->path);
        e->inode = 0;
        e->fd = close_fd(e->fd);
        e->lock_fd = close_fd(e->lock_fd);
}
