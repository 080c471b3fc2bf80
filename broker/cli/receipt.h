/* What became of a job, and what becomes of it, for people. */
#ifndef CLI_RECEIPT_H
#define CLI_RECEIPT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "grammar.h"

/* A line for an EVENT=PROGRESS; nothing for other events. */
void receipt_print_progress(const struct assignments *event, bool color, FILE *stream);

/* A line or more for each component of the receipts' document. */
void receipt_print(const json_t *document, bool color, FILE *stream);

#endif
