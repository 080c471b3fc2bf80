/*
 * What components wrote is there for the broker after this one: with its numbers, for the component
 * that wrote it, and for no longer than that is there. Where it cannot be kept nothing fails of it.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "components/kept_lines.h"
#include "keeper/memory.h"
#include "life_support.h"
#include "support.h"

static struct scene l, next;

/* Each generation writes "begun", and what is in a file of the folder as soon as that is there. */
static const char *config(const char *name, const char *more) {
        static char text[1024];

        (void) snprintf(text, sizeof(text),
                        "[Component %s]\nStart=manual\nRestart=no\nExecStart=sh %s\n%s\n", name,
                        test_path("talks.sh"), more);
        return text;
}

static void begin(const char *more) {
        test_write("talks.sh", "cd \"${0%/*}\"\necho begun $FDPASS_GENERATION\n"
                               "until test -e say$FDPASS_GENERATION; do sleep 0.01; done\n"
                               "cat say$FDPASS_GENERATION\ntest -e exit && exit 3\n"
                               "exec sleep 60\n");
        life_begin(&l, true);
        life_apply(&l, "%s", config("a", more));
}

/* It is there with all that is in it. */
static void tell(const char *text) {
        char from[256];

        test_write("say", text);
        (void) snprintf(from, sizeof(from), "%s", test_path("say"));
        ck_assert_int_eq(rename(from, test_path("say1")), 0);
}

static void start(struct scene *s, const char *name) {
        const struct job *job = life_begin_job(s, JOB_START, "", name);

        LIFE_UNTIL(s, job->finished);
}

static struct output_log *log_of(const struct scene *s, const char *name) {
        return &life_component(s, name)->output;
}

static unsigned count(const struct scene *s, const char *name) {
        return log_of(s, name)->lines.state.count;
}

/* "1 begun 1|2 hello": numbers and texts. */
static const char *lines(const struct scene *s, const char *name) {
        struct line_walk w = line_ring_walk(&log_of(s, name)->lines);
        static char text[4096];
        struct output_line line;
        size_t used = 0;

        text[0] = '\0';
        while (line_walk_next(&w, &line))
                used += (size_t) snprintf(text + used, sizeof(text) - used, "%s%llu %s",
                                          used > 0 ? "|" : "", (unsigned long long) line.number,
                                          line.text);
        return text;
}

static size_t pages(const struct scene *s) {
        struct stat st;

        ck_assert_int_eq(fstat(s->table->kept_lines.fd, &st), 0);
        return (size_t) st.st_blocks * 512 / 4096;
}

static void die(struct scene *from, struct scene *to, const char *text) {
        life_die(from, to);
        life_apply(to, "%s", text);
}

START_TEST(lines_are_there_for_the_next_broker_and_numbers_go_on) {
        begin("");
        start(&l, "a");
        LIFE_UNTIL(&l, count(&l, "a") == 1);
        die(&l, &next, config("a", ""));
        ck_assert_str_eq(lines(&next, "a"), "1 begun 1");
        tell("hello\nagain\n");
        LIFE_UNTIL(&next, count(&next, "a") == 3);
        ck_assert_str_eq(lines(&next, "a"), "1 begun 1|2 hello|3 again");
        die(&next, &l, config("a", ""));
        LIFE_UNTIL(&l, life_begin_job(&l, JOB_RESTART, "again", "a")->finished);
        LIFE_UNTIL(&l, count(&l, "a") == 4);
        ck_assert_str_eq(lines(&l, "a"), "1 begun 1|2 hello|3 again|4 begun 2");
        life_end(&l);
}
END_TEST

START_TEST(who_is_silent_has_no_memory_of_it) {
        begin("[Component b]\nStart=manual\nExecStart=sleep 60\n");
        start(&l, "b");
        life_pass(&l, 20);
        ck_assert_int_eq(l.table->kept_lines.fd, -1);
        start(&l, "a");
        LIFE_UNTIL(&l, count(&l, "a") == 1);
        ck_assert_uint_eq(pages(&l), 1);
        die(&l, &next, config("a", "[Component b]\nStart=manual\nExecStart=sleep 60\n"));
        ck_assert_uint_eq(pages(&next), 1);
        ck_assert_uint_eq(next.table->kept_lines.count, 1);
        life_end(&next);
}
END_TEST

START_TEST(the_verdict_quotes_what_was_written_before_the_death) {
        const struct receipt *r;

        begin("Type=notify\nNotifyAccess=all\n");
        life_begin_job(&l, JOB_START, "first", "a");
        LIFE_UNTIL(&l, count(&l, "a") == 1);
        die(&l, &next, config("a", "Type=notify\nNotifyAccess=all\n"));
        test_write("exit", "");
        tell("no disk\n");
        r = life_receipt(&next, job_find(next.table, "first"), "a");
        ck_assert_int_eq(r->verdict, VERDICT_FAILED);
        ck_assert_uint_eq(r->n_lines, 2);
        ck_assert_str_eq(r->lines[0], "begun 1");
        ck_assert_str_eq(r->lines[1], "no disk");
        life_end(&next);
}
END_TEST

START_TEST(lines_go_with_their_component) {
        begin("");
        start(&l, "a");
        LIFE_UNTIL(&l, count(&l, "a") == 1);
        life_apply(&l, "%s", config("b", ""));
        LIFE_UNTIL(&l, !component_find(l.table, "a"));
        ck_assert_uint_eq(pages(&l), 0);
        start(&l, "b");
        LIFE_UNTIL(&l, count(&l, "b") == 1);
        ck_assert_uint_eq(l.table->kept_lines.count, 1); /* in its place */
        life_apply(&l, "%s%s", config("b", ""), "[Component a]\nStart=manual\nExecStart=true\n");
        ck_assert_uint_eq(count(&l, "a"), 0);
        die(&l, &next, config("b", "[Component a]\nStart=manual\nExecStart=true\n"));
        ck_assert_uint_eq(count(&next, "a"), 0);
        ck_assert_str_eq(lines(&next, "b"), "1 begun 1");
        life_end(&next);
}
END_TEST

/* Until it has ended it is there, with all that it wrote. */
START_TEST(one_that_is_not_configured_any_more_has_its_lines_still) {
        begin("");
        start(&l, "a");
        LIFE_UNTIL(&l, count(&l, "a") == 1);
        die(&l, &next, "[Component b]\nStart=manual\nExecStart=true\n");
        ck_assert_str_eq(lines(&next, "a"), "1 begun 1");
        LIFE_UNTIL(&next, !component_find(next.table, "a"));
        ck_assert_uint_eq(pages(&next), 0);
        life_end(&next);
}
END_TEST

/* ---- what cannot be kept, and what cannot be used ---------------------------------------------*/

static struct rlimit be_out_of_descriptors(void) {
        int lowest = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
        struct rlimit before, now;

        ck_assert_int_ge(lowest, 0);
        close_fd(lowest);
        ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
        now = before;
        now.rlim_cur = (rlim_t) lowest;
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &now), 0);
        return before;
}

START_TEST(without_a_memfd_lines_are_remembered_as_long_as_the_broker_lives) {
        struct rlimit before;

        begin("");
        test_write("talks.sh", "cd \"${0%/*}\"\nuntil test -e go; do sleep 0.01; done\necho one\n"
                               "echo two\nexec sleep 60\n");
        start(&l, "a");
        LIFE_UNTIL(&l, !life_instance(&l, "a", 1)->spawn_watch.loop);
        life_pass(&l, 20); /* helpers have ended */
        test_write("go", "");
        before = be_out_of_descriptors();
        LIFE_UNTIL(&l, count(&l, "a") == 2);
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
        ck_assert_str_eq(lines(&l, "a"), "1 one|2 two");
        ck_assert_int_eq(l.table->kept_lines.fd, -1);
        ck_assert(life_said(&l, "what a writes is remembered only as long as this broker lives: "
                                "Too many open files"));
        die(&l, &next, config("a", ""));
        ck_assert_uint_eq(count(&next, "a"), 0);
        ck_assert(!life_said(&next, "were not kept"));
        life_end(&next);
}
END_TEST

START_TEST(without_a_memory_they_are_remembered_all_the_same) {
        begin("");
        life_end(&l);
        life_begin(&l, false);
        life_apply(&l, "%s", config("a", ""));
        start(&l, "a");
        LIFE_UNTIL(&l, count(&l, "a") == 1);
        ck_assert_str_eq(lines(&l, "a"), "1 begun 1");
        ck_assert(!life_said(&l, "remembered only"));
        life_end(&l);
}
END_TEST

/* What the keeper has under the record of the lines, once it has it; lent. */
static int *kept_fd(struct scene *s) {
        const char *id = memory_first(s->memory, "lines");

        ck_assert_ptr_nonnull(id);
        for (;; life_turn(s))
                for (size_t k = 0; k < s->n_kept; k++)
                        if (strcmp(s->kept[k].id, id) == 0)
                                return &s->kept[k].fd;
}

START_TEST(a_descriptor_that_is_something_else_is_not_read) {
        int *fd;

        begin("");
        start(&l, "a");
        LIFE_UNTIL(&l, count(&l, "a") == 1);
        fd = kept_fd(&l);
        close_fd(*fd);
        /* One that could become shorter while it is read, and one that is no memfd. */
        *fd = _i == 0 ? memfd_create("unit", MFD_CLOEXEC) : open("/dev/null", O_RDWR | O_CLOEXEC);
        ck_assert_int_ge(*fd, 0);
        if (_i == 0)
                ck_assert_int_eq(ftruncate(*fd, LINE_AREA_SIZE), 0);
        die(&l, &next, config("a", ""));
        ck_assert(life_said(&next, "the last lines of components were not kept"));
        ck_assert_uint_eq(count(&next, "a"), 0);
        tell("hello\n");
        LIFE_UNTIL(&next, count(&next, "a") == 1); /* and are from now on */
        die(&next, &l, config("a", ""));
        ck_assert_str_eq(lines(&l, "a"), "1 hello");
        life_end(&l);
}
END_TEST

/* An area whose name is nobody's, and one more of somebody's. */
START_TEST(areas_that_are_nobodys_are_given_back) {
        char head[LINE_AREA_HEAD_SIZE];
        int fd;

        begin("");
        start(&l, "a");
        LIFE_UNTIL(&l, count(&l, "a") == 1);
        fd = l.table->kept_lines.fd;
        ck_assert_int_eq(pread(fd, head, sizeof(head), 0), sizeof(head));
        ck_assert_int_eq(pwrite(fd, head, sizeof(head), LINE_AREA_SIZE), sizeof(head));
        head[8] = 'z'; /* the name begins there */
        ck_assert_int_eq(pwrite(fd, head, sizeof(head), 2 * LINE_AREA_SIZE), sizeof(head));
        memset(head, 0xff, sizeof(head));
        ck_assert_int_eq(pwrite(fd, head, sizeof(head), 3 * LINE_AREA_SIZE), sizeof(head));
        ck_assert_int_eq(ftruncate(fd, 4 * LINE_AREA_SIZE + 1), 0);
        ck_assert_uint_eq(pages(&l), 4);
        die(&l, &next, config("a", ""));
        ck_assert_str_eq(lines(&next, "a"), "1 begun 1");
        ck_assert_uint_eq(next.table->kept_lines.count, 4);
        ck_assert_uint_eq(pages(&next), 1);
        life_end(&next);
}
END_TEST

SUITE("kept_lines", {
        TEST(lines_are_there_for_the_next_broker_and_numbers_go_on);
        TEST(who_is_silent_has_no_memory_of_it);
        TEST(the_verdict_quotes_what_was_written_before_the_death);
        TEST(lines_go_with_their_component);
        TEST(one_that_is_not_configured_any_more_has_its_lines_still);
        TEST(without_a_memfd_lines_are_remembered_as_long_as_the_broker_lives);
        TEST(without_a_memory_they_are_remembered_all_the_same);
        tcase_add_loop_test(tests_, a_descriptor_that_is_something_else_is_not_read, 0, 2);
        TEST(areas_that_are_nobodys_are_given_back);
})
