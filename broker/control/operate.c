/*
 * START, STOP and their kind: begin a job, tell the session what happens while it runs, and answer
 * with the verdict. The job is the broker's: it goes on when its asker is gone, and one who asks
 * again with the same JOB= gets its verdict, whichever broker began it.
 */
#include "control/operate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "components/component_table.h"
#include "control/answer.h"
#include "control/control_private.h"
#include "control/document.h"
#include "control/outgoing.h"
#include "control/receipt_document.h"
#include "control/session.h"
#include "names.h"

/* ---- what was asked for -----------------------------------------------------------------------*/

struct name_list {
        size_t count;
        const char *names[OPERATE_NAMES_MAX]; /* into text */
        char text[OPERATE_NAMES_SIZE + 1];
};

bool operate_names_are_valid(struct text names) {
        size_t count = 0;

        for (;;) {
                const char *space = memchr(names.start, ' ', names.length);
                size_t length = space ? (size_t) (space - names.start) : names.length;

                if (!name_is_valid(names.start, length) || ++count > OPERATE_NAMES_MAX)
                        return false;
                if (!space)
                        return true;
                names.start += length + 1;
                names.length -= length + 1;
        }
}

bool operate_id_is_valid(struct text id) {
        for (size_t i = 0; i < id.length; i++) {
                char c = id.start[i];

                if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') &&
                    c != '-')
                        return false;
        }
        return id.length > 0 && id.length < JOB_ID_SIZE;
}

/* They are valid, so they fit. */
static void split_names(struct name_list *list, struct text names) {
        char *rest = list->text, *name;

        memcpy(list->text, names.start, names.length);
        list->text[names.length] = '\0';
        list->count = 0;
        while ((name = strsep(&rest, " ")))
                list->names[list->count++] = name;
}

static enum job_kind kind_of(const struct verb *verb) {
        for (size_t kind = 0; kind < N_JOB_KINDS; kind++)
                if (strcasecmp(verb->name, job_kind_name((enum job_kind) kind)) == 0)
                        return (enum job_kind) kind;
        abort(); /* a row of the table of verbs without a kind of job */
}

/* ---- the answer -------------------------------------------------------------------------------*/

static int write_receipts(const struct job *job, int *ret_fd, size_t *ret_size) {
        struct document document;
        int r = document_begin(&document);

        if (r < 0)
                return r;
        receipt_document_write(&document.json, job);
        return document_end(&document, ret_fd, ret_size);
}

/* Without a document (no descriptor for one) the verdict is still told. */
static void answer_verdict(struct session *s, struct text serial, const struct job *job) {
        const struct request request = {.session = s, .serial = serial};
        struct packet_writer *w;
        size_t size = 0;
        int fd = -1, r = write_receipts(job, &fd, &size);

        w = answer_begin(&request);
        packet_add(w, "JOB", job->id);
        packet_add(w, "RESULT", job_is_good(job) ? "good" : "bad");
        if (r < 0)
                (void) answer_send(&request);
        else
                (void) answer_send_document(&request, fd, size);
}

static void on_event(void *owner, const struct job_event *event) {
        struct job_wait *wait = owner;
        struct packet_writer *w = &wait->session->control->event;

        packet_begin(w);
        packet_add(w, "EVENT", "PROGRESS");
        packet_add(w, "JOB", wait->job);
        packet_add(w, "COMPONENT", event->component);
        packet_add(w, "STEP", event->step);
        packet_add_u64(w, "GENERATION", event->generation);
        if (event->pid > 0)
                packet_add_u64(w, "PID", (uint64_t) event->pid);
        packet_add(w, "TEXT", event->text ? event->text : "");
        outgoing_send_event(wait->session, w->data, w->size);
}

/* Takes the wait off its session; what it says is still there. */
static void detach(struct job_wait *wait) {
        wait->session->job_wait = NULL;
}

/* From the loop: whoever waits is not being read, so nobody above us knows its session. */
static void on_done(void *owner, const struct job *job) {
        struct job_wait *wait = owner;
        struct session *s = wait->session;

        detach(wait);
        answer_verdict(s, serial_text(&wait->serial), job);
        free(wait);
        if (s->state == SESSION_ENDING)
                session_end(s);
        else
                outgoing_resume(s);
}

/* From handle_operate(): the session's state is looked at by who called that. */
static void on_done_at_once(void *owner, const struct job *job) {
        struct job_wait *wait = owner;

        detach(wait);
        answer_verdict(wait->session, serial_text(&wait->serial), job);
        free(wait);
}

static void begin_to_wait(const struct request *request, struct job *job) {
        struct session *s = request->session;
        struct job_wait *wait = calloc(1, sizeof(*wait));

        if (!wait) {
                answer_error(request, ENOMEM,
                             "the broker is out of memory; the job %s goes on: ask for it again",
                             job->id);
                return;
        }
        wait->session = s;
        wait->listener =
                (struct job_listener){.event = on_event, .done = on_done_at_once, .owner = wait};
        memcpy(wait->job, job->id, sizeof(wait->job));
        wait->serial = serial_keep(request->serial);
        s->job_wait = wait;
        job_listen(job, &wait->listener);
        if (s->job_wait)
                wait->listener.done = on_done;
}

void operate_on_readable(struct session *s) {
        char byte;
        ssize_t n = recv(s->fd, &byte, sizeof(byte), MSG_PEEK | MSG_DONTWAIT);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n <= 0) { /* or an empty packet, which is a breach of the grammar */
                s->state = SESSION_ENDING;
                return;
        }
        io_watch_stop(&s->watch);
        s->watched_events = 0;
}

void operate_forget(struct session *s) {
        if (!s->job_wait)
                return;
        job_unlisten(&s->job_wait->listener);
        free(s->job_wait);
        s->job_wait = NULL;
}

/* ---- the verbs --------------------------------------------------------------------------------*/

static void answer_refusal(const struct request *request, int error, const char *id,
                           const struct name_list *list) {
        const struct component_table *table = request->session->control->broker->components;

        for (size_t i = 0; error == -ENOENT && i < list->count; i++)
                if (!component_find(table, list->names[i])) {
                        answer_error(request, ENOENT, "there is no component %s", list->names[i]);
                        return;
                }
        if (error == -ESHUTDOWN)
                answer_error(request, ESHUTDOWN,
                             "the broker is ending: nothing is started any more");
        else if (error == -EINVAL)
                answer_error(request, EINVAL,
                             "the job %s is there, and it is not to %s these components", id,
                             job_kind_name(kind_of(request->verb)));
        else
                answer_error(request, -error, "the job cannot be begun: %s", strerror(-error));
}

static void begin(const struct request *request, const struct name_list *list) {
        const struct text *asked_id = assignments_get(request->keys, "JOB");
        struct component_table *table = request->session->control->broker->components;
        char id[JOB_ID_SIZE] = "";
        struct job *job;
        int r;

        if (asked_id)
                memcpy(id, asked_id->start, asked_id->length); /* valid, so it fits */
        id[asked_id ? asked_id->length : 0] = '\0';
        if (job_table_is_full(table) && !(id[0] && job_find(table, id))) {
                answer_error(request, EBUSY, "%d jobs are under way: wait for one of them to end",
                             JOBS_MAX);
                return;
        }
        r = job_begin(table, kind_of(request->verb), id, list->count > 0 ? list->names : NULL,
                      list->count, &job);
        if (r < 0) {
                answer_refusal(request, r, id, list);
        } else if (assignments_get(request->keys, "NO_WAIT")) {
                packet_add(answer_begin(request), "JOB", job->id);
                (void) answer_send(request);
        } else {
                begin_to_wait(request, job);
        }
}

void handle_operate(struct request *request) {
        const struct text *names = assignments_get(request->keys, "NAMES");
        struct session *s = request->session;
        struct name_list list = {0};

        if (!s->control->broker->components) {
                answer_error(request, EOPNOTSUPP, "this broker runs no components");
                return;
        }
        if (s->job_wait) { /* nothing is read meanwhile; this is for the fuzzer */
                answer_error(request, EBUSY, "the job before this one is still under way");
                return;
        }
        if (answer_is_outstanding(request))
                return;
        if (names && assignments_get(request->keys, "ALL")) {
                answer_error(request, EINVAL, "%s takes NAMES= or ALL=1, not both",
                             request->verb->name);
                return;
        }
        if (names)
                split_names(&list, *names);
        begin(request, &list);
}
