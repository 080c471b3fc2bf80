/*
 * The state document. See state.h for what it promises.
 *
 * All writes are pwrite(2), not stores into a mapping: when memory is out that is an error, and not
 * SIGBUS. Numbers are in the byte order of the machine: a memfd does not travel.
 */
#include "keeper/state.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "core/hash.h"

#include "cleanup.h"

#define MAGIC "fdpass state\n"
#define SLOT_MIN ((uint64_t) 16384)
/* More cannot be ours: 10,000 listeners with leases are some megabytes. */
#define DOCUMENT_MAX ((uint64_t) 1 << 30)

struct slot {
        uint64_t offset; /* in the memfd */
        uint64_t size;
        uint64_t sequence; /* of the snapshot; the higher valid one is active */
        uint64_t snapshot; /* bytes of the snapshot; changes follow */
        uint64_t next_id;
        uint32_t checksum; /* of this struct, this member as 0 */
        uint32_t unused;
};

/* At offset 0. Each slot's header has a checksum of its own, so no write has to be atomic. */
struct header {
        char magic[16];
        uint32_t format;
        uint32_t unused;
        struct slot slots[2];
};

/* Before each record in a slot. A removed record has length 0 behind its id. */
struct frame {
        uint32_t checksum; /* of what follows: id, payload */
        uint32_t length;   /* of the payload */
        char id[STATE_ID_SIZE];
};

struct record {
        char id[STATE_ID_SIZE];
        uint32_t length;
        char *payload;
        UT_hash_handle hh;
};

struct state {
        int fd;
        struct header header;
        unsigned active;
        uint64_t tail; /* where the next change goes, from the slot's begin */
        uint64_t next_id;
        uint64_t live; /* bytes that a snapshot would have */
        struct record *records;
};

/* FNV-1a: finds what was torn; nobody who could forge it can reach the memfd. */
static uint32_t checksum(const void *data, size_t size, uint32_t sum) {
        const unsigned char *p = data;

        while (size-- > 0)
                sum = (sum ^ *p++) * 16777619u;
        return sum;
}

static uint32_t frame_checksum(const struct frame *f, const char *payload) {
        uint32_t sum = checksum(&f->length, sizeof(f->length), 2166136261u);

        return checksum(payload, f->length, checksum(f->id, sizeof(f->id), sum));
}

static uint32_t slot_checksum(const struct slot *s) {
        struct slot copy = *s;

        copy.checksum = 0;
        return checksum(&copy, sizeof(copy), 2166136261u);
}

static int write_at(int fd, const void *data, size_t size, uint64_t offset) {
        const char *p = data;

        while (size > 0) {
                ssize_t n = pwrite(fd, p, size, (off_t) offset);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? -errno : -ENOSPC;
                p += n;
                offset += (uint64_t) n;
                size -= (size_t) n;
        }
        return 0;
}

static size_t frame_size(size_t length) {
        return sizeof(struct frame) + length;
}

static bool id_is_valid(const char *id) {
        size_t length = strnlen(id, STATE_ID_SIZE);

        if (length == 0 || length == STATE_ID_SIZE)
                return false;
        for (size_t i = 0; i < length; i++)
                if (!((id[i] >= 'a' && id[i] <= 'z') || (id[i] >= '0' && id[i] <= '9')))
                        return false;
        return true;
}

static void fill_frame(struct frame *f, const char *id, const char *payload, size_t length) {
        memset(f, 0, sizeof(*f));
        (void) strcpy(f->id, id);
        f->length = (uint32_t) length;
        f->checksum = frame_checksum(f, payload);
}

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
        free(r->payload);
        free(r);
}

/* Takes payload, also when it fails. */
static int remember(struct state *s, const char *id, char *payload, size_t length) {
        struct record *r = find(s, id);

        if (r) {
                s->live -= frame_size(r->length);
                free(r->payload);
        } else {
                r = calloc(1, sizeof(*r));
                if (!r) {
                        free(payload);
                        return -ENOMEM;
                }
                (void) strcpy(r->id, id);
                HASH_ADD_STR(s->records, id, r);
                if (!r->hh.tbl) {
                        free(r);
                        free(payload);
                        return -ENOMEM;
                }
        }
        r->payload = payload;
        r->length = length;
        s->live += frame_size(length);
        return 0;
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

static char *make_snapshot(const struct state *s) {
        char *snapshot = malloc(s->live ? s->live : 1), *p = snapshot;

        if (!snapshot)
                return NULL;
        for (const struct record *r = s->records; r; r = r->hh.next) {
                struct frame f;
                fill_frame(&f, r->id, r->payload, r->length);
                memcpy(p, &f, sizeof(f));
                memcpy(p + sizeof(f), r->payload, r->length);
                p += frame_size(r->length);
        }
        return snapshot;
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
static int compact(struct state *s, uint64_t extra) {
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
        if (slot.offset + slot.size > DOCUMENT_MAX)
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
        return 0;
}

static int append(struct state *s, const char *id, const char *payload, size_t length) {
        const struct slot *slot;
        struct frame *f;
        size_t size = frame_size(length);
        int r;

        /* Behind the change a frame of zeroes ends the list. */
        if (s->tail + size + sizeof(*f) > s->header.slots[s->active].size) {
                r = compact(s, size + sizeof(*f));
                if (r < 0)
                        return r;
        }
        slot = &s->header.slots[s->active];
        _cleanup_free_ char *buffer = calloc(1, size + sizeof(*f));
        if (!buffer)
                return -ENOMEM;
        f = (struct frame *) (void *) buffer;
        fill_frame(f, id, payload, length);
        if (length > 0)
                memcpy(buffer + sizeof(*f), payload, length);
        /* From the end to the begin would be safest; the checksum makes the order irrelevant. */
        r = write_at(s->fd, buffer, size + sizeof(*f), slot->offset + s->tail);
        if (r == 0)
                s->tail += size;
        return r;
}

static bool is_known(const char *const known[], struct text key) {
        for (; known && *known; known++)
                if (text_equal(key, *known))
                        return true;
        return false;
}

/* Fields that only a newer version knows go on living in its records. */
static void carry_over(const struct state *s, const char *id, const char *const known[],
                       struct packet_writer *w) {
        struct assignments before, now;

        if (!state_get(s, id, &before) || grammar_parse(w->data, w->size, &now) < 0)
                return;
        for (size_t i = 0; i < before.count; i++) {
                char key[KEY_LENGTH_MAX + 1];
                struct text k = before.items[i].key;
                memcpy(key, k.start, k.length);
                key[k.length] = '\0';
                if (!is_known(known, k) && !assignments_get(&now, key))
                        packet_add_text(w, key, before.items[i].value);
        }
}

int state_put(struct state *s, const char *id, const struct packet_writer *record,
              const char *const known[]) {
        _cleanup_free_ struct packet_writer *w = malloc(sizeof(*w));
        struct assignments ignored;
        const struct record *before;
        char *payload;
        int r;

        if (!w)
                return -ENOMEM;
        if (!id_is_valid(id) || record->overflow ||
            grammar_parse(record->data, record->size, &ignored) < 0)
                return -EINVAL;
        w->size = record->size;
        w->overflow = false;
        memcpy(w->data, record->data, record->size);
        carry_over(s, id, known, w);
        if (w->overflow)
                return -EMSGSIZE;
        before = find(s, id);
        if (before && before->length == w->size && memcmp(before->payload, w->data, w->size) == 0)
                return 0; /* every record, at the start after a crash */
        payload = malloc(w->size);
        if (!payload)
                return -ENOMEM;
        memcpy(payload, w->data, w->size);
        r = append(s, id, payload, w->size);
        if (r < 0) {
                free(payload);
                return r;
        }
        return remember(s, id, payload, w->size);
}

int state_remove(struct state *s, const char *id) {
        struct record *r = find(s, id);
        int e;

        if (!r)
                return -ENOENT;
        e = append(s, id, NULL, 0);
        if (e == 0)
                forget(s, find(s, id));
        return e;
}

/* ---- loading
 * ------------------------------------------------------------------------------------- */

static int read_at(int fd, void *data, size_t size, uint64_t offset) {
        char *p = data;

        while (size > 0) {
                ssize_t n = pread(fd, p, size, (off_t) offset);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? -errno : -EBADMSG;
                p += n;
                offset += (uint64_t) n;
                size -= (size_t) n;
        }
        return 0;
}

static int load_frame(struct state *s, const struct frame *f, const char *payload) {
        struct assignments a;
        char *copy;

        if (f->length == 0) {
                struct record *r = find(s, f->id);
                if (r)
                        forget(s, r);
                return 0;
        }
        if (grammar_parse(payload, f->length, &a) < 0)
                return 0; /* whole, and of no use: left out */
        copy = malloc(f->length);
        if (!copy)
                return -ENOMEM;
        memcpy(copy, payload, f->length);
        return remember(s, f->id, copy, f->length);
}

/* Frames until one that is not whole. Sets tail; -ENOMEM only. */
static int load_frames(struct state *s, const char *data, size_t size) {
        struct frame f;
        int r;

        s->tail = 0;
        while (size - s->tail >= sizeof(f)) {
                memcpy(&f, data + s->tail, sizeof(f));
                const char *payload = data + s->tail + sizeof(f);
                if (!id_is_valid(f.id) || f.length > MESSAGE_SIZE_MAX ||
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
        if (slot->size == 0 || slot->checksum != slot_checksum(slot) || slot->size > DOCUMENT_MAX ||
            slot->offset > DOCUMENT_MAX || slot->snapshot > slot->size)
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
        if (memcmp(h->magic, MAGIC, sizeof(MAGIC)) != 0)
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
        int r;

        if (!s)
                return -ENOMEM;
        s->next_id = 1;
        s->header.format = STATE_FORMAT;
        memcpy(s->header.magic, MAGIC, sizeof(MAGIC));
        s->fd = memfd_create("fdpass-state", MFD_CLOEXEC);
        r = s->fd < 0 ? -errno : write_at(s->fd, &s->header, sizeof(s->header), 0);
        if (r == 0)
                r = compact(s, 0);
        if (r < 0) {
                state_free(s);
                return r;
        }
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
                r = compact(s, 0);
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
                close_fd(s->fd);
                free(s);
        }
        return NULL;
}

int state_peek_fd(const struct state *s) {
        return s->fd;
}

bool state_get(const struct state *s, const char *id, struct assignments *ret) {
        const struct record *r = find(s, id);

        return r && grammar_parse(r->payload, r->length, ret) == 0;
}

bool state_get_first(const struct state *s, const char *id, const char *key, struct text *ret) {
        const struct record *r = find(s, id);
        size_t length = strlen(key);
        const char *begin, *end;

        if (!r || r->length <= length || memcmp(r->payload, key, length) != 0 ||
            r->payload[length] != '=')
                return false;
        begin = r->payload + length + 1;
        end = memchr(begin, '\n', (size_t) (r->payload + r->length - begin));
        *ret = (struct text){begin, (size_t) ((end ? end : r->payload + r->length) - begin)};
        return true;
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
