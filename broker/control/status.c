/*
 * STATUS: one JSON document of what the peer may see. It is written straight into a memfd while the
 * listeners are walked, so its length costs no memory here and no second walk. Ten thousand TCP
 * listeners take about 20 ms; a session gets no second document before it has read the first.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "config/config.h"
#include "control/answer.h"
#include "control/control_private.h"
#include "control/document.h"
#include "control/permission.h"
#include "control/session.h"
#include "sockets/lease.h"
#include "sockets/listener_table.h"
#include "sockets/queue.h"

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
        }
        return "unknown";
}

static void write_queue(struct json_writer *j, int fd) {
        struct queue queue;

        if (queue_read(fd, &queue) < 0) {
                json_none(j, "queue");
                return;
        }
        json_open_object(j, "queue");
        json_u64(j, "length", queue.length);
        json_u64(j, "limit", queue.limit);
        json_u64(j, "drops", queue.drops);
        json_close_object(j);
}

static void write_socket(struct json_writer *j, const struct listener *l,
                         const struct listener_socket *s) {
        char address[ADDRESS_TEXT_SIZE];

        json_open_object(j, NULL);
        json_text(j, "address", address_text(&s->address, address));
        json_text(j, "family", family_name(&s->address));
        json_u64(j, "inode", s->inode);
        json_bool(j, "adopted", s->adopted);
        json_u64(j, "since_usec", s->since_usec);
        json_u64(j, "repairs", s->repairs);
        json_u64(j, "backlog", l->config->backlog);
        write_queue(j, s->fd);
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

static void write_listener(struct json_writer *j, const struct listener *l) {
        const struct lease *lease;

        json_open_object(j, NULL);
        json_text(j, "name", l->name);
        json_text(j, "fd_name", l->config->fd_name);
        json_text(j, "file", l->config->file);
        json_u64(j, "line", l->config->line);
        json_bool(j, "non_blocking", l->config->non_blocking);
        json_open_array(j, "sockets");
        for (size_t i = 0; i < l->n_sockets; i++)
                write_socket(j, l, l->sockets[i]);
        json_close_array(j);
        json_open_array(j, "leases");
        LIST_FOREACH (lease, &l->leases, in_listener)
                write_lease(j, lease);
        json_close_array(j);
        json_close_object(j);
}

/* Facts about the broker itself; how it is set up and what others do is for its operators. */
static void write_broker(struct json_writer *j, struct session *s, uint64_t listeners,
                         uint64_t leases) {
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
        json_u64(j, "listeners", listeners);
        json_u64(j, "leases", leases);
        json_close_object(j);
}

static void write_status(struct json_writer *j, const struct request *request) {
        struct session *s = request->session;
        struct listener_table *table = s->control->broker->listeners;
        const struct listener *only = request->listener, *l;
        uint64_t listeners = 0, leases = 0;

        json_open_object(j, NULL);
        json_u64(j, "schema", 1);
        json_open_array(j, "listeners");
        for (l = only ? only : listener_table_first(table); l;
             l = only ? NULL : listener_table_next(l)) {
                if (!only && !permission_to_see(s, l))
                        continue;
                listeners++;
                leases += l->n_leases;
                write_listener(j, l);
        }
        json_close_array(j);
        write_broker(j, s, listeners, leases);
        json_close_object(j);
}

void handle_status(struct request *request) {
        struct document document;
        size_t size;
        int r, fd;

        if (answer_is_outstanding(request))
                return;
        r = document_begin(&document);
        if (r == 0) {
                write_status(&document.json, request);
                r = document_end(&document, &fd, &size);
        }
        if (r < 0) {
                answer_error(request, -r, "the document cannot be written: %s", strerror(-r));
                return;
        }
        (void) answer_begin(request);
        (void) answer_send_document(request, fd, size);
}
