/* Whose links are followed, whose folders are gone up from, and what is made on the way. */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "component_support.h"
#include "components/trusted_path.h"
#include "support.h"

#define OTHER 12345 /* the component's user, and its group */
#define MEMBERS 12346
#define ADMINISTRATORS 12347
#define RACES 5000
#define MANY (100 * RACES) /* until both have been seen */

#define SKIP_UNLESS_ROOT() SKIP_UNLESS(geteuid() == 0, "only root has others' files")

static char what[512];
static struct component_config component;
static struct trusted_path path;

static void reset(void) {
        static gid_t groups[] = {MEMBERS};

        (void) close_fd(path.folder);
        component = component_defaults();
        component.has_user = true;
        component.uid = component.gid = OTHER;
        component.groups = groups;
        component.n_groups = 1;
        path = (struct trusted_path){.component = &component,
                                     .refusal = "a link",
                                     .what = what,
                                     .what_size = sizeof(what),
                                     .folder = -1};
        (void) snprintf(what, sizeof(what), "PATH");
}

static void setup(void) {
        path.folder = -1;
        reset();
        ck_assert_int_eq(chmod(test_folder(), 0755), 0);
        (void) umask(0);
}

static void teardown(void) {
        path.folder = close_fd(path.folder);
}

/* ---- what there is ----------------------------------------------------------------------------*/

/* ---- where it comes to ------------------------------------------------------------------------*/

static int walk(const char *name) {
        return trusted_path_walk(&path, "/", test_path(name));
}

static bool is_at(const char *name) {
        struct stat there, here;

        ck_assert_int_eq(stat(test_path(name), &there), 0);
        ck_assert_int_eq(fstat(path.folder, &here), 0);
        return there.st_ino == here.st_ino && there.st_dev == here.st_dev;
}

static void leads_to(const char *name, const char *at) {
        int r;

        reset();
        r = walk(name);
        ck_assert_msg(r == 0, "%s: %s (%s)", name, what, strerror(-r));
        ck_assert_msg(is_at(at), "%s leads elsewhere than to %s", name, at);
        ck_assert_str_eq(path.name, strrchr(name, '/') + 1);
}

static void fails(const char *name, int error, const char *about) {
        int r;

        reset();
        r = walk(name);
        ck_assert_msg(r == -error, "%s: %s", name, r < 0 ? strerror(-r) : "went");
        ck_assert_str_eq(what, about);
}

/* ---- the tests --------------------------------------------------------------------------------*/

START_TEST(a_link_is_followed_where_only_root_could_have_put_it) {
        static const struct {
                mode_t mode;
                uid_t uid;
                gid_t gid;
                uid_t link;
                bool is_followed;
        } cases[] = {
                {0755, 0, 0, 0, true},
                {0755, 0, 0, OTHER, false},
                {0755, OTHER, 0, 0, false},
                {0755, OTHER + 1, 0, 0, false},     /* he, too, may be after somebody */
                {0775, 0, ADMINISTRATORS, 0, true}, /* as /var/log */
                {0775, 0, ADMINISTRATORS, OTHER, false},
                {02775, 0, ADMINISTRATORS, 0, true},
                {01775, 0, ADMINISTRATORS, 0, true},
                {0775, OTHER, ADMINISTRATORS, 0, false},
                {0775, 0, OTHER, 0, false},
                {0755, 0, OTHER, 0, true},
                {0775, 0, MEMBERS, 0, false},
                {01775, 0, MEMBERS, 0, false},
                {0777, 0, 0, 0, false},
                {01777, 0, 0, 0, false},
                {0772, 0, 0, 0, false},
        };

        SKIP_UNLESS_ROOT();
        (void) test_write("away/x", "");
        for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
                int r;

                test_put_folder("f", cases[i].mode, cases[i].uid, cases[i].gid);
                test_put_link("../away", "f/out", cases[i].link);
                reset();
                r = walk("f/out/x");
                ck_assert_msg(r == (cases[i].is_followed ? 0 : -EPERM), "case %zu: %d", i, r);
                ck_assert(is_at(cases[i].is_followed ? "away" : "f"));
                ck_assert_str_eq(what, r == 0 ? "PATH" : "out is a link: PATH");
        }
        test_put_folder("f", 0775, 0, OTHER);
        reset();
        component.has_user = false; /* root's program: nobody's group is its user's */
        ck_assert_int_eq(walk("f/out/x"), 0);
        reset();
        component.uid = 0; /* Group= alone */
        ck_assert_int_eq(walk("f/out/x"), 0);
        test_put_folder("f", 0755, 0, 0);
        ck_assert_int_eq(link(test_path("f/out"), test_path("second")), 0);
        fails("f/out/x", EPERM, "out is a link: PATH");
}
END_TEST

START_TEST(below_others_folders_no_link_counts) {
        SKIP_UNLESS_ROOT();
        (void) test_write("away/x", "");
        test_put_folder("theirs", 0755, OTHER, OTHER);
        test_put_folder("theirs/ours", 0755, 0, 0);
        test_put_link("../../away", "theirs/ours/out", 0);
        leads_to("theirs/ours/x", "theirs/ours");
        fails("theirs/ours/out/x", EPERM, "out is a link: PATH");
        test_put_folder("all", 0777, 0, 0);
        test_put_folder("all/ours", 0755, 0, 0);
        test_put_link("../../away", "all/ours/out", 0);
        fails("all/ours/out/x", EPERM, "out is a link: PATH");
        test_put_folder("group", 0775, 0, ADMINISTRATORS);
        test_put_folder("group/ours", 0755, 0, 0);
        test_put_link("../../away", "group/ours/out", 0);
        leads_to("group/ours/out/x", "away");
        test_put_link("theirs/ours", "in", 0);
        leads_to("in/x", "theirs/ours");
        fails("in/out/x", EPERM, "out is a link: PATH");
}
END_TEST

/* What is root's nobody takes away from there, and nobody moves a folder there that he may not
 * write to: rename(2) changes what ".." is. */
START_TEST(below_a_sticky_folder_only_roots_folders_count) {
        SKIP_UNLESS_ROOT();
        (void) test_write("away/x", "");
        test_put_folder("tmp", 01777, 0, 0);
        test_put_folder("tmp/ours", 0700, 0, 0);
        test_put_link("../../away", "tmp/ours/out", 0);
        leads_to("tmp/ours/out/x", "away");
        leads_to("tmp/../away/x", "away");
        test_put_folder("tmp/theirs", 0700, OTHER, OTHER);
        test_put_link("../../away", "tmp/theirs/out", 0);
        fails("tmp/theirs/out/x", EPERM, "out is a link: PATH");
        test_put_folder("tmp/again", 01777, 0, 0);
        test_put_folder("tmp/again/ours", 0700, 0, 0);
        test_put_link("../../../away", "tmp/again/ours/out", 0);
        fails("tmp/again/ours/out/x", EPERM, "out is a link: PATH");
        test_put_folder("tmp/ours/again", 01777, 0, 0); /* as a service's private /tmp */
        test_put_folder("tmp/ours/again/ours", 0700, 0, 0);
        test_put_link("../../../../away", "tmp/ours/again/ours/out", 0);
        leads_to("tmp/ours/again/ours/out/x", "away");
}
END_TEST

START_TEST(nobody_goes_up_from_others_folders) {
        SKIP_UNLESS_ROOT();
        test_put_folder("ours", 0755, 0, 0);
        test_put_folder("ours/theirs", 0755, OTHER, OTHER);
        test_put_folder("away", 0755, 0, 0);
        leads_to("ours/../away/x", "away");
        leads_to("ours/theirs/./x", "ours/theirs");
        fails("ours/theirs/../x", EPERM,
              ".. is above a folder that not only root can move, so name it: PATH");
        test_put_link("ours/theirs/..", "up", 0);
        fails("up/x", EPERM, ".. is above a folder that not only root can move, so name it: PATH");
        test_put_link("../away", "ours/across", 0);
        leads_to("ours/across/x", "away");
        fails("ours/..", EISDIR, "PATH");
        fails("ours/", EISDIR, "PATH");
}
END_TEST

START_TEST(circles_end_and_what_dangles_is_missing) {
        char name[16], target[16];

        test_put_link("round", "round", geteuid());
        fails("round/x", ELOOP, "PATH");
        test_put_link("to", "fro", geteuid());
        test_put_link("fro", "to", geteuid());
        fails("fro/x", ELOOP, "PATH");
        test_put_folder("end", 0755, geteuid(), getegid());
        test_put_link("end", "link-0", geteuid());
        for (int i = 1; i <= 40; i++) {
                (void) snprintf(target, sizeof(target), "link-%d", i - 1);
                (void) snprintf(name, sizeof(name), "link-%d", i);
                test_put_link(target, name, geteuid());
        }
        leads_to("link-39/x", "end");
        fails("link-40/x", ELOOP, "PATH");
        test_put_link("nowhere", "dangling", geteuid());
        fails("dangling/x", ENOENT, "PATH");
        leads_to("end/dangling", "end");
        (void) test_write("file", "");
        fails("file/x", ENOTDIR, "PATH");
}
END_TEST

START_TEST(the_last_link_is_followed_only_if_that_is_wanted) {
        test_put_folder("away", 0755, geteuid(), getegid());
        test_put_folder("f", 0755, geteuid(), getegid());
        test_put_link("../away/x", "f/out", geteuid());
        leads_to("f/out", "f");
        reset();
        path.follows_last = true;
        ck_assert_int_eq(walk("f/out"), 0);
        ck_assert(is_at("away"));
        ck_assert_str_eq(path.name, "x");
        reset();
        path.follows_last = true;
        ck_assert_int_eq(trusted_path_walk(&path, "/", "/proc/self/cwd"), 1);
        ck_assert_str_eq(path.name, "cwd");
        test_put_link("away", "in", geteuid());
        leads_to("f/../in", ".");
        ck_assert_int_eq(trusted_path_enter(&path), 0);
        ck_assert(is_at("away"));
}
END_TEST

START_TEST(a_path_has_at_most_the_kernels_length) {
        char rest[PATH_MAX + 1], name[NAME_MAX + 2];

        for (size_t i = 0; i < PATH_MAX; i++)
                rest[i] = i % 2 ? '/' : '.';
        strcpy(rest + PATH_MAX - 3, "/x");
        ck_assert_uint_eq(strlen(rest), PATH_MAX - 1);
        ck_assert_int_eq(trusted_path_walk(&path, test_folder(), rest), 0);
        ck_assert(is_at("."));
        ck_assert_str_eq(path.name, "x");
        strcpy(rest + PATH_MAX - 3, "/xy");
        reset();
        ck_assert_int_eq(trusted_path_walk(&path, test_folder(), rest), -ENAMETOOLONG);
        ck_assert_int_eq(path.folder, -1);
        test_put_folder("away", 0755, geteuid(), getegid());
        test_put_link("./././././././././././away", "longer", geteuid());
        memset(rest, '/', PATH_MAX - 3);
        memcpy(rest, "longer", strlen("longer"));
        strcpy(rest + PATH_MAX - 3, "x");
        ck_assert_int_eq(trusted_path_walk(&path, test_folder(), rest), -ENAMETOOLONG);
        memset(name, 'n', NAME_MAX + 1);
        name[NAME_MAX + 1] = '\0';
        fails(name, ENAMETOOLONG, "PATH");
        name[NAME_MAX] = '\0';
        reset();
        ck_assert_int_eq(walk(name), 0);
        ck_assert_str_eq(path.name, name);
}
END_TEST

static void is_made(const char *name) {
        struct stat st;

        ck_assert_msg(lstat(test_path(name), &st) == 0, "%s: %s", name, strerror(errno));
        ck_assert_uint_eq(st.st_mode, S_IFDIR | 0755);
        ck_assert(st.st_uid == geteuid() && st.st_gid == getegid());
}

static int walk_and_make(const char *name) {
        reset();
        path.makes = true;
        return walk(name);
}

START_TEST(what_is_missing_is_made_but_not_what_a_link_names) {
        fails("a/b/x", ENOENT, "PATH");
        ck_assert(!test_is_there("a"));
        ck_assert_int_eq(walk_and_make("a/b/x"), 0);
        is_made("a");
        is_made("a/b");
        ck_assert(is_at("a/b") && !test_is_there("a/b/x"));
        test_put_link("../a", "a/there", geteuid());
        ck_assert_int_eq(walk_and_make("a/there/c/d/x"), 0);
        is_made("a/c");
        is_made("a/c/d");
        test_put_link("gone/below", "dangling", geteuid());
        ck_assert_int_eq(walk_and_make("dangling/c/x"), -ENOENT);
        test_put_link("dangling//", "again", geteuid());
        ck_assert_int_eq(walk_and_make("again/c/x"), -ENOENT);
        ck_assert(!test_is_there("gone"));
        test_put_link("a/", "slash", geteuid()); /* the slashes between them are nobody's */
        ck_assert_int_eq(walk_and_make("slash/e/x"), 0);
        is_made("a/e");
        SKIP_UNLESS_ROOT();
        test_put_folder("theirs", 0755, OTHER, OTHER);
        ck_assert_int_eq(walk_and_make("theirs/b/x"), 0);
        is_made("theirs/b");
        test_put_link("../a", "theirs/out", OTHER);
        ck_assert_int_eq(walk_and_make("theirs/out/f/x"), -EPERM);
        ck_assert(!test_is_there("a/f"));
}
END_TEST

/* As instances of one component do. */
START_TEST(two_can_make_the_same_at_once) {
        enum { TIMES = 300 };
        int status;
        pid_t pid;

        test_put_folder("f", 0755, geteuid(), getegid());
        pid = fork();
        for (int i = 0; i < TIMES; i++) {
                char name[32];
                int r;

                (void) snprintf(name, sizeof(name), "f/%d/%d/%d/x", i, i, i);
                r = walk_and_make(name);
                if (r < 0 && pid == 0)
                        _exit(1);
                ck_assert_msg(r == 0, "%s: %s", name, strerror(-r));
        }
        if (pid == 0)
                _exit(0);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert_int_eq(status, 0);
}
END_TEST

/* ---- the component's user against it ----------------------------------------------------------*/

static pid_t start_as_other(void (*act)(void)) {
        pid_t pid = fork();

        if (pid == 0) {
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (chdir(test_folder()) < 0 || setresgid(OTHER, OTHER, OTHER) < 0 ||
                    setresuid(OTHER, OTHER, OTHER) < 0)
                        _exit(1);
                act();
                _exit(0);
        }
        return pid;
}

static void move_what_is_roots(void) {
        (void) !rename("theirs/link", "tmp/link");
        (void) !rename("theirs/folder", "tmp/folder");
        (void) !rename("theirs/open", "tmp/open");
        (void) !link("ours/link", "tmp/linked");
}

START_TEST(what_root_made_in_his_folder_he_moves_in_vain) {
        int status;

        SKIP_UNLESS_ROOT();
        test_put_folder("tmp", 01777, 0, 0);
        test_put_folder("ours", 0755, 0, 0);
        test_put_folder("away", 0755, 0, 0);
        test_put_folder("theirs", 0755, OTHER, OTHER);
        test_put_folder("theirs/folder", 0755, 0, 0);
        test_put_folder("theirs/open", 01777, 0, 0);
        test_put_folder("theirs/open/inner", 0755, 0, 0);
        test_put_link("../away", "theirs/link", 0);
        test_put_link("../away", "ours/link", 0);
        test_put_link("../../../away", "theirs/open/inner/link", 0);
        ck_assert_int_gt(waitpid(start_as_other(move_what_is_roots), &status, 0), 0);
        ck_assert_int_eq(status, 0);
        ck_assert(test_is_there("tmp/link") && test_is_there("tmp/open/inner/link"));
        ck_assert(!test_is_there("tmp/folder")); /* why root's folders there are trusted */
        fails("tmp/link/x", EPERM, "link is a link: PATH");
        fails("tmp/open/inner/link/x", EPERM, "link is a link: PATH");
        if (test_is_there("tmp/linked")) /* fs.protected_hardlinks is 0 */
                fails("tmp/linked/x", EPERM, "linked is a link: PATH");
}
END_TEST

/* One name is by turns a folder, one with a link in it, his link to the victim, root's, nothing. */
static void swap(void) {
        for (;;) {
                (void) !rename("logs/sub", "logs/aside");
                (void) !symlink("../victim", "logs/sub");
                (void) unlink("logs/sub");
                (void) !rename("logs/roots", "logs/sub");
                (void) !rename("logs/sub", "logs/roots");
                (void) !symlink("../../victim", "logs/aside/in");
                (void) !rename("logs/aside", "logs/sub");
                (void) unlink("logs/sub/in");
        }
}

START_TEST(who_swaps_a_name_while_it_is_walked_wins_nothing) {
        unsigned went = 0, refused = 0;
        struct stat before, after;
        pid_t pid;

        SKIP_UNLESS_ROOT();
        test_put_folder("victim", 0755, 0, 0);
        test_put_folder("logs", 0755, OTHER, OTHER);
        test_put_folder("logs/sub", 0755, OTHER, OTHER);
        test_put_link("../victim", "logs/roots", 0);
        ck_assert_int_eq(stat(test_path("victim"), &before), 0);
        pid = start_as_other(swap);
        for (int i = 0; i < RACES || (i < MANY && (went == 0 || refused == 0)); i++) {
                int r = walk_and_make("logs/sub/in/x");

                went += r == 0;
                refused += r == -EPERM;
                ck_assert(path.folder < 0 || !is_at("victim"));
                (void) rmdir(test_path("logs/sub/in")); /* root's, who made it: he could not */
        }
        (void) kill(pid, SIGKILL);
        ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
        ck_assert_int_eq(stat(test_path("victim"), &after), 0);
        ck_assert(before.st_mtim.tv_sec == after.st_mtim.tv_sec &&
                  before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
        ck_assert_msg(went > 0 && refused > 0, "%u went, %u refused", went, refused);
}
END_TEST

SUITE("trusted_path", {
        tcase_add_checked_fixture(tests_, setup, teardown);
        TEST(a_link_is_followed_where_only_root_could_have_put_it);
        TEST(below_others_folders_no_link_counts);
        TEST(below_a_sticky_folder_only_roots_folders_count);
        TEST(nobody_goes_up_from_others_folders);
        TEST(circles_end_and_what_dangles_is_missing);
        TEST(the_last_link_is_followed_only_if_that_is_wanted);
        TEST(a_path_has_at_most_the_kernels_length);
        TEST(what_is_missing_is_made_but_not_what_a_link_names);
        TEST(two_can_make_the_same_at_once);
        TEST(what_root_made_in_his_folder_he_moves_in_vain);
        TEST(who_swaps_a_name_while_it_is_walked_wins_nothing);
})
