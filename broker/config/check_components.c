/* Checks of components that need the whole configuration, resolved. */
#include "config/check.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "config/component_config.h"

#define CIRCLE_NAMES_MAX 16

#define check_error(d, p, ...)                                                                     \
        diagnostics_add((d)->diagnostics, SEVERITY_ERROR, (p).file, (p).line, __VA_ARGS__)
#define check_warning(d, p, ...)                                                                   \
        diagnostics_add((d)->diagnostics, SEVERITY_WARNING, (p).file, (p).line, __VA_ARGS__)

static void check_program(struct draft *draft, const struct draft_component *dc) {
        if (!dc->config->start.path && !dc->has_bad_command)
                check_error(draft, dc->place,
                            "component %s has no program: add a line such as "
                            "ExecStart=/usr/bin/PROGRAM",
                            dc->config->name);
}

static bool has_socket(const struct component_config *c, const char *name) {
        for (size_t i = 0; i < c->n_sockets; i++)
                if (strcmp(c->sockets[i], name) == 0)
                        return true;
        return false;
}

static void check_health(struct draft *draft, const struct draft_component *dc) {
        const struct component_config *c = dc->config;
        const struct health_config *h = &c->health;

        if ((h->kind == HEALTH_TCP || h->kind == HEALTH_HTTP) && c->n_sockets == 0)
                check_error(draft, dc->health_place,
                            "HealthCheck=%s needs a listener, and component %s has none: add "
                            "Sockets=, or use HealthCheck=exec:COMMAND",
                            h->kind == HEALTH_TCP ? "tcp" : "http", c->name);
        else if (h->socket && !has_socket(c, h->socket))
                check_error(draft, dc->health_socket_place,
                            "HealthCheckSocket=%.80s is not among the Sockets= of component %s",
                            h->socket, c->name);
}

static void check_start(struct draft *draft, const struct draft_component *dc) {
        if (dc->config->on_demand && dc->config->n_sockets == 0)
                check_error(draft, dc->start_place,
                            "Start=on-demand waits for a connection, and component %s has no "
                            "listener: add Sockets=",
                            dc->config->name);
}

static void check_notify(struct draft *draft, const struct draft_component *dc) {
        const struct component_config *c = dc->config;
        const char *what = c->type == COMPONENT_NOTIFY ? "Type=notify"
                           : c->watchdog_usec > 0      ? "WatchdogSec="
                                                       : NULL;

        if (c->notify_access == NOTIFY_NONE && what)
                check_error(draft, dc->notify_place,
                            "NotifyAccess=none means that nothing is heard from component %s, and "
                            "%s needs that: write NotifyAccess=main",
                            c->name, what);
}

/* As in systemd: then RestartSec= stays as it is. */
static void check_steps(struct draft *draft, const struct draft_component *dc) {
        struct component_config *c = dc->config;

        if (c->restart_steps == 0 || (c->restart_max_delay_usec != USEC_INFINITY &&
                                      c->restart_max_delay_usec >= c->restart_usec))
                return;
        if (dc->steps_place.file)
                check_warning(draft, dc->steps_place,
                              "RestartSteps= has no effect: it needs a RestartMaxDelaySec= that is "
                              "above RestartSec=");
        c->restart_steps = 0;
}

/* Both take from one queue: that can be meant, but seldom is. */
static void check_shared_listeners(struct draft *draft, const struct draft_component *dc) {
        for (size_t i = 0; i < dc->config->n_sockets; i++) {
                struct draft_socket *s = draft_find_socket(draft, dc->config->sockets[i]);

                if (s->server)
                        check_warning(draft, dc->place,
                                      "listener %s is served by component %s and by component %s: "
                                      "each connection goes to either of them",
                                      s->config.name, s->server->config->name, dc->config->name);
                else
                        s->server = dc;
        }
}

/* ---- the order ---- */

/* From `last`, along the way by which it was reached, to `first`, which comes before `last`. */
static void report_circle(struct draft *draft, const struct draft_component *last,
                          const struct draft_component *first) {
        _cleanup_free_ char *text = NULL;
        const struct draft_component *c = last;
        size_t size, count = 1;
        FILE *f = open_memstream(&text, &size);

        if (!f) {
                draft->out_of_memory = true;
                return;
        }
        for (fprintf(f, "%s", c->config->name); c != first; count++) {
                c = c->walked_from;
                if (count < CIRCLE_NAMES_MAX || c == first)
                        fprintf(f, " before %s", c->config->name);
                else if (count == CIRCLE_NAMES_MAX)
                        fprintf(f, " before ...");
        }
        fprintf(f, " before %s", last->config->name);
        if (fclose(f) != 0)
                draft->out_of_memory = true;
        else
                check_error(draft, last->place,
                            "the order of components goes in a circle, %s: remove one of their "
                            "After= or Before=",
                            text);
}

/* A walk along After= with its way back in the components, because they can be many. */
static void walk_order(struct draft *draft, struct draft_component *c) {
        c->walk = WALK_ON_THE_WAY;
        while (c) {
                struct draft_component *other;

                if (c->walk_next == c->config->n_after) {
                        c->walk = WALK_DONE;
                        c = c->walked_from;
                        continue;
                }
                other = draft_find_component(draft, c->config->after[c->walk_next++]);
                if (other->walk == WALK_ON_THE_WAY) {
                        report_circle(draft, c, other);
                } else if (other->walk == WALK_NOT_YET) {
                        other->walk = WALK_ON_THE_WAY;
                        other->walked_from = c;
                        c = other;
                }
        }
}

void check_components(struct draft *draft) {
        for (size_t i = 0; i < draft->n_components; i++) {
                struct draft_component *dc = draft->components[i];

                check_program(draft, dc);
                check_health(draft, dc);
                check_start(draft, dc);
                check_notify(draft, dc);
                check_steps(draft, dc);
                check_shared_listeners(draft, dc);
        }
        for (size_t i = 0; i < draft->n_components; i++)
                if (draft->components[i]->walk == WALK_NOT_YET)
                        walk_order(draft, draft->components[i]);
}
