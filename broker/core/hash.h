/*
 * uthash without its exit() when there is no memory: after HASH_ADD…() look at the element's
 * hh.tbl, NULL means that it was not added. The hash function is ours (FNV-1a) because uthash's
 * default falls through in a switch, which clang's -Wimplicit-fallthrough complains of in every
 * file that uses it.
 */
#ifndef CORE_HASH_H
#define CORE_HASH_H

#include <stddef.h>
#include <stdint.h>

static inline uint32_t hash_bytes(const void *data, size_t size) {
        const unsigned char *p = data;
        uint32_t hash = 2166136261U;

        for (size_t i = 0; i < size; i++)
                hash = (hash ^ p[i]) * 16777619U;
        return hash;
}

#define HASH_NONFATAL_OOM 1
#define HASH_FUNCTION(key, length, result) ((result) = hash_bytes((key), (length)))
#include <uthash.h>

#endif
