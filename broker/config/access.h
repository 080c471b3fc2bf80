/* Users and groups that a rule names: Access= and Operators=, "alice 1000 @web @100". */
#ifndef CONFIG_ACCESS_H
#define CONFIG_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct access_list {
        uid_t *users;
        size_t n_users;
        gid_t *groups;
        size_t n_groups;
};

void access_list_clear(struct access_list *list);

/* Does one of the rules name this uid or one of these gids? The overflow ids match nothing. */
bool access_list_has(const struct access_list *list, uid_t uid, const gid_t *gids, size_t n_gids);

bool access_list_equal(const struct access_list *a, const struct access_list *b);

#endif
