/*
 * Checksums, and reading and writing at a place. All writes are pwrite(2), not stores into a
 * mapping: when memory is out that is an error, and not SIGBUS.
 */
#include "keeper/state_format.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* FNV-1a: finds what was torn; nobody who could forge it can reach the memfd. */
static uint32_t checksum(const void *data, size_t size, uint32_t sum) {
        const unsigned char *p = data;

        while (size-- > 0)
                sum = (sum ^ *p++) * 16777619u;
        return sum;
}

uint32_t frame_checksum(const struct frame *f, const char *payload) {
        uint32_t sum = checksum(&f->length, sizeof(f->length), 2166136261u);

        return checksum(payload, f->length, checksum(f->id, sizeof(f->id), sum));
}

uint32_t slot_checksum(const struct slot *s) {
        struct slot copy = *s;

        copy.checksum = 0;
        return checksum(&copy, sizeof(copy), 2166136261u);
}

bool state_id_is_valid(const char *id) {
        size_t length = strnlen(id, STATE_ID_SIZE);

        if (length == 0 || length == STATE_ID_SIZE)
                return false;
        for (size_t i = 0; i < length; i++)
                if (!((id[i] >= 'a' && id[i] <= 'z') || (id[i] >= '0' && id[i] <= '9')))
                        return false;
        return true;
}

void frame_fill(struct frame *f, const char *id, const char *payload, size_t length) {
        memset(f, 0, sizeof(*f));
        (void) strcpy(f->id, id);
        f->length = (uint32_t) length;
        f->checksum = frame_checksum(f, payload);
}

int write_at(int fd, const void *data, size_t size, uint64_t offset) {
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

int read_at(int fd, void *data, size_t size, uint64_t offset) {
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
