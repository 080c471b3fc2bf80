/*
 * A hash of addresses. The key is made of what makes two addresses equal and nothing else: a
 * sockaddr has padding, a flow label, and bytes behind the end of a path.
 */
#include "sockets/address_index.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"

struct key {
        int type;
        sa_family_t family;
        in_port_t port;
        uint32_t scope;
        char bytes[sizeof(((struct sockaddr_un *) 0)->sun_path)];
};

struct address_entry {
        void *value;
        UT_hash_handle hh;
        struct key key; /* as long as it is used */
};

/* Returns how much of it is used: the rest is neither set, nor hashed, nor compared. */
static unsigned make_key(const struct address *a, struct key *ret) {
        size_t size = 0;

        memset(ret, 0, offsetof(struct key, bytes));
        ret->type = a->type;
        ret->family = a->any.sa_family;
        switch (a->any.sa_family) {
        case AF_INET:
                ret->port = a->in.sin_port;
                size = sizeof(a->in.sin_addr);
                memcpy(ret->bytes, &a->in.sin_addr, size);
                break;
        case AF_INET6:
                ret->port = a->in6.sin6_port;
                ret->scope = a->in6.sin6_scope_id;
                size = sizeof(a->in6.sin6_addr);
                memcpy(ret->bytes, &a->in6.sin6_addr, size);
                break;
        case AF_UNIX:
                if (a->length > offsetof(struct sockaddr_un, sun_path))
                        size = a->length - offsetof(struct sockaddr_un, sun_path);
                if (size > 0 && a->un.sun_path[0] != '\0') /* not abstract: ends at its NUL */
                        size = strnlen(a->un.sun_path, size);
                memcpy(ret->bytes, a->un.sun_path, size);
                break;
        }
        return (unsigned) (offsetof(struct key, bytes) + size);
}

int address_index_add(struct address_index *index, const struct address *address, void *value) {
        struct address_entry *entry, *other;
        unsigned size, hash;
        struct key key;

        size = make_key(address, &key);
        HASH_VALUE(&key, size, hash);
        HASH_FIND_BYHASHVALUE(hh, index->by_key, &key, size, hash, other);
        if (other)
                return 0;
        entry = malloc(offsetof(struct address_entry, key) + size);
        if (!entry)
                return -ENOMEM;
        memcpy(&entry->key, &key, size);
        entry->value = value;
        HASH_ADD_BYHASHVALUE(hh, index->by_key, key, size, hash, entry);
        if (!entry->hh.tbl) {
                free(entry);
                return -ENOMEM;
        }
        return 0;
}

void *address_index_find(const struct address_index *index, const struct address *address) {
        struct address_entry *entry;
        struct key key;
        unsigned size = make_key(address, &key);

        HASH_FIND(hh, index->by_key, &key, size, entry);
        return entry ? entry->value : NULL;
}

void address_index_clear(struct address_index *index) {
        struct address_entry *entry, *tmp;

        HASH_ITER (hh, index->by_key, entry, tmp) {
                HASH_DEL(index->by_key, entry);
                free(entry);
        }
}
