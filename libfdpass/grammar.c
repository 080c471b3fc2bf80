/* KEY=VALUE packets: a total parser and a writer that cannot overflow. See grammar.h. */
#include "grammar.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool key_is_valid(struct text key) {
        if (key.length == 0 || key.start[0] < 'A' || key.start[0] > 'Z')
                return false;
        for (size_t i = 1; i < key.length; i++) {
                char c = key.start[i];
                if (!(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') && c != '_' && c != '-')
                        return false;
        }
        return true;
}

static bool key_is_repeated(const struct assignments *a, struct text key) {
        for (size_t i = 0; i < a->count; i++)
                if (a->items[i].key.length == key.length &&
                    memcmp(a->items[i].key.start, key.start, key.length) == 0)
                        return true;
        return false;
}

static int parse_line(struct text line, struct assignments *ret) {
        const char *equals = memchr(line.start, '=', line.length);
        struct assignment *item;

        if (!equals)
                return -EBADMSG;
        struct text key = {line.start, (size_t) (equals - line.start)};
        if (key.length > KEY_LENGTH_MAX || ret->count == ASSIGNMENTS_MAX)
                return -E2BIG;
        if (!key_is_valid(key))
                return -EBADMSG;
        if (key_is_repeated(ret, key))
                return -EEXIST;
        item = &ret->items[ret->count++];
        item->key = key;
        item->value = (struct text){equals + 1, line.length - key.length - 1};
        return 0;
}

int grammar_parse(const char *data, size_t size, struct assignments *ret) {
        ret->count = 0;
        if (size > 0 && data[size - 1] == '\n')
                size--;
        if (size == 0 || memchr(data, '\0', size))
                return -EBADMSG;
        for (const char *line = data, *end = data + size;;) {
                /* An empty last line ("A=1\n\n") comes here too, with nothing to search. */
                const char *newline = memchr(line, '\n', (size_t) (end - line));
                const char *line_end = newline ? newline : end;
                int r = parse_line((struct text){line, (size_t) (line_end - line)}, ret);
                if (r < 0 || !newline)
                        return r;
                line = newline + 1;
        }
}

const struct text *assignments_get(const struct assignments *a, const char *key) {
        for (size_t i = 0; i < a->count; i++)
                if (text_equal(a->items[i].key, key))
                        return &a->items[i].value;
        return NULL;
}

bool text_equal(struct text t, const char *string) {
        return strlen(string) == t.length && memcmp(t.start, string, t.length) == 0;
}

char *text_dup(struct text t) {
        return strndup(t.start, t.length);
}

int text_to_u64(struct text t, uint64_t *ret) {
        uint64_t value = 0;

        if (t.length == 0)
                return -EINVAL;
        for (size_t i = 0; i < t.length; i++) {
                if (t.start[i] < '0' || t.start[i] > '9')
                        return -EINVAL;
                if (__builtin_mul_overflow(value, 10, &value) ||
                    __builtin_add_overflow(value, (uint64_t) (t.start[i] - '0'), &value))
                        return -ERANGE;
        }
        *ret = value;
        return 0;
}

uint64_t assignments_u64(const struct assignments *a, const char *key, uint64_t otherwise) {
        const struct text *value = assignments_get(a, key);
        uint64_t n = otherwise;

        return value && text_to_u64(*value, &n) == 0 ? n : otherwise;
}

void packet_begin(struct packet_writer *w) {
        w->size = 0;
        w->overflow = false;
}

void packet_add_text(struct packet_writer *w, const char *key, struct text value) {
        size_t key_length = strlen(key);
        char *out = w->data + w->size;

        if (w->overflow || value.length > sizeof(w->data) ||
            key_length + value.length + 2 > sizeof(w->data) - w->size) {
                w->overflow = true;
                return;
        }
        memcpy(out, key, key_length);
        out += key_length;
        *out++ = '=';
        for (size_t i = 0; i < value.length; i++) {
                char c = value.start[i];
                *out++ = c == '\n' || c == '\0' ? ' ' : c;
        }
        *out++ = '\n';
        w->size = (size_t) (out - w->data);
}

void packet_add(struct packet_writer *w, const char *key, const char *value) {
        packet_add_text(w, key, (struct text){value, strlen(value)});
}

void packet_add_u64(struct packet_writer *w, const char *key, uint64_t value) {
        char digits[20], *p = digits + sizeof(digits);

        do
                *--p = (char) ('0' + value % 10);
        while (value /= 10);
        packet_add_text(w, key, (struct text){p, (size_t) (digits + sizeof(digits) - p)});
}

void packet_addf(struct packet_writer *w, const char *key, const char *format, ...) {
        char value[4096];
        va_list arguments;
        int n;

        va_start(arguments, format);
        n = vsnprintf(value, sizeof(value), format, arguments);
        va_end(arguments);
        if (n < 0 || (size_t) n >= sizeof(value))
                w->overflow = true;
        else
                packet_add_text(w, key, (struct text){value, (size_t) n});
}
