/* Slices by sched_setattr(2), whose attributes are declared here: see below. */
#include "core/slice.h"

#include <sched.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SHORT_NSEC (100 * 1000) /* the kernel's least */

/* glibc has none before 2.41, and <linux/sched/types.h> has a second struct sched_param. */
struct attributes {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
};

/* 0: the kernel's own. Older kernels read it only for deadlines. */
static void set_slice(uint64_t nsec) {
        struct attributes a = {.size = sizeof(a)};

        if (syscall(SYS_sched_getattr, 0, &a, sizeof(a), 0) < 0 || a.policy != SCHED_OTHER)
                return;
        a.runtime = nsec;
        (void) syscall(SYS_sched_setattr, 0, &a, 0);
}

void slice_shorten(void) {
        set_slice(SHORT_NSEC);
}

void slice_restore(void) {
        set_slice(0);
}
