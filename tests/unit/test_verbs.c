/*
 * The table of verbs against everything that repeats it: the protocol page, the fuzzer's dictionary
 * and corpus; and each row against the dispatcher, one key short, one over, one descriptor over.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "control/descriptor.h"
#include "control/operate.h"
#include "control/upgrade.h"
#include "control/verbs.h"
#include "control_fixture.h"
#include "support.h"

/* ---- pages ------------------------------------------------------------------------------------*/

static char *read_source(const char *name) {
        _cleanup_free_ char *path = NULL;
        char *content = NULL;
        size_t size = 0;
        FILE *f;

        ck_assert_int_gt(asprintf(&path, "%s/%s", SOURCE_ROOT, name), 0);
        f = fopen(path, "re");
        ck_assert_msg(f != NULL, "%s cannot be read", path);
        ck_assert_int_gt((int) getdelim(&content, &size, EOF, f), 0);
        ck_assert_int_eq(fclose(f), 0);
        return content;
}

static const char *rights[] = {
        [RIGHT_ANYONE] = "anyone",
        [RIGHT_SEE] = "who may see it",
        [RIGHT_SEE_ANY] = "who may see it",
        [RIGHT_ACQUIRE] = "who may acquire it",
        [RIGHT_STORE] = "who may store",
        [RIGHT_OPERATE] = "operators of the broker",
        [RIGHT_OPERATE_COMPONENT] = "operators of the broker",
        [RIGHT_OWN] = "root and the broker's own user",
};

static void add(char *row, size_t size, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
static void add(char *row, size_t size, const char *format, ...) {
        size_t length = strlen(row);
        va_list arguments;

        va_start(arguments, format);
        ck_assert_int_lt(vsnprintf(row + length, size - length, format, arguments),
                         (int) (size - length));
        va_end(arguments);
}

/* "`NAME=` (a name), optional", as the page has it. */
static void add_key(char *row, size_t size, const struct verb_key *k) {
        char text_limit[32];

        (void) snprintf(text_limit, sizeof(text_limit), "%s%zu bytes",
                        k->form == FORM_NAMES ? "names, "
                        : k->form == FORM_ID  ? "an id, "
                                              : "",
                        k->length_max);
        if (k->form == FORM_ONE)
                add(row, size, "`%s=1`", k->name);
        else
                add(row, size, "`%s=`", k->name);
        if (k->form != FORM_ONE)
                add(row, size, " (%s)",
                    k->form == FORM_NAME     ? "a name"
                    : k->form == FORM_NUMBER ? "a number"
                                             : text_limit);
        add(row, size, "%s",
            k->need == OPTIONAL ? " optional"
            : k->need == ONE_OF ? " one of"
                                : "");
}

START_TEST(the_protocol_page_has_a_row_for_each_verb_and_no_other) {
        _cleanup_free_ char *page = read_source("docs/protocol.md");
        char row[512];
        size_t rows = 0;

        for (size_t i = 0; i < n_verbs; i++) {
                const struct verb *v = &verbs[i];

                row[0] = '\0';
                add(row, sizeof(row), "\n| %s |", v->name);
                for (const struct verb_key *k = v->keys; k->name; k++) {
                        add(row, sizeof(row), "%s", k == v->keys ? " " : ", ");
                        add_key(row, sizeof(row), k);
                }
                add(row, sizeof(row), " | %s |", rights[v->right]);
                ck_assert_msg(strstr(page, row) != NULL, "docs/protocol.md lacks the row:%s", row);
        }
        char *table = strstr(page, "\n| verb |");
        ck_assert_ptr_nonnull(table);
        for (char *p = strchr(table + 1, '\n'); p[1] == '|'; p = strchr(p + 1, '\n'))
                rows++;
        ck_assert_uint_eq(rows, n_verbs + 1); /* and the line under the head */
}
END_TEST

START_TEST(the_manual_page_names_each_verb_and_key) {
        _cleanup_free_ char *page = read_source("docs/man/fdpass-protocol.7.scd");
        char wanted[128];

        for (size_t i = 0; i < n_verbs; i++) {
                (void) snprintf(wanted, sizeof(wanted), "\n*%s*", verbs[i].name);
                ck_assert_msg(strstr(page, wanted) != NULL, "no heading%s", wanted);
                for (const struct verb_key *k = verbs[i].keys; k->name; k++) {
                        (void) snprintf(wanted, sizeof(wanted), "*%s=", k->name);
                        ck_assert_msg(strstr(page, wanted) != NULL, "no key %s", wanted);
                }
        }
}
END_TEST

START_TEST(the_fuzzer_knows_each_verb_and_key) {
        _cleanup_free_ char *dictionary = read_source("tests/fuzz/corpus/request.dict");
        char wanted[128];

        for (size_t i = 0; i < n_verbs; i++) {
                _cleanup_free_ char *seed = NULL;

                (void) snprintf(wanted, sizeof(wanted), "\"VERB=%s\"\n", verbs[i].name);
                ck_assert_msg(strstr(dictionary, wanted) != NULL, "no %s", wanted);
                for (const struct verb_key *k = verbs[i].keys; k->name; k++) {
                        (void) snprintf(wanted, sizeof(wanted), "\"\\x0a%s=", k->name);
                        ck_assert_msg(strstr(dictionary, wanted) != NULL, "no %s", wanted);
                }
                (void) snprintf(wanted, sizeof(wanted), "tests/fuzz/corpus/request/%s",
                                verbs[i].name);
                seed = read_source(wanted);
                (void) snprintf(wanted, sizeof(wanted), "VERB=%s", verbs[i].name);
                ck_assert_int_eq(strncmp(seed, wanted, strlen(wanted)), 0);
        }
}
END_TEST

START_TEST(the_limits_on_the_page_are_those_of_the_code) {
        _cleanup_free_ char *page = read_source("docs/protocol.md");
        struct limits limits;
        char row[128];

        limits_default(&limits);
        const struct {
                const char *what;
                size_t limit;
        } rows[] = {
                {"bytes in a packet", MESSAGE_SIZE_MAX},
                {"assignments in a packet", ASSIGNMENTS_MAX},
                {"bytes in a key", KEY_LENGTH_MAX},
                {"bytes in `SERIAL=`", SERIAL_LENGTH_MAX},
                {"bytes in a name, in `STATUS=`", NAME_LENGTH_MAX},
                {"descriptors in a packet", FD_LIST_MAX},
                {"names watched in a session", WATCHED_NAMES_MAX},
                {"sessions", limits.sessions},
                {"sessions of a user", limits.sessions_per_user},
                {"leases of a user", limits.leases_per_user},
                {"packets that wait for a session", limits.answers_per_session},
                {"descriptors sent to a session and not read", limits.fds_in_flight_per_session},
                {"the same, of all sessions", limits.fds_in_flight},
                {"components in one request", OPERATE_NAMES_MAX},
                {"bytes of data with one STORE", STORED_DATA_MAX},
                {"descriptors stored", limits.stored},
                {"descriptors stored by a user", limits.stored_per_user},
                {"bytes of data stored by a user", limits.stored_bytes_per_user},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                (void) snprintf(row, sizeof(row), "\n| %s | %zu |", rows[i].what, rows[i].limit);
                ck_assert_msg(strstr(page, row) != NULL, "docs/protocol.md lacks:%s", row);
        }
}
END_TEST

/* ---- each row ---------------------------------------------------------------------------------*/

static const char *valid_value(const struct verb_key *k) {
        return k->form == FORM_ONE || k->form == FORM_NUMBER || k->form == FORM_ID ? "1"
               : k->form == FORM_NAME || k->form == FORM_NAMES                     ? "web"
                                                                                   : "text";
}

/* Is this (NULL: no) one of the keys of which a single one is needed? */
static bool is_one_of(const struct verb *v, const char *name) {
        for (const struct verb_key *k = v->keys; name && k->name; k++)
                if (k->need == ONE_OF && strcmp(k->name, name) == 0)
                        return true;
        return false;
}

/* The row's request with its required keys (and the first of those of which one is needed), but not
 * `without`. */
static void compose_request(char *ret, size_t size, const struct verb *v, const char *without) {
        bool one = false;

        ret[0] = '\0';
        add(ret, size, "VERB=%s", v->name);
        for (const struct verb_key *k = v->keys; k->name; k++) {
                if (k->need == OPTIONAL || (k->need == ONE_OF && (one || is_one_of(v, without))))
                        continue;
                if (without && strcmp(without, k->name) == 0)
                        continue;
                one = one || k->need == ONE_OF;
                add(ret, size, "\n%s=", k->name);
                add(ret, size, "%s", valid_value(k));
        }
}

/* With as many descriptors as the verb needs, which is one at most. */
static const char *ask_verb(struct fixture *f, int fd, const struct verb *v, const char *request,
                            const char *begin) {
        const char *answer;

        if (v->min_fds == 0)
                return ask(f, fd, request, begin);
        ask(f, fd, "VERB=HELLO", "OK=1\n");
        client_send_fd(fd, request, STDIN_FILENO, 0);
        answer = client_receive(f, fd);
        ck_assert_msg(strncmp(answer, begin, strlen(begin)) == 0, "asked:\n%s\nanswered:\n%s",
                      request, answer);
        return answer;
}

static struct fixture *with_web(void) {
        return fixture_new(compose("[Socket web]\n%s", fixture_port()));
}

/* Those that want a component, of which there is none. */
static bool needs_component(const struct verb *v) {
        return v->right == RIGHT_OPERATE_COMPONENT;
}

/* The fixture's broker is no process that could execute another program. */
static bool needs_process(const struct verb *v) {
        return v->right == RIGHT_OWN;
}

START_TEST(each_verb_is_answered_with_what_its_row_needs) {
        struct fixture *f = with_web();
        int fd = client_connect(f);
        char request[1024];

        for (size_t i = 0; i < n_verbs; i++) {
                compose_request(request, sizeof(request), &verbs[i], NULL);
                add(request, sizeof(request), "\nSERIAL=%s", "s 1");
                add(request, sizeof(request), "\nX-%s=ignored", "WHATEVER");
                ask_verb(f, fd, &verbs[i], request,
                         needs_process(&verbs[i])              ? "ERROR=EOPNOTSUPP\nSERIAL=s 1\n"
                         : needs_component(&verbs[i])          ? "ERROR=ENOENT\nSERIAL=s 1\n"
                         : strcmp(verbs[i].name, "OFFER") == 0 ? "ERROR=EEXIST\nSERIAL=s 1\n"
                                                               : "OK=1\nSERIAL=s 1\n");
        }
        close_fd(fd);
        fixture_free(f);
}
END_TEST

START_TEST(one_key_short_is_refused_by_name) {
        struct fixture *f = with_web();
        int fd = client_connect(f);
        char request[1024], wanted[64];

        for (size_t i = 0; i < n_verbs; i++)
                for (const struct verb_key *k = verbs[i].keys; k->name; k++) {
                        if (k->need == OPTIONAL)
                                continue;
                        compose_request(request, sizeof(request), &verbs[i], k->name);
                        (void) snprintf(wanted, sizeof(wanted), "%s=", k->name);
                        const char *answer =
                                ask_verb(f, fd, &verbs[i], request, "ERROR=EINVAL\nMESSAGE=");
                        ck_assert_msg(strstr(answer, wanted) != NULL, "no %s in %s", wanted,
                                      answer);
                }
        close_fd(fd);
        fixture_free(f);
}
END_TEST

START_TEST(one_key_over_is_refused_by_name) {
        struct fixture *f = with_web();
        int fd = client_connect(f);
        char request[1024];

        for (size_t i = 0; i < n_verbs; i++) {
                compose_request(request, sizeof(request), &verbs[i], NULL);
                add(request, sizeof(request), "\n%s=1", "TIMEOUT");
                const char *answer = ask_verb(f, fd, &verbs[i], request, "ERROR=EINVAL\nMESSAGE=");
                ck_assert_ptr_nonnull(strstr(answer, "TIMEOUT="));
        }
        close_fd(fd);
        fixture_free(f);
}
END_TEST

/* STORE comes first of its family, so the others find what it stored under the longest name. */
static const char *answer_at_limit(const struct verb *v, const struct verb_key *k) {
        bool of_listener = v->right == RIGHT_SEE || v->right == RIGHT_SEE_ANY ||
                           v->right == RIGHT_ACQUIRE || strcmp(v->name, "RELEASE") == 0 ||
                           strcmp(v->name, "OFFER") == 0;

        if (needs_process(v))
                return "ERROR=EOPNOTSUPP\n";
        if (strcmp(k->name, "ALL") == 0)
                return "OK=1\n"; /* none of them */
        if (needs_component(v) || strcmp(k->name, "COMPONENT") == 0)
                return "ERROR=ENOENT\n";
        if (k->form == FORM_NUMBER)
                return "ERROR="; /* its digits fit, and there is no such size and no such user */
        return k->form == FORM_NAME && of_listener ? "ERROR=ENOENT\n" : "OK=1\n";
}

START_TEST(a_value_one_byte_over_its_limit_is_refused_and_at_it_is_not) {
        struct fixture *f = with_web();
        int fd = client_connect(f);
        char request[8192], value[UPGRADE_PATH_MAX + 2], short_of[1024];

        for (size_t i = 0; i < n_verbs; i++)
                for (const struct verb_key *k = verbs[i].keys; k->name; k++) {
                        compose_request(short_of, sizeof(short_of), &verbs[i], k->name);
                        memset(value, '1', k->length_max + 1);
                        /* Names of 63 bytes, as many as are allowed. */
                        for (size_t p = 63; k->form == FORM_NAMES && p < k->length_max; p += 64)
                                value[p] = ' ';
                        value[k->length_max + 1] = '\0';
                        (void) snprintf(request, sizeof(request), "%s\n%s=%s", short_of, k->name,
                                        value);
                        ask_verb(f, fd, &verbs[i], request, "ERROR=EINVAL\nMESSAGE=");
                        value[k->length_max] = '\0';
                        (void) snprintf(request, sizeof(request), "%s\n%s=%s", short_of, k->name,
                                        value);
                        ask_verb(f, fd, &verbs[i], request, answer_at_limit(&verbs[i], k));
                }
        close_fd(fd);
        fixture_free(f);
}
END_TEST

/* With SO_PASSRIGHTS=0 the sender hears it from the kernel; without, the dispatcher says it. */
START_TEST(one_descriptor_over_is_refused) {
        struct fixture *f = with_web();
        int fd = client_connect(f);
        char request[1024];
        struct session *s;

        turn(f);
        s = LIST_FIRST(&f->control->sessions);
        ck_assert_ptr_nonnull(s);
        for (size_t i = 0; i < n_verbs; i++) {
                compose_request(request, sizeof(request), &verbs[i], NULL);
                ck_assert_int_eq(verbs_dispatch(s, request, strlen(request), verbs[i].max_fds + 1),
                                 0);
                ck_assert_int_eq(strncmp(client_receive(f, fd), "ERROR=EINVAL\nMESSAGE=", 21), 0);
        }
        close_fd(fd);
        fixture_free(f);
}
END_TEST

/* "a a a" */
static const char *names_of_one_letter(size_t n) {
        char *names = keep(calloc(n, 2));

        for (size_t i = 0; i < n; i++)
                memcpy(names + 2 * i, "a ", 2);
        names[2 * n - 1] = '\0';
        return names;
}

START_TEST(unknown_verbs_and_bad_values_are_answered_and_the_conversation_goes_on) {
        struct fixture *f = with_web();
        int fd = client_connect(f);
        ask(f, fd, "VERB=FROBNICATE\nSERIAL=7", "ERROR=EOPNOTSUPP\nSERIAL=7\nMESSAGE=");
        ask(f, fd, "VERB=acquire\nNAME=web", "ERROR=EOPNOTSUPP\n");
        ask(f, fd, "NAME=web\nVERB=ACQUIRE", "ERROR=EINVAL\n");
        ask(f, fd, "VERB=ACQUIRE\nNAME=../web", "ERROR=EINVAL\n");
        ask(f, fd, "VERB=ACQUIRE\nNAME=", "ERROR=EINVAL\n");
        ask(f, fd, "VERB=NOTIFY\nREADY=0", "ERROR=EINVAL\n");
        ask(f, fd, "VERB=NOTIFY\nREADY=yes", "ERROR=EINVAL\n");
        ask(f, fd, compose("VERB=HELLO\nSERIAL=%064d", 0), "OK=1\n");
        ask(f, fd, compose("VERB=HELLO\nSERIAL=%065d", 0), "ERROR=EINVAL\nMESSAGE=");
        ask(f, fd, "VERB=START\nNAMES=a  b", "ERROR=EINVAL\n");
        ask(f, fd, "VERB=START\nNAMES=a ", "ERROR=EINVAL\n");
        ask(f, fd, "VERB=START\nNAMES= a", "ERROR=EINVAL\n");
        ask(f, fd, "VERB=START\nNAMES=", "ERROR=EINVAL\n");
        ask(f, fd, "VERB=START\nNAMES=a b/c", "ERROR=EINVAL\n");
        ask(f, fd, "VERB=START\nNAMES=a\nALL=1", "ERROR=EINVAL\n");
        ask(f, fd, "VERB=START\nALL=1\nJOB=", "ERROR=EINVAL\n");
        ask(f, fd, "VERB=START\nALL=1\nJOB=a_b", "ERROR=EINVAL\n");
        ask(f, fd, compose("VERB=START\nNAMES=%s", names_of_one_letter(OPERATE_NAMES_MAX)),
            "ERROR=ENOENT\n");
        ask(f, fd, compose("VERB=START\nNAMES=%s", names_of_one_letter(OPERATE_NAMES_MAX + 1)),
            "ERROR=EINVAL\n");
        ask(f, fd, "VERB=HELLO", "OK=1\n");
        close_fd(fd);
        fixture_free(f);
}
END_TEST

/* What a peer wrote is quoted in answers: it must not forge an assignment or a terminal's colour.
 */
START_TEST(quoted_text_is_made_harmless) {
        struct fixture *f = with_web();
        int fd = client_connect(f);
        const char *answer = ask(f, fd, "VERB=A\033[31mB\x80", "ERROR=EOPNOTSUPP\n");

        ck_assert_ptr_nonnull(strstr(answer, "\"A?[31mB?\""));
        close_fd(fd);
        fixture_free(f);
}
END_TEST

SUITE("verbs", {
        TEST(the_protocol_page_has_a_row_for_each_verb_and_no_other);
        TEST(the_limits_on_the_page_are_those_of_the_code);
        TEST(the_manual_page_names_each_verb_and_key);
        TEST(the_fuzzer_knows_each_verb_and_key);
        TEST(each_verb_is_answered_with_what_its_row_needs);
        TEST(one_key_short_is_refused_by_name);
        TEST(one_key_over_is_refused_by_name);
        TEST(a_value_one_byte_over_its_limit_is_refused_and_at_it_is_not);
        TEST(one_descriptor_over_is_refused);
        TEST(unknown_verbs_and_bad_values_are_answered_and_the_conversation_goes_on);
        TEST(quoted_text_is_made_harmless);
})
