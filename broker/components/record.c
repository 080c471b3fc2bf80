/* Records of components: thin over keeper/memory.h. */
#include "components/record.h"

#include <stdlib.h>
#include <string.h>

#include "components/component_table.h"
#include "keeper/memory.h"

struct packet_writer *record_begin(const struct component_table *t, const char *kind) {
        struct packet_writer *w = t->memory ? malloc(sizeof(*w)) : NULL;

        if (w) {
                packet_begin(w);
                packet_add(w, "RECORD", kind);
        }
        return w;
}

bool record_end(const struct component_table *t, struct packet_writer *w, char letter,
                char id[STATE_ID_SIZE], const char *const known[]) {
        bool fresh = id[0] == '\0';
        int r;

        if (!w)
                return false;
        if (fresh)
                memory_new_id(t->memory, letter, id);
        r = memory_put(t->memory, id, w, known);
        free(w);
        if (r < 0) {
                log_error(t->log, NULL,
                          "a record of components cannot be kept: %s; after a crash of the broker "
                          "it would be missing",
                          strerror(-r));
                if (fresh)
                        id[0] = '\0';
        }
        return r == 0;
}

void record_remove(const struct component_table *t, char id[STATE_ID_SIZE]) {
        if (t->memory && id[0])
                memory_remove(t->memory, id);
        id[0] = '\0';
}

uint64_t record_u64(const struct assignments *a, const char *key) {
        const struct text *value = assignments_get(a, key);
        uint64_t n = 0;

        return value && text_to_u64(*value, &n) == 0 ? n : 0;
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
