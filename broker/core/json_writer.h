/*
 * A JSON document written from the start to its end, into memory or straight into a memfd, without
 * ever being a tree. The first failure is kept and everything after it does nothing, so callers ask
 * once, at the end.
 */
#ifndef CORE_JSON_WRITER_H
#define CORE_JSON_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Levels of nesting; one more is -EOVERFLOW. */
#define JSON_DEPTH_MAX 16

struct json_writer {
        int fd;    /* lent; -1: all of it stays in memory */
        int error; /* 0 or the first negative errno */
        char *buffer;
        size_t size; /* in the buffer */
        size_t capacity;
        size_t flushed; /* bytes that are in fd already */
        unsigned depth;
        bool need_comma[JSON_DEPTH_MAX + 1];
};

/* Into memory, for json_end() to hand out; or into a regular file or memfd, from its offset 0. */
void json_begin(struct json_writer *w);
void json_begin_fd(struct json_writer *w, int fd);

/*
 * Complete the document: every object and array must have been closed.
 *
 * Returns 0 with its size; when written into memory *ret_text (NULL allowed for a file) is the
 * NUL-terminated text for the caller to free(3). -ENOMEM, -EOVERFLOW (nested too deep), -EINVAL
 * (left open, or closed once too often), or the error of pwrite(2). Releases the writer in any
 * case.
 */
int json_end(struct json_writer *w, char **ret_text, size_t *ret_size);

/* `key` is NULL in an array and for the outermost value. */
void json_open_object(struct json_writer *w, const char *key);
void json_close_object(struct json_writer *w);
void json_open_array(struct json_writer *w, const char *key);
void json_close_array(struct json_writer *w);

/*
 * NULL is written as null. Bytes that are not UTF-8 become U+FFFD, one for each. (The names
 * json_string and json_null are jansson's, and the command links both.)
 */
void json_text(struct json_writer *w, const char *key, const char *value);
void json_u64(struct json_writer *w, const char *key, uint64_t value);
void json_bool(struct json_writer *w, const char *key, bool value);
void json_none(struct json_writer *w, const char *key);

#endif
