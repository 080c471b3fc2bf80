/* The JSON that people's programs parse: escapes, bytes that are no UTF-8, and documents in files.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cleanup.h"
#include "core/json_writer.h"
#include "support.h"

static struct json_writer w;

static char *end(void) {
        char *text = NULL;
        size_t size;

        ck_assert_int_eq(json_end(&w, &text, &size), 0);
        ck_assert_uint_eq(strlen(text), size);
        return text;
}

static void string_becomes(const char *value, const char *expected) {
        json_begin(&w);
        json_text(&w, NULL, value);
        _cleanup_free_ char *text = end();
        ck_assert_str_eq(text, expected);
}

START_TEST(commas_stand_between_and_nowhere_else) {
        json_begin(&w);
        json_open_object(&w, NULL);
        json_u64(&w, "a", UINT64_MAX);
        json_open_array(&w, "b");
        json_open_object(&w, NULL);
        json_close_object(&w);
        json_bool(&w, NULL, true);
        json_u64(&w, NULL, 0);
        json_open_array(&w, NULL);
        json_close_array(&w);
        json_close_array(&w);
        json_none(&w, "c");
        json_bool(&w, "d", false);
        json_text(&w, "e", NULL);
        json_close_object(&w);
        _cleanup_free_ char *text = end();
        ck_assert_str_eq(text, "{\"a\":18446744073709551615,\"b\":[{},true,0,[]],\"c\":null,"
                               "\"d\":false,\"e\":null}");
}
END_TEST

START_TEST(what_json_does_not_allow_in_a_string_is_escaped) {
        string_becomes("", "\"\"");
        string_becomes("a\"b\\c/", "\"a\\\"b\\\\c/\"");
        string_becomes("\n\t\r\x01\x1f\x7f", "\"\\n\\t\\u000d\\u0001\\u001f\x7f\"");
}
END_TEST

/* U+0080 to U+009F; U+00A0 and U+0180, which has the same last byte, are none. */
START_TEST(what_a_terminal_obeys_is_escaped) {
        string_becomes("a\xc2\x9b"
                       "31m\xc2\x80\xc2\x9f",
                       "\"a\\u009b31m\\u0080\\u009f\"");
        string_becomes("\xc2\xa0\xc6\x80\xc2\xbf", "\"\xc2\xa0\xc6\x80\xc2\xbf\"");
        string_becomes("\x9b\xc2", "\"\xef\xbf\xbd\xef\xbf\xbd\"");
}
END_TEST

START_TEST(bytes_that_are_not_utf8_are_replaced_one_by_one) {
        string_becomes("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80",
                       "\"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80\"");
        string_becomes("\xff", "\"\xef\xbf\xbd\"");
        string_becomes("a\x80z", "\"a\xef\xbf\xbdz\"");
        /* cut short by the end, overlong, a surrogate, beyond U+10FFFF */
        string_becomes("\xe2\x82", "\"\xef\xbf\xbd\xef\xbf\xbd\"");
        string_becomes("\xc0\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\"");
        string_becomes("\xe0\x80\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
        string_becomes("\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
        string_becomes("\xf4\x90\x80\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
        /* the edges that are allowed */
        string_becomes("\xed\x9f\xbf\xf4\x8f\xbf\xbf", "\"\xed\x9f\xbf\xf4\x8f\xbf\xbf\"");
}
END_TEST

START_TEST(a_document_larger_than_the_buffer_reaches_the_file_whole_and_unmoved) {
        _cleanup_close_ int fd = memfd_create("test", MFD_CLOEXEC);
        _cleanup_free_ char *in_memory = NULL, *in_file = NULL;
        char *text = NULL;
        size_t size, file_size;

        for (int round = 0; round < 2; round++) {
                if (round == 0)
                        json_begin(&w);
                else
                        json_begin_fd(&w, fd);
                json_open_array(&w, NULL);
                for (unsigned i = 0; i < 30000; i++)
                        json_text(&w, NULL, "0123456789 \x01");
                json_close_array(&w);
                ck_assert_int_eq(
                        json_end(&w, round == 0 ? &text : NULL, round == 0 ? &size : &file_size),
                        0);
        }
        in_memory = text;
        ck_assert_uint_gt(size, 500000);
        ck_assert_uint_eq(size, file_size);
        in_file = malloc(size);
        ck_assert_int_eq((int) lseek(fd, 0, SEEK_CUR), 0);
        ck_assert_int_eq((int) read(fd, in_file, size), (int) size);
        ck_assert_mem_eq(in_memory, in_file, size);
}
END_TEST

START_TEST(the_first_failure_is_told_at_the_end) {
        _cleanup_close_ int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
        char *text = NULL;
        size_t size = 7;

        json_begin_fd(&w, fd);
        json_text(&w, NULL, "x");
        ck_assert_int_eq(json_end(&w, NULL, &size), -ENOSPC);
        json_begin(&w);
        json_open_object(&w, NULL);
        ck_assert_int_eq(json_end(&w, &text, &size), -EINVAL); /* left open */
        json_begin(&w);
        json_close_array(&w);
        json_text(&w, NULL, "x");
        ck_assert_int_eq(json_end(&w, &text, &size), -EINVAL);
        json_begin(&w);
        for (unsigned i = 0; i <= JSON_DEPTH_MAX; i++)
                json_open_array(&w, NULL);
        ck_assert_int_eq(json_end(&w, &text, &size), -EOVERFLOW);
        ck_assert_ptr_null(text);
        ck_assert_uint_eq(size, 7);
}
END_TEST

SUITE("json_writer", {
        TEST(commas_stand_between_and_nowhere_else);
        TEST(what_json_does_not_allow_in_a_string_is_escaped);
        TEST(what_a_terminal_obeys_is_escaped);
        TEST(bytes_that_are_not_utf8_are_replaced_one_by_one);
        TEST(a_document_larger_than_the_buffer_reaches_the_file_whole_and_unmoved);
        TEST(the_first_failure_is_told_at_the_end);
})
