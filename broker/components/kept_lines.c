/* The memfd with the last lines of all components. */
#include "components/kept_lines.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "core/log.h"
#include "keeper/memory.h"
#include "keeper/record.h"

#define KIND_LINES "lines"
#define MEMFD "fdpass-lines"
/* More than there can be components; for a memfd that is not what it should be. */
#define AREAS_MAX 65536

static const char *const known[] = {"RECORD", NULL};
static const struct record_kind lines_record = {KIND_LINES, 'f', known};

static off_t offset_of(size_t k) {
        return (off_t) k * LINE_AREA_SIZE;
}

void kept_lines_init(struct kept_lines *kept, struct memory *m, struct log *log) {
        *kept = (struct kept_lines){.memory = m, .log = log, .fd = -1};
}

void kept_lines_close(struct kept_lines *kept) {
        kept->fd = close_fd(kept->fd);
        free(kept->is_taken);
        kept->is_taken = NULL;
        kept->count = 0;
}

/* ---- areas ------------------------------------------------------------------------------------*/

static bool grow(struct kept_lines *kept, size_t count) {
        bool *more = reallocarray(kept->is_taken, count, sizeof(*more));

        if (!more)
                return false;
        kept->is_taken = more;
        for (; kept->count < count; kept->count++)
                more[kept->count] = false;
        return true;
}

/* Children have no use for it, and forking is not to take longer with each component. */
static struct line_area *map_area(int fd, off_t offset, int flags) {
        void *area = mmap(NULL, LINE_AREA_SIZE, PROT_READ | PROT_WRITE, flags, fd, offset);

        if (area == MAP_FAILED)
                return NULL;
        (void) madvise(area, LINE_AREA_SIZE, MADV_DONTFORK);
        return area;
}

/* Its pages are given back; what is read there from now on is no ring. */
static void release(struct kept_lines *kept, size_t k) {
        (void) fallocate(kept->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset_of(k),
                         LINE_AREA_SIZE);
        kept->is_taken[k] = false;
}

void kept_lines_leave(struct line_ring *ring) {
        if (ring->area)
                (void) munmap(ring->area, LINE_AREA_SIZE);
        *ring = (struct line_ring){.fd = -1};
}

void kept_lines_forget(struct kept_lines *kept, struct line_ring *ring) {
        size_t k = (size_t) (ring->offset / LINE_AREA_SIZE);
        bool is_kept = ring->area && ring->fd >= 0;

        kept_lines_leave(ring);
        if (is_kept)
                release(kept, k);
}

/* ---- what was kept ----------------------------------------------------------------------------*/

/* Only one that cannot become shorter, or reading from it could end us. */
static bool is_ours(int fd, size_t *ret_count) {
        int seals = fcntl(fd, F_GET_SEALS);
        struct stat st;

        if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(fd, &st) < 0)
                return false;
        *ret_count = (size_t) (st.st_size / LINE_AREA_SIZE);
        return *ret_count <= AREAS_MAX;
}

void kept_lines_load(struct kept_lines *kept) {
        const char *id = kept->memory ? memory_first(kept->memory, KIND_LINES) : NULL;
        size_t count;

        if (!id)
                return;
        (void) strcpy(kept->id, id);
        kept->fd = memory_take_fd(kept->memory, id);
        if (kept->fd >= 0 && is_ours(kept->fd, &count) && grow(kept, count))
                return;
        log_warning(kept->log, NULL,
                    "the last lines of components were not kept; `fdpass logs` begins anew");
        record_remove(kept->memory, kept->id);
        kept->fd = close_fd(kept->fd);
}

bool kept_lines_name(const struct kept_lines *kept, size_t k, char ret[LINE_AREA_NAME_SIZE]) {
        char head[LINE_AREA_HEAD_SIZE];

        /* Reading a mapping would make pages where there are none. */
        return !kept->is_taken[k] &&
               pread(kept->fd, head, sizeof(head), offset_of(k)) == (ssize_t) sizeof(head) &&
               line_area_name(head, ret);
}

void kept_lines_find(struct kept_lines *kept, size_t k, struct line_ring *ring) {
        struct line_area *area = map_area(kept->fd, offset_of(k), MAP_SHARED);

        if (!area)
                return;
        if (line_ring_open(ring, area, kept->fd, offset_of(k)) < 0)
                (void) munmap(area, LINE_AREA_SIZE);
        else
                kept->is_taken[k] = true;
}

void kept_lines_forget_unclaimed(struct kept_lines *kept) {
        for (size_t k = 0; k < kept->count; k++)
                if (!kept->is_taken[k])
                        release(kept, k);
}

/* ---- a new one --------------------------------------------------------------------------------*/

static int make_memfd(void) {
        _cleanup_close_ int fd = memfd_create(MEMFD, MFD_CLOEXEC | MFD_ALLOW_SEALING);

        if (fd < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0)
                return -errno;
        return take_fd(&fd);
}

static int have_memfd(struct kept_lines *kept) {
        int fd, r;

        if (!kept->memory)
                return -ENOTCONN;
        if (kept->fd >= 0)
                return 0;
        fd = make_memfd();
        if (fd < 0)
                return fd;
        r = record_put(kept->memory, &lines_record, record_new(kept->memory, &lines_record),
                       kept->id);
        if (r == 0)
                r = memory_put_fd(kept->memory, kept->id, fd);
        if (r < 0) {
                record_remove(kept->memory, kept->id);
                close_fd(fd);
                return r;
        }
        kept->fd = fd;
        return 0;
}

static int free_area(struct kept_lines *kept, size_t *ret) {
        size_t k = 0;

        while (k < kept->count && kept->is_taken[k])
                k++;
        if (k == kept->count) {
                if (k == AREAS_MAX)
                        return -ENOSPC;
                if (ftruncate(kept->fd, offset_of(k + 1)) < 0)
                        return -errno;
                if (!grow(kept, k + 1))
                        return -ENOMEM;
        }
        *ret = k;
        return 0;
}

static int make_kept(struct kept_lines *kept, const char *name, struct line_ring *ring) {
        int r = have_memfd(kept);
        struct line_area *area;
        size_t k = 0;

        if (r == 0)
                r = free_area(kept, &k);
        if (r < 0)
                return r;
        area = map_area(kept->fd, offset_of(k), MAP_SHARED);
        if (!area)
                return -errno;
        r = line_ring_new(ring, area, kept->fd, offset_of(k), name);
        if (r < 0)
                (void) munmap(area, LINE_AREA_SIZE);
        else
                kept->is_taken[k] = true;
        return r;
}

static void tell(struct kept_lines *kept, const char *name, int error) {
        if (!kept->memory || kept->is_told)
                return;
        kept->is_told = true;
        log_warning(kept->log, ABOUT(.component = name),
                    "what %s writes is remembered only as long as this broker lives: %s", name,
                    strerror(-error));
}

void kept_lines_new(struct kept_lines *kept, const char *name, struct line_ring *ring) {
        int r = make_kept(kept, name, ring);
        struct line_area *area;

        if (r == 0)
                return;
        tell(kept, name, r);
        area = map_area(-1, 0, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
        if (area && line_ring_new(ring, area, -1, 0, name) < 0)
                (void) munmap(area, LINE_AREA_SIZE);
}
