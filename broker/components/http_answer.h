/* The status in the beginning of an HTTP answer, RFC 9112. */
#ifndef COMPONENTS_HTTP_ANSWER_H
#define COMPONENTS_HTTP_ANSWER_H

#include <stddef.h>

/* Of an answer so much is looked at; interim answers (103 Early Hints) come before the status. */
#define HTTP_ANSWER_MAX 8192

/*
 * Total: any bytes are a valid argument. 1: *ret_status is the final status, 101 or from 200 to
 * 999; 0: there must be more; -EBADMSG: this is no HTTP/1 answer, or not within HTTP_ANSWER_MAX.
 */
int http_answer_parse(const char *data, size_t size, unsigned *ret_status);

#endif
