/*
 * fdpass apply: the broker reads its configuration again and makes its listeners what it says, all
 * of it or nothing. What is wrong comes as a document of diagnostics, the same that `fdpass check`
 * prints and besides what only shows when sockets are opened.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "cli/command.h"
#include "cli/conversation.h"
#include "cli/display.h"
#include "cli/document.h"
#include "cli/exit_status.h"

/* Finding out who has an address that is in use reads the /proc of every process. */
#define APPLY_TIMEOUT_MSEC 60000

struct apply_values {
        bool allow_close;
};

const struct option_spec apply_options[] = {{"allow-close", 0, OPTION_FLAG,
                                             offsetof(struct apply_values, allow_close), NULL,
                                             "close listeners that are no longer configured"},
                                            {0}};

static const struct {
        const char *key, *member;
} counts[] = {{"OPENED", "opened"},
              {"ADOPTED", "adopted"},
              {"KEPT", "kept"},
              {"CHANGED", "changed"},
              {"CLOSED", "closed"}};
#define N_COUNTS (sizeof(counts) / sizeof(counts[0]))

/* False when the broker does not say: another version's. */
static bool count_of(const struct answer *answer, const char *key, uint64_t *ret) {
        const struct text *text = assignments_get(&answer->assignments, key);

        return text && text_to_u64(*text, ret) == 0;
}

/* Returns how many of them are errors. */
static size_t print_diagnostics(const struct cli *cli, const json_t *document) {
        bool color = display_color(cli->color, stderr);
        const json_t *item;
        size_t i, errors = 0;

        json_array_foreach(json_object_get(document, "diagnostics"), i, item) {
                bool is_error = strcmp(document_text(item, "severity"), "error") == 0;
                const char *file = document_text(item, "file");
                display_diagnostic(stderr, color, is_error, *file ? file : NULL,
                                   document_number(item, "line"), document_text(item, "text"));
                errors += is_error;
        }
        return errors;
}

static int print_json(const struct answer *answer, bool ok, const char *message,
                      const json_t *document) {
        static const char *const lists[] = {"diagnostics", "added_components",
                                            "removed_components"};
        json_t *root = json_pack("{s:i,s:b}", "schema", 1, "ok", ok);
        uint64_t count;

        for (size_t i = 0; ok && i < N_COUNTS; i++)
                if (count_of(answer, counts[i].key, &count))
                        (void) json_object_set_new(root, counts[i].member,
                                                   json_integer((json_int_t) count));
        if (!ok)
                (void) json_object_set_new(root, "message", document_string(message));
        for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
                json_t *list = json_object_get(document, lists[i]);

                (void) json_object_set_new(root, lists[i], list ? json_incref(list) : json_array());
        }
        (void) document_print(root, stdout); /* display_finish() tells what went wrong */
        json_decref(root);
        return STATUS_OK;
}

/* Only what the answer says: "opened 0" would be a claim. */
static void print_counts(const struct answer *answer) {
        const char *before = "Listeners: ";
        uint64_t count;

        for (size_t i = 0; i < N_COUNTS; i++)
                if (count_of(answer, counts[i].key, &count)) {
                        printf("%s%s %llu", before, counts[i].member, (unsigned long long) count);
                        before = ", ";
                }
        puts(*before == ',' ? "" : "The configuration is applied.");
}

/* Those removed are told to stop; listeners open, stay or go as the line before says. */
static void print_names(const json_t *document, const char *list, const char *what) {
        const json_t *name;
        size_t i;

        json_array_foreach(json_object_get(document, list), i, name) {
                const char *text = json_string_value(name);
                _cleanup_free_ char *shown = display_escape(text ? text : "?");

                if (shown)
                        printf("%s%s", i > 0 ? " " : what, shown);
        }
        if (i > 0)
                puts("");
}

static bool is_outdated(const json_t *component) {
        const json_t *instance;
        size_t i;

        json_array_foreach(json_object_get(component, "instances"), i, instance) {
                if (document_truth(instance, "outdated"))
                        return true;
        }
        return false;
}

static bool has_failed(const json_t *component) {
        return strcmp(document_text(component, "state"), "failed") == 0;
}

/* "WHAT: 'fdpass VERB a b c'", of the components that it is true of, if any. */
static void print_next_step(const json_t *components, bool (*is)(const json_t *component),
                            const char *what, const char *verb) {
        const json_t *component;
        bool any = false;
        size_t i;

        json_array_foreach(components, i, component) {
                if (!is(component))
                        continue;
                if (!any)
                        printf("%s: 'fdpass %s", what, verb);
                printf(" %s", document_text(component, "name"));
                any = true;
        }
        if (any)
                puts("'");
}

/* An apply does not restart what runs, nor tries again what failed: who expects that is told. */
static void print_components(struct fdpass *c) {
        json_t *document = NULL;
        const json_t *components;

        if (document_status(c, NULL, &document) < 0)
                return;
        components = json_object_get(document, "components");
        print_next_step(
                components, is_outdated,
                "These components run on with the configuration that they were started with",
                "restart");
        print_next_step(components, has_failed, "These components have failed before", "start");
        json_decref(document);
}

static int applied(const struct cli *cli, struct fdpass *c, const struct answer *answer,
                   const json_t *document) {
        if (cli->json)
                return print_json(answer, true, "", document);
        (void) print_diagnostics(cli, document);
        print_counts(answer);
        print_names(document, "added_components", "Components added: ");
        print_names(document, "removed_components", "Components removed, which are stopped now: ");
        print_components(c);
        return STATUS_OK;
}

/* Diagnostics that were printed say more than the broker's one sentence, which repeats the first.
 */
static int failed(const struct cli *cli, const struct fdpass *c, int r, const json_t *document) {
        int status = r == -EINVAL ? STATUS_CONFIG : STATUS_FAILED;
        size_t errors;

        if (r != -EINVAL && r != -EADDRINUSE)
                return conversation_failed(c, "the configuration was not applied", r);
        if (cli->json) {
                (void) print_json(NULL, false, fdpass_error(c), document);
                return status;
        }
        errors = print_diagnostics(cli, document);
        if (errors > 0)
                display_error("the configuration was not applied, nothing has changed: %zu "
                              "error%s",
                              errors, errors == 1 ? "" : "s");
        else
                display_error("the configuration was not applied, nothing has changed: %s",
                              fdpass_error(c));
        return status;
}

static int ask(const struct cli *cli, struct fdpass *c, bool allow_close) {
        struct packet_writer request;
        struct answer *answer = NULL;
        json_t *document = NULL;
        int r, status;

        packet_begin(&request);
        packet_add(&request, "VERB", "APPLY");
        if (allow_close)
                packet_add(&request, "ALLOW_CLOSE", "1");
        (void) fdpass_set_timeout(c, APPLY_TIMEOUT_MSEC);
        if (isatty(STDERR_FILENO) && !cli->json)
                display_error("applying the configuration ...");
        r = fdpass_call(c, &request, NULL, 0, &answer);
        /* a document that cannot be read takes nothing from the verdict */
        if (answer)
                (void) document_take(answer, &document);
        status = r < 0 ? failed(cli, c, r, document) : applied(cli, c, answer, document);
        json_decref(document);
        answer_free(answer);
        return status;
}

int apply_run(struct cli *cli, int argc, char **argv) {
        struct apply_values values = {0};
        struct fdpass *c = NULL;
        int status, first = command_parse(cli, &values, argc, argv, &status);

        if (first < 0)
                return status;
        if (first < argc)
                return command_usage(cli,
                                     "'%s' is too much: the broker knows which configuration "
                                     "it has",
                                     argv[first]);
        status = conversation_open(cli, 0, &c);
        if (status == STATUS_OK)
                status = ask(cli, c, values.allow_close);
        fdpass_close(c);
        return status;
}
