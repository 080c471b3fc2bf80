/*
 * Any bytes: grammar_parse() gives an error or views that lie in the packet, do not overlap, keep
 * their order and hold what the grammar allows. What it accepts can be written by the writer and is
 * then read the same.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "grammar.h"
#include "names.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_views(const char *packet, size_t size, const struct assignments *a) {
        const char *at = packet;

        assert(a->count >= 1 && a->count <= ASSIGNMENTS_MAX);
        for (size_t i = 0; i < a->count; i++) {
                struct text key = a->items[i].key, value = a->items[i].value;

                assert(key.start == at && key.length >= 1 && key.length <= KEY_LENGTH_MAX);
                assert(key.start[key.length] == '=');
                assert(value.start == key.start + key.length + 1);
                assert(!memchr(key.start, '=', key.length));
                assert(!memchr(value.start, '\n', value.length));
                assert(!memchr(value.start, '\0', value.length));
                at = value.start + value.length + 1;
        }
        /* All of the packet is accounted for, but for a newline at its end. */
        assert(at == packet + size || at == packet + size + 1);
}

static bool same(struct text a, struct text b) {
        return a.length == b.length && memcmp(a.start, b.start, a.length) == 0;
}

static void check_lookup(const struct assignments *a) {
        for (size_t i = 0; i < a->count; i++) {
                char *key = text_dup(a->items[i].key);
                uint64_t n;

                assert(key && text_equal(a->items[i].key, key));
                assert(assignments_get(a, key) == &a->items[i].value); /* so none is repeated */
                (void) text_to_u64(a->items[i].value, &n);
                (void) name_is_valid(a->items[i].value.start, a->items[i].value.length);
                free(key);
        }
        assert(!assignments_get(a, "no such key"));
}

static void check_round_trip(const struct assignments *a) {
        static struct packet_writer w;
        struct assignments again;

        packet_begin(&w);
        for (size_t i = 0; i < a->count; i++) {
                char *key = text_dup(a->items[i].key);

                assert(key);
                packet_add_text(&w, key, a->items[i].value);
                free(key);
        }
        if (w.overflow)
                return; /* the writer's newline at the end was one byte too much */
        assert(grammar_parse(w.data, w.size, &again) == 0 && again.count == a->count);
        for (size_t i = 0; i < a->count; i++)
                assert(same(a->items[i].key, again.items[i].key) &&
                       same(a->items[i].value, again.items[i].value));
}

/* Bytes as a value: whatever they are, they stay one value. */
static void check_no_forgery(const char *data, size_t size) {
        static struct packet_writer w;
        struct assignments a;

        packet_begin(&w);
        packet_add_text(&w, "KEY", (struct text){data, size});
        packet_add(&w, "END", "1");
        if (w.overflow)
                return;
        assert(grammar_parse(w.data, w.size, &a) == 0 && a.count == 2);
        assert(a.items[0].value.length == size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct assignments a;
        char *packet;
        int r;

        if (size > MESSAGE_SIZE_MAX)
                return 0;
        /* A copy of exactly this size: a byte read beyond it is a finding. */
        packet = malloc(size > 0 ? size : 1);
        assert(packet);
        if (size > 0)
                memcpy(packet, data, size);
        r = grammar_parse(packet, size, &a);
        assert(r == 0 || r == -EBADMSG || r == -E2BIG || r == -EEXIST);
        if (r == 0) {
                check_views(packet, size, &a);
                check_lookup(&a);
                check_round_trip(&a);
        }
        check_no_forgery(packet, size);
        free(packet);
        return 0;
}
