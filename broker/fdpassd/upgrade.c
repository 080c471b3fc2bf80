/* Executing another program in our place, and being tried as such. See upgrade.h. */
#include "fdpassd/upgrade.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "components/component_table.h"
#include "config/config.h"
#include "config/kept_config.h"
#include "core/broker.h"
#include "core/inherited.h"
#include "core/log.h"
#include "core/loop.h"
#include "core/process.h"
#include "fdpassd/daemon.h"
#include "keeper/handover.h"
#include "keeper/keeper.h"
#include "keeper/memory.h"

/* ---- where we come from -----------------------------------------------------------------------*/

static bool is_our_program(const char *path) {
        struct stat it, us;

        return stat(path, &it) == 0 && stat("/proc/self/exe", &us) == 0 && it.st_dev == us.st_dev &&
               it.st_ino == us.st_ino;
}

char *upgrade_own_path(const char *argv0) {
        static const char deleted[] = " (deleted)";
        char path[PATH_MAX + sizeof(deleted)];
        char *absolute = NULL;
        ssize_t n;

        if (argv0 && argv0[0] == '/' && is_our_program(argv0))
                return strdup(argv0);
        if (argv0 && strchr(argv0, '/') && argv0[0] != '/' && getcwd(path, PATH_MAX) &&
            is_our_program(argv0))
                return asprintf(&absolute, "%s/%s", path, argv0) < 0 ? NULL : absolute;
        n = readlink("/proc/self/exe", path, sizeof(path) - 1);
        if (n <= 0)
                return NULL;
        path[n] = '\0';
        /* Replaced meanwhile, by a package upgrade for example: what is there now is meant. */
        size_t tail = sizeof(deleted) - 1;
        if ((size_t) n > tail && strcmp(path + n - tail, deleted) == 0 && access(path, F_OK) < 0)
                path[(size_t) n - tail] = '\0';
        return strdup(path);
}

/* ---- the exec ---------------------------------------------------------------------------------*/

static int add_stored(void *handover, const char *id, int fd) {
        return handover_add(handover, id, fd);
}

/* What systemd's socket units passed and nobody claimed has no id, and stays open likewise. */
static int add_unclaimed(struct handover *h, const struct inherited *inherited) {
        int r = 0;

        for (size_t i = 0; inherited && i < inherited_count(inherited) && r == 0; i++)
                if (!inherited_id(inherited, i))
                        r = handover_add(h, inherited_name(inherited, i),
                                         inherited_peek_fd(inherited, i));
        return r;
}

/* Ignored or blocked, as whoever started us may have left it, it would pass the exec like that. */
static void let_alarm_kill(void) {
        sigset_t set;

        (void) signal(SIGALRM, SIG_DFL);
        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGALRM);
        (void) sigprocmask(SIG_UNBLOCK, &set, NULL);
}

int upgrade_execute(struct broker *b, int executable_fd, char **argv) {
        int link_fd = memory_peek_link(b->memory), r;
        struct handover *h;

        if (link_fd < 0 && !memory_outlives_us(b->memory))
                return -ENOTCONN; /* the keeper died just now, and another one is being started */
        r = handover_new(&h);
        if (r < 0)
                return r;
        r = memory_each_fd(b->memory, add_stored, h);
        if (r == 0)
                r = add_unclaimed(h, b->inherited);
        if (r == 0)
                r = handover_pass(h);
        if (r == 0) {
                if (link_fd >= 0)
                        handover_pass_fd(KEEPER_LINK_ENV, link_fd);
                memory_say_executing(b->memory);
                let_alarm_kill();
                (void) alarm(UPGRADE_READY_SECONDS);
                (void) fexecve(executable_fd, argv, environ);
                r = -errno;
                (void) alarm(0);
                memory_say_ready(b->memory);
                (void) handover_take_fd(KEEPER_LINK_ENV);
                handover_undo(h);
        }
        handover_free(h);
        return r;
}

void upgrade_adopt_children(const struct broker *b) {
        FILE *f = fopen("/proc/thread-self/children", "re"); /* CONFIG_PROC_CHILDREN */
        int pid;

        while (f && fscanf(f, "%d", &pid) == 1) {
                int pidfd;

                if (component_table_has_child(b->components, pid))
                        continue;          /* collected with its status */
                pidfd = process_open(pid); /* not reaped: surely that one */
                if (pidfd >= 0)
                        loop_put_child(b->loop, pidfd);
        }
        if (f)
                (void) fclose(f);
}

/* ---- the trial --------------------------------------------------------------------------------*/

static int take_config(const struct state *s, struct inherited *passed) {
        for (const char *id = state_first(s); id; id = state_next(s, id))
                if (state_is(s, id, KEPT_CONFIG_KIND))
                        return inherited_take_named(passed, id);
        return -1;
}

static int check_config(int fd, struct log *log) {
        struct config *config = NULL;
        int r = kept_config_read(fd, log, &config);

        if (r < 0)
                log_error(log, NULL, "the configuration in force cannot be used by fdpassd %s",
                          FDPASS_VERSION);
        config_free(config);
        return r;
}

static int check_passed(struct inherited *passed, struct log *log) {
        struct state_report report = {0};
        struct state *state = NULL;
        int r, state_fd = inherited_take_named(passed, MEMORY_STATE_ID);

        if (state_fd < 0) {
                log_error(log, NULL,
                          "--check-upgrade is for a broker, which passes what is to be checked; to "
                          "upgrade one use `fdpass upgrade`");
                return -EINVAL;
        }
        r = state_open(&state, state_fd, &report);
        if (r < 0) {
                log_error(log, NULL, "the state document cannot be read by fdpassd %s: %s",
                          FDPASS_VERSION,
                          r == -EPROTO ? "its format version is another" : strerror(-r));
                return r;
        }
        _cleanup_close_ int config_fd = take_config(state, passed);
        if (config_fd >= 0)
                r = check_config(config_fd, log);
        if (r == 0)
                (void) printf("VERSION=%s\nSTATE_FORMAT=%d\nRECORDS=%zu\n", FDPASS_VERSION,
                              STATE_FORMAT, report.records);
        state_free(state);
        return r;
}

int upgrade_check(struct log *log) {
        struct inherited *passed;
        int r = inherited_new(&passed);

        if (r < 0)
                return EXIT_STATUS_FAILED;
        r = handover_take(passed);
        if (r >= 0)
                r = check_passed(passed, log);
        inherited_free(passed);
        return r < 0 || fflush(stdout) != 0 ? EXIT_STATUS_FAILED : EXIT_STATUS_OK;
}
