/* Composing and sending the answer to a request. */
#ifndef CONTROL_ANSWER_H
#define CONTROL_ANSWER_H

#include "control/verbs.h"
#include "grammar.h"

/* Begin "OK=1" with the request's serial; the caller adds to what is returned. */
struct packet_writer *answer_begin(const struct request *request);

/* Send what was begun. As outgoing_send(). */
int answer_send(const struct request *request);

/*
 * Send what was begun with a document of `size` bytes, in a memfd that is taken in any case. The
 * session has one document outstanding from now on. As outgoing_send().
 */
int answer_send_document(const struct request *request, int memfd, size_t size);

/* "ERROR=" with the name of `error` (a positive errno) and a sentence for people. */
void answer_error(const struct request *request, int error, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* The same, with a document. Takes memfd. */
void answer_error_document(const struct request *request, int error, const char *message, int memfd,
                           size_t size);

/*
 * An answer with descriptors got `error` of outgoing_send() or outgoing_try(): when it is one of
 * those that leave the session as it was (the peer takes none, or too many are in flight) the peer
 * hears why, and true is returned.
 */
bool answer_unsendable(const struct request *request, int error);

/* ERROR=EBUSY and true when the session has not read the document that it was sent before. */
bool answer_is_outstanding(const struct request *request);

#endif
