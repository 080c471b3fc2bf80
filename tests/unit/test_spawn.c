/* From clone to exec: what the program finds, and what is told when it does not come to run. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "component_support.h"
#include "components/cgroup.h"
#include "core/limits.h"
#include "core/slice.h"
#include "support.h"

#define OUTPUT_SIZE 65536

struct run {
        struct component_config config;
        struct spawn spawn;
        struct loop *loop;
        struct spawn_watch watch;
        pid_t pid;
        int pidfd, calls;
        enum spawn_step step;
        int error, status;
        char what[1024];
        char output[OUTPUT_SIZE];
};

static struct run r;

static void begin(struct command command) {
        memset(&r, 0, sizeof(r));
        r.config = component_defaults();
        r.config.start = command;
        r.spawn = (struct spawn){.config = &r.config,
                                 .command = &r.config.start,
                                 .generation = 7,
                                 .instance = 2,
                                 .output_fd = -1,
                                 .error_fd = -1,
                                 .cgroup_fd = -1};
        r.status = -1;
}

static void on_done(void *owner, enum spawn_step step, int error, const char *what) {
        r.calls++;
        r.step = step;
        r.error = error;
        (void) snprintf(r.what, sizeof(r.what), "%s", what);
        loop_stop(r.loop);
}

/* Start it, wait for the result of exec, for its output and its end. */
static void run(void) {
        int ends[2];
        size_t size = 0;
        ssize_t n;

        ck_assert_int_eq(loop_new(&r.loop), 0);
        ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
        r.spawn.output_fd = r.spawn.error_fd = ends[1];
        ck_assert_int_eq(spawn_start(&r.watch, r.loop, &r.spawn, &r.pid, &r.pidfd, on_done, &r), 0);
        close(ends[1]);
        loop_run(r.loop);
        ck_assert_int_eq(r.calls, 1);
        while ((n = read(ends[0], r.output + size, sizeof(r.output) - 1 - size)) > 0)
                size += (size_t) n;
        r.output[size] = '\0';
        close(ends[0]);
        ck_assert_int_eq(waitpid(r.pid, &r.status, 0), r.pid);
        r.status = WIFEXITED(r.status) ? WEXITSTATUS(r.status) : -WTERMSIG(r.status);
        close(r.pidfd);
        loop_free(r.loop);
}

static void run_well(void) {
        run();
        ck_assert_msg(r.step == N_SPAWN_STEPS, "%s %s: %s", spawn_step_name(r.step), r.what,
                      strerror(r.error));
}

static void run_badly(enum spawn_step step, int error, const char *what) {
        run();
        ck_assert_str_eq(spawn_step_name(r.step), spawn_step_name(step));
        ck_assert_str_eq(strerror(r.error), strerror(error));
        ck_assert_str_eq(r.what, what);
        ck_assert_int_eq(r.status, spawn_step_exit_status(step));
}

START_TEST(signals_of_the_broker_do_not_leak) {
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGUSR1);
        sigprocmask(SIG_BLOCK, &set, NULL);
        signal(SIGPIPE, SIG_IGN);
        signal(SIGHUP, SIG_IGN);
        begin(SHELL("exec grep -E '^Sig(Blk|Ign)' /proc/self/status"));
        run_well();
        ck_assert_str_eq(r.output, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}
END_TEST

/* The broker's are short (since Linux 6.12, which says so here). */
START_TEST(it_has_the_kernels_slice_not_the_brokers) {
        char usual[OUTPUT_SIZE];

        begin(SHELL("exec grep ^se.slice /proc/self/sched"));
        run();
        if (r.status != 0)
                return; /* an older kernel */
        memcpy(usual, r.output, sizeof(usual));
        slice_shorten();
        begin(SHELL("exec grep ^se.slice /proc/self/sched"));
        run_well();
        ck_assert_str_eq(r.output, usual);
        ck_assert_int_eq(system("exec grep -q '^se.slice.* 100000$' /proc/self/sched"), 0);
}
END_TEST

START_TEST(it_has_a_session_of_its_own_and_nothing_on_its_input) {
        char expected[64];

        begin(SHELL("cut -d' ' -f5,6 /proc/$$/stat; readlink /proc/self/fd/0; cat"));
        run_well();
        (void) snprintf(expected, sizeof(expected), "%d %d\n/dev/null\n", r.pid, r.pid);
        ck_assert_str_eq(r.output, expected);
}
END_TEST

static void describe(int fd, char *text, size_t size) {
        char path[64];
        ssize_t n;

        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        n = readlink(path, text, size - 1);
        ck_assert_int_gt(n, 0);
        text[n] = '\0';
}

/* By the shell itself, at rest: a pipe that it is making is none of what it was given. */
#define LIST_FDS                                                                                   \
        "for i in 3 4 5 6; do readlink /proc/$$/fd/$i; done; "                                     \
        "for i in /proc/$$/fd/*; do [ -e $i ] && printf '%s ' ${i##*/}; done"

START_TEST(descriptors_stand_in_order_whatever_numbers_they_had) {
        char names[4][64], expected[512];
        struct spawn_fd fds[4];
        int own[3], leaked;

        for (int i = 0; i < 3; i++)
                own[i] = open(test_write((char[]){(char) ('a' + i), 0}, ""), O_RDWR | O_CLOEXEC);
        leaked = open("/dev/zero", O_RDONLY); /* not close-on-exec: somebody's mistake */
        for (int i = 0; i < 3; i++) {
                ck_assert_int_eq(dup3(own[i], 30 + i, O_CLOEXEC), 30 + i);
                close(own[i]);
        }
        fds[0] = (struct spawn_fd){31, "b"};
        fds[1] = (struct spawn_fd){32, "c"};
        fds[2] = (struct spawn_fd){30, "a"};
        fds[3] = (struct spawn_fd){31, "b-again"};
        for (int i = 0; i < 4; i++)
                describe(fds[i].fd, names[i], sizeof(names[i]));
        begin(SHELL(LIST_FDS "; echo; echo $LISTEN_FDS $LISTEN_FDNAMES; "
                             "[ $LISTEN_PID = $$ ] && echo mine"));
        r.spawn.fds = fds;
        r.spawn.n_fds = 4;
        run_well();
        (void) snprintf(expected, sizeof(expected),
                        "%s\n%s\n%s\n%s\n0 1 2 3 4 5 6 \n4 b:c:a:b-again\nmine\n", names[0],
                        names[1], names[2], names[3]);
        ck_assert_str_eq(r.output, expected);
        close(leaked);
        for (int i = 0; i < 3; i++)
                close(30 + i);
}
END_TEST

START_TEST(descriptors_that_stand_in_each_others_places_are_not_lost) {
        char names[3][64], expected[512];
        int own[3];

        for (int i = 0; i < 3; i++) {
                own[i] = open(test_write((char[]){(char) ('a' + i), 0}, ""), O_RDWR | O_CLOEXEC);
                describe(own[i], names[i], sizeof(names[i]));
        }
        /* Check keeps a descriptor or two; what matters is that ours lie in 3 to 3 + n, and their
         * copies would */
        struct spawn_fd fds[24];
        for (int i = 0; i < 24; i++)
                fds[i] = (struct spawn_fd){own[2 - i % 3], "x"};
        ck_assert_int_lt(own[2], 3 + 24);
        begin(SHELL("for i in 3 4 5 18 19 20; do readlink /proc/$$/fd/$i; done"));
        r.spawn.fds = fds;
        r.spawn.n_fds = 24;
        run_well();
        (void) snprintf(expected, sizeof(expected), "%s\n%s\n%s\n%s\n%s\n%s\n", names[2], names[1],
                        names[0], names[2], names[1], names[0]);
        ck_assert_str_eq(r.output, expected);
        /* the pipe that tells of a failure is none of those that are overwritten */
        begin((struct command){.path = "/no/such", .arguments = (char *[]){"such", NULL}});
        r.spawn.fds = fds;
        r.spawn.n_fds = 24;
        run_badly(SPAWN_PROGRAM, ENOENT, "/no/such");
        for (int i = 0; i < 3; i++)
                close(own[i]);
}
END_TEST

START_TEST(it_is_told_what_it_is_and_nothing_of_the_broker) {
        setenv("NOTIFY_SOCKET", "/broker/notify", 1);
        setenv("LISTEN_FDS", "9", 1);
        setenv("LISTEN_PID", "1", 1);
        setenv("WATCHDOG_USEC", "1", 1);
        setenv("INVOCATION_ID", "0123", 1);
        setenv("FDPASS_NOFILE", "1024", 1);
        begin(SHELL("env | grep -E '^(NOTIFY|LISTEN|WATCHDOG|INVOC|FDPASS_|SERVICE)' | sort"));
        run_well();
        ck_assert_str_eq(r.output,
                         "FDPASS_COMPONENT=web\nFDPASS_GENERATION=7\nFDPASS_INSTANCE=2\n");

        begin(SHELL("env | grep -E '^(NOTIFY|LISTEN|WATCHDOG_U|INVOC|FDPASS_S|SERVICE)' | sort;"
                    "[ $WATCHDOG_PID = $$ ] && echo mine"));
        r.config.watchdog_usec = 3000000;
        r.spawn.notify_socket = "@fdpass/n";
        r.spawn.control_socket = "/run/s";
        r.spawn.variables = (const char *const[]){"SERVICE_RESULT=success", NULL};
        run_well();
        ck_assert_str_eq(r.output, "FDPASS_SOCKET=/run/s\nNOTIFY_SOCKET=@fdpass/n\n"
                                   "SERVICE_RESULT=success\nWATCHDOG_USEC=3000000\nmine\n");

        /* a command beside the main one has no watchdog to feed */
        struct command beside = SHELL("echo ${WATCHDOG_USEC:-none}");
        begin(SHELL(""));
        r.config.watchdog_usec = 3000000;
        r.spawn.command = &beside;
        run_well();
        ck_assert_str_eq(r.output, "none\n");
}
END_TEST

START_TEST(what_is_unset_is_gone_whoever_set_it) {
        struct environment_file file = {.path = (char *) test_write("a.env", "FILE=1\nKEPT=1\n")};

        setenv("OWN", "1", 1);
        begin((struct command){
                .path = "sh",
                .arguments = (char *[]){"sh", "-c", "echo $0; env | sort", "${SET}${KEPT}", NULL}});
        r.config.environment = (char *[]){"SET=1", "SAME=a b", "OTHER=a", "PASSED=no", NULL};
        r.config.environment_files = &file;
        r.config.n_environment_files = 1;
        r.spawn.notify_socket = "@fdpass/n";
        r.config.unset_environment = (char *[]){"OWN",
                                                "SET",
                                                "FILE",
                                                "SAME=a b",
                                                "OTHER=b",
                                                "NOTIFY_SOCKET",
                                                "PATH",
                                                "FDPASS_GENERATION",
                                                "FDPASS_INSTANCE=2",
                                                "NOT_THERE",
                                                NULL};
        run_well(); /* and the program is found, as by systemd, without the PATH that it has not */
        ck_assert_ptr_nonnull(strstr(r.output, "1\n"));
        ck_assert_int_eq(strncmp(r.output, "1\n", 2), 0);
        for (char **name = r.config.unset_environment; *name; name++) {
                char line[64];

                (void) snprintf(line, sizeof(line), "\n%s%s", *name,
                                strchr(*name, '=') ? "\n" : "=");
                ck_assert_msg(!strstr(r.output, line), "%s in %s", *name, r.output);
        }
        ck_assert_ptr_nonnull(strstr(r.output, "\nFDPASS_COMPONENT=web\n"));
        ck_assert_ptr_nonnull(strstr(r.output, "\nOTHER=a\n"));
}
END_TEST

START_TEST(a_program_that_is_not_there_is_told) {
        begin((struct command){.path = "/no/such", .arguments = (char *[]){"such", NULL}});
        run_badly(SPAWN_PROGRAM, ENOENT, "/no/such");
        begin((struct command){.path = "no-such", .arguments = (char *[]){"such", NULL}});
        run_badly(SPAWN_PROGRAM, ENOENT, "no-such");
}
END_TEST

START_TEST(a_program_that_may_not_be_run_is_told) {
        char *path = (char *) test_write("bin/prog", "#!/bin/sh\n");
        char variable[256];

        begin((struct command){.path = path, .arguments = (char *[]){"prog", NULL}});
        run_badly(SPAWN_PROGRAM, EACCES, path);
        /* in PATH likewise, and it is not called missing */
        (void) snprintf(variable, sizeof(variable), "PATH=/usr/bin:%s/bin", test_folder());
        begin((struct command){.path = "prog", .arguments = (char *[]){"prog", NULL}});
        r.config.environment = (char *[]){variable, NULL};
        run_badly(SPAWN_PROGRAM, EACCES, "prog");
}
END_TEST

START_TEST(a_script_without_its_interpreter_is_told_as_that) {
        char *path = (char *) test_write("script", "#!/no/interpreter\n");
        char what[256];

        ck_assert_int_eq(chmod(path, 0755), 0);
        (void) snprintf(what, sizeof(what), "the interpreter of %s", path);
        begin((struct command){.path = path, .arguments = (char *[]){"script", NULL}});
        run_badly(SPAWN_PROGRAM, ENOENT, what);
}
END_TEST

START_TEST(path_is_searched_past_what_cannot_be_run) {
        char *path = (char *) test_write("two/prog", "#!/bin/sh\necho two\n");
        char variable[512];

        (void) test_write("one/prog", "not executable");
        ck_assert_int_eq(chmod(path, 0755), 0);
        (void) snprintf(variable, sizeof(variable), "PATH=relative::%s/one:%s/two", test_folder(),
                        test_folder());
        begin((struct command){.path = "prog", .arguments = (char *[]){"prog", NULL}});
        r.config.environment = (char *[]){variable, NULL};
        run_well();
        ck_assert_str_eq(r.output, "two\n");

        unsetenv("PATH");
        begin((struct command){.path = "sh", .arguments = (char *[]){"sh", "-c", "env", NULL}});
        run_well();
        ck_assert_ptr_nonnull(strstr(r.output, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin"));
}
END_TEST

START_TEST(the_working_directory_is_resolved_at_each_start) {
        char *link_path = (char *) test_path("current");
        char expected[256];

        ck_assert_int_eq(mkdir(test_path("release-1"), 0755), 0);
        ck_assert_int_eq(mkdir(test_path("release-2"), 0755), 0);
        for (int i = 1; i <= 2; i++) {
                char target[32];
                (void) snprintf(target, sizeof(target), "release-%d", i);
                (void) unlink(link_path);
                ck_assert_int_eq(symlink(target, link_path), 0);
                begin(SHELL("pwd -P"));
                r.config.working_directory = link_path;
                run_well();
                (void) snprintf(expected, sizeof(expected), "%s/%s\n", test_folder(), target);
                ck_assert_str_eq(r.output, expected);
        }
        begin(SHELL("pwd -P"));
        run_well();
        ck_assert_str_eq(r.output, "/\n");
}
END_TEST

START_TEST(a_missing_working_directory_is_told_unless_it_is_optional) {
        begin(SHELL("pwd"));
        r.config.working_directory = "/no/such/folder";
        run_badly(SPAWN_WORKING_DIRECTORY, ENOENT, "/no/such/folder");
        begin(SHELL("pwd"));
        r.config.working_directory = "/no/such/folder";
        r.config.working_directory_optional = true;
        run_well();
        ck_assert_str_eq(r.output, "/\n");
}
END_TEST

START_TEST(user_and_groups_are_changed_and_not_for_a_privileged_command) {
        gid_t groups[] = {65534, 4242};

        SKIP_UNLESS(geteuid() == 0, "only root can change users");
        begin(SHELL("id -u; id -g; id -G; echo $HOME $USER; grep CapEff /proc/self/status"));
        r.config.has_user = true;
        r.config.user = "somebody";
        r.config.home = "/home/somebody";
        r.config.uid = 12345;
        r.config.gid = 54321;
        r.config.groups = groups;
        r.config.n_groups = 2;
        run_well();
        ck_assert_str_eq(r.output, "12345\n54321\n54321 4242 65534\n/home/somebody somebody\n"
                                   "CapEff:\t0000000000000000\n");
        begin(SHELL("id -u"));
        r.config.has_user = true;
        r.config.uid = r.config.gid = 12345;
        r.config.start.privileged = true;
        run_well();
        ck_assert_str_eq(r.output, "0\n");
}
END_TEST

START_TEST(who_may_not_change_users_is_told) {
        SKIP_UNLESS(geteuid() == 0, "only root can change users");
        ck_assert_int_eq(chmod(test_folder(), 0777), 0);
        ck_assert_int_eq(setresgid(12345, 12345, 12345), 0);
        ck_assert_int_eq(setresuid(12345, 12345, 0), 0);
        begin(SHELL("id -u"));
        r.config.has_user = true;
        r.config.user = "other";
        r.config.uid = r.config.gid = 12346;
        run_badly(SPAWN_CREDENTIALS, EPERM, "other");
        /* User= that one is already asks for nothing that is forbidden */
        begin(SHELL("id -u"));
        r.config.has_user = true;
        r.config.uid = r.config.gid = 12345;
        run_well();
        ck_assert_str_eq(r.output, "12345\n");
        ck_assert_int_eq(seteuid(0), 0); /* for the removal of the folder */
}
END_TEST

START_TEST(an_environment_file_that_cannot_be_read_is_told) {
        struct environment_file file = {.path = "/no/such.env"};

        begin(SHELL("true"));
        r.config.environment_files = &file;
        r.config.n_environment_files = 1;
        run_badly(SPAWN_ENVIRONMENT, ENOENT, "/no/such.env");
        begin(SHELL("echo good"));
        file.optional = true;
        r.config.environment_files = &file;
        r.config.n_environment_files = 1;
        run_well();
        ck_assert_str_eq(r.output, "good\n");
}
END_TEST

START_TEST(a_big_environment_arrives_and_one_too_big_is_told) {
        char *big = malloc(200000);

        memset(big, 'x', 200000);
        memcpy(big, "BIG=", 4);
        big[4 + 131000] = '\0';
        begin(SHELL("echo ${#BIG}"));
        r.config.environment = (char *[]){big, NULL};
        run_well();
        ck_assert_str_eq(r.output, "131000\n");
        big[4 + 131000] = 'x';
        big[199999] = '\0';
        begin(SHELL("echo ${#BIG}"));
        r.config.environment = (char *[]){big, NULL};
        run_badly(SPAWN_PROGRAM, E2BIG, "its arguments and environment");
        free(big);
}
END_TEST

static char *content(const char *path) {
        static char text[256];
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = read(fd, text, sizeof(text) - 1);

        ck_assert_int_ge(n, 0);
        text[n] = '\0';
        close(fd);
        return text;
}

START_TEST(output_goes_to_files_as_it_is_told) {
        char *path = (char *) test_write("out", "0123456789\n");
        static const struct {
                enum output_kind kind;
                const char *after;
        } cases[] = {
                {OUTPUT_APPEND, "0123456789\nab\n"},
                {OUTPUT_FILE, "ab\n3456789\nab\n"},
                {OUTPUT_TRUNCATE, "ab\n"},
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
                begin(SHELL("printf a; printf b >&2; echo"));
                r.config.standard_output.kind = r.config.standard_error.kind = cases[i].kind;
                r.config.standard_output.path = r.config.standard_error.path = path;
                run_well();
                ck_assert_str_eq(r.output, "");
                ck_assert_str_eq(content(path), cases[i].after);
        }
        begin(SHELL("echo a; echo b >&2"));
        r.config.standard_output.kind = OUTPUT_NULL;
        run_well();
        ck_assert_str_eq(r.output, "b\n");
        begin(SHELL("echo a; echo b >&2"));
        r.config.standard_output.kind = OUTPUT_NULL;
        r.config.standard_error.kind = OUTPUT_SAME;
        run_well();
        ck_assert_str_eq(r.output, "");
        begin(SHELL("true"));
        r.config.standard_error = (struct output_config){OUTPUT_APPEND, "/no/such/file"};
        run_badly(SPAWN_OUTPUT, ENOENT, "/no/such/file");
}
END_TEST

START_TEST(directories_are_there_before_anything_uses_them) {
        char *names[] = {"one/two", "three", NULL}, *state[] = {"state", NULL};
        char *path = (char *) test_path("state/out"), expected[512];

        begin(SHELL("echo $RUNTIME_DIRECTORY:$STATE_DIRECTORY:$LOGS_DIRECTORY. >&2; umask >&2;"
                    "stat -c %a ${RUNTIME_DIRECTORY%:*} >&2; pwd >&2"));
        (void) umask(0077);
        r.config.umask = 0027;
        r.config.directories[DIRECTORY_RUNTIME] =
                (struct directories){(char *) test_folder(), names, 0770};
        r.config.directories[DIRECTORY_STATE] =
                (struct directories){(char *) test_folder(), state, 0755};
        r.config.environment = (char *[]){"STATE_DIRECTORY=/mine", NULL}; /* as in systemd */
        r.config.standard_output = (struct output_config){OUTPUT_TRUNCATE, path};
        r.config.working_directory = (char *) test_path("three");
        run_well();
        (void) snprintf(expected, sizeof(expected),
                        "%s/one/two:%s/three:/mine:.\n0027\n770\n%s/three\n", test_folder(),
                        test_folder(), test_folder());
        ck_assert_str_eq(r.output, expected);
}
END_TEST

START_TEST(a_directory_that_cannot_be_made_is_told) {
        static const enum spawn_step steps[N_DIRECTORY_KINDS] = {
                SPAWN_RUNTIME_DIRECTORY, SPAWN_STATE_DIRECTORY, SPAWN_CACHE_DIRECTORY,
                SPAWN_LOGS_DIRECTORY, SPAWN_CONFIGURATION_DIRECTORY};
        char *names[] = {"file/x", NULL}, *link[] = {"open/link", NULL}, what[512];

        (void) test_write("file", "");
        (void) snprintf(what, sizeof(what), "%s/file/x", test_folder());
        for (int k = 0; k < N_DIRECTORY_KINDS; k++) {
                begin(SHELL("true"));
                r.config.directories[k] = (struct directories){(char *) test_folder(), names, 0755};
                run_badly(steps[k], ENOTDIR, what);
        }
        ck_assert_int_eq(r.status, 241);
        (void) test_write("open/x", "");
        ck_assert_int_eq(chmod(test_path("open"), 0777), 0);
        ck_assert_int_eq(symlink("/etc", test_path("open/link")), 0);
        begin(SHELL("true"));
        r.config.directories[DIRECTORY_STATE] =
                (struct directories){(char *) test_folder(), link, 0755};
        (void) snprintf(what, sizeof(what),
                        "link is a symbolic link that not only root can change, so remove it: "
                        "%s/open/link",
                        test_folder());
        run_badly(SPAWN_STATE_DIRECTORY, EPERM, what);
        ck_assert_int_eq(r.status, 238);
}
END_TEST

START_TEST(directories_belong_to_the_user_except_that_of_the_configuration) {
        char *names[] = {"a", NULL}, *etc[] = {"etc", NULL};

        SKIP_UNLESS(geteuid() == 0, "only root can change users");
        ck_assert_int_eq(chmod(test_folder(), 0755), 0);
        begin(SHELL(
                "cd $STATE_DIRECTORY; touch x && stat -c '%u %g' . x $CONFIGURATION_DIRECTORY"));
        r.config.has_user = true;
        r.config.user = "somebody";
        r.config.uid = 12345;
        r.config.gid = 54321;
        r.config.directories[DIRECTORY_STATE] =
                (struct directories){(char *) test_folder(), names, 0700};
        r.config.directories[DIRECTORY_CONFIGURATION] =
                (struct directories){(char *) test_folder(), etc, 0755};
        run_well();
        ck_assert_str_eq(r.output, "12345 54321\n12345 54321\n0 0\n");
}
END_TEST

START_TEST(a_link_where_its_group_may_write_is_not_followed_to_a_directory) {
        char *names[] = {"open/link", NULL}, what[512];

        SKIP_UNLESS(geteuid() == 0, "only root can change users");
        (void) test_write("open/x", "");
        ck_assert_int_eq(chmod(test_path("open"), 0775), 0);
        ck_assert_int_eq(chown(test_path("open"), 0, 54321), 0);
        ck_assert_int_eq(symlink("/etc", test_path("open/link")), 0);
        begin(SHELL("true"));
        r.config.has_user = true;
        r.config.user = "somebody";
        r.config.uid = 12345;
        r.config.gid = 54321;
        r.config.directories[DIRECTORY_STATE] =
                (struct directories){(char *) test_folder(), names, 0755};
        (void) snprintf(what, sizeof(what),
                        "link is a symbolic link that not only root can change, so remove it: %s",
                        test_path("open/link"));
        run_badly(SPAWN_STATE_DIRECTORY, EPERM, what);
}
END_TEST

START_TEST(limits_are_set_after_everything_that_needs_descriptors) {
        struct spawn_fd fds[4];
        struct environment_file file = {.path = (char *) test_write("env", "A=from-file\n")};

        for (int i = 0; i < 4; i++)
                fds[i] = (struct spawn_fd){0, "x"};
        begin(SHELL("ulimit -n; ulimit -Hn; umask; echo $A"));
        r.config.has_limit[RLIMIT_NOFILE] = true;
        r.config.limits[RLIMIT_NOFILE] = (struct rlimit){8, 10};
        r.config.umask = 0077;
        r.config.environment_files = &file;
        r.config.n_environment_files = 1;
        r.spawn.fds = fds;
        r.spawn.n_fds = 4;
        run_well();
        ck_assert_str_eq(r.output, "8\n10\n0077\nfrom-file\n");

        begin(SHELL("true"));
        r.config.has_limit[RLIMIT_NOFILE] = true;
        r.config.limits[RLIMIT_NOFILE] = (struct rlimit){9, 7};
        run_badly(SPAWN_LIMITS, EINVAL, "LimitNOFILE");
}
END_TEST

START_TEST(the_raised_limit_of_the_broker_is_not_inherited) {
        struct rlimit limit;

        unsetenv("FDPASS_NOFILE");
        ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
        limit.rlim_cur = 777;
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
        /* twice: the keeper, then the broker that it starts */
        ck_assert_uint_eq(limits_raise_nofile(), limit.rlim_max);
        ck_assert_uint_eq(limits_raise_nofile(), limit.rlim_max);
        begin(SHELL("ulimit -n"));
        run_well();
        ck_assert_str_eq(r.output, "777\n");
}
END_TEST

START_TEST(niceness_and_oom_score_are_set) {
        begin(SHELL("nice; cat /proc/self/oom_score_adj"));
        r.config.has_nice = r.config.has_oom_score_adjust = true;
        r.config.nice = 5;
        r.config.oom_score_adjust = 300;
        run_well();
        ck_assert_str_eq(r.output, "5\n300\n");
}
END_TEST

/* As a container's filter does it: glibc and we must both take it for "not there". */
static void refuse_clone3(int error) {
        struct sock_filter code[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned) error),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = {sizeof(code) / sizeof(*code), code};

        ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

static void run_in_cgroup(int refusal) {
        struct cgroup_root root;
        char name[CGROUP_NAME_SIZE];
        int fd;

        cgroup_root_open(&root, NULL);
        if (root.fd < 0) {
                printf("skipped: no cgroup v2 that may be written\n");
                return;
        }
        ck_assert_int_eq(cgroup_make(&root, "fdpass-unit-spawn", name, &fd), 0);
        if (refusal)
                refuse_clone3(refusal);
        begin(SHELL("grep ^0:: /proc/self/cgroup"));
        r.spawn.cgroup_fd = fd;
        run_well();
        ck_assert_msg(strstr(r.output, name) != NULL, "%s is not in %s", r.output, name);
        close(fd);
        cgroup_remove(&root, name);
        cgroup_root_close(&root);
}

START_TEST(it_is_in_its_cgroup) {
        run_in_cgroup(0);
}
END_TEST

START_TEST(it_is_in_its_cgroup_where_there_is_no_clone3) {
        run_in_cgroup(_i == 0 ? ENOSYS : EPERM);
}
END_TEST

START_TEST(a_cgroup_that_cannot_be_entered_is_told) {
        int fd = open(test_folder(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        begin(SHELL("true"));
        r.spawn.cgroup_fd = fd;
        run_badly(SPAWN_GROUP, ENOENT, "");
        close(fd);
}
END_TEST

START_TEST(without_descriptors_nothing_is_started) {
        struct rlimit limit = {3, 3};

        begin(SHELL("true"));
        ck_assert_int_eq(loop_new(&r.loop), 0);
        limit.rlim_max = 4096;
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
        ck_assert_int_eq(spawn_start(&r.watch, r.loop, &r.spawn, &r.pid, &r.pidfd, on_done, &r),
                         -EMFILE);
        limit.rlim_cur = 4096;
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
        loop_run_once(r.loop, false);
        ck_assert_int_eq(r.calls, 0);
        loop_free(r.loop);
}
END_TEST

START_TEST(a_stopped_watch_says_nothing_and_the_child_goes_on) {
        int status;

        begin(SHELL("exit 4"));
        ck_assert_int_eq(loop_new(&r.loop), 0);
        spawn_watch_stop(&r.watch); /* never started */
        ck_assert_int_eq(spawn_start(&r.watch, r.loop, &r.spawn, &r.pid, &r.pidfd, on_done, &r), 0);
        spawn_watch_stop(&r.watch);
        spawn_watch_stop(&r.watch);
        ck_assert_int_eq(waitpid(r.pid, &status, 0), r.pid);
        ck_assert_int_eq(WEXITSTATUS(status), 4);
        loop_run_once(r.loop, false);
        ck_assert_int_eq(r.calls, 0);
        close(r.pidfd);
        loop_free(r.loop);
}
END_TEST

SUITE("spawn", {
        TEST(signals_of_the_broker_do_not_leak);
        TEST(it_has_the_kernels_slice_not_the_brokers);
        TEST(it_has_a_session_of_its_own_and_nothing_on_its_input);
        TEST(descriptors_stand_in_order_whatever_numbers_they_had);
        TEST(descriptors_that_stand_in_each_others_places_are_not_lost);
        TEST(it_is_told_what_it_is_and_nothing_of_the_broker);
        TEST(what_is_unset_is_gone_whoever_set_it);
        TEST(a_program_that_is_not_there_is_told);
        TEST(a_program_that_may_not_be_run_is_told);
        TEST(a_script_without_its_interpreter_is_told_as_that);
        TEST(path_is_searched_past_what_cannot_be_run);
        TEST(the_working_directory_is_resolved_at_each_start);
        TEST(a_missing_working_directory_is_told_unless_it_is_optional);
        TEST(user_and_groups_are_changed_and_not_for_a_privileged_command);
        TEST(who_may_not_change_users_is_told);
        TEST(an_environment_file_that_cannot_be_read_is_told);
        TEST(a_big_environment_arrives_and_one_too_big_is_told);
        TEST(output_goes_to_files_as_it_is_told);
        TEST(directories_are_there_before_anything_uses_them);
        TEST(a_directory_that_cannot_be_made_is_told);
        TEST(directories_belong_to_the_user_except_that_of_the_configuration);
        TEST(a_link_where_its_group_may_write_is_not_followed_to_a_directory);
        TEST(limits_are_set_after_everything_that_needs_descriptors);
        TEST(the_raised_limit_of_the_broker_is_not_inherited);
        TEST(niceness_and_oom_score_are_set);
        TEST(it_is_in_its_cgroup);
        tcase_add_loop_test(tests_, it_is_in_its_cgroup_where_there_is_no_clone3, 0, 2);
        TEST(a_cgroup_that_cannot_be_entered_is_told);
        TEST(without_descriptors_nothing_is_started);
        TEST(a_stopped_watch_says_nothing_and_the_child_goes_on);
})
