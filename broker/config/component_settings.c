/*
 * Reading what a component's directives say about its life: relations, type, times, signals. As in
 * settings.c a member is written only when the value is right.
 */
#include "config/component_settings.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "config/choices.h"
#include "config/exit_status.h"
#include "config/parts.h"
#include "config/setting_support.h"
#include "config/signal_name.h"
#include "config/time_span.h"
#include "config/values.h"
#include "names.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define INSTANCES_MAX 64
#define STORED_MAX 1048576

void setting_description(const struct setting *s, const char *value, void *member) {
        _cleanup_free_ char *text = *value ? setting_expand(s, value, specifiers_expand) : NULL;

        if (*value && !text)
                return;
        if (text && !value_is_text(text))
                setting_error(s, value, "it has control characters, or ends in a space");
        else
                setting_replace(member, &text);
}

/* ---- names of listeners and components ---- */

/* Cut ".socket" off and the like. */
static bool cut_suffix(char *name, const char *suffix) {
        size_t length = strlen(name), end = strlen(suffix);

        if (length <= end || strcmp(name + length - end, suffix) != 0)
                return false;
        name[length - end] = '\0';
        return true;
}

static void add_name(const struct setting *s, const char *word, const char *suffix,
                     struct references *list) {
        _cleanup_free_ char *name = strdup(word);

        if (setting_lacks_memory(s, name))
                return;
        (void) cut_suffix(name, suffix);
        if (!name_is_valid(name, strlen(name)))
                setting_error(s, word,
                              "a name has 1 to %d of A-Z a-z 0-9 . _ @ - and does not begin with "
                              "'.' or '-'",
                              NAME_LENGTH_MAX);
        else if (references_add(list, name, s->place) < 0)
                s->draft->out_of_memory = true;
}

static void add_socket(const struct setting *s, const char *word, void *owner) {
        add_name(s, word, ".socket", owner);
}

void setting_sockets(const struct setting *s, const char *value, void *member) {
        if (*value)
                setting_each_word(s, value, add_socket, &s->component->sockets);
        else
                references_clear(&s->component->sockets);
}

/* What systemd orders beside services: not ours to start, and so no part of our order. */
bool unit_is_of_other_kind(const char *name) {
        static const char *const suffixes[] = {".target", ".socket", ".mount",  ".automount",
                                               ".swap",   ".path",   ".timer",  ".slice",
                                               ".scope",  ".device", ".busname"};
        size_t length = strlen(name);

        for (size_t i = 0; i < COUNT(suffixes); i++) {
                size_t end = strlen(suffixes[i]);

                if (length > end && strcmp(name + length - end, suffixes[i]) == 0)
                        return true;
        }
        return false;
}

static void add_component(const struct setting *s, const char *word, void *owner) {
        if (!unit_is_of_other_kind(word))
                add_name(s, word, ".service", owner);
        else if (!s->component->config->is_unit_file)
                setting_error(s, word,
                              "only components can be named here, and this is another kind of "
                              "systemd unit: remove it");
}

static void add_components(const struct setting *s, const char *value, struct references *list) {
        if (*value)
                setting_each_word(s, value, add_component, list);
        else if (!s->component->config->is_unit_file) /* in systemd they cannot be reset */
                references_clear(list);
}

void setting_after(const struct setting *s, const char *value, void *member) {
        add_components(s, value, &s->component->after);
}

void setting_before(const struct setting *s, const char *value, void *member) {
        add_components(s, value, &s->component->before);
}

void setting_requires(const struct setting *s, const char *value, void *member) {
        add_components(s, value, &s->component->requires);
}

void setting_wants(const struct setting *s, const char *value, void *member) {
        add_components(s, value, &s->component->wants);
}

void setting_part_of(const struct setting *s, const char *value, void *member) {
        add_components(s, value, &s->component->part_of);
}

void setting_service(const struct setting *s, const char *value, void *member) {
        _cleanup_free_ char *name = NULL;

        if (*value) {
                name = setting_expand(s, value, specifiers_expand);
                if (!name)
                        return;
                (void) cut_suffix(name, ".service");
                if (!name_is_valid(name, strlen(name))) {
                        setting_error(s, value, "write the name of a component, such as hermes");
                        return;
                }
        }
        setting_replace(&s->socket->service, &name);
        s->socket->service_place = s->place;
}

void setting_health_socket(const struct setting *s, const char *value, void *member) {
        _cleanup_free_ char *name = NULL;

        if (*value) {
                name = setting_expand(s, value, specifiers_expand);
                if (!name)
                        return;
                (void) cut_suffix(name, ".socket");
        }
        setting_replace(member, &name);
        s->component->health_socket_place = s->place;
}

/* ---- one of several words ---- */

static void set_type(const struct setting *s, enum component_type type, int reload_signal) {
        s->component->config->type = type;
        s->component->config->reload_signal = reload_signal;
}

/* Types that do not leave a process that serves, or that cannot be watched from here. */
static const struct {
        const char *name;
        const char *reason;
} refused_types[] = {
        {"forking", "a program that forks itself away cannot be handed over: run it in the "
                    "foreground (often an option such as --foreground or --nodaemon) with "
                    "Type=exec or Type=notify"},
        {"oneshot", "a component is a program that goes on running: for what is done once before "
                    "it use ExecStartPre="},
        {"dbus", "fdpass does not watch D-Bus names: use Type=notify if the program can, else "
                 "Type=exec with HealthCheck="},
        {"idle", "there is nothing that a broker could wait for: use Type=exec"},
};

void setting_type(const struct setting *s, const char *value, void *member) {
        for (size_t i = 0; i < COUNT(refused_types); i++)
                if (strcmp(value, refused_types[i].name) == 0) {
                        setting_error(s, value, "%s", refused_types[i].reason);
                        return;
                }
        if (!*value)
                set_type(s, component_config_defaults(s->component->config->is_unit_file)->type, 0);
        else if (strcmp(value, "simple") == 0)
                set_type(s, COMPONENT_SIMPLE, 0);
        else if (strcmp(value, "exec") == 0)
                set_type(s, COMPONENT_EXEC, 0);
        else if (strcmp(value, "notify") == 0)
                set_type(s, COMPONENT_NOTIFY, 0);
        else if (strcmp(value, "notify-reload") == 0)
                set_type(s, COMPONENT_NOTIFY, SIGHUP);
        else
                setting_error(s, value, "write simple, exec, notify or notify-reload");
}

void setting_notify_access(const struct setting *s, const char *value, void *member) {
        int choice =
                *value ? setting_choose(s, value, notify_access_words, COUNT(notify_access_words))
                       : NOTIFY_NONE;

        if (choice < 0)
                return;
        *(enum notify_access *) member = (enum notify_access) choice;
        s->component->has_notify_access = *value != '\0';
        s->component->notify_place = s->place;
}

void setting_kill_mode(const struct setting *s, const char *value, void *member) {
        int choice = setting_choose(s, value, kill_mode_words, COUNT(kill_mode_words));

        if (choice >= 0)
                *(enum kill_mode *) member = (enum kill_mode) choice;
}

void setting_restart(const struct setting *s, const char *value, void *member) {
        int choice = setting_choose(s, value, restart_words, COUNT(restart_words));

        if (choice >= 0)
                *(unsigned *) member = restart_sets[choice];
}

void setting_handover(const struct setting *s, const char *value, void *member) {
        int choice = setting_choose(s, value, handover_words, COUNT(handover_words));

        if (choice >= 0)
                *(enum handover_mode *) member = (enum handover_mode) choice;
}

void setting_start_when(const struct setting *s, const char *value, void *member) {
        int choice =
                *value ? setting_choose(s, value, start_words, COUNT(start_words)) : START_AUTO;

        if (choice < 0)
                return;
        s->component->config->on_demand = choice == START_ON_DEMAND;
        s->component->config->manual = choice == START_MANUAL;
        s->component->start_place = s->place;
}

void setting_stall_action(const struct setting *s, const char *value, void *member) {
        static const char *const names[] = {"report", "restart"};
        int choice = setting_choose(s, value, names, COUNT(names));

        if (choice >= 0)
                *(bool *) member = choice == 1;
}

void setting_ignore_sandboxing(const struct setting *s, const char *value, void *member) {
        if (!*value)
                s->component->ignore_sandboxing = false;
        else
                setting_bool(s, value, &s->component->ignore_sandboxing);
}

/* ---- numbers and times ---- */

void setting_instances(const struct setting *s, const char *value, void *member) {
        setting_read_number(s, value, 1, INSTANCES_MAX, member);
}

void setting_failures(const struct setting *s, const char *value, void *member) {
        setting_read_number(s, value, 1, 1000, member);
}

void setting_stored(const struct setting *s, const char *value, void *member) {
        setting_read_number(s, value, 0, STORED_MAX, member);
}

void setting_steps(const struct setting *s, const char *value, void *member) {
        setting_read_number(s, value, 0, 1000, member);
        s->component->steps_place = s->place;
}

static bool read_span(const struct setting *s, const char *value, uint64_t *ret) {
        int r = time_span_parse(value, 1000000, ret);

        if (r < 0)
                setting_error(s, value,
                              r == -ERANGE ? "this is too long: write infinity"
                                           : "write a time such as 5s, 500ms, 1min 20s or "
                                             "infinity");
        return r == 0;
}

void setting_span(const struct setting *s, const char *value, void *member) {
        uint64_t usec;

        if (read_span(s, value, &usec))
                *(uint64_t *) member = usec;
}

void setting_timeout(const struct setting *s, const char *value, void *member) {
        uint64_t usec;

        if (read_span(s, value, &usec))
                *(uint64_t *) member = usec == 0 ? USEC_INFINITY : usec;
}

void setting_timeout_both(const struct setting *s, const char *value, void *member) {
        struct component_config *c = s->component->config;
        const struct component_config *defaults = component_config_defaults(c->is_unit_file);
        uint64_t usec = 0;

        if (*value) {
                setting_timeout(s, value, &usec);
                if (usec == 0) /* which was reported */
                        return;
        }
        c->timeout_start_usec = *value ? usec : defaults->timeout_start_usec;
        c->timeout_stop_usec = *value ? usec : defaults->timeout_stop_usec;
}

void setting_watchdog(const struct setting *s, const char *value, void *member) {
        uint64_t usec;

        if (read_span(s, value, &usec))
                *(uint64_t *) member = usec == USEC_INFINITY ? 0 : usec;
}

void setting_probe_timeout(const struct setting *s, const char *value, void *member) {
        uint64_t usec;

        if (!read_span(s, value, &usec))
                return;
        if (usec == 0 || usec == USEC_INFINITY)
                setting_error(s, value, "a probe needs an end: write a time such as 2s");
        else
                *(uint64_t *) member = usec;
}

void setting_signal(const struct setting *s, const char *value, void *member) {
        int number;

        if (signal_from_name(value, &number) < 0)
                setting_error(s, value, "write the name of a signal, such as SIGTERM");
        else
                *(int *) member = number;
}

/* RestartKillSignal= is KillSignal=, unless it is said. */
void setting_kill_signal(const struct setting *s, const char *value, void *member) {
        struct component_config *c = s->component->config;

        if (*value)
                setting_signal(s, value, &c->kill_signal);
        else
                c->kill_signal = SIGTERM;
        if (!s->component->has_restart_kill_signal)
                c->restart_kill_signal = c->kill_signal;
}

void setting_restart_kill_signal(const struct setting *s, const char *value, void *member) {
        struct component_config *c = s->component->config;

        s->component->has_restart_kill_signal = *value != '\0';
        if (*value)
                setting_signal(s, value, &c->restart_kill_signal);
        else
                c->restart_kill_signal = c->kill_signal;
}

/* Kept aside until Type= is known: it may stand before it. */
void setting_reload_signal(const struct setting *s, const char *value, void *member) {
        if (*value)
                setting_signal(s, value, &s->component->reload_signal);
        else
                s->component->reload_signal = 0;
}

/* ---- sets of exit statuses and signals ---- */

static void add_exit(const struct setting *s, const char *word, void *owner) {
        struct exit_set *set = owner;
        unsigned status;
        int number;

        if (exit_status_from_name(word, &status) == 0)
                set->status[status / 8] |= (uint8_t) (1U << status % 8);
        else if (signal_from_name(word, &number) == 0)
                set->signals |= SIGNAL_BIT(number);
        else
                setting_error(s, word,
                              "write exit statuses (0 to 255, or names such as TEMPFAIL) and "
                              "signals (SIGKILL)");
}

void setting_exits(const struct setting *s, const char *value, void *member) {
        setting_each_word(s, value, add_exit, member);
}
