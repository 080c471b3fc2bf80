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
        struct key key;
        void *value;
        UT_hash_handle hh;
};

static void make_key(const struct address *a, struct key *ret) {
        memset(ret, 0, sizeof(*ret));
        ret->type = a->type;
        ret->family = a->any.sa_family;
        switch (a->any.sa_family) {
        case AF_INET:
                ret->port = a->in.sin_port;
                memcpy(ret->bytes, &a->in.sin_addr, sizeof(a->in.sin_addr));
                break;
        case AF_INET6:
                ret->port = a->in6.sin6_port;
                ret->scope = a->in6.sin6_scope_id;
                memcpy(ret->bytes, &a->in6.sin6_addr, sizeof(a->in6.sin6_addr));
                break;
        case AF_UNIX: {
                size_t size = a->length > offsetof(struct sockaddr_un, sun_path)
                                      ? a->length - offsetof(struct sockaddr_un, sun_path)
                                      : 0;

                if (size > 0 && a->un.sun_path[0] != '\0') /* not abstract: ends at its NUL */
                        size = strnlen(a->un.sun_path, size);
                memcpy(ret->bytes, a->un.sun_path, size);
                break;
        }
        }
}

int address_index_add(struct address_index *index, const struct address *address, void *value) {
        struct address_entry *entry = calloc(1, sizeof(*entry)), *other;

        if (!entry)
                return -ENOMEM;
        make_key(address, &entry->key);
        entry->value = value;
        HASH_FIND(hh, index->by_key, &entry->key, sizeof(entry->key), other);
        if (other) {
                free(entry);
                return 0;
        }
        HASH_ADD(hh, index->by_key, key, sizeof(entry->key), entry);
        if (!entry->hh.tbl) {
                free(entry);
                return -ENOMEM;
        }
        return 0;
}

void *address_index_find(const struct address_index *index, const struct address *address) {
        struct address_entry *entry;
        struct key key;

        make_key(address, &key);
        HASH_FIND(hh, index->by_key, &key, sizeof(key), entry);
        return entry ? entry->value : NULL;
}

void address_index_clear(struct address_index *index) {
        struct address_entry *entry, *tmp;

        HASH_ITER (hh, index->by_key, entry, tmp) {
                HASH_DEL(index->by_key, entry);
                free(entry);
        }
}
