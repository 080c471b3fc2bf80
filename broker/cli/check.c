/*
 * fdpass check: load a configuration as the broker would and print what it comes to. No broker is
 * asked and nothing is touched.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "cli/check_component.h"
#include "cli/command.h"
#include "cli/document.h"
#include "cli/exit_status.h"
#include "config/choices.h"
#include "config/config.h"
#include "control_socket.h"

struct check_values {
        bool quiet;
};

const struct option_spec check_options[] = {{"quiet", 'q', OPTION_FLAG,
                                             offsetof(struct check_values, quiet), NULL,
                                             "do not print the resolved configuration"},
                                            {0}};

static json_t *json_mode(mode_t mode) {
        char text[16];

        snprintf(text, sizeof(text), "%04o", (unsigned) mode);
        return json_string(text);
}

static json_t *json_access(const struct access_list *access) {
        json_t *users = json_array(), *groups = json_array();

        for (size_t i = 0; i < access->n_users; i++)
                (void) json_array_append_new(users, json_integer(access->users[i]));
        for (size_t i = 0; i < access->n_groups; i++)
                (void) json_array_append_new(groups, json_integer(access->groups[i]));
        return json_pack("{s:o,s:o}", "users", users, "groups", groups);
}

static json_t *json_addresses(const struct socket_config *s) {
        json_t *addresses = json_array();

        for (size_t i = 0; i < s->n_addresses; i++) {
                char text[ADDRESS_TEXT_SIZE];
                (void) json_array_append_new(addresses,
                                             document_string(address_text(s->addresses[i], text)));
        }
        return addresses;
}

static json_t *json_owner(bool has, unsigned id) {
        return has ? json_integer(id) : json_null();
}

static json_t *json_listener(const struct socket_config *s) {
        const struct {
                const char *key;
                json_t *value;
        } members[] = {
                {"name", document_string(s->name)},
                {"file", document_string(s->file)},
                {"line", json_integer(s->line)},
                {"addresses", json_addresses(s)},
                {"bind_ipv6_only", json_string(ipv6_only_words[s->ipv6_only])},
                {"backlog", json_integer(s->backlog)},
                {"non_blocking", json_boolean(s->non_blocking)},
                {"fd_name", document_string(s->fd_name)},
                {"socket_uid", json_owner(s->has_socket_user, s->socket_uid)},
                {"socket_gid", json_owner(s->has_socket_group, s->socket_gid)},
                {"socket_mode", json_mode(s->socket_mode)},
                {"directory_mode", json_mode(s->directory_mode)},
                {"access", json_access(&s->access)},
                {"operators", json_access(&s->operators)},
        };
        json_t *object = json_object();

        for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
                (void) json_object_set_new(object, members[i].key, members[i].value);
        return object;
}

static json_t *json_diagnostics(const struct diagnostics *d) {
        json_t *array = json_array();

        for (size_t i = 0; i < d->count; i++) {
                const struct diagnostic *item = &d->items[i];
                json_t *object = json_object();
                (void) json_object_set_new(
                        object, "severity",
                        json_string(item->severity == SEVERITY_ERROR ? "error" : "warning"));
                (void) json_object_set_new(object, "file",
                                           item->file ? document_string(item->file) : json_null());
                (void) json_object_set_new(object, "line", json_integer(item->line));
                (void) json_object_set_new(
                        object, "text", document_string(item->text ? item->text : "out of memory"));
                (void) json_array_append_new(array, object);
        }
        return array;
}

static void print_json(const char *path, const struct diagnostics *d, const struct config *config) {
        json_t *root = json_pack("{s:i,s:o,s:b}", "schema", 1, "path", document_string(path), "ok",
                                 config != NULL);
        json_t *listeners = json_array(), *components = json_array();

        for (size_t i = 0; config && i < config->n_sockets; i++)
                (void) json_array_append_new(listeners, json_listener(config->sockets[i]));
        for (size_t i = 0; config && i < config->n_components; i++)
                (void) json_array_append_new(components, check_component(config->components[i]));
        (void) json_object_set_new(root, "diagnostics", json_diagnostics(d));
        (void) json_object_set_new(root, "listeners", listeners);
        (void) json_object_set_new(root, "components", components);
        (void) document_print(root, stdout); /* display_finish() tells what went wrong */
        json_decref(root);
}

/* "2 errors", "1 warning" */
static const char *counted(char *buffer, size_t size, size_t n, const char *noun) {
        snprintf(buffer, size, "%zu %s%s", n, noun, n == 1 ? "" : "s");
        return buffer;
}

static void print_verdict(const char *path, const struct diagnostics *d,
                          const struct config *config) {
        char count[32], components[32] = "", warnings[32] = "", errors[32];

        if (d->warnings > 0)
                counted(warnings, sizeof(warnings), d->warnings, "warning");
        if (config && config->n_components > 0)
                counted(components, sizeof(components), config->n_components, "component");
        if (config)
                display_error("%s: %s%s%s, ok%s%s", path,
                              counted(count, sizeof(count), config->n_sockets, "listener"),
                              *components ? ", " : "", components, *warnings ? ", " : "", warnings);
        else
                display_error("%s: %s%s%s; a broker would not take this configuration", path,
                              counted(errors, sizeof(errors), d->errors, "error"),
                              *warnings ? ", " : "", warnings);
}

/* Complete, so with the control socket that a broker of this user would have. */
static void print_config(const struct config *config) {
        char path[CONTROL_SOCKET_PATH_SIZE];
        struct config complete = *config;

        if (!complete.broker.control_socket && control_socket_default(path) == 0)
                complete.broker.control_socket = path; /* lent */
        (void) config_print(&complete, stdout);
}

static void print_text(const struct cli *cli, const char *path, const struct diagnostics *d,
                       const struct config *config, bool quiet) {
        bool color = display_color(cli->color, stderr);

        for (size_t i = 0; i < d->count; i++)
                display_diagnostic(stderr, color, d->items[i].severity == SEVERITY_ERROR,
                                   d->items[i].file, d->items[i].line, d->items[i].text);
        if (config && !quiet)
                print_config(config);
        /* so that on a terminal the verdict is the last line */
        (void) fflush(stdout);
        print_verdict(path, d, config);
}

static int check(const struct cli *cli, const char *path, bool quiet) {
        struct diagnostics diagnostics = {0};
        struct config *config = NULL;
        int r = config_load(path, &diagnostics, &config);

        if (r < 0 && r != -EINVAL && r != -ENOENT) {
                display_error("%s: %s", path, strerror(-r));
                diagnostics_clear(&diagnostics);
                return STATUS_FAILED;
        }
        for (size_t i = 0; config && i < config->n_components; i++)
                check_component_paths(config->components[i], &diagnostics);
        if (cli->json)
                print_json(path, &diagnostics, config);
        else
                print_text(cli, path, &diagnostics, config, quiet);
        config_free(config);
        diagnostics_clear(&diagnostics);
        return r < 0 ? STATUS_CONFIG : STATUS_OK;
}

int check_run(struct cli *cli, int argc, char **argv) {
        struct check_values values = {0};
        _cleanup_free_ char *default_path = NULL;
        int status, first = command_parse(cli, &values, argc, argv, &status);

        if (first < 0)
                return status;
        if (argc - first > 1)
                return command_usage(cli, "one configuration at a time: '%s' is one too many",
                                     argv[first + 1]);
        if (first == argc) {
                default_path = config_default_path();
                if (!default_path)
                        return command_usage(cli, "neither HOME nor XDG_CONFIG_HOME says where "
                                                  "the configuration is: name it");
        }
        return check(cli, default_path ? default_path : argv[first], values.quiet);
}
