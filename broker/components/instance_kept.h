/* The words of the records of instances, and how one is found again. */
#ifndef COMPONENTS_INSTANCE_KEPT_H
#define COMPONENTS_INSTANCE_KEPT_H

#include <stddef.h>

#include "keeper/state.h"

struct component;
struct memory;

#define KIND_INSTANCE "instance"
#define KIND_INSTANCE_PART "instance_part"

/* The records of all parts, by the instance that each is of: there may be thousands. */
struct instance_parts {
        size_t count;
        struct instance_part {
                char instance[STATE_ID_SIZE], id[STATE_ID_SIZE];
                size_t place; /* among all records: of two of a kind the first one counts */
        } * all;              /* owned */
};

/* 0 or -ENOMEM. */
int instance_parts_find(const struct memory *memory, struct instance_parts *ret);
void instance_parts_clear(struct instance_parts *parts);

/* The instance of this record. 0, -ENOMEM, -EINVAL: it is broken. */
int instance_adopt(struct component *component, const char *id, const struct instance_parts *parts);

#endif
