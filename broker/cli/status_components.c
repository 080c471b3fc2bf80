/*
 * The components of the document of STATUS, a row each. Of two generations at once the row shows
 * the one that serves, and the notes what the others do.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "cli/display.h"
#include "cli/document.h"
#include "cli/status_table.h"
#include "cli/table.h"

enum { NAME, STATE, GENERATION, PIDS, UPTIME, RESTARTS, LAST_END, CONNECTIONS, QUEUE, NOTES };
static const struct table_column columns[] = {
        [NAME] = {"COMPONENT", .abbreviate = true},
        [STATE] = {"STATE"},
        [GENERATION] = {"GEN", .right = true, .drop = 6},
        [PIDS] = {"PID", .drop = 4},
        [UPTIME] = {"UPTIME", .drop = 3},
        [RESTARTS] = {"RESTARTS", .right = true, .drop = 2},
        [LAST_END] = {"LAST END", .cut = true},
        [CONNECTIONS] = {"CONNECTIONS", .right = true, .drop = 1},
        [QUEUE] = {"QUEUE", .right = true, .drop = 5},
        [NOTES] = {"NOTES", .cut = true}};

static const struct {
        const char *state;
        enum tint tint;
} tints[] = {{"ready", TINT_GOOD},       {"restarting", TINT_GOOD}, {"failed", TINT_BAD},
             {"back-off", TINT_WARNING}, {"paused", TINT_WARNING},  {"draining", TINT_WARNING}};

/* Process ids in one cell; of more there are "+3". */
#define PIDS_MAX 4

static enum tint tint_of(const char *state) {
        for (size_t i = 0; i < sizeof(tints) / sizeof(tints[0]); i++)
                if (strcmp(tints[i].state, state) == 0)
                        return tints[i].tint;
        return TINT_NONE;
}

static bool is_current(const json_t *component, const json_t *instance) {
        return document_number(instance, "generation") == document_number(component, "generation");
}

static int add_generation(struct table *table, const json_t *component) {
        unsigned long long generation = document_number(component, "generation");

        return generation > 0 ? table_cellf(table, GENERATION, TINT_NONE, "%llu", generation)
                              : table_cell(table, GENERATION, TINT_NONE, "-");
}

static int add_pids(struct table *table, const json_t *component) {
        char text[PIDS_MAX * 12 + 16] = "";
        size_t i, used = 0, n = 0;
        const json_t *instance;

        json_array_foreach(json_object_get(component, "instances"), i, instance) {
                unsigned long long pid = document_number(instance, "pid");

                if (!is_current(component, instance) || pid == 0 || ++n > PIDS_MAX)
                        continue;
                used += (size_t) snprintf(text + used, sizeof(text) - used, "%s%llu",
                                          n > 1 ? "," : "", pid);
                if (used >= sizeof(text))
                        break;
        }
        if (n > PIDS_MAX && used < sizeof(text))
                (void) snprintf(text + used, sizeof(text) - used, " +%zu", n - PIDS_MAX);
        return table_cell(table, PIDS, TINT_NONE, n > 0 ? text : "-");
}

/* Of the one that serves longest. */
static int add_uptime(struct table *table, const json_t *component, uint64_t now_usec) {
        char age[DISPLAY_AGE_SIZE];
        const json_t *instance;
        uint64_t since = 0;
        size_t i;

        json_array_foreach(json_object_get(component, "instances"), i, instance) {
                uint64_t one = document_number(instance, "since_usec");

                if (is_current(component, instance) && (since == 0 || one < since))
                        since = one;
        }
        return table_cell(table, UPTIME, TINT_NONE,
                          since > 0 ? display_age(since, now_usec, age) : "-");
}

/* Its last end is why it does not serve now: that is told once. */
static bool is_down_since(const json_t *component) {
        const json_t *end = json_object_get(component, "last_end");
        const char *reason = document_text(component, "reason");

        return *reason && strcmp(reason, document_text(end, "reason")) == 0;
}

/* Why, and how, where that says more: "not ready within TimeoutStartSec= (30 s); killed by SIGTERM"
 */
static int add_last_end(struct table *table, const json_t *component, uint64_t now_usec) {
        enum tint tint = is_down_since(component) ? TINT_WARNING : TINT_NONE;
        const json_t *end = json_object_get(component, "last_end");
        const char *text = document_text(end, "text"), *reason = document_text(end, "reason");
        char age[DISPLAY_AGE_SIZE];

        if (!json_is_object(end))
                return table_cell(table, LAST_END, TINT_NONE, "-");
        if (strcmp(reason, text) == 0)
                reason = "";
        (void) display_age(document_number(end, "time_usec"), now_usec, age);
        return table_cellf(table, LAST_END, tint, "%s%s%s (%s%s)", reason, *reason ? "; " : "",
                           text, age, strcmp(age, "now") == 0 ? "" : " ago");
}

static int add_connections(struct table *table, const json_t *component) {
        unsigned long long sum = 0;
        const json_t *instance;
        size_t i;

        json_array_foreach(json_object_get(component, "instances"), i, instance) sum +=
                document_number(instance, "connections");
        return table_cellf(table, CONNECTIONS, TINT_NONE, "%llu", sum);
}

static unsigned long long queue_of(const json_t *listener) {
        unsigned long long sum = 0;
        const json_t *socket;
        size_t i;

        json_array_foreach(json_object_get(listener, "sockets"), i, socket) sum +=
                document_number(json_object_get(socket, "queue"), "length");
        return sum;
}

/* Of all its listeners that this user may see. */
static int add_queue(struct table *table, const json_t *document, const json_t *component) {
        const json_t *name, *listener;
        unsigned long long sum = 0;
        size_t i, j;

        json_array_foreach(json_object_get(component, "listeners"), i, name)
                json_array_foreach(json_object_get(document, "listeners"), j, listener) {
                if (json_equal(name, json_object_get(listener, "name")))
                        sum += queue_of(listener);
        }
        return table_cellf(table, QUEUE, TINT_NONE, "%llu", sum);
}

struct notes {
        char text[1024];
        size_t used;
};

__attribute__((format(printf, 2, 3))) static void note(struct notes *n, const char *format, ...) {
        va_list arguments;

        if (n->used > 0 && n->used < sizeof(n->text))
                n->used += (size_t) snprintf(n->text + n->used, sizeof(n->text) - n->used, ", ");
        if (n->used >= sizeof(n->text))
                return; /* too many of them to be read */
        va_start(arguments, format);
        n->used +=
                (size_t) vsnprintf(n->text + n->used, sizeof(n->text) - n->used, format, arguments);
        va_end(arguments);
}

/* "generation 9 starting (pid 17750)"; of one that serves, what it says of itself, unless that
 * stands with its listeners. */
static void note_instance(struct notes *n, const json_t *component, const json_t *instance) {
        unsigned long long pid = document_number(instance, "pid");
        const char *reason = document_text(instance, "reason"),
                   *words = document_text(instance, "status");
        char pid_text[32] = "";

        if (is_current(component, instance)) {
                if (*words && json_array_size(json_object_get(component, "listeners")) == 0)
                        note(n, "%s", words);
                return;
        }
        if (pid > 0)
                (void) snprintf(pid_text, sizeof(pid_text), " (pid %llu)", pid);
        note(n, "generation %llu %s%s%s%s",
             (unsigned long long) document_number(instance, "generation"),
             document_text(instance, "state"), pid_text, *reason ? ": " : "", reason);
}

/* What is going on beside the generation that serves, and what is to come. */
static int add_notes(struct table *table, const json_t *component) {
        unsigned long long back_off = document_number(component, "back_off_ms");
        const char *reason = is_down_since(component) ? "" : document_text(component, "reason");
        bool is_down = strcmp(document_text(component, "state"), "back-off") == 0,
             is_stalled = document_truth(component, "stalled"), is_outdated = false;
        struct notes n = {.used = 0};
        const json_t *instance;
        size_t i;

        if (*reason)
                note(&n, "%s", reason);
        if (is_stalled)
                note(&n, "stalled");
        json_array_foreach(json_object_get(component, "instances"), i, instance) {
                is_outdated = is_outdated || document_truth(instance, "outdated");
                note_instance(&n, component, instance);
        }
        if (back_off > 0)
                note(&n, "%sagain in %llu s", is_down ? "" : "an instance ", back_off / 1000 + 1);
        if (is_outdated)
                note(&n, "changed configuration: from the next start on");
        return table_cell(table, NOTES, *reason || is_stalled ? TINT_WARNING : TINT_NONE, n.text);
}

static int add_component(struct table *table, const json_t *document, const json_t *component,
                         uint64_t now_usec) {
        const char *state = document_text(component, "state");
        int r = table_row(table);

        if (r == 0)
                r = table_cell(table, NAME, TINT_NONE, document_text(component, "name"));
        if (r == 0)
                r = table_cell(table, STATE, tint_of(state), state);
        if (r == 0)
                r = add_generation(table, component);
        if (r == 0)
                r = add_pids(table, component);
        if (r == 0)
                r = add_uptime(table, component, now_usec);
        if (r == 0)
                r = table_cellf(table, RESTARTS, TINT_NONE, "%llu",
                                (unsigned long long) document_number(component, "restarts"));
        if (r == 0)
                r = add_last_end(table, component, now_usec);
        if (r == 0)
                r = add_connections(table, component);
        if (r == 0)
                r = add_queue(table, document, component);
        return r < 0 ? r : add_notes(table, component);
}

int status_table_components(const json_t *document, uint64_t now_usec, bool color, FILE *stream) {
        _cleanup_table_ struct table *table = NULL;
        const json_t *component;
        size_t i;
        int r = table_new(&table, columns, sizeof(columns) / sizeof(columns[0]), color);

        if (r < 0)
                return r;
        json_array_foreach(json_object_get(document, "components"), i, component) {
                r = add_component(table, document, component, now_usec);
                if (r < 0)
                        return r;
        }
        return table_print(table, stream);
}
