/* What became of one component: its words, its lines, and copies of it. */
#include "components/job.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "support.h"

static struct text text_of(const char *word) {
        return (struct text){word, strlen(word)};
}

START_TEST(verdicts_are_words_and_some_are_good) {
        static const enum verdict good[] = {VERDICT_SERVES, VERDICT_DONE, VERDICT_NOTHING};
        enum verdict v;

        for (int k = VERDICT_NONE; k <= VERDICT_CANCELED; k++) {
                bool is_good = false;

                for (size_t g = 0; g < 3; g++)
                        is_good = is_good || good[g] == (enum verdict) k;
                ck_assert_int_eq(verdict_is_good((enum verdict) k), is_good);
                ck_assert_int_eq(verdict_from_name(text_of(verdict_name((enum verdict) k)), &v), 0);
                ck_assert_int_eq(v, k);
        }
        ck_assert_int_eq(verdict_from_name(text_of("perhaps"), &v), -EINVAL);
        ck_assert_int_eq(verdict_from_name(text_of(""), &v), -EINVAL);
        ck_assert_int_eq(verdict_from_name(text_of("serve"), &v), -EINVAL);
        ck_assert_int_eq(v, VERDICT_CANCELED); /* untouched */
}
END_TEST

START_TEST(kinds_are_words) {
        enum job_kind kind;

        for (int k = 0; k < N_JOB_KINDS; k++) {
                ck_assert_int_eq(
                        job_kind_from_name(text_of(job_kind_name((enum job_kind) k)), &kind), 0);
                ck_assert_int_eq(kind, k);
        }
        ck_assert_int_eq(job_kind_from_name(text_of("destroy"), &kind), -EINVAL);
}
END_TEST

/* A pipe of this generation and instance, read to its end. */
static void write_lines(struct output_log *log, uint64_t generation, unsigned instance,
                        const char *word, unsigned n) {
        struct output_pipe pipe = {.fd = -1};
        struct loop *loop;
        int fd;

        ck_assert_int_eq(loop_new(&loop), 0);
        ck_assert_int_eq(output_pipe_open(&pipe, &fd), 0);
        output_pipe_start(&pipe, loop, log, pipe.fd, generation, instance, false);
        for (unsigned k = 1; k <= n; k++)
                ck_assert_int_gt(dprintf(fd, "%s %u\n", word, k), 0);
        output_pipe_drain(&pipe);
        output_pipe_close(&pipe);
        close(fd);
        loop_free(loop);
}

START_TEST(the_last_lines_are_those_of_that_instance) {
        struct instance i = {.generation = 2, .index = 1};
        struct receipt r = {0}, copy = {0};
        struct kept_lines kept;
        struct output_log log;

        kept_lines_init(&kept, NULL, NULL);
        output_log_init(&log, NULL, "a", &kept);
        write_lines(&log, 1, 1, "older", 30);
        write_lines(&log, 2, 0, "beside", 30);
        receipt_take_lines(&r, &log, &i);
        ck_assert_uint_eq(r.n_lines, 0);
        write_lines(&log, 2, 1, "line", 3);
        receipt_take_lines(&r, &log, &i);
        ck_assert_uint_eq(r.n_lines, 3);
        ck_assert_str_eq(r.lines[0], "line 1");
        receipt_clear(&r);
        ck_assert_uint_eq(r.n_lines, 0);
        write_lines(&log, 2, 1, "more", RECEIPT_LINES_MAX + 5);
        receipt_take_lines(&r, &log, &i);
        ck_assert_uint_eq(r.n_lines, RECEIPT_LINES_MAX);
        ck_assert_str_eq(r.lines[0], "more 6");
        ck_assert_str_eq(r.lines[RECEIPT_LINES_MAX - 1], "more 25");

        /* the copy is its own, in place of what it was */
        r.verdict = VERDICT_KEPT;
        ck_assert_int_eq(receipt_copy(&copy, &r), 0);
        ck_assert_int_eq(receipt_copy(&copy, &r), 0);
        receipt_clear(&r);
        ck_assert_int_eq(r.verdict, VERDICT_NONE);
        ck_assert_int_eq(copy.verdict, VERDICT_KEPT);
        ck_assert_uint_eq(copy.n_lines, RECEIPT_LINES_MAX);
        ck_assert_str_eq(copy.lines[0], "more 6");
        receipt_clear(&copy);
        output_log_clear(&log);
}
END_TEST

SUITE("receipt", {
        TEST(verdicts_are_words_and_some_are_good);
        TEST(kinds_are_words);
        TEST(the_last_lines_are_those_of_that_instance);
})
