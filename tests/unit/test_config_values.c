/* Plain values: words, UTF-8, paths, addresses, access lists, identities, specifiers. */
#include "support.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "config/access.h"
#include "config/address.h"
#include "config/identity.h"
#include "config/path.h"
#include "config/specifiers.h"
#include "config/values.h"

/* The words of a value with '|' behind each; "!" when it is wrong. */
static const char *words_of(const char *value) {
        static char all[256];
        char *word;
        int r;

        all[0] = '\0';
        while ((r = value_next_word(&value, &word)) > 0) {
                strcat(strcat(all, word), "|");
                free(word);
        }
        return r < 0 ? "!" : all;
}

START_TEST(words_are_split_as_in_unit_files) {
        static const struct {
                const char *value, *words;
        } rows[] = {
                {"", ""},
                {"  \t ", ""},
                {"a", "a|"},
                {" a\tb  c ", "a|b|c|"},
                {"\"a b\" 'c d'", "a b|c d|"},
                {"\"\"", "|"},
                {"a\"b\"", "a\"b\"|"}, /* a quote inside a word is a character */
                {"\"it's\"", "it's|"},
                {"a\\sb", "a b|"},
                {"\\x41\\102\\u00e9\\U0001f600", "AB\xc3\xa9\xf0\x9f\x98\x80|"},
                {"\"\\\"\\'\\\\\"", "\"'\\|"},
                {"\\t", "\t|"},
                {"\"open", "!"},
                {"'open", "!"},
                {"\"a\"b", "!"},
                {"a\\", "!"},
                {"a\\q", "!"},
                {"\\x4", "!"},
                {"\\x00", "!"},
                {"\\000", "!"},
                {"\\400", "!"},
                {"\\ud800", "!"},
                {"\\U00110000", "!"},
                {"\\u00", "!"},
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
                ck_assert_msg(strcmp(words_of(rows[i].value), rows[i].words) == 0,
                              "%s: expected %s, got %s", rows[i].value, rows[i].words,
                              words_of(rows[i].value));
}
END_TEST

START_TEST(utf8_is_checked_as_rfc_3629_has_it) {
        static const char *const good[] = {"",
                                           "a",
                                           "\xc2\x80",
                                           "\xdf\xbf",
                                           "\xe0\xa0\x80",
                                           "\xed\x9f\xbf",
                                           "\xee\x80\x80",
                                           "\xf0\x90\x80\x80",
                                           "\xf4\x8f\xbf\xbf"};
        static const char *const bad[] = {"\x80",
                                          "\xc0\x80",
                                          "\xc1\xbf",
                                          "\xc2",
                                          "\xe0\x9f\xbf",
                                          "\xed\xa0\x80",
                                          "\xf0\x8f\xbf\xbf",
                                          "\xf4\x90\x80\x80",
                                          "\xf5\x80\x80\x80",
                                          "\xff",
                                          "\xe2\x82",
                                          "\xe2\x82(",
                                          "\xf0\x9f\x98"};

        for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
                ck_assert_msg(value_is_utf8(good[i], strlen(good[i])), "good %zu", i);
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                ck_assert_msg(!value_is_utf8(bad[i], strlen(bad[i])), "bad %zu", i);
        ck_assert(!value_is_utf8("a\0b", 3));
}
END_TEST

START_TEST(numbers_are_whole_and_bounded) {
        uint64_t n = 99;

        ck_assert_int_eq(value_to_number("5", 5, 5, &n), 0);
        ck_assert_uint_eq(n, 5);
        ck_assert_int_eq(value_to_number("4", 5, 5, &n), -ERANGE);
        ck_assert_int_eq(value_to_number("6", 5, 5, &n), -ERANGE);
        ck_assert_int_eq(value_to_number("", 0, 5, &n), -EINVAL);
        ck_assert_int_eq(value_to_number("+1", 0, 5, &n), -EINVAL);
        ck_assert_int_eq(value_to_number(" 1", 0, 5, &n), -EINVAL);
        ck_assert_int_eq(value_to_number("1x", 0, 5, &n), -EINVAL);
        ck_assert_int_eq(value_to_number("18446744073709551616", 0, UINT64_MAX, &n), -ERANGE);
        ck_assert_int_eq(value_to_number("184467440737095516150", 0, UINT64_MAX, &n), -ERANGE);
        ck_assert_uint_eq(n, 5);
}
END_TEST

START_TEST(paths_have_one_spelling) {
        char path[16];
        const char *reason;

        ck_assert_int_eq(path_normalize("//a/./b//", path, sizeof(path), &reason), 0);
        ck_assert_str_eq(path, "/a/b");
        ck_assert_int_eq(path_normalize("/123456789012345", path, sizeof(path), &reason),
                         -ENAMETOOLONG);
        ck_assert_int_eq(path_normalize("/12345678901234/", path, sizeof(path), &reason), 0);
        ck_assert_str_eq(path, "/12345678901234");
        ck_assert_int_eq(path_normalize("a", path, sizeof(path), &reason), -EINVAL);
        ck_assert_int_eq(path_normalize("/..", path, sizeof(path), &reason), -EINVAL);
        ck_assert_int_eq(path_normalize("/a\nb", path, sizeof(path), &reason), -EINVAL);
        ck_assert_int_eq(path_normalize("/a\\", path, sizeof(path), &reason), -EINVAL);
        ck_assert_int_eq(path_normalize("/a\\\\", path, sizeof(path), &reason), 0);
}
END_TEST

/* What we write must be what the kernel says of the bound socket, or adoption never matches. */
/* The sanitizer sees each byte that is read behind it. */
static void assert_keeps(const struct address *a) {
        struct address *kept = address_dup(a), copy;
        char text[ADDRESS_TEXT_SIZE], kept_text[ADDRESS_TEXT_SIZE];

        ck_assert_ptr_nonnull(kept);
        ck_assert(address_equal(kept, a));
        ck_assert_uint_eq(address_size(kept), address_size(a));
        ck_assert_uint_eq(address_port(kept), address_port(a));
        ck_assert_str_eq(address_text(kept, kept_text), address_text(a, text));
        ck_assert(address_equal(address_copy(&copy, kept), a));
        free(kept);
}

START_TEST(a_kept_address_has_all_that_one_of_its_kind_has_and_no_room_for_others) {
        static const char *const texts[] = {"127.0.0.1:1", "[::1]:65535", "/x", "/run/web.sock"};
        struct address a;
        const char *reason;

        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
                ck_assert_int_eq(address_parse(texts[i], &a, &reason), 0);
                assert_keeps(&a);
                ck_assert_uint_lt(address_size(&a), sizeof(a) / 2);
        }
        /* The longest path, which getsockname(2) gives without its NUL. */
        a.length = sizeof(a.un);
        memset(a.un.sun_path, 'x', sizeof(a.un.sun_path));
        a.un.sun_path[0] = '/';
        ck_assert_uint_le(address_size(&a), sizeof(a));
        assert_keeps(&a);
}
END_TEST

START_TEST(the_kernel_agrees_about_addresses) {
        static const char *const texts[] = {"127.0.0.1:", "[::1]:", "0.0.0.0:", "[::]:"};

        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
                _cleanup_close_ int fd = -1;
                struct address any, bound, parsed;
                char text[ADDRESS_TEXT_SIZE], probe[64];
                const char *reason;

                snprintf(probe, sizeof(probe), "%s1", texts[i]);
                ck_assert_int_eq(address_parse(probe, &any, &reason), 0);
                any.in.sin_port = 0; /* the same place in sockaddr_in6 */
                fd = socket(any.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
                if (fd < 0)
                        continue; /* no IPv6 here */
                if (bind(fd, &any.any, any.length) < 0)
                        continue;
                ck_assert_int_eq(address_of_socket(fd, &bound), 0);
                ck_assert_uint_gt(address_port(&bound), 0);
                ck_assert_int_eq(address_parse(address_text(&bound, text), &parsed, &reason), 0);
                ck_assert(address_equal(&bound, &parsed));
                ck_assert(!address_equal(&bound, &any));
        }
}
END_TEST

START_TEST(the_kernel_agrees_about_paths) {
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct address parsed, bound, other;
        char text[ADDRESS_TEXT_SIZE];
        const char *reason;

        ck_assert_int_eq(address_parse(test_path("x.sock"), &parsed, &reason), 0);
        ck_assert_int_eq(address_of_socket(fd, &bound), 0);
        ck_assert_str_eq(address_text(&bound, text), "(unnamed Unix socket)");
        ck_assert(!address_equal(&bound, &bound));
        ck_assert_int_eq(bind(fd, &parsed.any, parsed.length), 0);
        ck_assert_int_eq(address_of_socket(fd, &bound), 0);
        ck_assert(address_equal(&parsed, &bound));
        ck_assert(address_is_unix(&bound));
        ck_assert_uint_eq(address_port(&bound), 0);
        ck_assert_str_eq(address_text(&bound, text), test_path("x.sock"));
        ck_assert_int_eq(address_parse(test_path("x.soc"), &other, &reason), 0);
        ck_assert(!address_equal(&other, &bound));
        bound.type = SOCK_SEQPACKET;
        ck_assert(!address_equal(&parsed, &bound));
}
END_TEST

START_TEST(the_longest_path_is_bound_whole) {
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        char path[128] = "/tmp/";
        struct address parsed, bound;
        const char *reason;

        memset(path + 5, 'p', 102);
        snprintf(path + 5, 32, "fdpass-longest-%d-", getpid());
        path[strlen(path)] = 'p'; /* over the NUL */
        ck_assert_uint_eq(strlen(path), 107);
        ck_assert_int_eq(address_parse(path, &parsed, &reason), 0);
        ck_assert_int_eq(bind(fd, &parsed.any, parsed.length), 0);
        ck_assert_int_eq(access(path, F_OK), 0);
        ck_assert_int_eq(unlink(path), 0);
        ck_assert_int_eq(address_of_socket(fd, &bound), 0);
        ck_assert(address_equal(&parsed, &bound));
        path[107] = 'p';
        ck_assert_int_eq(address_parse(path, &parsed, &reason), -ENAMETOOLONG);
}
END_TEST

START_TEST(foreign_addresses_are_fit_for_a_terminal) {
        static const char name[] = "\0evil\033[2J\n";
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        struct address a = {.type = SOCK_DGRAM};
        char text[ADDRESS_TEXT_SIZE];

        a.un.sun_family = AF_UNIX;
        memcpy(a.un.sun_path, name, sizeof(name) - 1);
        a.length = (socklen_t) (offsetof(struct sockaddr_un, sun_path) + sizeof(name) - 1);
        ck_assert_str_eq(address_text(&a, text), "@evil?[2J?");
        ck_assert(address_equal(&a, &a));
        memset(a.un.sun_path, 'x', sizeof(a.un.sun_path)); /* no NUL: the kernel allows it */
        a.length = sizeof(a.un);
        ck_assert_uint_eq(strlen(address_text(&a, text)), sizeof(a.un.sun_path));
        ck_assert_int_eq(address_of_socket(fd, &a), 0);
        ck_assert_int_eq(a.type, SOCK_DGRAM);
        ck_assert_int_eq(address_of_socket(-1, &a), -EBADF);
        ck_assert_int_eq(address_of_socket(STDERR_FILENO, &a), -ENOTSOCK);
        ck_assert_int_eq(a.type, SOCK_DGRAM);
        a.any.sa_family = AF_NETLINK;
        ck_assert_str_eq(address_text(&a, text), "(socket of address family 16)");
}
END_TEST

START_TEST(a_scope_is_an_interface) {
        struct address a, by_number;
        char text[ADDRESS_TEXT_SIZE], number[64];
        const char *reason;

        ck_assert_int_eq(address_parse("[fe80::1%lo]:80", &a, &reason), 0);
        ck_assert_uint_eq(a.in6.sin6_scope_id, if_nametoindex("lo"));
        snprintf(number, sizeof(number), "[fe80::1%%%u]:80", if_nametoindex("lo"));
        ck_assert_int_eq(address_parse(number, &by_number, &reason), 0);
        ck_assert(address_equal(&a, &by_number));
        ck_assert_str_eq(address_text(&a, text), "[fe80::1%lo]:80");
        by_number.in6.sin6_scope_id = 77777;
        ck_assert(!address_equal(&a, &by_number));
        ck_assert_str_eq(address_text(&by_number, text), "[fe80::1%77777]:80");
}
END_TEST

START_TEST(forms_that_come_later_are_told_from_mistakes) {
        struct address a = {.type = 77};
        const char *reason = NULL;

        ck_assert_int_eq(address_parse("@x", &a, &reason), -EOPNOTSUPP);
        ck_assert_int_eq(address_parse("vsock:2:1", &a, &reason), -EOPNOTSUPP);
        ck_assert_int_eq(address_parse("1-2", &a, &reason), -EOPNOTSUPP);
        ck_assert_int_eq(address_parse("[::1]:1-2", &a, &reason), -EOPNOTSUPP);
        ck_assert_int_eq(address_parse("", &a, &reason), -EINVAL);
        ck_assert_int_eq(address_parse("-", &a, &reason), -EINVAL);
        ck_assert_int_eq(a.type, 77); /* written on success only */
        ck_assert_ptr_nonnull(reason);
}
END_TEST

START_TEST(access_is_no_by_default) {
        uid_t users[] = {7, 65534, (uid_t) -1};
        gid_t groups[] = {8, 65534, (gid_t) -1};
        const gid_t mine[] = {5, 8}, others[] = {5, 6}, overflow[] = {65534, (gid_t) -1};
        struct access_list list = {users, 3, groups, 3}, nobody = {0};

        ck_assert(access_list_has(&list, 7, NULL, 0));
        ck_assert(access_list_has(&list, 1, mine, 2));
        ck_assert(!access_list_has(&list, 1, others, 2));
        ck_assert(!access_list_has(&list, 8, NULL, 0)); /* a gid is no uid */
        ck_assert(!access_list_has(&nobody, 7, mine, 2));
        /* the overflow ids stand for anybody, and -1 for nobody */
        ck_assert(!access_list_has(&list, 65534, NULL, 0));
        ck_assert(!access_list_has(&list, 65534, mine, 2));
        ck_assert(!access_list_has(&list, (uid_t) -1, mine, 2));
        ck_assert(!access_list_has(&list, 1, overflow, 2));
        ck_assert(access_list_equal(&list, &list));
        ck_assert(!access_list_equal(&list, &nobody));
}
END_TEST

static struct identities *identities_of_test(void) {
        struct identities *all;

        test_write("passwd", "root:x:0:0:root:/root:/bin/sh\n"
                             "alice:x:1000:100::/home/alice:/bin/sh\n"
                             "broken line\n"
                             "twin:x:1000:5::/:/bin/sh\n"
                             "alice:x:2000:5::/:/bin/sh\n"
                             "+nis:x:3000:5::/:/bin/sh\n"
                             "last:x:4000:5::/:/bin/sh");
        test_write("group", "root:x:0:\nusers:x:100:alice\n");
        ck_assert_int_eq(identities_new(&all, test_path("passwd"), test_path("group")), 0);
        return all;
}

START_TEST(names_are_looked_up_in_the_files_only) {
        struct identities *all = identities_of_test();
        const char *name;
        struct user user;
        unsigned id = 99;

        ck_assert_int_eq(identities_uid(all, "alice", &id), 0);
        ck_assert_uint_eq(id, 1000); /* the first one wins, as in getpwnam(3) */
        ck_assert_int_eq(identities_uid(all, "last", &id), 0);
        ck_assert_uint_eq(id, 4000);
        ck_assert_int_eq(identities_gid(all, "users", &id), 0);
        ck_assert_uint_eq(id, 100);
        ck_assert_int_eq(identities_uid(all, "users", &id), -ESRCH);
        ck_assert_int_eq(identities_uid(all, "+nis", &id), -ESRCH);
        ck_assert_int_eq(identities_uid(all, "broken line", &id), -ESRCH);
        ck_assert_int_eq(identities_uid(all, "", &id), -EINVAL);
        ck_assert_int_eq(identities_uid(all, "4294967295", &id), -EINVAL);
        ck_assert_int_eq(identities_uid(all, "12345", &id), 0);
        ck_assert_uint_eq(id, 12345);
        ck_assert_int_eq(identities_user(all, 1000, &user), 0);
        ck_assert_str_eq(user.name, "alice");
        ck_assert_uint_eq(user.gid, 100);
        ck_assert_int_eq(identities_user(all, 2000, &user), -ESRCH);
        ck_assert_int_eq(identities_group_name(all, 100, &name), 0);
        ck_assert_str_eq(name, "users");
        identities_free(all);
}
END_TEST

START_TEST(without_the_files_numbers_still_work) {
        struct identities *all;
        unsigned id;

        ck_assert_int_eq(identities_new(&all, test_path("none"), test_path("none")), 0);
        ck_assert_int_eq(identities_uid(all, "7", &id), 0);
        ck_assert_int_eq(identities_uid(all, "root", &id), -ESRCH);
        ck_assert_int_eq(identities_gid(all, "root", &id), -ESRCH);
        identities_free(all);
}
END_TEST

static const char *expanded(const struct specifier_context *context, const char *text) {
        static char *result;
        static char reason[SPECIFIERS_REASON_SIZE];

        free(result);
        result = NULL;
        return specifiers_expand(context, text, &result, reason) == 0 ? result : reason;
}

START_TEST(specifiers_are_those_of_systemd) {
        struct identities *all = identities_of_test();
        struct specifier_context unit = {
                .unit = "web-api@a-b.socket", .name = "web-api@a-b", .identities = all};
        struct specifier_context user = {.uid = 1000, .gid = 100, .identities = all};

        ck_assert_str_eq(expanded(&unit, "%n %N %p %j %i %I"),
                         "web-api@a-b.socket web-api@a-b web-api api a-b a/b");
        ck_assert_str_eq(expanded(&unit, "%u %U %g %G %h %t %S %C %L %E"),
                         "root 0 root 0 /root /run /var/lib /var/cache /var/log /etc");
        setenv("HOME", "/home/x", 1);
        setenv("XDG_RUNTIME_DIR", "/run/user/1000", 1);
        unsetenv("XDG_STATE_HOME");
        unsetenv("XDG_CACHE_HOME");
        unsetenv("XDG_CONFIG_HOME");
        ck_assert_str_eq(expanded(&user, "%u %U %g %G %h %t"),
                         "alice 1000 users 100 /home/x /run/user/1000");
        ck_assert_str_eq(expanded(&user, "%S %C %L %E"),
                         "/home/x/.local/state /home/x/.cache /home/x/.local/state/log "
                         "/home/x/.config");
        setenv("XDG_STATE_HOME", "/s", 1);
        setenv("XDG_CACHE_HOME", "relative", 1); /* does not count */
        ck_assert_str_eq(expanded(&user, "%S %L %C"), "/s /s/log /home/x/.cache");
        unsetenv("HOME");
        ck_assert_str_eq(expanded(&user, "%h"), "/home/alice");
        unsetenv("TMPDIR");
        unsetenv("TEMP");
        unsetenv("TMP");
        ck_assert_str_eq(expanded(&user, "%T %V"), "/tmp /var/tmp");
        setenv("TMP", "/t", 1);
        ck_assert_str_eq(expanded(&user, "%T%V"), "/t/t");
        (void) expanded(&user, "");
        identities_free(all);
}
END_TEST

START_TEST(a_specifier_without_a_value_says_so) {
        struct identities *all = identities_of_test();
        struct specifier_context user = {.uid = 77, .gid = 77, .identities = all};

        unsetenv("HOME");
        unsetenv("XDG_RUNTIME_DIR");
        unsetenv("XDG_CACHE_HOME");
        ck_assert_ptr_nonnull(strstr(expanded(&user, "%u"), "use '%U'"));
        ck_assert_ptr_nonnull(strstr(expanded(&user, "%g"), "use '%G'"));
        ck_assert_ptr_nonnull(strstr(expanded(&user, "%h"), "set HOME"));
        ck_assert_ptr_nonnull(strstr(expanded(&user, "%t"), "set XDG_RUNTIME_DIR"));
        ck_assert_ptr_nonnull(strstr(expanded(&user, "%C"), "set XDG_CACHE_HOME"));
        ck_assert_ptr_nonnull(strstr(expanded(&user, "%i"), "no meaning in [Broker]"));
        ck_assert_ptr_nonnull(strstr(expanded(&user, "%z"), "'%z' is no specifier"));
        ck_assert_ptr_nonnull(strstr(expanded(&user, "%"), "stands alone"));
        ck_assert_ptr_nonnull(strstr(expanded(&user, "%\xff"), "stands alone"));
        (void) expanded(&user, "");
        identities_free(all);
}
END_TEST

START_TEST(an_expansion_is_bounded) {
        struct identities *all = identities_of_test();
        char name[256], text[2 * 64 + 1];
        struct specifier_context unit = {.unit = name, .name = name, .identities = all};

        memset(name, 'n', sizeof(name) - 1);
        name[sizeof(name) - 1] = '\0';
        for (size_t i = 0; i < 64; i++)
                memcpy(text + 2 * i, "%n", 3);
        ck_assert_ptr_nonnull(strstr(expanded(&unit, text), "becomes longer"));
        (void) expanded(&unit, "");
        identities_free(all);
}
END_TEST

START_TEST(the_machine_is_known) {
        struct specifier_context any = {0};
        const char *text = expanded(&any, "%b");

        ck_assert_uint_eq(strlen(text), 32);
        ck_assert_uint_eq(strspn(text, "0123456789abcdef"), 32);
        ck_assert_uint_gt(strlen(expanded(&any, "%v")), 0);
        ck_assert_ptr_null(strchr(expanded(&any, "%l"), '.'));
        (void) expanded(&any, "");
}
END_TEST

SUITE("config values", {
        TEST(words_are_split_as_in_unit_files);
        TEST(utf8_is_checked_as_rfc_3629_has_it);
        TEST(numbers_are_whole_and_bounded);
        TEST(paths_have_one_spelling);
        TEST(a_kept_address_has_all_that_one_of_its_kind_has_and_no_room_for_others);
        TEST(the_kernel_agrees_about_addresses);
        TEST(the_kernel_agrees_about_paths);
        TEST(the_longest_path_is_bound_whole);
        TEST(foreign_addresses_are_fit_for_a_terminal);
        TEST(a_scope_is_an_interface);
        TEST(forms_that_come_later_are_told_from_mistakes);
        TEST(access_is_no_by_default);
        TEST(names_are_looked_up_in_the_files_only);
        TEST(without_the_files_numbers_still_work);
        TEST(specifiers_are_those_of_systemd);
        TEST(a_specifier_without_a_value_says_so);
        TEST(an_expansion_is_bounded);
        TEST(the_machine_is_known);
})
