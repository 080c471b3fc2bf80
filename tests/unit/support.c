#include "support.h"

#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];
static unsigned fds_before;

/* What test_path() gave out: freed after the test, so that a leak check sees only real leaks. */
static struct path {
        struct path *next;
        char *text;
} * paths;

unsigned test_open_fds(void) {
        DIR *d = opendir("/proc/self/fd");
        unsigned n = 0;

        ck_assert_ptr_nonnull(d);
        while (readdir(d))
                n++;
        closedir(d);
        return n - 3; /* ".", ".." and the folder itself */
}

const char *test_folder(void) {
        return folder;
}

const char *test_path(const char *name) {
        struct path *path = malloc(sizeof(*path));

        ck_assert_ptr_nonnull(path);
        ck_assert_int_gt(asprintf(&path->text, "%s/%s", folder, name), 0);
        path->next = paths;
        paths = path;
        return path->text;
}

const char *test_write(const char *name, const char *content) {
        char *path = (char *) test_path(name);
        FILE *f;

        for (char *slash = strchr(path + strlen(folder) + 1, '/'); slash;
             slash = strchr(slash + 1, '/')) {
                *slash = '\0';
                (void) mkdir(path, 0755);
                *slash = '/';
        }
        f = fopen(path, "we");
        ck_assert_ptr_nonnull(f);
        ck_assert_int_ge(fputs(content, f), 0);
        ck_assert_int_eq(fclose(f), 0);
        return path;
}

void test_put_folder(const char *name, mode_t mode, uid_t uid, gid_t gid) {
        (void) mkdir(test_path(name), 0700);
        ck_assert_int_eq(chown(test_path(name), uid, gid), 0);
        ck_assert_int_eq(chmod(test_path(name), mode), 0);
}

void test_put_link(const char *target, const char *name, uid_t uid) {
        (void) unlink(test_path(name));
        ck_assert_int_eq(symlink(target, test_path(name)), 0);
        ck_assert_int_eq(lchown(test_path(name), uid, uid), 0);
}

bool test_is_there(const char *name) {
        struct stat st;

        return lstat(test_path(name), &st) == 0;
}

bool support_is_skipped_under_valgrind(const char *test, const char *why) {
        if (!getenv("UNDER_VALGRIND"))
                return false;
        /* Not by stdio: what a test leaves in its buffer is lost when it is killed. */
        (void) dprintf(STDOUT_FILENO, "skipped under valgrind: %s: %s\n", test, why);
        return true;
}

void support_setup(void) {
        strcpy(folder, "/tmp/fdpass-unit-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(folder));
        fds_before = test_open_fds();
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
        return remove(path);
}

void support_teardown(void) {
        unsigned fds_after = test_open_fds();

        nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
        while (paths) {
                struct path *path = paths;

                paths = path->next;
                free(path->text);
                free(path);
        }
        ck_assert_msg(fds_after == fds_before, "descriptors open: %u before the test, %u after it",
                      fds_before, fds_after);
}

int support_run(Suite *suite) {
        SRunner *runner = srunner_create(suite);
        int failed;

        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
