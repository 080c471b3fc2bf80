/*
 * The socket of notify_socket.h: open, read a few packets a turn, close.
 *
 * Nothing that came with a packet is closed here: a peer chose those descriptors, and their last
 * close can block. The same goes for what lies unread in the socket when it is closed for ever:
 * shut down first it takes no more, then it is emptied, and closing an empty socket never waits.
 */
#include "components/notify_socket.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cleanup.h"
#include "components/notify_sender.h"
#include "message.h"

#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76
#endif

#define PACKETS_A_TURN 16
#define PACKETS_A_DRAIN 4096
/* What its last words lie behind is there already; who goes on filling the queue is not waited for.
 */
#define DRAIN_USEC 20000
/* 1,000 a second: in slices, so that who is over its rate waits a moment and not a second. */
#define SLICE_USEC (100 * 1000)
#define PACKETS_A_SLICE 100
/* Of one turn, and what others have before the next: a packet of descriptors to store costs more
 * than a word. */
#define SHARE_USEC 2000
#define LINE_INTERVAL_USEC (60ULL * 1000 * 1000)
#define LINES 3
#define SUFFIX ".notify-" /* of the control socket's name; the rest says whose it is */
#define LOOKED_AT_MAX 4096

/* ---- open and close ---- */

static void init(struct notify_socket *s, struct loop *loop, struct log *log,
                 const char *component) {
        *s = (struct notify_socket){
                .loop = loop,
                .log = log,
                .component = component,
                .fd = -1,
                .rate = {.interval_usec = SLICE_USEC, .burst = PACKETS_A_SLICE},
                .refusals = {.interval_usec = LINE_INTERVAL_USEC, .burst = LINES},
                .floods = {.interval_usec = LINE_INTERVAL_USEC, .burst = 1},
        };
}

/* Only packets that are sent after this carry their sender. */
static int ask_for_senders(int fd) {
        int on = 1;

        if (setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0)
                return -errno;
        /* Linux 6.5; see notify_sender.c for what is without it. */
        (void) setsockopt(fd, SOL_SOCKET, SO_PASSPIDFD, &on, sizeof(on));
        return 0;
}

static int bind_abstract(struct notify_socket *s) {
        struct sockaddr_un un = {.sun_family = AF_UNIX};
        unsigned char random[16];
        int n;

        if (getrandom(random, sizeof(random), GRND_NONBLOCK) != (ssize_t) sizeof(random))
                return -EAGAIN;
        n = snprintf(s->path, sizeof(s->path), "@fdpass-notify-");
        for (size_t i = 0; i < sizeof(random); i++)
                n += snprintf(s->path + n, sizeof(s->path) - (size_t) n, "%02x", random[i]);
        memcpy(un.sun_path + 1, s->path + 1, (size_t) n - 1);
        if (bind(s->fd, (struct sockaddr *) &un,
                 (socklen_t) (offsetof(struct sockaddr_un, sun_path) + (size_t) n)) < 0)
                return -errno;
        return 0;
}

/* Born with the mode that it is to have, and given away last. */
static int bind_path(struct notify_socket *s, uid_t uid, gid_t gid) {
        struct sockaddr_un un = {.sun_family = AF_UNIX};
        mode_t before;
        int r;

        (void) strcpy(un.sun_path, s->path);
        if (unlink(s->path) < 0 && errno != ENOENT)
                return -errno;
        before = umask(~0660U & 0777);
        r = bind(s->fd, (struct sockaddr *) &un, sizeof(un)) < 0 ? -errno : 0;
        (void) umask(before);
        if (r == 0 && (uid != geteuid() || gid != getegid()) && lchown(s->path, uid, gid) < 0) {
                r = -errno;
                (void) unlink(s->path);
        }
        return r;
}

static int bind_somewhere(struct notify_socket *s, const char *control_path, const char *id,
                          uid_t uid, gid_t gid) {
        struct sockaddr_un un;
        int n = snprintf(s->path, sizeof(s->path), "%s" SUFFIX "%s", control_path, id);

        if (n > 0 && (size_t) n < sizeof(un.sun_path))
                return bind_path(s, uid, gid);
        return bind_abstract(s);
}

int notify_socket_open(struct notify_socket *s, struct loop *loop, struct log *log,
                       const char *component, const char *control_path, const char *id, uid_t uid,
                       gid_t gid) {
        int r;

        init(s, loop, log, component);
        s->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (s->fd < 0)
                return -errno;
        /* Before it has a name: nobody can have sent anything yet. */
        r = ask_for_senders(s->fd);
        if (r == 0)
                r = bind_somewhere(s, control_path, id, uid, gid);
        if (r < 0) {
                s->fd = close_fd(s->fd);
                s->path[0] = '\0';
        }
        return r;
}

static int get_option(int fd, int option) {
        int value = -1;
        socklen_t size = sizeof(value);

        if (getsockopt(fd, SOL_SOCKET, option, &value, &size) < 0)
                return -1;
        return value;
}

int notify_socket_adopt(struct notify_socket *s, struct loop *loop, struct log *log,
                        const char *component, int fd, const char *path) {
        int r;

        init(s, loop, log, component);
        if (get_option(fd, SO_DOMAIN) != AF_UNIX || get_option(fd, SO_TYPE) != SOCK_DGRAM ||
            strlen(path) >= sizeof(s->path)) {
                close_fd(fd);
                return -EINVAL;
        }
        r = ask_for_senders(fd);
        if (r < 0) {
                close_fd(fd);
                return r;
        }
        s->fd = fd;
        (void) strcpy(s->path, path);
        return 0;
}

/* ---- reading ---- */

static void dispose(struct notify_socket *s, struct fd_list *fds) {
        if (fds->count > 0 && s->dispose)
                s->dispose(s->owner, fds);
        else
                fd_list_clear(fds); /* it was never listened to */
        fd_list_init(fds);
}

static void log_refusal(struct notify_socket *s, const struct message_sender *sender,
                        const char *reason) {
        unsigned suppressed;

        if (!rate_limit_pass(&s->refusals, loop_now_usec(), &suppressed))
                return;
        log_warning(s->log, ABOUT(.component = s->component, .pid = sender->pid),
                    "%s: a notification of pid %d was ignored: %s", s->component, (int) sender->pid,
                    reason);
        if (suppressed > 0)
                log_warning(s->log, ABOUT(.component = s->component),
                            "%s: %u more notifications were ignored since", s->component,
                            suppressed);
}

static const char *receive_error(int error) {
        switch (error) {
        case 0:
                return "it is empty";
        case -EMSGSIZE:
                return "it is too long";
        case -EMFILE:
                return "its descriptors did not fit: the limit of open files is reached";
        default:
                return strerror(-error);
        }
}

static void log_ignored_value(struct notify_socket *s, const struct message_sender *sender,
                              const char *ignored, size_t length) {
        char text[128];

        (void) snprintf(text, sizeof(text), "%.*s is no valid value; the rest was taken",
                        (int) (length < 64 ? length : 64), ignored);
        log_refusal(s, sender, text);
}

/* False when the socket was closed by it. */
static bool hand_over(struct notify_socket *s, struct notify_packet *packet) {
        bool closed = false, *outer = s->closed; /* it may drain from within */

        s->closed = &closed;
        s->handle(s->owner, packet);
        if (!closed)
                s->closed = outer;
        else if (outer)
                *outer = true;
        return !closed;
}

static void drop_handled(struct notify_socket *s) {
        if (s->is_handled)
                message_drop(s->fd);
        s->is_handled = false;
}

/* False when the socket was closed by who was told. The packet is dropped ahead of its copies,
 * which are closed where that may block. */
static bool take_packet(struct notify_socket *s, struct message *m,
                        const struct message_sender *sender) {
        void (*dispose_of)(void *, struct fd_list *) = s->dispose;
        void *owner = s->owner;
        const char *refused = notify_sender_refused(s->access, s->tree, s->command, sender);
        struct notify_packet packet;
        const char *ignored;
        size_t ignored_length;
        bool open;

        if (!refused &&
            notify_packet_parse(m->data, m->size, &packet, &ignored, &ignored_length) < 0)
                refused = "it has a NUL in it";
        if (refused) {
                log_refusal(s, sender, refused);
                drop_handled(s);
                dispose(s, &m->fds);
                return true;
        }
        if (ignored)
                log_ignored_value(s, sender, ignored, ignored_length);
        packet.fds = &m->fds;
        open = hand_over(s, &packet);
        if (open)
                drop_handled(s);
        if (m->fds.count > 0)
                dispose_of(owner, &m->fds);
        fd_list_init(&m->fds);
        return open;
}

enum reading { READING_ON, READING_EMPTY, READING_CLOSED };

static bool is_packet(int r) {
        return r >= 0 || r == -EMSGSIZE || r == -EMFILE;
}

static enum reading read_one(struct notify_socket *s) {
        struct message m;
        struct message_sender sender;
        bool open = true;
        int r;

        drop_handled(s); /* who handles one may drain */
        r = message_receive_copy_from(s->fd, &m, &sender);
        s->is_handled = is_packet(r);
        if (r > 0) {
                open = take_packet(s, &m, &sender);
        } else {
                if (r != -EAGAIN)
                        log_refusal(s, &sender, receive_error(r));
                drop_handled(s);
                dispose(s, &m.fds);
        }
        /* A foreign pidfd is no foreign descriptor: the kernel made it for us. */
        close_fd(sender.pidfd);
        if (!open)
                return READING_CLOSED;
        return is_packet(r) ? READING_ON : READING_EMPTY;
}

static void watch(struct notify_socket *s);

static void on_pause_over(void *owner) {
        watch(owner);
}

static void pause_reading(struct notify_socket *s, uint64_t usec) {
        io_watch_stop(&s->watch);
        timer_start(&s->pause, s->loop, usec, on_pause_over, s);
}

static void is_flooded(struct notify_socket *s) {
        unsigned suppressed;

        pause_reading(s, SLICE_USEC);
        if (rate_limit_pass(&s->floods, loop_now_usec(), &suppressed))
                log_warning(s->log, ABOUT(.component = s->component),
                            "%s: more than 1,000 notifications a second: they are read slowly now, "
                            "and its processes wait for that",
                            s->component);
}

static void on_packets(void *owner, int events) {
        struct notify_socket *s = owner;
        uint64_t begin = loop_now_usec(), spent;

        for (int i = 0; i < PACKETS_A_TURN; i++) {
                unsigned suppressed;

                if (!rate_limit_pass(&s->rate, loop_now_usec(), &suppressed)) {
                        is_flooded(s);
                        return;
                }
                if (read_one(s) != READING_ON)
                        return;
                spent = loop_now_usec() - begin;
                if (spent >= SHARE_USEC) {
                        pause_reading(s, spent);
                        return;
                }
        }
}

static void watch(struct notify_socket *s) {
        io_watch_start(&s->watch, s->loop, s->fd, IO_READ, on_packets, s);
}

void notify_socket_start(struct notify_socket *s, enum notify_access access,
                         const struct process_tree *tree, const struct process_tree *command,
                         void (*handle)(void *owner, struct notify_packet *packet),
                         void (*dispose_of)(void *owner, struct fd_list *fds), void *owner) {
        s->access = access;
        s->tree = tree;
        s->command = command;
        s->handle = handle;
        s->dispose = dispose_of;
        s->owner = owner;
        watch(s);
}

void notify_socket_drain(struct notify_socket *s) {
        uint64_t begin = loop_now_usec();

        if (!s->handle || s->fd < 0)
                return;
        for (int i = 0; i < PACKETS_A_DRAIN && loop_now_usec() - begin < DRAIN_USEC; i++)
                if (read_one(s) != READING_ON)
                        return;
}

/* Its queue is bounded (net.unix.max_dgram_qlen), and nothing is added any more. */
static void discard(struct notify_socket *s) {
        int r;

        (void) shutdown(s->fd, SHUT_RD);
        do {
                struct message m;
                struct message_sender sender;

                r = message_receive_from(s->fd, &m, &sender);
                dispose(s, &m.fds);
                close_fd(sender.pidfd);
        } while (is_packet(r));
}

void notify_socket_unlink(const struct notify_socket *s) {
        if (s->loop && s->fd >= 0 && s->path[0] == '/')
                (void) unlink(s->path);
}

void notify_socket_remove_stale(const char *control_path,
                                bool (*is_used)(void *owner, const char *name), void *owner) {
        const char *slash = strrchr(control_path, '/'), *name = slash ? slash + 1 : control_path;
        _cleanup_free_ char *folder =
                slash ? strndup(control_path, (size_t) (name - control_path)) : strdup(".");
        const struct dirent *entry;
        size_t length = strlen(name);
        DIR *d = folder ? opendir(folder) : NULL;

        for (unsigned n = 0; d && n < LOOKED_AT_MAX && (entry = readdir(d)); n++)
                if (entry->d_type == DT_SOCK && strncmp(entry->d_name, name, length) == 0 &&
                    strncmp(entry->d_name + length, SUFFIX, strlen(SUFFIX)) == 0 &&
                    !is_used(owner, entry->d_name))
                        (void) unlinkat(dirfd(d), entry->d_name, 0);
        if (d)
                (void) closedir(d);
}

void notify_socket_close(struct notify_socket *s, bool remove) {
        if (!s->loop)
                return; /* never opened */
        if (s->closed)
                *s->closed = true;
        s->closed = NULL;
        io_watch_stop(&s->watch);
        timer_stop(&s->pause);
        if (s->fd >= 0 && remove) {
                notify_socket_unlink(s);
                discard(s);
        }
        if (s->fd >= 0)
                s->fd = close_fd(s->fd);
        s->path[0] = '\0';
}
