/* What is told of an operation: lines of progress, the receipt that grows, and the verdict. */
#include <stdio.h>

#include "components/component_table.h"
#include "components/instance_private.h"
#include "components/operation.h"

/* ---- telling ----------------------------------------------------------------------------------*/

void operation_tell(struct operation *op, const char *step, const struct instance *i,
                    const char *reason) {
        char label[NAME_LENGTH_MAX + 16], text[512];
        struct job_event event = {.component = op->component->name,
                                  .step = step,
                                  .text = text,
                                  .generation = i->generation,
                                  .pid = i->tree.pid};
        struct job_item *item;

        if (LIST_EMPTY(&op->items))
                return;
        (void) snprintf(text, sizeof(text), "%s: generation %llu %s%s%s",
                        instance_label(i, label, sizeof(label)), (unsigned long long) i->generation,
                        step, reason[0] ? ": " : "", reason);
        LIST_FOREACH (item, &op->items, in_operation)
                job_progress(item->job, &event);
}

void operation_tell_ended(struct operation *op, const struct instance *i) {
        operation_tell(op, "ended", i, i->reason);
}

/* ---- the receipt ------------------------------------------------------------------------------*/

void operation_describe_ready(struct operation *op) {
        struct component *c = op->component;
        struct instance *i;
        uint64_t usec;

        op->receipt.instances = 0;
        TAILQ_FOREACH (i, &c->instances, entry) {
                if (i->generation != op->generation || i->life != LIFE_READY)
                        continue;
                op->receipt.instances++;
                usec = i->ready_usec > i->started_usec ? i->ready_usec - i->started_usec : 0;
                if (usec > op->receipt.ready_usec)
                        op->receipt.ready_usec = usec;
                (void) snprintf(op->receipt.ready_by, sizeof(op->receipt.ready_by), "%s",
                                i->ready_by);
        }
}

static void take_lines(struct operation *op, const struct instance *i) {
        receipt_take_lines(&op->receipt, &op->component->output, i);
}

void operation_instance_failed(struct operation *op, struct instance *i) {
        if (op->decided || i->generation != op->generation ||
            !(op->begun & UINT64_C(1) << i->index)) /* of a start before this one */
                return;
        if (!op->receipt.reason[0])
                (void) snprintf(op->receipt.reason, sizeof(op->receipt.reason), "%s",
                                i->reason[0] ? i->reason : "it ended");
        if (op->receipt.n_lines == 0)
                take_lines(op, i);
}

bool operation_drains(const struct operation *op, const struct instance *i) {
        return i->drain_by_operation && (op->generation == 0 || i->generation < op->generation);
}

void operation_instance_drained(struct operation *op, const struct instance *i) {
        uint64_t usec = i->ended_usec > i->drain_usec ? i->ended_usec - i->drain_usec : 0;

        if (!operation_drains(op, i))
                return;
        if (usec > op->receipt.drain_usec)
                op->receipt.drain_usec = usec;
        if (i->was_killed) {
                op->receipt.killed = true;
                op->receipt.held_on = i->held;
        }
}

/* ---- the verdict ------------------------------------------------------------------------------*/

void operation_give_receipt(const struct operation *op) {
        struct job_item *item;

        LIST_FOREACH (item, &op->items, in_operation)
                (void) receipt_copy(&item->receipt, &op->receipt);
}

static void say_verdict(struct operation *op) {
        char reason[REASON_SIZE + 8] = "";

        if (LIST_EMPTY(&op->items))
                return; /* nobody asked: what became of its instances is in the log already */
        if (op->receipt.reason[0])
                (void) snprintf(reason, sizeof(reason), ": %s", op->receipt.reason);
        log_write(op->component->table->log,
                  op->receipt.verdict == VERDICT_KEPT || op->receipt.verdict == VERDICT_FAILED
                          ? LEVEL_ERROR
                          : LEVEL_INFO,
                  ABOUT(.component = op->component->name), "%s: %s: %s%s", op->component->name,
                  job_kind_name(op->kind), verdict_name(op->receipt.verdict), reason);
}

void operation_decide(struct operation *op, enum verdict verdict, const char *reason) {
        struct job_item *item, *next;

        if (op->decided)
                return;
        op->decided = true;
        op->receipt.verdict = verdict;
        (void) snprintf(op->receipt.reason, sizeof(op->receipt.reason), "%s", reason);
        say_verdict(op);
        operation_give_receipt(op);
        for (item = LIST_FIRST(&op->items); item; item = next) {
                next = LIST_NEXT(item, in_operation);
                job_item_decided(item);
        }
}
