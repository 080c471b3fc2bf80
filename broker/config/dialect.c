/*
 * From sections and assignments to the draft. Both dialects meet here: a section chooses which
 * groups of directives its keys may come from, and the table of directives.c does the rest.
 *
 * Strictness differs for a reason. A unit file was written for systemd, which ignores what it does
 * not know, so what we do not honour is a warning there, unless the listener would be missing or
 * more open for it. fdpass.conf was written for us: nobody shall believe that an option works that
 * does not.
 */
#include "config/dialect.h"

#include <errno.h>
#include <string.h>

#include "config/directives.h"
#include "config/parts.h"
#include "config/suggestion.h"
#include "config/unit_file.h"
#include "names.h"

struct reading {
        struct draft *draft;
        const char *file;
        bool is_unit_file;
        struct draft_socket *unit; /* whose unit file this is, or … */
        struct draft_component *service;

        /* The section that is being read: */
        unsigned groups; /* of directives that it may have; 0: skip it */
        struct draft_socket *socket;
        struct draft_component *component;
};

#define report(r, severity, line, ...)                                                             \
        diagnostics_add((r)->draft->diagnostics, severity, (r)->file, line, __VA_ARGS__)

/* ---- sections ---- */

static struct draft_socket *enter_socket(struct reading *r, unsigned line, const char *name) {
        struct draft_socket *s = draft_find_socket(r->draft, name);

        if (!s)
                s = draft_add_socket(r->draft, name, false, (struct place){r->file, line});
        else if (s->is_unit_file || s->last_file == r->file) {
                report(r, SEVERITY_ERROR, line,
                       "[Socket %s]: a listener of this name is at %s:%u already: give one of them "
                       "another name",
                       name, s->place.file, s->place.line);
                return NULL;
        }
        if (s)
                s->last_file = r->file;
        return s;
}

static bool has_name(struct reading *r, unsigned line, const char *kind, const char *name,
                     const char *noun, const char *example) {
        if (!name)
                report(r, SEVERITY_ERROR, line, "[%s]: the %s's name is missing: write [%s %s]",
                       kind, noun, kind, example);
        else if (!name_is_valid(name, strlen(name)))
                report(r, SEVERITY_ERROR, line,
                       "[%s %.80s]: a name has 1 to %d of A-Z a-z 0-9 . _ @ - and does not "
                       "begin with '.' or '-'",
                       kind, name, NAME_LENGTH_MAX);
        else
                return true;
        return false;
}

static void begin_socket(struct reading *r, unsigned line, const char *kind, const char *name) {
        if (!has_name(r, line, kind, name, "listener", "web"))
                return;
        r->socket = enter_socket(r, line, name);
        r->groups = r->socket ? GROUPS_SOCKET : 0;
}

static void begin_broker(struct reading *r, unsigned line, const char *kind, const char *name) {
        if (name)
                report(r, SEVERITY_ERROR, line, "[Broker %.80s]: write [Broker], without a name",
                       name);
        else
                r->groups = GROUP_BROKER;
}

static struct draft_component *enter_component(struct reading *r, unsigned line, const char *name) {
        struct draft_component *c = draft_find_component(r->draft, name);

        if (!c)
                c = draft_add_component(r->draft, name, false, (struct place){r->file, line});
        else if (c->config->is_unit_file || c->last_file == r->file) {
                report(r, SEVERITY_ERROR, line,
                       "[Component %s]: a component of this name is at %s:%u already: give one of "
                       "them another name",
                       name, c->place.file, c->place.line);
                return NULL;
        }
        if (c)
                c->last_file = r->file;
        return c;
}

static void begin_component(struct reading *r, unsigned line, const char *kind, const char *name) {
        if (!has_name(r, line, kind, name, "component", "hermes"))
                return;
        r->component = enter_component(r, line, name);
        r->groups = r->component ? GROUPS_COMPONENT : 0;
}

static void begin_x_fdpass(struct reading *r, unsigned line, const char *kind, const char *name) {
        report(r, SEVERITY_ERROR, line,
               "[X-Fdpass] is for unit files: here its keys stand in [Socket NAME] and "
               "[Component NAME] themselves");
}

static void begin_of_unit(struct reading *r, unsigned line, const char *kind, const char *name) {
        report(r, SEVERITY_ERROR, line,
               "[%s] is for unit files: here there are [Broker], [Socket NAME] and [Component "
               "NAME]",
               kind);
}

static const struct {
        const char *kind;
        void (*begin)(struct reading *r, unsigned line, const char *kind, const char *name);
} fdpass_sections[] = {
        {"Broker", begin_broker},     {"Socket", begin_socket}, {"Component", begin_component},
        {"X-Fdpass", begin_x_fdpass}, {"Unit", begin_of_unit},  {"Install", begin_of_unit},
        {"Service", begin_of_unit},
};

static void begin_fdpass_section(struct reading *r, unsigned line, const char *kind,
                                 const char *name) {
        size_t count = sizeof(fdpass_sections) / sizeof(fdpass_sections[0]);
        const char *best = NULL;

        for (size_t i = 0; i < count; i++)
                if (strcmp(kind, fdpass_sections[i].kind) == 0) {
                        fdpass_sections[i].begin(r, line, kind, name);
                        return;
                }
        if (strncmp(kind, "X-", 2) == 0)
                return;
        for (size_t i = 0; i < count; i++)
                best = suggestion_better(kind, best, fdpass_sections[i].kind);
        if (best)
                report(r, SEVERITY_ERROR, line, "[%.80s]: unknown section; did you mean [%s]?",
                       kind, best);
        else
                report(r, SEVERITY_ERROR, line,
                       "[%.80s]: unknown section; there are [Broker], [Socket NAME] and [Component "
                       "NAME]",
                       kind);
}

/* The sections of unit files that are read: of a listener, of a component. */
static const struct {
        const char *kind;
        enum directive_group of_socket, of_component; /* 0: not there */
} unit_sections[] = {
        {"Socket", GROUP_SOCKET, 0},
        {"Service", 0, GROUP_SERVICE},
        {"Unit", 0, GROUP_UNIT},
        {"X-Fdpass", GROUP_OWN, GROUP_OWN_COMPONENT},
};

/* A unit file may begin with [Unit]: its place is where the section of its kind is. */
static void set_place(struct place *place, const struct reading *r, unsigned line) {
        if (place->line == 0 && place->file == r->file)
                place->line = line;
}

static void enter_unit_section(struct reading *r, unsigned line, unsigned group) {
        r->groups = group;
        r->socket = r->unit;
        r->component = r->service;
        if (group == GROUP_SOCKET)
                set_place(&r->unit->place, r, line);
        else if (group == GROUP_SERVICE)
                set_place(&r->service->place, r, line);
}

static void begin_unit_section(struct reading *r, unsigned line, const char *kind,
                               const char *name) {
        for (size_t i = 0; i < sizeof(unit_sections) / sizeof(unit_sections[0]); i++) {
                unsigned group =
                        r->unit ? unit_sections[i].of_socket : unit_sections[i].of_component;

                if (group == 0 || strcmp(kind, unit_sections[i].kind) != 0)
                        continue;
                if (name)
                        report(r, SEVERITY_ERROR, line,
                               "[%s %.80s]: in a unit file the section is [%s], and the %s is "
                               "called as the file",
                               kind, name, kind, r->unit ? "listener" : "component");
                else
                        enter_unit_section(r, line, group);
                return;
        }
        if (strcmp(kind, "Unit") != 0 && strcmp(kind, "Install") != 0 &&
            strncmp(kind, "X-", 2) != 0)
                report(r, SEVERITY_WARNING, line, "[%.80s]: unknown section, ignored", kind);
}

static void on_section(void *owner, unsigned line, const char *kind, const char *name) {
        struct reading *r = owner;

        r->groups = 0;
        r->socket = NULL;
        r->component = NULL;
        if (!*kind)
                return;
        if (r->is_unit_file)
                begin_unit_section(r, line, kind, name);
        else
                begin_fdpass_section(r, line, kind, name);
}

/* ---- keys ---- */

/* Where a directive stands, as the reader of this file would write it. */
static const char *own_section(const struct reading *r, enum directive_group group) {
        if (group == GROUP_BROKER)
                return "[Broker] of fdpass.conf";
        if (!r->is_unit_file)
                return group & GROUPS_SOCKET ? "[Socket NAME]" : "[Component NAME]";
        if (group == GROUP_SOCKET)
                return r->unit ? "[Socket]" : "[Socket] of a .socket file";
        if (group == GROUP_OWN)
                return r->unit ? "[X-Fdpass]" : "[X-Fdpass] of a .socket file";
        if (group == GROUP_OWN_COMPONENT)
                return r->service ? "[X-Fdpass]" : "[X-Fdpass] of a .service file";
        if (group & GROUP_UNIT)
                return r->service ? "[Unit]" : "[Unit] of a .service file";
        return r->service ? "[Service]" : "[Service] of a .service file";
}

/* A key that this section does not have. */
static void report_unknown(struct reading *r, unsigned line, const char *key) {
        const struct directive *elsewhere = directive_find(key, ~r->groups);
        enum severity severity = SEVERITY_ERROR;
        const char *best;

        /* systemd ignores what it does not know in its sections, but [X-Fdpass] is ours */
        if (r->is_unit_file && !(r->groups & (GROUP_OWN | GROUP_OWN_COMPONENT)))
                severity = SEVERITY_WARNING;
        if (elsewhere && elsewhere->status != DIRECTIVE_UNSUPPORTED) {
                report(r, severity, line, "%s= does not belong here: it stands in %s%s", key,
                       own_section(r, elsewhere->group),
                       severity == SEVERITY_WARNING ? "; ignored" : "");
                return;
        }
        best = directive_suggest(key, r->groups);
        if (best)
                report(r, severity, line, "%.80s=: unknown key%s; did you mean %s=?", key,
                       severity == SEVERITY_WARNING ? ", ignored" : "", best);
        else
                report(r, severity, line, "%.80s=: unknown key%s; see fdpass.conf(5)", key,
                       severity == SEVERITY_WARNING ? ", ignored" : "");
}

static void report_shared(struct reading *r, unsigned line, const char *key) {
        if (r->is_unit_file)
                report(r, SEVERITY_WARNING, line,
                       "%s= is about the processes of a unit, and a listener has none; ignored",
                       key);
        else
                report(r, SEVERITY_ERROR, line,
                       "%s= is about the processes of a unit, and a listener has none: remove the "
                       "line",
                       key);
}

static void report_in_unit_file(struct reading *r, unsigned line, const struct directive *d,
                                const char *value) {
        const char *what =
                d->status == DIRECTIVE_LATER ? "comes in a later version" : "is not supported";

        if (directive_value_is_off(d, value))
                return;
        if (d->in_unit_file == UNIT_FILE_WARNING)
                report(r, SEVERITY_WARNING, line, "%s= %s%s%s; ignored", d->key, what,
                       d->why ? ": " : "", d->why ? d->why : "");
        else if (d->in_unit_file == UNIT_FILE_ERROR && d->why)
                report(r, SEVERITY_ERROR, line,
                       "%s= %s and is not ignored, because %s: remove the line if you can do "
                       "without it",
                       d->key, what, d->why);
        else if (d->in_unit_file == UNIT_FILE_ERROR)
                report(r, SEVERITY_ERROR, line, "%s= %s: remove the line", d->key, what);
}

/* Reported when all is read: a drop-in may take it back, or say IgnoreSandboxing=yes. */
static void restrict_component(struct reading *r, unsigned line, const struct directive *d,
                               const char *value) {
        struct assignments *list = &r->component->restricting;

        assignments_remove(list, d);
        if (!directive_value_is_off(d, value) &&
            assignments_add(list, d, value, (struct place){r->file, line}) < 0)
                r->draft->out_of_memory = true;
}

/* A directive that we know and do not honour. */
static void refuse(struct reading *r, unsigned line, const struct directive *d, const char *value) {
        if (d->in_unit_file == UNIT_FILE_SANDBOX) {
                restrict_component(r, line, d, value);
                return;
        }
        if (d->is_listen && !*value) {
                socket_config_drop_addresses(&r->socket->config);
                return;
        }
        if (d->is_listen)
                r->socket->has_bad_address = true;
        if (r->is_unit_file)
                report_in_unit_file(r, line, d, value);
        else if (d->status == DIRECTIVE_LATER)
                report(r, SEVERITY_ERROR, line, "%s= comes in a later version: remove the line",
                       d->key);
        else
                report(r, SEVERITY_ERROR, line, "%s= is not supported%s%s: remove the line", d->key,
                       d->why ? ", " : "", d->why ? d->why : "");
}

static void assign(struct reading *r, unsigned line, const struct directive *d, const char *value) {
        struct setting s = {.draft = r->draft,
                            .socket = r->socket,
                            .component = r->component,
                            .directive = d,
                            .place = {r->file, line}};

        if (!d->is_deferred)
                setting_apply(&s, value);
        else if (assignments_add(&r->component->deferred, d, value, s.place) < 0)
                r->draft->out_of_memory = true;
}

static void on_assignment(void *owner, unsigned line, const char *key, const char *value) {
        struct reading *r = owner;
        const struct directive *d;

        if (r->groups == 0 || strncmp(key, "X-", 2) == 0)
                return;
        d = directive_find(key, r->groups);
        if (d && d->status == DIRECTIVE_HONOURED) {
                assign(r, line, d, value);
        } else if (d) {
                refuse(r, line, d, value);
        } else if ((r->groups & GROUP_SOCKET) && directive_is_shared(key)) {
                report_shared(r, line, key);
        } else {
                report_unknown(r, line, key);
        }
}

static int read_file(struct reading *r, const char *data, size_t size) {
        struct unit_file_handlers handlers = {
                .section = on_section, .assignment = on_assignment, .owner = r};

        return unit_file_read(r->file, data, size, &handlers, r->draft->diagnostics);
}

int dialect_read_fdpass(struct draft *draft, const char *file, const char *data, size_t size) {
        struct reading r = {.draft = draft, .file = draft_keep_file(draft, file)};

        return r.file ? read_file(&r, data, size) : -ENOMEM;
}

static int read_socket_unit(struct reading *r, const char *name, const char *data, size_t size) {
        r->unit = draft_find_socket(r->draft, name);
        if (r->unit && !r->unit->is_unit_file) {
                report(r, SEVERITY_ERROR, 0,
                       "a listener called %s is at %s:%u already: give one of them another name",
                       name, r->unit->place.file, r->unit->place.line);
                return 0;
        }
        if (!r->unit)
                r->unit = draft_add_socket(r->draft, name, true, (struct place){r->file, 0});
        return r->unit ? read_file(r, data, size) : -ENOMEM;
}

static int read_service_unit(struct reading *r, const char *name, const char *data, size_t size) {
        r->service = draft_find_component(r->draft, name);
        if (r->service && !r->service->config->is_unit_file) {
                report(r, SEVERITY_ERROR, 0,
                       "a component called %s is at %s:%u already: give one of them another name",
                       name, r->service->place.file, r->service->place.line);
                return 0;
        }
        if (!r->service)
                r->service = draft_add_component(r->draft, name, true, (struct place){r->file, 0});
        return r->service ? read_file(r, data, size) : -ENOMEM;
}

int dialect_read_unit(struct draft *draft, enum unit_kind kind, const char *name, const char *file,
                      const char *data, size_t size) {
        struct reading r = {
                .draft = draft, .file = draft_keep_file(draft, file), .is_unit_file = true};

        if (!r.file)
                return -ENOMEM;
        if (kind == UNIT_SOCKET)
                return read_socket_unit(&r, name, data, size);
        return read_service_unit(&r, name, data, size);
}
