/* The receipts of a job, an object for each component, while nothing of it changes any more. */
#include "control/receipt_document.h"

#include "components/component.h"
#include "components/job.h"
#include "control/status_components.h"
#include "core/json_writer.h"
#include "sockets/queue.h"

static void write_held_on(struct json_writer *j, const struct connections *c) {
        json_open_array(j, "held_on");
        for (size_t i = 0; i < c->n_holders; i++) {
                json_open_object(j, NULL);
                json_u64(j, "pid", (uint64_t) c->holders[i].pid);
                json_text(j, "name", c->holders[i].name);
                json_u64(j, "connections", c->holders[i].count);
                json_close_object(j);
        }
        json_close_array(j);
        json_open_array(j, "strays");
        for (size_t i = 0; i < c->strays.count; i++) {
                json_open_object(j, NULL);
                json_u64(j, "pid", (uint64_t) c->strays.of[i].pid);
                json_text(j, "name", c->strays.of[i].name);
                json_close_object(j);
        }
        json_close_array(j);
}

static void write_item(struct json_writer *j, const struct job_item *item) {
        const struct receipt *r = &item->receipt;

        json_open_object(j, NULL);
        json_text(j, "name", item->name);
        json_bool(j, "asked_for", item->asked_for);
        json_text(j, "verdict", verdict_name(r->verdict));
        json_text(j, "reason", r->reason);
        if (item->component) { /* one that is gone has none, and is not tried again */
                json_u64(j, "listeners", item->component->config->n_sockets);
                status_write_back_off(j, item->component);
        }
        json_u64(j, "generation_before", r->generation_before);
        json_u64(j, "generation", r->generation);
        json_u64(j, "instances", r->instances);
        json_text(j, "ready_by", r->ready_by);
        json_u64(j, "ready_ms", r->ready_usec / 1000);
        json_u64(j, "drain_ms", r->drain_usec / 1000);
        json_bool(j, "drained", r->drained);
        json_bool(j, "killed", r->killed);
        json_u64(j, "connections", r->held_on.count);
        write_held_on(j, &r->held_on);
        json_u64(j, "longest_wait_ms", r->longest_wait_usec / 1000);
        if (r->drops == QUEUE_DROPS_UNKNOWN)
                json_none(j, "drops");
        else
                json_u64(j, "drops", r->drops);
        json_open_array(j, "last_lines");
        for (size_t i = 0; i < r->n_lines; i++)
                json_text(j, NULL, r->lines[i]);
        json_close_array(j);
        json_close_object(j);
}

void receipt_document_write(struct json_writer *j, const struct job *job) {
        json_open_object(j, NULL);
        json_u64(j, "schema", 1);
        json_text(j, "job", job->id);
        json_text(j, "kind", job_kind_name(job->kind));
        json_text(j, "result", job_is_good(job) ? "good" : "bad");
        json_u64(j, "since_usec", job->since_usec);
        json_u64(j, "duration_ms", (job->ended_usec - job->started_usec) / 1000);
        json_open_array(j, "components");
        for (size_t i = 0; i < job->n_items; i++)
                write_item(j, &job->items[i]);
        json_close_array(j);
        json_close_object(j);
}
