/*
 * The child's side: everything from the new process to its program, in the order of the steps. It
 * has the broker's memory to itself and may allocate and block; it must not return, log, or end in
 * another way than by exec or _exit().
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cleanup.h"
#include "components/credentials.h"
#include "components/directory.h"
#include "components/environment.h"
#include "components/output_file.h"
#include "components/spawn_private.h"
#include "core/limits.h"
#include "core/slice.h"

/* systemd's (file-hierarchy(7)), for a broker that has none itself. */
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define FIRST_FD 3

struct child {
        const struct spawn *spawn;
        const struct component_config *config;
        bool is_in_cgroup;
        enum spawn_step step;
        int result_fd;
        int standard[3]; /* what is to become 0, 1 and 2 */
        int *given;      /* what is to stand from FIRST_FD on */
        struct environment environment;
        char *search_path; /* PATH, even when the program is not to have it */
        char **argv;
        char what[SPAWN_WHAT_SIZE]; /* of the step that fails */
};

static int fail(struct child *c, const char *what, int error) {
        (void) snprintf(c->what, sizeof(c->what), "%s", what);
        return error;
}

/* ---- signals, session, cgroup ----------------------------------------------------------------*/

static void reset_signals(void) {
        struct sigaction by_default = {.sa_handler = SIG_DFL};
        sigset_t none;

        /* CLONE_CLEAR_SIGHAND leaves what is ignored, and fork(2) all. */
        for (int s = 1; s < NSIG; s++)
                (void) sigaction(s, &by_default, NULL);
        /* The broker reads its signals from a signalfd and so has them blocked. */
        (void) sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
}

static int enter_group(struct child *c) {
        (void) setsid(); /* fails only for who leads a group already */
        if (c->spawn->cgroup_fd < 0 || c->is_in_cgroup)
                return 0;
        _cleanup_close_ int fd = openat(c->spawn->cgroup_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);
        return fd < 0 || write(fd, "0", 1) < 0 ? -errno : 0; /* "0": whoever writes */
}

/* ---- directories -----------------------------------------------------------------------------*/

static int make_directory(struct child *c, enum directory_kind kind, const char *name) {
        const struct component_config *config = c->config;
        struct directory directory = {
                .component = config,
                .base = config->directories[kind].base,
                .name = name,
                .mode = config->directories[kind].mode,
                .uid = config->user ? config->uid : (uid_t) -1,
                .gid = config->has_user ? config->gid : (gid_t) -1,
        };

        /* Which a program is to read, not to write. */
        if (kind == DIRECTORY_CONFIGURATION) {
                directory.uid = (uid_t) -1;
                directory.gid = (gid_t) -1;
                directory.leave_existing = true;
        }
        return directory_make(&directory, c->what, sizeof(c->what));
}

static int make_directories(struct child *c) {
        (void) umask(0); /* set for the program by open_outputs() */
        for (int kind = 0; kind < N_DIRECTORY_KINDS; kind++) {
                char *const *name = c->config->directories[kind].names;

                c->step = SPAWN_RUNTIME_DIRECTORY + (enum spawn_step) kind;
                for (; name && *name; name++) {
                        int r = make_directory(c, (enum directory_kind) kind, *name);

                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

/* ---- descriptors -----------------------------------------------------------------------------*/

/* The descriptor for 1 or 2, or -errno. */
static int open_output(struct child *c, const struct output_config *output, int inherited_fd) {
        switch (output->kind) {
        case OUTPUT_SAME:
                return c->standard[1];
        case OUTPUT_LOG:
                return inherited_fd >= 0 ? inherited_fd : c->standard[0];
        case OUTPUT_NULL:
                return c->standard[0];
        default:
                return output_file_open(c->config, output, c->what, sizeof(c->what));
        }
}

static bool is_same_file(const struct output_config *a, const struct output_config *b) {
        return a->path && b->path && a->kind == b->kind && strcmp(a->path, b->path) == 0;
}

static int open_outputs(struct child *c) {
        const struct output_config *output = &c->config->standard_output;
        const struct output_config *error = &c->config->standard_error;

        (void) umask(c->config->umask);
        /* For writing, too: it may become standard output. */
        c->standard[0] = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (c->standard[0] < 0)
                return fail(c, "/dev/null", -errno);
        c->standard[1] = open_output(c, output, c->spawn->output_fd);
        if (c->standard[1] < 0)
                return c->standard[1];
        /* One description for both, so that one does not write over the other. */
        c->standard[2] = is_same_file(output, error) ? c->standard[1]
                                                     : open_output(c, error, c->spawn->error_fd);
        return c->standard[2] < 0 ? c->standard[2] : 0;
}

static int above(struct child *c, int fd) {
        int moved = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FD + (int) c->spawn->n_fds);

        if (moved < 0) /* EINVAL: RLIMIT_NOFILE is lower than that */
                return errno == EINVAL ? -EMFILE : -errno;
        return moved;
}

/* For Linux 5.10, which has no CLOSE_RANGE_CLOEXEC: all that there are, up to the highest. */
static void close_on_exec_from(int first) {
        struct rlimit limit;

        if (syscall(SYS_close_range, first, ~0U, CLOSE_RANGE_CLOEXEC) == 0)
                return;
        if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
                for (rlim_t fd = (rlim_t) first; fd < limit.rlim_cur && fd < 1048576; fd++)
                        (void) fcntl((int) fd, F_SETFD, FD_CLOEXEC);
}

/*
 * What is to be placed may stand where another is to be placed: so first a copy of each above all
 * places, and from there down. The originals are the broker's, close-on-exec, and go with exec;
 * those that stand in the range are overwritten, which closes them here and nowhere else.
 */
static int place_descriptors(struct child *c) {
        size_t n = c->spawn->n_fds;

        c->given = calloc(n + 1, sizeof(*c->given));
        if (!c->given)
                return -ENOMEM;
        c->result_fd = above(c, c->result_fd);
        if (c->result_fd < 0)
                return c->result_fd;
        for (size_t i = 0; i < 3; i++) {
                c->standard[i] = above(c, c->standard[i]);
                if (c->standard[i] < 0)
                        return c->standard[i];
        }
        for (size_t i = 0; i < n; i++) {
                c->given[i] = above(c, c->spawn->fds[i].fd);
                if (c->given[i] < 0)
                        return fail(c, c->spawn->fds[i].name, c->given[i]);
        }
        for (int i = 0; i < 3; i++)
                if (dup3(c->standard[i], i, 0) < 0)
                        return -errno;
        for (size_t i = 0; i < n; i++)
                if (dup3(c->given[i], FIRST_FD + (int) i, 0) < 0)
                        return fail(c, c->spawn->fds[i].name, -errno);
        close_on_exec_from(FIRST_FD + (int) n);
        return 0;
}

/* ---- environment -----------------------------------------------------------------------------*/

static int set_number(struct environment *e, const char *name, uint64_t value) {
        char text[24];

        (void) snprintf(text, sizeof(text), "%llu", (unsigned long long) value);
        return environment_set(e, name, text);
}

static int set_names(struct environment *e, const struct spawn *spawn) {
        size_t size = 1;
        char *names, *p;
        int r;

        for (size_t i = 0; i < spawn->n_fds; i++)
                size += strlen(spawn->fds[i].name) + 1;
        names = p = calloc(size, 1);
        if (!names)
                return -ENOMEM;
        for (size_t i = 0; i < spawn->n_fds; i++)
                p += sprintf(p, "%s%s", i > 0 ? ":" : "", spawn->fds[i].name);
        r = environment_set(e, "LISTEN_FDNAMES", names);
        free(names);
        return r;
}

/* LISTEN_FDS: sd_listen_fds(3). Nobody else's may be found when there are none. */
static int set_listen(struct environment *e, const struct spawn *spawn) {
        int r;

        if (spawn->n_fds == 0) {
                environment_unset(e, "LISTEN_FDS");
                environment_unset(e, "LISTEN_PID");
                environment_unset(e, "LISTEN_FDNAMES");
                return 0;
        }
        r = set_number(e, "LISTEN_FDS", spawn->n_fds);
        if (r == 0)
                r = set_number(e, "LISTEN_PID", (uint64_t) getpid());
        return r == 0 ? set_names(e, spawn) : r;
}

/* WATCHDOG_USEC: sd_watchdog_enabled(3); of the main command alone. */
static int set_watchdog(struct environment *e, const struct spawn *spawn) {
        uint64_t usec = spawn->config->watchdog_usec;
        int r;

        if (usec == 0 || usec == USEC_INFINITY || spawn->command != &spawn->config->start) {
                environment_unset(e, "WATCHDOG_USEC");
                environment_unset(e, "WATCHDOG_PID");
                return 0;
        }
        r = set_number(e, "WATCHDOG_USEC", usec);
        return r == 0 ? set_number(e, "WATCHDOG_PID", (uint64_t) getpid()) : r;
}

static int set_or_unset(struct environment *e, const char *name, const char *value) {
        if (value)
                return environment_set(e, name, value);
        environment_unset(e, name);
        return 0;
}

static int set_ours(struct environment *e, const struct spawn *spawn) {
        int r = set_listen(e, spawn);

        if (r == 0)
                r = set_watchdog(e, spawn);
        if (r == 0)
                r = set_or_unset(e, "NOTIFY_SOCKET", spawn->notify_socket);
        if (r == 0)
                r = set_or_unset(e, "FDPASS_SOCKET", spawn->control_socket);
        if (r == 0)
                r = environment_set(e, "FDPASS_COMPONENT", spawn->config->name);
        if (r == 0)
                r = set_number(e, "FDPASS_GENERATION", spawn->generation);
        if (r == 0)
                r = set_number(e, "FDPASS_INSTANCE", spawn->instance);
        for (const char *const *v = spawn->variables; r == 0 && v && *v; v++)
                r = environment_put(e, *v);
        if (r == 0 && !environment_get(e, "PATH"))
                r = environment_set(e, "PATH", DEFAULT_PATH);
        return r;
}

static int make_environment(struct child *c) {
        const char *what = "";
        int r = environment_build(&c->environment, environ, c->config, &what);

        if (r < 0)
                return fail(c, what, r);
        r = set_ours(&c->environment, c->spawn);
        if (r < 0)
                return r;
        c->search_path = strdup(environment_get(&c->environment, "PATH"));
        if (!c->search_path)
                return -ENOMEM;
        /* Last, as in systemd: it takes back what anybody set, we too. */
        for (char *const *name = c->config->unset_environment; name && *name; name++)
                environment_unset(&c->environment, *name);
        return environment_expand(&c->environment, c->spawn->command, &c->argv);
}

/* ---- limits and credentials ------------------------------------------------------------------*/

static const char *const limit_names[RLIM_NLIMITS] = {
        [RLIMIT_AS] = "LimitAS",
        [RLIMIT_CORE] = "LimitCORE",
        [RLIMIT_CPU] = "LimitCPU",
        [RLIMIT_DATA] = "LimitDATA",
        [RLIMIT_FSIZE] = "LimitFSIZE",
        [RLIMIT_LOCKS] = "LimitLOCKS",
        [RLIMIT_MEMLOCK] = "LimitMEMLOCK",
        [RLIMIT_MSGQUEUE] = "LimitMSGQUEUE",
        [RLIMIT_NICE] = "LimitNICE",
        [RLIMIT_NOFILE] = "LimitNOFILE",
        [RLIMIT_NPROC] = "LimitNPROC",
        [RLIMIT_RSS] = "LimitRSS",
        [RLIMIT_RTPRIO] = "LimitRTPRIO",
        [RLIMIT_RTTIME] = "LimitRTTIME",
        [RLIMIT_SIGPENDING] = "LimitSIGPENDING",
        [RLIMIT_STACK] = "LimitSTACK",
};

static int set_oom_score(const struct component_config *config) {
        _cleanup_close_ int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

        return fd < 0 || dprintf(fd, "%d", config->oom_score_adjust) < 0 ? -errno : 0;
}

static int set_limits(struct child *c) {
        const struct component_config *config = c->config;

        if (config->has_oom_score_adjust) {
                int r = set_oom_score(config);
                if (r < 0)
                        return fail(c, "OOMScoreAdjust", r);
        }
        if (config->has_nice && setpriority(PRIO_PROCESS, 0, config->nice) < 0)
                return fail(c, "Nice", -errno);
        if (!config->has_limit[RLIMIT_NOFILE])
                limits_restore_nofile();
        for (size_t i = 0; i < RLIM_NLIMITS; i++)
                if (config->has_limit[i] &&
                    setrlimit((__rlimit_resource_t) i, &config->limits[i]) < 0)
                        return fail(c, limit_names[i], -errno);
        return 0;
}

static int change_credentials(struct child *c) {
        const char *what = "";
        int r = credentials_change(c->config, c->spawn->command, &what);

        return r < 0 ? fail(c, what, r) : 0;
}

/* After the change of user, which takes it back. A program that is set-uid ends by itself alone. */
static int tie_to_parent(struct child *c) {
        if (c->spawn->ends_with <= 0)
                return 0;
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
                return -errno;
        if (getppid() != c->spawn->ends_with)
                _exit(EXIT_FAILURE); /* it was too late for that, and nobody is there to hear */
        return 0;
}

/* ---- working directory and program -----------------------------------------------------------*/

/* Anew at each start: the path may be a symbolic link to the release of the day. */
static int change_directory(struct child *c) {
        const char *path = c->config->working_directory ? c->config->working_directory : "/";

        if (chdir(path) == 0 || (c->config->working_directory_optional && chdir("/") == 0))
                return 0;
        return fail(c, path, -errno);
}

/* Returns only when it fails: -errno. */
static int execute_path(struct child *c, const char *path) {
        int error;

        (void) execve(path, c->argv, c->environment.items);
        error = errno;
        if (error == E2BIG)
                return fail(c, "its arguments and environment", -error);
        if (error == ENOENT && access(path, F_OK) == 0) {
                (void) snprintf(c->what, sizeof(c->what), "the interpreter of %.400s", path);
                return -error;
        }
        return fail(c, path, -error);
}

/* Is it worth looking in the next folder of PATH? */
static bool is_elsewhere(int r) {
        return r == -ENOENT || r == -ENOTDIR || r == -EACCES;
}

static int execute(struct child *c) {
        const char *name = c->spawn->command->path;
        const char *folder = c->search_path;
        int r = -ENOENT, denied = 0;

        if (strchr(name, '/'))
                return execute_path(c, name);
        for (; *folder; folder += *folder == ':') {
                size_t length = strcspn(folder, ":");
                char path[4096];

                /* What is relative, an empty one too, would depend on the working directory. */
                if (*folder == '/' && snprintf(path, sizeof(path), "%.*s/%s", (int) length, folder,
                                               name) < (int) sizeof(path)) {
                        r = execute_path(c, path);
                        if (!is_elsewhere(r) || access(path, F_OK) == 0) {
                                if (r != -EACCES)
                                        return r;
                                denied = r;
                        }
                }
                folder += length;
        }
        return fail(c, name, denied < 0 ? denied : -ENOENT);
}

/* ---- all of it -------------------------------------------------------------------------------*/

static const struct {
        enum spawn_step step;
        int (*take)(struct child *c); /* 0 or -errno */
} steps[] = {
        {SPAWN_GROUP, enter_group},
        {SPAWN_RUNTIME_DIRECTORY, make_directories}, /* and those after it */
        {SPAWN_OUTPUT, open_outputs},
        {SPAWN_DESCRIPTORS, place_descriptors},
        {SPAWN_ENVIRONMENT, make_environment},
        {SPAWN_LIMITS, set_limits},
        {SPAWN_CREDENTIALS, change_credentials},
        {SPAWN_CREDENTIALS, tie_to_parent},
        {SPAWN_WORKING_DIRECTORY, change_directory},
        {SPAWN_PROGRAM, execute},
};

static _Noreturn void report(struct child *c, int result_fd, int error) {
        struct spawn_report r = {.step = c->step, .error = error};

        memcpy(r.what, c->what, sizeof(r.what));
        (void) !write(result_fd, &r, sizeof(r));
        _exit(spawn_step_exit_status(c->step));
}

/* Nobody would know of what runs without a record: then rather nothing does. */
static void wait_for_release(int hold_fd) {
        char byte;
        ssize_t n;

        do
                n = read(hold_fd, &byte, sizeof(byte));
        while (n < 0 && errno == EINTR);
        if (n != (ssize_t) sizeof(byte))
                _exit(SPAWN_UNRELEASED_STATUS);
        (void) close(hold_fd);
}

_Noreturn void spawn_child(const struct spawn *spawn, bool is_in_cgroup, int result_fd,
                           int hold_fd) {
        struct child c = {
                .spawn = spawn,
                .config = spawn->config,
                .is_in_cgroup = is_in_cgroup,
                .result_fd = result_fd,
        };

        reset_signals();
        slice_restore();
        if (hold_fd >= 0)
                wait_for_release(hold_fd);
        for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
                int r;

                c.step = steps[i].step;
                c.what[0] = '\0'; /* a step that went well leaves what it was about */
                r = steps[i].take(&c);
                if (r < 0)
                        report(&c, c.result_fd >= 0 ? c.result_fd : result_fd, -r);
        }
        _exit(EXIT_FAILURE); /* not reached: the last step executes or fails */
}
