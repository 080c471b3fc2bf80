/* Writing later what could not be written. See catch_up.h. */
#include "keeper/catch_up.h"

#include <string.h>

#include "core/log.h"
#include "keeper/fd_store.h"
#include "keeper/memory.h"
#include "keeper/state.h"

#define AGAIN_USEC 1000000

static void on_again(void *owner) {
        struct catch_up *c = owner;
        bool was_stored = state_peek_fd(c->state) >= 0;

        if (state_catch_up(c->state) < 0) {
                timer_start(&c->timer, c->loop, AGAIN_USEC, on_again, c);
                return;
        }
        if (!was_stored)
                (void) fd_store_push(c->store, MEMORY_STATE_ID, state_peek_fd(c->state), true);
        log_notice(c->log, NULL, "the state document is written again; nothing is missing in it");
}

void catch_up_check(struct catch_up *c) {
        if (state_error(c->state) == 0 || timer_is_started(&c->timer))
                return;
        log_error(c->log, NULL,
                  "the state document cannot be written: %s; serving goes on, but what changes now "
                  "would not be known again after a crash. Trying again every second; make room in "
                  "memory, or raise the limit (RLIMIT_FSIZE, the memory limit of the cgroup)",
                  strerror(-state_error(c->state)));
        timer_start(&c->timer, c->loop, AGAIN_USEC, on_again, c);
}

void catch_up_stop(struct catch_up *c) {
        timer_stop(&c->timer);
}
