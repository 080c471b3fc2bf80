/* What components write: lines from pipes, the last of them kept, followed, logged; floods bounded.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cleanup.h"
#include "components/output.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/loop.h"
#include "support.h"

struct world {
        struct loop *loop;
        struct log *log;
        struct kept_lines kept; /* nowhere */
        struct output_log lines;
        struct output_pipe pipe;
        int write_fd;
        char logged[8192];
};

static void on_log(void *owner, enum log_level level, const char *text) {
        struct world *w = owner;
        size_t used = strlen(w->logged);

        ck_assert_int_eq((int) level, LEVEL_INFO);
        (void) snprintf(w->logged + used, sizeof(w->logged) - used, "%s\n", text);
}

static void world_open(struct world *w) {
        *w = (struct world){.pipe = {.fd = -1}};
        ck_assert_int_eq(loop_new(&w->loop), 0);
        ck_assert_int_eq(log_new(&w->log, "unit", LOG_TARGET_NONE, LEVEL_INFO), 0);
        log_set_sink(w->log, on_log, w);
        kept_lines_init(&w->kept, NULL, w->log);
        output_log_init(&w->lines, w->log, "hermes", &w->kept);
        ck_assert_int_eq(output_pipe_open(&w->pipe, &w->write_fd), 0);
        output_pipe_start(&w->pipe, w->loop, &w->lines, -1, 7, 1, false);
}

static void world_close(struct world *w) {
        output_pipe_close(&w->pipe);
        output_log_clear(&w->lines);
        close_fd(w->write_fd);
        log_free(w->log);
        loop_free(w->loop);
}

static void say(const struct world *w, const char *text, size_t size) {
        ck_assert_int_eq(write(w->write_fd, text, size), (ssize_t) size);
}

#define SAY(w, literal) say((w), (literal), sizeof(literal) - 1)

static unsigned unread(const struct world *w) {
        int n = 0;

        ck_assert_int_eq(ioctl(w->pipe.fd, FIONREAD, &n), 0);
        return (unsigned) n;
}

/* The n-th line that is kept, from 0; until the next call. */
static const struct output_line *line_at(const struct world *w, size_t n) {
        struct line_walk walk = line_ring_walk(&w->lines.lines);
        static struct output_line line;

        do
                ck_assert(line_walk_next(&walk, &line));
        while (n-- > 0);
        ck_assert_uint_eq(strlen(line.text), line.length);
        return &line;
}

static unsigned count(const struct world *w) {
        return w->lines.lines.state.count;
}

/* Until so many are there: on a busy machine a turn's share is less than what there is to read. */
static void read_lines(const struct world *w, unsigned n) {
        while (count(w) < n)
                loop_run_once(w->loop, true);
}

START_TEST(lines_are_known_with_generation_instance_and_time) {
        uint64_t before = clock_realtime_usec();
        struct world w;

        world_open(&w);
        SAY(&w, "one\r\n\ntwo\0end\n\033[31mred\nunfinis");
        read_lines(&w, 4);
        ck_assert_uint_eq(count(&w), 4);
        ck_assert_str_eq(line_at(&w, 0)->text, "one");
        ck_assert_str_eq(line_at(&w, 1)->text, "");
        ck_assert_str_eq(line_at(&w, 2)->text, "two end");
        ck_assert_str_eq(line_at(&w, 3)->text, "\033[31mred");
        ck_assert_uint_eq(line_at(&w, 0)->number, 1);
        ck_assert_uint_eq(line_at(&w, 3)->number, 4);
        ck_assert_uint_eq(line_at(&w, 0)->generation, 7);
        ck_assert_uint_eq(line_at(&w, 0)->instance, 1);
        ck_assert_uint_ge(line_at(&w, 0)->time_usec, before);
        ck_assert_uint_le(line_at(&w, 0)->time_usec, clock_realtime_usec());
        ck_assert(!line_at(&w, 0)->is_error);
        SAY(&w, "hed\n");
        read_lines(&w, 5);
        ck_assert_str_eq(line_at(&w, 4)->text, "unfinished");
        /* What reaches the log cannot move a cursor there. */
        ck_assert_str_eq(w.logged, "hermes: one\nhermes: \nhermes: two end\nhermes:  [31mred\n"
                                   "hermes: unfinished\n");
        world_close(&w);
}
END_TEST

START_TEST(a_line_without_an_end_counts_when_its_writer_is_gone) {
        struct world w;

        world_open(&w);
        SAY(&w, "Traceback: it");
        w.write_fd = close_fd(w.write_fd);
        read_lines(&w, 1);
        ck_assert_str_eq(line_at(&w, 0)->text, "Traceback: it");
        ck_assert_msg(!io_watch_is_started(&w.pipe.watch), "the end of a file is told for ever");
        ck_assert_int_ge(w.pipe.fd, 0);
        world_close(&w);
}
END_TEST

START_TEST(a_silent_pipe_has_no_buffer) {
        struct world w;

        world_open(&w);
        loop_run_once(w.loop, false);
        ck_assert_ptr_null(w.pipe.line);
        SAY(&w, "one\nhal");
        read_lines(&w, 1);
        ck_assert_ptr_nonnull(w.pipe.line);
        SAY(&w, "f\n");
        read_lines(&w, 2);
        ck_assert_str_eq(line_at(&w, 1)->text, "half");
        ck_assert_ptr_null(w.pipe.line);
        SAY(&w, "last");
        output_pipe_drain(&w.pipe);
        ck_assert_str_eq(line_at(&w, 2)->text, "last");
        ck_assert_ptr_null(w.pipe.line);
        output_pipe_drain(&w.pipe); /* nothing */
        ck_assert_ptr_null(w.pipe.line);
        world_close(&w);
}
END_TEST

START_TEST(the_last_words_are_read_at_once) {
        struct world w;

        world_open(&w);
        SAY(&w, "last\nwords");
        output_pipe_drain(&w.pipe);
        ck_assert_uint_eq(count(&w), 2);
        ck_assert_str_eq(line_at(&w, 1)->text, "words");
        output_pipe_drain(&w.pipe);
        ck_assert_uint_eq(count(&w), 2);
        world_close(&w);
}
END_TEST

START_TEST(a_line_that_is_too_long_is_cut_between_characters) {
        char text[OUTPUT_LINE_MAX + 8];
        struct world w;

        world_open(&w);
        memset(text, 'a', sizeof(text));
        /* The cut would go through the three bytes of a euro sign. */
        memcpy(text + OUTPUT_LINE_MAX - 2, "\xe2\x82\xac", 3);
        text[sizeof(text) - 1] = '\n';
        say(&w, text, sizeof(text));
        read_lines(&w, 2);
        ck_assert_uint_eq(count(&w), 2);
        ck_assert_uint_eq(line_at(&w, 0)->length, OUTPUT_LINE_MAX - 2);
        ck_assert_str_eq(line_at(&w, 1)->text, "\xe2\x82\xac"
                                               "aaaaaa");
        /* One that just fits, ends with a whole character and is not cut. */
        memset(text, 'b', sizeof(text));
        memcpy(text + OUTPUT_LINE_MAX - 4, "\xe2\x82\xac\n", 4);
        say(&w, text, OUTPUT_LINE_MAX);
        read_lines(&w, 3);
        ck_assert_uint_eq(count(&w), 3);
        ck_assert_uint_eq(line_at(&w, 2)->length, OUTPUT_LINE_MAX - 1);
        /* No character at all: it is cut where it is. */
        memset(text, 0x80, sizeof(text));
        say(&w, text, OUTPUT_LINE_MAX);
        read_lines(&w, 4);
        ck_assert_uint_eq(line_at(&w, 3)->length, OUTPUT_LINE_MAX);
        world_close(&w);
}
END_TEST

START_TEST(only_the_last_lines_are_kept_and_their_numbers_go_on) {
        char text[OUTPUT_LINE_MAX];
        struct world w;

        world_open(&w);
        for (int i = 0; i < 3 * OUTPUT_LINES_KEPT; i++)
                SAY(&w, "x\n");
        output_pipe_drain(&w.pipe);
        ck_assert_uint_eq(count(&w), OUTPUT_LINES_KEPT);
        ck_assert_uint_eq(line_at(&w, 0)->number, 2 * OUTPUT_LINES_KEPT + 1);
        memset(text, 'y', sizeof(text));
        text[sizeof(text) - 1] = '\n';
        for (int i = 0; i < 100; i++) {
                say(&w, text, sizeof(text));
                output_pipe_drain(&w.pipe);
        }
        ck_assert_uint_le(w.lines.lines.bytes, OUTPUT_BYTES_KEPT);
        ck_assert_uint_ge(w.lines.lines.bytes, OUTPUT_BYTES_KEPT - sizeof(text));
        ck_assert_uint_eq(w.lines.last_number, 3 * OUTPUT_LINES_KEPT + 100);
        world_close(&w);
}
END_TEST

/* Writes when it can, like a program that floods; nothing else in this process reads. */
static void fill(const struct world *w) {
        static const char text[4096] = "flood\n";

        while (write(w->write_fd, text, sizeof(text)) > 0)
                ;
}

START_TEST(a_flood_gets_its_share_of_a_turn_and_a_pause) {
        struct world w;
        unsigned before;

        world_open(&w);
        ck_assert_int_eq(fcntl(w.write_fd, F_SETFL, O_NONBLOCK), 0);
        ck_assert_int_ge(fcntl(w.write_fd, F_SETPIPE_SZ, 4 * OUTPUT_SHARE), 4 * OUTPUT_SHARE);
        fill(&w);
        before = unread(&w);
        ck_assert_uint_gt(before, 2 * OUTPUT_SHARE);
        do /* nothing at all in a turn without a processor */
                loop_run_once(w.loop, true);
        while (unread(&w) == before);
        ck_assert_uint_ge(unread(&w), before - OUTPUT_SHARE);
        ck_assert_msg(!io_watch_is_started(&w.pipe.watch) && timer_is_started(&w.pipe.pause),
                      "it is read on at once");
        fill(&w);
        before = unread(&w);
        output_pipe_drain(&w.pipe);
        ck_assert_uint_eq(unread(&w), before - OUTPUT_SHARE);
        while (unread(&w) > 0)
                loop_run_once(w.loop, true);
        world_close(&w);
}
END_TEST

struct listener {
        struct output_follower follower;
        unsigned lines, leaves_after;
        char last[64];
};

static void on_line(void *owner, const struct output_line *line) {
        struct listener *l = owner;

        (void) snprintf(l->last, sizeof(l->last), "%s", line->text);
        if (++l->lines == l->leaves_after)
                output_unfollow(&l->follower);
}

START_TEST(followers_hear_each_line_until_they_leave) {
        struct listener one = {.leaves_after = 1}, two = {0};
        struct world w;

        world_open(&w);
        SAY(&w, "before\n");
        output_pipe_drain(&w.pipe);
        one.follower = (struct output_follower){.line = on_line, .owner = &one};
        two.follower = (struct output_follower){.line = on_line, .owner = &two};
        output_follow(&w.lines, &two.follower);
        output_follow(&w.lines, &one.follower);
        SAY(&w, "a\nb\n");
        output_pipe_drain(&w.pipe);
        ck_assert_uint_eq(one.lines, 1);
        ck_assert_str_eq(one.last, "a");
        ck_assert_uint_eq(two.lines, 2);
        ck_assert_str_eq(two.last, "b");
        output_unfollow(&one.follower); /* once more is nothing */
        output_unfollow(&two.follower);
        SAY(&w, "c\n");
        output_pipe_drain(&w.pipe);
        ck_assert_uint_eq(two.lines, 2);
        world_close(&w);
}
END_TEST

START_TEST(a_pipe_of_a_former_life_is_read_on) {
        struct output_pipe old = {.fd = -1}, pipe = {.fd = -1};
        struct world w;
        int write_fd;

        world_open(&w);
        ck_assert_int_eq(output_pipe_open(&old, &write_fd), 0);
        ck_assert_int_eq(fcntl(old.fd, F_GETFD) & fcntl(write_fd, F_GETFD), FD_CLOEXEC);
        ck_assert_int_eq(write(write_fd, "while you were away\n", 20), 20);
        output_pipe_start(&pipe, w.loop, &w.lines, old.fd, 3, 0, true);
        read_lines(&w, 1);
        ck_assert_str_eq(line_at(&w, 0)->text, "while you were away");
        ck_assert(line_at(&w, 0)->is_error);
        ck_assert_msg(!(fcntl(write_fd, F_GETFL) & O_NONBLOCK), "its writer does not expect that");
        (void) signal(SIGPIPE, SIG_IGN);
        ck_assert_int_eq(write(write_fd, "x", 1), 1);
        output_pipe_close(&pipe);
        ck_assert_int_eq(write(write_fd, "x", 1), -1);
        close_fd(write_fd);
        world_close(&w);
}
END_TEST

/* ---- on a terminal ----------------------------------------------------------------------------*/

/* What one line of "hermes", second of `instances`, looks like on a terminal. */
static const char *on_terminal(unsigned instances, unsigned width, bool is_error) {
        static char text[512];
        int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), old, terminal;
        const struct output_line line = {.instance = 1, .is_error = is_error, .text = "hi\033[2J"};
        struct output_log lines;
        struct log *log;
        ssize_t n;

        ck_assert_int_ge(master, 0);
        ck_assert_int_eq(grantpt(master) | unlockpt(master), 0);
        terminal = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
        ck_assert_int_ge(terminal, 0);
        old = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
        ck_assert_int_ge(dup2(terminal, STDERR_FILENO), 0);
        ck_assert_int_eq(log_new(&log, "unit", LOG_TARGET_STDERR, LEVEL_INFO), 0);
        output_log_init(&lines, log, "hermes", NULL);
        lines.instances = instances;
        lines.width = width;
        output_line_write(&lines, &line);
        log_free(log);
        ck_assert_int_ge(dup2(old, STDERR_FILENO), 0);
        close_fd(old);
        n = read(master, text, sizeof(text) - 1);
        ck_assert_int_gt((int) n, 0);
        text[n] = '\0';
        close_fd(terminal);
        close_fd(master);
        return text;
}

START_TEST(on_a_terminal_a_line_has_its_component_before_it) {
        ck_assert_int_eq(setenv("NO_COLOR", "1", 1), 0);
        ck_assert_str_eq(on_terminal(1, 0, false), "hermes | hi [2J\r\n");
        ck_assert_str_eq(on_terminal(1, 9, false), "hermes    | hi [2J\r\n");
        ck_assert_str_eq(on_terminal(2, 9, true), "hermes.2  ! hi [2J\r\n");
        ck_assert_uint_eq(
                output_name_width(&(struct output_log){.component = "hermes", .instances = 1}), 6);
        ck_assert_uint_eq(
                output_name_width(&(struct output_log){.component = "hermes", .instances = 10}), 9);
        ck_assert_int_eq(unsetenv("NO_COLOR"), 0);
        const char *text = on_terminal(1, 0, true);
        ck_assert_msg(strncmp(text, "\033[", 2) == 0 && strstr(text, "\033[1;31m!\033[0m hi"), "%s",
                      text);
}
END_TEST

SUITE("output", {
        TEST(lines_are_known_with_generation_instance_and_time);
        TEST(a_line_without_an_end_counts_when_its_writer_is_gone);
        TEST(a_silent_pipe_has_no_buffer);
        TEST(the_last_words_are_read_at_once);
        TEST(a_line_that_is_too_long_is_cut_between_characters);
        TEST(only_the_last_lines_are_kept_and_their_numbers_go_on);
        TEST(a_flood_gets_its_share_of_a_turn_and_a_pause);
        TEST(followers_hear_each_line_until_they_leave);
        TEST(a_pipe_of_a_former_life_is_read_on);
        TEST(on_a_terminal_a_line_has_its_component_before_it);
})
