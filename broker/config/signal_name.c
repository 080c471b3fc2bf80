/* Names of signals by a table: sigabbrev_np(3) is not in every libc. */
#include "config/signal_name.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "config/values.h"

static const struct {
        const char *name;
        int number;
} names[] = {
        {"HUP", SIGHUP},       {"INT", SIGINT},   {"QUIT", SIGQUIT},   {"ILL", SIGILL},
        {"TRAP", SIGTRAP},     {"ABRT", SIGABRT}, {"BUS", SIGBUS},     {"FPE", SIGFPE},
        {"KILL", SIGKILL},     {"USR1", SIGUSR1}, {"SEGV", SIGSEGV},   {"USR2", SIGUSR2},
        {"PIPE", SIGPIPE},     {"ALRM", SIGALRM}, {"TERM", SIGTERM},   {"CHLD", SIGCHLD},
        {"CONT", SIGCONT},     {"STOP", SIGSTOP}, {"TSTP", SIGTSTP},   {"TTIN", SIGTTIN},
        {"TTOU", SIGTTOU},     {"URG", SIGURG},   {"XCPU", SIGXCPU},   {"XFSZ", SIGXFSZ},
        {"VTALRM", SIGVTALRM}, {"PROF", SIGPROF}, {"WINCH", SIGWINCH}, {"IO", SIGIO},
        {"PWR", SIGPWR},       {"SYS", SIGSYS},
#ifdef SIGSTKFLT /* not on every architecture */
        {"STKFLT", SIGSTKFLT},
#endif
};

/* "RTMIN+3", "RTMAX-1" */
static int from_real_time(const char *name, int *ret) {
        uint64_t offset = 0;

        if (strncmp(name, "RTMIN", 5) != 0 && strncmp(name, "RTMAX", 5) != 0)
                return -EINVAL;
        if (name[5] && name[5] != (name[4] == 'N' ? '+' : '-'))
                return -EINVAL;
        if (name[5] && value_to_number(name + 6, 0, (uint64_t) (SIGRTMAX - SIGRTMIN), &offset) < 0)
                return -EINVAL;
        *ret = name[4] == 'N' ? SIGRTMIN + (int) offset : SIGRTMAX - (int) offset;
        return 0;
}

int signal_from_name(const char *name, int *ret) {
        uint64_t number;

        if (value_to_number(name, 1, (uint64_t) SIGRTMAX, &number) == 0) {
                *ret = (int) number;
                return 0;
        }
        if (strncmp(name, "SIG", 3) == 0)
                name += 3;
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                if (strcmp(name, names[i].name) == 0) {
                        *ret = names[i].number;
                        return 0;
                }
        return from_real_time(name, ret);
}

const char *signal_name(int number, char ret[SIGNAL_NAME_SIZE]) {
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                if (number == names[i].number) {
                        (void) snprintf(ret, SIGNAL_NAME_SIZE, "SIG%s", names[i].name);
                        return ret;
                }
        if (number >= SIGRTMIN)
                (void) snprintf(ret, SIGNAL_NAME_SIZE, "SIGRTMIN+%d", number - SIGRTMIN);
        else
                (void) snprintf(ret, SIGNAL_NAME_SIZE, "%d", number);
        return ret;
}
