/*
 * UPGRADE: another program takes over in our place, same process, same children, nothing closed.
 *
 * First it is tried: a disposable child executes it with a copy of the state document and with the
 * configuration in force; only when that loads both do we settle the store, answer, and execute the
 * very file that was tried. Whatever fails before that changes nothing.
 *
 * The session ends with the exec. Its peer connects again, and the answer to that comes from whom
 * it is about: the new program, or the old one that was started again.
 */
#include "control/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "config/kept_config.h"
#include "control/answer.h"
#include "control/control_private.h"
#include "control/session.h"
#include "core/helper.h"
#include "keeper/handover.h"
#include "keeper/memory.h"

#define TRIAL_DEADLINE_USEC (10 * 1000 * 1000)
/* The end of what the program says, which has the reason. */
#define OUTPUT_MAX 3000

/* ---- the trial, in a child --------------------------------------------------------------------*/

struct trial {
        int executable_fd, state_fd, config_fd, result_fd;
        char config_id[STATE_ID_SIZE];
};

/* The loop's descriptors must not stay open here after it has closed them. */
static void close_others(const struct trial *t) {
        unsigned keep[] = {STDERR_FILENO, (unsigned) t->executable_fd, (unsigned) t->state_fd,
                           (unsigned) t->result_fd, (unsigned) t->config_fd};
        size_t n = sizeof(keep) / sizeof(keep[0]) - (t->config_fd < 0);

        for (size_t i = 1; i < n; i++)
                for (size_t j = i; j > 0 && keep[j] < keep[j - 1]; j--) {
                        unsigned other = keep[j];
                        keep[j] = keep[j - 1];
                        keep[j - 1] = other;
                }
        for (size_t i = 0; i < n; i++) {
                unsigned last = i + 1 < n ? keep[i + 1] - 1 : ~0U;
                if (keep[i] + 1 <= last)
                        (void) close_range(keep[i] + 1, last, 0);
        }
}

static _Noreturn void execute_trial(const struct trial *t, int output_fd) {
        char *const argv[] = {(char[]){"fdpassd"}, (char[]){"--check-upgrade"}, NULL};
        struct handover *h;
        int r;

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void) dup2(output_fd, STDOUT_FILENO);
        (void) dup2(output_fd, STDERR_FILENO);
        r = handover_new(&h);
        if (r == 0)
                r = handover_add(h, MEMORY_STATE_ID, t->state_fd);
        if (r == 0 && t->config_fd >= 0)
                r = handover_add(h, t->config_id, t->config_fd);
        if (r == 0)
                r = handover_pass(h);
        if (r == 0) {
                (void) fexecve(t->executable_fd, argv, environ);
                r = -errno;
        }
        /* A script: its interpreter would have to open a descriptor that exec closes. */
        (void) dprintf(STDERR_FILENO, "it cannot be executed: %s\n",
                       r == -ENOENT ? "not a program" : strerror(-r));
        _exit(127);
}

/* All of it, of which the end is kept. */
static size_t read_output(int fd, char ret[OUTPUT_MAX]) {
        size_t size = 0;
        ssize_t n;

        for (;;) {
                if (size == OUTPUT_MAX) {
                        memmove(ret, ret + OUTPUT_MAX / 2, OUTPUT_MAX / 2);
                        size = OUTPUT_MAX / 2;
                }
                n = read(fd, ret + size, OUTPUT_MAX - size);
                if (n <= 0)
                        return size;
                size += (size_t) n;
        }
}

/* The result: its wait status, and what it said. */
static void try_program(void *argument, int result_fd) {
        struct trial *t = argument;
        char output[OUTPUT_MAX];
        int ends[2], status = -1;
        size_t size;
        pid_t pid;

        t->result_fd = result_fd;
        close_others(t);
        if (pipe2(ends, O_CLOEXEC) < 0)
                return;
        pid = fork();
        if (pid == 0)
                execute_trial(t, ends[1]);
        (void) close(ends[1]);
        size = read_output(ends[0], output);
        if (pid < 0 || waitpid(pid, &status, 0) < 0)
                return;
        (void) dprintf(result_fd, "%d\n", status);
        (void) !write(result_fd, output, size);
}

/* ---- the end of it ----------------------------------------------------------------------------*/

static struct request to_answer(const struct upgrade *u) {
        return (struct request){.session = u->session, .serial = serial_text(&u->serial)};
}

static void forget(struct upgrade *u) {
        free(u->path);
        u->path = NULL;
        u->executable_fd = close_fd(u->executable_fd);
        u->session = NULL;
        u->running = false;
}

/* The broker goes on as it is. */
static void fail(struct control *c, const char *reason) {
        struct upgrade *u = &c->upgrade;
        struct session *s = u->session;
        const struct request request = to_answer(u);

        log_error(c->broker->log, NULL, "not upgraded: %s cannot take over: %s", u->path, reason);
        if (s)
                answer_error(&request, EINVAL, "%s cannot take over: %s", u->path, reason);
        forget(u);
        if (s && s->state == SESSION_ENDING)
                session_end(s);
}

/* Returns only if it fails; then the end of the session without an exec says so. */
static void execute(struct control *c) {
        struct upgrade *u = &c->upgrade;
        const struct request request = to_answer(u);
        struct broker *b = c->broker;
        int r;

        log_notice(b->log, NULL, "upgrading from fdpassd " FDPASS_VERSION " to %s, %s", u->version,
                   u->path);
        if (u->session) {
                packet_add(answer_begin(&request), "VERSION", u->version);
                (void) answer_send(&request);
        }
        r = b->execute(b->process, u->executable_fd, u->version);
        log_error(b->log, NULL, "not upgraded: %s cannot be executed: %s", u->path, strerror(-r));
        struct session *s = u->session;
        forget(u);
        if (s)
                session_end(s);
}

static void on_settled(void *owner) {
        struct control *c = owner;
        struct memory *m = c->broker->memory;

        /* Others may have pushed since; what is in the queue arrives, what is not would be lost. */
        if (memory_is_sent(m))
                execute(c);
        else if (memory_barrier(m, on_settled, c) < 0)
                fail(c, "what is kept cannot be settled");
}

/* ---- the outcome of the trial -----------------------------------------------------------------*/

/* Lines become one sentence, and control characters harmless. */
static void join_lines(const char *text, char *ret, size_t size) {
        size_t n = 0;

        for (const char *p = text; *p && n + 3 < size; p++) {
                if (*p != '\n')
                        ret[n++] = (unsigned char) *p < ' ' ? '?' : *p;
                else if (p[1] != '\0') {
                        ret[n++] = ';';
                        ret[n++] = ' ';
                }
        }
        ret[n] = '\0';
}

static void explain(int status, const char *output, char *ret, size_t size) {
        size_t length = strlen(output);

        if (length > 0) /* the end of it has the reason */
                join_lines(length > 600 ? output + length - 600 : output, ret, size);
        else if (WIFSIGNALED(status))
                (void) snprintf(ret, size, "it died of SIG%s", sigabbrev_np(WTERMSIG(status)));
        else if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
                (void) snprintf(ret, size, "it ended with status %d and said nothing",
                                WEXITSTATUS(status));
        else
                (void) snprintf(ret, size, "it is no fdpassd that can be upgraded to");
}

static bool find_version(const char *output, char ret[UPGRADE_VERSION_SIZE]) {
        const char *p = output;

        while (p && strncmp(p, "VERSION=", 8) != 0) {
                p = strchr(p, '\n');
                p = p ? p + 1 : NULL;
        }
        return p && sscanf(p, "VERSION=%63[A-Za-z0-9.~+_-]", ret) == 1;
}

static void on_tried(void *owner, const char *result, size_t size) {
        struct control *c = owner;
        const char *output = strchr(result, '\n');
        char reason[768];
        int status;

        c->upgrade.helper = NULL;
        if (!output || sscanf(result, "%d\n", &status) != 1) {
                fail(c, "it did not say within 10 s that it could");
                return;
        }
        output++;
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 ||
            !find_version(output, c->upgrade.version)) {
                explain(status, output, reason, sizeof(reason));
                fail(c, reason);
        } else if (memory_barrier(c->broker->memory, on_settled, c) < 0) {
                fail(c, "what is kept cannot be settled");
        }
}

/* ---- the request ------------------------------------------------------------------------------*/

static bool check_possible(const struct request *request) {
        const struct control *c = request->session->control;

        if (c->upgrade.running)
                answer_error(request, EBUSY, "an upgrade is under way already");
        else if (!c->broker->execute || !c->broker->memory)
                answer_error(request, EOPNOTSUPP,
                             "this broker keeps nothing (--keeper=no), so it cannot be upgraded in "
                             "place");
        else
                return true;
        return false;
}

static int open_program(const struct request *request, struct upgrade *u) {
        const struct text *path = assignments_get(request->keys, "PATH");
        const char *own = request->session->control->broker->executable;

        u->path = path ? strndup(path->start, path->length) : own ? strdup(own) : NULL;
        if (!u->path)
                return -ENOMEM;
        if (u->path[0] != '/')
                return -EINVAL;
        u->executable_fd = open(u->path, O_PATH | O_CLOEXEC);
        return u->executable_fd < 0 ? -errno : 0;
}

static int start_trial(struct control *c) {
        struct memory *m = c->broker->memory;
        const char *id = memory_first(m, KEPT_CONFIG_KIND);
        struct trial trial = {.executable_fd = c->upgrade.executable_fd,
                              .config_fd = id ? c->broker->config_fd : -1};
        int r;

        if (id)
                (void) strcpy(trial.config_id, id);
        trial.state_fd = memory_copy_state(m);
        if (trial.state_fd < 0)
                return trial.state_fd;
        r = helper_start(&c->upgrade.helper, c->broker->loop, TRIAL_DEADLINE_USEC, try_program,
                         &trial, on_tried, c);
        close_fd(trial.state_fd);
        return r;
}

void handle_upgrade(struct request *request) {
        struct control *c = request->session->control;
        struct upgrade *u = &c->upgrade;
        int r;

        if (!check_possible(request))
                return;
        u->executable_fd = -1;
        r = open_program(request, u);
        if (r == 0)
                r = start_trial(c);
        if (r < 0) {
                answer_error(request, EINVAL, "%s cannot be upgraded to: %s",
                             u->path ? u->path : "the program",
                             r == -EINVAL ? "not an absolute path" : strerror(-r));
                forget(u);
                return;
        }
        u->running = true;
        u->session = request->session;
        u->serial = serial_keep(request->serial);
}

void upgrade_forget(struct upgrade *u, const struct session *session) {
        if (u->session == session)
                u->session = NULL;
}

void upgrade_cancel(struct control *c) {
        if (!c->upgrade.running)
                return;
        c->upgrade.helper = helper_stop(c->upgrade.helper);
        if (c->broker->memory)
                memory_cancel_barriers(c->broker->memory, c);
        forget(&c->upgrade);
}
