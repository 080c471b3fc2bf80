/* The components of a draft: see draft.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/array.h"
#include "config/component_draft.h"
#include "config/directives.h"
#include "config/parts.h"
#include "config/specifiers.h"

/* ---- lists ---- */

int references_add(struct references *list, const char *name, struct place place) {
        char *copy;

        if (array_grow(&list->items, list->count, sizeof(*list->items)) < 0)
                return -ENOMEM;
        copy = strdup(name);
        if (!copy)
                return -ENOMEM;
        list->items[list->count++] = (struct reference){.name = copy, .place = place};
        return 0;
}

void references_clear(struct references *list) {
        for (size_t i = 0; i < list->count; i++)
                free(list->items[i].name);
        free(list->items);
        *list = (struct references){0};
}

int assignments_add(struct assignments *list, const struct directive *directive, const char *value,
                    struct place place) {
        char *copy;

        if (array_grow(&list->items, list->count, sizeof(*list->items)) < 0)
                return -ENOMEM;
        copy = strdup(value);
        if (!copy)
                return -ENOMEM;
        list->items[list->count++] =
                (struct assignment){.directive = directive, .value = copy, .place = place};
        return 0;
}

void assignments_remove(struct assignments *list, const struct directive *directive) {
        size_t kept = 0;

        for (size_t i = 0; i < list->count; i++) {
                if (list->items[i].directive == directive)
                        free(list->items[i].value);
                else
                        list->items[kept++] = list->items[i];
        }
        list->count = kept;
}

void assignments_clear(struct assignments *list) {
        for (size_t i = 0; i < list->count; i++)
                free(list->items[i].value);
        free(list->items);
        *list = (struct assignments){0};
}

/* ---- components ---- */

void draft_component_free(struct draft_component *c) {
        component_config_unref(c->config);
        references_clear(&c->sockets);
        references_clear(&c->after);
        references_clear(&c->before);
        references_clear(&c->requires);
        references_clear(&c->wants);
        references_clear(&c->part_of);
        assignments_clear(&c->deferred);
        assignments_clear(&c->restricting);
        free(c->groups);
        free(c);
}

struct draft_component *draft_find_component(const struct draft *draft, const char *name) {
        struct draft_component *c;

        HASH_FIND_STR(draft->components_by_name, name, c);
        return c;
}

static int put_component(struct draft *draft, struct draft_component *c) {
        int r = array_grow(&draft->components, draft->n_components, sizeof(*draft->components));

        if (r < 0)
                return r;
        HASH_ADD_KEYPTR(hh, draft->components_by_name, c->config->name, strlen(c->config->name), c);
        if (!c->hh.tbl)
                return -ENOMEM;
        draft->components[draft->n_components++] = c;
        return 0;
}

struct draft_component *draft_add_component(struct draft *draft, const char *name,
                                            bool is_unit_file, struct place place) {
        struct draft_component *c = calloc(1, sizeof(*c));

        if (!c) {
                draft->out_of_memory = true;
                return NULL;
        }
        c->config = component_config_new(name, is_unit_file);
        c->place = place;
        if (!c->config || put_component(draft, c) < 0) {
                draft->out_of_memory = true;
                draft_component_free(c);
                return NULL;
        }
        return c;
}

/* ---- "%{port:NAME}" ---- */

static int port_of(const struct draft_socket *s, char *reason, unsigned *ret) {
        for (size_t i = 0; i < s->config.n_addresses; i++) {
                unsigned port = address_port(s->config.addresses[i]);

                if (port > 0) {
                        *ret = port;
                        return 0;
                }
        }
        (void) snprintf(reason, SPECIFIERS_REASON_SIZE,
                        "'%%{port:%.80s}': listener %.80s has no TCP address", s->config.name,
                        s->config.name);
        return -EINVAL;
}

/* Descriptors begin at 3, SD_LISTEN_FDS_START, and a listener has one for each address. */
static int fd_of(const struct draft *draft, const struct draft_component *c, const char *name,
                 char *reason, unsigned *ret) {
        unsigned fd = 3;

        for (size_t i = 0; i < c->config->n_sockets; i++) {
                const struct draft_socket *s = draft_find_socket(draft, c->config->sockets[i]);

                if (strcmp(c->config->sockets[i], name) == 0) {
                        *ret = fd;
                        return 0;
                }
                fd += s ? (unsigned) s->config.n_addresses : 0;
        }
        (void) snprintf(reason, SPECIFIERS_REASON_SIZE,
                        "'%%{fd:%.80s}': %.80s is not among the Sockets= of this component", name,
                        name);
        return -EINVAL;
}

int draft_listener_number(const struct draft *draft, const struct draft_component *component,
                          const char *kind, const char *name, char *reason, unsigned *ret) {
        const struct draft_socket *s = draft_find_socket(draft, name);

        if (!s) {
                (void) snprintf(reason, SPECIFIERS_REASON_SIZE,
                                "'%%{%.20s:%.80s}': there is no listener of this name", kind, name);
                return -EINVAL;
        }
        if (strcmp(kind, "port") == 0)
                return port_of(s, reason, ret);
        if (strcmp(kind, "fd") == 0)
                return fd_of(draft, component, name, reason, ret);
        (void) snprintf(reason, SPECIFIERS_REASON_SIZE,
                        "'%%{%.20s:%.80s}' is no specifier: there are port and fd", kind, name);
        return -EINVAL;
}

/* ---- the end ---- */

static int compare_components(const void *a, const void *b) {
        const struct component_config *const *one = a, *const *other = b;

        return strcmp((*one)->name, (*other)->name);
}

int draft_move_components(struct draft *draft, struct config *config) {
        config->components = calloc(draft->n_components + 1, sizeof(struct component_config *));
        if (!config->components)
                return -ENOMEM;
        for (size_t i = 0; i < draft->n_components; i++) {
                struct draft_component *c = draft->components[i];

                c->config->file = strdup(c->place.file);
                if (!c->config->file)
                        return -ENOMEM;
                c->config->line = c->place.line > 0 ? c->place.line : 1;
        }
        HASH_CLEAR(hh, draft->components_by_name); /* its keys are the names that move away */
        for (size_t i = 0; i < draft->n_components; i++) {
                config->components[i] = draft->components[i]->config;
                draft->components[i]->config = NULL;
        }
        config->n_components = draft->n_components;
        if (config->n_components > 0)
                qsort(config->components, config->n_components, sizeof(*config->components),
                      compare_components);
        return 0;
}
