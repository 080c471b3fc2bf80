/* The command's parts that need no broker: options, what reaches a terminal, JSON documents. */
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "cli/display.h"
#include "cli/document.h"
#include "cli/options.h"
#include "support.h"

/* ---- options --------------------------------------------------------------------------------- */

struct values {
        bool verbose;
        const char *socket, *wait;
        unsigned color;
};

static const struct option_spec specs[] = {
        {"verbose", 'v', OPTION_FLAG, offsetof(struct values, verbose), NULL, "say more"},
        {"socket", 's', OPTION_TEXT, offsetof(struct values, socket), "PATH", "where"},
        {"wait", 0, OPTION_OPTIONAL, offsetof(struct values, wait), "SECONDS", "wait"},
        {0}};
static const struct option_spec more_specs[] = {
        {"color", 0, OPTION_CHOICE, offsetof(struct values, color), "auto|always|never", "colour"},
        {0}};

/* Parse the words; what was said about wrong ones goes into *ret_said, for free(3). */
static int parse(struct values *values, bool stop, char **ret_said, int argc, char **argv) {
        const struct option_group groups[] = {{specs, values}, {more_specs, values}};
        size_t size;
        FILE *errors = open_memstream(ret_said, &size);
        int r = options_parse(groups, 2, stop, "prog", argc, argv, errors);

        (void) fclose(errors);
        return r;
}

#define PARSE(values, stop, said, ...)                                                             \
        parse((values), (stop), (said), (int) (sizeof((char *[]){__VA_ARGS__}) / sizeof(char *)),  \
              (char *[]){__VA_ARGS__, NULL})

START_TEST(options_of_all_groups_are_stored_and_operands_come_last) {
        char *argv[] = {"prog", "one", "-v", "--socket=/s", "two", "--color=never", "--wait", NULL};
        struct values values = {0};
        _cleanup_free_ char *said = NULL;
        int first = parse(&values, false, &said, 7, argv);

        ck_assert_int_eq(first, 5);
        ck_assert_str_eq(argv[5], "one");
        ck_assert_str_eq(argv[6], "two");
        ck_assert(values.verbose);
        ck_assert_str_eq(values.socket, "/s");
        ck_assert_uint_eq(values.color, 2);
        ck_assert_str_eq(values.wait, "");
        ck_assert_str_eq(said, "");
}
END_TEST

START_TEST(parsing_can_stop_at_the_first_operand) {
        struct values values = {0};
        _cleanup_free_ char *said = NULL;

        ck_assert_int_eq(PARSE(&values, true, &said, "prog", "--wait=3", "status", "-v"), 2);
        ck_assert(!values.verbose);
        ck_assert_str_eq(values.wait, "3");
}
END_TEST

START_TEST(wrong_options_are_named_with_the_right_ones) {
        static const struct {
                const char *word, *said;
        } cases[] = {
                {"--verbse", "there is no option '--verbse'. Did you mean '--verbose'?"},
                {"--quite-unlike=3", "there is no option '--quite-unlike'. The options are "
                                     "--verbose, --socket, --wait, --color."},
                {"-x", "there is no option '-x'."},
                {"-vx", "there is no option '-x'."},
                {"--verbose=1", "the option '--verbose' takes no argument"},
                {"--socket", "the option '--socket' needs an argument: --socket=PATH"},
                {"-s", "the option '--socket' needs an argument: --socket=PATH"},
                {"--color=blue", "--color=blue is not possible; it is one of auto|always|never."},
                {"--color=auto|always", "is not possible"},
                {"--color=", "is not possible"},
                {"--\x1b[2J", "there is no option '--\\x1b[2J'"},
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct values values = {0};
                _cleanup_free_ char *said = NULL, *word = strdup(cases[i].word);
                int r = PARSE(&values, false, &said, "prog", word);

                ck_assert_msg(r == -EINVAL, "%s: %d", cases[i].word, r);
                ck_assert_msg(strstr(said, cases[i].said), "%s: %s", cases[i].word, said);
                ck_assert_msg(strncmp(said, "prog: ", 6) == 0, "%s", said);
        }
}
END_TEST

/* ---- display --------------------------------------------------------------------------------- */

START_TEST(nothing_that_steers_a_terminal_is_shown) {
        static const struct {
                const char *text, *utf8, *ascii;
        } cases[] = {
                {"plain", "plain", "plain"},
                {"\x1b[31mred", "\\x1b[31mred", "\\x1b[31mred"},
                {"a\nb\tc\\d\r\x7f", "a\\nb\\tc\\\\d\\x0d\\x7f", "a\\nb\\tc\\\\d\\x0d\\x7f"},
                {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f", "gr\\xc3\\xbc\\xc3\\x9f"},
                /* C1 control, not UTF-8, overlong, surrogate, too large, cut off */
                {"\xc2\x9b", "\\xc2\\x9b", "\\xc2\\x9b"},
                {"\xff", "\\xff", "\\xff"},
                {"\xc0\x9b", "\\xc0\\x9b", "\\xc0\\x9b"},
                {"\xe0\x80\x9b", "\\xe0\\x80\\x9b", "\\xe0\\x80\\x9b"},
                {"\xed\xa0\x80", "\\xed\\xa0\\x80", "\\xed\\xa0\\x80"},
                {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80", "\\xf4\\x90\\x80\\x80"},
                {"\xe2\x82", "\\xe2\\x82", "\\xe2\\x82"},
                /* right-to-left override */
                {"\xe2\x80\xaetxt", "\\xe2\\x80\\xaetxt", "\\xe2\\x80\\xaetxt"},
                {"", "", ""},
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                _cleanup_free_ char *utf8 = NULL, *ascii = NULL;

                ck_assert_ptr_nonnull(setlocale(LC_CTYPE, "C.UTF-8"));
                utf8 = display_escape(cases[i].text);
                ck_assert_str_eq(utf8, cases[i].utf8);
                ck_assert_ptr_nonnull(setlocale(LC_CTYPE, "C"));
                ascii = display_escape(cases[i].text);
                ck_assert_str_eq(ascii, cases[i].ascii);
        }
}
END_TEST

START_TEST(ages_have_two_units_and_survive_a_clock_set_back) {
        static const struct {
                uint64_t seconds;
                const char *text;
        } cases[] = {{0, "now"},           {1, "1s"},        {59, "59s"},
                     {60, "1min"},         {3599, "59min"},  {3600, "1h 0min"},
                     {86399, "23h 59min"}, {86400, "1d 0h"}, {400 * 86400 + 7200, "400d 2h"}};
        char age[DISPLAY_AGE_SIZE];

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
                ck_assert_str_eq(display_age(5000000, 5000000 + cases[i].seconds * 1000000, age),
                                 cases[i].text);
        ck_assert_str_eq(display_age(9000000, 5000000, age), "now");
        ck_assert_uint_lt(strlen(display_age(0, UINT64_MAX, age)), DISPLAY_AGE_SIZE - 1);
}
END_TEST

START_TEST(colour_is_for_terminals_unless_it_is_asked_for) {
        FILE *file = tmpfile();

        ck_assert(!display_color(COLOR_AUTO, file));
        ck_assert(display_color(COLOR_ALWAYS, file));
        ck_assert(!display_color(COLOR_NEVER, file));
        (void) fclose(file);
}
END_TEST

START_TEST(no_color_is_honoured_on_a_terminal) {
        int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
        FILE *terminal;

        ck_assert_int_eq(grantpt(master), 0);
        ck_assert_int_eq(unlockpt(master), 0);
        terminal = fopen(ptsname(master), "r+e");
        ck_assert_ptr_nonnull(terminal);
        (void) setenv("TERM", "xterm", 1);
        (void) unsetenv("NO_COLOR");
        ck_assert(display_color(COLOR_AUTO, terminal));
        (void) setenv("NO_COLOR", "", 1);
        ck_assert(display_color(COLOR_AUTO, terminal));
        (void) setenv("NO_COLOR", "1", 1);
        ck_assert(!display_color(COLOR_AUTO, terminal));
        (void) unsetenv("NO_COLOR");
        (void) setenv("TERM", "dumb", 1);
        ck_assert(!display_color(COLOR_AUTO, terminal));
        (void) fclose(terminal);
        (void) close(master);
}
END_TEST

/* ---- documents ------------------------------------------------------------------------------- */

/* An answer as if it had come with these descriptors; for answer_free(). */
static struct answer *make_answer(const char *packet, int fd) {
        struct answer *answer = calloc(1, sizeof(*answer));

        answer->message.size = strlen(packet);
        memcpy(answer->message.data, packet, answer->message.size);
        ck_assert_int_eq(
                grammar_parse(answer->message.data, answer->message.size, &answer->assignments), 0);
        if (fd >= 0)
                ck_assert_int_eq(fd_list_put_fd(&answer->message.fds, fd), 0);
        return answer;
}

static int make_memfd(const char *content) {
        int fd = memfd_create("document", MFD_CLOEXEC);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq((int) write(fd, content, strlen(content)), (int) strlen(content));
        return fd;
}

static int take(const char *packet, int fd, json_t **ret) {
        struct answer *answer = make_answer(packet, fd);
        int r = document_take(answer, ret);

        answer_free(answer);
        return r;
}

START_TEST(a_document_is_read_from_its_memfd) {
        json_t *document = NULL;

        ck_assert_int_eq(take("OK=1\nDOCUMENT=json\nSIZE=16", make_memfd("{\"a\":\"b\",\"n\":7}"),
                              &document),
                         -EPROTO); /* one byte less than announced */
        ck_assert_int_eq(take("OK=1\nDOCUMENT=json\nSIZE=15", make_memfd("{\"a\":\"b\",\"n\":7}"),
                              &document),
                         0);
        ck_assert_str_eq(document_text(document, "a"), "b");
        ck_assert_str_eq(document_text(document, "n"), "");
        ck_assert_uint_eq(document_number(document, "n"), 7);
        ck_assert_uint_eq(document_number(document, "missing"), 0);
        ck_assert(!document_truth(document, "a"));
        json_decref(document);
}
END_TEST

START_TEST(documents_that_are_not_what_was_announced_are_refused) {
        json_t *document = NULL;
        int pipes[2];

        ck_assert_int_eq(take("OK=1", -1, &document), -ENODATA);
        ck_assert_int_eq(take("OK=1\nDOCUMENT=json\nSIZE=2", -1, &document), -EPROTO);
        ck_assert_int_eq(take("OK=1\nDOCUMENT=json", make_memfd("{}"), &document), -EPROTO);
        ck_assert_int_eq(take("OK=1\nDOCUMENT=xml\nSIZE=2", make_memfd("{}"), &document), -EPROTO);
        ck_assert_int_eq(take("OK=1\nDOCUMENT=json\nSIZE=1", make_memfd("{}"), &document), -EPROTO);
        ck_assert_int_eq(take("OK=1\nDOCUMENT=json\nSIZE=-2", make_memfd("{}"), &document),
                         -EPROTO);
        ck_assert_int_eq(take("OK=1\nDOCUMENT=json\nSIZE=0", make_memfd(""), &document), -EPROTO);
        ck_assert_int_eq(take("OK=1\nDOCUMENT=json\nSIZE=2", make_memfd("[]"), &document), -EPROTO);
        ck_assert_int_eq(take("OK=1\nDOCUMENT=json\nSIZE=3", make_memfd("{a}"), &document),
                         -EPROTO);
        ck_assert_int_eq(take("OK=1\nDOCUMENT=json\nSIZE=99999999999", make_memfd("{}"), &document),
                         -EFBIG);
        /* reading a pipe would wait for ever */
        ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
        ck_assert_int_eq(take("OK=1\nDOCUMENT=json\nSIZE=2", pipes[0], &document), -EPROTO);
        (void) close(pipes[1]);
        ck_assert_ptr_null(document);
}
END_TEST

START_TEST(any_bytes_become_a_json_string) {
        static const struct {
                const char *bytes, *string;
        } cases[] = {
                {"plain", "plain"},
                {"", ""},
                {"gr\xc3\xbc", "gr\xc3\xbc"},
                {"a\xff\xc3\xbc\xe2\x82", "a\xef\xbf\xbd\xc3\xbc\xef\xbf\xbd\xef\xbf\xbd"},
                {"\xf0\x9f\x90\x8c\xf0", "\xf0\x9f\x90\x8c\xef\xbf\xbd"},
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                json_t *string = document_string(cases[i].bytes);

                ck_assert_str_eq(json_string_value(string), cases[i].string);
                json_decref(string);
        }
}
END_TEST

static void printed_becomes(int (*print)(const json_t *document, FILE *stream), const char *text,
                            const char *expected) {
        _cleanup_free_ char *printed = NULL;
        json_t *array = json_pack("[s]", text);
        size_t size;
        FILE *stream = open_memstream(&printed, &size);

        ck_assert_int_eq(print(array, stream), 0);
        (void) fclose(stream);
        ck_assert_str_eq(printed, expected);
        json_decref(array);
}

/* C1 controls, at each place of a run; U+00A0, U+0180 and U+20AC are none. */
START_TEST(what_is_printed_for_programs_steers_no_terminal_either) {
        printed_becomes(document_print,
                        "\xc2\x9b"
                        "31m\xc2\x80\xc2\x9f\n\xc2\x85",
                        "[\"\\u009B31m\\u0080\\u009F\\n\\u0085\"]\n");
        printed_becomes(document_print, "\xc2\xa0\xc6\x80\xe2\x82\xac",
                        "[\"\xc2\xa0\xc6\x80\xe2\x82\xac\"]\n");
        printed_becomes(document_print_line, "\x1b[2J\xc2\x9b", "[\"\\u001B[2J\\u009B\"]\n");
}
END_TEST

SUITE("cli", {
        TEST(options_of_all_groups_are_stored_and_operands_come_last);
        TEST(parsing_can_stop_at_the_first_operand);
        TEST(wrong_options_are_named_with_the_right_ones);
        TEST(nothing_that_steers_a_terminal_is_shown);
        TEST(ages_have_two_units_and_survive_a_clock_set_back);
        TEST(colour_is_for_terminals_unless_it_is_asked_for);
        TEST(no_color_is_honoured_on_a_terminal);
        TEST(a_document_is_read_from_its_memfd);
        TEST(documents_that_are_not_what_was_announced_are_refused);
        TEST(any_bytes_become_a_json_string);
        TEST(what_is_printed_for_programs_steers_no_terminal_either);
})
