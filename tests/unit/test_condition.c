/* What each kind of condition looks at, and which of several keeps a component from starting. */
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "component_support.h"
#include "components/condition.h"
#include "support.h"

static bool holds(enum condition_kind kind, const char *parameter) {
        struct condition plain = {.kind = kind, .parameter = (char *) parameter};
        struct condition negated = {
                .kind = kind, .parameter = (char *) parameter, .is_negated = true};
        bool is_met = conditions_find_unmet(&(struct conditions){&plain, 1}) == 1;

        ck_assert(is_met == (conditions_find_unmet(&(struct conditions){&negated, 1}) == 0));
        return is_met;
}

static void check(enum condition_kind kind, const char *name, bool expected) {
        ck_assert_msg(holds(kind, test_path(name)) == expected, "%s of %s",
                      condition_kind_name(kind), name);
}

START_TEST(each_kind_looks_at_what_it_is_called_after) {
        static const struct {
                const char *name;
                bool exists, is_directory, is_link, has_entries, has_content, is_executable;
        } rows[] = {
                {"missing", 0, 0, 0, 0, 0, 0},  {"missing/x", 0, 0, 0, 0, 0, 0},
                {"file", 1, 0, 0, 0, 1, 0},     {"file/x", 0, 0, 0, 0, 0, 0},
                {"empty", 1, 0, 0, 0, 0, 0},    {"program", 1, 0, 0, 0, 1, 1},
                {"folder", 1, 1, 0, 1, 0, 0},   {"hidden", 1, 1, 0, 0, 0, 0},
                {"link", 1, 0, 1, 0, 1, 0},     {"folder-link", 1, 1, 1, 1, 0, 0},
                {"dangling", 0, 0, 1, 0, 0, 0},
        };

        (void) test_write("file", "x");
        (void) test_write("empty", "");
        ck_assert_int_eq(chmod(test_write("program", "x"), 0711), 0);
        (void) test_write("folder/x", "");
        (void) test_write("hidden/.x", "");
        (void) test_write("hidden/x~", "");
        (void) test_write("hidden/lost+found", "");
        ck_assert_int_eq(symlink("file", test_path("link")), 0);
        ck_assert_int_eq(symlink("folder", test_path("folder-link")), 0);
        ck_assert_int_eq(symlink("nowhere", test_path("dangling")), 0);
        for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
                check(CONDITION_PATH_EXISTS, rows[i].name, rows[i].exists);
                check(CONDITION_PATH_IS_DIRECTORY, rows[i].name, rows[i].is_directory);
                check(CONDITION_PATH_IS_SYMBOLIC_LINK, rows[i].name, rows[i].is_link);
                check(CONDITION_DIRECTORY_NOT_EMPTY, rows[i].name, rows[i].has_entries);
                check(CONDITION_FILE_NOT_EMPTY, rows[i].name, rows[i].has_content);
                check(CONDITION_FILE_IS_EXECUTABLE, rows[i].name, rows[i].is_executable);
        }
}
END_TEST

START_TEST(a_pattern_matches_what_is_there) {
        (void) test_write("a-1", "");
        check(CONDITION_PATH_EXISTS_GLOB, "a-*", true);
        check(CONDITION_PATH_EXISTS_GLOB, "a-[2-9]", false);
        check(CONDITION_PATH_EXISTS_GLOB, "{x,a}-1", true);
}
END_TEST

START_TEST(mounts_are_known_and_whether_they_can_be_written) {
        ck_assert(holds(CONDITION_PATH_IS_MOUNT_POINT, "/proc"));
        check(CONDITION_PATH_IS_MOUNT_POINT, ".", false);
        check(CONDITION_PATH_IS_READ_WRITE, ".", true);
        check(CONDITION_PATH_IS_READ_WRITE, "missing", true); /* as in systemd */
        SKIP_UNLESS(geteuid() == 0 && unshare(CLONE_NEWNS) == 0, "only root mounts");
        ck_assert_int_eq(mount("", "/", "", MS_REC | MS_PRIVATE, NULL), 0);
        ck_assert_int_eq(mkdir(test_path("m"), 0755), 0);
        ck_assert_int_eq(mount("none", test_path("m"), "tmpfs", MS_RDONLY, NULL), 0);
        check(CONDITION_PATH_IS_MOUNT_POINT, "m", true);
        check(CONDITION_PATH_IS_READ_WRITE, "m", false);
        ck_assert_int_eq(umount(test_path("m")), 0);
}
END_TEST

START_TEST(variables_are_those_of_the_broker) {
        setenv("FDPASS_TEST", "a=b", 1);
        ck_assert(holds(CONDITION_ENVIRONMENT, "FDPASS_TEST"));
        ck_assert(holds(CONDITION_ENVIRONMENT, "FDPASS_TEST=a=b"));
        ck_assert(!holds(CONDITION_ENVIRONMENT, "FDPASS_TEST=a"));
        ck_assert(!holds(CONDITION_ENVIRONMENT, "FDPASS_TES"));
        ck_assert(!holds(CONDITION_ENVIRONMENT, "FDPASS_TEST_"));
}
END_TEST

/* "+" is met, "-" is not; after "|" it is one of which one is enough, after "a" an assertion. */
static size_t unmet(const char *text) {
        struct condition items[8] = {0};
        struct conditions all = {items, 0};

        for (; *text; text++) {
                struct condition *c = &items[all.count];

                c->parameter = "/";
                c->is_trigger = c->is_trigger || *text == '|';
                c->is_assert = c->is_assert || *text == 'a';
                c->is_negated = *text == '-';
                all.count += *text == '+' || *text == '-';
        }
        return conditions_find_unmet(&all);
}

START_TEST(all_are_to_be_met_and_one_of_those_with_a_bar) {
        ck_assert_uint_eq(unmet(""), 0);
        ck_assert_uint_eq(unmet("++"), 2);
        ck_assert_uint_eq(unmet("+-+-"), 1);
        ck_assert_uint_eq(unmet("|-|+"), 2);
        ck_assert_uint_eq(unmet("+|-|-"), 1);
        ck_assert_uint_eq(unmet("|+-"), 1);
        ck_assert_uint_eq(unmet("a-+"), 0);
        ck_assert_uint_eq(unmet("a--"), 1); /* a condition that is not met comes before */
        ck_assert_uint_eq(unmet("|-a|+"), 0);
        ck_assert_uint_eq(unmet("|+a|-"), 1);
}
END_TEST

SUITE("condition", {
        TEST(each_kind_looks_at_what_it_is_called_after);
        TEST(a_pattern_matches_what_is_there);
        TEST(mounts_are_known_and_whether_they_can_be_written);
        TEST(variables_are_those_of_the_broker);
        TEST(all_are_to_be_met_and_one_of_those_with_a_bar);
})
