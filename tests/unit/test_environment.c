/* The environment of a program: where it comes from, and what becomes of $VARIABLES. */
#include <errno.h>
#include <string.h>

#include "component_support.h"
#include "components/environment.h"
#include "support.h"

static void is(const struct environment *e, const char *name, const char *value) {
        const char *found = environment_get(e, name);

        if (!value)
                ck_assert_msg(!found, "%s=%s", name, found);
        else
                ck_assert_msg(found && strcmp(found, value) == 0, "%s is <%s>, not <%s>", name,
                              found ? found : "(unset)", value);
}

START_TEST(the_later_one_wins_and_names_are_whole) {
        struct environment e = {0};

        ck_assert_int_eq(environment_set(&e, "A", "1"), 0);
        ck_assert_int_eq(environment_set(&e, "AB", "2"), 0);
        ck_assert_int_eq(environment_put(&e, "A=3=4"), 0);
        is(&e, "A", "3=4");
        is(&e, "AB", "2");
        ck_assert_uint_eq(e.count, 2);
        environment_unset(&e, "A");
        environment_unset(&e, "A");
        is(&e, "A", NULL);
        is(&e, "AB", "2");
        ck_assert_ptr_null(e.items[1]);
        environment_unset(&e, "AB=3");
        environment_unset(&e, "AB=2=");
        environment_unset(&e, "AB=");
        is(&e, "AB", "2");
        ck_assert_int_eq(environment_set(&e, "C", "x=y"), 0);
        environment_unset(&e, "C=x=y");
        is(&e, "C", NULL);
        for (int i = 0; i < 100; i++) {
                char name[16];
                (void) snprintf(name, sizeof(name), "N%d", i);
                ck_assert_int_eq(environment_set(&e, name, "x"), 0);
                ck_assert_ptr_null(e.items[e.count]);
        }
        ck_assert_uint_eq(e.count, 101);
        environment_clear(&e);
        ck_assert_ptr_null(environment_get(&e, "AB"));
}
END_TEST

START_TEST(nothing_about_the_broker_goes_on) {
        char *own[] = {"PATH=/bin",
                       "LANG=C",
                       "NOTIFY_SOCKET=/x",
                       "LISTEN_FDS=1",
                       "LISTEN_PID=1",
                       "LISTEN_FDNAMES=a",
                       "WATCHDOG_USEC=1",
                       "JOURNAL_STREAM=1:2",
                       "INVOCATION_ID=0",
                       "CREDENTIALS_DIRECTORY=/x",
                       "MAINPID=1",
                       "FDPASS_SOCKET=/x",
                       "STATE_DIRECTORY=/x",
                       "_=/usr/bin/fdpassd",
                       "NOTIFY_SOCKETS=mine",
                       "MAINPIDS=mine",
                       "nonsense",
                       NULL};
        struct component_config config = component_defaults();
        struct environment e = {0};
        const char *what;

        ck_assert_int_eq(environment_build(&e, own, &config, &what), 0);
        is(&e, "PATH", "/bin");
        is(&e, "LANG", "C");
        is(&e, "NOTIFY_SOCKETS", "mine");
        is(&e, "MAINPIDS", "mine");
        ck_assert_uint_eq(e.count, 4);
        environment_clear(&e);

        config.pass_environment = (char *[]){"INVOCATION_ID", "NOT_THERE", NULL};
        ck_assert_int_eq(environment_build(&e, own, &config, &what), 0);
        is(&e, "INVOCATION_ID", "0");
        ck_assert_uint_eq(e.count, 5);
        environment_clear(&e);
}
END_TEST

START_TEST(files_come_after_settings_and_those_after_the_user) {
        char *own[] = {"HOME=/root", "USER=root", "A=own", "B=own", "C=own", NULL};
        struct component_config config = component_defaults();
        struct environment_file files[] = {
                {.path = (char *) test_write("1.env", "C=file\nUSER=file\n")},
                {.path = "/no/such", .optional = true},
                {.path = (char *) test_write("2.env", "D=file\n")},
        };
        struct environment e = {0};
        const char *what;

        config.user = "somebody";
        config.home = "/home/somebody";
        config.environment = (char *[]){"B=set", "C=set", NULL};
        config.environment_files = files;
        config.n_environment_files = 3;
        ck_assert_int_eq(environment_build(&e, own, &config, &what), 0);
        is(&e, "HOME", "/home/somebody");
        is(&e, "LOGNAME", "somebody");
        is(&e, "USER", "file");
        is(&e, "SHELL", NULL);
        is(&e, "A", "own");
        is(&e, "B", "set");
        is(&e, "C", "file");
        is(&e, "D", "file");
        environment_clear(&e);
}
END_TEST

START_TEST(a_file_that_cannot_be_read_is_named) {
        struct component_config config = component_defaults();
        struct environment_file files[] = {{.path = (char *) test_folder()},
                                           {.path = "/no/such/*.env"}};
        struct environment e = {0};
        char *own[] = {NULL};
        const char *what = NULL;

        config.environment_files = files;
        config.n_environment_files = 1;
        ck_assert_int_eq(environment_build(&e, own, &config, &what), -EISDIR);
        ck_assert_ptr_eq(what, files[0].path);
        config.environment_files = files + 1;
        ck_assert_int_eq(environment_build(&e, own, &config, &what), -ENOENT);
        ck_assert_ptr_eq(what, files[1].path);
        environment_clear(&e);
}
END_TEST

START_TEST(a_pattern_reads_all_that_it_matches) {
        struct component_config config = component_defaults();
        struct environment_file file = {.path = (char *) test_path("d/*.env")};
        struct environment e = {0};
        char *own[] = {NULL};
        const char *what;

        (void) test_write("d/1.env", "A=1\n");
        (void) test_write("d/2.env", "B=2\n");
        (void) test_write("d/3.txt", "C=3\n");
        config.environment_files = &file;
        config.n_environment_files = 1;
        ck_assert_int_eq(environment_build(&e, own, &config, &what), 0);
        is(&e, "A", "1");
        is(&e, "B", "2");
        is(&e, "C", NULL);
        environment_clear(&e);
}
END_TEST

START_TEST(files_are_read_as_systemd_reads_them) {
        static const struct {
                const char *text, *value; /* of A; NULL: it is not set */
        } cases[] = {
                {"A=b\n", "b"},
                {"A=b", "b"},
                {"A=", ""},
                {"A=\n", ""},
                {"  A  =  b c \t\n", "b c"},
                {"A=b\r\n", "b"},
                {"# A=x\n; A=y\nA=z\n", "z"},
                {"# comment \\\nA=hidden\n", NULL},
                {"A=b # c\n", "b # c"},
                {"A=a#b;c\n", "a#b;c"},
                {"A=\"b c\"\n", "b c"},
                {"A=\"  b  \"  \n", "  b  "},
                {"A='b \"c\" \\n'\n", "b \"c\" \\n"},
                {"A=\"b \\\"c\\\" \\n \\$ \\\\\"\n", "b \"c\" \\n $ \\"},
                {"A=\"one\ntwo\"\nB=1\n", "one\ntwo"},
                {"A='one\ntwo'\n", "one\ntwo"},
                {"A=one \\\ntwo\n", "one two"},
                {"A=\"one \\\ntwo\"\n", "one two"},
                {"A=a\\ b\\\\c\n", "a b\\c"},
                {"A=end\\ \n", "end "},
                {"A=\"a\"'b'c\n", "abc"},
                {"A=b\"c\"\n", "b\"c\""},
                {"A=b=c\n", "b=c"},
                {"A=x\nA=y\n", "y"},
                {"no assignment\nA=b\n", "b"},
                {"9=x\n A B=y\nA=z\n", "z"},
                {"export A=b\n", NULL},
                {"A=\"open\n", "open\n"},
                {"A=b\\", "b"},
                {"", NULL},
                {"\n\n   \n", NULL},
                {"=x\n", NULL},
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
                struct environment e = {0};

                ck_assert_int_eq(environment_load(&e, test_write("env", cases[i].text)), 0);
                is(&e, "A", cases[i].value);
                environment_clear(&e);
        }
}
END_TEST

START_TEST(variables_are_expanded_as_systemd_does) {
        static const struct {
                const char *word, *result[5];
        } cases[] = {
                {"plain", {"plain"}},
                {"$ONE", {"1"}},
                {"${ONE}", {"1"}},
                {"a${ONE}b${TWO}c", {"a1b2 2c"}},
                {"$TWO", {"2", "2"}},
                {"${TWO}", {"2 2"}},
                {"$QUOTED", {"a b", "c d", "e f"}},
                {"$NONE", {NULL}},
                {"${NONE}", {""}},
                {"$EMPTY", {NULL}},
                {"x$ONE", {"x$ONE"}},
                {"$ONE/x", {"$ONE/x"}},
                {"$$ONE", {"$ONE"}},
                {"$${ONE}", {"${ONE}"}},
                {"a$$b", {"a$b"}},
                {"$", {"$"}},
                {"a$", {"a$"}},
                {"${ONE", {"${ONE"}},
                {"$1", {"$1"}},
        };
        struct environment e = {0};

        ck_assert_int_eq(environment_set(&e, "ONE", "1"), 0);
        ck_assert_int_eq(environment_set(&e, "TWO", "2 2"), 0);
        ck_assert_int_eq(environment_set(&e, "EMPTY", " \t"), 0);
        ck_assert_int_eq(environment_set(&e, "QUOTED", " 'a b'  \"c d\" e\\ f "), 0);
        for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
                struct command command = {
                        .arguments = (char *[]){"prog", (char *) (uintptr_t) cases[i].word, NULL}};
                char **argv = NULL;
                size_t n = 1;

                ck_assert_int_eq(environment_expand(&e, &command, &argv), 0);
                ck_assert_str_eq(argv[0], "prog");
                for (size_t k = 0; k < 5 && cases[i].result[k]; k++, n++)
                        ck_assert_msg(argv[n] && strcmp(argv[n], cases[i].result[k]) == 0,
                                      "%s gives %s at %zu", cases[i].word, argv[n], k);
                ck_assert_msg(!argv[n], "%s gives one more: %s", cases[i].word, argv[n]);
                for (char **a = argv; *a; a++)
                        free(*a);
                free(argv);
        }
        environment_clear(&e);
}
END_TEST

START_TEST(a_command_may_ask_for_no_expansion_and_keeps_its_name) {
        struct command command = {.arguments = (char *[]){"$NONE", "$NONE", "$$", NULL}};
        struct environment e = {0};
        char **argv;

        ck_assert_int_eq(environment_expand(&e, &command, &argv), 0);
        ck_assert_str_eq(argv[0], "$NONE");
        ck_assert_str_eq(argv[1], "$");
        for (char **a = argv; *a; a++)
                free(*a);
        free(argv);
        command.no_variables = true;
        ck_assert_int_eq(environment_expand(&e, &command, &argv), 0);
        ck_assert_str_eq(argv[1], "$NONE");
        ck_assert_str_eq(argv[2], "$$");
        for (char **a = argv; *a; a++)
                free(*a);
        free(argv);
}
END_TEST

SUITE("environment", {
        TEST(the_later_one_wins_and_names_are_whole);
        TEST(nothing_about_the_broker_goes_on);
        TEST(files_come_after_settings_and_those_after_the_user);
        TEST(a_file_that_cannot_be_read_is_named);
        TEST(a_pattern_reads_all_that_it_matches);
        TEST(files_are_read_as_systemd_reads_them);
        TEST(variables_are_expanded_as_systemd_does);
        TEST(a_command_may_ask_for_no_expansion_and_keeps_its_name);
})
