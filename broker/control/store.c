/*
 * The verbs of the fd store.
 *
 * STORE is answered when the keeper has everything: who hears OK may close its own copies and die.
 * TAKE only shows: descriptors are on their way until the receiver has them, so the broker lets go
 * when the receiver says TAKEN. A client that died in between, or a broker, has lost nothing: the
 * next TAKE gets the same again, and a TAKEN that is repeated finds nothing left to do.
 */
#include "control/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "control/answer.h"
#include "control/component_store.h"
#include "control/control_private.h"
#include "control/descriptor.h"
#include "control/document.h"
#include "control/lending.h"
#include "control/permission.h"
#include "control/session.h"
#include "keeper/memory.h"

/* A STORE that is not known to be kept yet. */
struct store_answer {
        struct settlement settlement;
        struct session *session; /* NULL: it has ended */
        struct stored *old;      /* what had the name before; NULL: nothing */
        struct stored_key key;   /* of the new one, */
        char id[STATE_ID_SIZE];  /* which may have been replaced or taken meanwhile */
        struct serial serial;
};

static struct stored_table *table_of(const struct request *request) {
        return &request->session->control->stored;
}

static struct stored *find_own(const struct request *request) {
        return stored_find(table_of(request), request->session->peer.uid,
                           *assignments_get(request->keys, "NAME"));
}

static void answer_none(const struct request *request) {
        const struct text *name = assignments_get(request->keys, "NAME");

        answer_error(request, ENOENT, "nothing is stored under the name %.*s for this user",
                     (int) name->length, name->start);
}

/* ---- STORE: may it be kept? -------------------------------------------------------------------*/

static bool check_descriptors(const struct request *request, const struct fd_list *fds,
                              uint64_t size) {
        const char *path = request->session->control->endpoint.path, *reason;
        size_t n = size > 0 ? fds->count - 1 : fds->count;

        for (size_t i = 0; i < n; i++) {
                reason = descriptor_refusal(fds->fds[i], path);
                if (!reason)
                        continue;
                answer_error(request, EINVAL, "descriptor %zu cannot be stored: it is %s", i + 1,
                             reason);
                return false;
        }
        reason = size > 0 ? descriptor_data_refusal(fds->fds[n], size) : NULL;
        if (reason)
                answer_error(request, EINVAL,
                             "with SIZE= the last descriptor is a sealed memfd with the data, and "
                             "this one is %s",
                             reason);
        return !reason;
}

static bool check_size(const struct request *request, uint64_t size) {
        if (size <= STORED_DATA_MAX && (size > 0 || !assignments_get(request->keys, "SIZE")))
                return true;
        answer_error(request, EINVAL, "STORE: SIZE= is from 1 to %d; leave it out without data",
                     STORED_DATA_MAX);
        return false;
}

static bool fits(uint64_t used, uint64_t more, uint64_t limit) {
        return used + more <= limit;
}

static bool check_quota(const struct request *request, size_t n_fds, uint64_t size) {
        const struct limits *l = &request->session->control->broker->limits;
        const struct stored_table *t = table_of(request);
        const struct stored *old = find_own(request);
        struct stored_sum user = stored_sum_of_user(t, request->session->peer.uid, old);

        if (!fits(stored_sum_of_all(t, old).fds, n_fds, l->stored)) {
                answer_error(request, EDQUOT,
                             "all users together have stored %u descriptors, "
                             "which is the limit (StoredMax=)",
                             l->stored);
                return false;
        }
        if (permission_is_privileged(request->session))
                return true;
        if (!fits(user.fds, n_fds, l->stored_per_user))
                answer_error(request, EDQUOT,
                             "this user may store %u descriptors (StoredPerUserMax=)",
                             l->stored_per_user);
        else if (!fits(user.bytes, size, l->stored_bytes_per_user))
                answer_error(request, EDQUOT,
                             "this user may store %u bytes of data (StoredBytesPerUserMax=)",
                             l->stored_bytes_per_user);
        else
                return true;
        return false;
}

/* ---- STORE: keep it ---------------------------------------------------------------------------*/

static void send_store_answer(struct session *s, struct text serial) {
        const struct request request = {.session = s, .serial = serial};

        (void) answer_begin(&request);
        (void) answer_send(&request);
}

static void refuse_full(struct session *s, struct text serial) {
        const struct request request = {.session = s, .serial = serial};

        answer_error(&request, EDQUOT,
                     "it cannot be kept: systemd's fd store is full (FileDescriptorStoreMax= of "
                     "the broker's unit)");
}

/* As before it, if it is still there. */
static bool undo(struct control *c, struct store_answer *a) {
        struct stored *none, *now = stored_find(&c->stored, a->key.uid,
                                                (struct text){a->key.name, strlen(a->key.name)});

        if (!now || strcmp(now->id, a->id) != 0)
                return false;
        stored_remove(&c->stored, now);
        stored_discard(&c->stored, now);
        if (a->old && stored_insert(&c->stored, a->old, &none) == 0)
                a->old = NULL;
        return true;
}

static void on_kept(struct control *c, struct settlement *settlement) {
        struct store_answer *a = (struct store_answer *) settlement;
        struct session *s = a->session;

        bool kept = !memory_is_full(c->broker->memory) || !undo(c, a);

        stored_discard(&c->stored, a->old);
        if (s) {
                s->awaited = NULL;
                if (kept)
                        send_store_answer(s, serial_text(&a->serial));
                else
                        refuse_full(s, serial_text(&a->serial));
                outgoing_flush(s); /* it is read again */
                if (s->state == SESSION_ENDING)
                        session_end(s);
        }
        free(a);
}

void store_forget(struct session *s) {
        if (s->awaited)
                s->awaited->session = NULL;
        s->awaited = NULL;
}

static struct store_answer *answer_new(const struct request *request) {
        struct store_answer *a = calloc(1, sizeof(*a));

        if (!a)
                return NULL;
        a->settlement.done = on_kept;
        a->serial = serial_keep(request->serial);
        return a;
}

static int put(const struct request *request, struct fd_list *fds, uint64_t size,
               struct store_answer *a) {
        struct stored *stored;
        const struct stored_key key =
                stored_key(request->session->peer.uid, *assignments_get(request->keys, "NAME"));
        int r = stored_new(&key, size, fds, &stored);

        if (r < 0)
                return r;
        r = stored_put(table_of(request), stored, &a->old);
        if (r < 0) {
                stored_discard(table_of(request), stored);
                return r;
        }
        a->key = stored->key;
        (void) strcpy(a->id, stored->id);
        return 0;
}

void handle_store(struct request *request) {
        struct session *s = request->session;
        struct fd_list *fds = &s->control->message.fds;
        uint64_t size = assignments_u64(request->keys, "SIZE", 0);
        struct store_answer *a;
        int r;

        if (!check_size(request, size) || !check_descriptors(request, fds, size) ||
            !check_quota(request, fds->count, size))
                return;
        a = answer_new(request);
        r = a ? put(request, fds, size, a) : -ENOMEM;
        if (r < 0) {
                free(a);
                answer_error(request, -r, "it cannot be kept: %s", strerror(-r));
                return;
        }
        if (!s->control->broker->memory) {
                stored_discard(table_of(request), a->old);
                free(a);
                send_store_answer(s, request->serial);
                return;
        }
        a->session = s;
        s->awaited = a;
        settling_add(&s->control->settling, &a->settlement);
        if (s->awaited)
                outgoing_flush(s); /* it is not read meanwhile */
}

/* ---- TAKE and TAKEN ---------------------------------------------------------------------------*/

static int send_entry(struct session *s, const struct stored *stored, struct text serial) {
        const struct request request = {.session = s, .serial = serial};
        struct packet_writer *w = answer_begin(&request);

        packet_add(w, "NAME", stored->key.name);
        packet_add_u64(w, "FDS", stored->n_fds);
        if (stored->size > 0)
                packet_add_u64(w, "SIZE", stored->size);
        packet_add(w, "ACK", stored->id);
        return outgoing_try(s, w->data, w->size, stored->fds, stored->n_fds);
}

int store_continue(struct session *s, struct lending *rest) {
        const struct text name = {rest->name, strlen(rest->name)};
        const struct stored *stored = stored_find(&s->control->stored, s->peer.uid, name);

        /* What has the name now may be another entry, which somebody else takes. */
        return stored && stored->taker == s ? send_entry(s, stored, serial_text(&rest->serial))
                                            : -ECANCELED;
}

static int queue_entry(const struct request *request, const struct stored *stored) {
        struct lending *rest = calloc(1, sizeof(*rest));

        if (!rest)
                return -ENOMEM;
        rest->is_stored = true;
        memcpy(rest->name, stored->key.name, sizeof(rest->name));
        rest->serial = serial_keep(request->serial);
        return outgoing_put_lending(request->session, rest);
}

void handle_take(struct request *request) {
        struct stored *stored = find_own(request);
        struct session *s = request->session;
        int r = -EAGAIN;

        if (!stored) {
                answer_none(request);
                return;
        }
        if (stored->taker && stored->taker != s) {
                answer_error(request, EBUSY,
                             "%s is being taken by another process (pid %d), which has not "
                             "acknowledged it: try again",
                             stored->key.name, (int) stored->taker->peer.pid);
                return;
        }
        stored_begin_taking(stored, s);
        if (outgoing_is_empty(&s->outgoing))
                r = send_entry(s, stored, request->serial);
        if (r == -EAGAIN)
                r = queue_entry(request, stored);
        if (r < 0 && !answer_unsendable(request, r))
                s->state = SESSION_ENDING;
}

void handle_taken(struct request *request) {
        struct stored *stored = find_own(request);

        /* The receiver has them, whether or not it will hear the answer. */
        if (stored && text_equal(*assignments_get(request->keys, "ACK"), stored->id)) {
                stored_remove(table_of(request), stored);
                stored_discard(table_of(request), stored);
        }
        (void) answer_begin(request);
        (void) answer_send(request);
}

/* ---- DROP and STORED --------------------------------------------------------------------------*/

/* All that it stored under the name. */
static void drop_of_component(const struct request *request, struct text component) {
        const struct text *name = assignments_get(request->keys, "NAME");

        if (!permission_to_operate(request->session))
                answer_error(request, EACCES,
                             "what components stored is dropped by operators of the broker: see "
                             "Operators= in [Broker]");
        else if (assignments_get(request->keys, "UID"))
                answer_error(request, EINVAL, "DROP takes UID= or COMPONENT=, not both");
        else if (component_store_drop(table_of(request), component, *name) == 0)
                answer_error(request, ENOENT,
                             "the component %.*s has stored nothing under the name %.*s",
                             (int) component.length, component.start, (int) name->length,
                             name->start);
        else {
                (void) answer_begin(request);
                (void) answer_send(request);
        }
}

void handle_drop(struct request *request) {
        const struct text *component = assignments_get(request->keys, "COMPONENT");
        struct session *s = request->session;
        uint64_t uid = assignments_u64(request->keys, "UID", s->peer.uid);
        struct stored *stored;

        if (component) {
                drop_of_component(request, *component);
                return;
        }
        if (uid != s->peer.uid && !permission_to_operate(s)) {
                answer_error(request, EACCES,
                             "what others stored is dropped by operators of the broker: see "
                             "Operators= in [Broker]");
                return;
        }
        stored = uid > UINT32_MAX ? NULL
                                  : stored_find(table_of(request), (uid_t) uid,
                                                *assignments_get(request->keys, "NAME"));
        if (!stored) {
                answer_none(request);
                return;
        }
        (void) answer_begin(request);
        if (answer_send(request) < 0)
                return;
        stored_remove(table_of(request), stored);
        stored_discard(table_of(request), stored);
}

static void write_entry(struct json_writer *j, const struct stored *stored) {
        const char *component = stored->key.component;

        json_open_object(j, NULL);
        json_text(j, "name", stored->key.name);
        json_text(j, "component", *component ? component : NULL);
        if (*component)
                json_none(j, "uid");
        else
                json_u64(j, "uid", stored->key.uid);
        json_u64(j, "descriptors", stored->n_fds);
        json_u64(j, "bytes", stored->size);
        json_u64(j, "since_usec", stored->since_usec);
        json_close_object(j);
}

static void write_stored(struct json_writer *j, struct session *s) {
        bool operates = permission_to_operate(s);

        json_open_object(j, NULL);
        json_u64(j, "schema", 1);
        json_open_array(j, "stored");
        for (const struct stored *one = s->control->stored.entries; one; one = one->hh.next)
                if (operates || (one->key.uid == s->peer.uid && !one->key.component[0]))
                        write_entry(j, one);
        json_close_array(j);
        json_close_object(j);
}

void handle_stored(struct request *request) {
        struct document document;
        size_t size;
        int r, fd;

        if (answer_is_outstanding(request))
                return;
        r = document_begin(&document);
        if (r == 0) {
                write_stored(&document.json, request->session);
                r = document_end(&document, &fd, &size);
        }
        if (r < 0) {
                answer_error(request, -r, "the document cannot be written: %s", strerror(-r));
                return;
        }
        (void) answer_begin(request);
        (void) answer_send_document(request, fd, size);
}
