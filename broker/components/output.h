/*
 * What a generation writes: read from a pipe whose read end is kept, so that nobody dies of SIGPIPE
 * when the broker does. Split into lines, of which the last are remembered for the verdict and for
 * `fdpass logs`, passed on to the broker's log or a file, and to those who follow. Reading is
 * bounded per turn: a flood delays its own writer and nobody else.
 */
#ifndef COMPONENTS_OUTPUT_H
#define COMPONENTS_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "components/kept_lines.h"
#include "components/line_ring.h"
#include "core/log.h"
#include "core/loop.h"

#define OUTPUT_SHARE 65536 /* bytes read of a pipe in one turn of the loop: its capacity */

struct output_follower {
        LIST_ENTRY(output_follower) entry;
        void (*line)(void *owner, const struct output_line *line);
        void (*end)(void *owner); /* the component is gone, and it does not follow any more */
        void *owner;
};

/* Of a component: outlives its generations. */
struct output_log {
        struct log *log;
        const char *component; /* lent */
        unsigned instances;    /* to name them in the prefix when there are several */
        unsigned width; /* columns of the prefix on a terminal, so that lines stand in line */
        struct kept_lines *kept; /* lent; where the lines lie */
        struct line_ring lines;
        uint64_t last_number;
        LIST_HEAD(, output_follower) followers;
};

void output_log_init(struct output_log *log, struct log *to, const char *component,
                     struct kept_lines *kept);
/* The lines of the broker before us: area `k` of log->kept. Not over lines that are there. */
void output_log_find(struct output_log *log, size_t k);
/* What is kept of the lines stays so; output_log_forget() before it: of them as well. */
void output_log_clear(struct output_log *log);
void output_log_forget(struct output_log *log);
void output_follow(struct output_log *log, struct output_follower *follower);
void output_unfollow(struct output_follower *follower);

/* One pipe of one instance. */
struct output_pipe {
        struct output_log *to;
        struct loop *loop;
        int fd; /* the read end, owned, non-blocking; -1 */
        uint64_t generation;
        unsigned instance;
        bool is_error;
        struct io_watch watch;
        struct timer pause; /* after its share of a turn */
        size_t used;        /* of an unfinished line */
        unsigned part;      /* where that is kept, line_part.h */
        char *line;         /* OUTPUT_LINE_MAX bytes; NULL while there is nothing in them */
};

/* A pipe: *ret_write_fd is the caller's, for the child, close-on-exec. 0, -EMFILE, -ENFILE. */
int output_pipe_open(struct output_pipe *pipe, int *ret_write_fd);
/*
 * Begin (or go on) reading: fd is -1 for the pipe that was opened, or one of a former life, which
 * is taken. At the end of the file reading stops, and the descriptor stays until
 * output_pipe_close().
 */
void output_pipe_start(struct output_pipe *pipe, struct loop *loop, struct output_log *to, int fd,
                       uint64_t generation, unsigned instance, bool is_error);
/*
 * Read what is in it now, at most OUTPUT_SHARE bytes: the last words of who has just ended. A line
 * without its end counts as one.
 */
void output_pipe_drain(struct output_pipe *pipe);
void output_pipe_close(struct output_pipe *pipe);

/* Columns of the name before each of its lines on a terminal. */
unsigned output_name_width(const struct output_log *log);

/* Log a line of a component as its own: prefix and colour on a terminal, journal fields else. */
void output_line_write(struct output_log *log, const struct output_line *line);

#endif
