/*
 * A scene with one component, "a", which becomes ready when the test makes a file: "go1" lets
 * generation 1 become ready, "go1.0" its first instance; "bad2" has generation 2 end before it is,
 * when it has written its line.
 */
#ifndef TESTS_OPERATION_SUPPORT_H
#define TESTS_OPERATION_SUPPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "life_support.h"

/* `more`: directives. */
void operation_open(struct scene *l, const char *more);
/* Running, as generation 1. */
void operation_run(struct scene *l, const char *more);
bool operation_serves(const struct scene *l, uint64_t generation);

#endif
