/* The table of directives, and that docs/directives.md says the same. */
#include "support.h"

#include <stdio.h>
#include <string.h>

#include "config/directives.h"

#define PAGE SOURCE_ROOT "/docs/directives.md"

static const char *section_of(const struct directive *d) {
        switch (d->group) {
        case GROUP_BROKER:
                return "[Broker]";
        case GROUP_OWN:
                return "[X-Fdpass]";
        default:
                return "[Socket]";
        }
}

static const char *status_of(const struct directive *d) {
        switch (d->status) {
        case DIRECTIVE_HONOURED:
                return "honoured";
        case DIRECTIVE_LATER:
                return "later";
        default:
                return "unsupported";
        }
}

static const char *unit_file_of(const struct directive *d) {
        if (d->group == GROUP_BROKER)
                return "-";
        if (d->status == DIRECTIVE_HONOURED)
                return "honoured";
        switch (d->in_unit_file) {
        case UNIT_FILE_WARNING:
                return "ignored, warning";
        case UNIT_FILE_SILENT:
                return "ignored";
        default:
                return "refused";
        }
}

static char *read_page(void) {
        char *text = NULL;
        size_t size = 0;
        FILE *f = fopen(PAGE, "re");

        ck_assert_msg(f, "%s cannot be read", PAGE);
        ck_assert_int_gt(getdelim(&text, &size, '\0', f), 0);
        fclose(f);
        return text;
}

/* "| `Key=` | [Section] | status | in a unit file |", and perhaps more columns. */
static char *row_of(const struct directive *d) {
        const char *off = d->off_is_fine ? "; `no` is accepted" : "";
        char *row;

        ck_assert_int_gt(asprintf(&row, "\n| `%s=` | %s | %s | %s%s |", d->key, section_of(d),
                                  status_of(d), unit_file_of(d), off),
                         0);
        return row;
}

START_TEST(the_page_has_every_row_of_the_table) {
        char *page = read_page();
        unsigned rows = 0, lines = 0;

        for (const struct directive *d = directives; d->key; d++, rows++) {
                char *row = row_of(d);

                ck_assert_msg(strstr(page, row), "%s should have this row:%s", PAGE, row);
                free(row);
        }
        for (const char *p = page; (p = strstr(p, "\n| `")); p++)
                lines++;
        ck_assert_msg(lines == rows, "%s has %u rows and the table %u", PAGE, lines, rows);
        free(page);
}
END_TEST

START_TEST(the_page_names_every_shared_directive) {
        char *page = read_page();

        for (const char *const *key = shared_directives; *key; key++) {
                char *word;

                ck_assert_int_gt(asprintf(&word, "`%s=`", *key), 0);
                ck_assert_msg(strstr(page, word), "%s should name %s", PAGE, word);
                free(word);
        }
        free(page);
}
END_TEST

START_TEST(the_man_page_describes_every_honoured_directive) {
        char *page = NULL;
        size_t size = 0;
        FILE *f = fopen(SOURCE_ROOT "/docs/man/fdpass.conf.5.scd", "re");

        ck_assert_ptr_nonnull(f);
        ck_assert_int_gt(getdelim(&page, &size, '\0', f), 0);
        fclose(f);
        for (const struct directive *d = directives; d->key; d++) {
                char *term;

                ck_assert_int_gt(asprintf(&term, "*%s=*", d->key), 0);
                if (d->status == DIRECTIVE_HONOURED)
                        ck_assert_msg(strstr(page, term), "fdpass.conf.5.scd lacks %s", term);
                free(term);
        }
        free(page);
}
END_TEST

START_TEST(the_table_is_sound) {
        for (const struct directive *d = directives; d->key; d++) {
                ck_assert_msg((d->status == DIRECTIVE_HONOURED) == (d->parse != NULL), "%s",
                              d->key);
                ck_assert_ptr_eq(directive_find(d->key, d->group), d); /* no key twice */
                ck_assert_msg(!directive_is_shared(d->key), "%s", d->key);
                /* [Socket NAME] has both groups */
                if (d->group == GROUP_OWN)
                        ck_assert_ptr_null(directive_find(d->key, GROUP_SOCKET));
        }
        for (const char *const *key = shared_directives; *key; key++) {
                ck_assert_msg(directive_is_shared(*key), "%s: not sorted", *key);
                if (key[1])
                        ck_assert_int_lt(strcmp(key[0], key[1]), 0);
        }
}
END_TEST

START_TEST(misspelt_keys_are_recognised) {
        ck_assert_str_eq(directive_suggest("listenstream", GROUP_SOCKET), "ListenStream");
        ck_assert_str_eq(directive_suggest("ListenSteam", GROUP_SOCKET), "ListenStream");
        ck_assert_str_eq(directive_suggest("Acces", GROUP_OWN), "Access");
        ck_assert_str_eq(directive_suggest("SocketMod", GROUP_SOCKET), "SocketMode");
        ck_assert_ptr_null(directive_suggest("Frobnicate", GROUP_SOCKET));
        ck_assert_ptr_null(directive_suggest("", GROUP_SOCKET));
        ck_assert_ptr_null(directive_suggest("Acces", GROUP_SOCKET)); /* not there */
}
END_TEST

SUITE("config directives", {
        TEST(the_page_has_every_row_of_the_table);
        TEST(the_page_names_every_shared_directive);
        TEST(the_man_page_describes_every_honoured_directive);
        TEST(the_table_is_sound);
        TEST(misspelt_keys_are_recognised);
})
