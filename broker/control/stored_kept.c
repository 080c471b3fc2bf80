/*
 * Records of stored entries. Each descriptor has a record (and so an id in the fd store) of its
 * own, which names its entry; the entry's record comes last and says how many there must be. An
 * entry that is not whole when a broker starts was never acknowledged to who stored it.
 *
 * systemd keeps one file description once and quietly forgets it under every other id, so that of
 * two descriptors that lead to the same, which anybody may store, one would be lost. It gets a box
 * instead: a socket in whose queue all descriptors of the entry lie, as one packet, which is looked
 * at and never taken out. That is one descriptor of FileDescriptorStoreMax= for each entry, too.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "control/control_private.h"
#include "control/stored.h"
#include "keeper/memory.h"
#include "keeper/record.h"

#define KIND_STORED "stored"
#define KIND_STORED_FD "stored_fd"

static const char *const stored_keys[] = {"RECORD",    "OWNER", "NAME", "FDS",  "SIZE", "SINCE",
                                          "COMPONENT", "PART",  "BOX",  "POLL", NULL};
static const char *const stored_fd_keys[] = {"RECORD", "ENTRY", "INDEX", NULL};

static const struct record_kind stored_record = {KIND_STORED, 's', stored_keys};
static const struct record_kind stored_fd_record = {KIND_STORED_FD, 'f', stored_fd_keys};

/* ---- writing ----------------------------------------------------------------------------------*/

static int keep_fd(struct memory *m, struct stored *s, size_t index) {
        struct packet_writer *w = record_new(m, &stored_fd_record);
        int r;

        if (w) {
                packet_add(w, "ENTRY", s->id);
                packet_add_u64(w, "INDEX", index);
        }
        r = record_put(m, &stored_fd_record, w, s->ids[index]);
        return r < 0 ? r : memory_put_fd(m, s->ids[index], s->fds[index]);
}

static int keep_entry(struct memory *m, struct stored *s) {
        struct packet_writer *w = record_new(m, &stored_record);

        if (!w)
                return -ENOMEM;
        packet_add_u64(w, "OWNER", s->key.uid);
        packet_add(w, "NAME", s->key.name);
        packet_add_u64(w, "FDS", s->n_fds);
        packet_add_u64(w, "SIZE", s->size);
        packet_add_u64(w, "SINCE", s->since_usec);
        if (s->key.component[0]) {
                packet_add(w, "COMPONENT", s->key.component);
                packet_add_u64(w, "PART", s->key.part);
        }
        if (s->box_fd >= 0)
                packet_add(w, "BOX", "1");
        if (s->is_polled)
                packet_add(w, "POLL", "1");
        return record_put(m, &stored_record, w, s->id);
}

static int make_box(struct stored *s) {
        _cleanup_close_ int box = -1, sender = -1;
        int ends[2], r;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
                return -errno;
        box = ends[0];
        sender = ends[1];
        r = message_send(sender, s->id, strlen(s->id), s->fds, s->n_fds);
        if (r == 0)
                s->box_fd = take_fd(&box);
        return r;
}

static int keep_box(struct memory *m, struct stored *s) {
        int r = make_box(s);

        if (r == 0)
                r = keep_entry(m, s);
        return r < 0 ? r : memory_put_fd(m, s->id, s->box_fd);
}

static int keep_each(struct memory *m, struct stored *s) {
        int r = 0;

        for (size_t i = 0; r == 0 && i < s->n_fds; i++)
                r = keep_fd(m, s, i);
        return r < 0 ? r : keep_entry(m, s);
}

int stored_keep(struct memory *m, struct stored *s) {
        bool boxed = memory_outlives_us(m);
        int r;

        /* Before its record, because its descriptors name it. 'f': with a descriptor of its own. */
        memory_new_id(m, boxed ? 'f' : stored_record.letter, s->id);
        r = boxed ? keep_box(m, s) : keep_each(m, s);
        if (r < 0)
                stored_forget(m, s);
        return r;
}

void stored_forget(struct memory *m, struct stored *s) {
        memory_remove(m, s->id);
        s->box_fd = close_fd(s->box_fd); /* never the last to have them: that is in s->fds */
        for (size_t i = 0; i < s->n_fds; i++)
                record_remove(m, s->ids[i]);
}

/* ---- reading ----------------------------------------------------------------------------------*/

static bool read_key(const struct assignments *a, struct stored_key *ret) {
        const struct text *name = assignments_get(a, "NAME");
        const struct text *component = assignments_get(a, "COMPONENT");

        if (!name || !name_is_valid(name->start, name->length))
                return false;
        if (component && !name_is_valid(component->start, component->length))
                return false;
        *ret = stored_key((uid_t) record_u64(a, "OWNER"), *name);
        if (component) {
                memcpy(ret->component, component->start, component->length);
                ret->part = (unsigned) record_u64(a, "PART");
        }
        return true;
}

/* An entry without its descriptors; NULL for a record that makes no sense. */
static struct stored *read_entry(struct memory *m, const char *id) {
        struct stored_key key;
        struct assignments a;
        struct stored *s;
        size_t n;

        if (strlen(id) >= STATE_ID_SIZE || !memory_get(m, id, &a))
                return NULL;
        n = record_u64(&a, "FDS");
        if (!read_key(&a, &key) || n == 0 || n > FD_LIST_MAX)
                return NULL;
        s = calloc(1, sizeof(*s));
        if (!s)
                return NULL;
        s->box_fd = -1;
        s->fds = malloc(n * sizeof(*s->fds));
        s->ids = calloc(n, sizeof(*s->ids));
        if (!s->fds || !s->ids) {
                stored_free(s);
                return NULL;
        }
        memset(s->fds, -1, n * sizeof(*s->fds));
        if (assignments_get(&a, "BOX"))
                s->box_fd = memory_take_fd(m, id);
        s->n_fds = n;
        s->is_polled = assignments_get(&a, "POLL");
        s->key = key;
        s->size = record_u64(&a, "SIZE");
        s->since_usec = record_u64(&a, "SINCE");
        (void) strcpy(s->id, id);
        return s;
}

/* What is not in it is missing, which is_whole() finds. */
static void open_box(struct control *c, struct stored *s) {
        struct message *m = &c->message;
        int r = s->box_fd < 0 ? -ENOENT : message_receive_copy(s->box_fd, m);

        if (r > 0 && m->fds.count == s->n_fds)
                for (size_t i = 0; i < s->n_fds; i++)
                        s->fds[i] = fd_list_take_fd(&m->fds, i);
        if (r != -ENOENT)
                message_clear(m);
}

/* By id, for their descriptors to find. */
static struct stored *read_entries(struct control *c, struct memory *m) {
        struct stored *all = NULL, *s;
        const char *id, *next;

        for (id = memory_first(m, KIND_STORED); id; id = next) {
                next = memory_next(m, KIND_STORED, id);
                s = read_entry(m, id);
                if (s) {
                        open_box(c, s);
                        HASH_ADD_STR(all, id, s);
                }
                if (s && s->hh.tbl)
                        continue;
                stored_free(s);
                memory_remove(m, id);
        }
        return all;
}

/* False when it belongs to no entry. */
static bool read_fd(struct memory *m, struct stored *all, const char *id) {
        const struct text *entry;
        struct stored *s = NULL;
        struct assignments a;
        size_t index;

        if (strlen(id) >= STATE_ID_SIZE || !memory_get(m, id, &a))
                return false;
        entry = assignments_get(&a, "ENTRY");
        index = record_u64(&a, "INDEX");
        if (entry)
                HASH_FIND(hh, all, entry->start, entry->length, s);
        if (!s || index >= s->n_fds || s->ids[index][0])
                return false;
        (void) strcpy(s->ids[index], id);
        s->fds[index] = memory_take_fd(m, id);
        return true;
}

static void read_fds(struct control *c, struct memory *m, struct stored *all) {
        const char *id, *next;

        for (id = memory_first(m, KIND_STORED_FD); id; id = next) {
                int fd;

                next = memory_next(m, KIND_STORED_FD, id);
                if (read_fd(m, all, id))
                        continue;
                fd = memory_take_fd(m, id);
                memory_remove(m, id);
                disposal_put_fds(c, &fd, 1);
        }
}

static bool is_whole(const struct stored *s) {
        for (size_t i = 0; i < s->n_fds; i++)
                if (s->fds[i] < 0)
                        return false;
        return true;
}

static void say_not_whole(struct log *log, const struct stored *s) {
        if (s->key.component[0])
                log_warning(log, ABOUT(.component = s->key.component),
                            "what the component %s stored as %s was not kept whole and is dropped",
                            s->key.component, s->key.name);
        else
                log_warning(log, ABOUT(.has_uid = true, .uid = s->key.uid),
                            "what uid %u stored as %s was not kept whole and is dropped; it had "
                            "not been acknowledged",
                            (unsigned) s->key.uid, s->key.name);
}

int stored_load(struct stored_table *t, struct memory *m, struct log *log) {
        struct stored *all = read_entries(t->control, m), *s, *next, *old;
        int r = 0;

        read_fds(t->control, m, all);
        /* In the order in which they were stored, so that of two with one name the later is put. */
        HASH_ITER (hh, all, s, next) {
                HASH_DEL(all, s);
                if (!is_whole(s)) {
                        say_not_whole(log, s);
                        stored_discard(t, s);
                        continue;
                }
                old = NULL;
                r = stored_insert(t, s, &old);
                stored_discard(t, r < 0 ? s : old);
        }
        if (t->entries)
                log_info(log, NULL, "stored entries known again: %u", HASH_COUNT(t->entries));
        return r;
}
