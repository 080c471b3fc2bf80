/* The finished configuration: find, copy, compare, free. See config.h. */
#include "config/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/component_config.h"
#include "config/parts.h"

void socket_config_drop_addresses(struct socket_config *s) {
        while (s->n_addresses > 0)
                free(s->addresses[--s->n_addresses]);
}

void socket_config_clear(struct socket_config *s) {
        free(s->name);
        free(s->file);
        socket_config_drop_addresses(s);
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
                socket_config_free(config->sockets[i]);
        free(config->sockets);
        for (size_t i = 0; i < config->n_components; i++)
                component_config_unref(config->components[i]);
        free(config->components);
        broker_config_clear(&config->broker);
        free(config);
        return NULL;
}

static int compare_name(const void *key, const void *item) {
        return strcmp(key, (*(struct socket_config *const *) item)->name);
}

const struct socket_config *config_find_socket(const struct config *config, const char *name) {
        struct socket_config **found = NULL;

        if (config->n_sockets > 0)
                found = bsearch(name, config->sockets, config->n_sockets, sizeof(*config->sockets),
                                compare_name);
        return found ? *found : NULL;
}

static int compare_component_name(const void *key, const void *item) {
        return strcmp(key, (*(struct component_config *const *) item)->name);
}

struct component_config *config_find_component(const struct config *config, const char *name) {
        struct component_config *const *found;

        if (config->n_components == 0)
                return NULL;
        found = bsearch(name, config->components, config->n_components,
                        sizeof(struct component_config *), compare_component_name);
        return found ? *found : NULL;
}

/* ---- one block of memory, which thousands of listeners have each -------------------------------
 */

struct block {
        char *start; /* NULL: only measured */
        size_t size;
};

/* What follows is aligned for any of our types. NULL when only measured. */
static void *put(struct block *block, const void *data, size_t size) {
        char *at = block->start ? block->start + block->size : NULL;

        if (at && size > 0)
                memcpy(at, data, size);
        block->size += (size + _Alignof(void *) - 1) & ~(_Alignof(void *) - 1);
        return at;
}

static char *put_text(struct block *block, const char *text) {
        char *at = block->start ? block->start + block->size : NULL;

        if (at)
                strcpy(at, text);
        block->size += strlen(text) + 1;
        return at;
}

static void put_list(struct block *block, struct access_list *list) {
        list->users = put(block, list->users, list->n_users * sizeof(*list->users));
        list->groups = put(block, list->groups, list->n_groups * sizeof(*list->groups));
}

static void put_addresses(struct block *block, struct socket_config *s) {
        struct address **parts = s->addresses;

        s->addresses = put(block, parts, s->n_addresses * sizeof(*parts));
        for (size_t i = 0; i < s->n_addresses; i++) {
                char room[sizeof(struct address)];
                void *at = put(block, address_copy(room, parts[i]), address_size(parts[i]));

                if (at)
                        s->addresses[i] = at;
        }
}

/* Strings last: they need no alignment. */
static void pack(struct block *block, const struct socket_config *parts) {
        struct socket_config s = *parts, *packed = put(block, parts, sizeof(*parts));

        s.n_users = 1;
        put_addresses(block, &s);
        put_list(block, &s.access);
        put_list(block, &s.operators);
        s.name = put_text(block, parts->name);
        s.file = put_text(block, parts->file);
        s.fd_name =
                strcmp(parts->fd_name, parts->name) == 0 ? s.name : put_text(block, parts->fd_name);
        if (packed)
                *packed = s;
}

int socket_config_copy(const struct socket_config *original, struct socket_config **ret) {
        struct block block = {0};

        if (original->n_users > 0) {
                *ret = (struct socket_config *) original;
                (*ret)->n_users++;
                return 0;
        }
        pack(&block, original);
        block = (struct block){.start = malloc(block.size)};
        if (!block.start)
                return -ENOMEM;
        pack(&block, original);
        *ret = (struct socket_config *) (void *) block.start;
        return 0;
}

struct socket_config *socket_config_free(struct socket_config *s) {
        if (s && --s->n_users == 0)
                free(s);
        return NULL;
}

static bool addresses_equal(const struct socket_config *a, const struct socket_config *b) {
        if (a->n_addresses != b->n_addresses)
                return false;
        for (size_t i = 0; i < a->n_addresses; i++)
                if (!address_equal(a->addresses[i], b->addresses[i]))
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
