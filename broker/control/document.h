/* A long answer: a JSON document in a sealed memfd. */
#ifndef CONTROL_DOCUMENT_H
#define CONTROL_DOCUMENT_H

#include <stddef.h>

#include "core/json_writer.h"

struct document {
        int fd;
        struct json_writer json;
};

/* 0 or the error of memfd_create(2). */
int document_begin(struct document *d);

/*
 * Complete and seal it: nobody can change it any more, us included. *ret_fd is the caller's. 0 or a
 * negative errno. Releases the document in any case.
 */
int document_end(struct document *d, int *ret_fd, size_t *ret_size);

void document_abandon(struct document *d);

#endif
