/* Starting the processes of an instance: its program, and the commands around it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "components/cgroup.h"
#include "components/instance_private.h"
#include "core/process.h"
#include "sockets/listener_table.h"

#define FDS_MAX 512 /* LISTEN_FDS of one process */

/* ---- what it is given -------------------------------------------------------------------------*/

struct given {
        size_t count;
        struct spawn_fd fds[FDS_MAX];
};

/* 0, or -errno with the reason set. */
static int add_listener(struct instance *i, struct given *given, const char *name) {
        struct listener *l = listener_table_find(instance_table(i)->listeners, name);

        if (!l) {
                instance_set_reason(i, "there is no listener %s: see Sockets=", name);
                return -ENOENT;
        }
        if (listener_check(l) < 0) {
                instance_set_reason(i, "the listener %s is broken: see the log", name);
                return -EIO;
        }
        for (size_t k = 0; k < l->n_sockets; k++) {
                if (given->count == FDS_MAX) {
                        instance_set_reason(i, "more than %d sockets: see Sockets=", FDS_MAX);
                        return -E2BIG;
                }
                given->fds[given->count++] =
                        (struct spawn_fd){.fd = l->fds[k], .name = l->config->fd_name};
        }
        return 0;
}

static int collect(struct instance *i, struct given *given) {
        const struct component_callbacks *up = &instance_table(i)->callbacks;
        int r = 0;

        for (size_t k = 0; r == 0 && k < i->config->n_sockets; k++)
                r = add_listener(i, given, i->config->sockets[k]);
        if (r == 0 && up->stored) {
                size_t n = up->stored(up->owner, i->component, given->fds + given->count,
                                      FDS_MAX - given->count);

                given->count += n;
                i->was_given_stored = n > 0;
        }
        return r;
}

/* A lease on each listener: so it is known, shown and asked for it if we die with our keeper. */
static void lease_listeners(struct instance *i) {
        struct component_table *t = instance_table(i);
        struct holder *holder;
        struct lease *lease;
        int pidfd = process_open(i->tree.pid);

        if (pidfd < 0 || holder_get(listener_table_holders(t->listeners), pidfd, i->tree.pid,
                                    i->config->has_user ? i->config->uid : geteuid(),
                                    i->config->has_user ? i->config->gid : getegid(), &holder) < 0)
                return;
        for (size_t k = 0; k < i->config->n_sockets; k++) {
                struct listener *l = listener_table_find(t->listeners, i->config->sockets[k]);

                if (l)
                        (void) lease_begin(holder, l, LEASE_GENERATION, 0, &lease);
        }
        holder_put(holder);
}

/* ---- the program ------------------------------------------------------------------------------*/

static void tell_start_failure(struct instance *i, enum spawn_step step, int error,
                               const char *what) {
        instance_set_reason(i, "%s%s%s%s: %s", spawn_step_name(step), what && what[0] ? " (" : "",
                            what ? what : "", what && what[0] ? ")" : "", strerror(error));
}

static void on_spawned(void *owner, enum spawn_step step, int error, const char *what) {
        struct instance *i = owner;

        if (step == N_SPAWN_STEPS) {
                i->executed = true;
                instance_executed(i);
        } else {
                /* Its end follows. */
                tell_start_failure(i, step, error, what);
        }
}

/* It is to belong to the program's user: the first thing that a broker of another one may not. */
static void tell_no_notify_socket(struct instance *i, int error) {
        if (error == EPERM && geteuid() != 0 && i->config->has_user)
                instance_set_reason(i, "User=, Group=: only a broker that runs as root can start "
                                       "it as somebody else");
        else
                instance_set_reason(i, "making its notify socket: %s", strerror(error));
}

static int open_notify_socket(struct instance *i) {
        struct component_table *t = instance_table(i);
        char id[NAME_LENGTH_MAX + 64];
        int r;

        if (i->notify.fd >= 0)
                return 0; /* a command before it has it */
        (void) snprintf(id, sizeof(id), "%.64s.%llu.%u", i->component->name,
                        (unsigned long long) i->generation, i->index + 1);
        r = notify_socket_open(&i->notify, t->loop, t->log, i->component->name, t->control_path, id,
                               i->config->has_user ? i->config->uid : geteuid(),
                               i->config->has_user ? i->config->gid : getegid());
        if (r < 0)
                tell_no_notify_socket(i, -r);
        return r;
}

static int open_output(struct instance *i, struct output_pipe *pipe, bool is_error, int *ret_fd) {
        const struct output_config *c =
                is_error ? &i->config->standard_error : &i->config->standard_output;
        int r;

        *ret_fd = -1;
        if (c->kind != OUTPUT_LOG)
                return 0;
        r = output_pipe_open(pipe, ret_fd);
        if (r == 0)
                output_pipe_start(pipe, instance_table(i)->loop, &i->component->output, pipe->fd,
                                  i->generation, i->index, is_error);
        return r;
}

static void place_name(const struct instance *i, bool is_control, char *ret, size_t size) {
        (void) snprintf(ret, size, PLACE_PREFIX "%.64s-%llu-%u%s", i->component->name,
                        (unsigned long long) i->generation, i->index + 1,
                        is_control ? "-control" : "");
}

/* A broker that died between making the cgroup and writing it down left it, empty. */
static int prepare_tree(const struct instance *i, struct process_tree *tree, const char *place) {
        struct component_table *t = instance_table(i);

        if (i->adopted && t->cgroups.fd >= 0)
                cgroup_remove_unheld(&t->cgroups, place);
        return process_tree_prepare(tree, &t->cgroups, t->loop, t->log, place);
}

static int spawn_main(struct instance *i, struct given *given) {
        struct component_table *t = instance_table(i);
        _cleanup_close_ int output_fd = -1, error_fd = -1;
        char place[CGROUP_NAME_SIZE];
        struct spawn spawn = {.config = i->config,
                              .is_held = true,
                              .command = &i->config->start,
                              .instance = i->index,
                              .generation = i->generation,
                              .control_socket = t->control_path};
        int pidfd, r = collect(i, given);
        pid_t pid;

        place_name(i, false, place, sizeof(place));
        if (r == 0)
                r = open_notify_socket(i);
        if (r == 0)
                r = open_output(i, &i->output, false, &output_fd);
        if (r == 0)
                r = open_output(i, &i->error, true, &error_fd);
        if (r == 0)
                r = prepare_tree(i, &i->tree, place);
        if (r < 0)
                return r;
        spawn.fds = given->fds;
        spawn.n_fds = given->count;
        spawn.notify_socket = i->config->notify_access == NOTIFY_NONE ? NULL : i->notify.path;
        spawn.output_fd = output_fd;
        spawn.error_fd = error_fd;
        spawn.cgroup_fd = i->tree.cgroup_fd;
        r = spawn_start(&i->spawn_watch, t->loop, &spawn, &pid, &pidfd, on_spawned, i);
        if (r < 0)
                return r;
        process_tree_start(&i->tree, pid, pidfd, instance_main_ended, instance_tree_ended, i);
        /* Before there is anything to lose. */
        lease_listeners(i);
        instance_keep(i);
        spawn_release(&i->spawn_watch);
        return 0;
}

void instance_spawn_main(struct instance *i) {
        struct given *given;
        int r;

        /* A broker before us began it, and nobody knows any more what it was to run. */
        if (i->component->removed) {
                instance_set_reason(i, "is not configured any more");
                instance_defer(i, LIFE_FAIL);
                return;
        }
        given = calloc(1, sizeof(*given));
        r = given ? spawn_main(i, given) : -ENOMEM;

        free(given);
        if (r < 0) {
                instance_set_reason(i, "cannot be started: %s", strerror(-r));
                instance_defer(i, LIFE_FAIL);
                return;
        }
        instance_listen(i);
        if (i->config->type == COMPONENT_SIMPLE)
                instance_watch_start(i);
}

/* ---- commands ---------------------------------------------------------------------------------*/

static const char *list_name(const struct instance *i, const struct command_list *list) {
        return list == &i->config->start_pre    ? "ExecStartPre="
               : list == &i->config->start_post ? "ExecStartPost="
               : list == &i->config->reload     ? "ExecReload="
               : list == &i->config->stop       ? "ExecStop="
                                                : "ExecStopPost=";
}

static void next_command(struct instance *i);

static void tell_command_failure(struct instance *i, const char *how) {
        const struct command *c = &i->commands->items[i->next_command - 1];
        const char *list = list_name(i, i->commands);

        if (i->commands == &i->config->start_pre || i->commands == &i->config->start_post ||
            i->commands == &i->config->reload)
                instance_set_reason(i, "%s%s: %s", list, c->path, how);
        log_warning(instance_table(i)->log, INSTANCE_ABOUT(i), "%s: %s%s: %s", i->component->name,
                    list, c->path, how);
}

/* Only those of the start fail it. */
static void command_failed(struct instance *i, enum process_end end, const char *how) {
        tell_command_failure(i, how);
        if (i->commands == &i->config->start_pre || i->commands == &i->config->start_post)
                i->cause = end == PROCESS_EXITED ? END_BY_COMMAND : END_BY_COMMAND_SIGNAL;
        instance_commands_ended(i, false);
}

/* An entry into a state may have come here, and only what ends no state goes on from within. */
static void command_not_started(struct instance *i, int error) {
        char how[128];

        (void) snprintf(how, sizeof(how), "cannot be started: %s", strerror(error));
        tell_command_failure(i, how);
        if (i->commands == &i->config->reload || i->commands == &i->config->stop) {
                instance_commands_ended(i, false);
                return;
        }
        i->commands = NULL;
        instance_defer(i, LIFE_COMMAND_FAILED);
}

static void clear_control_tree(struct instance *i) {
        instance_forget_command(i);
        process_tree_clear(&i->control_tree);
        memset(&i->control_tree, 0, sizeof(i->control_tree));
        i->control_tree.pidfd = i->control_tree.cgroup_fd = i->control_tree.events_fd = -1;
}

static void on_command_main_ended(void *owner) {
        struct instance *i = owner;

        notify_socket_drain(&i->notify); /* its last words; they may have ended the state */
        if (i->control_tree.pidfd >= 0)
                process_tree_kill(&i->control_tree); /* what it left behind is none of ours */
}

static void on_command_ended(void *owner) {
        struct instance *i = owner;
        enum process_end end = i->control_tree.end;
        int status = i->control_tree.status;
        bool ignore = i->commands && i->commands->items[i->next_command - 1].ignore_failure;
        char text[64];

        if (i->adopted && end == PROCESS_EXITED && status == SPAWN_UNRELEASED_STATUS) {
                ignore = true; /* it never began, see spawn_release(): once more */
                i->next_command--;
        }
        clear_control_tree(i);
        output_pipe_drain(&i->command_output); /* its last words */
        output_pipe_close(&i->command_output);
        if (!i->commands)
                return;
        if (ignore || (end == PROCESS_EXITED && status == 0))
                next_command(i);
        else
                command_failed(i, end, process_end_text(end, status, text, sizeof(text)));
}

static void on_command_spawned(void *owner, enum spawn_step step, int error, const char *what) {
        struct instance *i = owner;

        if (step != N_SPAWN_STEPS)
                tell_start_failure(i, step, error, what);
}

/* The one of the instance, opened by the first of its processes that may speak. */
static int give_notify_socket(struct instance *i, struct spawn *spawn) {
        bool is_open = i->notify.fd >= 0;
        int r;

        if (i->config->notify_access != NOTIFY_EXEC && i->config->notify_access != NOTIFY_ALL)
                return 0;
        r = open_notify_socket(i);
        if (r < 0)
                return r;
        if (!is_open)
                instance_listen(i);
        spawn->notify_socket = i->notify.path;
        return 0;
}

/* Commands write where the component does: into pipes of their own, read as its error output. */
static int spawn_command(struct instance *i, const struct command *command) {
        struct component_table *t = instance_table(i);
        _cleanup_close_ int write_fd = -1;
        char place[CGROUP_NAME_SIZE], pid_text[32];
        const char *variables[2] = {NULL, NULL};
        struct spawn spawn = {.config = i->config,
                              .is_held = true,
                              .command = command,
                              .instance = i->index,
                              .generation = i->generation,
                              .control_socket = t->control_path,
                              .variables = variables,
                              .output_fd = -1,
                              .error_fd = -1};
        int pidfd, r = 0;
        pid_t pid;

        if (i->tree.pid > 0 && !i->tree.main_ended) {
                (void) snprintf(pid_text, sizeof(pid_text), "MAINPID=%d", (int) i->tree.pid);
                variables[0] = pid_text;
        }
        output_pipe_close(&i->command_output);
        r = output_pipe_open(&i->command_output, &write_fd);
        if (r == 0) {
                output_pipe_start(&i->command_output, t->loop, &i->component->output,
                                  i->command_output.fd, i->generation, i->index, false);
                place_name(i, true, place, sizeof(place));
                r = prepare_tree(i, &i->control_tree, place);
        }
        if (r == 0)
                r = give_notify_socket(i, &spawn);
        if (r < 0)
                return r;
        spawn.output_fd = spawn.error_fd = write_fd;
        spawn.cgroup_fd = i->control_tree.cgroup_fd;
        r = spawn_start(&i->control_watch, t->loop, &spawn, &pid, &pidfd, on_command_spawned, i);
        if (r < 0)
                return r;
        process_tree_start(&i->control_tree, pid, pidfd, on_command_main_ended, on_command_ended,
                           i);
        instance_keep(i);
        spawn_release(&i->control_watch);
        return 0;
}

static void next_command(struct instance *i) {
        int r;

        spawn_watch_stop(&i->control_watch);
        if (i->next_command == i->commands->count) {
                instance_commands_ended(i, true);
                return;
        }
        i->next_command++;
        if (i->next_command > 1)
                instance_keep(i); /* the one before has ended: not to be run again, if we die now */
        r = spawn_command(i, &i->commands->items[i->next_command - 1]);
        if (r == 0)
                return;
        clear_control_tree(i);
        command_not_started(i, -r);
}

void instance_run_commands(struct instance *i, const struct command_list *commands) {
        instance_commands_stop(i);
        i->commands = commands;
        i->next_command = 0;
        next_command(i);
}

void instance_adopt_command(struct instance *i, const struct process_tree_kept *kept) {
        struct component_table *t = instance_table(i);

        process_tree_adopt(&i->control_tree, &t->cgroups, t->loop, t->log, kept,
                           on_command_main_ended, on_command_ended, i);
        if (i->control_tree.pidfd < 0)
                clear_control_tree(i);
}

void instance_commands_go_on(struct instance *i, const struct command_list *commands, size_t next) {
        i->commands = commands;
        /* The configuration may be another one by now. */
        i->next_command = next < commands->count ? next : commands->count;
        if (i->control_tree.pidfd >= 0 && i->next_command > 0)
                return;
        /* Nobody knows what became of it: begun again. */
        if (i->next_command > 0)
                i->next_command--;
        next_command(i);
}

static void on_killed_gone(void *owner) {
        struct component *c = owner;

        c->n_killed--;
        component_touch(c);
}

void instance_commands_stop(struct instance *i) {
        instance_forget_command(i);
        spawn_watch_stop(&i->control_watch);
        i->commands = NULL;
        if (i->control_tree.pidfd >= 0) {
                i->component->n_killed++;
                killed_trees_take(&instance_table(i)->killed_trees, &i->control_tree,
                                  on_killed_gone, i->component);
                clear_control_tree(i);
        }
        output_pipe_drain(&i->command_output);
        output_pipe_close(&i->command_output);
}
