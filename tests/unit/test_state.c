/*
 * The state document: what is written is there after death at any point, damage costs no more than
 * what is damaged, and versions understand each other.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "keeper/state.h"
#include "support.h"

static const char *const known[] = {"RECORD", "NAME", NULL};

static int put(struct state *s, const char *id, const char *name) {
        static struct packet_writer w;

        packet_begin(&w);
        packet_add(&w, "RECORD", "listener");
        packet_add(&w, "NAME", name);
        return state_put(s, id, &w, known);
}

static void check_name(struct state *s, const char *id, const char *name) {
        struct assignments a;

        ck_assert_msg(state_get(s, id, &a), "record %s is missing", id);
        ck_assert_msg(text_equal(*assignments_get(&a, "NAME"), name), "record %s is not %s", id,
                      name);
}

static int copy_of(const struct state *s) {
        return fcntl(state_peek_fd(s), F_DUPFD_CLOEXEC, 3);
}

/* What a dying broker leaves: another memfd with the first `size` bytes. */
static int cut_copy(int fd, off_t size) {
        int copy = memfd_create("copy", MFD_CLOEXEC);
        char *data = malloc((size_t) size);

        ck_assert_int_eq((int) pread(fd, data, (size_t) size, 0), (int) size);
        ck_assert_int_eq((int) write(copy, data, (size_t) size), (int) size);
        free(data);
        return copy;
}

START_TEST(records_come_back_in_order_with_ids_never_used_again) {
        struct state_report report;
        char id[STATE_ID_SIZE];
        struct state *s, *again;

        ck_assert_int_eq(state_new(&s), 0);
        for (int i = 0; i < 3; i++) {
                state_new_id(s, 'l', id);
                ck_assert_int_eq(put(s, id, id), 0);
        }
        ck_assert_str_eq(id, "l3");
        ck_assert_int_eq(put(s, "l1", "changed"), 0);
        ck_assert_int_eq(state_remove(s, "l2"), 0);
        ck_assert_int_eq(state_remove(s, "l2"), -ENOENT);
        ck_assert_int_eq(state_open(&again, copy_of(s), &report), 0);
        ck_assert_uint_eq(report.records, 2);
        ck_assert_uint_eq(report.bytes_lost, 0);
        check_name(again, "l1", "changed");
        check_name(again, "l3", "l3");
        ck_assert_str_eq(state_first(again), "l1");
        ck_assert_str_eq(state_next(again, "l1"), "l3");
        ck_assert_ptr_null(state_next(again, "l3"));
        state_new_id(again, 'h', id);
        ck_assert_str_eq(id, "h4");
        state_free(again);
        state_free(s);
}
END_TEST

START_TEST(many_changes_stay_small_and_are_all_there) {
        struct state_report report;
        struct state *s, *again;
        char id[STATE_ID_SIZE], name[32];
        struct stat st;

        ck_assert_int_eq(state_new(&s), 0);
        for (int i = 0; i < 50000; i++) {
                (void) snprintf(id, sizeof(id), "l%d", i % 100);
                (void) snprintf(name, sizeof(name), "n%d", i);
                ck_assert_int_eq(put(s, id, name), 0);
        }
        ck_assert_int_eq(fstat(state_peek_fd(s), &st), 0);
        ck_assert_int_lt((int) st.st_size, 200000);
        ck_assert_int_eq(state_open(&again, copy_of(s), &report), 0);
        ck_assert_uint_eq(state_count(again), 100);
        check_name(again, "l99", "n49999");
        check_name(again, "l0", "n49900");
        state_free(again);
        state_free(s);
}
END_TEST

/* SIGKILL in the middle of a write: whatever was whole before is whole after. */
/* Snapshots leave out what was removed, so that what is behind it moves. */
START_TEST(records_are_read_back_wherever_a_snapshot_has_put_them) {
        char id[STATE_ID_SIZE], name[64];
        size_t wrong = 0;
        struct state *s;

        ck_assert_int_eq(state_new(&s), 0);
        for (int round = 0; round < 8; round++)
                for (int i = 1; i <= 100; i++) {
                        (void) snprintf(id, sizeof(id), "l%d", i);
                        (void) snprintf(name, sizeof(name), "%*d", 8 + (i * 7 + round) % 40, i);
                        wrong += put(s, id, name) < 0;
                        if (round == 1 && i % 3 == 0)
                                wrong += state_remove(s, id) < 0;
                }
        for (int i = 1; i <= 100; i++) {
                struct assignments a;
                (void) snprintf(id, sizeof(id), "l%d", i);
                (void) snprintf(name, sizeof(name), "%*d", 8 + (i * 7 + 7) % 40, i);
                wrong += !state_get(s, id, &a) || !text_equal(*assignments_get(&a, "NAME"), name) ||
                         !state_is(s, id, "listener") || state_is(s, id, "listene") ||
                         state_note(s, id)->fd != -1;
        }
        ck_assert_uint_eq(wrong, 0);
        ck_assert_ptr_null(state_note(s, "l101"));
        ck_assert(!state_is(s, "l101", "listener"));
        state_free(s);
}
END_TEST

START_TEST(a_torn_change_loses_only_itself) {
        struct state_report report;
        struct state *s, *again;
        off_t before, size;
        struct stat st;
        char *page;

        ck_assert_int_eq(state_new(&s), 0);
        ck_assert_int_eq(put(s, "l1", "first"), 0);
        ck_assert_int_eq(fstat(state_peek_fd(s), &st), 0);
        size = st.st_size;
        page = malloc((size_t) size);
        ck_assert_int_eq((int) pread(state_peek_fd(s), page, (size_t) size, 0), (int) size);
        for (before = size; before > 0 && page[before - 1] == '\0'; before--)
                ;
        ck_assert_int_eq(put(s, "l2", "second"), 0);
        ck_assert_int_eq(put(s, "l1", "newer"), 0);
        for (off_t torn = before + 1; torn < before + 120; torn++) {
                int copy = cut_copy(state_peek_fd(s), size);
                static const char zeroes[4096];
                ck_assert_int_gt((int) pwrite(copy, zeroes, sizeof(zeroes), torn), 0);
                ck_assert_int_eq(state_open(&again, copy, &report), 0);
                if (state_count(again) == 1)
                        check_name(again, "l1", "first");
                else
                        check_name(again, "l2", "second");
                /* And one can go on from there. */
                ck_assert_int_eq(put(again, "l9", "after"), 0);
                int next = copy_of(again);
                state_free(again);
                ck_assert_int_eq(state_open(&again, next, &report), 0);
                check_name(again, "l9", "after");
                ck_assert_uint_eq(report.bytes_lost, 0);
                state_free(again);
        }
        free(page);
        state_free(s);
}
END_TEST

START_TEST(any_single_damaged_byte_is_survived) {
        struct state_report report;
        int readable = 0;
        struct stat st;
        struct state *s, *again;

        ck_assert_int_eq(state_new(&s), 0);
        ck_assert_int_eq(put(s, "l1", "first"), 0);
        ck_assert_int_eq(put(s, "l2", "second"), 0);
        ck_assert_int_eq(fstat(state_peek_fd(s), &st), 0);
        for (off_t at = 0; at < 600; at++) {
                int copy = cut_copy(state_peek_fd(s), st.st_size);
                ck_assert_int_eq((int) pwrite(copy, "\xff", 1, at), 1);
                int r = state_open(&again, copy, &report);
                ck_assert_msg(r == 0 || r == -EBADMSG || r == -EPROTO, "byte %d: %s", (int) at,
                              strerror(-r));
                if (r == 0) {
                        readable++;
                        state_free(again);
                }
        }
        ck_assert_int_gt(readable,
                         400); /* damage behind the magic costs a record, not the document */
        state_free(s);
}
END_TEST

START_TEST(a_truncated_document_is_refused_and_none_leaks) {
        struct state_report report;
        struct state *s, *again = NULL;

        ck_assert_int_eq(state_new(&s), 0);
        ck_assert_int_eq(put(s, "l1", "first"), 0);
        ck_assert_int_eq(state_open(&again, cut_copy(state_peek_fd(s), 100), &report), -EBADMSG);
        ck_assert_int_eq(state_open(&again, cut_copy(state_peek_fd(s), 1000), &report), -EBADMSG);
        ck_assert_int_eq(state_open(&again, memfd_create("empty", MFD_CLOEXEC), &report), -EBADMSG);
        ck_assert_ptr_null(again);
        state_free(s);
}
END_TEST

START_TEST(the_same_record_again_is_not_written) {
        struct stat before, after;
        struct state *s;

        ck_assert_int_eq(state_new(&s), 0);
        ck_assert_int_eq(put(s, "l1", "unchanged"), 0);
        ck_assert_int_eq(fstat(state_peek_fd(s), &before), 0);
        for (int i = 0; i < 2000; i++)
                ck_assert_int_eq(put(s, "l1", "unchanged"), 0);
        ck_assert_int_eq(fstat(state_peek_fd(s), &after), 0);
        ck_assert_int_eq(after.st_size, before.st_size);
        state_free(s);
}
END_TEST

START_TEST(a_damaged_active_slot_gives_the_other_one) {
        struct state_report report;
        struct state *s, *again;
        char header[256];
        int copy;

        ck_assert_int_eq(state_new(&s), 0);
        ck_assert_int_eq(put(s, "l1", "in both slots"), 0);
        for (int i = 0; i < 400; i++) /* past the first flip */
                ck_assert_int_eq(
                        put(s, "l2",
                            i % 2 ? "a record that changes again and again, until it flips"
                                  : "a record that changes forth and back, until it flips"),
                        0);
        for (int slot = 0; slot < 2; slot++) {
                struct stat st;
                ck_assert_int_eq(fstat(state_peek_fd(s), &st), 0);
                copy = cut_copy(state_peek_fd(s), st.st_size);
                ck_assert_int_eq((int) pread(copy, header, sizeof(header), 0),
                                 (int) sizeof(header));
                ck_assert_int_eq((int) pwrite(copy, "\xff", 1, 24 + 56 * slot + 16), 1);
                ck_assert_int_eq(state_open(&again, copy, &report), 0);
                check_name(again, "l1", "in both slots");
                state_free(again);
        }
        state_free(s);
}
END_TEST

START_TEST(fields_of_a_newer_version_are_kept) {
        static const char *const known_to_newer[] = {"RECORD", "NAME", "COLOUR", NULL};
        struct state_report report;
        struct packet_writer w;
        struct assignments a;
        struct state *s, *again;

        ck_assert_int_eq(state_new(&s), 0);
        packet_begin(&w);
        packet_add(&w, "RECORD", "listener");
        packet_add(&w, "NAME", "web");
        packet_add(&w, "COLOUR", "green");
        ck_assert_int_eq(state_put(s, "l1", &w, known_to_newer), 0);
        ck_assert_int_eq(put(s, "l1", "renamed"), 0); /* an older version */
        ck_assert_int_eq(state_open(&again, copy_of(s), &report), 0);
        check_name(again, "l1", "renamed");
        ck_assert(state_get(again, "l1", &a));
        ck_assert(text_equal(*assignments_get(&a, "COLOUR"), "green"));
        packet_begin(&w);
        packet_add(&w, "NAME", "web");
        ck_assert_int_eq(state_put(again, "l1", &w, known_to_newer), 0); /* it takes it back */
        ck_assert(state_get(again, "l1", &a));
        ck_assert_ptr_null(assignments_get(&a, "COLOUR"));
        state_free(again);
        state_free(s);
}
END_TEST

static void limit_file_size(rlim_t size) {
        struct rlimit limit;

        ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
        limit.rlim_cur = size;
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
        (void) signal(SIGXFSZ, SIG_IGN);
}

/* Records of before are changed and removed, and new ones come, while nothing can be written. */
static void change_without_room(struct state *s) {
        struct stat st;
        char id[STATE_ID_SIZE];
        int r = 0;

        ck_assert_int_eq(put(s, "l1", "first"), 0);
        ck_assert_int_eq(put(s, "l2", "second"), 0);
        ck_assert_int_eq(put(s, "l3", "third"), 0);
        ck_assert_int_eq(fstat(state_peek_fd(s), &st), 0);
        limit_file_size((rlim_t) st.st_size);
        /* No assertion in the loop: Check writes each to a file, which is limited as well. */
        for (int i = 10; r == 0 && i < 10000 && state_error(s) == 0; i++) {
                (void) snprintf(id, sizeof(id), "l%d", i);
                r = put(s, id, id);
        }
        ck_assert_int_eq(r, 0);
        ck_assert_int_eq(state_error(s), -EFBIG);
        ck_assert_int_eq(put(s, "l1", "changed"), 0);
        ck_assert_int_eq(put(s, "l1", "changed again"), 0);
        ck_assert_int_eq(state_remove(s, "l2"), 0);
        ck_assert_int_eq(put(s, "l4", "new"), 0);
        ck_assert_int_eq(put(s, "l5", "newer"), 0);
        ck_assert_int_eq(state_remove(s, "l5"), 0);
        ck_assert_int_eq(state_catch_up(s), -EFBIG);
}

static void check_changes(struct state *s) {
        struct assignments a;

        check_name(s, "l1", "changed again");
        check_name(s, "l3", "third");
        check_name(s, "l4", "new");
        check_name(s, "l10", "l10");
        ck_assert(!state_get(s, "l2", &a));
        ck_assert(!state_get(s, "l5", &a));
}

START_TEST(what_cannot_be_written_is_held_and_written_when_there_is_room) {
        struct state_report report;
        struct state *s, *again;

        ck_assert_int_eq(state_new(&s), 0);
        change_without_room(s);
        check_changes(s);
        /* Who died now would leave what was written before, whole. */
        ck_assert_int_eq(state_open(&again, copy_of(s), &report), 0);
        check_name(again, "l1", "first");
        check_name(again, "l2", "second");
        ck_assert_uint_eq(report.bytes_lost, 0);
        state_free(again);
        limit_file_size(RLIM_INFINITY);
        ck_assert_int_eq(state_catch_up(s), 0);
        ck_assert_int_eq(state_error(s), 0);
        ck_assert_int_eq(put(s, "l6", "after it"), 0);
        check_changes(s);
        ck_assert_int_eq(state_open(&again, copy_of(s), &report), 0);
        check_changes(again);
        check_name(again, "l6", "after it");
        ck_assert_uint_eq(state_count(again), state_count(s));
        state_free(again);
        state_free(s);
}
END_TEST

START_TEST(without_a_memfd_at_first_there_is_one_later) {
        struct rlimit none, before;
        struct state_report report;
        struct state *s, *again;

        ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
        none = (struct rlimit){.rlim_cur = 0, .rlim_max = before.rlim_max};
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
        ck_assert_int_eq(state_new(&s), 0);
        ck_assert_int_eq(state_error(s), -EMFILE);
        ck_assert_int_eq(state_peek_fd(s), -1);
        ck_assert_int_eq(put(s, "l1", "early"), 0);
        check_name(s, "l1", "early");
        ck_assert_int_eq(state_catch_up(s), -EMFILE);
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
        ck_assert_int_eq(state_catch_up(s), 0);
        ck_assert_int_eq(put(s, "l2", "late"), 0);
        ck_assert_int_eq(state_open(&again, copy_of(s), &report), 0);
        check_name(again, "l1", "early");
        check_name(again, "l2", "late");
        state_free(again);
        state_free(s);
}
END_TEST

START_TEST(what_is_ill_formed_changes_nothing) {
        struct packet_writer w = {0};
        struct state *s;

        ck_assert_int_eq(state_new(&s), 0);
        ck_assert_int_eq(put(s, "", "x"), -EINVAL);
        ck_assert_int_eq(put(s, "../l1", "x"), -EINVAL);
        ck_assert_int_eq(put(s, "l123456789012345678901234567890", "x"), -EINVAL);
        ck_assert_int_eq(state_put(s, "l1", &w, NULL), -EINVAL);
        ck_assert_uint_eq(state_count(s), 0);
        state_free(s);
}
END_TEST

SUITE("state", {
        TEST(records_come_back_in_order_with_ids_never_used_again);
        TEST(many_changes_stay_small_and_are_all_there);
        TEST(records_are_read_back_wherever_a_snapshot_has_put_them);
        TEST(a_torn_change_loses_only_itself);
        TEST(any_single_damaged_byte_is_survived);
        TEST(a_truncated_document_is_refused_and_none_leaks);
        TEST(the_same_record_again_is_not_written);
        TEST(a_damaged_active_slot_gives_the_other_one);
        TEST(fields_of_a_newer_version_are_kept);
        TEST(what_cannot_be_written_is_held_and_written_when_there_is_room);
        TEST(without_a_memfd_at_first_there_is_one_later);
        TEST(what_is_ill_formed_changes_nothing);
})
