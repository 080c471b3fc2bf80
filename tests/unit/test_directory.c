/* RuntimeDirectory= and its like on the file system: what is made, followed and removed. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "component_support.h"
#include "components/directory.h"
#include "support.h"

#define NOBODY ((uid_t) -1)
#define OTHER 12345 /* the component's user */
#define RACES 5000

static char what[512];

static struct directory directory(const char *base, const char *name) {
        static struct component_config component;

        component = component_defaults();
        component.has_user = true;
        component.uid = component.gid = OTHER;
        (void) umask(0);
        return (struct directory){.component = &component,
                                  .base = base,
                                  .name = name,
                                  .mode = 0755,
                                  .uid = NOBODY,
                                  .gid = NOBODY};
}

static int make(const char *name, mode_t mode, uid_t uid) {
        struct directory d = directory(test_folder(), name);

        d.mode = mode;
        d.uid = d.gid = uid;
        return directory_make(&d, what, sizeof(what));
}

static int take_away(const char *name) {
        struct directory d = directory(test_folder(), name);

        return directory_remove(&d, what, sizeof(what));
}

static struct stat status(const char *name) {
        struct stat st;

        ck_assert_msg(lstat(test_path(name), &st) == 0, "%s: %s", name, strerror(errno));
        return st;
}

static void has(const char *name, mode_t mode, uid_t uid) {
        struct stat st = status(name);

        ck_assert(S_ISDIR(st.st_mode));
        ck_assert_msg((st.st_mode & 07777) == mode, "%s has mode %04o", name, st.st_mode & 07777);
        ck_assert_uint_eq(st.st_uid, uid);
}

static void link_to(const char *target, const char *name) {
        ck_assert_int_eq(symlink(target, test_path(name)), 0);
}

START_TEST(it_is_made_with_its_parents_and_keeps_what_is_in_it) {
        ck_assert_int_eq(make("a/b/c", 0700, NOBODY), 0);
        has("a", 0755, geteuid());
        has("a/b", 0755, geteuid());
        has("a/b/c", 0700, geteuid());
        (void) test_write("a/b/c/file", "x");
        ck_assert_int_eq(chmod(test_path("a"), 0711), 0);
        ck_assert_int_eq(make("a/b/c", 02770, NOBODY), 0);
        has("a", 0711, geteuid());
        has("a/b/c", 02770, geteuid());
        ck_assert(test_is_there("a/b/c/file"));
}
END_TEST

START_TEST(a_base_that_is_missing_is_made) {
        struct directory d = directory(test_path("home/.local/state"), "x");

        d.mode = 0750;
        ck_assert_int_eq(directory_make(&d, what, sizeof(what)), 0);
        has("home/.local", 0755, geteuid());
        has("home/.local/state/x", 0750, geteuid());
}
END_TEST

START_TEST(the_last_part_belongs_to_the_user_also_when_it_was_there) {
        SKIP_UNLESS(geteuid() == 0, "only root gives away");
        ck_assert_int_eq(make("a/b", 04755, OTHER), 0);
        has("a", 0755, 0);
        has("a/b", 04755, OTHER);
        ck_assert_uint_eq(status("a/b").st_gid, OTHER);
        ck_assert_int_eq(mkdir(test_path("c"), 0755), 0);
        ck_assert_int_eq(make("c", 0700, OTHER), 0);
        has("c", 0700, OTHER);
        /* nobody in particular: it stays whose it is */
        ck_assert_int_eq(make("c", 0755, NOBODY), 0);
        has("c", 0755, OTHER);
}
END_TEST

static void is_owned_by(const char *name, uid_t uid) {
        ck_assert_msg(status(name).st_uid == uid, "%s belongs to %u", name, status(name).st_uid);
}

START_TEST(what_the_former_owner_has_in_it_goes_with_it) {
        SKIP_UNLESS(geteuid() == 0, "only root gives away");
        (void) test_write("victim/file", "x");
        (void) test_write("c/file", "x");
        (void) test_write("c/sub/sub/file", "x");
        (void) test_write("c/third/file", "x");
        ck_assert_int_eq(lchown(test_path("c/third"), OTHER + 1, OTHER + 1), 0);
        ck_assert_int_eq(symlink(test_path("victim"), test_path("c/link")), 0);
        ck_assert_int_eq(link(test_path("victim/file"), test_path("c/second-name")), 0);
        ck_assert_int_eq(make("c", 0755, OTHER), 0);
        is_owned_by("c", OTHER);
        is_owned_by("c/file", OTHER);
        is_owned_by("c/sub", OTHER);
        is_owned_by("c/sub/sub/file", OTHER);
        is_owned_by("c/link", OTHER);
        is_owned_by("victim", 0);
        is_owned_by("victim/file", 0);
        is_owned_by("c/third", OTHER + 1);
        is_owned_by("c/third/file", 0);
        /* once it has the right owner nobody looks further, as with systemd */
        (void) test_write("c/later", "x");
        ck_assert_int_eq(make("c", 0755, OTHER), 0);
        is_owned_by("c/later", 0);
}
END_TEST

START_TEST(what_others_can_have_put_there_is_not_given_with_what_is_in_it) {
        SKIP_UNLESS(geteuid() == 0, "only root gives away");
        (void) test_write("theirs/secrets/file", "x");
        ck_assert_int_eq(chmod(test_path("theirs/secrets"), 0700), 0);
        ck_assert_int_eq(mkdir(test_path("theirs/empty"), 0755), 0);
        ck_assert_int_eq(chown(test_path("theirs"), OTHER, OTHER), 0);
        /* root made it under another name */
        ck_assert_int_eq(make("theirs/secrets", 0755, OTHER), -EPERM);
        ck_assert_ptr_nonnull(strstr(what, "secrets is somebody else's and not empty, where not "
                                           "only root can have put it, so give it to its user: /"));
        has("theirs/secrets", 0700, 0);
        is_owned_by("theirs/secrets/file", 0);
        ck_assert_int_eq(make("theirs/empty", 0755, OTHER), 0);
        is_owned_by("theirs/empty", OTHER);
        ck_assert_int_eq(make("theirs/new", 0755, OTHER), 0);
        is_owned_by("theirs/new", OTHER);
        (void) test_write("theirs/new/file", "x");
        ck_assert_int_eq(chown(test_path("theirs/new"), OTHER, 0), 0);
        ck_assert_int_eq(make("theirs/new", 0755, OTHER), 0); /* his already, but for the group */
        ck_assert_uint_eq(status("theirs/new").st_gid, OTHER);
        /* where the one above is given first */
        ck_assert_int_eq(chown(test_path("theirs"), 0, 0), 0);
        ck_assert_int_eq(make("theirs", 0755, OTHER), 0);
        ck_assert_int_eq(make("theirs/secrets", 0755, OTHER), 0);
        is_owned_by("theirs/secrets/file", OTHER);
}
END_TEST

START_TEST(a_link_that_somebody_left_does_not_become_roots) {
        SKIP_UNLESS(geteuid() == 0, "only root gives away");
        (void) test_write("c/file", "x");
        link_to("victim", "c/link");
        ck_assert_int_eq(lchown(test_path("c"), OTHER, OTHER), 0);
        ck_assert_int_eq(lchown(test_path("c/file"), OTHER, OTHER), 0);
        ck_assert_int_eq(lchown(test_path("c/link"), OTHER, OTHER), 0);
        ck_assert_int_eq(make("c", 0755, 0), 0);
        is_owned_by("c", 0);
        is_owned_by("c/file", 0);
        is_owned_by("c/link", OTHER);
        ck_assert_int_eq(make("c/link", 0755, 0), -EPERM);
}
END_TEST

START_TEST(what_is_to_be_left_as_it_is_stays_so) {
        struct directory d = directory(test_folder(), "etc");

        d.mode = 02700; /* which mkdir(2) does not give */
        d.leave_existing = true;
        ck_assert_int_eq(directory_make(&d, what, sizeof(what)), 0);
        has("etc", 02700, geteuid());
        d.mode = 0755;
        ck_assert_int_eq(directory_make(&d, what, sizeof(what)), 0);
        has("etc", 02700, geteuid());
}
END_TEST

START_TEST(what_is_no_directory_is_told) {
        (void) test_write("file", "x");
        ck_assert_int_eq(make("file", 0755, NOBODY), -ENOTDIR);
        ck_assert_int_eq(make("file/below", 0755, NOBODY), -ENOTDIR);
        link_to("nowhere", "dangling");
        ck_assert_int_eq(make("dangling", 0755, NOBODY), -ENOENT);
        ck_assert(!test_is_there("nowhere"));
        link_to("round", "round");
        ck_assert_int_eq(make("round", 0755, NOBODY), -ELOOP);
}
END_TEST

START_TEST(links_of_the_administrator_are_followed) {
        ck_assert_int_eq(mkdir(test_path("data"), 0700), 0);
        link_to(test_path("data"), "absolute");
        link_to("./data", "relative");
        link_to("relative", "twice");
        ck_assert_int_eq(make("absolute", 0711, NOBODY), 0);
        has("data", 0711, geteuid());
        ck_assert_int_eq(make("relative/x", 0711, NOBODY), 0);
        has("data/x", 0711, geteuid());
        ck_assert_int_eq(make("twice/y", 0711, NOBODY), 0);
        has("data/y", 0711, geteuid());
        ck_assert(S_ISLNK(status("absolute").st_mode));
        ck_assert_int_eq(mkdir(test_path("sub"), 0755), 0);
        link_to("../data", "sub/up");
        ck_assert_int_eq(make("sub/up", 0700, NOBODY), 0);
        has("data", 0700, geteuid());
        SKIP_UNLESS(geteuid() == 0, "only root gives away");
        ck_assert_int_eq(chown(test_path("sub"), 0, OTHER + 1), 0); /* as /var/log */
        ck_assert_int_eq(chmod(test_path("sub"), 0775), 0);
        ck_assert_int_eq(make("sub/up", 0711, OTHER), 0);
        has("data", 0711, OTHER);
}
END_TEST

START_TEST(links_that_others_could_have_put_there_are_not_followed) {
        ck_assert_int_eq(mkdir(test_path("victim"), 0700), 0);
        /* in a folder of theirs, also when root made the link */
        ck_assert_int_eq(mkdir(test_path("open"), 0777), 0);
        ck_assert_int_eq(chmod(test_path("open"), 0777), 0);
        link_to(test_path("victim"), "open/link");
        ck_assert_int_eq(make("open/link", 0777, NOBODY), -EPERM);
        ck_assert_int_eq(make("open/link/x", 0777, NOBODY), -EPERM);
        ck_assert_int_eq(chmod(test_path("open"), 01777), 0);
        ck_assert_int_eq(make("open/link", 0777, NOBODY),
                         -EPERM); /* others can have moved it there */
        SKIP_UNLESS(geteuid() == 0, "only root gives away");
        ck_assert_int_eq(lchown(test_path("open/link"), OTHER, OTHER), 0);
        ck_assert_int_eq(make("open/link", 0777, OTHER), -EPERM);
        ck_assert_int_eq(mkdir(test_path("theirs"), 0755), 0);
        link_to(test_path("victim"), "theirs/link");
        ck_assert_int_eq(chown(test_path("theirs"), OTHER, OTHER), 0);
        ck_assert_int_eq(make("theirs/link", 0777, OTHER), -EPERM);
        ck_assert_int_eq(make("theirs/link/x", 0777, OTHER), -EPERM);
        has("victim", 0700, 0);
        ck_assert(!test_is_there("victim/x"));
}
END_TEST

START_TEST(it_is_removed_with_all_that_is_in_it_and_nothing_else) {
        struct directory no_base = directory(test_path("no-base"), "x");

        (void) test_write("victim/file", "x");
        (void) test_write("a/b/file", "x");
        (void) test_write("a/b/c/d/file", "x");
        link_to(test_path("victim"), "a/b/link");
        link_to(test_path("victim/file"), "a/b/c/link");
        ck_assert_int_eq(mkfifo(test_path("a/b/fifo"), 0600), 0);
        ck_assert_int_eq(take_away("a/b"), 0);
        ck_assert(!test_is_there("a/b") && test_is_there("a") && test_is_there("victim/file"));
        ck_assert_int_eq(take_away("a/b"), 0);
        ck_assert_int_eq(take_away("not/there"), 0);
        ck_assert(!test_is_there("not"));
        ck_assert_int_eq(directory_remove(&no_base, what, sizeof(what)), 0);
        link_to(test_path("victim"), "link");
        ck_assert_int_eq(take_away("link"), -ENOTDIR);
        ck_assert(test_is_there("victim/file") && test_is_there("link"));
        ck_assert_int_eq(chmod(test_folder(), 0777), 0);
        ck_assert_int_eq(take_away("link/file"), -EPERM);
        ck_assert(test_is_there("victim/file"));
}
END_TEST

/* His folder's name is by turns a folder, a link to the victim, the victim's with another name. */
static _Noreturn void swap(const char *folder) {
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (chdir(folder) < 0 || setresgid(OTHER, OTHER, OTHER) < 0 ||
            setresuid(OTHER, OTHER, OTHER) < 0)
                _exit(1);
        for (;;) {
                (void) !rename("theirs/sub", "theirs/aside");
                (void) !symlink("../victim", "theirs/sub");
                (void) unlink("theirs/sub");
                (void) !rename("theirs/roots", "theirs/sub");
                (void) !rename("theirs/sub", "theirs/roots");
                (void) !rename("theirs/aside", "theirs/sub");
        }
}

START_TEST(who_swaps_a_name_for_a_link_is_given_nothing_and_has_nothing_removed) {
        unsigned made = 0, refused = 0;
        pid_t pid;

        SKIP_UNLESS(geteuid() == 0, "only root gives away");
        ck_assert_int_eq(chmod(test_folder(), 0755), 0);
        (void) test_write("victim/in/file", "x");
        (void) test_write("theirs/sub/x", "x");
        link_to("../victim", "theirs/roots");
        ck_assert_int_eq(chown(test_path("theirs"), OTHER, OTHER), 0);
        ck_assert_int_eq(chown(test_path("theirs/sub"), OTHER, OTHER), 0);
        pid = fork();
        if (pid == 0)
                swap(test_folder());
        for (int i = 0; i < RACES || (i < 100 * RACES && (made == 0 || refused == 0)); i++) {
                int r = make("theirs/sub/in", 0700, OTHER);

                made += r == 0;
                refused += r == -EPERM;
                (void) take_away("theirs/sub/in");
        }
        (void) kill(pid, SIGKILL);
        ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
        ck_assert(test_is_there("victim/in/file"));
        has("victim/in", 0755, 0);
        is_owned_by("victim/in/file", 0);
        ck_assert_msg(made > 0 && refused > 0, "%u made, %u refused", made, refused);
}
END_TEST

static void make_deep(unsigned depth) {
        int at = open(test_folder(), O_PATH | O_CLOEXEC);

        for (unsigned i = 0; i < depth; i++) {
                int next;

                ck_assert_int_eq(mkdirat(at, "d", 0755), 0);
                next = openat(at, "d", O_PATH | O_CLOEXEC);
                ck_assert_int_ge(next, 0);
                close(at);
                at = next;
        }
        close(at);
}

START_TEST(what_is_nested_without_end_is_given_up) {
        make_deep(500);
        ck_assert_int_eq(take_away("d"), 0);
        ck_assert(!test_is_there("d"));
        make_deep(520);
        ck_assert_int_eq(take_away("d"), -EMLINK);
        ck_assert_int_eq(take_away("d/d/d/d/d/d/d/d/d/d"), 0);
        ck_assert_int_eq(take_away("d"), 0);
}
END_TEST

START_TEST(what_is_mounted_in_it_stays_and_the_rest_goes) {
        SKIP_UNLESS(geteuid() == 0 && unshare(CLONE_NEWNS) == 0, "only root mounts");
        ck_assert_int_eq(mount("", "/", "", MS_REC | MS_PRIVATE, NULL), 0);
        (void) test_write("data/kept", "x");
        (void) test_write("a/file", "x");
        ck_assert_int_eq(mkdir(test_path("a/mounted"), 0755), 0);
        /* on the same device, which alone would not tell */
        ck_assert_int_eq(mount(test_path("data"), test_path("a/mounted"), "", MS_BIND, NULL), 0);
        ck_assert_int_eq(take_away("a"), -EBUSY);
        ck_assert(test_is_there("data/kept") && !test_is_there("a/file"));
        ck_assert_int_eq(umount(test_path("a/mounted")), 0);
        ck_assert_int_eq(take_away("a"), 0);
}
END_TEST

SUITE("directory", {
        TEST(it_is_made_with_its_parents_and_keeps_what_is_in_it);
        TEST(a_base_that_is_missing_is_made);
        TEST(the_last_part_belongs_to_the_user_also_when_it_was_there);
        TEST(what_the_former_owner_has_in_it_goes_with_it);
        TEST(what_others_can_have_put_there_is_not_given_with_what_is_in_it);
        TEST(a_link_that_somebody_left_does_not_become_roots);
        TEST(what_is_to_be_left_as_it_is_stays_so);
        TEST(what_is_no_directory_is_told);
        TEST(links_of_the_administrator_are_followed);
        TEST(links_that_others_could_have_put_there_are_not_followed);
        TEST(it_is_removed_with_all_that_is_in_it_and_nothing_else);
        TEST(who_swaps_a_name_for_a_link_is_given_nothing_and_has_nothing_removed);
        TEST(what_is_nested_without_end_is_given_up);
        TEST(what_is_mounted_in_it_stays_and_the_rest_goes);
})
