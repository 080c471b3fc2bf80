/* The packet grammar: total, strict, and impossible to forge through the writer. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "grammar.h"
#include "support.h"

static int parse(const char *packet, struct assignments *a) {
        return grammar_parse(packet, strlen(packet), a);
}

START_TEST(assignments_are_views_into_the_packet) {
        const char *packet = "VERB=ACQUIRE\nNAME=web=1\nX-NOTE=\n";
        struct assignments a;

        ck_assert_int_eq(parse(packet, &a), 0);
        ck_assert_uint_eq(a.count, 3);
        ck_assert(text_equal(*assignments_get(&a, "NAME"), "web=1"));
        ck_assert_uint_eq(assignments_get(&a, "X-NOTE")->length, 0);
        ck_assert_ptr_eq(assignments_get(&a, "VERB")->start, packet + 5);
        ck_assert_ptr_null(assignments_get(&a, "VER"));
}
END_TEST

START_TEST(what_breaks_the_grammar_is_refused) {
        static const struct {
                const char *packet;
                size_t size;
                int error;
        } rows[] = {
                {"", 0, -EBADMSG},           {"\n", 1, -EBADMSG},      {"A=1\n\n", 5, -EBADMSG},
                {"A=1\n\nB=2", 8, -EBADMSG}, {"A", 1, -EBADMSG},       {"=1", 2, -EBADMSG},
                {"a=1", 3, -EBADMSG},        {"1A=1", 4, -EBADMSG},    {"A B=1", 5, -EBADMSG},
                {"A=\0", 3, -EBADMSG},       {"A=1\nA=2", 7, -EEXIST},
        };
        struct assignments a;

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
                ck_assert_msg(grammar_parse(rows[i].packet, rows[i].size, &a) == rows[i].error,
                              "row %zu", i);
}
END_TEST

START_TEST(counts_and_key_lengths_are_bounded_exactly) {
        char packet[4096] = "", key[KEY_LENGTH_MAX + 4];
        struct assignments a;
        size_t size = 0;

        for (int i = 0; i < ASSIGNMENTS_MAX; i++)
                size += (size_t) sprintf(packet + size, "K%d=\n", i);
        ck_assert_int_eq(grammar_parse(packet, size, &a), 0);
        ck_assert_uint_eq(a.count, ASSIGNMENTS_MAX);
        size += (size_t) sprintf(packet + size, "Z=\n");
        ck_assert_int_eq(grammar_parse(packet, size, &a), -E2BIG);

        memset(key, 'K', sizeof(key));
        key[KEY_LENGTH_MAX] = '=';
        ck_assert_int_eq(grammar_parse(key, KEY_LENGTH_MAX + 1, &a), 0);
        key[KEY_LENGTH_MAX] = 'K';
        key[KEY_LENGTH_MAX + 1] = '=';
        ck_assert_int_eq(grammar_parse(key, KEY_LENGTH_MAX + 2, &a), -E2BIG);
}
END_TEST

START_TEST(a_value_cannot_forge_an_assignment) {
        struct packet_writer w;
        struct assignments a;

        packet_begin(&w);
        packet_add(&w, "ERROR", "ENOENT\nOK=1");
        packet_addf(&w, "MESSAGE", "%s", "two\nlines");
        packet_add_u64(&w, "N", UINT64_MAX);
        packet_add_u64(&w, "ZERO", 0);
        ck_assert(!w.overflow);
        ck_assert_int_eq(grammar_parse(w.data, w.size, &a), 0);
        ck_assert_uint_eq(a.count, 4);
        ck_assert_ptr_null(assignments_get(&a, "OK"));
        ck_assert(text_equal(*assignments_get(&a, "N"), "18446744073709551615"));
        ck_assert(text_equal(*assignments_get(&a, "ZERO"), "0"));
}
END_TEST

START_TEST(the_writer_remembers_that_it_overflowed) {
        static char big[MESSAGE_SIZE_MAX];
        struct packet_writer w;

        memset(big, 'x', sizeof(big));
        packet_begin(&w);
        packet_add_text(&w, "A", (struct text){big, sizeof(big) - 3});
        ck_assert(!w.overflow);
        ck_assert_uint_eq(w.size, sizeof(big));
        packet_add(&w, "B", "");
        ck_assert(w.overflow);
        packet_begin(&w);
        packet_add_text(&w, "A", (struct text){big, sizeof(big) - 2});
        ck_assert(w.overflow);
}
END_TEST

START_TEST(numbers_are_decimal_and_fit) {
        uint64_t n = 7;

        ck_assert_int_eq(text_to_u64((struct text){"18446744073709551615", 20}, &n), 0);
        ck_assert_uint_eq(n, UINT64_MAX);
        ck_assert_int_eq(text_to_u64((struct text){"18446744073709551616", 20}, &n), -ERANGE);
        ck_assert_int_eq(text_to_u64((struct text){"", 0}, &n), -EINVAL);
        ck_assert_int_eq(text_to_u64((struct text){"-1", 2}, &n), -EINVAL);
        ck_assert_int_eq(text_to_u64((struct text){"1 ", 2}, &n), -EINVAL);
        ck_assert_uint_eq(n, UINT64_MAX);
}
END_TEST

START_TEST(a_number_that_is_none_is_as_if_it_were_missing) {
        static const char packet[] = "A=12\nB=12x\nC=";
        struct assignments a;

        ck_assert_int_eq(grammar_parse(packet, strlen(packet), &a), 0);
        ck_assert_uint_eq(assignments_u64(&a, "A", 7), 12);
        ck_assert_uint_eq(assignments_u64(&a, "B", 7), 7);
        ck_assert_uint_eq(assignments_u64(&a, "C", 7), 7);
        ck_assert_uint_eq(assignments_u64(&a, "D", 7), 7);
}
END_TEST

SUITE("grammar", {
        TEST(assignments_are_views_into_the_packet);
        TEST(what_breaks_the_grammar_is_refused);
        TEST(counts_and_key_lengths_are_bounded_exactly);
        TEST(a_value_cannot_forge_an_assignment);
        TEST(the_writer_remembers_that_it_overflowed);
        TEST(numbers_are_decimal_and_fit);
        TEST(a_number_that_is_none_is_as_if_it_were_missing);
})
