/*
 * Output of components: pipes, lines, the last of them, and those who follow.
 *
 * What is read goes straight into the line under way, so a turn handles at most OUTPUT_LINE_MAX
 * bytes between two looks at the clock. The buffer of that line is there from the first byte to the
 * last: of thousands of pipes nearly all are silent. A pipe that had its share is left alone for
 * a moment: level-triggered, it would else take every turn of the loop, and the processor with it.
 * Its writer then waits in write(2), and nobody else does.
 */
#include "components/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "components/line_part.h"
#include "core/clock.h"
#include "core/hash.h"

/* Short lines cost more than their bytes: each is a system call of the log. */
#define SHARE_USEC 2000
#define PAUSE_USEC 5000
#define PREFIX_SIZE 320

/* ---- lines ------------------------------------------------------------------------------------*/

void output_log_init(struct output_log *log, struct log *to, const char *component,
                     struct kept_lines *kept) {
        *log = (struct output_log){.log = to, .component = component, .instances = 1, .kept = kept};
        LIST_INIT(&log->followers);
}

void output_log_find(struct output_log *log, size_t k) {
        struct output_line line;
        struct line_walk w;

        if (line_ring_is_there(&log->lines))
                return;
        kept_lines_find(log->kept, k, &log->lines);
        for (w = line_ring_walk(&log->lines); line_walk_next(&w, &line);)
                log->last_number = line.number;
}

void output_log_clear(struct output_log *log) {
        kept_lines_leave(&log->lines);
        while (!LIST_EMPTY(&log->followers)) {
                struct output_follower *follower = LIST_FIRST(&log->followers);

                output_unfollow(follower);
                follower->end(follower->owner);
        }
}

void output_log_forget(struct output_log *log) {
        kept_lines_forget(log->kept, &log->lines);
}

void output_follow(struct output_log *log, struct output_follower *follower) {
        LIST_INSERT_HEAD(&log->followers, follower, entry);
}

void output_unfollow(struct output_follower *follower) {
        if (!follower->entry.le_prev)
                return;
        LIST_REMOVE(follower, entry);
        follower->entry.le_prev = NULL;
}

/* A follower may go while it is told. */
static void tell_followers(struct output_log *log, const struct output_line *line) {
        struct output_follower *f = LIST_FIRST(&log->followers), *next;

        for (; f; f = next) {
                next = LIST_NEXT(f, entry);
                f->line(f->owner, line);
        }
}

static struct line_ring *have_ring(struct output_log *log) {
        if (!line_ring_is_there(&log->lines))
                kept_lines_new(log->kept, log->component, &log->lines);
        return &log->lines;
}

static void add_line(struct output_pipe *pipe, const char *start, size_t length) {
        struct output_log *log = pipe->to;
        char text[OUTPUT_LINE_MAX + 1], *p = text;
        struct output_line line = {.number = ++log->last_number,
                                   .time_usec = clock_realtime_usec(),
                                   .generation = pipe->generation,
                                   .instance = pipe->instance,
                                   .is_error = pipe->is_error,
                                   .length = length,
                                   .text = text};

        memcpy(text, start, length);
        text[length] = '\0';
        while ((p = memchr(p, '\0', (size_t) (text + length - p))))
                *p = ' ';
        line_part_drop(&log->lines, &pipe->part);    /* it is in this line */
        (void) line_ring_add(have_ring(log), &line); /* without memory it is not remembered */
        output_line_write(log, &line);
        tell_followers(log, &line);
}

/* ---- the broker's log -------------------------------------------------------------------------*/

/* "hermes", or "hermes.2" where there are several; instances are counted from 1 for people. */
static void write_name(const struct output_log *log, const struct output_line *line, char *ret,
                       size_t size) {
        if (log->instances > 1)
                (void) snprintf(ret, size, "%s.%u", log->component, line->instance + 1);
        else
                (void) snprintf(ret, size, "%s", log->component);
}

unsigned output_name_width(const struct output_log *log) {
        char name[PREFIX_SIZE];

        write_name(log, &(struct output_line){.instance = log->instances - 1}, name, sizeof(name));
        return (unsigned) strlen(name);
}

/* The same one for a component at each start. Red is for what goes wrong. */
static const char *colour_of(const char *component) {
        static const char *const colours[] = {"\033[36m", "\033[33m", "\033[32m", "\033[35m",
                                              "\033[34m", "\033[96m", "\033[93m", "\033[92m",
                                              "\033[95m", "\033[94m"};
        uint32_t hash = hash_bytes(component, strlen(component));

        return colours[hash % (sizeof(colours) / sizeof(colours[0]))];
}

static void write_on_terminal(struct output_log *log, const struct output_line *line,
                              const char *name) {
        char prefix[PREFIX_SIZE + 32];
        const char *mark = line->is_error ? "!" : "|";

        if (log_has_colour(log->log))
                (void) snprintf(prefix, sizeof(prefix), "%s%-*s\033[0m %s%s\033[0m ",
                                colour_of(log->component), (int) log->width, name,
                                line->is_error ? "\033[1;31m" : colour_of(log->component), mark);
        else
                (void) snprintf(prefix, sizeof(prefix), "%-*s %s ", (int) log->width, name, mark);
        log_pass_on(log->log, LEVEL_INFO, prefix, line->text);
}

void output_line_write(struct output_log *log, const struct output_line *line) {
        char name[PREFIX_SIZE - 32];

        write_name(log, line, name, sizeof(name));
        if (log_is_terminal(log->log))
                write_on_terminal(log, line, name);
        else
                log_info(log->log,
                         ABOUT(.component = log->component, .generation = line->generation),
                         "%s: %s", name, line->text);
}

/* ---- pipes ------------------------------------------------------------------------------------*/

int output_pipe_open(struct output_pipe *pipe, int *ret_write_fd) {
        int ends[2];

        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        pipe->fd = ends[0];
        *ret_write_fd = ends[1];
        return 0;
}

/*
 * How many bytes of a line that is too long may go now: not the first bytes of a character whose
 * last ones have not come yet. What is no UTF-8 is cut anywhere.
 */
static size_t cut(const char *line, size_t used) {
        for (size_t back = 1; back <= 3 && back < used; back++) {
                unsigned char byte = (unsigned char) line[used - back];

                if ((byte & 0xc0) == 0x80)
                        continue;
                if ((byte >= 0xc0 && back < 2) || (byte >= 0xe0 && back < 3) || byte >= 0xf0)
                        return used - back;
                break;
        }
        return used;
}

/* False: no memory. What is in the pipe stays there. */
static bool have_buffer(struct output_pipe *pipe) {
        if (!pipe->line)
                pipe->line = malloc(OUTPUT_LINE_MAX);
        return pipe->line;
}

static void drop_empty_buffer(struct output_pipe *pipe) {
        if (pipe->used > 0)
                return;
        free(pipe->line);
        pipe->line = NULL;
}

static void split(struct output_pipe *pipe) {
        const char *line = pipe->line, *all = line + pipe->used, *end;

        for (; (end = memchr(line, '\n', (size_t) (all - line))); line = end + 1)
                add_line(pipe, line, (size_t) (end - line) - (end > line && end[-1] == '\r'));
        if (line == pipe->line && pipe->used == OUTPUT_LINE_MAX) {
                line += cut(line, pipe->used);
                add_line(pipe, pipe->line, (size_t) (line - pipe->line));
        }
        pipe->used = (size_t) (all - line);
        memmove(pipe->line, line, pipe->used);
}

/* Between two turns, because it is not in the pipe any more. */
static void keep_part(struct output_pipe *pipe) {
        if (pipe->used > 0)
                line_part_put(have_ring(pipe->to), &pipe->part, pipe->fd, pipe->line, pipe->used);
}

/* What the broker before us had read. */
static void find_part(struct output_pipe *pipe) {
        if (have_buffer(pipe))
                pipe->used = line_part_find(&pipe->to->lines, &pipe->part, pipe->fd, pipe->line);
        drop_empty_buffer(pipe);
}

static void flush(struct output_pipe *pipe) {
        if (pipe->used > 0)
                add_line(pipe, pipe->line, pipe->used);
        pipe->used = 0;
        drop_empty_buffer(pipe);
}

/* As read(2); there is room for a byte at least, because a full line is taken at once. */
static ssize_t read_some(struct output_pipe *pipe, size_t at_most) {
        size_t room = OUTPUT_LINE_MAX - pipe->used;
        ssize_t n = read(pipe->fd, pipe->line + pipe->used, room < at_most ? room : at_most);

        if (n > 0) {
                pipe->used += (size_t) n;
                split(pipe);
        }
        return n;
}

static void on_readable(void *owner, int events);

static void go_on(void *owner) {
        struct output_pipe *pipe = owner;

        io_watch_start(&pipe->watch, pipe->loop, pipe->fd, IO_READ, on_readable, pipe);
}

static void pause_reading(struct output_pipe *pipe) {
        io_watch_stop(&pipe->watch);
        timer_start(&pipe->pause, pipe->loop, PAUSE_USEC, go_on, pipe);
}

static void on_readable(void *owner, int events) {
        struct output_pipe *pipe = owner;
        uint64_t begin = loop_now_usec();
        size_t left = OUTPUT_SHARE;
        ssize_t n = 1;

        if (!have_buffer(pipe)) {
                pause_reading(pipe);
                return;
        }
        while (left > 0 && loop_now_usec() - begin < SHARE_USEC) {
                n = read_some(pipe, left);
                if (n <= 0)
                        break;
                left -= (size_t) n;
        }
        if (n > 0) {
                pause_reading(pipe);
        } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
                io_watch_stop(&pipe->watch);
                flush(pipe); /* no writer is left */
        }
        keep_part(pipe);
        drop_empty_buffer(pipe);
}

void output_pipe_start(struct output_pipe *pipe, struct loop *loop, struct output_log *to, int fd,
                       uint64_t generation, unsigned instance, bool is_error) {
        bool is_found = fd >= 0;

        if (is_found)
                pipe->fd = fd;
        pipe->to = to;
        pipe->loop = loop;
        pipe->generation = generation;
        pipe->instance = instance;
        pipe->is_error = is_error;
        pipe->used = 0;
        pipe->part = 0;
        if (is_found)
                find_part(pipe);
        /* The flag of the read end; the writer's is another open file description. */
        (void) fcntl(pipe->fd, F_SETFL, O_NONBLOCK);
        go_on(pipe);
}

void output_pipe_drain(struct output_pipe *pipe) {
        size_t left = OUTPUT_SHARE;
        ssize_t n;

        if (!pipe->to || pipe->fd < 0 || !have_buffer(pipe))
                return;
        while (left > 0 && (n = read_some(pipe, left)) > 0)
                left -= (size_t) n;
        flush(pipe);
}

void output_pipe_close(struct output_pipe *pipe) {
        io_watch_stop(&pipe->watch);
        timer_stop(&pipe->pause);
        if (pipe->to)
                flush(pipe);
        drop_empty_buffer(pipe);
        pipe->to = NULL;
        pipe->fd = close_fd(pipe->fd);
}
