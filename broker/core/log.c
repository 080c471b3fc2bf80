/*
 * The log. Nothing here may block: the journal gets datagrams with MSG_DONTWAIT (sd_journal_send(3)
 * hangs when the receiver is full), and stderr is written through a description of our own with
 * O_NONBLOCK, because that flag on the inherited one would be seen by all who share it.
 */
#include "core/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "core/utf8.h"

#define JOURNAL_SOCKET "/run/systemd/journal/socket"
/* A line of a component, OUTPUT_LINE_MAX, with the longest name before it, and more. */
#define LINE_SIZE 2560

struct log {
        const char *program;
        enum log_target target;
        enum log_level level;
        int fd;      /* the journal's socket, or stderr as we may write to it */
        bool own_fd; /* to be closed */
        bool socket; /* stderr is a socket: send(2) with MSG_DONTWAIT */
        bool terminal;
        bool colour;
        unsigned long dropped; /* lines that could not be written at once */
        void (*sink)(void *owner, enum log_level level, const char *text);
        void *sink_owner;
};

static const struct {
        const char *name;
        const char *colour;
} levels[] = {
        [LEVEL_ERROR] = {"error", "\033[1;31m"}, [LEVEL_WARNING] = {"warning", "\033[33m"},
        [LEVEL_NOTICE] = {"notice", "\033[1m"},  [LEVEL_INFO] = {"info", ""},
        [LEVEL_DEBUG] = {"debug", "\033[2m"},
};

int log_level_from_name(const char *name, enum log_level *ret) {
        for (int i = LEVEL_ERROR; i <= LEVEL_DEBUG; i++)
                if (strcmp(name, levels[i].name) == 0) {
                        *ret = (enum log_level) i;
                        return 0;
                }
        return -EINVAL;
}

const char *log_level_name(enum log_level level) {
        return levels[level].name;
}

/* systemd says in JOURNAL_STREAM which socket it gave us as stderr: DEVICE:INODE, systemd.exec(5).
 */
static bool stderr_is_journal(void) {
        const char *stream = secure_getenv("JOURNAL_STREAM");
        unsigned long long device, inode;
        struct stat st;

        return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
               fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

static int open_journal(struct log *log) {
        struct sockaddr_un to = {.sun_family = AF_UNIX, .sun_path = JOURNAL_SOCKET};
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        if (fd < 0 || connect(fd, (struct sockaddr *) &to, sizeof(to)) < 0)
                return -errno;
        log->target = LOG_TARGET_JOURNAL;
        log->fd = take_fd(&fd);
        log->own_fd = true;
        return 0;
}

static void open_stderr(struct log *log) {
        struct stat st;
        int fd;

        log->target = LOG_TARGET_STDERR;
        log->fd = STDERR_FILENO;
        log->terminal = isatty(STDERR_FILENO);
        log->colour = log->terminal && !getenv("NO_COLOR");
        if (fstat(STDERR_FILENO, &st) < 0)
                return;
        log->socket = S_ISSOCK(st.st_mode);
        if (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode)) {
                /* A new open file description of the same pipe or terminal, with flags of its own.
                 */
                fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
                if (fd >= 0) {
                        log->fd = fd;
                        log->own_fd = true;
                }
        }
}

int log_new(struct log **ret, const char *program, enum log_target target, enum log_level level) {
        struct log *log = calloc(1, sizeof(*log));

        if (!log)
                return -ENOMEM;
        log->program = program;
        log->level = level;
        log->target = LOG_TARGET_NONE;
        log->fd = -1;
        if (target == LOG_TARGET_AUTO)
                target = stderr_is_journal() ? LOG_TARGET_JOURNAL : LOG_TARGET_STDERR;
        if (target == LOG_TARGET_STDERR || (target == LOG_TARGET_JOURNAL && open_journal(log) < 0))
                open_stderr(log);
        *ret = log;
        return 0;
}

struct log *log_free(struct log *log) {
        if (log) {
                if (log->own_fd)
                        close_fd(log->fd);
                free(log);
        }
        return NULL;
}

void log_set_level(struct log *log, enum log_level level) {
        if (log)
                log->level = level;
}

void log_set_sink(struct log *log,
                  void (*sink)(void *owner, enum log_level level, const char *text), void *owner) {
        log->sink = sink;
        log->sink_owner = owner;
}

/* Without O_NONBLOCK on our own description (a file, a socket, /proc not mounted): ask first. */
static ssize_t write_stderr(const struct log *log, const char *line, size_t size) {
        struct pollfd p = {.fd = log->fd, .events = POLLOUT};

        if (log->socket)
                return send(log->fd, line, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (!log->own_fd && (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT)))
                return -1;
        return write(log->fd, line, size);
}

static bool put_prefixed(const struct log *log, const char *prefix, const char *text) {
        char line[LINE_SIZE + 96];
        int n = snprintf(line, sizeof(line), "%s%s\n", prefix, text);

        return n > 0 && (size_t) n < sizeof(line) && write_stderr(log, line, (size_t) n) == n;
}

static bool put_stderr(const struct log *log, enum log_level level, const char *text) {
        char line[LINE_SIZE + 96];
        int n = snprintf(line, sizeof(line), "%s%s: %s: %s%s\n",
                         log->colour ? levels[level].colour : "", log->program, levels[level].name,
                         text, log->colour ? "\033[0m" : "");

        return write_stderr(log, line, (size_t) n) == n;
}

/* One field of the journal's native protocol; values here have no newline (see sanitise()). */
static void add_field(char *entry, size_t room, size_t *size, const char *format, ...)
        __attribute__((format(printf, 4, 5)));

static void add_field(char *entry, size_t room, size_t *size, const char *format, ...) {
        va_list arguments;
        int n;

        va_start(arguments, format);
        n = vsnprintf(entry + *size, room - *size, format, arguments);
        va_end(arguments);
        if (n >= 0 && (size_t) n < room - *size)
                *size += (size_t) n;
}

static bool put_journal(const struct log *log, enum log_level level, const struct log_about *about,
                        const char *text) {
        char entry[LINE_SIZE + 2048];
        size_t size = 0;

        add_field(entry, sizeof(entry), &size, "MESSAGE=%s\nPRIORITY=%d\nSYSLOG_IDENTIFIER=%s\n",
                  text, (int) level, log->program);
        if (about && about->listener)
                add_field(entry, sizeof(entry), &size, "FDPASS_LISTENER=%s\n", about->listener);
        if (about && about->component)
                add_field(entry, sizeof(entry), &size, "FDPASS_COMPONENT=%s\n", about->component);
        if (about && about->generation)
                add_field(entry, sizeof(entry), &size, "FDPASS_GENERATION=%llu\n",
                          (unsigned long long) about->generation);
        if (about && about->file)
                add_field(entry, sizeof(entry), &size, "FDPASS_FILE=%s\nFDPASS_LINE=%d\n",
                          about->file, about->line);
        if (about && about->pid)
                add_field(entry, sizeof(entry), &size, "FDPASS_PID=%d\n", (int) about->pid);
        if (about && about->has_uid)
                add_field(entry, sizeof(entry), &size, "FDPASS_UID=%u\n", about->uid);
        return send(log->fd, entry, size, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

static bool put(struct log *log, enum log_level level, const struct log_about *about,
                const char *text) {
        if (log->target == LOG_TARGET_JOURNAL) {
                if (put_journal(log, level, about, text))
                        return true;
                /* journald was restarted: its socket is a new one. Once, and not when it is full.
                 */
                if (errno != ECONNREFUSED && errno != ENOTCONN && errno != EPIPE)
                        return false;
                log->fd = close_fd(log->fd);
                if (open_journal(log) < 0) {
                        log->own_fd = false;
                        open_stderr(log);
                        return put_stderr(log, level, text);
                }
                return put_journal(log, level, about, text);
        }
        return put_stderr(log, level, text);
}

/* What comes from a peer (a name, a path, a status text) must not forge lines or move the cursor.
 */
static void sanitise(char *text) {
        while (*text) {
                uint32_t code;
                size_t length = utf8_decode(text, UTF8_TERMINATED, &code);

                if (length == 0)
                        *text++ = '?';
                else if (utf8_steers_terminal(code))
                        for (; length > 0; length--)
                                *text++ = ' ';
                else
                        text += length;
        }
}

/* What was dropped is told before anything else is written. */
static bool may_write(struct log *log) {
        char note[64];

        if (log->dropped == 0)
                return true;
        (void) snprintf(note, sizeof(note), "%lu log lines could not be written", log->dropped);
        if (put(log, LEVEL_WARNING, NULL, note))
                log->dropped = 0;
        return log->dropped == 0;
}

void log_write(struct log *log, enum log_level level, const struct log_about *about,
               const char *format, ...) {
        char text[LINE_SIZE];
        int saved = errno;
        va_list arguments;

        if (!log || level > log->level)
                return;
        va_start(arguments, format);
        (void) vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);
        sanitise(text);
        if (log->sink)
                log->sink(log->sink_owner, level, text);
        if (log->target != LOG_TARGET_NONE && (!may_write(log) || !put(log, level, about, text)))
                log->dropped++;
        errno = saved;
}

bool log_is_terminal(const struct log *log) {
        return log && log->target == LOG_TARGET_STDERR && log->terminal;
}

bool log_has_colour(const struct log *log) {
        return log_is_terminal(log) && log->colour;
}

void log_pass_on(struct log *log, enum log_level level, const char *prefix, const char *text) {
        char clean[LINE_SIZE];
        int saved = errno;

        if (!log || level > log->level)
                return;
        (void) snprintf(clean, sizeof(clean), "%s", text);
        sanitise(clean);
        if (log->sink)
                log->sink(log->sink_owner, level, clean);
        if (log->target != LOG_TARGET_NONE &&
            (!may_write(log) || !put_prefixed(log, prefix, clean)))
                log->dropped++;
        errno = saved;
}

bool rate_limit_pass(struct rate_limit *r, uint64_t now_usec, unsigned *ret_suppressed) {
        if (r->count == 0 || now_usec - r->begin_usec >= r->interval_usec) {
                r->begin_usec = now_usec;
                r->count = 0;
        }
        if (r->count >= r->burst) {
                r->suppressed++;
                return false;
        }
        r->count++;
        *ret_suppressed = r->suppressed;
        r->suppressed = 0;
        return true;
}
