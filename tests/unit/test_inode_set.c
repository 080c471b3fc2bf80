/* Sets of inodes: what was added is found, in whatever order, and nothing else. */
#include "sockets/inode_set.h"
#include "support.h"

#define MANY 3000 /* more than there is room for at once */

/* All over the range, in no order, and each another one: the factor is odd. */
static uint32_t inode(uint32_t n) {
        return n * UINT32_C(2654435761);
}

START_TEST(what_was_added_is_found_and_nothing_else) {
        struct inode_set set = {0};
        bool seen[MANY] = {0};
        size_t which;

        for (uint32_t n = 0; n < MANY; n++)
                ck_assert_int_eq(inode_set_add(&set, inode(n)), 0);
        inode_set_sort(&set);
        ck_assert_uint_eq(set.count, MANY);
        for (uint32_t n = 0; n < MANY; n++) {
                ck_assert(inode_set_find(&set, inode(n), &which));
                ck_assert_uint_lt(which, MANY);
                ck_assert(!seen[which]);
                seen[which] = true;
                ck_assert(!inode_set_find(&set, inode(MANY + n), NULL));
        }
        inode_set_clear(&set);
        ck_assert(!inode_set_find(&set, inode(0), NULL));
}
END_TEST

START_TEST(nothing_is_in_an_empty_set) {
        struct inode_set set = {0};

        inode_set_sort(&set);
        ck_assert(!inode_set_find(&set, 0, NULL));
        inode_set_clear(&set);
}
END_TEST

SUITE("inode_set", {
        TEST(what_was_added_is_found_and_nothing_else);
        TEST(nothing_is_in_an_empty_set);
})
