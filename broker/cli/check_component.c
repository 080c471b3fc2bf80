/* What `fdpass check` says of a component: what it is to the others and how it is run, and what is
 * not there that its start will need. */
#include "cli/check_component.h"

#include <errno.h>
#include <sys/stat.h>

#include "cli/document.h"
#include "config/choices.h"
#include "config/component_config.h"
#include "config/diagnostics.h"

static json_t *json_names(char *const *names, size_t n) {
        json_t *array = json_array();

        for (size_t i = 0; i < n; i++)
                (void) json_array_append_new(array, document_string(names[i]));
        return array;
}

static json_t *json_arguments(const struct command *command) {
        json_t *array = json_array();

        for (char **a = command->arguments; *a; a++)
                (void) json_array_append_new(array, document_string(*a));
        return array;
}

static json_t *json_text(const char *text) {
        return text ? document_string(text) : json_null();
}

json_t *check_component(const struct component_config *c) {
        const struct {
                const char *key;
                json_t *value;
        } members[] = {
                {"name", document_string(c->name)},
                {"file", document_string(c->file)},
                {"line", json_integer(c->line)},
                {"description", json_text(c->description)},
                {"listeners", json_names(c->sockets, c->n_sockets)},
                {"after", json_names(c->after, c->n_after)},
                {"requires", json_names(c->requires, c->n_requires)},
                {"wants", json_names(c->wants, c->n_wants)},
                {"part_of", json_names(c->part_of, c->n_part_of)},
                {"type", json_string(component_type_words[c->type])},
                {"program", document_string(c->start.path)},
                {"arguments", json_arguments(&c->start)},
                {"user", json_text(c->user)},
                {"handover", json_string(handover_words[c->handover])},
                {"instances", json_integer(c->instances)},
                {"start", json_string(start_word(c))},
        };
        json_t *object = json_object();

        for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
                (void) json_object_set_new(object, members[i].key, members[i].value);
        return object;
}

/* ---- what is not there ------------------------------------------------------------------------*/

/* Only what is certain: a path that this user may not look into may well be there. */
static void warn_if_missing(const struct component_config *c, const char *key, const char *path,
                            struct diagnostics *d) {
        struct stat st;

        if (path && *path == '/' && stat(path, &st) < 0 && (errno == ENOENT || errno == ENOTDIR))
                diagnostics_add(d, SEVERITY_WARNING, c->file, c->line,
                                "%s: %s=%s is not there now; without it a start fails", c->name,
                                key, path);
}

static bool makes_directories(const struct component_config *c) {
        for (size_t k = 0; k < N_DIRECTORY_KINDS; k++)
                if (c->directories[k].names)
                        return true;
        return false;
}

/* Whose conditions are not met need not be there, and what comes before may make the rest. */
void check_component_paths(const struct component_config *c, struct diagnostics *d) {
        if (c->conditions.count > 0)
                return;
        if (!c->start.ignore_failure)
                warn_if_missing(c, "ExecStart", c->start.path, d);
        if (c->start_pre.count > 0 || makes_directories(c))
                return;
        if (!c->working_directory_optional)
                warn_if_missing(c, "WorkingDirectory", c->working_directory, d);
        for (size_t i = 0; i < c->n_environment_files; i++)
                if (!c->environment_files[i].optional)
                        warn_if_missing(c, "EnvironmentFile", c->environment_files[i].path, d);
}
