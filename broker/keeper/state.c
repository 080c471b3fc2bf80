/*
 * The state document. See state.h for what it promises.
 *
 * What a record says is read back when it is asked for, which is at the start and when one changes:
 * a second copy in memory would be of no other use and most of what the document costs.
 */
#include "keeper/state.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include "core/hash.h"

#include "cleanup.h"
#include "keeper/state_format.h"

#define SLOT_MIN ((uint64_t) 16384)

/* What we know of one without reading it. Its payload is in the memfd and nowhere else. */
struct record {
        char id[STATE_ID_SIZE];
        const struct kind *kind;
        uint32_t offset; /* of its frame, from the slot's begin; STATE_SIZE_MAX */
        uint32_t length; /* of the payload */
        char *pending;   /* the payload, when there was no room to write it; else NULL */
        struct state_note note;
        UT_hash_handle hh;
};

/* What RECORD= says, once for thousands of records. Never forgotten: there is a handful. */
struct kind {
        struct kind *next;
        char name[];
};

struct state {
        int fd;
        struct header header;
        unsigned active;
        uint64_t tail; /* where the next change goes, from the slot's begin */
        uint64_t next_id;
        uint64_t live; /* bytes that a snapshot would have */
        struct record *records;
        int error; /* why there are pending ones; then no change is written until all are */
        struct kind *kinds;
        char payload[MESSAGE_SIZE_MAX]; /* that was read last */
};

/* ---- records in memory
 * --------------------------------------------------------------------------- */

static struct record *find(const struct state *s, const char *id) {
        struct record *r;

        HASH_FIND_STR(s->records, id, r);
        return r;
}

static void forget(struct state *s, struct record *r) {
        s->live -= frame_size(r->length);
        HASH_DEL(s->records, r);
        free(r->pending);
        free(r);
}

static const struct kind *find_kind(struct state *s, struct text name) {
        struct kind *k;

        for (k = s->kinds; k; k = k->next)
                if (text_equal(name, k->name))
                        return k;
        k = malloc(sizeof(*k) + name.length + 1);
        if (!k)
                return NULL;
        *(char *) mempcpy(k->name, name.start, name.length) = '\0';
        k->next = s->kinds;
        s->kinds = k;
        return k;
}

static const struct kind *kind_of(struct state *s, const struct assignments *a) {
        const struct text *name = assignments_get(a, "RECORD");

        return find_kind(s, name ? *name : (struct text){"", 0});
}

/* Takes pending (NULL: it is written, at offset), also when it fails. */
static int remember(struct state *s, const char *id, const struct kind *kind, uint64_t offset,
                    uint32_t length, char *pending) {
        struct record *r = find(s, id);

        if (r) {
                s->live -= frame_size(r->length);
        } else {
                r = calloc(1, sizeof(*r));
                if (!r) {
                        free(pending);
                        return -ENOMEM;
                }
                (void) strcpy(r->id, id);
                r->note.fd = -1;
                HASH_ADD_STR(s->records, id, r);
                if (!r->hh.tbl) {
                        free(pending);
                        free(r);
                        return -ENOMEM;
                }
        }
        free(r->pending);
        r->pending = pending;
        r->kind = kind;
        r->offset = (uint32_t) offset;
        r->length = length;
        s->live += frame_size(length);
        return 0;
}

static int read_payload(struct state *s, const struct record *r) {
        if (r->pending) {
                memcpy(s->payload, r->pending, r->length);
                return 0;
        }
        return read_at(s->fd, s->payload, r->length,
                       s->header.slots[s->active].offset + r->offset + sizeof(struct frame));
}

/* ---- writing
 * ------------------------------------------------------------------------------------- */

static int write_slot_header(struct state *s, unsigned index, struct slot slot) {
        int r;

        slot.checksum = slot_checksum(&slot);
        r = write_at(s->fd, &slot, sizeof(slot),
                     offsetof(struct header, slots) + index * sizeof(struct slot));
        if (r == 0)
                s->header.slots[index] = slot;
        return r;
}

/* The frames of all records, from the active slot, or what could not be written there. */
static char *make_snapshot(const struct state *s) {
        const struct slot *active = &s->header.slots[s->active];
        _cleanup_free_ char *frames = malloc(s->tail + 1);
        char *snapshot = malloc(s->live + 1), *p = snapshot;

        if (!frames || !snapshot || read_at(s->fd, frames, s->tail, active->offset) < 0) {
                free(snapshot);
                return NULL;
        }
        for (const struct record *r = s->records; r; r = r->hh.next)
                if (r->pending) {
                        struct frame f;

                        frame_fill(&f, r->id, r->pending, r->length);
                        p = mempcpy(mempcpy(p, &f, sizeof(f)), r->pending, r->length);
                } else {
                        p = mempcpy(p, frames + r->offset, frame_size(r->length));
                }
        return snapshot;
}

/* Where make_snapshot() put them; so all of them are written. */
static void move_records(struct state *s) {
        uint32_t offset = 0;

        for (struct record *r = s->records; r; r = r->hh.next) {
                r->offset = offset;
                offset += (uint32_t) frame_size(r->length);
                free(r->pending);
                r->pending = NULL;
        }
}

/* A memfd, if there is none yet. */
static int make_document(struct state *s) {
        int r;

        if (s->fd >= 0)
                return 0;
        s->fd = memfd_create("fdpass-state", MFD_CLOEXEC);
        r = s->fd < 0 ? -errno : write_at(s->fd, &s->header, sizeof(s->header), 0);
        if (r < 0)
                s->fd = close_fd(s->fd);
        return r;
}

/*
 * Where the idle slot goes when it needs `size` bytes: in front of the active one when there is
 * room, else behind it. Its old content is worthless.
 */
static uint64_t place_slot(const struct state *s, uint64_t size) {
        const struct slot *active = &s->header.slots[s->active];

        if (active->size == 0 || sizeof(struct header) + size <= active->offset)
                return sizeof(struct header);
        return active->offset + active->size;
}

/*
 * A snapshot of all records into the idle slot, with room for as much again, and flip. Space is
 * reserved first, so that later changes within the slot cannot fail for want of memory.
 */
static int write_snapshot(struct state *s, uint64_t extra) {
        unsigned idle = !s->active;
        struct slot slot = {.sequence = s->header.slots[s->active].sequence + 1,
                            .snapshot = s->live,
                            .next_id = s->next_id};
        _cleanup_free_ char *snapshot = make_snapshot(s);
        int r;

        if (!snapshot)
                return -ENOMEM;
        slot.size = 2 * s->live + extra + SLOT_MIN;
        slot.offset = place_slot(s, slot.size);
        if (slot.offset + slot.size > STATE_SIZE_MAX)
                return -ENOSPC;
        if (fallocate(s->fd, 0, (off_t) slot.offset, (off_t) slot.size) < 0)
                return -errno;
        r = write_at(s->fd, snapshot, s->live, slot.offset);
        if (r == 0) /* the old content may look like changes behind the new snapshot */
                r = write_at(s->fd, &(struct frame){0}, sizeof(struct frame),
                             slot.offset + s->live);
        if (r == 0)
                r = write_slot_header(s, idle, slot);
        if (r < 0)
                return r;
        s->active = idle;
        s->tail = s->live;
        move_records(s);
        return 0;
}

static int compact(struct state *s, uint64_t extra) {
        int r = make_document(s);

        if (r == 0)
                r = write_snapshot(s, extra);
        s->error = r;
        return r;
}

static int append(struct state *s, const char *id, const char *payload, size_t length) {
        const struct slot *slot;
        struct frame *f;
        size_t size = frame_size(length);
        int r;

        if (s->error < 0)
                return s->error;
        /* Behind the change a frame of zeroes ends the list. */
        if (s->tail + size + sizeof(*f) > s->header.slots[s->active].size) {
                r = compact(s, size + sizeof(*f));
                if (r < 0)
                        return r;
        }
        slot = &s->header.slots[s->active];
        _cleanup_free_ char *buffer = calloc(1, size + sizeof(*f));
        if (!buffer)
                return s->error = -ENOMEM;
        f = (struct frame *) (void *) buffer;
        frame_fill(f, id, payload, length);
        if (length > 0)
                memcpy(buffer + sizeof(*f), payload, length);
        /* From the end to the begin would be safest; the checksum makes the order irrelevant. */
        r = write_at(s->fd, buffer, size + sizeof(*f), slot->offset + s->tail);
        if (r == 0)
                s->tail += size;
        return s->error = r;
}

/* What cannot be written now is held in memory, for state_catch_up(). */
static int put_payload(struct state *s, const char *id, const struct kind *kind,
                       const char *payload, size_t length) {
        char *pending = NULL;

        if (append(s, id, payload, length) < 0) {
                pending = malloc(length);
                if (!pending)
                        return -ENOMEM;
                memcpy(pending, payload, length);
        }
        return remember(s, id, kind, pending ? 0 : s->tail - frame_size(length), (uint32_t) length,
                        pending);
}

static bool is_known(const char *const known[], struct text key) {
        for (; known && *known; known++)
                if (text_equal(key, *known))
                        return true;
        return false;
}

/* Fields that only a newer version knows go on living in its records. */
static void carry_over(const struct assignments *before, const char *const known[],
                       struct packet_writer *w) {
        struct assignments now;

        if (grammar_parse(w->data, w->size, &now) < 0)
                return;
        for (size_t i = 0; i < before->count; i++) {
                char key[KEY_LENGTH_MAX + 1];
                struct text k = before->items[i].key;
                memcpy(key, k.start, k.length);
                key[k.length] = '\0';
                if (!is_known(known, k) && !assignments_get(&now, key))
                        packet_add_text(w, key, before->items[i].value);
        }
}

int state_put(struct state *s, const char *id, const struct packet_writer *record,
              const char *const known[]) {
        _cleanup_free_ struct packet_writer *w = malloc(sizeof(*w));
        const struct kind *kind;
        struct assignments a;
        bool existed;

        if (!w)
                return -ENOMEM;
        if (!state_id_is_valid(id) || record->overflow ||
            grammar_parse(record->data, record->size, &a) < 0)
                return -EINVAL;
        w->size = record->size;
        w->overflow = false;
        memcpy(w->data, record->data, record->size);
        kind = kind_of(s, &a);
        if (!kind)
                return -ENOMEM;
        existed = state_get(s, id, &a);
        if (existed)
                carry_over(&a, known, w);
        if (w->overflow)
                return -EMSGSIZE;
        if (existed && find(s, id)->length == w->size && memcmp(s->payload, w->data, w->size) == 0)
                return 0; /* every record, at the start after a crash */
        return put_payload(s, id, kind, w->data, w->size);
}

int state_remove(struct state *s, const char *id) {
        struct record *r = find(s, id);

        if (!r)
                return -ENOENT;
        /* A removal that is not written is made up for by the snapshot that catches up. */
        (void) append(s, id, NULL, 0);
        forget(s, r);
        return 0;
}

int state_error(const struct state *s) {
        return s->error;
}

int state_catch_up(struct state *s) {
        return s->error < 0 ? compact(s, 0) : 0;
}

/* ---- loading
 * ------------------------------------------------------------------------------------- */

static int load_frame(struct state *s, const struct frame *f, const char *payload) {
        const struct kind *kind;
        struct assignments a;

        if (f->length == 0) {
                struct record *r = find(s, f->id);
                if (r)
                        forget(s, r);
                return 0;
        }
        if (grammar_parse(payload, f->length, &a) < 0)
                return 0; /* whole, and of no use: left out */
        kind = kind_of(s, &a);
        return kind ? remember(s, f->id, kind, s->tail, f->length, NULL) : -ENOMEM;
}

/* Frames until one that is not whole. Sets tail; -ENOMEM only. */
static int load_frames(struct state *s, const char *data, size_t size) {
        struct frame f;
        int r;

        s->tail = 0;
        while (size - s->tail >= sizeof(f)) {
                memcpy(&f, data + s->tail, sizeof(f));
                const char *payload = data + s->tail + sizeof(f);
                if (!state_id_is_valid(f.id) || f.length > MESSAGE_SIZE_MAX ||
                    f.length > size - s->tail - sizeof(f) ||
                    f.checksum != frame_checksum(&f, payload))
                        break;
                r = load_frame(s, &f, payload);
                if (r < 0)
                        return r;
                s->tail += frame_size(f.length);
        }
        return 0;
}

/* Bytes behind the last whole change up to the frame of zeroes, or to the end: something was there.
 */
static size_t count_lost(const char *data, uint64_t tail, uint64_t size) {
        static const struct frame none;
        uint64_t end = size;

        /* What follows the frame of zeroes is from before the slot was used anew. */
        if (size - tail >= sizeof(none) && memcmp(data + tail, &none, sizeof(none)) == 0)
                return 0;
        while (end > tail && data[end - 1] == '\0')
                end--;
        return (size_t) (end - tail);
}

static void clear_records(struct state *s) {
        while (s->records)
                forget(s, s->records);
}

static int load_slot(struct state *s, unsigned index, struct state_report *report) {
        const struct slot *slot = &s->header.slots[index];
        _cleanup_free_ char *data = NULL;
        struct stat st;
        int r;

        if (fstat(s->fd, &st) < 0)
                return -errno;
        if (slot->size == 0 || slot->checksum != slot_checksum(slot) ||
            slot->size > STATE_SIZE_MAX || slot->offset > STATE_SIZE_MAX ||
            slot->snapshot > slot->size)
                return -EBADMSG;
        if (slot->offset + slot->size > (uint64_t) st.st_size)
                return -EBADMSG; /* truncated */
        data = malloc(slot->size);
        if (!data)
                return -ENOMEM;
        r = read_at(s->fd, data, slot->size, slot->offset);
        if (r == 0)
                r = load_frames(s, data, slot->size);
        if (r < 0)
                return r;
        s->active = index;
        s->next_id = slot->next_id;
        report->bytes_lost = count_lost(data, s->tail, slot->size);
        return 0;
}

/* Ids go on behind the highest that was ever seen: those made after the snapshot count too. */
static void find_next_id(struct state *s) {
        for (const struct record *r = s->records; r; r = r->hh.next) {
                uint64_t n = strtoull(r->id + 1, NULL, 10);
                if (n >= s->next_id)
                        s->next_id = n + 1;
        }
}

static int load(struct state *s, struct state_report *report) {
        const struct header *h = &s->header;
        unsigned newer;
        int r;

        r = read_at(s->fd, &s->header, sizeof(s->header), 0);
        if (r < 0)
                return r;
        if (memcmp(h->magic, STATE_MAGIC, sizeof(STATE_MAGIC)) != 0)
                return -EBADMSG;
        if (h->format != STATE_FORMAT)
                return -EPROTO;
        newer = h->slots[1].sequence > h->slots[0].sequence;
        if (h->slots[newer].checksum != slot_checksum(&h->slots[newer]))
                newer = !newer;
        r = load_slot(s, newer, report);
        if (r == -EBADMSG) {
                clear_records(s);
                report->other_slot = true;
                r = load_slot(s, !newer, report);
        }
        if (r < 0)
                return r;
        find_next_id(s);
        report->records = state_count(s);
        return 0;
}

/* ---- life
 * ---------------------------------------------------------------------------------------- */

int state_new(struct state **ret) {
        struct state *s = calloc(1, sizeof(*s));

        if (!s)
                return -ENOMEM;
        s->fd = -1;
        s->next_id = 1;
        s->header.format = STATE_FORMAT;
        memcpy(s->header.magic, STATE_MAGIC, sizeof(STATE_MAGIC));
        (void) compact(s, 0); /* else state_error() says so */
        *ret = s;
        return 0;
}

int state_open(struct state **ret, int fd, struct state_report *ret_report) {
        struct state *s = calloc(1, sizeof(*s));
        struct state_report report = {0};
        int r;

        if (!s) {
                close_fd(fd);
                return -ENOMEM;
        }
        s->fd = fd;
        r = load(s, &report);
        /* What was torn must not stand in the way of what comes: begin again in a clean slot. */
        if (r == 0 && (report.bytes_lost > 0 || report.other_slot))
                (void) compact(s, 0);
        if (r < 0) {
                state_free(s);
                return r;
        }
        *ret_report = report;
        *ret = s;
        return 0;
}

struct state *state_free(struct state *s) {
        if (s) {
                clear_records(s);
                while (s->kinds) {
                        struct kind *k = s->kinds;
                        s->kinds = k->next;
                        free(k);
                }
                close_fd(s->fd);
                free(s);
        }
        return NULL;
}

int state_peek_fd(const struct state *s) {
        return s->fd;
}

int state_copy(const struct state *s) {
        _cleanup_close_ int copy = -1;
        off_t at = 0;
        ssize_t n;

        if (state_error(s) < 0)
                return state_error(s);
        copy = memfd_create("fdpass-state", MFD_CLOEXEC);
        if (copy < 0)
                return -errno;
        while ((n = sendfile(copy, s->fd, &at, 1 << 20)) > 0)
                ;
        return n < 0 ? -errno : take_fd(&copy);
}

bool state_get(struct state *s, const char *id, struct assignments *ret) {
        const struct record *r = find(s, id);

        return r && read_payload(s, r) == 0 && grammar_parse(s->payload, r->length, ret) == 0;
}

struct state_note *state_note(struct state *s, const char *id) {
        struct record *r = find(s, id);

        return r ? &r->note : NULL;
}

bool state_is(const struct state *s, const char *id, const char *kind) {
        const struct record *r = find(s, id);

        return r && strcmp(r->kind->name, kind) == 0;
}

const char *state_first(const struct state *s) {
        return s->records ? s->records->id : NULL;
}

const char *state_next(const struct state *s, const char *id) {
        const struct record *r = find(s, id);

        return r && r->hh.next ? ((const struct record *) r->hh.next)->id : NULL;
}

size_t state_count(const struct state *s) {
        return HASH_COUNT(s->records);
}

void state_new_id(struct state *s, char kind, char ret[STATE_ID_SIZE]) {
        (void) snprintf(ret, STATE_ID_SIZE, "%c%" PRIu64, kind, s->next_id++);
}
