/*
 * Who has an address that cannot be bound: a listening process by pid and name, a connection whose
 * local port it is, or a TIME_WAIT remainder; and what to do about it.
 *
 * Reads sock_diag and /proc of every process: takes 100 ms and more on a busy machine, so inside a
 * serving broker it runs in a disposable child (core/helper.h).
 */
#ifndef SOCKETS_CONFLICT_H
#define SOCKETS_CONFLICT_H

#include <stdbool.h>
#include <stddef.h>

#include "config/address.h"

#define CONFLICT_TEXT_SIZE 512

/*
 * One or two sentences: "nginx (pid 812, uid 33) listens on 0.0.0.0:8080. Stop it, or choose
 * another address." Always writes something that is true. Returns ret.
 */
const char *conflict_explain(const struct address *address, char ret[CONFLICT_TEXT_SIZE]);

/*
 * Can the two not both be listened on? Equal ones, and those of which one includes the other: a
 * wildcard, or [::], which serves IPv4 too unless it was bound IPv6-only.
 */
bool conflict_overlaps(const struct address *a, const struct address *b);

#endif
