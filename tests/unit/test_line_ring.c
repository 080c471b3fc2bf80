/*
 * The last lines of a component, in memory that outlives us: the last ones are there in their order
 * whatever their lengths, whoever finds them; what was cut or is broken is left out.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "components/line_part.h"
#include "components/line_ring.h"
#include "support.h"

#define GUARD 65536
#define DATA 280U  /* where records begin */
#define STATE 264U /* the word before them */
#define HEAD 32U   /* of a record */

/* In loops: ck_assert() writes to a file each time. */
#define NEED(condition)                                                                            \
        do {                                                                                       \
                if (!(condition))                                                                  \
                        ck_abort_msg("not so: %s", #condition);                                    \
        } while (0)

struct world {
        struct line_ring ring;
        int fd;
        void *mapping; /* nothing can be read or written right before and behind the area */
        struct line_area *area;
};

static void world_open(struct world *w) {
        char *start = mmap(NULL, LINE_AREA_SIZE + (size_t) 2 * GUARD, PROT_NONE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        *w = (struct world){.mapping = start};
        ck_assert_ptr_ne(start, MAP_FAILED);
        w->fd = memfd_create("unit", MFD_CLOEXEC);
        ck_assert_int_ge(w->fd, 0);
        ck_assert_int_eq(ftruncate(w->fd, LINE_AREA_SIZE), 0);
        w->area = mmap(start + GUARD, LINE_AREA_SIZE, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_FIXED, w->fd, 0);
        ck_assert_ptr_ne(w->area, MAP_FAILED);
        ck_assert_int_eq(line_ring_new(&w->ring, w->area, w->fd, 0, "hermes"), 0);
}

static void world_close(struct world *w) {
        ck_assert_int_eq(munmap(w->mapping, LINE_AREA_SIZE + (size_t) 2 * GUARD), 0);
        close_fd(w->fd);
}

/* As the broker after this one. */
static int find_again(struct world *w) {
        w->ring = (struct line_ring){0};
        return line_ring_open(&w->ring, w->area, w->fd, 0);
}

static size_t pages(const struct world *w) {
        struct stat st;

        NEED(fstat(w->fd, &st) == 0);
        return (size_t) st.st_blocks * 512 / 4096;
}

/* ---- a model -----------------------------------------------------------------------------------
 */

/* Lines of which each tells by its number how long it is and what is in it. */
static size_t length_of(uint64_t number, size_t longest) {
        uint64_t x = number * UINT64_C(0x9e3779b97f4a7c15);

        return (size_t) ((x ^ x >> 29) % (longest + 1));
}

static void text_of(uint64_t number, size_t length, char *ret) {
        for (size_t i = 0; i < length; i++)
                ret[i] = (char) ('a' + (number + i) % 26);
        ret[length] = '\0';
}

static bool add(struct world *w, uint64_t number, size_t length) {
        char text[OUTPUT_LINE_MAX + 1];

        text_of(number, length, text);
        return line_ring_add(&w->ring, &(struct output_line){.number = number,
                                                             .time_usec = 1000 + number,
                                                             .generation = number / 7,
                                                             .instance = (unsigned) number % 64,
                                                             .is_error = number % 3 == 0,
                                                             .length = length,
                                                             .text = text});
}

/* All that is there is as it was added, one number after the other; the last. 0: nothing is. */
static uint64_t check(const struct world *w, size_t *ret_count, size_t *ret_bytes) {
        struct line_walk walk = line_ring_walk(&w->ring);
        char text[OUTPUT_LINE_MAX + 1];
        struct output_line line;
        size_t n = 0, bytes = 0;
        uint64_t last = 0;

        for (; line_walk_next(&walk, &line); n++) {
                NEED(last == 0 || line.number == last + 1);
                last = line.number;
                bytes += line.length;
                NEED(line.time_usec == 1000 + last);
                NEED(line.generation == last / 7);
                NEED(line.instance == last % 64);
                NEED(line.is_error == (last % 3 == 0));
                NEED(strlen(line.text) == line.length);
                text_of(last, line.length, text);
                NEED(strcmp(line.text, text) == 0);
        }
        NEED(bytes == w->ring.bytes);
        NEED(n <= OUTPUT_LINES_KEPT);
        NEED(bytes <= OUTPUT_BYTES_KEPT);
        if (ret_count)
                *ret_count = n;
        if (ret_bytes)
                *ret_bytes = bytes;
        return last;
}

/* No line went before it had to: one more would be over a bound. */
static void check_all_there(const struct world *w, uint64_t last, size_t (*length)(uint64_t)) {
        size_t count, bytes;

        NEED(check(w, &count, &bytes) == last);
        NEED(count == last || count == OUTPUT_LINES_KEPT ||
             bytes + length(last - count) > OUTPUT_BYTES_KEPT);
}

static size_t any_length(uint64_t number) {
        return length_of(number, OUTPUT_LINE_MAX);
}

static size_t short_length(uint64_t number) {
        return length_of(number, 60);
}

/* By turns a thousand short ones and a hundred long ones. */
static size_t changing_length(uint64_t number) {
        return number % 1100 < 1000 ? length_of(number, 90) : OUTPUT_LINE_MAX - number % 3;
}

static size_t longest_length(uint64_t number) {
        return OUTPUT_LINE_MAX;
}

static size_t no_length(uint64_t number) {
        return 0;
}

/* ---- lines ------------------------------------------------------------------------------------*/

static void fill_and_find(size_t (*length)(uint64_t)) {
        struct world w;

        world_open(&w);
        for (uint64_t n = 1; n <= 6000; n++) {
                NEED(add(&w, n, length(n)));
                if (n % 17 != 0)
                        continue;
                check_all_there(&w, n, length);
                NEED(find_again(&w) == 0);
                check_all_there(&w, n, length);
        }
        world_close(&w);
}

START_TEST(the_last_lines_are_there_whatever_their_lengths) {
        fill_and_find(any_length);
        fill_and_find(short_length);
        fill_and_find(changing_length);
        fill_and_find(longest_length);
        fill_and_find(no_length);
}
END_TEST

/* The bounds themselves, reached and not passed. */
START_TEST(so_many_lines_and_bytes_and_no_more) {
        size_t count, bytes;
        struct world w;

        world_open(&w);
        ck_assert_uint_eq(check(&w, &count, &bytes), 0);
        for (uint64_t n = 1; n <= OUTPUT_LINES_KEPT; n++)
                NEED(add(&w, n, 5));
        (void) check(&w, &count, NULL);
        ck_assert_uint_eq(count, OUTPUT_LINES_KEPT);
        NEED(add(&w, OUTPUT_LINES_KEPT + 1, 5));
        (void) check(&w, &count, NULL);
        ck_assert_uint_eq(count, OUTPUT_LINES_KEPT);
        world_close(&w);
        world_open(&w);
        for (uint64_t n = 1; n <= OUTPUT_BYTES_KEPT / OUTPUT_LINE_MAX; n++)
                NEED(add(&w, n, OUTPUT_LINE_MAX));
        (void) check(&w, &count, &bytes);
        ck_assert_uint_eq(bytes, OUTPUT_BYTES_KEPT);
        NEED(add(&w, OUTPUT_BYTES_KEPT / OUTPUT_LINE_MAX + 1, 1));
        (void) check(&w, NULL, &bytes);
        ck_assert_uint_eq(bytes, OUTPUT_BYTES_KEPT - OUTPUT_LINE_MAX + 1);
        world_close(&w);
}
END_TEST

START_TEST(memory_is_used_as_lines_need_it) {
        size_t need = OUTPUT_LINES_KEPT * (HEAD + 32);
        struct world w;

        world_open(&w);
        ck_assert_uint_eq(pages(&w), 1);
        NEED(add(&w, 1, 31));
        ck_assert_uint_eq(pages(&w), 1);
        for (uint64_t n = 2; n < 20000; n++)
                NEED(add(&w, n, 31));
        /* A page more for what a ring cannot use, and one for its head. */
        ck_assert_uint_le(pages(&w), need / 4096 + 2);
        for (uint64_t n = 20000; n < 40000; n++)
                NEED(add(&w, n, any_length(n)));
        ck_assert_uint_le(pages(&w), 2 * (OUTPUT_BYTES_KEPT / 4096 + 2));
        world_close(&w);
}
END_TEST

/* Where a write would end the process, there is no write. */
START_TEST(without_memory_fewer_lines_are_kept) {
        struct rlimit before, limit = {.rlim_cur = 3 * 4096, .rlim_max = RLIM_INFINITY};
        size_t count;
        struct world w;
        int r;

        world_open(&w);
        (void) signal(SIGXFSZ, SIG_IGN);
        ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
        limit.rlim_max = before.rlim_max;
        /* It cannot grow any more, so there is nothing behind its first pages. */
        ck_assert_int_eq(ftruncate(w.fd, 0), 0);
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
        NEED(line_ring_new(&w.ring, w.area, w.fd, 0, "hermes") == 0);
        for (uint64_t n = 1; n < 3000; n++) {
                NEED(add(&w, n, changing_length(n)));
                NEED(check(&w, &count, NULL) == n);
                NEED(count >= (n < 3 ? n : 3));
        }
        limit.rlim_cur = 0;
        NEED(setrlimit(RLIMIT_FSIZE, &limit) == 0);
        NEED(pages(&w) == 3);
        NEED(ftruncate(w.fd, 0) == 0);
        r = line_ring_new(&w.ring, w.area, w.fd, 0, "hermes");
        NEED(setrlimit(RLIMIT_FSIZE, &before) == 0);
        ck_assert_int_eq(r, -EFBIG);
        world_close(&w);
}
END_TEST

START_TEST(an_area_says_whose_it_is) {
        char head[LINE_AREA_HEAD_SIZE], name[LINE_AREA_NAME_SIZE];
        struct world w;

        world_open(&w);
        memcpy(head, w.area, sizeof(head));
        ck_assert(line_area_name(head, name));
        ck_assert_str_eq(name, "hermes");
        head[8] = '/'; /* its first letter */
        ck_assert(!line_area_name(head, name));
        memset(head + 8, 'a', LINE_AREA_NAME_SIZE); /* without an end */
        ck_assert(!line_area_name(head, name));
        memcpy(head, w.area, sizeof(head));
        head[0]++; /* another format */
        ck_assert(!line_area_name(head, name));
        memcpy(w.area, head, sizeof(head));
        ck_assert_int_eq(find_again(&w), -EBADMSG);
        world_close(&w);
}
END_TEST

/* ---- the death of who writes ------------------------------------------------------------------*/

static _Noreturn void write_for_ever(struct world *w, uint64_t n, size_t (*length)(uint64_t)) {
        for (;; n++)
                if (!add(w, n, length(n)))
                        _exit(1);
}

static void sleep_nsec(long nsec) {
        (void) nanosleep(&(struct timespec){.tv_nsec = nsec}, NULL);
}

/* At any instruction: all lines but the one that was just being written are there. */
START_TEST(killed_in_the_middle_it_leaves_whole_lines) {
        uint64_t last = 0, before;
        size_t count, bytes;
        struct world w;
        int status;

        if (SKIPPED_UNDER_VALGRIND("it is too slow to be in the middle of much"))
                return;
        world_open(&w);
        /* On a busy machine some are killed before they begin: as many more are made. */
        for (long k = 0; k < 300 || last <= 10000; k++) {
                pid_t pid = fork();

                /* Of one length they lie where others lay, and one that is half there looks whole.
                 */
                if (pid == 0)
                        write_for_ever(&w, last + 1, k % 3 == 0 ? changing_length : longest_length);
                ck_assert_int_gt(pid, 0);
                sleep_nsec(k * 7919 % 400000);
                ck_assert_int_eq(kill(pid, SIGKILL), 0);
                ck_assert_int_eq(waitpid(pid, &status, 0), pid);
                ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
                before = last;
                ck_assert_int_eq(find_again(&w), 0);
                last = check(&w, &count, &bytes);
                ck_assert_uint_ge(last, before);
                /* The oldest may have gone for one that did not come any more. */
                ck_assert(count == last || count >= OUTPUT_LINES_KEPT - 1 ||
                          bytes + (size_t) 2 * OUTPUT_LINE_MAX > OUTPUT_BYTES_KEPT);
        }
        world_close(&w);
}
END_TEST

/* ---- lines without an end ---------------------------------------------------------------------*/

static void make_pipe(int ends[2]) {
        ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
}

static void close_pipe(int ends[2]) {
        close_fd(ends[0]);
        close_fd(ends[1]);
}

START_TEST(a_part_of_a_line_is_found_for_its_pipe_alone) {
        unsigned place = 0, other = 0, again = 0;
        char text[OUTPUT_LINE_MAX];
        int a[2], b[2];
        struct world w;

        world_open(&w);
        make_pipe(a);
        make_pipe(b);
        line_part_put(&w.ring, &place, a[0], "Progr", 5);
        line_part_put(&w.ring, &other, b[0], "o", 1);
        line_part_put(&w.ring, &place, a[0], "Progress", 8);
        ck_assert_uint_eq(line_part_find(&w.ring, &again, a[0], text), 0); /* it is in use */
        for (int life = 0; life < 2; life++) {
                place = other = 0;
                ck_assert_int_eq(find_again(&w), 0);
                ck_assert_uint_eq(line_part_find(&w.ring, &again, w.fd, text), 0);
                ck_assert_uint_eq(line_part_find(&w.ring, &place, a[0], text), 8);
                ck_assert_mem_eq(text, "Progress", 8);
                line_part_forget_unclaimed(&w.ring);
                ck_assert_uint_eq(line_part_find(&w.ring, &other, b[0], text), 0);
        }
        line_part_drop(&w.ring, &place);
        ck_assert_uint_eq(place, 0);
        ck_assert_int_eq(find_again(&w), 0);
        ck_assert_uint_eq(line_part_find(&w.ring, &place, a[0], text), 0);
        close_pipe(a);
        close_pipe(b);
        world_close(&w);
}
END_TEST

START_TEST(so_many_parts_of_lines_and_no_more) {
        unsigned places[LINE_PARTS + 1] = {0}, place = 0;
        char text[OUTPUT_LINE_MAX];
        int pipes[LINE_PARTS + 1][2];
        struct world w;

        world_open(&w);
        memset(text, 'x', sizeof(text));
        for (size_t k = 0; k <= LINE_PARTS; k++) {
                make_pipe(pipes[k]);
                line_part_put(&w.ring, &places[k], pipes[k][0], text, sizeof(text) - 1 - k);
                ck_assert_int_eq(places[k] > 0, k < LINE_PARTS);
        }
        line_part_drop(&w.ring, &places[3]);
        line_part_put(&w.ring, &places[LINE_PARTS], pipes[LINE_PARTS][0], text, 5);
        ck_assert_int_eq(find_again(&w), 0);
        for (size_t k = 0; k <= LINE_PARTS; k++, place = 0)
                ck_assert_uint_eq(line_part_find(&w.ring, &place, pipes[k][0], text),
                                  k == 3            ? 0
                                  : k == LINE_PARTS ? 5
                                                    : sizeof(text) - 1 - k);
        ck_assert_int_eq(add(&w, 1, OUTPUT_LINE_MAX), true);
        ck_assert_uint_eq(check(&w, NULL, NULL), 1);
        for (size_t k = 0; k <= LINE_PARTS; k++)
                close_pipe(pipes[k]);
        world_close(&w);
}
END_TEST

/* ---- what is broken ---------------------------------------------------------------------------*/

/* Byte by byte, as it lies in memory. */
static char *byte(const struct world *w, size_t at) {
        return (char *) w->area + at;
}

/* The record of the n-th line, from 0, where all are of this length. */
static char *record(const struct world *w, size_t n, size_t length) {
        return byte(w, DATA + n * (HEAD + (length + 8) / 8 * 8));
}

static void set_u64(char *at, uint64_t value) {
        memcpy(at, &value, sizeof(value));
}

static void set_word(const struct world *w, uint64_t first, uint64_t next, uint64_t end,
                     uint64_t count) {
        set_u64(byte(w, STATE), first | next << 16 | end << 32 | count << 48);
}

START_TEST(lines_before_one_that_is_broken_are_taken) {
        static const struct {
                size_t at;
                uint64_t value;
        } damages[] = {{0, 0},           {0, 5},           {0, UINT64_MAX}, {8, UINT64_MAX},
                       {16, UINT64_MAX}, {24, UINT64_MAX}, {32, 0}};
        size_t count;
        struct world w;

        for (size_t k = 0; k < sizeof(damages) / sizeof(damages[0]); k++) {
                world_open(&w);
                for (uint64_t n = 1; n <= 9; n++)
                        NEED(add(&w, n, 11));
                set_u64(record(&w, 5, 11) + damages[k].at, damages[k].value);
                ck_assert_int_eq(find_again(&w), 0);
                ck_assert_uint_eq(check(&w, &count, NULL), 5);
                ck_assert_uint_eq(count, 5);
                NEED(add(&w, 6, 2000)); /* it goes on behind them */
                ck_assert_uint_eq(check(&w, &count, NULL), 6);
                ck_assert_uint_eq(count, 6);
                world_close(&w);
        }
}
END_TEST

START_TEST(a_word_that_cannot_be_is_not_believed) {
        static const uint64_t words[][4] = {
                {0, 0, 0, 1},           {5, 5, 0, 3},      {5, 4, 0, 3},      {0, 65535, 0, 3},
                {65535, 0, 65535, 200}, {10, 11, 12, 3},   {10, 5, 10, 3},    {10, 5, 9, 3},
                {0, 30, 0, 201},        {0, 30, 0, 65535}, {0, 30000, 0, 30},
        };
        struct world w;

        for (size_t k = 0; k < sizeof(words) / sizeof(words[0]); k++) {
                world_open(&w);
                NEED(add(&w, 1, 11));
                set_word(&w, words[k][0], words[k][1], words[k][2], words[k][3]);
                ck_assert_int_eq(find_again(&w), -EBADMSG);
                ck_assert(!line_ring_is_there(&w.ring));
                world_close(&w);
        }
        /* More than there are, and a line less. */
        world_open(&w);
        for (uint64_t n = 1; n <= 3; n++)
                NEED(add(&w, n, 11));
        set_word(&w, 0, 1000, 0, 60);
        ck_assert_int_eq(find_again(&w), 0);
        ck_assert_uint_eq(check(&w, NULL, NULL), 3);
        set_word(&w, 0, 18, 0, 2);
        ck_assert_int_eq(find_again(&w), 0);
        ck_assert_uint_eq(check(&w, NULL, NULL), 2);
        world_close(&w);
}
END_TEST

static uint32_t next_random(uint32_t *seed) {
        return *seed = *seed * 1664525U + 1013904223U;
}

/* Whatever lies there, what is taken of it is lines that can be shown, and it can be gone on with.
 */
static void go_on_with(struct world *w, int pipe_fd) {
        char text[OUTPUT_LINE_MAX];
        unsigned place = 0;
        uint64_t last = 0;
        struct output_line line;
        struct line_walk walk;
        size_t bytes = 0, n = 0;

        if (find_again(w) < 0)
                return;
        NEED(line_part_find(&w->ring, &place, pipe_fd, text) < OUTPUT_LINE_MAX);
        line_part_forget_unclaimed(&w->ring);
        line_part_put(&w->ring, &place, pipe_fd, text, 7);
        for (walk = line_ring_walk(&w->ring); line_walk_next(&walk, &line); n++) {
                NEED(line.number > last);
                NEED(line.number <= INT64_MAX);
                NEED(line.time_usec <= INT64_MAX);
                NEED(line.generation <= INT64_MAX);
                NEED(line.length <= OUTPUT_LINE_MAX);
                NEED(strlen(line.text) == line.length);
                bytes += line.length;
                last = line.number;
        }
        NEED(n <= OUTPUT_LINES_KEPT);
        NEED(bytes <= OUTPUT_BYTES_KEPT);
        for (n = 1; n <= 300; n++)
                NEED(add(w, last + n, any_length(n)));
        NEED(find_again(w) == 0);
        for (walk = line_ring_walk(&w->ring), n = 0; line_walk_next(&walk, &line); n++)
                last = line.number;
        NEED(n >= OUTPUT_BYTES_KEPT / OUTPUT_LINE_MAX);
}

START_TEST(any_bytes_do_no_harm) {
        uint32_t seed = 4711;
        unsigned place;
        int ends[2];
        struct world w;

        world_open(&w);
        make_pipe(ends);
        for (int round = 0; round < 1500; round++) {
                size_t n = 1 + next_random(&seed) % 400, hits = 1 + next_random(&seed) % 8;

                NEED(line_ring_new(&w.ring, w.area, w.fd, 0, "hermes") == 0);
                for (uint64_t k = 1; k <= n; k++)
                        NEED(add(&w, k, changing_length(k + 900)));
                place = 0;
                line_part_put(&w.ring, &place, ends[0], "begun", 5);
                for (; hits > 0; hits--) {
                        size_t range = next_random(&seed) % 3 == 0 ? DATA + 64 : w.ring.reserved;
                        size_t at = next_random(&seed) % 2 == 0
                                            ? STATE + next_random(&seed) % 8
                                            : 8 + (next_random(&seed) >> 8) % (range - 8);

                        if (next_random(&seed) % 5 == 0) /* the place of that part */
                                at = LINE_AREA_SIZE - LINE_PARTS * 2064 + at % 20;
                        *byte(&w, at) = (char) (next_random(&seed) >> 16);
                }
                go_on_with(&w, ends[0]);
        }
        for (int round = 0; round < 300; round++) { /* nothing but the magic is right */
                for (size_t at = 8; at + 4 <= LINE_AREA_SIZE; at += 4) {
                        uint32_t x = next_random(&seed) >> 8;

                        memcpy(byte(&w, at), &x, sizeof(x));
                }
                if (round % 2)
                        set_word(&w, (seed >> 16) % 5000, 5000, 0, 200);
                go_on_with(&w, ends[0]);
        }
        close_pipe(ends);
        world_close(&w);
}
END_TEST

SUITE("line_ring", {
        TEST(the_last_lines_are_there_whatever_their_lengths);
        TEST(so_many_lines_and_bytes_and_no_more);
        TEST(memory_is_used_as_lines_need_it);
        TEST(without_memory_fewer_lines_are_kept);
        TEST(an_area_says_whose_it_is);
        TEST(killed_in_the_middle_it_leaves_whole_lines);
        TEST(a_part_of_a_line_is_found_for_its_pipe_alone);
        TEST(so_many_parts_of_lines_and_no_more);
        TEST(lines_before_one_that_is_broken_are_taken);
        TEST(a_word_that_cannot_be_is_not_believed);
        TEST(any_bytes_do_no_harm);
})
