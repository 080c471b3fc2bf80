/*
 * Lines in memory that outlives us. One word says where they are, and is written when a line is
 * there and before it is overwritten.
 *
 * Memory is reserved before it is written to, a page at a time, because where there is none a write
 * to a mapping ends the process.
 */
#include "components/line_ring.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "components/line_area.h"

#define UNIT 8

struct record {
        uint64_t number, time_usec, generation;
        uint32_t instance;
        uint16_t length;
        uint8_t is_error, unused;
        char text[]; /* and a NUL, filled up to a whole unit */
};

#define DATA_UNITS (LINE_DATA_SIZE / UNIT)
#define DATA_OFFSET (offsetof(struct line_area, data))
#define RECORD_HEAD (offsetof(struct record, text))
/* What a kept number may be: documents have signed ones. */
#define NUMBER_MAX ((uint64_t) INT64_MAX / 2)
#define PAGE 4096

static_assert(DATA_OFFSET % UNIT == 0, "records are aligned");
static_assert(RECORD_HEAD == 32, "a record is what it was");
static_assert(DATA_UNITS <= UINT16_MAX, "offsets have 16 bits");
/* A ring that is too small for what is kept has room behind its end for the same again. */
static_assert(LINE_DATA_SIZE >= 2 * (OUTPUT_BYTES_KEPT + OUTPUT_LINES_KEPT * (RECORD_HEAD + UNIT) +
                                     2 * OUTPUT_LINE_MAX),
              "room for all that is kept, twice");

static size_t units_of(size_t length) {
        return (RECORD_HEAD + length + 1 + UNIT - 1) / UNIT;
}

static struct record *record_at(const struct line_ring *r, size_t at) {
        return (struct record *) (void *) (r->area->data + at * UNIT);
}

/* ---- the word ---------------------------------------------------------------------------------*/

static void set_state(struct line_ring *r, size_t first, size_t next, size_t end, size_t count) {
        uint64_t word = (uint64_t) first | (uint64_t) next << 16 | (uint64_t) end << 32 |
                        (uint64_t) count << 48;

        r->state = (struct line_ring_state){(uint16_t) first, (uint16_t) next, (uint16_t) end,
                                            (uint16_t) count};
        line_area_say(&r->area->state, word);
}

static struct line_ring_state get_state(const struct line_area *area) {
        uint64_t word = atomic_load_explicit(&area->state, memory_order_acquire);

        return (struct line_ring_state){(uint16_t) word, (uint16_t) (word >> 16),
                                        (uint16_t) (word >> 32), (uint16_t) (word >> 48)};
}

/* ---- room -------------------------------------------------------------------------------------*/

int line_area_reserve(const struct line_ring *r, size_t offset, size_t size) {
        int result = 0;

        while (r->fd >= 0 &&
               (result = fallocate(r->fd, 0, r->offset + (off_t) offset, (off_t) size)) < 0 &&
               errno == EINTR)
                ;
        return result < 0 ? -errno : 0;
}

/* So many units from the start of the data. */
static int reserve(struct line_ring *r, size_t units) {
        size_t size = DATA_OFFSET + units * UNIT;
        int result;

        if (size <= r->reserved)
                return 0;
        if (units > DATA_UNITS)
                return -ENOSPC;
        size = (size + PAGE - 1) / PAGE * PAGE;
        result = line_area_reserve(r, r->reserved, size - r->reserved);
        if (result == 0)
                r->reserved = size;
        return result;
}

/* The last page is of the data only in part. */
static bool is_reserved(const struct line_ring *r, size_t units) {
        return units <= DATA_UNITS && DATA_OFFSET + units * UNIT <= r->reserved;
}

static void remove_first(struct line_ring *r) {
        const struct line_ring_state *s = &r->state;
        size_t length = record_at(r, s->first)->length, first = s->first + units_of(length);

        r->bytes -= length;
        if (s->count == 1)
                set_state(r, 0, 0, 0, 0);
        else if (first == s->end)
                set_state(r, 0, s->next, 0, s->count - 1U);
        else
                set_state(r, first, s->next, s->end, s->count - 1U);
}

/*
 * The newer lines, which have come up to the oldest, go on behind the older ones: so the ring
 * becomes as large as what is kept needs, and no line goes too early.
 */
static bool straighten(struct line_ring *r, size_t need) {
        const struct line_ring_state *s = &r->state;
        size_t next = (size_t) s->end + s->next;

        if (reserve(r, next + need) < 0)
                return false;
        memcpy(record_at(r, s->end), record_at(r, 0), (size_t) s->next * UNIT);
        set_state(r, s->first, next, 0, s->count);
        return true;
}

/*
 * Where a record may be written: at s->next, or at 0. False: nowhere yet. Room that has been used
 * comes before such that has not.
 */
static bool has_room(struct line_ring *r, size_t need, size_t *ret) {
        const struct line_ring_state *s = &r->state;

        if (s->end > 0 && (size_t) s->next + need > s->first && !straighten(r, need))
                return false;
        *ret = s->next;
        if (s->end > 0)
                return true;
        if (is_reserved(r, s->next + need))
                return true;
        if (need <= s->first) {
                *ret = 0;
                return true;
        }
        return reserve(r, s->next + need) == 0;
}

/* ---- lines ------------------------------------------------------------------------------------*/

bool line_ring_add(struct line_ring *r, const struct output_line *line) {
        const struct line_ring_state *s = &r->state;
        size_t need = units_of(line->length), at;
        struct record *record;

        if (!r->area)
                return false;
        while (s->count >= OUTPUT_LINES_KEPT ||
               (s->count > 0 && r->bytes + line->length > OUTPUT_BYTES_KEPT))
                remove_first(r);
        while (!has_room(r, need, &at)) {
                if (s->count == 0)
                        return false;
                remove_first(r);
        }
        record = record_at(r, at);
        *record = (struct record){.number = line->number,
                                  .time_usec = line->time_usec,
                                  .generation = line->generation,
                                  .instance = line->instance,
                                  .length = (uint16_t) line->length,
                                  .is_error = line->is_error};
        memcpy(record->text, line->text, line->length);
        record->text[line->length] = '\0';
        r->bytes += line->length;
        set_state(r, s->first, at + need, at == 0 && s->next > 0 ? s->next : s->end, s->count + 1U);
        return true;
}

struct line_walk line_ring_walk(const struct line_ring *r) {
        return (struct line_walk){.ring = r, .at = r->state.first, .left = r->state.count};
}

bool line_walk_next(struct line_walk *w, struct output_line *ret) {
        const struct record *record;

        if (w->left == 0)
                return false;
        record = record_at(w->ring, w->at);
        *ret = (struct output_line){.number = record->number,
                                    .time_usec = record->time_usec,
                                    .generation = record->generation,
                                    .instance = record->instance,
                                    .is_error = record->is_error,
                                    .length = record->length,
                                    .text = record->text};
        w->left--;
        w->at += units_of(record->length);
        if (w->at == w->ring->state.end)
                w->at = 0;
        return true;
}

/* ---- what was found ---------------------------------------------------------------------------*/

/* A line that lies before `limit` and is one that we could have written after that number. */
static bool is_whole(const struct record *record, size_t at, size_t limit, uint64_t after) {
        if (at + units_of(0) > limit)
                return false;
        return record->length <= OUTPUT_LINE_MAX && at + units_of(record->length) <= limit &&
               record->number > after && record->number <= NUMBER_MAX &&
               record->time_usec <= NUMBER_MAX && record->generation <= NUMBER_MAX &&
               record->is_error <= 1 &&
               strnlen(record->text, record->length + 1U) == record->length;
}

/* One behind the other; from the first that is not whole on, nothing can be told. */
static void take_whole(struct line_ring *r, const struct line_ring_state *found) {
        size_t at = found->first, limit = found->end > 0 ? found->end : found->next, count = 0;
        bool is_turned = false;
        uint64_t number = 0;

        while (count < found->count) {
                const struct record *record;

                if (at == found->end && found->end > 0 && !is_turned) {
                        is_turned = true;
                        at = 0;
                        limit = found->next;
                }
                record = record_at(r, at);
                if (!is_whole(record, at, limit, number))
                        break;
                number = record->number;
                r->bytes += record->length;
                at += units_of(record->length);
                count++;
        }
        set_state(r, count > 0 ? found->first : 0, count > 0 ? at : 0, is_turned ? found->end : 0,
                  count);
}

static bool is_possible(const struct line_ring_state *s) {
        if (s->end > DATA_UNITS || s->next > DATA_UNITS || s->count > OUTPUT_LINES_KEPT)
                return false;
        return s->end > 0 ? s->next <= s->first && s->first < s->end
                          : s->first < s->next || s->count == 0;
}

bool line_area_name(const char head[LINE_AREA_HEAD_SIZE], char ret[LINE_AREA_NAME_SIZE]) {
        const char *name = head + offsetof(struct line_area, name);
        uint64_t magic;

        memcpy(&magic, head, sizeof(magic));
        if (magic != LINE_AREA_MAGIC || !name_is_valid(name, strnlen(name, LINE_AREA_NAME_SIZE)))
                return false;
        memcpy(ret, name, LINE_AREA_NAME_SIZE);
        return true;
}

int line_ring_open(struct line_ring *r, struct line_area *area, int fd, off_t offset) {
        struct line_ring_state found;
        struct line_ring ring = {.area = area, .fd = fd, .offset = offset};
        int result = reserve(&ring, 0);

        if (result < 0)
                return result;
        found = get_state(area);
        if (area->magic != LINE_AREA_MAGIC || !is_possible(&found))
                return -EBADMSG;
        result = reserve(&ring, found.end > found.next ? found.end : found.next);
        if (result < 0)
                return result;
        take_whole(&ring, &found);
        while (ring.bytes > OUTPUT_BYTES_KEPT)
                remove_first(&ring);
        *r = ring;
        return 0;
}

int line_ring_new(struct line_ring *r, struct line_area *area, int fd, off_t offset,
                  const char *name) {
        struct line_ring ring = {.area = area, .fd = fd, .offset = offset};
        int result = reserve(&ring, 0);

        if (result < 0)
                return result;
        set_state(&ring, 0, 0, 0, 0);
        line_area_say(&area->parts, 0);
        memset(area->name, 0, sizeof(area->name));
        memcpy(area->name, name, strlen(name));
        area->magic = LINE_AREA_MAGIC;
        *r = ring;
        return 0;
}
