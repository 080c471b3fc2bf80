/*
 * /proc/PID/exe takes locks that a stuck process can hold, which is why the broker does not read
 * it. Names of users come from /etc/passwd alone: a name server that does not answer must not keep
 * anybody from seeing who holds a listener. The pid was right when the broker answered; that it is
 * another's by now is possible and so unlikely that a name for it is not worth a pidfd.
 */
#include "cli/program.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "core/process.h"

char *program_of(uint64_t pid) {
        char name[PROCESS_NAME_SIZE] = "?", link[64], path[PATH_MAX];
        ssize_t n;
        char *text;

        if (pid == 0 || pid > INT_MAX)
                return strdup("?");
        process_name((pid_t) pid, name);
        (void) snprintf(link, sizeof(link), "/proc/%llu/exe", (unsigned long long) pid);
        n = readlink(link, path, sizeof(path) - 1);
        if (n <= 0)
                return strdup(name);
        path[n] = '\0';
        return asprintf(&text, "%s (%s)", name, path) < 0 ? NULL : text;
}

char *program_user(struct identities *users, uint64_t uid) {
        struct user user;
        char *text;

        if (users && uid < UINT32_MAX && identities_user(users, (uid_t) uid, &user) == 0)
                return strdup(user.name);
        return asprintf(&text, "%llu", (unsigned long long) uid) < 0 ? NULL : text;
}
