/* Reads what every process has open, which takes as long as there are processes: in a child. */
#include "components/stray_search.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "components/listener_inodes.h"
#include "components/process_end.h"
#include "core/helper.h"
#include "core/process.h"
#include "sockets/process_sockets.h"

#define DEADLINE_USEC (5 * 1000 * 1000)
#define PATH_SIZE 4096

_Static_assert(sizeof(struct strays) <= HELPER_RESULT_MAX, "the result of one write");

struct stray_search {
        struct listener_inodes inodes;
        bool (*is_known)(const void *owner, pid_t pid);
        struct helper helper;
        void (*done)(void *owner, const struct strays *found);
        void *owner;
};

/* ---- in the child ---- */

struct looking {
        const struct stray_search *search;
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
 * who started it is the keeper, or systemd with its fd store: they have the listeners for it.
 */
static bool is_of_broker(const struct looking *l, pid_t pid) {
        char number[16], program[PATH_SIZE];

        if (pid == getpid() || pid == getppid() || pid == parent_of(getppid()))
                return true;
        if (parent_of(pid) != getppid())
                return false;
        (void) snprintf(number, sizeof(number), "%d", (int) pid);
        program_of(number, program);
        return program[0] != '\0' && strcmp(program, l->program) == 0;
}

static int note_stray(void *owner, const struct process_socket *socket) {
        struct looking *l = owner;
        struct strays *found = &l->found;

        if (!listener_inodes_have(&l->search->inodes, socket->inode))
                return 0;
        for (size_t i = 0; i < found->count; i++)
                if (found->of[i].pid == socket->pid)
                        return 0;
        if (l->search->is_known(l->search->owner, socket->pid) || is_of_broker(l, socket->pid))
                return 0;
        found->of[found->count].pid = socket->pid;
        process_name(socket->pid, found->of[found->count].name);
        return ++found->count == STRAYS_MAX;
}

static void look(void *argument, int result_fd) {
        struct looking l = {.search = argument};

        program_of("self", l.program);
        if (process_sockets_walk(note_stray, &l) >= 0)
                (void) !write(result_fd, &l.found, sizeof(l.found));
}

/* ---- in the broker ---- */

static void on_looked(void *owner, const char *text, size_t size) {
        struct stray_search *search = owner;
        void (*done)(void *, const struct strays *) = search->done;
        void *whose = search->owner;
        struct strays found;

        if (size == sizeof(found))
                memcpy(&found, text, sizeof(found));
        free(search);
        done(whose, size == sizeof(found) ? &found : NULL);
}

int stray_search_start(struct stray_search **ret, struct loop *loop,
                       const struct listener_inodes *inodes,
                       bool (*is_known)(const void *owner, pid_t pid),
                       void (*done)(void *owner, const struct strays *found), void *owner) {
        struct stray_search *new;
        int r;

        if (*ret)
                return -EBUSY;
        new = calloc(1, sizeof(*new));
        if (!new)
                return -ENOMEM;
        new->inodes = *inodes;
        new->is_known = is_known;
        new->done = done;
        new->owner = owner;
        r = helper_start(&new->helper, loop, DEADLINE_USEC, look, new, on_looked, new);
        if (r < 0) {
                free(new);
                return r;
        }
        *ret = new;
        return 0;
}

struct stray_search *stray_search_stop(struct stray_search *search) {
        if (search) {
                helper_cancel(&search->helper);
                free(search);
        }
        return NULL;
}
