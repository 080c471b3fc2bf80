/*
 * fdpass status: what the broker holds, who waits and who serves. The broker answers with one
 * document; for programs it is printed as it came, for people as tables.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "cli/command.h"
#include "cli/conversation.h"
#include "cli/document.h"
#include "cli/exit_status.h"
#include "cli/status_table.h"
#include "core/clock.h"

struct status_values {
        bool verbose;
};

const struct option_spec status_options[] = {{"verbose", 'v', OPTION_FLAG,
                                              offsetof(struct status_values, verbose), NULL,
                                              "also show who holds the listeners"},
                                             {0}};

/* A listener, a component, or both. */
static bool is_there(const json_t *document, const char *name) {
        return document_has(json_object_get(document, "listeners"), name) ||
               document_has(json_object_get(document, "components"), name);
}

static bool is_one_of(char **names, size_t n_names, const char *name) {
        for (size_t i = 0; i < n_names; i++)
                if (strcmp(names[i], name) == 0)
                        return true;
        return false;
}

/* Keep those that are named, in the broker's order. */
static int keep_named(json_t *document, const char *key, char **names, size_t n_names) {
        json_t *kept = json_array(), *one;
        size_t i;

        if (!kept)
                return -ENOMEM;
        json_array_foreach(json_object_get(document, key), i, one) {
                if (is_one_of(names, n_names, document_text(one, "name")))
                        (void) json_array_append(kept, one);
        }
        return json_object_set_new(document, key, kept) < 0 ? -ENOMEM : 0;
}

/* One is asked for by name, which spares a long document; several are picked out. */
static int fetch(struct fdpass *c, char **names, size_t n_names, json_t **ret) {
        json_t *document = NULL;
        int r = document_status(c, n_names == 1 ? names[0] : NULL, &document);

        if (r == -ENOENT && n_names == 1)
                return conversation_none_of_name(c, names[0]);
        if (r < 0)
                return conversation_failed(c, "the status", r);
        for (size_t i = 0; i < n_names; i++)
                if (!is_there(document, names[i])) {
                        json_decref(document);
                        return conversation_none_of_name(c, names[i]);
                }
        r = n_names > 0 ? keep_named(document, "listeners", names, n_names) : 0;
        if (r == 0 && n_names > 0)
                r = keep_named(document, "components", names, n_names);
        if (r < 0) {
                json_decref(document);
                return conversation_failed(c, "the status", r);
        }
        *ret = document;
        return STATUS_OK;
}

/* Root and the broker's own user see everything; for others there may be more. */
static int print_empty(const json_t *document) {
        const json_t *broker = json_object_get(document, "broker");
        const char *config = document_text(broker, "config");
        _cleanup_free_ char *shown = NULL;

        if (geteuid() != 0 && geteuid() != document_number(broker, "uid")) {
                puts("There is no listener that this user may see. Access= and Operators= in the "
                     "broker's configuration say who may.");
                return STATUS_OK;
        }
        shown = display_escape(*config ? config : "the broker's configuration");
        printf("There is no listener. Write a [Socket NAME] section with ListenStream= into %s, "
               "then 'fdpass apply'.\n",
               shown ? shown : "the broker's configuration");
        return STATUS_OK;
}

/* What is to be done, when it is a component of ours that should hold them. */
static void print_nobody(const json_t *document) {
        const json_t *component;
        size_t i;

        json_array_foreach(json_object_get(document, "components"), i, component) {
                const char *name = document_text(component, "name");
                const char *state = document_text(component, "state");

                if (strcmp(state, "waiting") == 0)
                        printf("\nNobody holds them: %s starts with the first connection.\n", name);
                else
                        printf("\nNobody holds them. Start the component with 'fdpass %s %s'.\n",
                               strcmp(state, "paused") == 0 ? "resume" : "start", name);
                return;
        }
        puts("\nNobody holds them. Start a program with 'fdpass exec NAME -- COMMAND'.");
}

static int print_listeners(const json_t *document, uint64_t now_usec, bool color,
                           bool with_leases) {
        int r = status_table_listeners(document, now_usec, color, stdout);

        if (r == 0 && with_leases && status_table_count_leases(document) > 0) {
                putchar('\n');
                r = status_table_leases(document, now_usec, color, stdout);
        } else if (r == 0 && with_leases)
                print_nobody(document);
        return r;
}

static int print_tables(const struct cli *cli, const json_t *document, bool with_leases) {
        bool color = display_color(cli->color, stdout);
        bool components = json_array_size(json_object_get(document, "components")) > 0;
        bool listeners = json_array_size(json_object_get(document, "listeners")) > 0;
        uint64_t now_usec = clock_realtime_usec();
        int r = 0;

        if (!listeners && !components)
                return print_empty(document);
        if (components)
                r = status_table_components(document, now_usec, color, stdout);
        if (r == 0 && listeners && components)
                putchar('\n');
        if (r == 0 && listeners)
                r = print_listeners(document, now_usec, color, with_leases);
        if (r == 0)
                return STATUS_OK;
        display_error("the table cannot be printed: %s", strerror(-r));
        return STATUS_FAILED;
}

static int check_names(char **names, size_t n_names) {
        int status = STATUS_OK;

        for (size_t i = 0; i < n_names && status == STATUS_OK; i++)
                status = conversation_check_name("listener or component", names[i]);
        return status;
}

int status_run(struct cli *cli, int argc, char **argv) {
        struct status_values values = {0};
        struct fdpass *c = NULL;
        json_t *document = NULL;
        int status, first = command_parse(cli, &values, argc, argv, &status);
        size_t n_names;

        if (first < 0)
                return status;
        n_names = (size_t) (argc - first);
        status = check_names(argv + first, n_names);
        if (status == STATUS_OK)
                status = conversation_open(cli, 0, &c);
        if (status == STATUS_OK)
                status = fetch(c, argv + first, n_names, &document);
        fdpass_close(c);
        if (status == STATUS_OK && cli->json)
                (void) document_print(document,
                                      stdout); /* display_finish() tells what went wrong */
        else if (status == STATUS_OK)
                status = print_tables(cli, document, values.verbose || n_names > 0);
        json_decref(document);
        return status;
}
