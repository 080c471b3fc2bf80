/*
 * The draft of a configuration: owns all that the directives put into it. Out of memory is kept as
 * a flag, because the places where it happens lie deep inside handlers that have no result.
 */
#include "config/draft.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/array.h"
#include "config/component_draft.h"
#include "config/parts.h"

struct draft_file {
        struct draft_file *next;
        char name[];
};

/* systemd.socket(5) has the same. The kernel cuts the backlog to net.core.somaxconn. */
const struct socket_config socket_config_defaults = {
        .ipv6_only = IPV6_ONLY_DEFAULT,
        .backlog = UINT32_MAX,
        .socket_mode = 0666,
        .directory_mode = 0755,
        .trigger_limit_interval_usec = 2000000,
        .trigger_limit_burst = 20,
};

int draft_new(struct draft **ret, struct diagnostics *diagnostics) {
        struct draft *draft = calloc(1, sizeof(*draft));
        int r;

        if (!draft)
                return -ENOMEM;
        r = identities_new(&draft->identities, "/etc/passwd", "/etc/group");
        if (r < 0) {
                free(draft);
                return r;
        }
        draft->diagnostics = diagnostics;
        draft->errors_before = diagnostics->errors;
        draft->uid = geteuid();
        draft->gid = getegid();
        limits_default(&draft->broker_defaults.limits);
        draft->broker_defaults.log_level = LEVEL_INFO;
        draft->broker = draft->broker_defaults;
        *ret = draft;
        return 0;
}

static void draft_socket_free(struct draft_socket *s) {
        socket_config_clear(&s->config);
        free(s->address_places);
        free(s->service);
        free(s);
}

static void free_files(struct draft *draft) {
        while (draft->files) {
                struct draft_file *file = draft->files;

                draft->files = file->next;
                free(file);
        }
}

struct draft *draft_free(struct draft *draft) {
        if (!draft)
                return NULL;
        HASH_CLEAR(hh, draft->by_name);
        for (size_t i = 0; i < draft->n_sockets; i++)
                draft_socket_free(draft->sockets[i]);
        free(draft->sockets);
        HASH_CLEAR(hh, draft->components_by_name);
        for (size_t i = 0; i < draft->n_components; i++)
                draft_component_free(draft->components[i]);
        free(draft->components);
        broker_config_clear(&draft->broker);
        identities_free(draft->identities);
        free_files(draft);
        free(draft);
        return NULL;
}

const char *draft_keep_file(struct draft *draft, const char *name) {
        size_t size = strlen(name) + 1;
        struct draft_file *file = malloc(sizeof(*file) + size);

        if (!file) {
                draft->out_of_memory = true;
                return NULL;
        }
        memcpy(file->name, name, size);
        file->next = draft->files;
        draft->files = file;
        return file->name;
}

struct draft_socket *draft_find_socket(const struct draft *draft, const char *name) {
        struct draft_socket *s;

        HASH_FIND_STR(draft->by_name, name, s);
        return s;
}

/* Into the hash table and the array, or nowhere. */
static int put_socket(struct draft *draft, struct draft_socket *s) {
        int r = array_grow(&draft->sockets, draft->n_sockets, sizeof(*draft->sockets));

        if (r < 0)
                return r;
        HASH_ADD_KEYPTR(hh, draft->by_name, s->config.name, strlen(s->config.name), s);
        if (!s->hh.tbl)
                return -ENOMEM;
        draft->sockets[draft->n_sockets++] = s;
        return 0;
}

struct draft_socket *draft_add_socket(struct draft *draft, const char *name, bool is_unit_file,
                                      struct place place) {
        struct draft_socket *s = calloc(1, sizeof(*s));

        if (!s) {
                draft->out_of_memory = true;
                return NULL;
        }
        s->config = socket_config_defaults;
        s->config.name = strdup(name);
        s->place = place;
        s->is_unit_file = is_unit_file;
        if (!s->config.name || put_socket(draft, s) < 0) {
                draft->out_of_memory = true;
                draft_socket_free(s);
                return NULL;
        }
        return s;
}

/* What could not be known before everything was read. */
static int complete_socket(struct draft_socket *s) {
        if (!s->config.fd_name && s->is_unit_file) {
                if (asprintf(&s->config.fd_name, "%s.socket", s->config.name) < 0)
                        s->config.fd_name = NULL;
        } else if (!s->config.fd_name) {
                s->config.fd_name = strdup(s->config.name);
        }
        s->config.file = strdup(s->place.file);
        /* a unit file whose [Socket] is in a drop-in */
        s->config.line = s->place.line > 0 ? s->place.line : 1;
        return s->config.fd_name && s->config.file ? 0 : -ENOMEM;
}

static int compare_names(const void *a, const void *b) {
        struct socket_config *const *one = a, *const *other = b;

        return strcmp((*one)->name, (*other)->name);
}

static int add_sockets(struct draft *draft, struct config *config) {
        for (size_t i = 0; i < draft->n_sockets; i++)
                if (complete_socket(draft->sockets[i]) < 0)
                        return -ENOMEM;
        /* Nothing else now: what stays lies together, and what goes with the draft does too. */
        config->sockets = calloc(draft->n_sockets + 1, sizeof(*config->sockets));
        if (!config->sockets)
                return -ENOMEM;
        for (; config->n_sockets < draft->n_sockets; config->n_sockets++)
                if (socket_config_copy(&draft->sockets[config->n_sockets]->config,
                                       &config->sockets[config->n_sockets]) < 0)
                        return -ENOMEM;
        if (config->n_sockets > 0)
                qsort(config->sockets, config->n_sockets, sizeof(*config->sockets), compare_names);
        return 0;
}

int draft_finish(struct draft *draft, struct config **ret) {
        struct config *config;

        if (draft->out_of_memory)
                return -ENOMEM;
        if (draft->diagnostics->errors > draft->errors_before)
                return -EINVAL;
        config = calloc(1, sizeof(*config));
        if (!config)
                return -ENOMEM;
        if (add_sockets(draft, config) < 0 || draft_move_components(draft, config) < 0) {
                config_free(config);
                return -ENOMEM;
        }
        config->broker = draft->broker;
        draft->broker = draft->broker_defaults;
        *ret = config;
        return 0;
}
