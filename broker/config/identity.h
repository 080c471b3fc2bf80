/*
 * Users and groups of this machine: /etc/passwd and /etc/group, read once a load and never through
 * NSS, because a name server must not be able to stop the broker.
 */
#ifndef CONFIG_IDENTITY_H
#define CONFIG_IDENTITY_H

#include <sys/types.h>

struct identities;

struct user {
        const char *name;
        const char *home;
        const char *shell;
        uid_t uid;
        gid_t gid;
};

/* The files are read when the first name is asked for. 0 or -ENOMEM. */
int identities_new(struct identities **ret, const char *passwd_path, const char *group_path);
struct identities *identities_free(struct identities *all);

/*
 * A name, or a number, which is taken as it is and need not be in the file.
 *
 * Returns 0; -ESRCH when there is no such name; -EINVAL for a number that is no id; -ENOMEM;
 * -EACCES and the like when the file cannot be read (a missing file has no names: -ESRCH).
 */
int identities_uid(struct identities *all, const char *text, uid_t *ret);
int identities_gid(struct identities *all, const char *text, gid_t *ret);

/* What the file says of a uid. 0, -ESRCH, or as above. The strings live as long as `all`. */
int identities_user(struct identities *all, uid_t uid, struct user *ret);

/* The same by name. */
int identities_user_named(struct identities *all, const char *name, struct user *ret);

/* The groups that have this user as a member, for the caller to free(3). 0 or as above. */
int identities_groups_of(struct identities *all, const char *name, gid_t **ret, size_t *ret_count);

/* The first name of a gid. As above. */
int identities_group_name(struct identities *all, gid_t gid, const char **ret);

#endif
