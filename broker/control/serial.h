/* A request's SERIAL=, kept for an answer that is given when the request is gone. */
#ifndef CONTROL_SERIAL_H
#define CONTROL_SERIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "grammar.h"

#define SERIAL_LENGTH_MAX 64

/* It may be copied. */
struct serial {
        bool is_given; /* an empty one is echoed, too */
        size_t length;
        char bytes[SERIAL_LENGTH_MAX];
};

/* At most SERIAL_LENGTH_MAX bytes, which the dispatcher has checked; start is NULL: none. */
static inline struct serial serial_keep(struct text t) {
        struct serial s = {.is_given = t.start != NULL, .length = t.length};

        if (s.is_given)
                memcpy(s.bytes, t.start, t.length);
        return s;
}

/* As it stands in a request: a view, which lives as long as what was kept. */
static inline struct text serial_text(const struct serial *s) {
        return (struct text){s->is_given ? s->bytes : NULL, s->length};
}

#endif
