/* The finished configuration: find, copy, compare, free. See config.h. */
#include "config/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/parts.h"

/* True when others go on using what the pointers lead to. */
static bool leave_shared(struct socket_config *s) {
        if (!s->n_copies)
                return false;
        if (*s->n_copies > 0) {
                (*s->n_copies)--;
                return true;
        }
        free(s->n_copies);
        return false;
}

void socket_config_clear(struct socket_config *s) {
        if (leave_shared(s)) {
                *s = (struct socket_config){0};
                return;
        }
        free(s->name);
        free(s->file);
        free(s->addresses);
        free(s->fd_name);
        access_list_clear(&s->access);
        access_list_clear(&s->operators);
        *s = (struct socket_config){0};
}

void broker_config_clear(struct broker_config *b) {
        free(b->control_socket);
        access_list_clear(&b->operators);
        access_list_clear(&b->store_access);
        *b = (struct broker_config){0};
}

struct config *config_free(struct config *config) {
        if (!config)
                return NULL;
        for (size_t i = 0; i < config->n_sockets; i++)
                socket_config_clear(&config->sockets[i]);
        free(config->sockets);
        broker_config_clear(&config->broker);
        free(config);
        return NULL;
}

static int compare_name(const void *key, const void *item) {
        return strcmp(key, ((const struct socket_config *) item)->name);
}

const struct socket_config *config_find_socket(const struct config *config, const char *name) {
        if (config->n_sockets == 0)
                return NULL;
        return bsearch(name, config->sockets, config->n_sockets, sizeof(*config->sockets),
                       compare_name);
}

/* 0 with *ret NULL for nothing. */
static int copy_array(const void *items, size_t size, void *ret) {
        void *copy = NULL;

        if (size > 0) {
                copy = malloc(size);
                if (!copy)
                        return -ENOMEM;
                memcpy(copy, items, size);
        }
        memcpy(ret, &copy, sizeof(copy));
        return 0;
}

static int copy_list(const struct access_list *from, struct access_list *to) {
        int r = copy_array(from->users, from->n_users * sizeof(*from->users), &to->users);

        if (r < 0)
                return r;
        to->n_users = from->n_users;
        r = copy_array(from->groups, from->n_groups * sizeof(*from->groups), &to->groups);
        if (r == 0)
                to->n_groups = from->n_groups;
        return r;
}

static int copy_parts(const struct socket_config *from, struct socket_config *to) {
        to->name = strdup(from->name);
        to->file = strdup(from->file);
        to->fd_name = strdup(from->fd_name);
        if (!to->name || !to->file || !to->fd_name)
                return -ENOMEM;
        if (copy_array(from->addresses, from->n_addresses * sizeof(*from->addresses),
                       &to->addresses) < 0 ||
            copy_list(&from->access, &to->access) < 0 ||
            copy_list(&from->operators, &to->operators) < 0)
                return -ENOMEM;
        return 0;
}

int socket_config_copy(const struct socket_config *original, struct socket_config **ret) {
        struct socket_config *copy = malloc(sizeof(*copy));

        if (!copy)
                return -ENOMEM;
        *copy = *original;
        if (original->n_copies) {
                (*original->n_copies)++;
                *ret = copy;
                return 0;
        }
        copy->name = copy->file = copy->fd_name = NULL;
        copy->addresses = NULL;
        copy->access = copy->operators = (struct access_list){0};
        if (copy_parts(original, copy) < 0) {
                socket_config_free(copy);
                return -ENOMEM;
        }
        *ret = copy;
        return 0;
}

struct socket_config *socket_config_free(struct socket_config *copy) {
        if (copy) {
                socket_config_clear(copy);
                free(copy);
        }
        return NULL;
}

static bool addresses_equal(const struct socket_config *a, const struct socket_config *b) {
        if (a->n_addresses != b->n_addresses)
                return false;
        for (size_t i = 0; i < a->n_addresses; i++)
                if (!address_equal(&a->addresses[i], &b->addresses[i]))
                        return false;
        return true;
}

static bool owners_equal(const struct socket_config *a, const struct socket_config *b) {
        return a->has_socket_user == b->has_socket_user &&
               a->has_socket_group == b->has_socket_group &&
               (!a->has_socket_user || a->socket_uid == b->socket_uid) &&
               (!a->has_socket_group || a->socket_gid == b->socket_gid);
}

bool socket_config_equal(const struct socket_config *a, const struct socket_config *b) {
        return addresses_equal(a, b) && owners_equal(a, b) && a->ipv6_only == b->ipv6_only &&
               a->backlog == b->backlog && a->socket_mode == b->socket_mode &&
               a->directory_mode == b->directory_mode && a->non_blocking == b->non_blocking;
}

char *config_default_path(void) {
        const char *folder = secure_getenv("XDG_CONFIG_HOME"), *below = "";
        char *path;

        if (geteuid() == 0)
                return strdup("/etc/fdpass");
        if (!folder || folder[0] != '/') {
                folder = secure_getenv("HOME");
                below = "/.config";
        }
        if (!folder || folder[0] != '/')
                return NULL;
        return asprintf(&path, "%s%s/fdpass", folder, below) < 0 ? NULL : path;
}
