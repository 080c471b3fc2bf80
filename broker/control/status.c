/*
 * STATUS: one JSON document of what the peer may see. It is written straight into a memfd while the
 * listeners are walked, so its length costs no memory here and no second walk.
 *
 * Asking for the queue of a Unix socket makes the kernel look at all Unix sockets of the machine
 * one by one, so of many all queues are asked for at once, before the walk. What takes longer than
 * a millisecond is cut into pieces, and others are served in between: what changes meanwhile is
 * shown as it is when its turn comes.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "components/census.h"
#include "components/component_table.h"
#include "config/config.h"
#include "control/answer.h"
#include "control/control_private.h"
#include "control/document.h"
#include "control/permission.h"
#include "control/session.h"
#include "control/status.h"
#include "control/status_components.h"
#include "sockets/lease.h"
#include "sockets/listener_table.h"
#include "sockets/queue.h"
#include "sockets/queue_map.h"

/* Of one walk at a time; the loop's other work comes in between. */
#define PIECE_USEC 1000
#define UNIX_MANY 16

static const char *family_name(const struct address *a) {
        switch (a->any.sa_family) {
        case AF_INET:
                return "inet";
        case AF_INET6:
                return "inet6";
        case AF_UNIX:
                return "unix";
        default:
                return "unknown";
        }
}

static const char *how_name(enum lease_how how) {
        switch (how) {
        case LEASE_ACQUIRE:
                return "acquire";
        case LEASE_HAND_BACK:
                return "hand-back";
        case LEASE_GENERATION:
                return "generation";
        }
        return "unknown";
}

static void write_queue(struct json_writer *j, const struct listener_socket *s,
                        const struct queue_map *queues) {
        struct queue queue;
        bool found =
                queues && address_is_unix(&s->address) && queue_map_find(queues, s->inode, &queue);

        if (!found && queue_read(s->fd, &queue) < 0) {
                json_none(j, "queue");
                return;
        }
        json_open_object(j, "queue");
        json_u64(j, "length", queue.length);
        json_u64(j, "limit", queue.limit);
        if (queue.drops == QUEUE_DROPS_UNKNOWN)
                json_none(j, "drops");
        else
                json_u64(j, "drops", queue.drops);
        json_close_object(j);
}

static void write_socket(struct json_writer *j, const struct listener *l,
                         const struct listener_socket *s, const struct queue_map *queues) {
        char address[ADDRESS_TEXT_SIZE];

        json_open_object(j, NULL);
        json_text(j, "address", address_text(&s->address, address));
        json_text(j, "family", family_name(&s->address));
        json_u64(j, "inode", s->inode);
        json_bool(j, "adopted", s->adopted);
        json_u64(j, "since_usec", s->since_usec);
        json_u64(j, "repairs", s->repairs);
        json_u64(j, "backlog", l->config->backlog);
        write_queue(j, s, queues);
        json_close_object(j);
}

static void write_lease(struct json_writer *j, const struct lease *lease) {
        const struct holder *h = lease->holder;

        json_open_object(j, NULL);
        json_u64(j, "pid", (uint64_t) h->pid);
        json_u64(j, "uid", h->uid);
        json_u64(j, "gid", h->gid);
        json_u64(j, "since_usec", lease->since_usec);
        json_text(j, "how", how_name(lease->how));
        json_bool(j, "ready", h->ready);
        json_text(j, "status", h->status);
        json_close_object(j);
}

static void begin_listener(struct json_writer *j, const struct listener *l) {
        json_open_object(j, NULL);
        json_text(j, "name", l->name);
        json_text(j, "fd_name", l->config->fd_name);
        json_text(j, "file", l->config->file);
        json_u64(j, "line", l->config->line);
        json_bool(j, "non_blocking", l->config->non_blocking);
        json_open_array(j, "sockets");
}

/* `l` is NULL when it went away while its sockets were being written. */
static void end_listener(struct json_writer *j, const struct listener *l) {
        const struct lease *lease;

        json_close_array(j);
        json_open_array(j, "leases");
        if (l)
                LIST_FOREACH (lease, &l->leases, in_listener)
                        write_lease(j, lease);
        json_close_array(j);
        json_close_object(j);
}

/* Facts about the broker itself; how it is set up and what others do is for its operators. */
static void write_broker(struct json_writer *j, const struct status_job *job) {
        struct session *s = job->session;
        const struct control *c = s->control;
        bool operates = permission_to_operate(s);

        json_open_object(j, "broker");
        json_text(j, "version", FDPASS_VERSION);
        json_u64(j, "pid", (uint64_t) getpid());
        json_u64(j, "uid", c->uid);
        json_u64(j, "since_usec", c->since_usec);
        json_text(j, "control_socket", c->endpoint.path);
        json_text(j, "config", operates ? c->broker->config_path : NULL);
        json_u64(j, "sessions", operates ? c->n_sessions : s->user->sessions);
        json_u64(j, "listeners", job->listeners);
        json_u64(j, "leases", job->leases);
        json_u64(j, "components", job->components);
        json_close_object(j);
}

/* ---- the walk ---------------------------------------------------------------------------------*/

static void begin_listeners(struct json_writer *j) {
        json_open_object(j, NULL);
        json_u64(j, "schema", 1);
        json_open_array(j, "listeners");
}

static void begin_components(struct status_job *job) {
        json_close_array(&job->document.json);
        json_open_array(&job->document.json, "components");
        job->in_components = true;
        if (!job->named)
                job->last[0] = '\0';
}

static void end_components(struct status_job *job) {
        struct json_writer *j = &job->document.json;

        json_close_array(j);
        write_broker(j, job);
        json_close_object(j);
}

/* The first listener after `last`, which may be gone by now. */
static const struct listener *next_after(const struct listener_table *table, const char *last) {
        const struct listener *l = *last ? listener_table_find(table, last) : NULL;

        if (l)
                return listener_table_next(l);
        l = listener_table_first(table);
        while (l && strcmp(l->name, last) <= 0)
                l = listener_table_next(l);
        return l;
}

static const struct component *next_component(const struct component_table *table,
                                              const char *last) {
        const struct component *c = *last ? component_find(table, last) : NULL;

        if (c)
                return component_next(c);
        c = component_first(table);
        while (c && strcmp(c->name, last) <= 0)
                c = component_next(c);
        return c;
}

/* One component; false when there is none left. */
static bool write_component(struct status_job *job) {
        const struct component_table *table = job->session->control->broker->components;
        const struct component *c = NULL;

        if (table && !job->named)
                c = next_component(table, job->last);
        else if (table && job->named_component)
                c = component_find(table, job->last);
        job->named_component = false; /* it is written once */
        if (!c)
                return false;
        (void) snprintf(job->last, sizeof(job->last), "%s", c->name);
        if (permission_to_see_component(job->session, c)) {
                status_write_component(&job->document.json, c);
                job->components++;
        }
        return true;
}

/* One socket of the listener that is being written, or its end. */
static void write_step(struct status_job *job) {
        const struct listener_table *table = job->session->control->broker->listeners;
        const struct listener *l = listener_table_find(table, job->last);
        struct json_writer *j = &job->document.json;

        if (l && job->next_socket < l->n_sockets) {
                write_socket(j, l, l->sockets[job->next_socket++], job->queues);
                return;
        }
        job->leases += l ? l->n_leases : 0;
        end_listener(j, l);
        job->in_listener = false;
}

static void write_begin(struct status_job *job, const struct listener *l) {
        (void) snprintf(job->last, sizeof(job->last), "%s", l->name);
        if (!permission_to_see(job->session, l))
                return;
        begin_listener(&job->document.json, l);
        job->listeners++;
        job->next_socket = 0;
        job->in_listener = true;
}

/* For at most a piece's time; true when all is written. */
static bool write_piece(struct status_job *job) {
        const struct listener_table *table = job->session->control->broker->listeners;
        uint64_t begin = loop_now_usec();

        while (loop_now_usec() - begin < PIECE_USEC) {
                const struct listener *next;

                if (job->in_components) {
                        if (!write_component(job))
                                return true;
                        continue;
                }
                if (job->reads_queues) {
                        job->reads_queues = queue_map_read(job->queues) == 0;
                        continue;
                }
                if (job->in_listener) {
                        write_step(job);
                        continue;
                }
                next = job->named ? NULL : next_after(table, job->last);
                if (next)
                        write_begin(job, next);
                else
                        begin_components(job);
        }
        return false;
}

/* ---- jobs -------------------------------------------------------------------------------------*/

void status_init(struct status_jobs *jobs) {
        TAILQ_INIT(&jobs->queue);
}

static struct status_job *status_job_new(struct session *s, struct text serial) {
        struct status_queue *queue = &s->control->status.queue;
        struct status_job *job = calloc(1, sizeof(*job)), *first;

        if (!job)
                return NULL;
        job->session = s;
        job->serial = serial_keep(serial);
        s->status = job;
        first = TAILQ_FIRST(queue);
        /* A user who asks and asks makes his own kind wait, not the operator. */
        if (first && permission_is_privileged(s))
                TAILQ_INSERT_AFTER(queue, first, job, entry);
        else
                TAILQ_INSERT_TAIL(queue, job, entry);
        return job;
}

void status_forget(struct session *s) {
        struct status_jobs *jobs = &s->control->status;
        struct status_job *job = s->status;

        if (!job)
                return;
        if (job->begun)
                document_abandon(&job->document);
        queue_map_free(job->queues);
        TAILQ_REMOVE(&jobs->queue, job, entry);
        if (TAILQ_EMPTY(&jobs->queue))
                timer_stop(&jobs->turn);
        s->status = NULL;
        free(job);
}

/* So many, from `l` on, that asking for all at once is cheaper. */
static bool has_many_unix(const struct listener *l, bool only) {
        size_t count = 0;

        for (; l && count < UNIX_MANY; l = only ? NULL : listener_table_next(l))
                for (size_t i = 0; i < l->n_sockets; i++)
                        count += address_is_unix(&l->sockets[i]->address);
        return count >= UNIX_MANY;
}

static int begin(struct status_job *job) {
        const struct listener_table *table = job->session->control->broker->listeners;
        const struct listener *l;
        int r = document_begin(&job->document);

        if (r < 0)
                return r;
        job->begun = true;
        begin_listeners(&job->document.json);
        if (job->named && !job->named_listener)
                return 0;
        l = job->named ? listener_table_find(table, job->last) : listener_table_first(table);
        /* Else they are asked for one by one. */
        job->reads_queues = has_many_unix(l, job->named) && queue_map_new(&job->queues) == 0;
        if (l && job->named) /* else it went away while others were answered */
                write_begin(job, l);
        return 0;
}

/* Answer, and read the session again. The job is freed. */
static void finish(struct status_job *job, int result) {
        struct session *s = job->session;
        const struct request request = {.session = s, .serial = serial_text(&job->serial)};
        size_t size;
        int fd;

        if (result == 0) {
                end_components(job);
                job->begun = false;
                result = document_end(&job->document, &fd, &size);
        }
        if (result < 0) {
                answer_error(&request, -result, "the document cannot be written: %s",
                             strerror(-result));
        } else {
                (void) answer_begin(&request);
                (void) answer_send_document(&request, fd, size);
        }
        status_forget(s);
        outgoing_resume(s);
}

static void next_turn(struct control *c);

static void on_census(void *owner, const char *result, size_t size) {
        struct control *c = owner;

        c->status.census = NULL;
        census_take(c->broker->components, result, size);
        next_turn(c);
}

/* How many connections each component serves is found out by a child; nobody else waits. */
static bool starts_counting(struct status_job *job) {
        struct control *c = job->session->control;

        job->counted = true;
        if (job->named_listener && !job->named_component)
                return false;
        if (!c->status.census && c->broker->components) /* else it is for one that is gone */
                (void) census_start(&c->status.census, c->broker->components, on_census, c);
        return c->status.census;
}

/* One piece of the first job's work; true when it is done with. */
static bool work(struct status_job *job) {
        int r;

        if (!job->counted && starts_counting(job))
                return false;
        r = job->begun ? 0 : begin(job);
        if (r == 0 && !write_piece(job))
                return false;
        finish(job, r);
        return true;
}

static void on_turn(void *owner);

static void next_turn(struct control *c) {
        if (!TAILQ_EMPTY(&c->status.queue) && !c->status.census)
                timer_start(&c->status.turn, c->broker->loop, 0, on_turn, c);
}

static void on_turn(void *owner) {
        struct control *c = owner;
        struct session *s = TAILQ_FIRST(&c->status.queue)->session;

        if (work(s->status) && s->state == SESSION_ENDING)
                session_end(s);
        next_turn(c);
}

void handle_status(struct request *request) {
        struct control *c = request->session->control;
        bool first = TAILQ_EMPTY(&c->status.queue);
        struct status_job *job;

        if (answer_is_outstanding(request))
                return;
        if (request->session->status) { /* nothing is read meanwhile; this is for the fuzzer */
                answer_error(request, EBUSY, "the STATUS before this one is still being written");
                return;
        }
        job = status_job_new(request->session, request->serial);
        if (!job) {
                answer_error(request, ENOMEM, "the broker is out of memory");
                return;
        }
        job->named_listener = request->listener;
        job->named_component = request->component;
        job->named = job->named_listener || job->named_component;
        if (job->named)
                (void) snprintf(job->last, sizeof(job->last), "%s",
                                request->listener ? request->listener->name
                                                  : request->component->name);
        /* Nearly always this is all of it. */
        if (first && work(job))
                return;
        outgoing_resume(request->session);
        next_turn(c);
}
