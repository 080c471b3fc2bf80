/*
 * LOGS. What is followed comes as events, which are best effort: a session that does not read gets
 * EVENT=OVERFLOW, and asks again; the lines have numbers, so it knows which it has. That a
 * component is gone needs no more than that: whoever missed EVENT=LOG_END is told when it asks
 * again.
 */
#include "control/logs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "components/component_table.h"
#include "control/answer.h"
#include "control/control_private.h"
#include "control/document.h"
#include "control/outgoing.h"
#include "control/permission.h"
#include "control/session.h"

struct log_follow {
        struct output_follower follower;
        struct session *session;
        char name[NAME_LENGTH_MAX + 1]; /* the component may go */
};

/* ---- following --------------------------------------------------------------------------------*/

/* Whether the session may is asked for each line, because rights can be taken away. */
static void on_line(void *owner, const struct output_line *line) {
        struct log_follow *follow = owner;
        struct session *s = follow->session;
        struct packet_writer *w = &s->control->event;

        if (!permission_to_operate(s))
                return;
        packet_begin(w);
        packet_add(w, "EVENT", "LOG");
        packet_add(w, "NAME", follow->name);
        packet_add_u64(w, "NUMBER", line->number);
        packet_add_u64(w, "TIME_USEC", line->time_usec);
        packet_add_u64(w, "GENERATION", line->generation);
        packet_add_u64(w, "INSTANCE", line->instance);
        packet_add(w, "ERROR", line->is_error ? "1" : "0");
        packet_add(w, "TEXT", line->text);
        outgoing_send_event(s, w->data, w->size);
}

static void on_end(void *owner) {
        struct log_follow *follow = owner;
        struct session *s = follow->session;
        struct packet_writer *w = &s->control->event;

        if (permission_to_operate(s)) {
                packet_begin(w);
                packet_add(w, "EVENT", "LOG_END");
                packet_add(w, "NAME", follow->name);
                outgoing_send_event(s, w->data, w->size);
        }
        logs_forget(s);
}

void logs_forget(struct session *s) {
        if (!s->log_follow)
                return;
        output_unfollow(&s->log_follow->follower);
        free(s->log_follow);
        s->log_follow = NULL;
}

/* In place of what it followed before. 0 or -ENOMEM. */
static int follow(struct session *s, struct component *component) {
        struct log_follow *f = calloc(1, sizeof(*f));

        if (!f)
                return -ENOMEM;
        logs_forget(s);
        f->session = s;
        f->follower = (struct output_follower){.line = on_line, .end = on_end, .owner = f};
        memcpy(f->name, component->name, strlen(component->name) + 1); /* a name, so it fits */
        s->log_follow = f;
        output_follow(&component->output, &f->follower);
        return 0;
}

/* ---- the document -----------------------------------------------------------------------------*/

static void write_line(struct json_writer *j, const struct output_line *line) {
        json_open_object(j, NULL);
        json_u64(j, "number", line->number);
        json_u64(j, "time_usec", line->time_usec);
        json_u64(j, "generation", line->generation);
        json_u64(j, "instance", line->instance);
        json_bool(j, "error", line->is_error);
        json_text(j, "text", line->text);
        json_close_object(j);
}

static int write_lines(const struct component *component, uint64_t wanted, int *ret_fd,
                       size_t *ret_size) {
        const struct output_log *log = &component->output;
        struct line_walk w = line_ring_walk(&log->lines);
        struct output_line line;
        struct document document;
        int r = document_begin(&document);

        if (r < 0)
                return r;
        json_open_object(&document.json, NULL);
        json_u64(&document.json, "schema", 1);
        json_text(&document.json, "component", component->name);
        json_u64(&document.json, "instances", log->instances);
        json_open_array(&document.json, "lines");
        while (w.left > wanted)
                (void) line_walk_next(&w, &line);
        while (line_walk_next(&w, &line))
                write_line(&document.json, &line);
        json_close_array(&document.json);
        json_close_object(&document.json);
        return document_end(&document, ret_fd, ret_size);
}

/* ---- the verb ---------------------------------------------------------------------------------*/

void handle_logs(struct request *request) {
        const struct text *name = assignments_get(request->keys, "NAME");
        uint64_t wanted = assignments_u64(request->keys, "LINES", LOGS_LINES_DEFAULT);
        struct component *component = request_component(request, *name);
        size_t size;
        int fd, r;

        if (!component) {
                answer_error(request, ENOENT, "there is no component %.*s", (int) name->length,
                             name->start);
                return;
        }
        if (answer_is_outstanding(request))
                return;
        r = write_lines(component, wanted, &fd, &size);
        if (r < 0) {
                answer_error(request, -r, "the document cannot be written: %s", strerror(-r));
                return;
        }
        (void) answer_begin(request);
        if (answer_send_document(request, fd, size) < 0 ||
            !assignments_get(request->keys, "FOLLOW"))
                return;
        if (follow(request->session, component) < 0)
                request->session->state = SESSION_ENDING; /* it was told that it would hear */
}
