/* JSON documents that come as a memfd with an answer, and reading them without trusting them. */
#ifndef CLI_DOCUMENT_H
#define CLI_DOCUMENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "client.h"

/* No answer of a broker at its limits comes near. */
#define DOCUMENT_SIZE_MAX (64U * 1024 * 1024)

/*
 * The document of an answer, for the caller to json_decref(). 0, or: -ENODATA the answer has none;
 * -EPROTO it is not what the answer announced, or not JSON; -EFBIG over DOCUMENT_SIZE_MAX; -ENOMEM;
 * or what reading it said.
 */
int document_take(struct answer *answer, json_t **ret);

/* Ask for the status of all listeners, or of one. As fdpass_call() and document_take(). */
int document_status(struct fdpass *c, const char *name, json_t **ret);

/* Members of an object, "" or 0 or false where they are missing or of another type. */
const char *document_text(const json_t *object, const char *key);
uint64_t document_number(const json_t *object, const char *key);
bool document_truth(const json_t *object, const char *key);

/* Is an object of this name in the array? */
bool document_has(const json_t *array, const char *name);

/* A string value for any bytes: what is not UTF-8 becomes U+FFFD. NULL when out of memory. */
json_t *document_string(const char *bytes);

/*
 * Print with a newline after it; indented, and in plain ASCII, when `stream` is a terminal. Control
 * characters are escaped in any case: what is piped may end on a terminal, too. 0, -ENOMEM, or -EIO
 * (see display_finish()).
 */
int document_print(const json_t *document, FILE *stream);
/* The same in one line. */
int document_print_line(const json_t *document, FILE *stream);

#endif
