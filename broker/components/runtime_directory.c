/* See runtime_directory.h. */
#include "components/runtime_directory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "components/component.h"
#include "components/component_table.h"
#include "components/directory.h"
#include "components/kept.h"
#include "components/operation.h"
#include "core/helper.h"
#include "core/log.h"

#define REMOVE_USEC (30 * 1000 * 1000)

struct runtime_directory {
        struct component *component;
        struct component_config *config; /* a reference: that of the instance that left it last */
        struct helper *removal;          /* NULL: not yet */
};

/* True when that was not known before. */
static bool note(struct component *c, struct component_config *config) {
        bool is_new = !c->runtime_directory;

        if (!config->directories[DIRECTORY_RUNTIME].names ||
            config->runtime_directory_preserve == PRESERVE_YES)
                return false;
        if (is_new) {
                c->runtime_directory = calloc(1, sizeof(*c->runtime_directory));
                if (!c->runtime_directory)
                        return false; /* it stays, for the next one to find */
                c->runtime_directory->component = c;
        }
        component_config_unref(c->runtime_directory->config);
        c->runtime_directory->config = component_config_ref(config);
        return is_new;
}

void runtime_directory_left(struct component *c, struct component_config *config) {
        if (note(c, config))
                component_keep(c); /* before its last instance is forgotten */
}

void runtime_directory_resume(struct component *c) {
        if (note(c, c->config))
                component_touch(c);
}

bool runtime_directory_is_left(const struct component *c) {
        return c->runtime_directory;
}

/* ---- in the child -----------------------------------------------------------------------------*/

/* Each failure is a line; at the end of all a dot, without which it was cut off. */
static void remove_all(void *argument, int result_fd) {
        const struct component_config *config = argument;
        const struct directories *d = &config->directories[DIRECTORY_RUNTIME];

        for (char **name = d->names; *name; name++) {
                const struct directory directory = {
                        .component = config, .base = d->base, .name = *name};
                char what[512];
                int r = directory_remove(&directory, what, sizeof(what));

                if (r < 0)
                        (void) dprintf(result_fd, "%s: %s\n", what, strerror(-r));
        }
        (void) dprintf(result_fd, ".");
}

/* ---- in the broker ----------------------------------------------------------------------------*/

static void clear(struct component *c) {
        helper_stop(c->runtime_directory->removal);
        component_config_unref(c->runtime_directory->config);
        free(c->runtime_directory);
        c->runtime_directory = NULL;
}

static void forget(struct component *c) {
        clear(c);
        component_keep(c);
}

static void say_failures(const struct component *c, const char *result, size_t size) {
        if (size == 0 || result[size - 1] != '.')
                log_warning(c->table->log, ABOUT(.component = c->name),
                            "%s: its RuntimeDirectory= could not be removed in %d s and stays",
                            c->name, REMOVE_USEC / 1000000);
        for (const char *line = result, *end; (end = strchr(line, '\n')); line = end + 1)
                log_warning(c->table->log, ABOUT(.component = c->name),
                            "%s: its RuntimeDirectory= could not be removed: %.*s", c->name,
                            (int) (end - line), line);
}

static void on_removed(void *owner, const char *result, size_t size) {
        struct runtime_directory *d = owner;
        struct component *c = d->component;

        d->removal = NULL;
        say_failures(c, result, size);
        forget(c);
        component_touch(c);
}

/* Is another instance to come that finds what this one left? */
static bool goes_on(const struct component *c) {
        return c->next || (c->operation && operation_starts(c->operation)) ||
               (c->runtime_directory->config->runtime_directory_preserve == PRESERVE_RESTART &&
                timer_is_started(&c->back_off));
}

void runtime_directory_update(struct component *c) {
        struct runtime_directory *d = c->runtime_directory;
        int r;

        if (!d || d->removal || !TAILQ_EMPTY(&c->instances) || goes_on(c))
                return;
        r = helper_start(&d->removal, c->table->loop, REMOVE_USEC, remove_all, d->config,
                         on_removed, d);
        if (r == 0)
                return;
        log_warning(c->table->log, ABOUT(.component = c->name),
                    "%s: its RuntimeDirectory= stays, no process can be had to remove it: %s",
                    c->name, strerror(-r));
        forget(c);
}

bool runtime_directory_is_busy(const struct component *c) {
        return c->runtime_directory && c->runtime_directory->removal;
}

void runtime_directory_free(struct component *c) {
        if (c->runtime_directory)
                clear(c); /* the next broker, if there is one, goes on */
}
