/*
 * The streaming JSON writer. What it relies on: a document goes to fd by pwrite(2), so that the
 * offset of the open file description, which is lent together with a memfd, stays at the start and
 * the receiver can simply read.
 */
#include "core/json_writer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/utf8.h"

/* What a writer to a file gathers before it writes; a writer to memory begins with that. */
#define CHUNK 65536

void json_begin(struct json_writer *w) {
        memset(w, 0, sizeof(*w));
        w->fd = -1;
}

void json_begin_fd(struct json_writer *w, int fd) {
        json_begin(w);
        w->fd = fd;
}

static void flush(struct json_writer *w) {
        size_t done = 0;

        while (done < w->size && w->error == 0) {
                ssize_t n = pwrite(w->fd, w->buffer + done, w->size - done,
                                   (off_t) (w->flushed + done));
                if (n >= 0)
                        done += (size_t) n;
                else if (errno != EINTR)
                        w->error = -errno;
        }
        w->flushed += done;
        w->size = 0;
}

static void grow(struct json_writer *w, size_t needed) {
        size_t capacity = w->capacity ? w->capacity : CHUNK;
        char *buffer;

        while (capacity < needed)
                capacity *= 2;
        buffer = realloc(w->buffer, capacity);
        if (!buffer) {
                w->error = -ENOMEM;
                return;
        }
        w->buffer = buffer;
        w->capacity = capacity;
}

/* Room for `size` more bytes, or an error. */
static bool reserve(struct json_writer *w, size_t size) {
        if (w->error == 0 && w->size + size > w->capacity) {
                if (w->fd >= 0)
                        flush(w);
                if (w->error == 0 && w->size + size > w->capacity)
                        grow(w, w->size + size);
        }
        return w->error == 0;
}

static void put(struct json_writer *w, const char *bytes, size_t size) {
        if (reserve(w, size)) {
                memcpy(w->buffer + w->size, bytes, size);
                w->size += size;
        }
}

static void put_escaped(struct json_writer *w, unsigned char c) {
        static const char hex[] = "0123456789abcdef";
        char escape[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};

        if (c == '"' || c == '\\')
                put(w, (char[]){'\\', (char) c}, 2);
        else if (c == '\n')
                put(w, "\\n", 2);
        else if (c == '\t')
                put(w, "\\t", 2);
        else
                put(w, escape, sizeof(escape));
}

/*
 * JSON allows C1 controls as they are. Terminals obey them, and people look at documents with
 * cat(1).
 */
static bool is_escaped(uint32_t code) {
        return code < 0x20 || code == '"' || code == '\\' || utf8_is_c1_control(code);
}

static void put_string(struct json_writer *w, const char *value) {
        const char *plain = value; /* begin of what goes out as it is */

        put(w, "\"", 1);
        while (*value) {
                uint32_t code;
                size_t n = utf8_decode(value, UTF8_TERMINATED, &code);

                if (n > 0 && !is_escaped(code)) {
                        value += n;
                        continue;
                }
                put(w, plain, (size_t) (value - plain));
                if (n > 0)
                        put_escaped(w, (unsigned char) code);
                else
                        put(w, "\xef\xbf\xbd", 3); /* U+FFFD */
                value += n > 0 ? n : 1;
                plain = value;
        }
        put(w, plain, (size_t) (value - plain));
        put(w, "\"", 1);
}

static void put_key(struct json_writer *w, const char *key) {
        if (w->need_comma[w->depth])
                put(w, ",", 1);
        w->need_comma[w->depth] = true;
        if (key) {
                put_string(w, key);
                put(w, ":", 1);
        }
}

static void open_level(struct json_writer *w, const char *key, const char *bracket) {
        put_key(w, key);
        put(w, bracket, 1);
        if (w->depth == JSON_DEPTH_MAX) {
                w->error = w->error ? w->error : -EOVERFLOW;
                return;
        }
        w->need_comma[++w->depth] = false;
}

static void close_level(struct json_writer *w, const char *bracket) {
        if (w->depth == 0) {
                w->error = w->error ? w->error : -EINVAL;
                return;
        }
        w->depth--;
        put(w, bracket, 1);
}

void json_open_object(struct json_writer *w, const char *key) {
        open_level(w, key, "{");
}

void json_close_object(struct json_writer *w) {
        close_level(w, "}");
}

void json_open_array(struct json_writer *w, const char *key) {
        open_level(w, key, "[");
}

void json_close_array(struct json_writer *w) {
        close_level(w, "]");
}

void json_text(struct json_writer *w, const char *key, const char *value) {
        if (!value) {
                json_none(w, key);
                return;
        }
        put_key(w, key);
        put_string(w, value);
}

void json_u64(struct json_writer *w, const char *key, uint64_t value) {
        char digits[20], *p = digits + sizeof(digits);

        put_key(w, key);
        do
                *--p = (char) ('0' + value % 10);
        while (value /= 10);
        put(w, p, (size_t) (digits + sizeof(digits) - p));
}

void json_bool(struct json_writer *w, const char *key, bool value) {
        put_key(w, key);
        if (value)
                put(w, "true", 4);
        else
                put(w, "false", 5);
}

void json_none(struct json_writer *w, const char *key) {
        put_key(w, key);
        put(w, "null", 4);
}

int json_end(struct json_writer *w, char **ret_text, size_t *ret_size) {
        int r;

        if (w->error == 0 && w->depth != 0)
                w->error = -EINVAL;
        if (w->fd >= 0)
                flush(w);
        else
                put(w, "", 1); /* the NUL */
        r = w->error;
        if (r == 0) {
                *ret_size = w->fd >= 0 ? w->flushed : w->size - 1;
                if (w->fd < 0 && ret_text) {
                        *ret_text = w->buffer;
                        w->buffer = NULL;
                }
        }
        free(w->buffer);
        w->buffer = NULL;
        return r;
}
