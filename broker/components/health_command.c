/* See health_command.h. */
#include "components/health_command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "components/process_tree.h"
#include "components/spawn.h"

struct health_command {
        struct loop *loop;
        struct cgroup_root no_cgroups;
        struct process_tree tree;
        struct spawn_watch watch;
        const char *name; /* lent, as long as done is set */
        bool executed, main_ended;
        void (*done)(void *owner, bool good, const char *text);
        void *owner;
};

static void say(struct health_command *c, bool good, const char *text) {
        void (*done)(void *, bool, const char *) = c->done;

        c->done = NULL;
        if (done)
                done(c->owner, good, text); /* which stops us */
}

static void say_end(struct health_command *c) {
        char how[64], text[HEALTH_TEXT_SIZE];

        if (!c->done)
                return;
        (void) snprintf(text, sizeof(text), "%s %s", c->name,
                        process_end_text(c->tree.end, c->tree.status, how, sizeof(how)));
        say(c, c->tree.end == PROCESS_EXITED && c->tree.status == 0, text);
}

static void on_spawned(void *owner, enum spawn_step step, int error, const char *what) {
        struct health_command *c = owner;
        char text[HEALTH_TEXT_SIZE];

        c->executed = true;
        if (step == N_SPAWN_STEPS) {
                if (c->main_ended)
                        say_end(c);
                return;
        }
        if (!c->done)
                return;
        (void) snprintf(text, sizeof(text), "%s could not be run, %s: %s", c->name,
                        spawn_step_name(step), strerror(error));
        say(c, false, text);
}

/* What failed before the exec is told by on_spawned(), which may come after this. */
static void on_main_end(void *owner) {
        struct health_command *c = owner;

        c->main_ended = true;
        if (c->executed)
                say_end(c);
}

static void on_end(void *owner) {
        struct health_command *c = owner;

        if (c->done && c->main_ended)
                say_end(c); /* the result of its exec never came: cannot be, but nobody may wait */
        spawn_watch_stop(&c->watch);
        process_tree_clear(&c->tree);
        free(c);
}

static int start(struct health_command *c, const struct health_target *target) {
        struct spawn spawn = {
                .config = target->component,
                .command = &target->config->command,
                .output_fd = -1,
                .error_fd = -1,
                .cgroup_fd = c->tree.cgroup_fd,
                .ends_with = getpid(), /* nobody after us would know of it */
        };
        pid_t pid;
        int pidfd, r;

        r = spawn_start(&c->watch, c->loop, &spawn, &pid, &pidfd, on_spawned, c);
        if (r < 0)
                return r;
        process_tree_start(&c->tree, pid, pidfd, on_main_end, on_end, c);
        return 0;
}

int health_command_start(struct health_command **ret, struct loop *loop, struct log *log,
                         const struct health_target *target,
                         void (*done)(void *owner, bool good, const char *text), void *owner) {
        _cleanup_free_ struct health_command *c = calloc(1, sizeof(*c));
        char name[CGROUP_NAME_SIZE];
        int r;

        if (!c)
                return -ENOMEM;
        c->loop = loop;
        c->no_cgroups.fd = -1;
        c->name = target->config->command.path;
        c->done = done;
        c->owner = owner;
        (void) snprintf(name, sizeof(name), PLACE_PREFIX "%.64s" PLACE_OF_HEALTH "-%llx",
                        target->component->name, (unsigned long long) loop_now_usec());
        r = process_tree_prepare(&c->tree, target->cgroups ? target->cgroups : &c->no_cgroups, loop,
                                 log, name);
        if (r < 0)
                return r;
        r = start(c, target);
        if (r < 0) {
                process_tree_clear(&c->tree);
                return r;
        }
        *ret = c;
        c = NULL;
        return 0;
}

struct health_command *health_command_stop(struct health_command *c) {
        if (!c)
                return NULL;
        c->done = NULL;
        if (!c->tree.ended)
                process_tree_kill(&c->tree);
        return NULL; /* on_end() is still to come, and frees it */
}
