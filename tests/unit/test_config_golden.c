/*
 * Configuration by example: each tests/unit/config/NAME.conf, NAME.socket and NAME.service is
 * loaded; NAME.ok is what config_print() must say of it (no file: it must not load), NAME.err what
 * the diagnostics must be (no file: there must be none). What is printed must load to the same.
 */
#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "config/config.h"
#include "config/load.h"

#define FOLDER SOURCE_ROOT "/tests/unit/config"

/* The whole file, "" when there is none. For the caller to free. */
static char *read_expected(const char *stem, const char *suffix, bool *ret_exists) {
        char path[256], *text = NULL;
        size_t size = 0;
        FILE *f;

        snprintf(path, sizeof(path), "%s%s", stem, suffix);
        f = fopen(path, "re");
        *ret_exists = f;
        if (!f)
                return strdup("");
        if (getdelim(&text, &size, '\0', f) < 0) {
                free(text);
                text = strdup("");
        }
        fclose(f);
        return text;
}

static char *printed(const struct config *config) {
        char *text;
        size_t size;
        FILE *f = open_memstream(&text, &size);

        ck_assert_int_eq(config_print(config, f), 0);
        fclose(f);
        return text;
}

/* "# FILE:LINE" differs from file to file. */
static void remove_comments(char *text) {
        char *out = text;

        for (char *line = text; *line;) {
                size_t length = strcspn(line, "\n");

                length += line[length] == '\n';
                if (*line != '#') {
                        memmove(out, line, length);
                        out += length;
                }
                line += length;
        }
        *out = '\0';
}

static void check_round_trip(const char *name, char *first) {
        struct diagnostics diagnostics = {0};
        struct config *config = NULL;
        char *second;
        int r = config_load_text("again.conf", first, strlen(first), &diagnostics, &config);

        ck_assert_msg(r == 0, "%s: what was printed does not load: %s", name,
                      diagnostics.count > 0 ? diagnostics.items[0].text : "");
        second = printed(config);
        remove_comments(first);
        remove_comments(second);
        ck_assert_str_eq(first, second);
        free(second);
        config_free(config);
        diagnostics_clear(&diagnostics);
}

static void check_file(const char *name) {
        struct diagnostics diagnostics = {0};
        struct config *config = NULL;
        char *stem = strdup(name), *expected, *messages;
        bool must_load, exists;
        size_t size;
        FILE *f = open_memstream(&messages, &size);
        int r = config_load(name, &diagnostics, &config);

        *strrchr(stem, '.') = '\0';
        diagnostics_print(&diagnostics, f);
        fclose(f);
        expected = read_expected(stem, ".err", &exists);
        ck_assert_msg(strcmp(messages, expected) == 0, "%s: expected\n%s--- and got\n%s", name,
                      expected, messages);
        free(expected);
        expected = read_expected(stem, ".ok", &must_load);
        ck_assert_msg(r == (must_load ? 0 : -EINVAL), "%s: config_load gives %d", name, r);
        ck_assert_int_eq(diagnostics.errors > 0, !must_load);
        if (must_load) {
                char *text = printed(config);

                ck_assert_msg(strcmp(text, expected) == 0, "%s: expected\n%s--- and got\n%s", name,
                              expected, text);
                check_round_trip(name, text);
                free(text);
        }
        free(expected);
        free(messages);
        free(stem);
        config_free(config);
        diagnostics_clear(&diagnostics);
}

START_TEST(every_example_gives_what_is_expected) {
        unsigned count = 0;
        DIR *d;

        setenv("XDG_RUNTIME_DIR", "/run/user/1", 1); /* there are users without any */
        setenv("HOME", "/home/x", 1);
        ck_assert_int_eq(chdir(FOLDER), 0); /* messages begin with the name as it was given */
        d = opendir(".");
        ck_assert_ptr_nonnull(d);
        for (struct dirent *entry; (entry = readdir(d));) {
                const char *suffix = strrchr(entry->d_name, '.');

                if (strcmp(suffix, ".conf") != 0 && strcmp(suffix, ".socket") != 0 &&
                    strcmp(suffix, ".service") != 0)
                        continue;
                check_file(entry->d_name);
                count++;
        }
        closedir(d);
        ck_assert_uint_ge(count, 20);
}
END_TEST

static void check_loads(const char *path) {
        struct diagnostics diagnostics = {0};
        struct config *config = NULL;
        int r = config_load(path, &diagnostics, &config);

        ck_assert_msg(r == 0 && diagnostics.count == 0, "%s: %s", path,
                      diagnostics.count > 0 ? diagnostics.items[0].text : "does not load");
        ck_assert_uint_ge(config->n_sockets, 1);
        config_free(config);
        diagnostics_clear(&diagnostics);
}

START_TEST(the_shipped_example_loads) {
        check_loads(SOURCE_ROOT "/examples/fdpass.conf");
}
END_TEST

SUITE("config golden", {
        TEST(every_example_gives_what_is_expected);
        TEST(the_shipped_example_loads);
})
