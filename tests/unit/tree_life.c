/* See tree_life.h; the program is /bin/sh. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "component_support.h"
#include "components/cgroup.h"
#include "components/process_end.h"
#include "support.h"
#include "tree_life.h"

bool tree_life_open(struct tree_life *l, int kind) {
        memset(l, 0, sizeof(*l));
        ck_assert_int_eq(loop_new(&l->loop), 0);
        ck_assert_int_eq(pipe2(l->words, O_CLOEXEC), 0);
        l->root.fd = -1;
        if (kind == WITH_CGROUP)
                cgroup_root_open(&l->root, NULL);
        if (kind == WITH_CGROUP && l->root.fd < 0)
                printf("skipped: no cgroup v2 that may be written\n");
        return kind == WITH_GROUP || l->root.fd >= 0;
}

void tree_life_close(struct tree_life *l) {
        process_tree_clear(&l->tree);
        process_tree_clear(&l->tree); /* which does no harm */
        cgroup_root_close(&l->root);
        close(l->words[0]);
        close(l->words[1]);
        loop_free(l->loop);
}

void tree_life_on_main_end(void *owner) {
        struct tree_life *l = owner;

        ck_assert_int_eq(l->ends, 0);
        l->main_ends++;
}

void tree_life_on_end(void *owner) {
        struct tree_life *l = owner;

        ck_assert_int_eq(l->main_ends, 1);
        l->ends++;
}

static void no_matter(void *owner, enum spawn_step step, int error, const char *what) {
        ck_assert_msg(step == N_SPAWN_STEPS, "%s %s", what, strerror(error));
}

void tree_life_run(struct tree_life *l, const char *script) {
        struct component_config config = component_defaults();
        struct spawn_watch watch = {0};
        struct spawn spawn = {.config = &config,
                              .command = &config.start,
                              .output_fd = l->words[1],
                              .error_fd = l->words[1]};
        int pidfd;
        pid_t pid;

        config.start = SHELL((char *) (uintptr_t) script);
        ck_assert_int_eq(
                process_tree_prepare(&l->tree, &l->root, l->loop, NULL, "fdpass-unit-test-1-0"), 0);
        spawn.cgroup_fd = l->tree.cgroup_fd;
        ck_assert_int_eq(spawn_start(&watch, l->loop, &spawn, &pid, &pidfd, no_matter, NULL), 0);
        process_tree_start(&l->tree, pid, pidfd, tree_life_on_main_end, tree_life_on_end, l);
        while (watch.loop)
                loop_run_once(l->loop, true);
}

void tree_life_adopt(struct tree_life *l, const struct process_tree_kept *kept) {
        process_tree_adopt(&l->tree, &l->root, l->loop, NULL, kept, tree_life_on_main_end,
                           tree_life_on_end, l);
}

pid_t tree_life_next_pid(struct tree_life *l) {
        char text[32];
        size_t n = 0;

        do
                ck_assert_int_eq(read(l->words[0], text + n, 1), 1);
        while (text[n++] != '\n');
        text[n] = '\0';
        return (pid_t) strtol(text, NULL, 10);
}

void tree_life_until_end(struct tree_life *l) {
        while (l->ends == 0)
                loop_run_once(l->loop, true);
}

void tree_life_told_once(struct tree_life *l) {
        for (int i = 0; i < 5; i++)
                loop_run_once(l->loop, false);
        ck_assert_int_eq(l->main_ends, 1);
        ck_assert_int_eq(l->ends, 1);
}

const char *tree_life_end_text(const struct tree_life *l) {
        static char text[64];

        return process_end_text(l->tree.end, l->tree.status, text, sizeof(text));
}

void tree_life_until_dead(int pidfd) {
        struct pollfd p = {.fd = pidfd, .events = POLLIN};

        ck_assert_int_eq(poll(&p, 1, 30000), 1);
}
