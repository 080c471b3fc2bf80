/* The receipts of a job as JSON; docs/protocol.md has the members. */
#ifndef CONTROL_RECEIPT_DOCUMENT_H
#define CONTROL_RECEIPT_DOCUMENT_H

struct job;
struct json_writer;

/* One whole document, for json_end() or document_end(). */
void receipt_document_write(struct json_writer *json, const struct job *job);

#endif
