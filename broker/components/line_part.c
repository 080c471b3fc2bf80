/* Lines without an end. */
#include "components/line_part.h"

#include <string.h>
#include <sys/stat.h>

#include "components/line_area.h"

static uint64_t inode_of(int fd) {
        struct stat st;

        return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

static uint64_t bit(size_t k) {
        return UINT64_C(1) << k;
}

static void say(struct line_ring *r, size_t k, bool is_there) {
        uint64_t parts = atomic_load_explicit(&r->area->parts, memory_order_relaxed);

        line_area_say(&r->area->parts, is_there ? parts | bit(k) : parts & ~bit(k));
}

static bool reserve(struct line_ring *r, size_t k) {
        if (!(r->parts_reserved & bit(k)) &&
            line_area_reserve(r, offsetof(struct line_area, part) + k * sizeof(struct line_part),
                              sizeof(struct line_part)) == 0)
                r->parts_reserved |= (uint16_t) bit(k);
        return r->parts_reserved & bit(k);
}

static bool have_place(struct line_ring *r, unsigned *place, int fd) {
        size_t k = 0;

        if (*place > 0)
                return true;
        while (k < LINE_PARTS && r->parts_taken & bit(k))
                k++;
        if (k == LINE_PARTS || !reserve(r, k))
                return false;
        say(r, k, false);
        r->area->part[k].inode = inode_of(fd);
        r->parts_taken |= (uint16_t) bit(k);
        *place = (unsigned) k + 1;
        return true;
}

void line_part_put(struct line_ring *r, unsigned *place, int fd, const char *text, size_t length) {
        struct line_part *part;

        if (!r->area || r->fd < 0 || !have_place(r, place, fd))
                return;
        say(r, *place - 1, false);
        part = &r->area->part[*place - 1];
        part->length = (uint32_t) length;
        memcpy(part->text, text, length);
        say(r, *place - 1, true);
}

void line_part_drop(struct line_ring *r, unsigned *place) {
        if (*place == 0)
                return;
        say(r, *place - 1, false);
        r->parts_taken &= (uint16_t) ~bit(*place - 1);
        *place = 0;
}

size_t line_part_find(struct line_ring *r, unsigned *place, int fd, char ret[OUTPUT_LINE_MAX]) {
        uint64_t parts = r->area ? atomic_load_explicit(&r->area->parts, memory_order_acquire) : 0;
        uint64_t inode = parts ? inode_of(fd) : 0;

        for (size_t k = 0; k < LINE_PARTS; k++) {
                const struct line_part *part = r->area ? &r->area->part[k] : NULL;

                if (!(parts & bit(k)) || r->parts_taken & bit(k) || !reserve(r, k) ||
                    part->inode != inode || part->length == 0 || part->length >= OUTPUT_LINE_MAX)
                        continue;
                memcpy(ret, part->text, part->length);
                r->parts_taken |= (uint16_t) bit(k);
                *place = (unsigned) k + 1;
                return part->length;
        }
        return 0;
}

void line_part_forget_unclaimed(struct line_ring *r) {
        if (r->area)
                line_area_say(&r->area->parts,
                              atomic_load_explicit(&r->area->parts, memory_order_relaxed) &
                                      r->parts_taken);
}
