/* Lists of users and groups; who matches one. Filled by directives.c. See access.h. */
#include "config/access.h"

#include <stdlib.h>
#include <string.h>

/*
 * What the kernel shows for an id that has no mapping in our user namespace
 * (/proc/sys/kernel/overflowuid, which nobody changes): it stands for anybody, so it is nobody.
 */
#define OVERFLOW_ID 65534

void access_list_clear(struct access_list *list) {
        free(list->users);
        free(list->groups);
        *list = (struct access_list){0};
}

static bool has_group(const struct access_list *list, gid_t gid) {
        if (gid == OVERFLOW_ID || gid == (gid_t) -1)
                return false;
        for (size_t i = 0; i < list->n_groups; i++)
                if (list->groups[i] == gid)
                        return true;
        return false;
}

bool access_list_has(const struct access_list *list, uid_t uid, const gid_t *gids, size_t n_gids) {
        /* A peer whose user is unknown to us is not let in by its groups either. */
        if (uid == OVERFLOW_ID || uid == (uid_t) -1)
                return false;
        for (size_t i = 0; i < list->n_users; i++)
                if (list->users[i] == uid)
                        return true;
        for (size_t i = 0; i < n_gids; i++)
                if (has_group(list, gids[i]))
                        return true;
        return false;
}

static bool ids_equal(const void *a, size_t n_a, const void *b, size_t n_b, size_t size) {
        return n_a == n_b && (n_a == 0 || memcmp(a, b, n_a * size) == 0);
}

bool access_list_equal(const struct access_list *a, const struct access_list *b) {
        return ids_equal(a->users, a->n_users, b->users, b->n_users, sizeof(uid_t)) &&
               ids_equal(a->groups, a->n_groups, b->groups, b->n_groups, sizeof(gid_t));
}
