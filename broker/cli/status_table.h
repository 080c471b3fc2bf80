/* The document of STATUS as tables for people. */
#ifndef CLI_STATUS_TABLE_H
#define CLI_STATUS_TABLE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* A row for each component. 0 or -ENOMEM. */
int status_table_components(const json_t *document, uint64_t now_usec, bool color, FILE *stream);

/* A row for each socket of each listener. 0 or -ENOMEM. */
int status_table_listeners(const json_t *document, uint64_t now_usec, bool color, FILE *stream);

/* A row for each lease. 0 or -ENOMEM. */
int status_table_leases(const json_t *document, uint64_t now_usec, bool color, FILE *stream);

/* How many leases all listeners of the document have. */
size_t status_table_count_leases(const json_t *document);

#endif
