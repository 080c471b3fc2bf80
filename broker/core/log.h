/*
 * The broker's log: to the journal when there is one, else to stderr. It never blocks (what cannot
 * be written at once is counted and the count is told later) and it cannot be flooded by a peer
 * (rate_limit). Log once, where it is decided what to do, with the operation and the object's name.
 */
#ifndef CORE_LOG_H
#define CORE_LOG_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* syslog(3) numbers, so that the journal takes them as they are. */
enum log_level {
        LEVEL_ERROR = 3,
        LEVEL_WARNING = 4,
        LEVEL_NOTICE = 5,
        LEVEL_INFO = 6,
        LEVEL_DEBUG = 7
};

enum log_target { LOG_TARGET_AUTO, LOG_TARGET_STDERR, LOG_TARGET_JOURNAL, LOG_TARGET_NONE };

struct log;

/*
 * What a line is about; goes into journal fields FDPASS_LISTENER=, FDPASS_PID= and so on. Unset
 * members are NULL or 0.
 */
struct log_about {
        const char *listener;
        const char *component;
        uint64_t generation; /* of the component */
        const char *file;    /* configuration file */
        int line;
        pid_t pid;
        bool has_uid;
        uid_t uid;
};

/* program goes into SYSLOG_IDENTIFIER and stays the caller's. 0 or -ENOMEM. */
int log_new(struct log **ret, const char *program, enum log_target target, enum log_level level);
struct log *log_free(struct log *log);
void log_set_level(struct log *log, enum log_level level); /* NULL allowed */
/* Also call `sink` with each line that passes the level; for tests. */
void log_set_sink(struct log *log,
                  void (*sink)(void *owner, enum log_level level, const char *text), void *owner);
int log_level_from_name(const char *name, enum log_level *ret); /* "error" … "debug"; -EINVAL */
const char *log_level_name(enum log_level level);

void log_write(struct log *log, enum log_level level, const struct log_about *about,
               const char *format, ...) __attribute__((format(printf, 4, 5)));

/*
 * Do lines go to a terminal, and may they have colour? For those who pass on what others say, and
 * set it off from our own lines.
 */
bool log_is_terminal(const struct log *log);
bool log_has_colour(const struct log *log);
/*
 * What somebody else said, for a terminal: after `prefix`, which may hold colour, instead of the
 * program and the level. As bounded, non-blocking and clean of control characters as our own.
 */
void log_pass_on(struct log *log, enum log_level level, const char *prefix, const char *text);

/* log may be NULL: nothing happens. `about` may be NULL. */
#define log_error(log, about, ...) log_write((log), LEVEL_ERROR, (about), __VA_ARGS__)
#define log_warning(log, about, ...) log_write((log), LEVEL_WARNING, (about), __VA_ARGS__)
#define log_notice(log, about, ...) log_write((log), LEVEL_NOTICE, (about), __VA_ARGS__)
#define log_info(log, about, ...) log_write((log), LEVEL_INFO, (about), __VA_ARGS__)
#define log_debug(log, about, ...) log_write((log), LEVEL_DEBUG, (about), __VA_ARGS__)

/* &(struct log_about){.listener = name}, shorter. */
#define ABOUT(...) (&(struct log_about){__VA_ARGS__})

/* At most `burst` events in `interval_usec`; the rest is counted. */
struct rate_limit {
        uint64_t interval_usec;
        unsigned burst;
        uint64_t begin_usec;
        unsigned count;
        unsigned suppressed;
};

/* True when this event may pass; then *ret_suppressed is how many were held back before it. */
bool rate_limit_pass(struct rate_limit *r, uint64_t now_usec, unsigned *ret_suppressed);

#endif
