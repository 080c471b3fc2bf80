/* The table of directives, and that docs/directives.md says the same. */
#include "support.h"

#include <stdio.h>
#include <string.h>

#include "config/directives.h"

#define PAGE SOURCE_ROOT "/docs/directives.md"

static const char *section_of(const struct directive *d) {
        switch ((unsigned) d->group) {
        case GROUP_BROKER:
                return "[Broker]";
        case GROUP_OWN:
        case GROUP_OWN_COMPONENT:
                return "[X-Fdpass]";
        case GROUP_UNIT:
                return "[Unit]";
        case GROUP_SERVICE:
                return "[Service]";
        case GROUP_UNIT | GROUP_SERVICE:
                return "[Unit], [Service]";
        case GROUP_SERVICE | GROUP_OWN_COMPONENT:
                return "[Service], [X-Fdpass]";
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
        for (const struct directive *d = component_directives; d->key; d++)
                rows += d->status == DIRECTIVE_HONOURED;
        for (const char *p = page; (p = strstr(p, "\n| `")); p++)
                lines++;
        ck_assert_msg(lines == rows, "%s has %u rows and the table %u", PAGE, lines, rows);
        free(page);
}
END_TEST

/* Rows for what is honoured; what is not is named in the section of its outcome. */
static const char *const outcome_sections[] = {
        [UNIT_FILE_WARNING] = "\n## A component: not supported, a warning in a unit file\n",
        [UNIT_FILE_SILENT] = "\n## A component: not supported, ignored in a unit file\n",
        [UNIT_FILE_SANDBOX] = "\n## A component: what restricts the program\n",
};

static void check_is_named(const char *page, const struct directive *d) {
        const char *begin = strstr(page, outcome_sections[d->in_unit_file]), *end, *found;
        char *word;

        ck_assert_msg(begin, "%s lacks the section%s", PAGE, outcome_sections[d->in_unit_file]);
        end = strstr(begin + 4, "\n## ");
        ck_assert_int_gt(asprintf(&word, "`%s=`", d->key), 0);
        found = strstr(begin, word);
        ck_assert_msg(found && (!end || found < end), "%s should name %s in%s", PAGE, word,
                      outcome_sections[d->in_unit_file]);
        free(word);
}

START_TEST(the_page_has_every_directive_of_a_component) {
        char *page = read_page();

        for (const struct directive *d = component_directives; d->key; d++) {
                char *row = row_of(d);

                if (d->status == DIRECTIVE_HONOURED)
                        ck_assert_msg(strstr(page, row), "%s should have this row:%s", PAGE, row);
                else
                        check_is_named(page, d);
                free(row);
        }
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

static void check_is_described(const char *page, const struct directive *table) {
        for (const struct directive *d = table; d->key; d++) {
                char *term;

                ck_assert_int_gt(asprintf(&term, "*%s=*", d->key), 0);
                if (d->status == DIRECTIVE_HONOURED)
                        ck_assert_msg(strstr(page, term), "fdpass.conf.5.scd lacks %s", term);
                free(term);
        }
}

START_TEST(the_man_page_describes_every_honoured_directive) {
        char *page = NULL;
        size_t size = 0;
        FILE *f = fopen(SOURCE_ROOT "/docs/man/fdpass.conf.5.scd", "re");

        ck_assert_ptr_nonnull(f);
        ck_assert_int_gt(getdelim(&page, &size, '\0', f), 0);
        fclose(f);
        check_is_described(page, directives);
        check_is_described(page, component_directives);
        free(page);
}
END_TEST

static void check_table(const struct directive *table) {
        for (const struct directive *d = table; d->key; d++) {
                ck_assert_msg((d->status == DIRECTIVE_HONOURED) == (d->parse != NULL), "%s",
                              d->key);
                ck_assert_msg(directive_find(d->key, d->group) == d, "%s twice", d->key);
                /* a section of fdpass.conf has all groups of its kind */
                if (d->group & GROUPS_SOCKET)
                        ck_assert_ptr_eq(directive_find(d->key, GROUPS_SOCKET), d);
                if (d->group & GROUPS_COMPONENT)
                        ck_assert_ptr_eq(directive_find(d->key, GROUPS_COMPONENT), d);
                else
                        ck_assert_msg(!directive_is_shared(d->key), "%s", d->key);
        }
}

START_TEST(the_table_is_sound) {
        check_table(directives);
        check_table(component_directives);
        for (const char *const *key = shared_directives; *key; key++) {
                ck_assert_msg(directive_is_shared(*key), "%s: not sorted", *key);
                /* what a listener has no use for, a component knows */
                ck_assert_msg(directive_find(*key, GROUP_SERVICE), "%s", *key);
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
        TEST(the_page_has_every_directive_of_a_component);
        TEST(the_page_names_every_shared_directive);
        TEST(the_man_page_describes_every_honoured_directive);
        TEST(the_table_is_sound);
        TEST(misspelt_keys_are_recognised);
})
