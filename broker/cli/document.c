/*
 * The broker writes a document into a sealed memfd and announces its size. We read it with pread(2)
 * into memory of our own: neither a size that is wrong nor a file that changes under us can do more
 * than make the answer an error, and jansson bounds the depth (JSON_PARSER_MAX_DEPTH).
 */
#include "cli/document.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"

/* Exactly `size` bytes, then the end. */
static int read_exactly(int fd, char *buffer, size_t size) {
        for (size_t done = 0; done <= size;) {
                char past;
                ssize_t n = done < size ? pread(fd, buffer + done, size - done, (off_t) done)
                                        : pread(fd, &past, 1, (off_t) done);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        return done == size ? 0 : -EPROTO;
                done += (size_t) n;
        }
        return -EPROTO;
}

static int parse(const char *text, size_t size, json_t **ret) {
        json_error_t error;
        json_t *document = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);

        if (!document)
                return json_error_code(&error) == json_error_out_of_memory ? -ENOMEM : -EPROTO;
        if (!json_is_object(document)) {
                json_decref(document);
                return -EPROTO;
        }
        *ret = document;
        return 0;
}

int document_take(struct answer *answer, json_t **ret) {
        const struct text *kind = assignments_get(&answer->assignments, "DOCUMENT");
        const struct text *size_text = assignments_get(&answer->assignments, "SIZE");
        _cleanup_close_ int fd = -1;
        _cleanup_free_ char *text = NULL;
        uint64_t size;
        struct stat st;
        int r;

        if (!kind)
                return -ENODATA;
        if (!text_equal(*kind, "json") || !size_text || text_to_u64(*size_text, &size) < 0 ||
            answer->message.fds.count == 0)
                return -EPROTO;
        if (size > DOCUMENT_SIZE_MAX)
                return -EFBIG;
        fd = fd_list_take_fd(&answer->message.fds, answer->message.fds.count - 1);
        /* a regular file, as a memfd is, cannot make us wait */
        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
                return -EPROTO;
        text = malloc((size_t) size + 1);
        if (!text)
                return -ENOMEM;
        r = read_exactly(fd, text, (size_t) size);
        return r < 0 ? r : parse(text, (size_t) size, ret);
}

int document_status(struct fdpass *c, const char *name, json_t **ret) {
        struct packet_writer request;
        struct answer *answer = NULL;
        int r;

        packet_begin(&request);
        packet_add(&request, "VERB", "STATUS");
        if (name)
                packet_add(&request, "NAME", name);
        r = fdpass_call(c, &request, NULL, 0, &answer);
        if (r == 0)
                r = document_take(answer, ret);
        answer_free(answer);
        return r == -ENODATA ? -EPROTO : r;
}

const char *document_text(const json_t *object, const char *key) {
        const char *text = json_string_value(json_object_get(object, key));

        return text ? text : "";
}

uint64_t document_number(const json_t *object, const char *key) {
        json_int_t number = json_integer_value(json_object_get(object, key));

        return number > 0 ? (uint64_t) number : 0;
}

bool document_truth(const json_t *object, const char *key) {
        return json_is_true(json_object_get(object, key));
}

bool document_has(const json_t *array, const char *name) {
        const json_t *one;
        size_t i;

        json_array_foreach(array, i, one) {
                if (strcmp(document_text(one, "name"), name) == 0)
                        return true;
        }
        return false;
}

json_t *document_string(const char *bytes) {
        json_t *whole = json_string(bytes), *mended;
        size_t used = 0;
        char *copy;

        if (whole)
                return whole;
        copy = malloc(strlen(bytes) * 3 + 1);
        if (!copy)
                return NULL;
        while (*bytes) {
                /* the longest sequence that jansson takes as one character */
                size_t length = 4;
                while (length > 0 &&
                       !(whole = strnlen(bytes, length) == length ? json_stringn(bytes, length)
                                                                  : NULL))
                        length--;
                json_decref(whole);
                memcpy(copy + used, length ? bytes : "\xef\xbf\xbd", length ? length : 3);
                used += length ? length : 3;
                bytes += length ? length : 1;
        }
        mended = json_stringn(copy, used);
        free(copy);
        return mended;
}

/*
 * jansson escapes C0 controls, or everything beyond ASCII, and no C1 controls alone, which steer a
 * terminal behind a pipe as well. It hands out whole characters.
 */
static int put_piece(const char *piece, size_t size, void *owner) {
        const unsigned char *plain = (const unsigned char *) piece, *p = plain, *end = p + size;
        FILE *stream = owner;

        for (; end - p > 1; p++) {
                if (p[0] != 0xc2 || p[1] >= 0xa0)
                        continue;
                (void) fwrite(plain, 1, (size_t) (p - plain), stream);
                (void) fprintf(stream, "\\u%04X", p[1]);
                plain = p + 2;
                p++;
        }
        return fwrite(plain, 1, (size_t) (end - plain), stream) == (size_t) (end - plain) ? 0 : -1;
}

static int print(const json_t *document, FILE *stream, size_t flags_on_terminal) {
        size_t flags = isatty(fileno(stream)) ? flags_on_terminal : 0;

        errno = 0;
        if (json_dump_callback(document, put_piece, stream, flags) < 0 ||
            fputc('\n', stream) == EOF)
                return errno == ENOMEM ? -ENOMEM : -EIO;
        return 0;
}

int document_print(const json_t *document, FILE *stream) {
        return print(document, stream, JSON_INDENT(2) | JSON_ENSURE_ASCII);
}

int document_print_line(const json_t *document, FILE *stream) {
        return print(document, stream, JSON_ENSURE_ASCII);
}
