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

#include "cleanup.h"
#include "components/component_table.h"
#include "config/config.h"
#include "config/kept_config.h"
#include "control/control.h"
#include "core/inherited.h"
#include "core/log.h"
#include "core/loop.h"
#include "keeper/memory.h"
#include "sockets/conflict.h"
#include "sockets/kept.h"
#include "sockets/listener_table.h"

/* Nobody is served yet, so that the answer may take its time. */
static void explain_conflicts(struct log *log, const struct apply_result *result) {
        char text[CONFLICT_TEXT_SIZE];

        for (size_t i = 0; i < result->n_conflicts; i++)
                log_error(log, NULL, "%s", conflict_explain(&result->conflicts[i], text));
}

static void say_unclaimed(const struct broker *b) {
        for (size_t i = 0; i < inherited_count(b->inherited); i++) {
                const char *name = inherited_name(b->inherited, i);
                char text[ADDRESS_TEXT_SIZE];
                struct address address;

                if (address_of_socket(inherited_peek_fd(b->inherited, i), &address) < 0)
                        continue; /* no socket: one without a record, which is told of and closed */
                (void) address_text(&address, text);
                if (inherited_id(b->inherited, i))
                        log_warning(b->log, ABOUT(.listener = name),
                                    "listener %s is not configured any more; its socket %s stays "
                                    "open until `fdpass apply --allow-close`",
                                    name, text);
                else
                        log_warning(b->log, NULL,
                                    "a socket was passed to us as %s that no listener claims; %s "
                                    "stays open",
                                    name, text);
        }
}

/* Between two attempts: who had an address may also just go. */
#define OFFER_TRY_USEC (1000 * 1000)

/*
 * Addresses in use alone are what a holder whom we cannot reach looks like (OfferWaitSec=). 0 when
 * it is to be tried again.
 */
static int wait_for_offer(struct broker *b, const struct apply_result *result, uint64_t *until) {
        uint64_t now = loop_now_usec(), wait = b->config->broker.offer_wait_sec;

        if (!result->only_in_use || wait == 0)
                return -EINVAL;
        if (*until == 0) {
                *until = now + wait * 1000 * 1000;
                log_notice(b->log, NULL,
                           "%zu addresses are in use; waiting %u seconds for programs that hold "
                           "them to hand them back (OfferWaitSec=)",
                           result->n_in_use, b->config->broker.offer_wait_sec);
        }
        if (now >= *until)
                return -EINVAL;
        wait = *until - now;
        return control_wait_for_offers(b->control, wait < OFFER_TRY_USEC ? wait : OFFER_TRY_USEC);
}

static int apply_first(struct broker *b) {
        struct diagnostics diagnostics = {0};
        struct apply_result result = {0};
        uint64_t until = 0;
        int r;

        listener_table_set_starting(b->listeners, true);
        for (;;) {
                r = listener_table_apply(b->listeners, b->config, b->inherited, false, &diagnostics,
                                         &result);
                if (r != -EINVAL)
                        break;
                r = wait_for_offer(b, &result, &until);
                if (r < 0)
                        break;
                diagnostics_clear(&diagnostics);
        }
        listener_table_set_starting(b->listeners, false);
        control_end_offers(b->control);
        diagnostics_log(&diagnostics, b->log);
        diagnostics_clear(&diagnostics);
        if (r < 0)
                explain_conflicts(b->log, &result);
        else
                log_info(b->log, NULL, "listeners held: %zu (%zu bound, %zu adopted)",
                         listener_table_count(b->listeners), result.opened, result.adopted);
        return r;
}

/* Those that run already are found again; what is to be started comes when all else is there. */
static int find_components(struct broker *b) {
        int r = component_table_new(&b->components, b->loop, b->log, b->listeners, b->memory,
                                    control_path(b->control));

        if (r < 0)
                return r;
        control_serve_components(b->control);
        return component_table_apply(b->components, b->config, false);
}

static int open_listeners(struct broker *b, bool config_is_kept) {
        int r = listener_table_new(&b->listeners, b->loop, b->log, b->limits.listeners);

        if (r < 0)
                return r;
        if (b->memory) {
                r = listener_table_set_memory(b->listeners, b->memory);
                if (r == 0)
                        r = kept_give_sockets(b->memory, b->inherited, b->log);
        }
        if (r == 0)
                r = apply_first(b);
        if (r == 0)
                r = find_components(b);
        if (r < 0)
                return r;
        if (b->memory) {
                if (!config_is_kept)
                        (void) kept_config_put(b->memory, b->config, &b->config_fd, b->log);
                memory_forget_unclaimed(b->memory);
                say_unclaimed(b);
                kept_put_unclaimed(b->memory, b->inherited, b->log);
                memory_forget_nameless(b->memory, b->inherited);
        } else {
                say_unclaimed(b);
        }
        return 0;
}

int broker_new(struct broker **ret, struct loop *loop, struct log *log,
               const struct broker_parts *parts) {
        struct broker *b = calloc(1, sizeof(*b));
        int r = -ENOMEM;

        if (!b) {
                config_free(parts->config);
                inherited_free(parts->inherited);
                memory_free(parts->memory);
                close_fd(parts->config_fd);
                return -ENOMEM;
        }
        b->loop = loop;
        b->log = log;
        b->limits = parts->config->broker.limits;
        limits_fit(&b->limits, log);
        b->memory = parts->memory;
        b->inherited = parts->inherited;
        b->config_fd = parts->config_fd;
        b->config = parts->config;
        b->config_path = strdup(parts->config_path);
        if (b->config_path)
                r = control_new(&b->control, b);
        if (r == 0)
                r = open_listeners(b, parts->config_is_kept);
        if (r == 0)
                r = component_table_apply(b->components, b->config, true);
        if (r < 0) {
                if (b->control)
                        control_leave_path(b->control);
                broker_free(b);
                return r;
        }
        *ret = b;
        return 0;
}

struct broker *broker_free(struct broker *b) {
        if (b) {
                /* What ends now is to be found again by the next broker, if there is to be one. */
                if (b->listeners)
                        (void) listener_table_set_memory(b->listeners, NULL);
                /* Sessions hold references to holders and listen to jobs: they go first. */
                control_free(b->control);
                component_table_free(b->components);
                listener_table_free(b->listeners);
                config_free(b->config);
                inherited_free(b->inherited);
                memory_free(b->memory);
                close_fd(b->config_fd);
                free(b->config_path);
                free(b);
        }
        return NULL;
}
