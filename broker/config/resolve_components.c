/*
 * What of a component can only be known when everything was read: its listeners, then the command
 * lines that may name them, its relations, its user.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config/array.h"
#include "config/check.h"
#include "config/directives.h"
#include "config/parts.h"
#include "config/suggestion.h"
#include "config/values.h"

#define resolve_error(d, p, ...)                                                                   \
        diagnostics_add((d)->diagnostics, SEVERITY_ERROR, (p).file, (p).line, __VA_ARGS__)
#define resolve_warning(d, p, ...)                                                                 \
        diagnostics_add((d)->diagnostics, SEVERITY_WARNING, (p).file, (p).line, __VA_ARGS__)

/* ---- names ---- */

static bool has_name(char *const *names, size_t n, const char *name) {
        for (size_t i = 0; i < n; i++)
                if (strcmp(names[i], name) == 0)
                        return true;
        return false;
}

/* Append a copy. */
static void put_name(struct draft *draft, char ***names, size_t *n, const char *name) {
        char *copy = strdup(name);

        if (!copy || array_grow(names, *n, sizeof(**names)) < 0) {
                free(copy);
                draft->out_of_memory = true;
                return;
        }
        (*names)[(*n)++] = copy;
}

static int compare_names(const void *a, const void *b) {
        return strcmp(*(char *const *) a, *(char *const *) b);
}

/* Sorted and once each: the order in the files makes no difference. */
static void sort_names(char **names, size_t *n) {
        size_t kept = 0;

        if (*n > 0)
                qsort(names, *n, sizeof(*names), compare_names);
        for (size_t i = 0; i < *n; i++) {
                if (kept > 0 && strcmp(names[kept - 1], names[i]) == 0)
                        free(names[i]);
                else
                        names[kept++] = names[i];
        }
        *n = kept;
}

/* ---- listeners ---- */

static void put_socket(struct draft *draft, struct component_config *c, const char *name) {
        if (!has_name(c->sockets, c->n_sockets, name))
                put_name(draft, &c->sockets, &c->n_sockets, name);
}

/* Sockets=; without it NAME.socket, as in systemd; then those whose Service= names us. */
static void resolve_sockets(struct draft *draft, struct draft_component *dc) {
        struct component_config *c = dc->config;

        for (size_t i = 0; i < dc->sockets.count; i++) {
                const struct reference *r = &dc->sockets.items[i];

                if (draft_find_socket(draft, r->name))
                        put_socket(draft, c, r->name);
                else
                        resolve_error(draft, r->place,
                                      "Sockets=%s: there is no listener of this name: add [Socket "
                                      "%s] or %s.socket",
                                      r->name, r->name, r->name);
        }
        if (c->is_unit_file && dc->sockets.count == 0) {
                const struct draft_socket *s = draft_find_socket(draft, c->name);

                if (s && s->is_unit_file && !s->service)
                        put_socket(draft, c, c->name);
        }
}

static int compare_sockets(const void *a, const void *b) {
        const struct draft_socket *one = *(const struct draft_socket *const *) a;
        const struct draft_socket *other = *(const struct draft_socket *const *) b;

        return strcmp(one->config.name, other->config.name);
}

static void resolve_service(struct draft *draft, const struct draft_socket *s) {
        struct draft_component *dc = draft_find_component(draft, s->service);

        if (dc)
                put_socket(draft, dc->config, s->config.name);
        else if (s->is_unit_file)
                resolve_warning(draft, s->service_place,
                                "Service=%s: there is no component of this name, so nothing is "
                                "started for this listener",
                                s->service);
        else
                resolve_error(draft, s->service_place,
                              "Service=%s: there is no component of this name: add [Component %s], "
                              "or remove the line",
                              s->service, s->service);
}

/* In the order of their names, so that it does not depend on that of the files. */
static void resolve_services(struct draft *draft) {
        struct draft_socket **sorted = calloc(draft->n_sockets + 1, sizeof(*sorted));
        size_t n = 0;

        if (!sorted) {
                draft->out_of_memory = true;
                return;
        }
        for (size_t i = 0; i < draft->n_sockets; i++)
                if (draft->sockets[i]->service)
                        sorted[n++] = draft->sockets[i];
        if (n > 0)
                qsort(sorted, n, sizeof(*sorted), compare_sockets);
        for (size_t i = 0; i < n; i++)
                resolve_service(draft, sorted[i]);
        free(sorted);
}

/* Is a limit of a starts in b microseconds stricter than one of c in d? */
static bool is_stricter(unsigned burst, uint64_t usec, unsigned burst_of, uint64_t usec_of) {
        if (burst == 0 || usec == 0)
                return false;
        if (burst_of == 0 || usec_of == 0)
                return true;
        return (double) burst / (double) usec < (double) burst_of / (double) usec_of;
}

static void resolve_trigger_limit(struct draft *draft, struct component_config *c) {
        for (size_t i = 0; i < c->n_sockets; i++) {
                const struct socket_config *s = &draft_find_socket(draft, c->sockets[i])->config;

                if (i > 0 && !is_stricter(s->trigger_limit_burst, s->trigger_limit_interval_usec,
                                          c->trigger_limit_burst, c->trigger_limit_interval_usec))
                        continue;
                c->trigger_limit_burst = s->trigger_limit_burst;
                c->trigger_limit_interval_usec = s->trigger_limit_interval_usec;
        }
}

/* ---- what was put off ---- */

/* It is a property of the socket, which all who hold it share. */
static void resolve_non_blocking(struct draft *draft, const struct component_config *c) {
        for (size_t i = 0; c->non_blocking && i < c->n_sockets; i++) {
                struct draft_socket *s = draft_find_socket(draft, c->sockets[i]);

                if (s)
                        s->config.non_blocking = true;
        }
}

static void apply_deferred(struct draft *draft, struct draft_component *dc) {
        for (size_t i = 0; i < dc->deferred.count; i++) {
                const struct assignment *a = &dc->deferred.items[i];
                struct setting s = {.draft = draft,
                                    .component = dc,
                                    .directive = a->directive,
                                    .place = a->place};

                setting_apply(&s, a->value);
        }
}

static void report_restricting(struct draft *draft, const struct draft_component *dc) {
        for (size_t i = 0; i < dc->restricting.count; i++) {
                const struct assignment *a = &dc->restricting.items[i];

                if (dc->ignore_sandboxing)
                        resolve_warning(draft, a->place,
                                        "%s= restricts the program and is not supported; ignored "
                                        "(IgnoreSandboxing=yes)",
                                        a->directive->key);
                else
                        resolve_error(draft, a->place,
                                      "%s= restricts the program and is not supported: to run it "
                                      "without this protection set IgnoreSandboxing=yes in [%s%s]",
                                      a->directive->key,
                                      dc->config->is_unit_file ? "X-Fdpass" : "Component ",
                                      dc->config->is_unit_file ? "" : dc->config->name);
        }
}

/* ---- relations ---- */

/* One that is not there is ignored, as in systemd; but in fdpass.conf a near one was meant. */
static void resolve_missing(struct draft *draft, const struct draft_component *of,
                            const struct reference *r) {
        const char *best = NULL;

        for (size_t i = 0; i < draft->n_components; i++)
                best = suggestion_better(r->name, best, draft->components[i]->config->name);
        if (best && best != of->config->name && !of->config->is_unit_file)
                resolve_warning(draft, r->place,
                                "there is no component %s, and it is ignored; did you mean %s?",
                                r->name, best);
}

/* Those that exist; the others are errors when `dependent` is named. */
static void resolve_names(struct draft *draft, const struct draft_component *of,
                          const struct references *from, const char *dependent, char ***names,
                          size_t *n) {
        for (size_t i = 0; i < from->count; i++) {
                const struct reference *r = &from->items[i];

                if (draft_find_component(draft, r->name))
                        put_name(draft, names, n, r->name);
                else if (!dependent)
                        resolve_missing(draft, of, r);
                else
                        resolve_error(
                                draft, r->place,
                                "component %s requires %s, and there is none of this name: add it, "
                                "or write Wants=, which does without it",
                                dependent, r->name);
        }
}

static void resolve_before(struct draft *draft, const struct draft_component *dc) {
        for (size_t i = 0; i < dc->before.count; i++) {
                struct draft_component *other =
                        draft_find_component(draft, dc->before.items[i].name);

                if (other)
                        put_name(draft, &other->config->after, &other->config->n_after,
                                 dc->config->name);
                else
                        resolve_missing(draft, dc, &dc->before.items[i]);
        }
}

static void resolve_relations(struct draft *draft, struct draft_component *dc) {
        struct component_config *c = dc->config;

        resolve_names(draft, dc, &dc->after, NULL, &c->after, &c->n_after);
        resolve_names(draft, dc, &dc->requires, c->name, &c->requires, &c->n_requires);
        resolve_names(draft, dc, &dc->wants, NULL, &c->wants, &c->n_wants);
        resolve_names(draft, dc, &dc->part_of, NULL, &c->part_of, &c->n_part_of);
        resolve_before(draft, dc);
}

/* ---- the user ---- */

static int compare_gids(const void *a, const void *b) {
        gid_t one = *(const gid_t *) a, other = *(const gid_t *) b;

        return one < other ? -1 : one > other;
}

static int add_gid(struct component_config *c, gid_t gid) {
        if (array_grow(&c->groups, c->n_groups, sizeof(gid)) < 0)
                return -ENOMEM;
        c->groups[c->n_groups++] = gid;
        return 0;
}

/* Sorted and once each, so that the order in the files makes no difference. */
static void sort_groups(struct component_config *c) {
        size_t kept = 0;

        if (c->n_groups > 0)
                qsort(c->groups, c->n_groups, sizeof(*c->groups), compare_gids);
        for (size_t i = 0; i < c->n_groups; i++)
                if (kept == 0 || c->groups[kept - 1] != c->groups[i])
                        c->groups[kept++] = c->groups[i];
        c->n_groups = kept;
}

static int collect_groups(struct draft *draft, const struct draft_component *dc) {
        struct component_config *c = dc->config;
        gid_t *member_of = NULL;
        size_t n = 0;
        int r = add_gid(c, c->gid);

        if (r == 0 && c->user)
                r = identities_groups_of(draft->identities, c->user, &member_of, &n);
        for (size_t i = 0; i < n && r == 0; i++)
                r = add_gid(c, member_of[i]);
        for (size_t i = 0; i < dc->n_groups && r == 0; i++)
                r = add_gid(c, dc->groups[i]);
        free(member_of);
        sort_groups(c);
        return r;
}

static void resolve_user(struct draft *draft, struct draft_component *dc) {
        struct component_config *c = dc->config;
        int r;

        c->has_user = dc->has_uid || dc->has_gid || dc->n_groups > 0;
        if (!c->has_user)
                return;
        if (dc->has_uid && !dc->has_gid && !dc->has_user_gid) {
                resolve_error(draft, dc->user_place,
                              "User=%s: /etc/passwd does not say which group this user has: add "
                              "Group=",
                              c->user);
                return;
        }
        if (!dc->has_uid)
                c->uid = draft->uid;
        if (!dc->has_gid)
                c->gid = dc->has_user_gid ? dc->user_gid : draft->gid;
        r = collect_groups(draft, dc);
        if (r == -ENOMEM)
                draft->out_of_memory = true;
        else if (r < 0)
                resolve_error(draft, dc->user_place, "/etc/group cannot be read: %s", strerror(-r));
}

/* ---- the rest ---- */

/* "~" of WorkingDirectory=. */
static void resolve_home(struct draft *draft, const struct draft_component *dc) {
        struct component_config *c = dc->config;
        const char *home = c->home;
        struct user user;
        char *copy;

        if (!c->working_directory || strcmp(c->working_directory, "~") != 0)
                return;
        if (!c->user && identities_user(draft->identities, draft->uid, &user) == 0)
                home = user.home;
        if (!home || home[0] != '/' || !value_is_text(home)) {
                resolve_error(draft, dc->directory_place,
                              "WorkingDirectory=~: the home of %s%s is not known: write a path",
                              c->user ? "user " : "the broker's user", c->user ? c->user : "");
                return;
        }
        copy = strdup(home);
        if (!copy) {
                draft->out_of_memory = true;
                return;
        }
        free(c->working_directory);
        c->working_directory = copy;
}

static void resolve_notify(struct draft_component *dc) {
        struct component_config *c = dc->config;

        /* As in systemd, a unit file's "none" is no word against what needs to be heard. */
        if ((c->is_unit_file ? c->notify_access == NOTIFY_NONE : !dc->has_notify_access) &&
            (c->type == COMPONENT_NOTIFY || c->watchdog_usec > 0 || c->stored_max > 0))
                c->notify_access = NOTIFY_MAIN;
        if (c->reload_signal && dc->reload_signal)
                c->reload_signal = dc->reload_signal;
}

void resolve_components(struct draft *draft) {
        for (size_t i = 0; i < draft->n_components; i++)
                resolve_sockets(draft, draft->components[i]);
        resolve_services(draft);
        for (size_t i = 0; i < draft->n_components; i++) {
                struct draft_component *dc = draft->components[i];

                resolve_trigger_limit(draft, dc->config);
                resolve_non_blocking(draft, dc->config);
                apply_deferred(draft, dc);
                report_restricting(draft, dc);
                resolve_relations(draft, dc);
                resolve_user(draft, dc);
                resolve_home(draft, dc);
                resolve_notify(dc);
        }
        for (size_t i = 0; i < draft->n_components; i++) {
                struct component_config *c = draft->components[i]->config;

                sort_names(c->after, &c->n_after);
                sort_names(c->requires, &c->n_requires);
                sort_names(c->wants, &c->n_wants);
                sort_names(c->part_of, &c->n_part_of);
        }
}
