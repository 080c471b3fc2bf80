/*
 * Users and groups, from fgetpwent(3) and fgetgrent(3) on the files themselves: these parse text
 * and know nothing of NSS. Kept in hash tables by name and by id, so that ten thousand Access=
 * lines cost one reading. The first entry of a name or of an id wins, as it does in getpwnam(3).
 */
#include "config/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "config/array.h"
#include "config/values.h"
#include "core/hash.h"

struct entry {
        char *name;
        char *home;  /* NULL for a group */
        char *shell; /* likewise */
        unsigned id;
        gid_t gid; /* of a user */
        UT_hash_handle by_name;
        UT_hash_handle by_id;
};

/* One of the two files. */
struct table {
        const char *path;
        struct entry *by_name;
        struct entry *by_id;
        bool is_read;
        int error; /* what reading it gave */
};

struct identities {
        struct table users;
        struct table groups;
};

static void entry_free(struct entry *e) {
        free(e->name);
        free(e->home);
        free(e->shell);
        free(e);
}

static void table_clear(struct table *t) {
        struct entry *e, *next;

        HASH_CLEAR(by_id, t->by_id);
        HASH_ITER (by_name, t->by_name, e, next) {
                HASH_DELETE(by_name, t->by_name, e);
                entry_free(e);
        }
}

/* The hash tables keep `e`, or it is freed. */
static int table_put(struct table *t, struct entry *e) {
        struct entry *other;

        HASH_FIND(by_name, t->by_name, e->name, strlen(e->name), other);
        if (other) {
                entry_free(e);
                return 0;
        }
        HASH_ADD_KEYPTR(by_name, t->by_name, e->name, strlen(e->name), e);
        if (!e->by_name.tbl) {
                entry_free(e);
                return -ENOMEM;
        }
        HASH_FIND(by_id, t->by_id, &e->id, sizeof(e->id), other);
        if (other)
                return 0;
        HASH_ADD(by_id, t->by_id, id, sizeof(e->id), e);
        return e->by_id.tbl ? 0 : -ENOMEM;
}

static int table_add(struct table *t, const char *name, unsigned id, gid_t gid, const char *home,
                     const char *shell) {
        struct entry *e;

        /* "+name" and "-name" are for NIS: no user of this machine */
        if (!name[0] || name[0] == '+' || name[0] == '-')
                return 0;
        e = calloc(1, sizeof(*e));
        if (!e)
                return -ENOMEM;
        e->id = id;
        e->gid = gid;
        e->name = strdup(name);
        e->home = home ? strdup(home) : NULL;
        e->shell = shell ? strdup(shell) : NULL;
        if (!e->name || (home && !e->home) || (shell && !e->shell)) {
                entry_free(e);
                return -ENOMEM;
        }
        return table_put(t, e);
}

static int add_users(struct table *t, FILE *f) {
        struct passwd *p;

        while ((p = fgetpwent(f))) {
                int r = table_add(t, p->pw_name, p->pw_uid, p->pw_gid, p->pw_dir, p->pw_shell);

                if (r < 0)
                        return r;
        }
        return 0;
}

static int add_groups(struct table *t, FILE *f) {
        struct group *g;

        while ((g = fgetgrent(f))) {
                int r = table_add(t, g->gr_name, g->gr_gid, g->gr_gid, NULL, NULL);

                if (r < 0)
                        return r;
        }
        return 0;
}

static int table_read(struct table *t, int (*add)(struct table *t, FILE *f)) {
        _cleanup_close_ int fd = -1;
        FILE *f;

        if (t->is_read)
                return t->error;
        t->is_read = true;
        fd = open(t->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd < 0) {
                /* a container from scratch has no such file, and numbers do without it */
                t->error = errno == ENOENT ? 0 : -errno;
                return t->error;
        }
        f = fdopen(fd, "r");
        if (!f) {
                t->error = -errno;
                return t->error;
        }
        (void) take_fd(&fd);
        t->error = add(t, f);
        fclose(f);
        return t->error;
}

static int users_read(struct identities *all) {
        return table_read(&all->users, add_users);
}

static int groups_read(struct identities *all) {
        return table_read(&all->groups, add_groups);
}

int identities_new(struct identities **ret, const char *passwd_path, const char *group_path) {
        struct identities *all = calloc(1, sizeof(*all));

        if (!all)
                return -ENOMEM;
        all->users.path = passwd_path;
        all->groups.path = group_path;
        *ret = all;
        return 0;
}

struct identities *identities_free(struct identities *all) {
        if (all) {
                table_clear(&all->users);
                table_clear(&all->groups);
                free(all);
        }
        return NULL;
}

/* 1 when `text` is a number (in *ret), 0 when it is a name. (uid_t) -1 means "unchanged" to
 * chown(2), so it is no id. */
static int parse_id(const char *text, unsigned *ret) {
        uint64_t id;

        if (!*text)
                return -EINVAL;
        if (text[strspn(text, "0123456789")])
                return 0;
        if (value_to_number(text, 0, UINT32_MAX - 1, &id) < 0)
                return -EINVAL;
        *ret = (unsigned) id;
        return 1;
}

static int table_id(struct table *t, const char *name, unsigned *ret) {
        struct entry *e;

        HASH_FIND(by_name, t->by_name, name, strlen(name), e);
        if (!e)
                return -ESRCH;
        *ret = e->id;
        return 0;
}

int identities_uid(struct identities *all, const char *text, uid_t *ret) {
        int r = parse_id(text, ret);

        if (r != 0)
                return r < 0 ? r : 0;
        r = users_read(all);
        return r < 0 ? r : table_id(&all->users, text, ret);
}

int identities_gid(struct identities *all, const char *text, gid_t *ret) {
        int r = parse_id(text, ret);

        if (r != 0)
                return r < 0 ? r : 0;
        r = groups_read(all);
        return r < 0 ? r : table_id(&all->groups, text, ret);
}

static struct user user_of(const struct entry *e) {
        return (struct user){
                .name = e->name, .home = e->home, .shell = e->shell, .uid = e->id, .gid = e->gid};
}

static bool is_member(const struct group *g, const char *name) {
        for (char **member = g->gr_mem; *member; member++)
                if (strcmp(*member, name) == 0)
                        return true;
        return false;
}

int identities_user(struct identities *all, uid_t uid, struct user *ret) {
        int r = users_read(all);
        struct entry *e;

        if (r < 0)
                return r;
        HASH_FIND(by_id, all->users.by_id, &uid, sizeof(uid), e);
        if (!e)
                return -ESRCH;
        *ret = user_of(e);
        return 0;
}

int identities_user_named(struct identities *all, const char *name, struct user *ret) {
        int r = users_read(all);
        struct entry *e;

        if (r < 0)
                return r;
        HASH_FIND(by_name, all->users.by_name, name, strlen(name), e);
        if (!e)
                return -ESRCH;
        *ret = user_of(e);
        return 0;
}

/* Read anew: only components ask, and members are many. */
int identities_groups_of(struct identities *all, const char *name, gid_t **ret, size_t *ret_count) {
        FILE *f = fopen(all->groups.path, "re");
        gid_t *gids = NULL;
        size_t count = 0;
        struct group *g;

        if (!f && errno != ENOENT)
                return -errno;
        while (f && (g = fgetgrent(f)))
                if (is_member(g, name)) {
                        if (array_grow(&gids, count, sizeof(*gids)) < 0) {
                                free(gids);
                                fclose(f);
                                return -ENOMEM;
                        }
                        gids[count++] = g->gr_gid;
                }
        if (f)
                fclose(f);
        *ret = gids;
        *ret_count = count;
        return 0;
}

int identities_group_name(struct identities *all, gid_t gid, const char **ret) {
        int r = groups_read(all);
        struct entry *e;

        if (r < 0)
                return r;
        HASH_FIND(by_id, all->groups.by_id, &gid, sizeof(gid), e);
        if (!e)
                return -ESRCH;
        *ret = e->name;
        return 0;
}
