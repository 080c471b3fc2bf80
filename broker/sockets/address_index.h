/* Find by address among thousands: what one apply compares old and new by. */
#ifndef SOCKETS_ADDRESS_INDEX_H
#define SOCKETS_ADDRESS_INDEX_H

#include "config/address.h"

struct address_entry;

struct address_index {
        struct address_entry *by_key;
};

/* The first value of an address stays. 0 or -ENOMEM. */
int address_index_add(struct address_index *index, const struct address *address, void *value);
/* NULL when there is none. Equal as address_equal() has it. */
void *address_index_find(const struct address_index *index, const struct address *address);
void address_index_clear(struct address_index *index);

#endif
