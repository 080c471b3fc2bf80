/*
 * Keeps a Unix listener reachable at its public path.
 *
 * What it relies on: a socket is found by the inode that a path leads to, so any hard link to the
 * socket file reaches it; and an open socket cannot be linked by its descriptor (EXDEV), so the
 * link has to exist before the path goes. As long as a link or the open socket holds the inode its
 * number is not used again, so device and inode tell our socket file from any other.
 *
 * Events only mark guards as suspect; each suspect is then compared with what is really there. So a
 * lost, doubled or late event does no harm, and a handler may start or stop any guard.
 */
#include "sockets/path_guard.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cleanup.h"
#include "keeper/memory.h"
#include "keeper/record.h"
#include "sockets/path_link.h"
#include "sockets/socket_file.h"

/*
 * No IN_DELETE_SELF: that the folder is gone is told by IN_IGNORED, which comes unasked. No
 * IN_CREATE: nothing can be created at the path before ours is gone from it, and a folder like
 * /run would wake us for every file. A rename over the path is IN_MOVED_TO alone.
 */
#define FOLDER_EVENTS (IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_MOVE_SELF | IN_ONLYDIR)

/* Pause before a suspect that could not be settled is looked at again. */
#define SOON_USEC 10000

#define KIND "path-watch"
static const char *const kept_keys[] = {"RECORD", "NAME", NULL};
static const struct record_kind watch_record = {KIND, 'i', kept_keys};

TAILQ_HEAD(suspects, path_guard);

struct path_watch {
        int fd; /* inotify; -1: not to be had */
        struct io_watch io;
        struct timer soon;  /* suspects are left over */
        struct timer again; /* guards are waiting */
        struct loop *loop;
        struct log *log;
        LIST_HEAD(, path_guard) guards;
        struct suspects suspects;
};

static const char *base_name(const char *path) {
        return strrchr(path, '/') + 1;
}

static void suspect(struct path_guard *guard) {
        if (guard->suspect)
                return;
        guard->suspect = true;
        TAILQ_INSERT_TAIL(&guard->watch->suspects, guard, in_suspects);
}

static bool may_log(struct path_guard *guard) {
        unsigned suppressed;

        return rate_limit_pass(&guard->logged, loop_now_usec(), &suppressed);
}

/* ---- what to do when the path is not ours ---- */

static void on_again(void *owner);

/* Another program fights for the path: stop for a while instead of fighting in a loop. */
static void wait_a_while(struct path_guard *guard, const struct stat *st) {
        struct path_watch *watch = guard->watch;

        if (!guard->waiting)
                log_error(
                        watch->log, NULL,
                        "%s was taken %u times within %u seconds by a program that binds its own "
                        "socket there (now of uid %u), and is left to it for that long. Stop that "
                        "program, or have it serve on the descriptor that it is lent.",
                        guard->path, PATH_GUARD_BURST,
                        (unsigned) (PATH_GUARD_INTERVAL_USEC / 1000000), (unsigned) st->st_uid);
        guard->waiting = true;
        if (!timer_is_started(&watch->again))
                timer_start(&watch->again, watch->loop, PATH_GUARD_INTERVAL_USEC, on_again, watch);
}

/* Something that is not our socket stands at the path. */
static void take_back(struct path_guard *guard, const struct stat *st) {
        struct log *log = guard->watch->log;
        unsigned suppressed;
        int err;

        if (!S_ISSOCK(st->st_mode)) {
                /* Someone's file, folder or symbolic link: not ours to destroy. */
                if (may_log(guard))
                        log_error(log, NULL,
                                  "%s is not a socket any more; something else stands there (uid "
                                  "%u). It is left alone: remove it and the listener comes back.",
                                  guard->path, (unsigned) st->st_uid);
                return;
        }
        if (!rate_limit_pass(&guard->rate, loop_now_usec(), &suppressed)) {
                wait_a_while(guard, st);
                return;
        }
        guard->waiting = false;
        err = path_link_put_over(guard->path, guard->link);
        if (err == 0) {
                log_warning(log, NULL,
                            "%s: another program (uid %u) put its own socket there; the listener's "
                            "stands there again. A program that is lent a descriptor must not bind "
                            "the path itself.",
                            guard->path, (unsigned) st->st_uid);
                guard->mended(guard->owner);
                return;
        }
        log_warning(log, NULL,
                    "%s: another program (uid %u) put its own socket there, and ours could not be "
                    "linked back (%s): a new socket takes the place.",
                    guard->path, (unsigned) st->st_uid, strerror(-err));
        guard->lost(guard->owner);
}

static void put_back(struct path_guard *guard) {
        int err = path_link_put_back(guard->path, guard->link);
        bool log_it = err != -EEXIST && may_log(guard);
        struct log *log = guard->watch->log;

        if (err == -EEXIST) { /* bound by someone between our look and our link */
                suspect(guard);
                return;
        }
        if (err == 0) {
                if (log_it)
                        log_notice(log, NULL,
                                   "%s was removed, as programs do with \"their\" socket when they "
                                   "exit, and is there again.",
                                   guard->path);
                guard->mended(guard->owner);
                return;
        }
        if (log_it)
                log_warning(
                        log, NULL,
                        "%s was removed and cannot be linked again (%s): a new socket takes its "
                        "place. Programs that hold the old one must be started again.",
                        guard->path, guard->link ? strerror(-err) : "there is no link");
        guard->lost(guard->owner);
}

static bool folder_is_shared(const struct path_guard *guard) {
        const struct path_guard *other;

        LIST_FOREACH (other, &guard->watch->guards, entry) {
                if (other != guard && other->directory_watch == guard->directory_watch)
                        return true;
        }
        return false;
}

static void unwatch_folder(struct path_guard *guard) {
        /* Others would see IN_IGNORED and recover, but why trouble them. */
        if (guard->directory_watch >= 0 && !folder_is_shared(guard))
                (void) inotify_rm_watch(guard->watch->fd, guard->directory_watch);
        guard->directory_watch = -1;
}

/*
 * Again at each look, because the folder may have been deleted and made again, and of that there is
 * no event: a folder that an open socket was bound in stays as an inode. Watching the same folder
 * twice is one watch.
 */
static void watch_folder(struct path_guard *guard) {
        char folder[sizeof(((struct sockaddr_un *) NULL)->sun_path) + 1];
        int length = (int) (base_name(guard->path) - guard->path);
        int wd;

        if (guard->watch->fd < 0)
                return;
        (void) snprintf(folder, sizeof(folder), "%.*s", length, guard->path);
        wd = inotify_add_watch(guard->watch->fd, folder, FOLDER_EVENTS);
        if (wd < 0 && errno != ENOENT && may_log(guard))
                log_warning(guard->watch->log, NULL,
                            "cannot watch %s (%s): a removal of %s is seen only when it is lent "
                            "next%s.",
                            folder, strerror(errno), guard->path,
                            errno == ENOSPC ? "; raise fs.inotify.max_user_watches" : "");
        if (wd == guard->directory_watch)
                return;
        unwatch_folder(guard);
        guard->directory_watch = wd;
}

void path_guard_check(struct path_guard *guard) {
        struct stat st;

        if (!guard->watch)
                return;
        watch_folder(guard); /* first, because the handlers may free the guard */
        if (lstat(guard->path, &st) < 0) {
                if (errno == ENOENT || errno == ENOTDIR)
                        put_back(guard);
                else if (may_log(guard))
                        log_warning(guard->watch->log, NULL, "cannot look at %s: %s", guard->path,
                                    strerror(errno));
                return;
        }
        if (st.st_dev != guard->device || st.st_ino != guard->inode)
                take_back(guard, &st);
        else
                guard->waiting = false;
}

/* ---- events ---- */

static void on_soon(void *owner);

static void check_suspects(struct path_watch *watch) {
        struct path_guard *guard;
        size_t count = 0;

        /* Not more than are there now: one that becomes suspect again has its turn later. */
        TAILQ_FOREACH (guard, &watch->suspects, in_suspects)
                count++;
        for (; count > 0 && (guard = TAILQ_FIRST(&watch->suspects)); count--) {
                TAILQ_REMOVE(&watch->suspects, guard, in_suspects);
                guard->suspect = false;
                path_guard_check(guard);
        }
        if (!TAILQ_EMPTY(&watch->suspects))
                timer_start(&watch->soon, watch->loop, SOON_USEC, on_soon, watch);
}

static void on_soon(void *owner) {
        check_suspects(owner);
}

static void on_again(void *owner) {
        struct path_watch *watch = owner;
        struct path_guard *guard;

        LIST_FOREACH (guard, &watch->guards, entry) {
                if (guard->waiting)
                        suspect(guard);
        }
        check_suspects(watch);
}

static void take_event(struct path_watch *watch, const struct inotify_event *event) {
        bool all = event->mask & IN_Q_OVERFLOW; /* events were lost: whoever it was */
        struct path_guard *guard;
        bool wanted = all || (event->mask & IN_IGNORED);

        LIST_FOREACH (guard, &watch->guards, entry) {
                if (!all && event->wd != guard->directory_watch)
                        continue;
                wanted = true;
                if (event->mask & IN_IGNORED)
                        guard->directory_watch = -1; /* the folder is gone */
                if (event->len == 0 || strcmp(event->name, base_name(guard->path)) == 0)
                        suspect(guard);
        }
        if (!wanted) /* of a broker before us, which had a listener in that folder */
                (void) inotify_rm_watch(watch->fd, event->wd);
}

static void on_inotify(void *owner, int events) {
        struct path_watch *watch = owner;
        _Alignas(struct inotify_event) char buffer[4096];
        ssize_t n = read(watch->fd, buffer, sizeof(buffer));

        for (ssize_t at = 0; at < n;) {
                const struct inotify_event *event = (const void *) (buffer + at);

                take_event(watch, event);
                at += (ssize_t) (sizeof(*event) + event->len);
        }
        check_suspects(watch);
}

/* ---- life ---- */

int path_watch_new(struct path_watch **ret, struct loop *loop, struct log *log) {
        struct path_watch *watch = calloc(1, sizeof(*watch));

        if (!watch)
                return -ENOMEM;
        watch->loop = loop;
        watch->log = log;
        LIST_INIT(&watch->guards);
        TAILQ_INIT(&watch->suspects);
        watch->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        if (watch->fd >= 0)
                io_watch_start(&watch->io, loop, watch->fd, IO_READ, on_inotify, watch);
        else
                log_warning(log, NULL,
                            "no inotify (%s): a removed Unix socket path is seen only when it is "
                            "lent next. fs.inotify.max_user_instances may be too low.",
                            strerror(errno));
        *ret = watch;
        return 0;
}

static bool is_inotify(int fd) {
        char path[32], target[32] = "";

        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        return readlink(path, target, sizeof(target) - 1) > 0 &&
               strcmp(target, "anon_inode:inotify") == 0;
}

/* What is in it is old: guards look for themselves when they start. */
static void drain(int fd) {
        char buffer[4096];

        while (read(fd, buffer, sizeof(buffer)) > 0)
                ;
}

/* 0, or nothing was kept of this name. */
static int take_kept(struct path_watch *watch, struct memory *m, const char *name) {
        const char *id, *next;

        for (id = memory_first(m, KIND); id; id = next) {
                const struct text *kept_name;
                struct assignments a;
                int fd;

                next = memory_next(m, KIND, id);
                kept_name = memory_get(m, id, &a) ? assignments_get(&a, "NAME") : NULL;
                if (!kept_name || !text_equal(*kept_name, name))
                        continue;
                fd = memory_take_fd(m, id);
                if (fd >= 0 && is_inotify(fd)) {
                        io_watch_stop(&watch->io);
                        close_fd(watch->fd);
                        watch->fd = fd;
                        drain(fd);
                        io_watch_start(&watch->io, watch->loop, fd, IO_READ, on_inotify, watch);
                        return 0;
                }
                memory_remove(m, id);
                close_fd(fd);
        }
        return -ENOENT;
}

/* Not being kept costs time at a restart, and nothing else. */
void path_watch_keep(struct path_watch *watch, struct memory *m, const char *name) {
        struct packet_writer *w;
        char id[STATE_ID_SIZE] = "";

        if (take_kept(watch, m, name) == 0 || watch->fd < 0)
                return;
        w = record_new(m, &watch_record);
        if (w)
                packet_add(w, "NAME", name);
        if (record_put(m, &watch_record, w, id) == 0)
                (void) memory_put_fd(m, id, watch->fd);
}

struct path_watch *path_watch_free(struct path_watch *watch) {
        if (watch) {
                timer_stop(&watch->soon);
                timer_stop(&watch->again);
                io_watch_stop(&watch->io);
                close_fd(watch->fd);
                free(watch);
        }
        return NULL;
}

/* Remember what stands at the path, and secure it with a link. */
static void secure(struct path_guard *guard, int fd) {
        struct stat st;
        int err;

        /* An adopted socket's path may have gone, or been taken, while nobody watched. */
        if (lstat(guard->path, &st) < 0 || !S_ISSOCK(st.st_mode) || socket_file_is(fd, &st) == 0) {
                suspect(guard); /* told by lost() from the loop, not from within the start */
                timer_start(&guard->watch->soon, guard->watch->loop, 0, on_soon, guard->watch);
                return;
        }
        guard->device = st.st_dev;
        guard->inode = st.st_ino;
        err = path_link_make(guard->path, &st, &guard->link);
        if (err < 0)
                log_warning(
                        guard->watch->log, NULL,
                        "%s: no link to it can be kept in the folder .fdpass-%u beside it (%s): "
                        "when a program removes the path, a new socket takes its place.",
                        guard->path, (unsigned) geteuid(), strerror(-err));
}

void path_guard_start(struct path_guard *guard, struct path_watch *watch, const char *path, int fd,
                      void (*lost)(void *owner), void (*mended)(void *owner), void *owner) {
        path_guard_stop(guard);
        guard->path = path;
        guard->watch = watch;
        guard->lost = lost;
        guard->mended = mended;
        guard->owner = owner;
        guard->directory_watch = -1;
        guard->device = 0;
        guard->inode = 0;
        guard->waiting = false;
        /* The limits are not set anew: binding anew must not be a way around them. */
        if (guard->rate.burst == 0) {
                guard->rate = (struct rate_limit){PATH_GUARD_INTERVAL_USEC, PATH_GUARD_BURST};
                guard->logged = guard->rate;
        }
        LIST_INSERT_HEAD(&watch->guards, guard, entry);
        watch_folder(guard); /* before the look, so that nothing falls between the two */
        secure(guard, fd);
}

void path_guard_stop(struct path_guard *guard) {
        struct path_watch *watch = guard->watch;

        if (!watch)
                return;
        unwatch_folder(guard);
        if (guard->suspect)
                TAILQ_REMOVE(&watch->suspects, guard, in_suspects);
        guard->suspect = false;
        LIST_REMOVE(guard, entry);
        path_link_remove(guard->path, guard->link);
        guard->link = 0;
        guard->watch = NULL;
}
