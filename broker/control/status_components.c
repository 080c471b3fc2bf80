/* Components in the document of STATUS: what there is, read as it is; nothing is asked or waited
 * for. */
#include "control/status_components.h"

#include <string.h>

#include "components/component.h"
#include "components/stall.h"
#include "config/component_config.h"
#include "core/json_writer.h"
#include "core/loop.h"

/* "" is null: nothing was said. */
static void write_text(struct json_writer *j, const char *key, const char *text) {
        json_text(j, key, text[0] ? text : NULL);
}

static void write_ready(struct json_writer *j, const struct instance *i) {
        json_bool(j, "ready", i->life == LIFE_READY);
        if (i->ready_usec == 0)
                json_none(j, "ready_by");
        else
                json_text(j, "ready_by", i->ready_by);
        if (i->ready_usec < i->started_usec || i->ready_usec == 0)
                json_none(j, "ready_ms");
        else
                json_u64(j, "ready_ms", (i->ready_usec - i->started_usec) / 1000);
}

static void write_instance(struct json_writer *j, const struct instance *i) {
        json_open_object(j, NULL);
        json_u64(j, "generation", i->generation);
        json_u64(j, "index", i->index);
        json_u64(j, "pid", i->tree.pid > 0 ? (uint64_t) i->tree.pid : 0);
        json_text(j, "state", life_name(i->life));
        json_u64(j, "since_usec", i->since_usec);
        write_ready(j, i);
        write_text(j, "reason", instance_reason(i));
        write_text(j, "status", i->status);
        write_text(j, "health", i->health_text);
        json_u64(j, "connections", i->held.count);
        json_bool(j, "adopted", i->adopted);
        json_bool(j, "outdated", instance_is_outdated(i));
        json_close_object(j);
}

/* With what its process said of it, or why none ran at all. */
static const char *last_end_text(const struct component *c, char *buffer, size_t size) {
        (void) process_end_text(c->last_end, c->last_status, buffer, size);
        if (c->last_reason[0] &&
            (c->last_end == PROCESS_RUNS || strncmp(c->last_reason, buffer, strlen(buffer)) == 0))
                return c->last_reason;
        return buffer;
}

static void write_last_end(struct json_writer *j, const struct component *c) {
        char text[64];

        if (c->last_end_usec == 0) {
                json_none(j, "last_end");
                return;
        }
        json_open_object(j, "last_end");
        json_text(j, "text", last_end_text(c, text, sizeof(text)));
        write_text(j, "reason", c->last_reason);
        json_u64(j, "time_usec", c->last_end_usec);
        json_close_object(j);
}

void status_write_back_off(struct json_writer *j, const struct component *c) {
        uint64_t now = loop_now_usec();

        /* Also of one place while others serve, start or drain. */
        if (c->goal != GOAL_RUNNING || !timer_is_started(&c->back_off))
                json_none(j, "back_off_ms");
        else
                json_u64(j, "back_off_ms",
                         c->back_off_until_usec > now ? (c->back_off_until_usec - now) / 1000 : 0);
}

static void write_listeners(struct json_writer *j, const struct component_config *config) {
        json_open_array(j, "listeners");
        for (size_t i = 0; i < config->n_sockets; i++)
                json_text(j, NULL, config->sockets[i]);
        json_close_array(j);
}

void status_write_component(struct json_writer *j, const struct component *c) {
        char reason[COMPONENT_REASON_SIZE];
        const struct instance *i;

        json_open_object(j, NULL);
        json_text(j, "name", c->name);
        json_text(j, "description", c->config->description);
        json_text(j, "file", c->config->file);
        json_u64(j, "line", c->config->line);
        json_text(j, "state", component_state_name(component_state(c)));
        json_text(j, "goal", component_goal_name(c->goal));
        write_text(j, "reason", component_reason(c, reason, sizeof(reason)));
        json_u64(j, "generation", component_generation(c));
        json_u64(j, "restarts", c->restarts);
        status_write_back_off(j, c);
        write_last_end(j, c);
        write_listeners(j, c->config);
        json_bool(j, "stalled", stall_is_stalled(c));
        json_open_array(j, "instances");
        TAILQ_FOREACH (i, &c->instances, entry)
                write_instance(j, i);
        json_close_array(j);
        json_close_object(j);
}
