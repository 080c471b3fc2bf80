/* See child.h. */
#include "core/child.h"

#include <signal.h>
#include <string.h>
#include <sys/prctl.h>

bool child_result_read(const char *result, size_t size, void *ret, size_t ret_size) {
        if (size != ret_size)
                return false;
        memcpy(ret, result, size);
        return true;
}

void child_begin(void) {
        struct sigaction by_default = {.sa_handler = SIG_DFL};
        sigset_t none;

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (int s = 1; s < NSIG; s++)
                (void) sigaction(s, &by_default, NULL);
        (void) sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
}
