/*
 * fdpass exec NAME… -- COMMAND…: borrow the listeners and become the command, with them as
 * LISTEN_FDS of sd_listen_fds(3).
 *
 * LISTEN_PID must name the process that takes the descriptors, and most programs ignore them when
 * it does not. So nothing is forked: this process asks, and this process becomes the command. The
 * lease is this process's too, and goes on as the command's. Signals, umask, limits and the rest of
 * the environment stay as they are.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "cli/command.h"
#include "cli/conversation.h"
#include "cli/descriptors.h"
#include "cli/exit_status.h"
#include "names.h"

struct exec_values {
        const char *wait;
};

const struct option_spec exec_options[] = {
        {"wait", 0, OPTION_OPTIONAL, offsetof(struct exec_values, wait), "SECONDS",
         "wait for a broker to come up (for ever without SECONDS)"},
        {0}};

/* All descriptors to pass, with the value of LISTEN_FDNAMES. */
struct passed {
        int *fds;
        size_t n_fds;
        char *names;
        size_t names_length;
};

static void passed_clear(struct passed *p) {
        for (size_t i = 0; i < p->n_fds; i++)
                (void) close_fd(p->fds[i]);
        free(p->fds);
        free(p->names);
}

static int append_name(struct passed *p, const char *name) {
        size_t length = strlen(name);
        char *names = realloc(p->names, p->names_length + length + 2);

        if (!names)
                return -ENOMEM;
        p->names = names;
        if (p->n_fds > 0)
                names[p->names_length++] = ':';
        memcpy(names + p->names_length, name, length + 1);
        p->names_length += length;
        return 0;
}

/* Takes fd, also when it fails. */
static int passed_put_fd(struct passed *p, int fd, const char *name) {
        int *fds = realloc(p->fds, (p->n_fds + 1) * sizeof(*fds));

        if (fds)
                p->fds = fds;
        if (!fds || append_name(p, name) < 0) {
                (void) close_fd(fd);
                return -ENOMEM;
        }
        fds[p->n_fds++] = fd;
        return 0;
}

/* It must not be able to add names to LISTEN_FDNAMES, which is separated by colons. */
static bool fd_name_is_usable(const char *name) {
        size_t length = strlen(name);

        for (size_t i = 0; i < length; i++)
                if (name[i] == ':' || (unsigned char) name[i] < 0x20 || name[i] == 0x7f)
                        return false;
        return length > 0 && length <= NAME_LENGTH_MAX;
}

static int acquire(struct fdpass *c, const char *name, struct passed *p) {
        _cleanup_free_ char *fd_name = NULL;
        _cleanup_free_ int *fds = NULL;
        int n = fdpass_acquire_named(c, name, &fds, &fd_name), r = 0;

        if (n < 0)
                return n;
        if (!fd_name_is_usable(fd_name))
                r = -EPROTO;
        for (int i = 0; i < n; i++)
                if (r < 0)
                        (void) close_fd(fds[i]);
                else
                        r = passed_put_fd(p, fds[i], fd_name);
        return r;
}

static int acquire_all(const struct cli *cli, uint64_t wait_usec, char **names, size_t n_names,
                       struct passed *p) {
        struct fdpass *c = NULL;
        int status = conversation_open(cli, wait_usec, &c);

        if (status != STATUS_OK)
                return status;
        for (size_t i = 0; i < n_names && status == STATUS_OK; i++) {
                int r = acquire(c, names[i], p);
                if (r < 0)
                        status = conversation_failed_listener(c, names[i], r);
        }
        /* before any descriptor is placed: this one stands where they are going */
        fdpass_close(c);
        return status;
}

static int set_environment(const struct passed *p) {
        char count[24], pid[24];

        (void) snprintf(count, sizeof(count), "%zu", p->n_fds);
        (void) snprintf(pid, sizeof(pid), "%ld", (long) getpid());
        if (setenv("LISTEN_FDS", count, 1) < 0 || setenv("LISTEN_PID", pid, 1) < 0 ||
            setenv("LISTEN_FDNAMES", p->names, 1) < 0 || unsetenv("LISTEN_PIDFDID") < 0)
                return -errno;
        return 0;
}

/* Descriptors that somebody passed to us by the same protocol would be lost without a word. */
static void drop_what_was_passed_to_us(void) {
        int n = fdpass_listen_fds(1);

        if (n > 0)
                display_error("warning: %d descriptor%s that LISTEN_FDS passed to fdpass %s not "
                              "passed on; name all listeners in one 'fdpass exec'",
                              n, n == 1 ? "" : "s", n == 1 ? "is" : "are");
}

static int place(struct passed *p) {
        size_t replaced;
        int r = descriptors_place(p->fds, p->n_fds, &replaced);

        if (r < 0) {
                display_error("%zu descriptor%s cannot be passed: %s. Raise the limit (ulimit -n).",
                              p->n_fds, p->n_fds == 1 ? "" : "s", strerror(-r));
                return r;
        }
        if (replaced > 0)
                display_error("warning: %zu descriptor%s from 3 up, open when fdpass was started, "
                              "%s replaced by listeners: LISTEN_FDS leaves no other place",
                              replaced, replaced == 1 ? "" : "s", replaced == 1 ? "is" : "are");
        return 0;
}

/* The program could not be run: 126 when it is there, 127 when not, as env(1) has it. */
static int run_failed(const char *program, int error) {
        if (error == ENOENT && strchr(program, '/') && access(program, F_OK) == 0) {
                display_error("%s cannot be run: the interpreter that its first line names, or "
                              "its dynamic loader, does not exist",
                              program);
                return STATUS_EXEC_CANNOT_RUN;
        }
        if (error == ENOENT) {
                display_error("there is no program '%s'%s", program,
                              strchr(program, '/') ? "" : " in the folders of PATH");
                return STATUS_EXEC_NOT_FOUND;
        }
        display_error("%s cannot be run: %s", program, strerror(error));
        return STATUS_EXEC_CANNOT_RUN;
}

static int run(struct passed *p, char **command) {
        int r;

        drop_what_was_passed_to_us();
        if (place(p) < 0)
                return STATUS_EXEC_FAILED;
        r = set_environment(p);
        if (r < 0) {
                display_error("the environment cannot be set: %s", strerror(-r));
                return STATUS_EXEC_FAILED;
        }
        (void) execvp(command[0], command);
        return run_failed(command[0], errno);
}

static int check_names(const struct cli *cli, char **names, size_t n_names) {
        if (n_names == 0)
                return command_usage(cli, "which listeners? Their names come before the '--'");
        for (size_t i = 0; i < n_names; i++) {
                if (!name_is_valid(names[i], strlen(names[i])))
                        return command_usage(
                                cli, "'%s' cannot be the name of a listener: " NAME_RULE, names[i]);
                for (size_t j = 0; j < i; j++)
                        if (strcmp(names[i], names[j]) == 0)
                                return command_usage(cli, "'%s' is named twice", names[i]);
        }
        return STATUS_OK;
}

/* Whole seconds; a year is as good as for ever. */
static int check_wait(const struct cli *cli, const char *wait, uint64_t *ret_usec) {
        uint64_t seconds;

        if (!wait || !*wait) {
                *ret_usec = wait ? WAIT_FOR_EVER : 0;
                return STATUS_OK;
        }
        if (text_to_u64((struct text){wait, strlen(wait)}, &seconds) < 0 || seconds > 31536000)
                return command_usage(cli, "--wait=%s: it takes whole seconds, as in --wait=30",
                                     wait);
        *ret_usec = seconds * 1000000;
        return STATUS_OK;
}

/* The '--' that ends our part: the command's options must never be taken for ours. */
static int find_separator(int argc, char **argv) {
        for (int i = 1; i < argc; i++)
                if (strcmp(argv[i], "--") == 0)
                        return i;
        return argc;
}

int exec_run(struct cli *cli, int argc, char **argv) {
        struct exec_values values = {0};
        __attribute__((cleanup(passed_clear))) struct passed passed = {0};
        int separator = find_separator(argc, argv), first, status;
        uint64_t wait_usec = 0;

        first = command_parse(cli, &values, separator, argv, &status);
        if (first < 0)
                return status == STATUS_OK ? STATUS_OK : STATUS_EXEC_FAILED;
        if (separator >= argc - 1)
                status = command_usage(cli, separator == argc
                                                    ? "a '--' must stand between the listeners "
                                                      "and the command"
                                                    : "no command stands after the '--'");
        else
                status = check_names(cli, argv + first, (size_t) (separator - first));
        if (status == STATUS_OK)
                status = check_wait(cli, values.wait, &wait_usec);
        if (status == STATUS_OK)
                status = acquire_all(cli, wait_usec, argv + first, (size_t) (separator - first),
                                     &passed);
        return status == STATUS_OK ? run(&passed, argv + separator + 1) : STATUS_EXEC_FAILED;
}
