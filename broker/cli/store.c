/*
 * fdpass store: what programs have left with the broker for their next process, and getting rid of
 * what nobody will take any more.
 */
#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "cli/command.h"
#include "cli/conversation.h"
#include "cli/document.h"
#include "cli/exit_status.h"
#include "cli/program.h"
#include "cli/table.h"
#include "config/identity.h"
#include "core/clock.h"
#include "names.h"

struct store_values {
        const char *user;
        const char *component;
};

const struct option_spec store_options[] = {
        {"user", 0, OPTION_TEXT, offsetof(struct store_values, user), "USER",
         "drop: what this user stored, by name or number"},
        {"component", 0, OPTION_TEXT, offsetof(struct store_values, component), "COMPONENT",
         "drop: what this component stored"},
        {0}};

enum { NAME, OWNER, DESCRIPTORS, BYTES, SINCE };
static const struct table_column columns[] = {[NAME] = {"NAME"},
                                              [OWNER] = {"OWNER"},
                                              [DESCRIPTORS] = {"DESCRIPTORS", true},
                                              [BYTES] = {"BYTES", true},
                                              [SINCE] = {"SINCE"}};

/* ---- list -------------------------------------------------------------------------------------*/

static int fetch(struct fdpass *c, json_t **ret) {
        struct packet_writer request;
        struct answer *answer = NULL;
        int r;

        packet_begin(&request);
        packet_add(&request, "VERB", "STORED");
        r = fdpass_call(c, &request, NULL, 0, &answer);
        if (r == 0)
                r = document_take(answer, ret);
        answer_free(answer);
        return r == -ENODATA ? -EPROTO : r;
}

static int add_row(struct table *table, struct identities *users, const json_t *one,
                   uint64_t now_usec) {
        _cleanup_free_ char *user = program_user(users, document_number(one, "uid"));
        const char *component = document_text(one, "component");
        char age[DISPLAY_AGE_SIZE];
        int r = user ? table_row(table) : -ENOMEM;

        if (r == 0)
                r = table_cell(table, NAME, TINT_NONE, document_text(one, "name"));
        if (r == 0)
                r = table_cellf(table, OWNER, TINT_NONE, "%s%s", *component ? "component " : "",
                                *component ? component : user);
        if (r == 0)
                r = table_cellf(table, DESCRIPTORS, TINT_NONE, "%llu",
                                (unsigned long long) document_number(one, "descriptors"));
        if (r == 0)
                r = table_cellf(table, BYTES, TINT_NONE, "%llu",
                                (unsigned long long) document_number(one, "bytes"));
        return r < 0 ? r
                     : table_cell(table, SINCE, TINT_NONE,
                                  display_age(document_number(one, "since_usec"), now_usec, age));
}

static int print_table(const struct cli *cli, const json_t *entries) {
        _cleanup_table_ struct table *table = NULL;
        _cleanup_users_ struct identities *users = NULL;
        const json_t *one;
        size_t i;
        int r = table_new(&table, columns, sizeof(columns) / sizeof(columns[0]),
                          display_color(cli->color, stdout));

        if (r == 0)
                r = program_users(&users);
        if (r == 0)
                json_array_foreach(entries, i, one) {
                        r = add_row(table, users, one, clock_realtime_usec());
                        if (r < 0)
                                return r;
                }
        return r < 0 ? r : table_print(table, stdout);
}

static int list(const struct cli *cli, struct fdpass *c) {
        json_t *document = NULL, *entries;
        int r = fetch(c, &document);

        if (r < 0)
                return conversation_failed(c, "the list of what is stored", r);
        entries = json_object_get(document, "stored");
        if (cli->json)
                (void) document_print(document, stdout); /* display_finish() tells what failed */
        else if (json_array_size(entries) == 0)
                puts("Nothing is stored that this user may see.");
        else
                r = print_table(cli, entries);
        json_decref(document);
        if (r == 0)
                return STATUS_OK;
        display_error("the table cannot be printed: %s", strerror(-r));
        return STATUS_FAILED;
}

/* ---- drop -------------------------------------------------------------------------------------*/

static int find_user(const struct cli *cli, const char *text, uid_t *ret) {
        _cleanup_users_ struct identities *users = NULL;
        int r = program_users(&users);

        if (r == 0)
                r = identities_uid(users, text, ret);
        if (r == 0)
                return STATUS_OK;
        if (r == -ESRCH || r == -EINVAL)
                return command_usage(
                        cli, "there is no user '%s' in /etc/passwd; a number always works", text);
        display_error("the user '%s' cannot be looked up: %s", text, strerror(-r));
        return STATUS_FAILED;
}

static int drop(struct fdpass *c, const char *name, const uid_t *uid, const char *component) {
        struct packet_writer request;
        struct answer *answer = NULL;
        int r;

        packet_begin(&request);
        packet_add(&request, "VERB", "DROP");
        packet_add(&request, "NAME", name);
        if (uid)
                packet_add_u64(&request, "UID", *uid);
        if (component)
                packet_add(&request, "COMPONENT", component);
        r = fdpass_call(c, &request, NULL, 0, &answer);
        answer_free(answer);
        return r < 0 ? conversation_failed(c, "it was not dropped", r) : STATUS_OK;
}

/* ---- both -------------------------------------------------------------------------------------*/

static int check_usage(const struct cli *cli, const struct store_values *values, int n,
                       char **words) {
        bool drops = n > 0 && strcmp(words[0], "drop") == 0;

        if (n == 0 || (!drops && strcmp(words[0], "list") != 0))
                return command_usage(cli, "say what: list or drop");
        if (n != (drops ? 2 : 1))
                return command_usage(cli, drops ? "drop needs one name" : "list takes no name");
        if (!drops && (values->user || values->component))
                return command_usage(cli, "--user and --component are for drop");
        if (values->user && values->component)
                return command_usage(cli, "--user and --component do not go together");
        if (values->component && !name_is_valid(values->component, strlen(values->component)))
                return command_usage(cli, "'%s' cannot be the name of a component: " NAME_RULE,
                                     values->component);
        if (drops && cli->json)
                return command_usage(cli, "drop prints nothing, and no JSON either");
        if (drops && !name_is_valid(words[1], strlen(words[1])))
                return command_usage(cli, "'%s' cannot be the name of something stored: " NAME_RULE,
                                     words[1]);
        return STATUS_OK;
}

int store_run(struct cli *cli, int argc, char **argv) {
        struct store_values values = {0};
        struct fdpass *c = NULL;
        int status, first = command_parse(cli, &values, argc, argv, &status);
        uid_t uid;

        if (first < 0)
                return status;
        status = check_usage(cli, &values, argc - first, argv + first);
        if (status == STATUS_OK && values.user)
                status = find_user(cli, values.user, &uid);
        if (status == STATUS_OK)
                status = conversation_open(cli, 0, &c);
        if (status == STATUS_OK)
                status = strcmp(argv[first], "list") == 0
                                 ? list(cli, c)
                                 : drop(c, argv[first + 1], values.user ? &uid : NULL,
                                        values.component);
        fdpass_close(c);
        return status;
}
