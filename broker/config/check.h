/* What is only to be seen when everything was read: duplicates, what is missing, what does not go
 * together. */
#ifndef CONFIG_CHECK_H
#define CONFIG_CHECK_H

#include "config/draft.h"

/* `path` is what was loaded, for messages about the whole. Reports into the draft's diagnostics. */
void check_draft(struct draft *draft, const char *path);

/* Addresses that cannot both be bound; a part of check_draft(). */
void check_addresses(struct draft *draft);

/* What can be known only now: listeners, deferred directives, relations, users; before the checks.
 */
void resolve_components(struct draft *draft);

/* Components that cannot run as they are; a part of check_draft(). */
void check_components(struct draft *draft);

#endif
