/* The reader of unit-file syntax, by the calls that it makes. */
#include "support.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "config/unit_file.h"

static char *calls;
static size_t calls_size;
static FILE *record;

static void on_section(void *owner, unsigned line, const char *kind, const char *name) {
        fprintf(record, "%u[%s%s%s] ", line, kind, name ? ":" : "", name ? name : "");
}

static void on_assignment(void *owner, unsigned line, const char *key, const char *value) {
        fprintf(record, "%u{%s}{%s} ", line, key, value);
}

/* What the handlers were called with, and "!LINE" for each error. */
static const char *read_data(const char *data, size_t size) {
        struct unit_file_handlers handlers = {.section = on_section, .assignment = on_assignment};
        struct diagnostics diagnostics = {0};
        char *exact = malloc(size + 1); /* so that a sanitizer sees a byte too far */

        free(calls);
        record = open_memstream(&calls, &calls_size);
        exact = size > 0 ? memcpy(exact, data, size) : exact;
        exact = realloc(exact, size > 0 ? size : 1);
        ck_assert_int_eq(unit_file_read("f", exact, size, &handlers, &diagnostics), 0);
        for (size_t i = 0; i < diagnostics.count; i++)
                fprintf(record, "!%u ", diagnostics.items[i].line);
        fclose(record);
        diagnostics_clear(&diagnostics);
        free(exact);
        return calls;
}

START_TEST(the_dialect_is_systemds) {
        static const struct {
                const char *text, *calls;
        } rows[] = {
                {"", ""},
                {"\n\n  \n\t\n", ""},
                {"# a\n;b\n  # c", ""},
                {"[A]\nk=v", "1[A] 2{k}{v} "},
                {"[A b c]\n", "1[A:b c] "},
                {" [ A  b ] \n", "1[A:b] "},
                {"[A]\n k  =  v w  \n", "1[A] 2{k}{v w} "},
                {"[A]\nk=\nk==\nk= = \n", "1[A] 2{k}{} 3{k}{=} 4{k}{=} "},
                {"[A]\nk=v # no comment ; nor this\n", "1[A] 2{k}{v # no comment ; nor this} "},
                {"[A]\nk=a\\\n  b\\\nc\nl=m\n", "1[A] 2{k}{a   b c} 5{l}{m} "},
                {"[A]\nk=a\\\n# x\\\n;y\nb\n", "1[A] 2{k}{a b} "},
                {"[A]\nk=a\\\n\nl=m\n", "1[A] 2{k}{a} 4{l}{m} "},
                {"[A]\nk=a\\\\\nl=m\n", "1[A] 2{k}{a\\\\} 3{l}{m} "},
                {"[A]\nk=a\\\\\\\nb\n", "1[A] 2{k}{a\\\\ b} "},
                {"[A]\nk=a\\ \nl=m\n", "1[A] 2{k}{a\\} 3{l}{m} "},
                {"[A]\nk=a\\", "1[A] 2{k}{a} "},
                {"[A]\nk=a\\\n# end", "1[A] 2{k}{a} "},
                {"[A\\\nB]\nk=v\n", "1[A:B] 3{k}{v} "},
                {"[A]\r\nk=v\r\nk=a\\\r\nb\r\n", "1[A] 2{k}{v} 3{k}{a b} "},
                {"\xef\xbb\xbf[A]\n", "1[A] "},
                {"[A]\nk=\xc3\xa9\n", "1[A] 2{k}{\xc3\xa9} "},
                {"k=v\n[A]\n", "2[A] !1 "},
                {"[A]\nkey\n", "1[A] !2 "},
                {"[A]\n=v\n", "1[A] !2 "},
                /* after a section that cannot be read the keys go to nobody's section */
                {"[A\nk=v\n", "1[] 2{k}{v} !1 "},
                {"[A] x\n", "1[] !1 "},
                {"[]\n[ ]\n[", "1[] 2[] 3[] !1 !2 !3 "},
                {"[A]\nk=\xff\nl=m\n", "1[A] 3{l}{m} !2 "},
                {"[A]\nk=\\\n\xff\nl=m\n", "1[A] 4{l}{m} !2 "},
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                const char *got = read_data(rows[i].text, strlen(rows[i].text));

                ck_assert_msg(strcmp(got, rows[i].calls) == 0, "%s: expected %s got %s",
                              rows[i].text, rows[i].calls, got);
        }
        ck_assert_str_eq(read_data("[A]\nk=a\0b\nl=m\n", 14), "1[A] 3{l}{m} !2 ");
}
END_TEST

/* "[A]", a line of `length` bytes in which a backslash and a newline count as the space that they
 * become, and a short line. */
static const char *read_line_of(size_t length, bool continued) {
        size_t bytes = length + continued;
        char *text = malloc(4 + bytes + 6);
        const char *got;

        memset(text, 'x', 4 + bytes);
        memcpy(text, "[A]\nk=", 6);
        if (continued)
                memcpy(text + 1000, "\\\n", 2);
        memcpy(text + 4 + bytes, "\nl=m\n", 6);
        got = read_data(text, 4 + bytes + 5);
        free(text);
        return got;
}

/* A line of exactly the limit is read, one byte more is an error, and reading goes on behind it. */
START_TEST(a_line_has_a_limit) {
        for (int continued = 0; continued <= 1; continued++) {
                const char *got = read_line_of(UNIT_FILE_LINE_MAX, continued);

                ck_assert(strncmp(got, "1[A] 2{k}{xxx", 13) == 0);
                ck_assert(strstr(got, "{l}{m}") && !strchr(got, '!'));
                got = read_line_of(UNIT_FILE_LINE_MAX + 1, continued);
                ck_assert_str_eq(got, continued ? "1[A] 4{l}{m} !2 " : "1[A] 3{l}{m} !2 ");
        }
}
END_TEST

START_TEST(every_cut_of_a_file_is_read) {
        static const char text[] = "\xef\xbb\xbf# c\n[S a]\nk=v\\\n ; c\n w\n[T]\nx=\xc3\xa9\n";

        for (size_t size = 0; size < sizeof(text); size++)
                (void) read_data(text, size);
}
END_TEST

SUITE("unit file", {
        TEST(the_dialect_is_systemds);
        TEST(a_line_has_a_limit);
        TEST(every_cut_of_a_file_is_read);
})
