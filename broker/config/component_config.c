/* A component's configuration: defaults, references, comparison. */
#include "config/component_config.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "config/array.h"
#include "config/command.h"
#include "config/parts.h"

#define MSEC UINT64_C(1000)
#define SEC (1000 * MSEC)

/* What both kinds of file have: systemd's. */
#define DEFAULTS                                                                                   \
        .directories = {{.mode = 0755},                                                            \
                        {.mode = 0755},                                                            \
                        {.mode = 0755},                                                            \
                        {.mode = 0755},                                                            \
                        {.mode = 0755}},                                                           \
        .umask = 0022, .standard_error = {.kind = OUTPUT_SAME}, .kill_signal = SIGTERM,            \
        .restart_kill_signal = SIGTERM, .final_kill_signal = SIGKILL, .watchdog_signal = SIGABRT,  \
        .send_sigkill = true, .restart_usec = 100 * MSEC, .trigger_limit_interval_usec = 2 * SEC,  \
        .trigger_limit_burst = 20, .instances = 1,                                                 \
        .success = {.status = {1},                                                                 \
                    .signals = SIGNAL_BIT(SIGHUP) | SIGNAL_BIT(SIGINT) | SIGNAL_BIT(SIGTERM) |     \
                               SIGNAL_BIT(SIGPIPE)},                                               \
        .health = {.interval_usec = 10 * SEC, .timeout_usec = 2 * SEC, .failures = 3}

static const struct component_config unit_file_defaults = {
        DEFAULTS,
        .is_unit_file = true,
        .type = COMPONENT_SIMPLE,
        .restart_max_delay_usec = USEC_INFINITY,
        .start_limit_interval_usec = 10 * SEC,
        .start_limit_burst = 5,
        .timeout_start_usec = 90 * SEC,
        .timeout_stop_usec = 90 * SEC,
        .handover = HANDOVER_STOP_FIRST,
};

/* Chosen for programs that serve: who waits for a verdict waits half a minute, not one and a half;
 * a crash is repaired; a program that cannot start is tried again ever more slowly, for about a
 * minute: ten starts with the delays between them come within the interval of the limit.
 */
static const struct component_config fdpass_defaults = {
        DEFAULTS,
        .type = COMPONENT_EXEC,
        .restart_steps = 8,
        .restart_max_delay_usec = 30 * SEC,
        .start_limit_interval_usec = 120 * SEC,
        .start_limit_burst = 10,
        .timeout_start_usec = 30 * SEC,
        .timeout_stop_usec = 10 * SEC,
        .restart = RESTART_ON_EXIT | RESTART_ON_SIGNAL | RESTART_ON_TIMEOUT | RESTART_ON_WATCHDOG,
        .handover = HANDOVER_OVERLAP,
};

const struct component_config *component_config_defaults(bool is_unit_file) {
        return is_unit_file ? &unit_file_defaults : &fdpass_defaults;
}

/* ---- strings ---- */

void strings_free(char **strings) {
        for (char **s = strings; s && *s; s++)
                free(*s);
        free(strings);
}

size_t strings_count(char *const *strings) {
        size_t n = 0;

        while (strings && strings[n])
                n++;
        return n;
}

bool string_equal(const char *a, const char *b) {
        return a == b || (a && b && strcmp(a, b) == 0);
}

bool strings_equal(char *const *a, char *const *b) {
        size_t n = strings_count(a);

        if (strings_count(b) != n)
                return false;
        for (size_t i = 0; i < n; i++)
                if (strcmp(a[i], b[i]) != 0)
                        return false;
        return true;
}

int strings_add(char ***strings, const char *text) {
        size_t n = strings_count(*strings);
        char *copy, **grown;

        /* the first one makes room for the NULL behind it, too */
        grown = reallocarray(*strings, n + 2, sizeof(**strings));
        if (!grown)
                return -ENOMEM;
        *strings = grown;
        grown[n] = NULL;
        copy = strdup(text);
        if (!copy)
                return -ENOMEM;
        grown[n] = copy;
        grown[n + 1] = NULL;
        return 0;
}

/* ---- life ---- */

struct component_config *component_config_new(const char *name, bool is_unit_file) {
        struct component_config *c = malloc(sizeof(*c));

        if (!c)
                return NULL;
        *c = *component_config_defaults(is_unit_file);
        c->references = 1;
        c->name = strdup(name);
        c->environment = calloc(1, sizeof(*c->environment));
        c->pass_environment = calloc(1, sizeof(*c->pass_environment));
        if (!c->name || !c->environment || !c->pass_environment)
                return component_config_unref(c);
        return c;
}

static void names_free(char **names, size_t n) {
        for (size_t i = 0; i < n; i++)
                free(names[i]);
        free(names);
}

static void free_commands(struct component_config *c) {
        command_list_clear(&c->start_pre);
        command_list_clear(&c->start_post);
        command_list_clear(&c->reload);
        command_list_clear(&c->stop);
        command_list_clear(&c->stop_post);
        command_clear(&c->start);
        command_clear(&c->health.command);
}

static void free_environment(struct component_config *c) {
        strings_free(c->environment);
        strings_free(c->pass_environment);
        strings_free(c->unset_environment);
        for (size_t i = 0; i < c->n_environment_files; i++)
                free(c->environment_files[i].path);
        free(c->environment_files);
}

struct component_config *component_config_ref(struct component_config *c) {
        c->references++;
        return c;
}

struct component_config *component_config_unref(struct component_config *c) {
        if (!c || --c->references > 0)
                return NULL;
        free(c->name);
        free(c->file);
        free(c->description);
        names_free(c->sockets, c->n_sockets);
        names_free(c->after, c->n_after);
        names_free(c->requires, c->n_requires);
        names_free(c->wants, c->n_wants);
        names_free(c->part_of, c->n_part_of);
        for (size_t i = 0; i < c->conditions.count; i++)
                free(c->conditions.items[i].parameter);
        free(c->conditions.items);
        free_commands(c);
        free_environment(c);
        for (size_t i = 0; i < N_DIRECTORY_KINDS; i++) {
                free(c->directories[i].base);
                strings_free(c->directories[i].names);
        }
        free(c->working_directory);
        free(c->user);
        free(c->home);
        free(c->shell);
        free(c->groups);
        free(c->standard_output.path);
        free(c->standard_error.path);
        free(c->health.path);
        free(c->health.socket);
        free(c);
        return NULL;
}

/* ---- comparison ---- */

static bool names_equal(char *const *a, size_t n_a, char *const *b, size_t n_b) {
        if (n_a != n_b)
                return false;
        for (size_t i = 0; i < n_a; i++)
                if (strcmp(a[i], b[i]) != 0)
                        return false;
        return true;
}

static bool conditions_equal(const struct conditions *a, const struct conditions *b) {
        if (a->count != b->count)
                return false;
        for (size_t i = 0; i < a->count; i++) {
                const struct condition *one = &a->items[i], *other = &b->items[i];

                if (one->kind != other->kind || one->is_assert != other->is_assert ||
                    one->is_trigger != other->is_trigger || one->is_negated != other->is_negated ||
                    strcmp(one->parameter, other->parameter) != 0)
                        return false;
        }
        return true;
}

static bool relations_equal(const struct component_config *a, const struct component_config *b) {
        return string_equal(a->description, b->description) &&
               names_equal(a->sockets, a->n_sockets, b->sockets, b->n_sockets) &&
               names_equal(a->after, a->n_after, b->after, b->n_after) &&
               names_equal(a->requires, a->n_requires, b->requires, b->n_requires) &&
               names_equal(a->wants, a->n_wants, b->wants, b->n_wants) &&
               names_equal(a->part_of, a->n_part_of, b->part_of, b->n_part_of) &&
               conditions_equal(&a->conditions, &b->conditions);
}

static bool commands_equal(const struct component_config *a, const struct component_config *b) {
        return a->type == b->type && a->reload_signal == b->reload_signal &&
               command_list_equal(&a->start_pre, &b->start_pre) &&
               command_list_equal(&a->start_post, &b->start_post) &&
               command_list_equal(&a->reload, &b->reload) &&
               command_list_equal(&a->stop, &b->stop) &&
               command_list_equal(&a->stop_post, &b->stop_post) &&
               command_equal(&a->start, &b->start);
}

static bool environments_equal(const struct component_config *a, const struct component_config *b) {
        if (!strings_equal(a->environment, b->environment) ||
            !strings_equal(a->pass_environment, b->pass_environment) ||
            !strings_equal(a->unset_environment, b->unset_environment) ||
            a->n_environment_files != b->n_environment_files)
                return false;
        for (size_t i = 0; i < a->n_environment_files; i++)
                if (a->environment_files[i].optional != b->environment_files[i].optional ||
                    strcmp(a->environment_files[i].path, b->environment_files[i].path) != 0)
                        return false;
        return true;
}

static bool credentials_equal(const struct component_config *a, const struct component_config *b) {
        if (a->has_user != b->has_user)
                return false;
        return !a->has_user ||
               (string_equal(a->user, b->user) && string_equal(a->home, b->home) &&
                string_equal(a->shell, b->shell) && a->uid == b->uid && a->gid == b->gid &&
                a->n_groups == b->n_groups &&
                (a->n_groups == 0 ||
                 memcmp(a->groups, b->groups, a->n_groups * sizeof(*a->groups)) == 0));
}

static bool privileges_equal(const struct component_config *a, const struct component_config *b) {
        return a->denied_set == b->denied_set && a->ambient_set == b->ambient_set &&
               a->no_new_privileges == b->no_new_privileges;
}

static bool limits_equal(const struct component_config *a, const struct component_config *b) {
        for (size_t i = 0; i < RLIM_NLIMITS; i++)
                if (a->has_limit[i] != b->has_limit[i] ||
                    (a->has_limit[i] && (a->limits[i].rlim_cur != b->limits[i].rlim_cur ||
                                         a->limits[i].rlim_max != b->limits[i].rlim_max)))
                        return false;
        return a->umask == b->umask && a->has_nice == b->has_nice &&
               (!a->has_nice || a->nice == b->nice) &&
               a->has_oom_score_adjust == b->has_oom_score_adjust &&
               (!a->has_oom_score_adjust || a->oom_score_adjust == b->oom_score_adjust);
}

static bool output_equal(const struct output_config *a, const struct output_config *b) {
        return a->kind == b->kind && string_equal(a->path, b->path);
}

static bool directories_equal(const struct component_config *a, const struct component_config *b) {
        for (size_t i = 0; i < N_DIRECTORY_KINDS; i++) {
                const struct directories *one = &a->directories[i], *other = &b->directories[i];

                if (!strings_equal(one->names, other->names) || one->mode != other->mode ||
                    !string_equal(one->base, other->base))
                        return false;
        }
        return a->runtime_directory_preserve == b->runtime_directory_preserve;
}

static bool surroundings_equal(const struct component_config *a, const struct component_config *b) {
        return directories_equal(a, b) &&
               string_equal(a->working_directory, b->working_directory) &&
               a->working_directory_optional == b->working_directory_optional &&
               output_equal(&a->standard_output, &b->standard_output) &&
               output_equal(&a->standard_error, &b->standard_error) &&
               a->notify_access == b->notify_access && a->stored_max == b->stored_max &&
               a->non_blocking == b->non_blocking;
}

static bool ends_equal(const struct component_config *a, const struct component_config *b) {
        return a->timeout_start_usec == b->timeout_start_usec &&
               a->timeout_stop_usec == b->timeout_stop_usec &&
               a->watchdog_usec == b->watchdog_usec && a->kill_signal == b->kill_signal &&
               a->restart_kill_signal == b->restart_kill_signal &&
               a->final_kill_signal == b->final_kill_signal &&
               a->watchdog_signal == b->watchdog_signal && a->kill_mode == b->kill_mode &&
               a->send_sigkill == b->send_sigkill && a->send_sighup == b->send_sighup;
}

static bool exits_equal(const struct exit_set *a, const struct exit_set *b) {
        return a->signals == b->signals && memcmp(a->status, b->status, sizeof(a->status)) == 0;
}

static bool restarts_equal(const struct component_config *a, const struct component_config *b) {
        return a->restart == b->restart && a->restart_usec == b->restart_usec &&
               a->restart_steps == b->restart_steps &&
               a->restart_max_delay_usec == b->restart_max_delay_usec &&
               a->start_limit_interval_usec == b->start_limit_interval_usec &&
               a->start_limit_burst == b->start_limit_burst &&
               a->trigger_limit_interval_usec == b->trigger_limit_interval_usec &&
               a->trigger_limit_burst == b->trigger_limit_burst &&
               exits_equal(&a->success, &b->success) &&
               exits_equal(&a->no_restart, &b->no_restart) &&
               exits_equal(&a->force_restart, &b->force_restart);
}

static bool health_equal(const struct health_config *a, const struct health_config *b) {
        return a->kind == b->kind && string_equal(a->path, b->path) && a->status == b->status &&
               command_equal(&a->command, &b->command) && string_equal(a->socket, b->socket) &&
               a->interval_usec == b->interval_usec && a->timeout_usec == b->timeout_usec &&
               a->failures == b->failures;
}

bool component_config_equal(const struct component_config *a, const struct component_config *b) {
        return relations_equal(a, b) && commands_equal(a, b) && environments_equal(a, b) &&
               credentials_equal(a, b) && privileges_equal(a, b) && limits_equal(a, b) &&
               surroundings_equal(a, b) && ends_equal(a, b) && restarts_equal(a, b) &&
               health_equal(&a->health, &b->health) && a->handover == b->handover &&
               a->instances == b->instances && a->on_demand == b->on_demand &&
               a->manual == b->manual && a->stall_usec == b->stall_usec &&
               a->stall_restart == b->stall_restart;
}
