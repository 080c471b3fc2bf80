/*
 * A component in its own syntax, complete and so that it loads to the same: command lines are
 * quoted word by word, times and sizes are exact, names of users stay names.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <sys/capability.h>

#include "config/choices.h"
#include "config/parts.h"
#include "config/print.h"
#include "config/signal_name.h"
#include "config/time_span.h"
#include "config/values.h"

#define NAMES_A_LINE 64

/* ---- words ---- */

/* What stands for the character in quotes; NULL: itself. */
static const char *escape_of(char c) {
        switch (c) {
        case '"':
                return "\\\"";
        case '\\':
                return "\\\\";
        case '%':
                return "%%";
        case '\n':
                return "\\n";
        case '\t':
                return "\\t";
        default:
                return NULL;
        }
}

static bool is_control(char c) {
        return (unsigned char) c < 0x20 || c == 0x7f;
}

static bool is_utf8(const char *text) {
        return value_is_utf8(text, strlen(text));
}

size_t print_quoted_size(const char *text) {
        bool utf8 = is_utf8(text);
        size_t size = 2;

        for (const char *p = text; *p; p++)
                size += escape_of(*p)                                             ? 2
                        : is_control(*p) || (!utf8 && (unsigned char) *p >= 0x80) ? 4
                                                                                  : 1;
        return size;
}

static void print_quoted(FILE *f, const char *text) {
        bool utf8 = is_utf8(text);

        fputc('"', f);
        for (const char *p = text; *p; p++) {
                if (escape_of(*p))
                        fputs(escape_of(*p), f);
                else if (is_control(*p) || (!utf8 && (unsigned char) *p >= 0x80))
                        fprintf(f, "\\x%02x", (unsigned char) *p);
                else
                        fputc(*p, f);
        }
        fputc('"', f);
}

size_t print_command_size(const struct command *command) {
        size_t size = 4 + print_quoted_size(command->path);

        for (char **a = command->arguments; a && *a; a++)
                size += 1 + print_quoted_size(*a);
        return size;
}

static void print_words(FILE *f, const struct command *c) {
        bool has_argv0 = strcmp(c->path, c->arguments[0]) != 0;

        fprintf(f, "%s%s%s%s", has_argv0 ? "@" : "", c->ignore_failure ? "-" : "",
                c->no_variables ? ":" : "",
                c->unrestricted ? "+"
                : c->privileged ? "!"
                                : "");
        print_quoted(f, c->path);
        for (char **a = c->arguments + !has_argv0; *a; a++) {
                fputc(' ', f);
                print_quoted(f, *a);
        }
        fputc('\n', f);
}

static void print_command(FILE *f, const char *key, const struct command *c) {
        fprintf(f, "%s=", key);
        print_words(f, c);
}

static void print_commands(FILE *f, const char *key, const struct command_list *list) {
        for (size_t i = 0; i < list->count; i++)
                print_command(f, key, &list->items[i]);
}

static void print_names(FILE *f, const char *key, char *const *names, size_t n) {
        for (size_t i = 0; i < n; i++) {
                if (i % NAMES_A_LINE == 0)
                        fprintf(f, "%s%s=", i > 0 ? "\n" : "", key);
                fprintf(f, "%s%s", i % NAMES_A_LINE == 0 ? "" : " ", names[i]);
        }
        if (n > 0)
                fputc('\n', f);
}

static void print_optional(FILE *f, const char *key, bool optional, const char *path) {
        fprintf(f, "%s=%s", key, optional ? "-" : "");
        print_percent(f, path);
        fputc('\n', f);
}

static void print_bool(FILE *f, const char *key, bool value) {
        fprintf(f, "%s=%s\n", key, value ? "yes" : "no");
}

static void print_span(FILE *f, const char *key, uint64_t usec) {
        char text[TIME_SPAN_TEXT_SIZE];

        fprintf(f, "%s=%s\n", key, time_span_text(usec, text));
}

static void print_signal(FILE *f, const char *key, int number) {
        char text[SIGNAL_NAME_SIZE];

        fprintf(f, "%s=%s\n", key, signal_name(number, text));
}

/* ---- groups of directives ---- */

static void print_conditions(FILE *f, const struct conditions *all) {
        for (size_t i = 0; i < all->count; i++) {
                const struct condition *c = &all->items[i];

                fprintf(f, "%s%s=%s%s", c->is_assert ? "Assert" : "Condition",
                        condition_kind_name(c->kind), c->is_trigger ? "|" : "",
                        c->is_negated ? "!" : "");
                print_percent(f, c->parameter);
                fputc('\n', f);
        }
}

static void print_relations(FILE *f, const struct component_config *c) {
        if (c->description)
                print_text(f, "Description", c->description);
        print_names(f, "Sockets", c->sockets, c->n_sockets);
        print_names(f, "After", c->after, c->n_after);
        print_names(f, "Requires", c->requires, c->n_requires);
        print_names(f, "Wants", c->wants, c->n_wants);
        print_names(f, "PartOf", c->part_of, c->n_part_of);
        print_conditions(f, &c->conditions);
}

static void print_type(FILE *f, const struct component_config *c) {
        fprintf(f, "Type=%s%s\n", component_type_words[c->type], c->reload_signal ? "-reload" : "");
        if (c->reload_signal)
                print_signal(f, "ReloadSignal", c->reload_signal);
        fprintf(f, "NotifyAccess=%s\n", notify_access_words[c->notify_access]);
}

static void print_all_commands(FILE *f, const struct component_config *c) {
        print_commands(f, "ExecStartPre", &c->start_pre);
        print_command(f, "ExecStart", &c->start);
        print_commands(f, "ExecStartPost", &c->start_post);
        print_commands(f, "ExecReload", &c->reload);
        print_commands(f, "ExecStop", &c->stop);
        print_commands(f, "ExecStopPost", &c->stop_post);
}

static void print_quoted_each(FILE *f, const char *key, char *const *words) {
        for (; words && *words; words++) {
                fprintf(f, "%s=", key);
                print_quoted(f, *words);
                fputc('\n', f);
        }
}

static void print_environment(FILE *f, const struct component_config *c) {
        print_quoted_each(f, "Environment", c->environment);
        for (size_t i = 0; i < c->n_environment_files; i++)
                print_optional(f, "EnvironmentFile", c->environment_files[i].optional,
                               c->environment_files[i].path);
        print_names(f, "PassEnvironment", c->pass_environment, strings_count(c->pass_environment));
        print_quoted_each(f, "UnsetEnvironment", c->unset_environment);
}

static void print_credentials(FILE *f, const struct component_config *c) {
        if (!c->has_user)
                return;
        if (c->user)
                print_text(f, "User", c->user);
        fprintf(f, "Group=%u\n", c->gid);
        print_ids(f, "SupplementaryGroups", "", c->groups, c->n_groups);
}

/* One that has those that no kernel has yet is all but some. */
static void print_capabilities(FILE *f, const char *key, uint64_t set) {
        bool all_but = set >> 63;
        const char *before = all_but ? "~" : "";

        fprintf(f, "%s=", key);
        for (int c = 0; c < 63; c++) {
                if (!(set & (UINT64_C(1) << c)) != all_but)
                        continue;
                char *name = cap_to_name(c);

                fprintf(f, "%s%s", before, name ? name : "?");
                (void) cap_free(name);
                before = " ";
        }
        fputc('\n', f);
}

static void print_privileges(FILE *f, const struct component_config *c) {
        if (c->denied_set)
                print_capabilities(f, "CapabilityBoundingSet", ~c->denied_set);
        if (c->ambient_set)
                print_capabilities(f, "AmbientCapabilities", c->ambient_set);
        if (c->no_new_privileges)
                fprintf(f, "NoNewPrivileges=yes\n");
}

static void print_limit(FILE *f, const char *key, const struct rlimit *limit) {
        const rlim_t values[] = {limit->rlim_cur, limit->rlim_max};

        fprintf(f, "%s=", key);
        for (size_t i = 0; i < 2; i++) {
                if (values[i] == RLIM_INFINITY)
                        fprintf(f, "infinity");
                else
                        fprintf(f, "%ju", (uintmax_t) values[i]);
                fputc(i == 0 ? ':' : '\n', f);
        }
}

static void print_limits(FILE *f, const struct component_config *c) {
        static const struct {
                const char *key;
                int resource;
        } names[] = {
                {"LimitCPU", RLIMIT_CPU},           {"LimitFSIZE", RLIMIT_FSIZE},
                {"LimitDATA", RLIMIT_DATA},         {"LimitSTACK", RLIMIT_STACK},
                {"LimitCORE", RLIMIT_CORE},         {"LimitRSS", RLIMIT_RSS},
                {"LimitNOFILE", RLIMIT_NOFILE},     {"LimitAS", RLIMIT_AS},
                {"LimitNPROC", RLIMIT_NPROC},       {"LimitMEMLOCK", RLIMIT_MEMLOCK},
                {"LimitLOCKS", RLIMIT_LOCKS},       {"LimitSIGPENDING", RLIMIT_SIGPENDING},
                {"LimitMSGQUEUE", RLIMIT_MSGQUEUE}, {"LimitNICE", RLIMIT_NICE},
                {"LimitRTPRIO", RLIMIT_RTPRIO},     {"LimitRTTIME", RLIMIT_RTTIME},
        };

        fprintf(f, "UMask=%04o\n", c->umask);
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                if (c->has_limit[names[i].resource])
                        print_limit(f, names[i].key, &c->limits[names[i].resource]);
        if (c->has_nice)
                fprintf(f, "Nice=%d\n", c->nice);
        if (c->has_oom_score_adjust)
                fprintf(f, "OOMScoreAdjust=%d\n", c->oom_score_adjust);
}

static void print_output(FILE *f, const char *key, const struct output_config *o) {
        switch (o->kind) {
        case OUTPUT_NULL:
                fprintf(f, "%s=null\n", key);
                break;
        case OUTPUT_FILE:
                fprintf(f, "%s=file:", key);
                break;
        case OUTPUT_APPEND:
                fprintf(f, "%s=append:", key);
                break;
        case OUTPUT_TRUNCATE:
                fprintf(f, "%s=truncate:", key);
                break;
        case OUTPUT_SAME:
                fprintf(f, "%s=inherit\n", key);
                break;
        default:
                fprintf(f, "%s=journal\n", key);
                break;
        }
        if (o->path) {
                print_percent(f, o->path);
                fputc('\n', f);
        }
}

static void print_directories(FILE *f, const struct component_config *c) {
        static const char *const kinds[N_DIRECTORY_KINDS] = {
                [DIRECTORY_RUNTIME] = "RuntimeDirectory",
                [DIRECTORY_STATE] = "StateDirectory",
                [DIRECTORY_CACHE] = "CacheDirectory",
                [DIRECTORY_LOGS] = "LogsDirectory",
                [DIRECTORY_CONFIGURATION] = "ConfigurationDirectory"};

        for (size_t i = 0; i < N_DIRECTORY_KINDS; i++) {
                const struct directories *d = &c->directories[i];

                if (!d->names)
                        continue;
                print_quoted_each(f, kinds[i], d->names);
                fprintf(f, "%sMode=%04o\n", kinds[i], d->mode);
                if (i == DIRECTORY_RUNTIME)
                        fprintf(f, "RuntimeDirectoryPreserve=%s\n",
                                preserve_words[c->runtime_directory_preserve]);
        }
}

static void print_surroundings(FILE *f, const struct component_config *c) {
        print_directories(f, c);
        if (c->working_directory)
                print_optional(f, "WorkingDirectory", c->working_directory_optional,
                               c->working_directory);
        print_output(f, "StandardOutput", &c->standard_output);
        print_output(f, "StandardError", &c->standard_error);
        fprintf(f, "FileDescriptorStoreMax=%u\n", c->stored_max);
        print_bool(f, "NonBlocking", c->non_blocking);
}

static void print_ends(FILE *f, const struct component_config *c) {
        print_span(f, "TimeoutStartSec", c->timeout_start_usec);
        print_span(f, "TimeoutStopSec", c->timeout_stop_usec);
        print_span(f, "WatchdogSec", c->watchdog_usec);
        fprintf(f, "KillMode=%s\n", kill_mode_words[c->kill_mode]);
        print_signal(f, "KillSignal", c->kill_signal);
        print_signal(f, "RestartKillSignal", c->restart_kill_signal);
        print_signal(f, "FinalKillSignal", c->final_kill_signal);
        print_signal(f, "WatchdogSignal", c->watchdog_signal);
        print_bool(f, "SendSIGKILL", c->send_sigkill);
        print_bool(f, "SendSIGHUP", c->send_sighup);
}

static void print_exits(FILE *f, const char *key, const struct exit_set *set) {
        char name[SIGNAL_NAME_SIZE];
        const char *separator = "";

        fprintf(f, "%s=", key);
        for (unsigned i = 0; i < 256; i++)
                if (set->status[i / 8] & 1U << i % 8) {
                        fprintf(f, "%s%u", separator, i);
                        separator = " ";
                }
        for (int i = 1; i <= 64; i++)
                if (set->signals & SIGNAL_BIT(i)) {
                        fprintf(f, "%s%s", separator, signal_name(i, name));
                        separator = " ";
                }
        fputc('\n', f);
}

static void print_restart(FILE *f, const struct component_config *c) {
        fprintf(f, "Restart=%s\n", restart_word(c->restart));
        print_span(f, "RestartSec", c->restart_usec);
        fprintf(f, "RestartSteps=%u\n", c->restart_steps);
        print_span(f, "RestartMaxDelaySec", c->restart_max_delay_usec);
        print_span(f, "StartLimitIntervalSec", c->start_limit_interval_usec);
        fprintf(f, "StartLimitBurst=%u\n", c->start_limit_burst);
        print_exits(f, "SuccessExitStatus", &c->success);
        print_exits(f, "RestartPreventExitStatus", &c->no_restart);
        print_exits(f, "RestartForceExitStatus", &c->force_restart);
}

static void print_health(FILE *f, const struct health_config *h) {
        switch (h->kind) {
        case HEALTH_NO:
                fprintf(f, "HealthCheck=no\n");
                break;
        case HEALTH_TCP:
                fprintf(f, "HealthCheck=tcp\n");
                break;
        case HEALTH_HTTP:
                fprintf(f, "HealthCheck=http:");
                print_percent(f, h->path);
                if (h->status)
                        fprintf(f, "=%u", h->status);
                fputc('\n', f);
                break;
        case HEALTH_EXEC:
                fprintf(f, "HealthCheck=exec:");
                print_words(f, &h->command);
                break;
        default:
                break;
        }
        if (h->socket)
                print_text(f, "HealthCheckSocket", h->socket);
        print_span(f, "HealthCheckIntervalSec", h->interval_usec);
        print_span(f, "HealthCheckTimeoutSec", h->timeout_usec);
        fprintf(f, "HealthCheckFailures=%u\n", h->failures);
}

static void print_own(FILE *f, const struct component_config *c) {
        fprintf(f, "Start=%s\n", start_word(c));
        fprintf(f, "Instances=%u\n", c->instances);
        fprintf(f, "Handover=%s\n", handover_words[c->handover]);
        print_health(f, &c->health);
        print_span(f, "StallSec", c->stall_usec);
        fprintf(f, "StallAction=%s\n", c->stall_restart ? "restart" : "report");
}

void print_component(FILE *f, const struct component_config *c) {
        fprintf(f, "\n# %s:%u\n[Component %s]\n", c->file, c->line, c->name);
        print_relations(f, c);
        print_type(f, c);
        print_all_commands(f, c);
        print_environment(f, c);
        print_credentials(f, c);
        print_privileges(f, c);
        print_limits(f, c);
        print_surroundings(f, c);
        print_ends(f, c);
        print_restart(f, c);
        print_own(f, c);
}
