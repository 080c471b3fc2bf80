/* Growing an array one item at a time, at amortised constant cost. */
#ifndef CONFIG_ARRAY_H
#define CONFIG_ARRAY_H

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/*
 * Make room for item number `count` (from 0). The capacity is not stored: it is the next power of
 * two, so the array is enlarged exactly when `count` is 0 or a power of two. `pointer` is the
 * address of the array pointer, of any type. 0 or -ENOMEM, the array then unchanged.
 */
static inline int array_grow(void *pointer, size_t count, size_t item_size) {
        void *array, *grown;

        if (count & (count - 1))
                return 0;
        memcpy(&array, pointer, sizeof(array));
        grown = reallocarray(array, count == 0 ? 1 : 2 * count, item_size);
        if (!grown)
                return -ENOMEM;
        memcpy(pointer, &grown, sizeof(grown));
        return 0;
}

#endif
