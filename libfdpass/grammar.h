/*
 * The grammar of every packet: newline-separated KEY=VALUE assignments, as in sd_notify(3).
 *
 * The parser is total (any bytes give either assignments or an error) and copies nothing: keys and
 * values are views into the packet. The writer never overflows: it remembers that it did not fit.
 */
#ifndef FDPASS_GRAMMAR_H
#define FDPASS_GRAMMAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "message.h"

/* Part of a packet: not terminated by NUL, valid as long as the packet. */
struct text {
        const char *start;
        size_t length;
};

struct assignment {
        struct text key;
        struct text value;
};

#define ASSIGNMENTS_MAX 64
#define KEY_LENGTH_MAX 64

struct assignments {
        size_t count;
        struct assignment items[ASSIGNMENTS_MAX];
};

/*
 * Split a packet. A key is A-Z, then A-Z 0-9 _ - ; a value is any bytes but NUL and newline, and
 * may be empty. One newline at the end of the packet is allowed, empty lines are not.
 *
 * Returns 0, or with ret undefined:
 *   -EBADMSG  a line without '=', an empty or ill-formed key, a NUL, an empty packet
 *   -E2BIG    more than ASSIGNMENTS_MAX assignments or a key over KEY_LENGTH_MAX
 *   -EEXIST   a key is repeated
 */
int grammar_parse(const char *data, size_t size, struct assignments *ret);

/* The value of key, or NULL. */
const struct text *assignments_get(const struct assignments *a, const char *key);

/* The value of key as a number; `otherwise` when it is not there, or no number. */
uint64_t assignments_u64(const struct assignments *a, const char *key, uint64_t otherwise);

bool text_equal(struct text t, const char *string);

/* A newly allocated NUL-terminated copy, or NULL when out of memory. */
char *text_dup(struct text t);

/* Decimal digits only; -EINVAL for anything else, -ERANGE when it does not fit. */
int text_to_u64(struct text t, uint64_t *ret);

struct packet_writer {
        size_t size;
        bool overflow; /* something did not fit: what was written is not to be sent */
        char data[MESSAGE_SIZE_MAX];
};

void packet_begin(struct packet_writer *w);
/* A newline or NUL in value is written as a space: a value can never forge an assignment. */
void packet_add(struct packet_writer *w, const char *key, const char *value);
void packet_add_text(struct packet_writer *w, const char *key, struct text value);
void packet_add_u64(struct packet_writer *w, const char *key, uint64_t value);
void packet_addf(struct packet_writer *w, const char *key, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

#endif
