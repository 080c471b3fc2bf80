/* The words of the records of instances, and how one is found again. */
#ifndef COMPONENTS_INSTANCE_KEPT_H
#define COMPONENTS_INSTANCE_KEPT_H

struct component;

#define KIND_INSTANCE "instance"
#define KIND_INSTANCE_PART "instance_part"

/* The instance of this record. 0, -ENOMEM, -EINVAL: it is broken. */
int instance_adopt(struct component *component, const char *id);

#endif
