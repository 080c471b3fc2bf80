/*
 * A program that passes the trial of an upgrade and then is no broker: executed for real it dies as
 * its name says. For tests/integration/test_upgrade.py.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv) {
        char self[4096];
        ssize_t n;

        if (argc == 2 && strcmp(argv[1], "--check-upgrade") == 0) {
                (void) puts("VERSION=9.9.9\nSTATE_FORMAT=1");
                return EXIT_SUCCESS;
        }
        /* The broker's argv is given to it, so its own name is in the kernel alone. */
        n = readlink("/proc/self/exe", self, sizeof(self) - 1);
        self[n < 0 ? 0 : n] = '\0';
        if (strstr(self, "killed"))
                (void) raise(SIGKILL);
        if (strstr(self, "ends-well"))
                return EXIT_SUCCESS;
        /* It was given a time; nobody wants to wait for all of it. */
        if (strstr(self, "hangs") && alarm(1) > 0)
                (void) pause();
        return 1;
}
