/* What disposable children (core/helper.h) and kept ones (core/worker.h) have in common. */
#ifndef CORE_CHILD_H
#define CORE_CHILD_H

#include <stdbool.h>
#include <stddef.h>

#define CHILD_RESULT_MAX 4096

/* What a child found: all that it wrote before it ended or was ended. A NUL follows it; it is good
 * until this returns. */
typedef void child_done(void *owner, const char *result, size_t size);

/* A result that is one struct, written at once. False: it did not come to writing it. */
bool child_result_read(const char *result, size_t size, void *ret, size_t ret_size);

/* What every such child does first: default dispositions, no mask, and its end with the broker's.
 */
void child_begin(void);

#endif
