/* file:, append: and truncate:, opened by root: whose links and files lead where. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cleanup.h"
#include "component_support.h"
#include "components/output_file.h"
#include "support.h"

#define OTHER 12345 /* the component's user, and its group */
#define MEMBERS 12346
#define RACES 20000

static char what[512];

static struct component_config component(void) {
        static gid_t groups[] = {MEMBERS};
        struct component_config c = component_defaults();

        c.has_user = true;
        c.user = "somebody";
        c.uid = c.gid = OTHER;
        c.groups = groups;
        c.n_groups = 1;
        return c;
}

static int open_as(enum output_kind kind, const char *path) {
        struct component_config c = component();
        struct output_config output = {kind, (char *) path};

        return output_file_open(&c, &output, what, sizeof(what));
}

static int open_file(const char *name) {
        return open_as(OUTPUT_APPEND, test_path(name));
}

/* What is written to `name` stands in `at`. */
static void leads_to(const char *name, const char *at) {
        static unsigned count;
        int fd = open_file(name);
        char mark[32], text[32] = "";

        ck_assert_msg(fd >= 0, "%s: %s", what, strerror(-fd));
        (void) snprintf(mark, sizeof(mark), "mark %u", count++);
        ck_assert_int_eq(ftruncate(fd, 0), 0);
        ck_assert_int_eq(write(fd, mark, strlen(mark)), strlen(mark));
        ck_assert_int_eq(fcntl(fd, F_GETFL) & (O_NONBLOCK | O_APPEND | O_ACCMODE),
                         O_APPEND | O_WRONLY);
        close(fd);
        fd = open(test_path(at), O_RDONLY | O_CLOEXEC);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_gt(read(fd, text, sizeof(text) - 1), 0);
        ck_assert_str_eq(text, mark);
        close(fd);
}

static void is_refused(const char *name, int error, const char *why) {
        unsigned fds = test_open_fds();
        char expected[512];
        int r = open_file(name);

        (void) snprintf(expected, sizeof(expected), "%s%s", why, test_path(name));
        ck_assert_msg(r == -error, "%s: %s", name, r < 0 ? strerror(-r) : "opened");
        ck_assert_str_eq(what, expected);
        ck_assert_uint_eq(test_open_fds(), fds);
}

#define A_LINK(name) name " is a symbolic link that not only root can change, so name its target: "
#define A_SECOND_NAME(name)                                                                        \
        name " is a file that not only root can have linked there, so remove its other names: "

START_TEST(links_of_root_are_followed) {
        SKIP_UNLESS(geteuid() == 0, "only root has others' files");
        test_put_folder("mnt", 0755, 0, 0);
        test_put_folder("mnt/deep", 0755, 0, 0);
        test_put_link("mnt", "relative", 0);
        test_put_link(test_path("mnt"), "absolute", 0);
        test_put_link("../relative/./deep/../new", "mnt/back", 0);
        test_put_link("mnt/back", "chain", 0);
        leads_to("relative/a", "mnt/a");
        leads_to("absolute/b", "mnt/b");
        leads_to("chain", "mnt/new");
        leads_to("relative/back", "mnt/new");
        test_put_folder("adm", 02775, 0,
                        OTHER + 7); /* as /var/log, where the program is no member */
        test_put_link("../mnt/adm", "adm/out", 0);
        leads_to("adm/out", "mnt/adm");
        test_put_folder("sticky", 01777, 0, 0);
        test_put_folder("sticky/ours", 0755, 0, 0);
        test_put_link("../../mnt/sticky", "sticky/ours/out", 0);
        leads_to("sticky/ours/out", "mnt/sticky");
}
END_TEST

START_TEST(links_below_proc_are_followed_by_the_kernel) {
        _cleanup_close_ int fd = -1;
        char path[64], text[8] = "";
        int ends[2], opened;

        ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", ends[1]);
        test_put_link(path, "stdout", geteuid());
        opened = open_file("stdout");
        ck_assert_msg(opened >= 0, "%s: %s", what, strerror(-opened));
        ck_assert_int_eq(write(opened, "x", 1), 1);
        ck_assert_int_eq(read(ends[0], text, sizeof(text)), 1);
        close(opened);
        close(ends[0]);
        close(ends[1]);
        fd = open(test_folder(), O_PATH | O_CLOEXEC);
        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d/below", fd);
        test_put_link(path, "folder", geteuid());
        leads_to("folder", "below");
}
END_TEST

START_TEST(links_that_others_can_change_are_not_followed) {
        SKIP_UNLESS(geteuid() == 0, "only root has others' files");
        (void) test_write("victim/file", "as it was");
        test_put_link("victim/file", "others", OTHER);
        is_refused("others", EPERM, A_LINK("others"));
        test_put_link("victim", "folder", OTHER);
        is_refused("folder/file", EPERM, A_LINK("folder"));
        test_put_link("others", "of-root", 0);
        is_refused("of-root", EPERM, A_LINK("others"));

        test_put_folder("logs", 0755, OTHER, OTHER);
        test_put_link("../victim/file", "logs/moved", 0); /* root made it, under another name */
        is_refused("logs/moved", EPERM, A_LINK("moved"));
        test_put_folder("logs/roots", 0755, 0, 0);
        test_put_link("../../victim/file", "logs/roots/out", 0);
        is_refused("logs/roots/out", EPERM, A_LINK("out"));
        test_put_folder("logs/roots/theirs", 0755, OTHER, OTHER);
        test_put_link("logs/roots/../file", "up", 0);
        is_refused("up", EPERM, ".. is above a folder that not only root can move, so name it: ");

        test_put_folder("all", 0777, 0, 0);
        test_put_link("../victim/file", "all/out", 0);
        is_refused("all/out", EPERM, A_LINK("out"));
        test_put_folder("sticky", 01777, 0, 0);
        test_put_link("../victim/file", "sticky/out", 0); /* moved there from a folder of his */
        is_refused("sticky/out", EPERM, A_LINK("out"));
        test_put_folder("own", 0775, 0, OTHER);
        test_put_link("../victim/file", "own/out", 0);
        is_refused("own/out", EPERM, A_LINK("out"));
        test_put_folder("members", 0775, 0, MEMBERS);
        test_put_link("../victim/file", "members/out", 0);
        is_refused("members/out", EPERM, A_LINK("out"));

        test_put_folder("twice", 0755, 0, 0);
        test_put_link("../victim/file", "twice/out", 0);
        ck_assert_int_eq(linkat(AT_FDCWD, test_path("twice/out"), AT_FDCWD, test_path("again"), 0),
                         0);
        is_refused("twice/out", EPERM, A_LINK("out"));
}
END_TEST

/* One that lets OTHER write, in the form of the kernel's extended attribute. */
static int set_access_list(const char *name) {
        static const struct {
                uint32_t version;
                struct {
                        uint16_t tag, permissions;
                        uint32_t id;
                } entries[5];
        } list = {2,
                  {{0x01, 7, UINT32_MAX},
                   {0x02, 7, OTHER},
                   {0x04, 5, UINT32_MAX},
                   {0x10, 7, UINT32_MAX},
                   {0x20, 5, UINT32_MAX}}};

        return setxattr(test_path(name), "system.posix_acl_access", &list, sizeof(list), 0);
}

START_TEST(a_folder_with_an_access_list_is_in_others_hands) {
        SKIP_UNLESS(geteuid() == 0, "only root has others' files");
        test_put_folder("logs", 0755, 0, 0);
        SKIP_UNLESS(set_access_list("logs") == 0, "no access lists in this file system");
        test_put_link("../victim", "logs/out", 0);
        is_refused("logs/out", EPERM, A_LINK("out"));
}
END_TEST

START_TEST(what_lies_in_the_users_folder_is_written_to) {
        struct stat st;

        SKIP_UNLESS(geteuid() == 0, "only root has others' files");
        test_put_folder("logs", 0750, OTHER, OTHER);
        leads_to("logs/out", "logs/out");
        leads_to("logs/out", "logs/out"); /* root's by now */
        ck_assert_int_eq(stat(test_path("logs/out"), &st), 0);
        ck_assert_uint_eq(st.st_uid, 0);
        ck_assert_int_eq(chown(test_path("logs/out"), OTHER, OTHER), 0);
        leads_to("logs/out", "logs/out");
        ck_assert_int_eq(link(test_path("logs/out"), test_path("logs/second")), 0);
        leads_to("logs/out", "logs/second"); /* where only he can have lost anything */
        test_put_folder("logs/sub", 0700, 0, 0);
        leads_to("logs/sub/out", "logs/sub/out");
        is_refused("logs/none/out", ENOENT, "");
        is_refused("logs/sub", EISDIR, "");
        is_refused("logs/out/out", ENOTDIR, "");
}
END_TEST

START_TEST(a_second_name_of_anothers_file_is_left_alone) {
        static const struct {
                mode_t mode;
                uid_t folder, file;
        } cases[] = {
                {0755, OTHER, 0},
                {0755, OTHER, OTHER + 1},
                {0775, OTHER, OTHER}, /* a member of the group may have linked it */
                {01777, 0, OTHER},
        };
        struct stat st;

        SKIP_UNLESS(geteuid() == 0, "only root has others' files");
        for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
                const char *victim = test_write("victim", "as it was");
                int r;

                ck_assert_int_eq(chown(victim, cases[i].file, cases[i].file), 0);
                test_put_folder("logs", cases[i].mode, cases[i].folder, cases[i].folder);
                ck_assert_int_eq(link(victim, test_path("logs/out")), 0);
                is_refused("logs/out", EPERM, A_SECOND_NAME("out"));
                r = open_as(OUTPUT_TRUNCATE, test_path("logs/out"));
                ck_assert_int_eq(r, -EPERM);
                ck_assert_int_eq(stat(victim, &st), 0);
                ck_assert_int_eq(st.st_size, strlen("as it was"));
                ck_assert_int_eq(unlink(test_path("logs/out")), 0);
        }
        test_put_folder("logs", 0755, 0, 0);
        ck_assert_int_eq(link(test_path("victim"), test_path("logs/out")), 0);
        leads_to("logs/out", "victim"); /* root's doing */
}
END_TEST

START_TEST(circles_and_long_ways_end) {
        char name[16], long_name[NAME_MAX + 2], target[PATH_MAX - 1];

        test_put_link("round", "round", geteuid());
        is_refused("round", ELOOP, "");
        test_put_link("end", "link-0", geteuid());
        for (int i = 1; i <= 40; i++) {
                (void) snprintf(target, sizeof(target), "link-%d", i - 1);
                (void) snprintf(name, sizeof(name), "link-%d", i);
                test_put_link(target, name, geteuid());
        }
        leads_to("link-39", "end");
        is_refused("link-40", ELOOP, "");
        memset(long_name, 'x', sizeof(long_name) - 1);
        long_name[sizeof(long_name) - 1] = '\0';
        is_refused(long_name, ENAMETOOLONG, "");
        memset(target, '/', sizeof(target) - 1);
        target[sizeof(target) - 1] = '\0';
        test_put_link(target, "slashes", geteuid());
        is_refused("slashes", EISDIR, "");
        if (geteuid() == 0) /* the kernel has more room */
                is_refused("slashes/a", ENAMETOOLONG, "");
}
END_TEST

START_TEST(a_fifo_does_not_block) {
        _cleanup_close_ int reader = -1;
        int fd;

        ck_assert_int_eq(mkfifo(test_path("fifo"), 0600), 0);
        is_refused("fifo", ENXIO, "fifo is a FIFO that nobody reads: ");
        reader = open(test_path("fifo"), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        fd = open_file("fifo");
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
        close(fd);
}
END_TEST

static void break_lease(int signal) {
        (void) fcntl(STDIN_FILENO, F_SETLEASE, F_UNLCK);
}

/* As a client of an NFS server has one, on what it reads. */
START_TEST(a_lease_is_waited_for) {
        const char *path = test_write("leased", "");
        char byte;
        int ready[2], fd;
        pid_t pid;

        ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
        pid = fork();
        if (pid == 0) {
                struct sigaction action = {.sa_handler = break_lease};

                (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
                (void) sigaction(SIGIO, &action, NULL);
                if (dup2(open(path, O_RDONLY | O_CLOEXEC), STDIN_FILENO) < 0 ||
                    fcntl(STDIN_FILENO, F_SETLEASE, F_RDLCK) < 0)
                        _exit(1);
                (void) !write(ready[1], "x", 1);
                for (;;)
                        pause();
        }
        close(ready[1]);
        if (read(ready[0], &byte, 1) == 1) {
                fd = open_file("leased");
                ck_assert_msg(fd >= 0, "%s: %s", what, strerror(-fd));
                close(fd);
        } else {
                printf("skipped: %s: no leases in this file system\n", __func__);
        }
        close(ready[0]);
        (void) kill(pid, SIGKILL);
        ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}
END_TEST

/* Whoever owns the folder changes what stands at the name, and the folder, as fast as he can. */
static _Noreturn void attack(const char *logs) {
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (setresgid(OTHER, OTHER, OTHER) < 0 || setresuid(OTHER, OTHER, OTHER) < 0 ||
            chdir(logs) < 0)
                _exit(1);
        for (;;) {
                (void) !symlink("../../victim/out", "link");
                (void) !rename("link", "sub/out");
                (void) !rename("sub", "aside");
                (void) !symlink("../victim", "sub");
                (void) unlink("sub");
                (void) !rename("aside", "sub");
                (void) unlink("sub/out");
        }
}

START_TEST(who_races_with_links_wins_nothing) {
        unsigned opened = 0, refused = 0;
        struct stat st;
        pid_t pid;

        SKIP_UNLESS(geteuid() == 0, "only root has others' files");
        ck_assert_int_eq(chmod(test_folder(), 0755), 0);
        (void) test_write("victim/out", "");
        test_put_folder("logs", 0755, OTHER, OTHER);
        test_put_folder("logs/sub", 0755, OTHER, OTHER);
        pid = fork();
        if (pid == 0)
                attack(test_path("logs"));
        for (int i = 0; i < RACES || (i < 100 * RACES && (opened == 0 || refused == 0)); i++) {
                int fd = open_file("logs/sub/out");

                if (fd >= 0)
                        ck_assert_int_eq(write(fd, "x", 1), 1);
                opened += fd >= 0;
                refused += fd == -EPERM;
                (void) close_fd(fd);
        }
        (void) kill(pid, SIGKILL);
        ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
        ck_assert_int_eq(stat(test_path("victim/out"), &st), 0);
        ck_assert_int_eq(st.st_size, 0);
        ck_assert_msg(opened > 0 && refused > 0, "%u opened, %u refused", opened, refused);
}
END_TEST

/* Who is not root can do no more than the links' owner lets him: as ever. */
START_TEST(who_is_not_root_follows_links) {
        int status;
        pid_t pid;

        SKIP_UNLESS(geteuid() == 0, "only root has others' files");
        ck_assert_int_eq(chmod(test_folder(), 0755), 0);
        ck_assert_int_eq(chown(test_write("out", ""), OTHER, OTHER), 0);
        test_put_link("out", "link", OTHER + 1);
        pid = fork();
        if (pid == 0) {
                struct component_config none = component_defaults(), c = component();
                struct output_config output = {OUTPUT_TRUNCATE, (char *) test_path("link")};

                if (setresuid(OTHER, OTHER, OTHER) < 0 ||
                    output_file_open(&none, &output, what, sizeof(what)) < 0 ||
                    output_file_open(&c, &output, what, sizeof(what)) < 0)
                        _exit(1);
                c.uid++; /* by a capability */
                _exit(output_file_open(&c, &output, what, sizeof(what)) == -EPERM ? 0 : 2);
        }
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert_int_eq(status, 0);
}
END_TEST

SUITE("output_file", {
        TEST(links_of_root_are_followed);
        TEST(links_below_proc_are_followed_by_the_kernel);
        TEST(links_that_others_can_change_are_not_followed);
        TEST(a_folder_with_an_access_list_is_in_others_hands);
        TEST(what_lies_in_the_users_folder_is_written_to);
        TEST(a_second_name_of_anothers_file_is_left_alone);
        TEST(circles_and_long_ways_end);
        TEST(a_fifo_does_not_block);
        TEST(a_lease_is_waited_for);
        TEST(who_races_with_links_wins_nothing);
        TEST(who_is_not_root_follows_links);
})
