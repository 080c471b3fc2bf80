/* What a program may do: capabilities and no_new_privs, seen by a program that is executed then. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "component_support.h"
#include "components/credentials.h"
#include "support.h"

#define SHOW                                                                                       \
        "grep -E '^(Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs)' /proc/self/status | cut -f2 | tr '\n' "  \
        "' '"
#define CHOWN UINT64_C(1)
#define NET_BIND_SERVICE UINT64_C(0x400)

/* Each test has a process, and so variables, of its own. */
static struct component_config config;
static struct command command;
static char said[256];
static uid_t who; /* changes; 0: who runs the test */

/* After which nobody but the child is changed. What it shows, or why not, is in `said`. */
static void change(void) {
        int ends[2];
        ssize_t n;
        size_t size = 0;
        pid_t pid;

        ck_assert_int_eq(pipe(ends), 0);
        pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
                const char *what = "";
                int r = who ? setresuid(who, who, who) : 0;

                if (r == 0)
                        r = credentials_change(&config, &command, &what);

                dup2(ends[1], STDOUT_FILENO);
                if (r == 0)
                        execl("/bin/sh", "sh", "-c", SHOW, NULL);
                dprintf(STDOUT_FILENO, "%s: %s", what, strerrorname_np(-r));
                _exit(EXIT_FAILURE);
        }
        close(ends[1]);
        while ((n = read(ends[0], said + size, sizeof(said) - 1 - size)) > 0)
                size += (size_t) n;
        said[size] = '\0';
        close(ends[0]);
        ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

/* SETPCAP and SETUID are not among them: whoever limits himself must not need them afterwards. */
static void restrict_all(void) {
        config.has_user = true;
        config.uid = config.gid = 12345;
        config.denied_set = ~(CHOWN | NET_BIND_SERVICE);
        config.ambient_set = NET_BIND_SERVICE;
        config.no_new_privileges = true;
}

START_TEST(a_user_has_the_capabilities_that_it_was_given) {
        SKIP_UNLESS(geteuid() == 0, "only root can give capabilities");
        restrict_all();
        change();
        ck_assert_str_eq(said, "0000000000000400 0000000000000400 0000000000000400 "
                               "0000000000000401 0000000000000400 1 ");
}
END_TEST

START_TEST(root_has_what_is_left_of_all) {
        SKIP_UNLESS(geteuid() == 0, "only root can limit capabilities");
        config.denied_set = ~(CHOWN | NET_BIND_SERVICE);
        change();
        ck_assert_str_eq(said, "0000000000000000 0000000000000401 0000000000000401 "
                               "0000000000000401 0000000000000000 0 ");
}
END_TEST

START_TEST(an_exclamation_mark_is_about_the_user_alone) {
        SKIP_UNLESS(geteuid() == 0, "only root can give capabilities");
        restrict_all();
        command.privileged = true;
        change();
        ck_assert_str_eq(said, "0000000000000400 0000000000000401 0000000000000401 "
                               "0000000000000401 0000000000000400 1 ");
}
END_TEST

START_TEST(a_plus_restricts_nothing) {
        char all[sizeof(said)];

        SKIP_UNLESS(geteuid() == 0, "only root can give capabilities");
        change();
        memcpy(all, said, sizeof(all));
        restrict_all();
        command.privileged = command.unrestricted = true;
        change();
        ck_assert_str_eq(said, all);
}
END_TEST

START_TEST(a_capability_that_is_denied_cannot_be_given) {
        SKIP_UNLESS(geteuid() == 0, "only root can give capabilities");
        config.denied_set = CHOWN;
        config.ambient_set = CHOWN;
        change();
        ck_assert_str_eq(said, "AmbientCapabilities: EPERM");
}
END_TEST

START_TEST(who_is_not_root_can_only_give_up) {
        SKIP_UNLESS(geteuid() == 0, "only root can become somebody");
        who = 12345;
        config.denied_set = CHOWN;
        change();
        ck_assert_str_eq(said, "CapabilityBoundingSet: EPERM");
        config.denied_set = 0;
        config.ambient_set = CHOWN;
        change();
        ck_assert_str_eq(said, "AmbientCapabilities: EPERM");
        config.ambient_set = 0;
        config.no_new_privileges = true;
        change();
        ck_assert_ptr_nonnull(strstr(said, " 1 "));
}
END_TEST

SUITE("credentials", {
        TEST(a_user_has_the_capabilities_that_it_was_given);
        TEST(root_has_what_is_left_of_all);
        TEST(an_exclamation_mark_is_about_the_user_alone);
        TEST(a_plus_restricts_nothing);
        TEST(a_capability_that_is_denied_cannot_be_given);
        TEST(who_is_not_root_can_only_give_up);
})
