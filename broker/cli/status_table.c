/*
 * Every row says the listener's name again, so that `fdpass status | grep web` shows all of it.
 * Colour marks what somebody should look at: nothing is marked while all is well.
 */
#include "cli/status_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "cli/display.h"
#include "cli/document.h"
#include "cli/program.h"
#include "cli/table.h"
#include "config/identity.h"

enum { NAME, ADDRESS, QUEUE, HOLDERS, SINCE, NOTES };
static const struct table_column listener_columns[] = {
        [NAME] = {"NAME", .abbreviate = true}, [ADDRESS] = {"ADDRESS"}, [QUEUE] = {"QUEUE", true},
        [HOLDERS] = {"HOLDERS", true},         [SINCE] = {"SINCE"},     [NOTES] = {"NOTES"}};

enum { L_LISTENER, L_PID, L_PROGRAM, L_USER, L_SINCE, L_READY, L_STATUS };
static const struct table_column lease_columns[] = {[L_LISTENER] = {"LISTENER", .abbreviate = true},
                                                    [L_PID] = {"PID", true},
                                                    [L_PROGRAM] = {"PROGRAM"},
                                                    [L_USER] = {"USER"},
                                                    [L_SINCE] = {"SINCE"},
                                                    [L_READY] = {"READY"},
                                                    [L_STATUS] = {"STATUS"}};

#define N_COLUMNS(columns) (sizeof(columns) / sizeof((columns)[0]))

/* What a row of the first table is made from. */
struct socket_view {
        const json_t *listener, *socket;
        size_t leases;
        bool has_queue;
        uint64_t length, limit, drops, repairs;
};

static struct socket_view view_of(const json_t *listener, const json_t *socket) {
        const json_t *queue = json_object_get(socket, "queue");

        return (struct socket_view){
                .listener = listener,
                .socket = socket,
                .leases = json_array_size(json_object_get(listener, "leases")),
                .has_queue = json_is_object(queue),
                .length = document_number(queue, "length"),
                .limit = document_number(queue, "limit"),
                .drops = document_number(queue, "drops"),
                .repairs = document_number(socket, "repairs"),
        };
}

static int add_queue(struct table *table, const struct socket_view *view) {
        enum tint tint = TINT_NONE;

        if (!view->has_queue)
                return table_cell(table, QUEUE, TINT_NONE, "?");
        if (view->limit > 0 && view->length >= view->limit)
                tint = TINT_BAD;
        else if (view->length > 0 && view->leases == 0)
                tint = TINT_WARNING;
        return table_cellf(table, QUEUE, tint, "%llu/%llu", (unsigned long long) view->length,
                           (unsigned long long) view->limit);
}

static int add_notes(struct table *table, const struct socket_view *view) {
        char notes[256] = "";
        size_t used = 0;
        const struct {
                bool holds;
                const char *text;
                uint64_t number;
        } facts[] = {
                {view->has_queue && view->limit > 0 && view->length >= view->limit, "full", 0},
                {view->length > 0 && view->leases == 0, "connections wait", 0},
                {view->drops > 0, "dropped", view->drops},
                {view->repairs > 0, "repaired", view->repairs},
                {document_truth(view->socket, "adopted"), "adopted", 0},
                {document_truth(view->listener, "non_blocking"), "non-blocking", 0},
        };

        for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++) {
                if (!facts[i].holds)
                        continue;
                used += (size_t) snprintf(notes + used, sizeof(notes) - used, "%s%s",
                                          used ? ", " : "", facts[i].text);
                if (facts[i].number)
                        used += (size_t) snprintf(notes + used, sizeof(notes) - used, " %llu",
                                                  (unsigned long long) facts[i].number);
        }
        return table_cell(table, NOTES, view->drops > 0 ? TINT_WARNING : TINT_NONE, notes);
}

static int add_socket(struct table *table, const struct socket_view *view, uint64_t now_usec) {
        char age[DISPLAY_AGE_SIZE];
        int r = table_row(table);

        if (r == 0)
                r = table_cell(table, NAME, TINT_NONE, document_text(view->listener, "name"));
        if (r == 0)
                r = table_cell(table, ADDRESS, TINT_NONE, document_text(view->socket, "address"));
        if (r == 0)
                r = add_queue(table, view);
        if (r == 0)
                r = table_cellf(table, HOLDERS, view->leases ? TINT_NONE : TINT_WARNING, "%zu",
                                view->leases);
        if (r == 0)
                r = table_cell(
                        table, SINCE, TINT_NONE,
                        display_age(document_number(view->socket, "since_usec"), now_usec, age));
        return r < 0 ? r : add_notes(table, view);
}

int status_table_listeners(const json_t *document, uint64_t now_usec, bool color, FILE *stream) {
        _cleanup_table_ struct table *table = NULL;
        const json_t *listener, *socket;
        size_t i, j;
        int r = table_new(&table, listener_columns, N_COLUMNS(listener_columns), color);

        if (r < 0)
                return r;
        json_array_foreach(json_object_get(document, "listeners"), i, listener)
                json_array_foreach(json_object_get(listener, "sockets"), j, socket) {
                struct socket_view view = view_of(listener, socket);
                r = add_socket(table, &view, now_usec);
                if (r < 0)
                        return r;
        }
        return table_print(table, stream);
}

static int add_holder(struct table *table, const json_t *lease, struct identities *users) {
        uint64_t pid = document_number(lease, "pid");
        _cleanup_free_ char *program = program_of(pid);
        _cleanup_free_ char *user = program_user(users, document_number(lease, "uid"));
        int r;

        if (!program || !user)
                return -ENOMEM;
        /* a process in a pid namespace that the broker does not see has no pid here */
        r = pid ? table_cellf(table, L_PID, TINT_NONE, "%llu", (unsigned long long) pid)
                : table_cell(table, L_PID, TINT_NONE, "?");
        if (r == 0)
                r = table_cell(table, L_PROGRAM, TINT_NONE, program);
        return r < 0 ? r : table_cell(table, L_USER, TINT_NONE, user);
}

static int add_lease(struct table *table, const json_t *listener, const json_t *lease,
                     struct identities *users, uint64_t now_usec) {
        bool ready = document_truth(lease, "ready");
        char age[DISPLAY_AGE_SIZE];
        int r = table_row(table);

        if (r == 0)
                r = table_cell(table, L_LISTENER, TINT_NONE, document_text(listener, "name"));
        if (r == 0)
                r = add_holder(table, lease, users);
        if (r == 0)
                r = table_cell(table, L_SINCE, TINT_NONE,
                               display_age(document_number(lease, "since_usec"), now_usec, age));
        if (r == 0)
                r = table_cell(table, L_READY, ready ? TINT_GOOD : TINT_NONE, ready ? "yes" : "-");
        return r < 0 ? r : table_cell(table, L_STATUS, TINT_NONE, document_text(lease, "status"));
}

int status_table_leases(const json_t *document, uint64_t now_usec, bool color, FILE *stream) {
        _cleanup_table_ struct table *table = NULL;
        _cleanup_users_ struct identities *users = NULL;
        const json_t *listener, *lease;
        size_t i, j;
        int r = table_new(&table, lease_columns, N_COLUMNS(lease_columns), color);

        if (r == 0)
                r = program_users(&users);
        if (r < 0)
                return r;
        json_array_foreach(json_object_get(document, "listeners"), i, listener)
                json_array_foreach(json_object_get(listener, "leases"), j, lease) {
                r = add_lease(table, listener, lease, users, now_usec);
                if (r < 0)
                        return r;
        }
        return table_print(table, stream);
}

size_t status_table_count_leases(const json_t *document) {
        const json_t *listener;
        size_t i, n = 0;

        json_array_foreach(json_object_get(document, "listeners"), i, listener) n +=
                json_array_size(json_object_get(listener, "leases"));
        return n;
}
