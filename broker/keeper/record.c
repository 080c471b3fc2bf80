/* Records: thin over memory.h. */
#include "keeper/record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "keeper/memory.h"

struct packet_writer *record_new(const struct memory *m, const struct record_kind *kind) {
        struct packet_writer *w = m ? malloc(sizeof(*w)) : NULL;

        if (w) {
                packet_begin(w);
                packet_add(w, "RECORD", kind->name);
        }
        return w;
}

int record_put(struct memory *m, const struct record_kind *kind, struct packet_writer *w,
               char id[STATE_ID_SIZE]) {
        bool fresh = id[0] == '\0';
        int r;

        if (!w)
                return -ENOMEM;
        if (fresh)
                memory_new_id(m, kind->letter, id);
        r = memory_put(m, id, w, kind->known);
        free(w);
        if (r < 0 && fresh)
                id[0] = '\0';
        return r;
}

bool record_keep(struct memory *m, struct log *log, const struct record_kind *kind,
                 struct packet_writer *w, char id[STATE_ID_SIZE], const char *what) {
        int r;

        if (!m)
                return false;
        r = record_put(m, kind, w, id);
        if (r < 0)
                log_error(log, NULL,
                          "%s cannot be remembered: %s; it would not be known again after a crash",
                          what, strerror(-r));
        return r == 0;
}

void record_remove(struct memory *m, char id[STATE_ID_SIZE]) {
        if (m && id[0])
                memory_remove(m, id);
        id[0] = '\0';
}

uint64_t record_u64(const struct assignments *a, const char *key) {
        return assignments_u64(a, key, 0);
}

unsigned record_choice(const struct assignments *a, const char *key, unsigned max,
                       unsigned otherwise) {
        uint64_t value = record_u64(a, key);

        return value <= max ? (unsigned) value : otherwise;
}

void record_text(const struct assignments *a, const char *key, char *ret, size_t size) {
        const struct text *value = assignments_get(a, key);
        size_t n = value ? value->length : 0;

        if (n >= size)
                n = size - 1;
        if (n > 0)
                memcpy(ret, value->start, n);
        ret[n] = '\0';
}
