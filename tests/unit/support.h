/*
 * What every unit test has: a private folder, and a comparison of the open descriptors before and
 * after, so that a leaked or doubly closed descriptor fails the test that did it.
 *
 *      SUITE("grammar", { TEST(t_one); TEST(t_two); })
 *
 * Each test runs in a fork of its own (Check), with a timeout.
 */
#ifndef TESTS_SUPPORT_H
#define TESTS_SUPPORT_H

#include <check.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/types.h>

/* The private folder of this test; removed after it. */
const char *test_folder(void);
/* "FOLDER/name"; freed after the test. */
const char *test_path(const char *name);
/* Write a file in the private folder, making folders on the way; returns its path. */
const char *test_write(const char *name, const char *content);
/* A folder there, which may exist already, or a symbolic link in the place of the one before. */
void test_put_folder(const char *name, mode_t mode, uid_t uid, gid_t gid);
void test_put_link(const char *target, const char *name, uid_t uid);
/* Something of that name, were it a link to nothing. */
bool test_is_there(const char *name);

/* How many descriptors this process has open. */
unsigned test_open_fds(void);

/*
 * This is valgrind, which cannot do what a test (or the rest of it) is about: `why` is printed, and
 * the caller leaves it out.
 */
#define SKIPPED_UNDER_VALGRIND(why) support_is_skipped_under_valgrind(__func__, why)
#define VALGRIND_KEEPS_LIMITS "it keeps RLIMIT_NOFILE for itself, not in the kernel"
bool support_is_skipped_under_valgrind(const char *test, const char *why);

void support_setup(void);
void support_teardown(void);
int support_run(Suite *suite);

#define TEST(name) tcase_add_test(tests_, name)

#define SUITE(title, ...)                                                                          \
        int main(void) {                                                                           \
                Suite *suite_ = suite_create(title);                                               \
                TCase *tests_ = tcase_create(title);                                               \
                tcase_add_checked_fixture(tests_, support_setup, support_teardown);                \
                tcase_set_timeout(tests_, 60);                                                     \
                __VA_ARGS__                                                                        \
                suite_add_tcase(suite_, tests_);                                                   \
                return support_run(suite_);                                                        \
        }

#endif
