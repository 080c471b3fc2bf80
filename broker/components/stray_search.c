/* Reads what every process has open, which takes as long as there are processes: in a child. */
#include "components/stray_search.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "components/listener_inodes.h"
#include "components/process_end.h"
#include "core/helper.h"
#include "core/process.h"
#include "sockets/process_sockets.h"

#define DEADLINE_USEC (5 * 1000 * 1000)
#define PATH_SIZE 4096

_Static_assert(sizeof(struct strays) <= CHILD_RESULT_MAX, "the result of one write");

struct looking {
        const struct listener_inodes *inodes;
        bool (*is_known)(const void *owner, pid_t pid);
        const void *owner;
        char program[PATH_SIZE]; /* ours */
        struct strays found;
};

/* 0: it has ended. */
static pid_t parent_of(pid_t pid) {
        struct process_stat stat;

        return process_stat_read(pid, &stat) < 0 ? 0 : stat.parent;
}

static void program_of(const char *pid, char ret[PATH_SIZE]) {
        char path[64];
        ssize_t n;

        (void) snprintf(path, sizeof(path), "/proc/%s/exe", pid);
        n = readlink(path, ret, PATH_SIZE - 1);
        ret[n > 0 ? n : 0] = '\0';
}

/*
 * The broker is our parent. Its other children have its descriptors until they exec or exit, and
 * who started it is the keeper, or systemd with its fd store: they have the listeners for it. Those
 * that work for the broker are in its process group: by their program alone they are not known,
 * which is another one after an upgrade and none once they are killed.
 */
static bool is_of_broker(const struct looking *l, pid_t pid) {
        char number[16], program[PATH_SIZE];

        if (pid == getpid() || pid == getppid() || pid == parent_of(getppid()))
                return true;
        if (parent_of(pid) != getppid())
                return false;
        if (getpgid(pid) == getpgid(getppid()))
                return true;
        (void) snprintf(number, sizeof(number), "%d", (int) pid);
        program_of(number, program);
        return program[0] != '\0' && strcmp(program, l->program) == 0;
}

static int note_stray(void *owner, const struct process_socket *socket) {
        struct looking *l = owner;
        struct strays *found = &l->found;

        if (!listener_inodes_have(l->inodes, socket->inode))
                return 0;
        for (size_t i = 0; i < found->count; i++)
                if (found->of[i].pid == socket->pid)
                        return 0;
        if (l->is_known(l->owner, socket->pid) || is_of_broker(l, socket->pid))
                return 0;
        found->of[found->count].pid = socket->pid;
        process_name(socket->pid, found->of[found->count].name);
        return ++found->count == STRAYS_MAX;
}

static void look(void *argument, int result_fd) {
        struct looking *l = argument;

        program_of("self", l->program);
        if (process_sockets_walk(note_stray, l) >= 0)
                (void) !write(result_fd, &l->found, sizeof(l->found));
}

int stray_search_start(struct helper **ret, struct loop *loop, const struct listener_inodes *inodes,
                       bool (*is_known)(const void *owner, pid_t pid), child_done *done,
                       void *owner) {
        struct looking looking = {.inodes = inodes, .is_known = is_known, .owner = owner};

        return helper_start(ret, loop, DEADLINE_USEC, look, &looking, done, owner);
}
