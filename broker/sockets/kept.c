/*
 * Records of sockets, holders and leases. A lease names its holder by the holder's id and its
 * listener by name, as configuration and protocol do; sockets are found again by address.
 */
#include "sockets/kept.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "core/clock.h"
#include "core/inherited.h"
#include "core/log.h"
#include "core/process.h"
#include "keeper/memory.h"
#include "keeper/record.h"
#include "names.h"
#include "sockets/holder_private.h"
#include "sockets/listener_table_private.h"
#include "sockets/options_pool.h"

#define KIND_SOCKET "socket"
#define ID_SOCKET 'l'
#define KIND_HOLDER "holder"
#define KIND_LEASE "lease"

static const char *const socket_keys[] = {"RECORD", "LISTENER", "ADDRESS", "ADOPTED",
                                          "SINCE",  "REPAIRS",  "OPTIONS", NULL};
static const char *const holder_keys[] = {"RECORD", "PID", "UID", "GID", "READY", "STATUS", NULL};
static const char *const lease_keys[] = {"RECORD", "HOLDER", "LISTENER", "SINCE", "HOW", NULL};

static const struct record_kind socket_record = {KIND_SOCKET, ID_SOCKET, socket_keys};
static const struct record_kind holder_record = {KIND_HOLDER, 'h', holder_keys};
static const struct record_kind lease_record = {KIND_LEASE, 'e', lease_keys};

/* HOW of a lease; without it, or with another word: by ACQUIRE. */
static const struct {
        enum lease_how how;
        const char *word;
} hows[] = {{LEASE_HAND_BACK, "hand-back"}, {LEASE_GENERATION, "generation"}};

#define N_HOWS (sizeof(hows) / sizeof(hows[0]))

/* ---- sockets -----------------------------------------------------------------------------------
 */

static void store(struct memory *m, struct log *log, const char *id, int fd, const char *what) {
        int r = memory_put_fd(m, id, fd);

        if (r < 0)
                log_error(log, NULL, "%s cannot be stored: %s; it would be lost in a crash", what,
                          strerror(-r));
}

static bool keep_socket(struct listener_socket *s) {
        struct listener_table *t = s->listener->table;
        struct packet_writer *w = record_new(t->memory, &socket_record);
        char address[ADDRESS_TEXT_SIZE];

        if (w) {
                packet_add(w, "LISTENER", s->listener->name);
                packet_add(w, "ADDRESS", address_text(&s->address, address));
                packet_add_u64(w, "ADOPTED", s->adopted);
                packet_add_u64(w, "SINCE", s->since_usec);
                packet_add_u64(w, "REPAIRS", s->repairs);
                if (s->options && s->options->id[0])
                        packet_add(w, "OPTIONS", s->options->id);
        }
        return record_keep(t->memory, t->log, &socket_record, w, s->id, s->listener->name);
}

bool kept_socket_write(struct listener_socket *s) {
        bool fresh = s->id[0] == '\0';

        return keep_socket(s) && fresh;
}

void kept_socket_store(struct listener_socket *s) {
        struct listener_table *t = s->listener->table;

        store(t->memory, t->log, s->id, s->fd, s->listener->name);
}

void kept_socket_put(struct listener_socket *s) {
        if (kept_socket_write(s))
                kept_socket_store(s);
}

void kept_socket_replace(struct listener_socket *s) {
        struct listener_table *t = s->listener->table;

        if (!t->memory || !s->id[0])
                return;
        (void) keep_socket(s);
        kept_socket_store(s);
}

void kept_socket_remove(struct listener_socket *s) {
        record_remove(s->listener->table->memory, s->id);
}

bool kept_socket_restore(struct listener_table *t, struct listener_socket *s, const char *listener,
                         const char *id) {
        const struct text *options, *name;
        char options_id[STATE_ID_SIZE];
        struct assignments a;

        if (!t->memory || strlen(id) >= sizeof(s->id) || !memory_get(t->memory, id, &a))
                return false;
        (void) strcpy(s->id, id);
        s->adopted = record_u64(&a, "ADOPTED") != 0;
        s->since_usec = record_u64(&a, "SINCE");
        s->repairs = record_u64(&a, "REPAIRS");
        options = assignments_get(&a, "OPTIONS");
        if (options && options->length < sizeof(options_id)) {
                memcpy(options_id, options->start, options->length);
                options_id[options->length] = '\0';
                s->options = options_pool_find(t->options, options_id);
        }
        name = assignments_get(&a, "LISTENER");
        return name && text_equal(*name, listener) && s->options;
}

/* ---- giving sockets back -----------------------------------------------------------------------
 */

/* NULL when it is the socket that the record is about. A shut-down one is: it will be mended. */
static const char *mismatch(int fd, const struct assignments *a) {
        const struct text *expected = assignments_get(a, "ADDRESS");
        char text[ADDRESS_TEXT_SIZE];
        struct address address;

        if (address_of_socket(fd, &address) < 0)
                return "it is no socket";
        if (address.type != SOCK_STREAM)
                return "it is no stream socket";
        if (!expected || !text_equal(*expected, address_text(&address, text)))
                return "it has another address";
        return NULL;
}

static int give_socket(struct memory *m, struct inherited *inherited, const char *id,
                       struct log *log) {
        const struct text *name;
        char listener[NAME_LENGTH_MAX + 1];
        struct assignments a;
        const char *reason;
        int fd;

        if (!memory_get(m, id, &a))
                return 0;
        name = assignments_get(&a, "LISTENER");
        if (!name || !name_is_valid(name->start, name->length))
                return memory_disown(m, id, inherited); /* told of when nobody claims it */
        memcpy(listener, name->start, name->length);
        listener[name->length] = '\0';
        fd = memory_peek_fd(m, id);
        if (fd < 0) {
                log_warning(
                        log, ABOUT(.listener = listener),
                        "listener %s: its record was kept and its socket was not; it is bound anew",
                        listener);
                memory_remove(m, id);
                return 0;
        }
        reason = mismatch(fd, &a);
        if (!reason)
                return inherited_put_kept_fd(inherited, listener, id, memory_take_fd(m, id));
        log_error(log, ABOUT(.listener = listener),
                  "listener %s: the descriptor kept for it is not its socket: %s; it stays open as "
                  "%s until the listener has a socket, and after that if it listens",
                  listener, reason, id);
        return memory_disown(m, id, inherited);
}

int kept_give_sockets(struct memory *m, struct inherited *inherited, struct log *log) {
        const char *id, *next;
        int r = 0;

        for (id = memory_first(m, KIND_SOCKET); id && r == 0; id = next) {
                next = memory_next(m, KIND_SOCKET, id);
                r = give_socket(m, inherited, id, log);
        }
        return r;
}

static int put_unclaimed(struct memory *m, struct inherited *inherited, size_t index) {
        char id[STATE_ID_SIZE], text[ADDRESS_TEXT_SIZE];
        struct packet_writer *w;
        struct address address;
        int fd = inherited_peek_fd(inherited, index), r = address_of_socket(fd, &address);

        if (r < 0)
                return r;
        (void) snprintf(id, sizeof(id), "%s", inherited_name(inherited, index));
        w = record_new(m, &socket_record);
        if (w) {
                packet_add(w, "LISTENER", id);
                packet_add(w, "ADDRESS", address_text(&address, text));
                packet_add_u64(w, "SINCE", clock_realtime_usec());
        }
        r = record_put(m, &socket_record, w, id);
        if (r == 0)
                r = memory_put_fd(m, id, fd);
        if (r < 0)
                return r;
        return inherited_put_kept_fd(inherited, id, id, inherited_take_fd(inherited, index));
}

void kept_put_unclaimed(struct memory *m, struct inherited *inherited, struct log *log) {
        for (size_t i = inherited_count(inherited); i-- > 0;) {
                const char *name = inherited_name(inherited, i);
                int listening = 0, r;
                socklen_t size = sizeof(listening);

                if (inherited_id(inherited, i) || name[0] != ID_SOCKET ||
                    !memory_is_nameless(m, name) ||
                    getsockopt(inherited_peek_fd(inherited, i), SOL_SOCKET, SO_ACCEPTCONN,
                               &listening, &size) < 0 ||
                    !listening)
                        continue;
                r = put_unclaimed(m, inherited, i);
                if (r < 0)
                        log_error(log, NULL,
                                  "the socket %s cannot be remembered: %s; it would not be known "
                                  "again after a crash",
                                  name, strerror(-r));
        }
}

/* ---- holders and leases ------------------------------------------------------------------------
 */

void kept_holder_put(struct holder *h) {
        struct memory *m = h->table->memory;
        bool fresh = h->id[0] == '\0';
        struct packet_writer *w = record_new(m, &holder_record);

        if (w) {
                packet_add_u64(w, "PID", (uint64_t) h->pid);
                packet_add_u64(w, "UID", h->uid);
                packet_add_u64(w, "GID", h->gid);
                packet_add_u64(w, "READY", h->ready);
                packet_add(w, "STATUS", h->status);
        }
        if (record_keep(m, h->table->log, &holder_record, w, h->id, "a holder") && fresh)
                store(m, h->table->log, h->id, h->pidfd, "a holder's pidfd");
}

void kept_holder_remove(struct holder *h) {
        if (h->table)
                record_remove(h->table->memory, h->id);
}

void kept_lease_put(struct lease *l) {
        struct memory *m = l->holder->table->memory;
        struct packet_writer *w;

        if (!l->holder->id[0])
                kept_holder_put(l->holder);
        w = record_new(m, &lease_record);
        if (w) {
                packet_add(w, "HOLDER", l->holder->id);
                packet_add(w, "LISTENER", l->listener->name);
                packet_add_u64(w, "SINCE", l->since_usec);
                for (size_t k = 0; k < N_HOWS; k++)
                        if (l->how == hows[k].how)
                                packet_add(w, "HOW", hows[k].word);
        }
        (void) record_keep(m, l->holder->table->log, &lease_record, w, l->id, "a lease");
}

void kept_lease_remove(struct lease *l) {
        record_remove(l->holder->table->memory, l->id);
}

/* A holder that was restored, by its id, for its leases to find. */
struct restored {
        const char *id;
        struct holder *holder;
        UT_hash_handle hh;
};

static struct holder *restore_holder(struct listener_table *t, const char *id) {
        const struct text *status;
        struct assignments a;
        struct holder *h;
        int fd = memory_take_fd(t->memory, id);

        if (fd < 0 || !memory_get(t->memory, id, &a) || process_has_ended(fd) != 0) {
                close_fd(fd);
                return NULL;
        }
        if (holder_get(t->holders, fd, (pid_t) record_u64(&a, "PID"), (uid_t) record_u64(&a, "UID"),
                       (gid_t) record_u64(&a, "GID"), &h) < 0)
                return NULL;
        status = assignments_get(&a, "STATUS");
        h->ready = record_u64(&a, "READY") != 0;
        if (status && status->length < sizeof(h->status))
                memcpy(h->status, status->start, status->length);
        (void) strcpy(h->id, id);
        return h;
}

static struct restored *restore_holders(struct listener_table *t) {
        struct restored *all = NULL, *one;
        const char *id, *next;

        for (id = memory_first(t->memory, KIND_HOLDER); id; id = next) {
                next = memory_next(t->memory, KIND_HOLDER, id);
                one = calloc(1, sizeof(*one));
                if (one)
                        one->holder = restore_holder(t, id);
                if (!one || !one->holder) {
                        free(one);
                        memory_remove(t->memory, id);
                        continue;
                }
                one->id = one->holder->id;
                HASH_ADD_KEYPTR(hh, all, one->id, strlen(one->id), one);
        }
        return all;
}

static bool restore_lease(struct listener_table *t, struct restored *holders, const char *id) {
        const struct text *holder, *name, *how;
        char listener[NAME_LENGTH_MAX + 1];
        struct restored *found = NULL;
        struct assignments a;
        struct listener *l;
        struct lease *lease;
        uint64_t since;

        if (!memory_get(t->memory, id, &a))
                return false;
        holder = assignments_get(&a, "HOLDER");
        name = assignments_get(&a, "LISTENER");
        how = assignments_get(&a, "HOW");
        since = record_u64(&a, "SINCE");
        if (!holder || !name || name->length > NAME_LENGTH_MAX)
                return false;
        HASH_FIND(hh, holders, holder->start, holder->length, found);
        memcpy(listener, name->start, name->length);
        listener[name->length] = '\0';
        l = listener_table_find(t, listener);
        if (!found || !l || lease_restore(found->holder, l, id, &lease) < 0)
                return false;
        lease->since_usec = since;
        for (size_t k = 0; how && k < N_HOWS; k++)
                if (text_equal(*how, hows[k].word))
                        lease->how = hows[k].how;
        return true;
}

void kept_restore_leases(struct listener_table *t) {
        struct restored *holders, *one, *tmp;
        const char *id, *next;
        size_t n = 0;

        if (!t->memory)
                return;
        holders = restore_holders(t);
        for (id = memory_first(t->memory, KIND_LEASE); id; id = next) {
                next = memory_next(t->memory, KIND_LEASE, id);
                if (restore_lease(t, holders, id))
                        n++;
                else
                        memory_remove(t->memory, id);
        }
        HASH_ITER (hh, holders, one, tmp) {
                HASH_DEL(holders, one);
                holder_put(one->holder); /* gone, with its record, when no lease of it came back */
                free(one);
        }
        if (n > 0)
                log_info(t->log, NULL, "leases known again: %zu", n);
}
