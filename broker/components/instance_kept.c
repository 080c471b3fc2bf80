/* The records of an instance: itself with its pidfd, its notify socket, its pipes. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "components/instance_kept.h"
#include "components/instance_private.h"
#include "keeper/memory.h"
#include "keeper/record.h"

static const char *const instance_keys[] = {
        "RECORD",      "COMPONENT",    "GENERATION",     "INDEX",    "LIFE",
        "PID",         "START_TIME",   "CGROUP",         "SINCE",    "WAS_READY",
        "ASKED",       "SIGNALED",     "STORED",         "REASON",   "CAUSE",
        "NOTIFY",      "OWN_WORD",     "EVIDENCE",       "EXECUTED", "STARTED",
        "SAID_READY",  "READY",        "DRAIN",          "DEADLINE", "WATCHDOG",
        "RELOADING",   "BY_OPERATION", "KILLED",         "COMMANDS", "NEXT_COMMAND",
        "CONTROL_PID", "CONTROL_TIME", "CONTROL_CGROUP", "STATUS",   "ERRNO",
        "READY_BY",    "GROUP",        "GROUP_TIME",     "LEAVES",   "EXIT_STATUS",
        "OUTDATED",    "CGROUP_INODE", "CONTROL_INODE",  NULL};
static const char *const part_keys[] = {"RECORD", "INSTANCE", "WHICH", NULL};

static const struct record_kind instance_record = {KIND_INSTANCE, 'g', instance_keys};
static const struct record_kind part_record = {KIND_INSTANCE_PART, 'q', part_keys};

/* In records, where they must not change from version to version. */
static const char *const life_words[N_LIVES] = {
        [LIFE_NEW] = "new",           [LIFE_PREPARING] = "preparing",
        [LIFE_STARTING] = "starting", [LIFE_COMPLETING] = "completing",
        [LIFE_READY] = "ready",       [LIFE_DRAINING] = "draining",
        [LIFE_KILLED] = "killed",     [LIFE_CLEANING] = "cleaning",
        [LIFE_STOPPED] = "stopped",
};

static const struct {
        const char *word;
        size_t offset; /* in struct component_config */
} command_lists[] = {
        {"start_pre", offsetof(struct component_config, start_pre)},
        {"start_post", offsetof(struct component_config, start_post)},
        {"reload", offsetof(struct component_config, reload)},
        {"stop", offsetof(struct component_config, stop)},
        {"stop_post", offsetof(struct component_config, stop_post)},
};
#define N_COMMAND_LISTS (sizeof(command_lists) / sizeof(command_lists[0]))

static const struct command_list *list_at(const struct instance *i, size_t k) {
        const void *list = (const char *) i->config + command_lists[k].offset;

        return list;
}

bool instance_is_outdated(const struct instance *i) {
        return i->was_outdated || !component_config_equal(i->config, i->component->config);
}

/* A descriptor beside its pidfd: once, when it is there. */
static void keep_part(struct instance *i, const char *which, int fd, char id[STATE_ID_SIZE]) {
        struct component_table *t = instance_table(i);
        struct packet_writer *w;

        if (fd < 0 || id[0] || !i->id[0])
                return;
        w = record_new(t->memory, &part_record);
        if (w) {
                packet_add(w, "INSTANCE", i->id);
                packet_add(w, "WHICH", which);
        }
        if (record_keep(t->memory, t->log, &part_record, w, id, i->component->name))
                (void) memory_put_fd(t->memory, id, fd);
}

/* CLOCK_MONOTONIC: what is kept lives no longer than the kernel does. */
static void keep_times(const struct instance *i, struct packet_writer *w) {
        packet_add_u64(w, "STARTED", i->started_usec);
        packet_add_u64(w, "SAID_READY", i->said_ready_usec);
        packet_add_u64(w, "READY", i->ready_usec);
        packet_add_u64(w, "DRAIN", i->drain_usec);
        packet_add_u64(w, "DEADLINE", i->deadline_usec);
        packet_add_u64(w, "WATCHDOG", i->watchdog_usec);
        packet_add_u64(w, "RELOADING", i->reloading);
        packet_add_u64(w, "BY_OPERATION", i->drain_by_operation);
        packet_add_u64(w, "KILLED", i->was_killed);
}

static void keep_commands(const struct instance *i, struct packet_writer *w) {
        for (size_t k = 0; k < N_COMMAND_LISTS; k++)
                if (list_at(i, k) == i->commands)
                        packet_add(w, "COMMANDS", command_lists[k].word);
        packet_add_u64(w, "NEXT_COMMAND", i->next_command);
        if (i->control_tree.pidfd < 0)
                return;
        packet_add_u64(w, "CONTROL_PID", (uint64_t) i->control_tree.pid);
        packet_add_u64(w, "CONTROL_TIME", i->control_tree.start_time);
        packet_add(w, "CONTROL_CGROUP", i->control_tree.cgroup);
        packet_add_u64(w, "CONTROL_INODE", i->control_tree.cgroup_inode);
}

static void keep_words(const struct instance *i, struct packet_writer *w) {
        packet_add(w, "REASON", i->reason);
        packet_add(w, "STATUS", i->status);
        packet_add_u64(w, "ERRNO", (uint64_t) i->notify_error);
        packet_add(w, "READY_BY", i->ready_by);
        if (i->said_exit_status >= 0)
                packet_add_u64(w, "EXIT_STATUS", (uint64_t) i->said_exit_status);
}

/* Of its group, where another process leads it than the main one. */
static void keep_group(const struct instance *i, struct packet_writer *w) {
        if (i->tree.leader_fd < 0)
                return;
        packet_add_u64(w, "GROUP", (uint64_t) i->tree.group);
        packet_add_u64(w, "GROUP_TIME", i->tree.group_start_time);
}

void instance_keep(struct instance *i) {
        struct component_table *t = instance_table(i);
        struct packet_writer *w = record_new(t->memory, &instance_record);
        bool fresh = i->id[0] == '\0';

        if (!w)
                return;
        packet_add(w, "COMPONENT", i->component->name);
        packet_add_u64(w, "GENERATION", i->generation);
        packet_add_u64(w, "INDEX", i->index);
        packet_add(w, "LIFE", life_words[i->life]);
        packet_add_u64(w, "PID", (uint64_t) i->tree.pid);
        packet_add_u64(w, "START_TIME", i->tree.start_time);
        packet_add(w, "CGROUP", i->tree.cgroup);
        packet_add_u64(w, "CGROUP_INODE", i->tree.cgroup_inode);
        packet_add_u64(w, "SINCE", i->since_usec);
        packet_add_u64(w, "WAS_READY", i->was_ready);
        packet_add_u64(w, "ASKED", i->asked_to_stop);
        packet_add_u64(w, "SIGNALED", i->signaled);
        packet_add_u64(w, "LEAVES", i->leaves);
        packet_add_u64(w, "CAUSE", i->cause);
        packet_add(w, "NOTIFY", i->notify.path);
        packet_add_u64(w, "OWN_WORD", i->by_own_word);
        packet_add_u64(w, "EVIDENCE", i->evidence);
        packet_add_u64(w, "EXECUTED", i->executed);
        packet_add_u64(w, "STORED", i->was_given_stored);
        packet_add_u64(w, "OUTDATED", instance_is_outdated(i));
        keep_words(i, w);
        keep_times(i, w);
        keep_group(i, w);
        if (i->commands)
                keep_commands(i, w);
        if (!record_keep(t->memory, t->log, &instance_record, w, i->id, i->component->name))
                return;
        if (i->tree.pidfd >= 0 && (fresh || i->kept_pidfd != i->tree.pidfd)) {
                (void) memory_put_fd(t->memory, i->id, i->tree.pidfd);
                i->kept_pidfd = i->tree.pidfd;
        }
        keep_part(i, "notify", i->notify.fd, i->notify_id);
        keep_part(i, "leader", i->tree.leader_fd, i->leader_id);
        keep_part(i, "output", i->output.fd, i->output_id);
        keep_part(i, "error", i->error.fd, i->error_id);
        keep_part(i, "control", i->control_tree.pidfd, i->control_id);
        keep_part(i, "command", i->command_output.fd, i->command_id);
}

void instance_forget_command(struct instance *i) {
        struct memory *m = instance_table(i)->memory;

        record_remove(m, i->control_id);
        record_remove(m, i->command_id);
}

void instance_forget(struct instance *i) {
        struct memory *m = instance_table(i)->memory;

        instance_forget_command(i);
        record_remove(m, i->notify_id);
        record_remove(m, i->output_id);
        record_remove(m, i->error_id);
        record_remove(m, i->leader_id);
        record_remove(m, i->id);
}

/* ---- found again ------------------------------------------------------------------------------*/

static enum life read_life(const struct assignments *a) {
        const struct text *value = assignments_get(a, "LIFE");

        for (size_t k = 0; value && k < N_LIVES; k++)
                if (text_equal(*value, life_words[k]))
                        return (enum life) k;
        return LIFE_READY;
}

static int compare_parts(const void *a, const void *b) {
        const struct instance_part *one = a, *other = b;
        int order = strcmp(one->instance, other->instance);

        return order != 0 ? order : one->place < other->place ? -1 : one->place > other->place;
}

int instance_parts_find(const struct memory *m, struct instance_parts *ret) {
        struct assignments a;
        size_t n = 0;

        for (const char *id = memory_first(m, KIND_INSTANCE_PART); id;
             id = memory_next(m, KIND_INSTANCE_PART, id))
                n++;
        *ret = (struct instance_parts){.all = calloc(n + 1, sizeof(*ret->all))};
        if (!ret->all)
                return -ENOMEM;
        for (const char *id = memory_first(m, KIND_INSTANCE_PART); id && ret->count < n;
             id = memory_next(m, KIND_INSTANCE_PART, id)) {
                struct instance_part *part = &ret->all[ret->count];

                if (!memory_get(m, id, &a))
                        continue;
                (void) snprintf(part->id, sizeof(part->id), "%s", id);
                record_text(&a, "INSTANCE", part->instance, sizeof(part->instance));
                part->place = ret->count++;
        }
        if (ret->count > 0)
                qsort(ret->all, ret->count, sizeof(*ret->all), compare_parts);
        return 0;
}

void instance_parts_clear(struct instance_parts *parts) {
        free(parts->all);
        *parts = (struct instance_parts){0};
}

/* Where those of this instance begin, or would. */
static size_t first_part(const struct instance_parts *parts, const char *instance) {
        size_t low = 0, high = parts->count;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (strcmp(parts->all[middle].instance, instance) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

struct parts {
        int notify_fd, output_fd, error_fd, control_fd, command_fd, leader_fd;
};

static void take_parts(struct memory *m, struct instance *i, const struct instance_parts *kept,
                       struct parts *parts) {
        struct {
                const char *which;
                int *fd;
                char *id;
        } all[] = {{"notify", &parts->notify_fd, i->notify_id},
                   {"output", &parts->output_fd, i->output_id},
                   {"error", &parts->error_fd, i->error_id},
                   {"control", &parts->control_fd, i->control_id},
                   {"command", &parts->command_fd, i->command_id},
                   {"leader", &parts->leader_fd, i->leader_id}};
        struct assignments a;

        for (size_t n = first_part(kept, i->id);
             n < kept->count && strcmp(kept->all[n].instance, i->id) == 0; n++) {
                const char *id = kept->all[n].id;
                const struct text *which;

                if (!memory_get(m, id, &a))
                        continue;
                which = assignments_get(&a, "WHICH");
                for (size_t k = 0; which && k < sizeof(all) / sizeof(all[0]); k++)
                        if (text_equal(*which, all[k].which) && *all[k].fd < 0) {
                                (void) snprintf(all[k].id, STATE_ID_SIZE, "%s", id);
                                *all[k].fd = memory_take_fd(m, id);
                        }
        }
}

static void adopt_parts(struct instance *i, const struct parts *parts, const char *notify_path) {
        struct component_table *t = instance_table(i);

        if (parts->notify_fd >= 0)
                (void) notify_socket_adopt(&i->notify, t->loop, t->log, i->component->name,
                                           parts->notify_fd, notify_path);
        if (parts->output_fd >= 0)
                output_pipe_start(&i->output, t->loop, &i->component->output, parts->output_fd,
                                  i->generation, i->index, false);
        if (parts->error_fd >= 0)
                output_pipe_start(&i->error, t->loop, &i->component->output, parts->error_fd,
                                  i->generation, i->index, true);
        if (parts->command_fd >= 0)
                output_pipe_start(&i->command_output, t->loop, &i->component->output,
                                  parts->command_fd, i->generation, i->index, false);
}

static void read_record(struct instance *i, const struct assignments *a) {
        uint64_t said = assignments_u64(a, "EXIT_STATUS", UINT64_MAX);

        i->adopted = true;
        i->since_usec = record_u64(a, "SINCE");
        i->started_usec = record_u64(a, "STARTED");
        i->said_ready_usec = record_u64(a, "SAID_READY");
        i->ready_usec = record_u64(a, "READY");
        i->drain_usec = record_u64(a, "DRAIN");
        i->watchdog_usec = record_u64(a, "WATCHDOG");
        i->reloading = record_u64(a, "RELOADING") != 0;
        i->drain_by_operation = record_u64(a, "BY_OPERATION") != 0;
        i->was_killed = record_u64(a, "KILLED") != 0;
        i->was_ready = record_u64(a, "WAS_READY") != 0;
        i->is_healthy = i->was_ready;
        i->asked_to_stop = record_u64(a, "ASKED") != 0;
        i->signaled = record_u64(a, "SIGNALED") != 0;
        i->leaves = record_u64(a, "LEAVES") != 0;
        i->cause = (enum end_cause) record_choice(a, "CAUSE", N_END_CAUSES - 1, END_BY_ITSELF);
        i->by_own_word = record_u64(a, "OWN_WORD") != 0;
        i->evidence = (enum evidence) record_choice(a, "EVIDENCE", EVIDENCE_SERVES, EVIDENCE_NONE);
        i->executed = record_u64(a, "EXECUTED") != 0;
        i->was_given_stored = record_u64(a, "STORED") != 0;
        /* One that has not begun begins with the configuration that there is. */
        i->was_outdated = record_u64(a, "OUTDATED") != 0 && read_life(a) != LIFE_NEW;
        i->notify_error = (int) record_choice(a, "ERRNO", NOTIFY_ERROR_MAX, 0);
        i->said_exit_status = said <= NOTIFY_EXIT_STATUS_MAX ? (int) said : -1;
        record_text(a, "REASON", i->reason, sizeof(i->reason));
        record_text(a, "STATUS", i->status, sizeof(i->status));
        record_text(a, "READY_BY", i->ready_by, sizeof(i->ready_by));
}

struct adopted {
        enum life life;
        struct process_tree_kept main, control;
        pid_t group;
        uint64_t group_time, deadline_usec, next_command;
        const struct command_list *commands; /* NULL: none were under way */
        char notify_path[sizeof(((struct notify_socket *) 0)->path)];
};

static void read_adopted(const struct instance *i, const struct assignments *a,
                         struct adopted *ret) {
        const struct text *commands = assignments_get(a, "COMMANDS");

        *ret = (struct adopted){.life = read_life(a),
                                .main = {.pid = (pid_t) record_u64(a, "PID"),
                                         .start_time = record_u64(a, "START_TIME"),
                                         .pidfd = -1,
                                         .cgroup_inode = record_u64(a, "CGROUP_INODE")},
                                .control = {.pid = (pid_t) record_u64(a, "CONTROL_PID"),
                                            .start_time = record_u64(a, "CONTROL_TIME"),
                                            .pidfd = -1,
                                            .cgroup_inode = record_u64(a, "CONTROL_INODE")},
                                .deadline_usec = record_u64(a, "DEADLINE"),
                                .next_command = record_u64(a, "NEXT_COMMAND"),
                                .group = (pid_t) record_u64(a, "GROUP"),
                                .group_time = record_u64(a, "GROUP_TIME")};
        for (size_t k = 0; commands && k < N_COMMAND_LISTS; k++)
                if (text_equal(*commands, command_lists[k].word))
                        ret->commands = list_at(i, k);
        record_text(a, "CGROUP", ret->main.cgroup, sizeof(ret->main.cgroup));
        record_text(a, "CONTROL_CGROUP", ret->control.cgroup, sizeof(ret->control.cgroup));
        record_text(a, "NOTIFY", ret->notify_path, sizeof(ret->notify_path));
}

/* What it did when the broker died, gone on with. */
static void go_on(struct instance *i, const struct adopted *it) {
        enum life life = it->life;

        if (life == LIFE_STARTING && it->main.pid == 0)
                life = LIFE_NEW; /* its commands were done, and nothing had been started */
        if (life == LIFE_NEW) {
                i->started_usec = 0;
                if (it->life == LIFE_NEW)
                        instance_begin(i);
                else
                        instance_event(i, LIFE_COMMANDS_DONE);
                return;
        }
        i->life = life;
        instance_resume_deadline(i, it->deadline_usec);
        if (it->commands)
                instance_commands_go_on(i, it->commands, it->next_command);
        if (i->life == life)
                instance_go_on(i, life);
}

static void adopt_control(struct instance *i, struct adopted *it, int control_fd) {
        if (it->control.pid > 0) {
                it->control.pidfd = control_fd;
                instance_adopt_command(i, &it->control);
        } else if (control_fd >= 0) {
                instance_forget_command(i);
                close_fd(control_fd);
        }
}

/* True when there is nothing to go on with. */
static bool adopt_main(struct instance *i, struct adopted *it, int leader_fd) {
        struct component_table *t = instance_table(i);

        if (it->main.pid <= 0) { /* none yet, or none any more; who is ready has one */
                record_remove(t->memory, i->leader_id);
                close_fd(leader_fd);
                return it->life == LIFE_COMPLETING || it->life == LIFE_READY;
        }
        i->kept_pidfd = it->main.pidfd = memory_take_fd(t->memory, i->id);
        process_tree_adopt(&i->tree, &t->cgroups, t->loop, t->log, &it->main, instance_main_ended,
                           instance_tree_ended, i);
        if (leader_fd >= 0)
                process_tree_adopt_group(&i->tree, it->group, it->group_time, leader_fd);
        return i->tree.pidfd < 0;
}

/*
 * Its record was written and its pidfd not yet sent to the keeper, which comes before it is let
 * begin. It saw our end of the pipe closed and is gone: nothing has been done that was lost.
 */
static bool was_never_kept(const struct instance *i, const struct adopted *it) {
        return it->life == LIFE_STARTING && it->main.pid > 0 && i->tree.pidfd < 0 && !i->executed &&
               i->said_ready_usec == 0;
}

int instance_adopt(struct component *c, const char *id, const struct instance_parts *kept) {
        struct component_table *t = c->table;
        struct parts parts = {-1, -1, -1, -1, -1, -1};
        struct adopted it;
        struct assignments a;
        struct instance *i;
        uint64_t index;
        int r;

        if (!memory_get(t->memory, id, &a))
                return 0;
        index = record_u64(&a, "INDEX");
        if (index >= INSTANCES_MAX)
                return -EINVAL;
        r = instance_new(c, record_u64(&a, "GENERATION"), (unsigned) index, &i);
        if (r < 0)
                return r;
        (void) snprintf(i->id, sizeof(i->id), "%s", id);
        read_record(i, &a);
        read_adopted(i, &a, &it);
        if (i->generation > c->last_generation)
                c->last_generation = i->generation;
        take_parts(t->memory, i, kept, &parts); /* `a` is not valid any more */
        adopt_parts(i, &parts, it.notify_path);
        adopt_control(i, &it, parts.control_fd);
        if (adopt_main(i, &it, parts.leader_fd)) {
                if (was_never_kept(i, &it)) {
                        instance_start_again(i);
                        return 0;
                }
                instance_set_reason(i, "it was lost when the broker died");
                it.life = LIFE_STOPPED;
                it.commands = NULL;
        }
        if (i->notify.fd >= 0)
                instance_listen(i);
        go_on(i, &it);
        return 0;
}
