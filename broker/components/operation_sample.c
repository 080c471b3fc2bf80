/* How long connections wait, and how many are dropped, while an operation is under way. */
#include "components/operation.h"

#include "components/component_table.h"
#include "components/queue_sample.h"
#include "sockets/queue.h"

#define SAMPLE_FIRST_USEC UINT64_C(20000)
#define SAMPLE_MAX_USEC UINT64_C(100000)
/* The kernel finds a Unix socket's queue by walking all of them: when so many operations are under
 * way at once, each is looked at less often. */
#define SAMPLED_OFTEN 8

/* A start that takes long is not to be paid for with ever more wake-ups: an eighth of the time that
 * it has taken so far, so that a long wait is known that well. */
static uint64_t pause_usec(const struct operation *op, uint64_t now) {
        uint64_t usec = (now - op->sampled_since_usec) / 8;

        if (usec < SAMPLE_FIRST_USEC)
                usec = SAMPLE_FIRST_USEC;
        else if (usec > SAMPLE_MAX_USEC)
                usec = SAMPLE_MAX_USEC;
        return usec * (1 + op->component->table->n_sampled / SAMPLED_OFTEN);
}

static void on_sample(void *owner) {
        struct operation *op = owner;
        uint64_t now = loop_now_usec(), wait;

        if (queue_sample_waits(op->component)) {
                if (op->waiting_since_usec == 0)
                        op->waiting_since_usec = now;
                wait = now - op->waiting_since_usec;
                if (wait > op->receipt.longest_wait_usec)
                        op->receipt.longest_wait_usec = wait;
        } else {
                op->waiting_since_usec = 0;
        }
        timer_start(&op->sample, op->component->table->loop, pause_usec(op, now), on_sample, op);
}

void operation_sample_start(struct operation *op, uint64_t drops_before) {
        if (op->component->config->n_sockets == 0)
                return;
        op->drops_before = drops_before;
        if (!timer_is_started(&op->sample)) {
                op->component->table->n_sampled++;
                op->sampled_since_usec = loop_now_usec();
        }
        on_sample(op);
}

void operation_sample_stop(struct operation *op) {
        uint64_t drops;

        if (!timer_is_started(&op->sample))
                return;
        timer_stop(&op->sample);
        op->component->table->n_sampled--;
        drops = queue_sample_drops(op->component);
        if (drops == QUEUE_DROPS_UNKNOWN || op->drops_before == QUEUE_DROPS_UNKNOWN)
                op->receipt.drops = QUEUE_DROPS_UNKNOWN;
        else /* a socket that was opened anew begins with 0 */
                op->receipt.drops = drops > op->drops_before ? drops - op->drops_before : 0;
}
