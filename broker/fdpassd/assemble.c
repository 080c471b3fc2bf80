/*
 * The broker object's life. Parts are made in the order of the members of struct broker and freed
 * in the reverse, each before what it uses.
 *
 * The control socket comes before the listeners: it carries the lock, so a second broker started by
 * mistake finds out before it touches a socket path of the first.
 */
#include "fdpassd/assemble.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "control/control.h"
#include "core/inherited.h"
#include "core/log.h"
#include "core/loop.h"
#include "sockets/conflict.h"
#include "sockets/listener_table.h"

/* Nobody is served yet, so that the answer may take its time. */
static void explain_conflicts(struct log *log, const struct apply_result *result) {
        char text[CONFLICT_TEXT_SIZE];

        for (size_t i = 0; i < result->n_conflicts; i++)
                log_error(log, NULL, "%s", conflict_explain(&result->conflicts[i], text));
}

static int open_listeners(struct broker *b) {
        struct diagnostics diagnostics = {0};
        struct apply_result result = {0};
        int r;

        r = listener_table_new(&b->listeners, b->loop, b->log, b->limits.listeners);
        if (r < 0)
                return r;
        r = listener_table_apply(b->listeners, b->config, b->inherited, true, &diagnostics,
                                 &result);
        diagnostics_log(&diagnostics, b->log);
        diagnostics_clear(&diagnostics);
        if (r < 0) {
                explain_conflicts(b->log, &result);
                return r;
        }
        for (size_t i = 0; i < inherited_count(b->inherited); i++)
                log_warning(
                        b->log, NULL,
                        "systemd passed a socket named %s that no listener claims; it stays open",
                        inherited_name(b->inherited, i));
        log_info(b->log, NULL, "holding %zu listeners: %zu bound, %zu adopted",
                 listener_table_count(b->listeners), result.opened, result.adopted);
        return 0;
}

int broker_new(struct broker **ret, struct loop *loop, struct log *log, const char *config_path,
               struct config *config, struct inherited *inherited) {
        struct broker *b = calloc(1, sizeof(*b));
        int r = -ENOMEM;

        if (!b) {
                config_free(config);
                inherited_free(inherited);
                return -ENOMEM;
        }
        b->loop = loop;
        b->log = log;
        b->limits = config->broker.limits;
        limits_fit(&b->limits, log);
        b->inherited = inherited;
        b->config = config;
        b->config_path = strdup(config_path);
        if (b->config_path)
                r = control_new(&b->control, b);
        if (r == 0)
                r = open_listeners(b);
        if (r < 0) {
                broker_free(b);
                return r;
        }
        *ret = b;
        return 0;
}

struct broker *broker_free(struct broker *b) {
        if (b) {
                /* Sessions hold references to holders: they go first. */
                control_free(b->control);
                listener_table_free(b->listeners);
                config_free(b->config);
                inherited_free(b->inherited);
                free(b->config_path);
                free(b);
        }
        return NULL;
}
