/* The components of a draft, for draft.c alone. */
#ifndef CONFIG_COMPONENT_DRAFT_H
#define CONFIG_COMPONENT_DRAFT_H

#include "config/draft.h"

void draft_component_free(struct draft_component *c);

/* Into the configuration, sorted by name. 0, or -ENOMEM with all of them left in the draft. */
int draft_move_components(struct draft *draft, struct config *config);

#endif
