/*
 * APPLY and SIGHUP: load the configuration again and make the listeners what it says, all or
 * nothing.
 *
 * Who has an address that is in use takes too long to find out for a loop that serves, so a
 * disposable child does, and the answer comes when it is done. Meanwhile the session may end and
 * others are served; a second apply waits its turn (SIGHUP) or is told to (APPLY).
 */
#include "control/apply.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "components/component_table.h"
#include "config/config.h"
#include "config/kept_config.h"
#include "control/answer.h"
#include "control/component_store.h"
#include "control/control_private.h"
#include "control/document.h"
#include "control/in_flight.h"
#include "control/session.h"
#include "core/helper.h"
#include "sockets/conflict.h"

#define EXPLAIN_DEADLINE_USEC (3 * 1000 * 1000)

static void clear_names(struct component_names *list) {
        for (size_t i = 0; i < list->count; i++)
                free(list->names[i]);
        free(list->names);
        *list = (struct component_names){0};
}

static void add_name(struct component_names *list, const char *name) {
        list->names[list->count] = strdup(name);
        list->count += list->names[list->count] != NULL;
}

static void clear(struct apply *a) {
        diagnostics_clear(&a->diagnostics);
        clear_names(&a->added);
        clear_names(&a->removed);
}

/* ---- the outcome ------------------------------------------------------------------------------*/

static void write_names(struct json_writer *j, const char *key,
                        const struct component_names *list) {
        json_open_array(j, key);
        for (size_t i = 0; i < list->count; i++)
                json_text(j, NULL, list->names[i]);
        json_close_array(j);
}

static int write_document(const struct apply *a, int *ret_fd, size_t *ret_size) {
        const struct diagnostics *diagnostics = &a->diagnostics;
        struct document d;
        int r = document_begin(&d);

        if (r < 0)
                return r;
        json_open_object(&d.json, NULL);
        json_u64(&d.json, "schema", 1);
        json_open_array(&d.json, "diagnostics");
        for (size_t i = 0; i < diagnostics->count; i++) {
                const struct diagnostic *one = &diagnostics->items[i];

                json_open_object(&d.json, NULL);
                json_text(&d.json, "severity",
                          one->severity == SEVERITY_ERROR ? "error" : "warning");
                json_text(&d.json, "file", one->file);
                json_u64(&d.json, "line", one->line);
                json_text(&d.json, "text", one->text);
                json_close_object(&d.json);
        }
        json_close_array(&d.json);
        write_names(&d.json, "added_components", &a->added);
        write_names(&d.json, "removed_components", &a->removed);
        json_close_object(&d.json);
        return document_end(&d, ret_fd, ret_size);
}

/* "FILE:LINE: TEXT" of the first error, so that a client without JSON has something to show. */
static void first_error(const struct diagnostics *d, char *ret, size_t size) {
        const struct diagnostic *found = NULL;

        for (size_t i = 0; i < d->count && !found; i++)
                if (d->items[i].severity == SEVERITY_ERROR)
                        found = &d->items[i];
        if (!found)
                (void) snprintf(ret, size, "nothing was applied: the broker is out of memory");
        else if (found->file && found->line > 0)
                (void) snprintf(ret, size, "%s:%u: %s", found->file, found->line, found->text);
        else if (found->file)
                (void) snprintf(ret, size, "%s: %s", found->file, found->text);
        else
                (void) snprintf(ret, size, "%s", found->text);
}

/* Takes the document. */
static void answer_applied(const struct request *request, const struct apply_result *result,
                           int document, size_t size) {
        struct packet_writer *w = answer_begin(request);

        packet_add_u64(w, "OPENED", result->opened);
        packet_add_u64(w, "ADOPTED", result->adopted);
        packet_add_u64(w, "KEPT", result->kept);
        packet_add_u64(w, "CHANGED", result->changed);
        packet_add_u64(w, "CLOSED", result->closed);
        if (document >= 0)
                (void) answer_send_document(request, document, size);
        else
                (void) answer_send(request);
}

static void on_kept(struct control *c, struct settlement *settlement) {
        struct apply_answer *a = (struct apply_answer *) settlement;
        struct session *s = a->session;
        const struct request request = {.session = s, .serial = serial_text(&a->serial)};

        a->waiting = false;
        a->session = NULL;
        /* It may have asked for another document meanwhile; what is in this one is in the log. */
        if (!s || (s->document_outstanding && !in_flight_settle(s)))
                a->document = close_fd(a->document);
        if (!s)
                return;
        answer_applied(&request, &a->result, a->document, a->size);
        if (s->state == SESSION_ENDING)
                session_end(s);
}

/* Takes the document. */
static void answer_when_kept(const struct apply *a, int document, size_t size) {
        struct control *c = a->session->control;
        struct apply_answer *answer = &c->apply.answer;

        *answer = (struct apply_answer){.settlement.done = on_kept,
                                        .waiting = true,
                                        .session = a->session,
                                        .serial = a->serial,
                                        .result = a->result,
                                        .document = document,
                                        .size = size};
        settling_add(&c->settling, &answer->settlement);
}

/* Without a document (no memory for one) the sentence still says what matters; all is in the log.
 */
static void answer(const struct apply *a, int result) {
        const struct request request = {.session = a->session, .serial = serial_text(&a->serial)};
        /* Nothing is wrong with the configuration when others just have its addresses. */
        int error = a->result.only_in_use ? EADDRINUSE : EINVAL;
        char sentence[1024];
        int document = -1;
        size_t size = 0;

        if (a->diagnostics.count > 0 || a->added.count > 0 || a->removed.count > 0)
                (void) write_document(a, &document, &size);
        if (result == 0 && a->session->control->broker->memory) {
                answer_when_kept(a, document, size);
                return;
        }
        if (result == 0) {
                answer_applied(&request, &a->result, document, size);
                return;
        }
        first_error(&a->diagnostics, sentence, sizeof(sentence));
        if (document >= 0)
                answer_error_document(&request, error, sentence, document, size);
        else
                answer_error(&request, error, "%s", sentence);
}

static void log_outcome(const struct control *c, const struct apply *a, int result) {
        struct log *log = c->broker->log;

        diagnostics_log(&a->diagnostics, log);
        if (result < 0)
                log_error(log, ABOUT(.file = c->broker->config_path),
                          "the configuration %s was not applied: %zu error%s, nothing has changed",
                          c->broker->config_path, a->diagnostics.errors,
                          a->diagnostics.errors == 1 ? "" : "s");
        else
                log_notice(log, ABOUT(.file = c->broker->config_path),
                           "the configuration %s is applied: %zu opened, %zu adopted, %zu kept, "
                           "%zu changed, %zu closed",
                           c->broker->config_path, a->result.opened, a->result.adopted,
                           a->result.kept, a->result.changed, a->result.closed);
}

/* An answer that cannot be given makes the session ENDING; the caller ends it. */
static void finish(struct control *c, int result) {
        struct apply *a = &c->apply;
        bool again = a->again;

        log_outcome(c, a, result);
        if (a->session)
                answer(a, result);
        clear(a);
        a->session = NULL;
        a->running = a->again = false;
        if (again)
                apply_reload(c);
}

/* ---- addresses in use -------------------------------------------------------------------------*/

/*
 * In the child: one line for each. Its copies of our descriptors go first: as long as it had them,
 * a session that we close would stay open for its peer, and a listener's address would stay bound.
 */
static void explain(void *argument, int result_fd) {
        const struct apply_result *result = argument;
        char text[CONFLICT_TEXT_SIZE];

        (void) close_range(STDERR_FILENO + 1, (unsigned) result_fd - 1, 0);
        (void) close_range((unsigned) result_fd + 1, ~0U, 0);
        for (size_t i = 0; i < result->n_conflicts; i++)
                (void) dprintf(result_fd, "%s\n", conflict_explain(&result->conflicts[i], text));
}

static void on_explained(void *owner, const char *text, size_t size) {
        struct control *c = owner;
        struct session *s = c->apply.session;

        c->apply.helper = NULL;
        for (const char *line = text, *end; (end = strchr(line, '\n')); line = end + 1)
                diagnostics_add(&c->apply.diagnostics, SEVERITY_ERROR, NULL, 0, "%.*s",
                                (int) (end - line), line);
        finish(c, -EINVAL);
        if (s && s->state == SESSION_ENDING)
                session_end(s);
}

static int start_explaining(struct control *c) {
        struct apply *a = &c->apply;

        if (a->result.n_conflicts == 0)
                return -ENOENT;
        return helper_start(&a->helper, c->broker->loop, EXPLAIN_DEADLINE_USEC, explain, &a->result,
                            on_explained, c);
}

/* ---- applying ---------------------------------------------------------------------------------*/

/* Those that are about to be removed. */
static void note_removed(struct component_names *removed, const struct component_table *t,
                         const struct config *config) {
        const struct component *c;

        removed->names = calloc(t->count + 1, sizeof(*removed->names));
        for (c = component_first(t); removed->names && c; c = component_next(c))
                if (!c->removed && !config_find_component(config, c->name))
                        add_name(removed, c->name);
}

/* And made: one that is still on its way out comes back. */
static void note_added(struct component_names *added, const struct component_table *t,
                       const struct config *config) {
        added->names = calloc(config->n_components + 1, sizeof(*added->names));
        for (size_t i = 0; added->names && i < config->n_components; i++) {
                const struct component *c = component_find(t, config->components[i]->name);

                if (!c || c->removed)
                        add_name(added, config->components[i]->name);
        }
}

/* From here on the new configuration is what everybody is judged by. */
static void put_in_force(struct control *c, struct config *config, const struct limits *limits) {
        struct broker *b = c->broker;
        const char *path = config->broker.control_socket;

        if (path && strcmp(path, c->endpoint.path) != 0)
                diagnostics_add(&c->apply.diagnostics, SEVERITY_WARNING, b->config_path, 0,
                                "ControlSocket= is now %s, but the broker goes on at %s until it "
                                "is started again",
                                path, c->endpoint.path);
        config_free(b->config);
        b->config = config;
        if (b->memory)
                (void) kept_config_put(b->memory, config, &b->config_fd, b->log);
        b->limits = *limits;
        if (!b->log_level_is_fixed)
                log_set_level(b->log, config->broker.log_level);
        if (b->components) {
                note_removed(&c->apply.removed, b->components, config);
                note_added(&c->apply.added, b->components, config);
        }
        if (b->components && component_table_apply(b->components, config, true) < 0)
                diagnostics_add(&c->apply.diagnostics, SEVERITY_WARNING, b->config_path, 0,
                                "out of memory: not all new components could be made; apply again");
        component_store_prune(&c->stored, config);
}

static int load_and_apply(struct control *c, bool allow_close) {
        struct broker *b = c->broker;
        struct apply *a = &c->apply;
        struct config *config;
        struct limits limits;
        int r = config_load(b->config_path, &a->diagnostics, &config);

        if (r < 0)
                return r;
        limits = config->broker.limits;
        limits_fit(&limits, b->log);
        listener_table_set_max(b->listeners, limits.listeners);
        r = listener_table_apply(b->listeners, config, b->inherited, allow_close, &a->diagnostics,
                                 &a->result);
        if (r < 0) {
                listener_table_set_max(b->listeners, b->limits.listeners);
                config_free(config);
        } else {
                put_in_force(c, config, &limits);
        }
        return r;
}

static void run(struct control *c, bool allow_close) {
        struct apply *a = &c->apply;
        int r;

        a->running = true;
        a->result = (struct apply_result){0};
        r = load_and_apply(c, allow_close);
        if (r == 0 || start_explaining(c) < 0)
                finish(c, r);
}

void apply_reload(struct control *c) {
        if (c->apply.running) {
                c->apply.again = true;
                return;
        }
        c->apply.session = NULL;
        run(c, false);
}

void handle_apply(struct request *request) {
        struct control *c = request->session->control;
        struct apply *a = &c->apply;

        if (a->running || a->answer.waiting) {
                answer_error(request, EBUSY,
                             "the configuration is being applied already: try again when that is "
                             "done");
                return;
        }
        if (answer_is_outstanding(request))
                return;
        a->session = request->session;
        a->serial = serial_keep(request->serial);
        run(c, assignments_get(request->keys, "ALLOW_CLOSE"));
}

void apply_forget(struct apply *a, const struct session *session) {
        if (a->session == session)
                a->session = NULL;
        if (a->answer.session == session)
                a->answer.session = NULL;
}

void apply_cancel(struct apply *a) {
        a->helper = helper_stop(a->helper);
        clear(a);
        /* Not what waits for the keeper: the settling ends that. */
        a->session = NULL;
        a->running = a->again = false;
}
