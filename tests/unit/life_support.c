#include "life_support.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "components/cgroup.h"
#include "config/load.h"
#include "core/log.h"
#include "keeper/link.h"
#include "keeper/memory.h"
#include "support.h"

/* Called with the line that says that it stopped, before it does. */
static void note_ended(struct scene *l) {
        const struct instance *i;

        for (const struct component *c = l->table ? component_first(l->table) : NULL; c;
             c = component_next(c))
                TAILQ_FOREACH (i, &c->instances, entry)
                        if (i->life == LIFE_STOPPED && i->ended_usec == 0) {
                                l->ended = *i;
                                l->n_ended++;
                        }
}

static void on_line(void *owner, enum log_level level, const char *text) {
        struct scene *l = owner;
        size_t used = strlen(l->said);

        (void) level;
        (void) snprintf(l->said + used, sizeof(l->said) - used, "%s\n", text);
        note_ended(l);
}

/* With what `inherited` of the world has. */
static void open_memory(struct scene *l) {
        int link_fd;

        ck_assert_int_eq(link_new(&l->keeper, &link_fd), 0);
        ck_assert_int_eq(memory_new(&l->memory, FD_STORE_KEEPER, link_fd, l->w->inherited,
                                    l->w->loop, l->log),
                         0);
}

static void open_table(struct scene *l) {
        ck_assert_int_eq(component_table_new(&l->table, l->w->loop, l->log, l->w->table, l->memory,
                                             test_path("broker.sock")),
                         0);
}

static void open_log(struct scene *l) {
        ck_assert_int_eq(log_new(&l->log, "test", LOG_TARGET_NONE, LEVEL_DEBUG), 0);
        log_set_sink(l->log, on_line, l);
}

void life_begin(struct scene *l, bool remembers) {
        memset(l, 0, sizeof(*l));
        l->keeper = -1;
        l->w = world_new();
        open_log(l);
        if (remembers)
                open_memory(l);
        open_table(l);
}

/* ---- the keeper -------------------------------------------------------------------------------*/

static void drop(struct scene *l, const char *id) {
        for (size_t k = 0; k < l->n_kept; k++)
                if (strcmp(l->kept[k].id, id) == 0) {
                        close_fd(l->kept[k].fd);
                        l->kept[k] = l->kept[--l->n_kept];
                        return;
                }
}

static void keep(struct scene *l, const char *id, int fd) {
        drop(l, id);
        ck_assert_uint_lt(l->n_kept, LIFE_KEPT_MAX);
        (void) snprintf(l->kept[l->n_kept].id, STATE_ID_SIZE, "%s", id);
        l->kept[l->n_kept++].fd = fd;
}

static void read_link(struct scene *l) {
        static struct message m;
        char id[STATE_ID_SIZE];

        while (l->keeper >= 0 && message_receive(l->keeper, &m) > 0) {
                const char *name = memmem(m.data, m.size, "FDNAME=", 7);

                m.data[m.size < MESSAGE_SIZE_MAX ? m.size : MESSAGE_SIZE_MAX - 1] = '\0';
                if (name && sscanf(name, "FDNAME=%23s", id) == 1) {
                        if (m.fds.count == 0)
                                drop(l, id);
                        else
                                keep(l, id, fd_list_take_fd(&m.fds, 0));
                }
                message_clear(&m);
        }
}

/* ---- turning ----------------------------------------------------------------------------------*/

static void on_passed(void *owner) {
        bool *over = owner;

        *over = true;
}

/* Not longer than a moment: what is waited for may be a file, which wakes nobody. */
void life_turn(struct scene *l) {
        struct timer timer = {0};
        bool over = false;

        read_link(l);
        timer_start(&timer, l->w->loop, 5000, on_passed, &over);
        loop_run_once(l->w->loop, true);
        timer_stop(&timer);
}

void life_pass(struct scene *l, unsigned long msec) {
        struct timer timer = {0};
        bool over = false;

        timer_start(&timer, l->w->loop, msec * 1000, on_passed, &over);
        LIFE_UNTIL(l, over);
}

void life_let_pass(struct instance *i) {
        ck_assert(timer_is_started(&i->deadline));
        ck_assert_uint_le(i->deadline_usec, loop_now_usec() + 60 * 1000 * 1000);
        timer_start(&i->deadline, i->component->table->loop, 0, i->deadline.handler,
                    i->deadline.owner);
}

void life_apply(struct scene *l, const char *format, ...) {
        struct config *config;
        va_list arguments;
        char *text;

        va_start(arguments, format);
        ck_assert_int_ge(vasprintf(&text, format, arguments), 0);
        va_end(arguments);
        config = load(text);
        ck_assert_int_eq(listener_table_apply(l->w->table, config, l->w->inherited, false,
                                              &l->w->diagnostics, &l->w->result),
                         0);
        ck_assert_int_eq(component_table_apply(l->table, config, true), 0);
        config_free(config);
        free(text);
}

void life_use_groups(struct scene *l) {
        cgroup_root_close(&l->table->cgroups);
}

/* ---- ends -------------------------------------------------------------------------------------*/

static void on_all_ended(void *owner) {
        bool *ended = owner;

        *ended = true;
}

/* As it is: what its components leave behind is the caller's. */
static void close_all(struct scene *l) {
        l->table = component_table_free(l->table);
        l->memory = memory_free(l->memory);
        read_link(l);
        world_free(l->w);
        l->keeper = close_fd(l->keeper);
        log_free(l->log);
}

/* A probe's command that was cut short is collected after all that the table knows of. */
static bool has_children(void) {
        siginfo_t info;

        return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

void life_end(struct scene *l) {
        bool ended = false;

        component_table_stop_all(l->table, on_all_ended, &ended);
        LIFE_UNTIL(l, ended);
        for (struct component *c = component_first(l->table); c; c = component_next(c))
                LIFE_UNTIL(l, TAILQ_EMPTY(&c->instances));
        LIFE_UNTIL(l, !has_children());
        close_all(l);
        while (l->n_kept > 0)
                drop(l, l->kept[0].id);
}

void life_die(struct scene *l, struct scene *next) {
        close_all(l);
        memset(next, 0, sizeof(*next));
        next->w = world_new();
        open_log(next);
        for (size_t k = 0; k < l->n_kept; k++) {
                int copy = fcntl(l->kept[k].fd, F_DUPFD_CLOEXEC, 3);

                ck_assert_int_ge(copy, 0);
                ck_assert_int_eq(inherited_put_fd(next->w->inherited, l->kept[k].id, copy), 0);
                keep(next, l->kept[k].id, l->kept[k].fd);
        }
        l->n_kept = 0;
        open_memory(next);
        open_table(next);
}

/* ---- looking ----------------------------------------------------------------------------------*/

struct component *life_component(const struct scene *l, const char *name) {
        struct component *c = component_find(l->table, name);

        ck_assert_msg(c != NULL, "no component %s", name);
        return c;
}

struct instance *life_instance(const struct scene *l, const char *name, uint64_t generation) {
        struct instance *i;

        TAILQ_FOREACH (i, &life_component(l, name)->instances, entry)
                if (i->generation == generation)
                        return i;
        return NULL;
}

bool life_is(const struct scene *l, const char *name, enum component_state state) {
        return component_state(life_component(l, name)) == state;
}

struct instance *life_make(struct scene *l, const char *name) {
        struct component *c = life_component(l, name);
        struct instance *i;

        ck_assert_int_eq(instance_new(c, component_new_generation(c), 0, &i), 0);
        return i;
}

bool life_said(const struct scene *l, const char *part) {
        return strstr(l->said, part) != NULL;
}

struct job *life_begin_job(struct scene *l, enum job_kind kind, const char *id, const char *names) {
        char *words = strdup(names ? names : ""), *rest = NULL;
        const char *list[16];
        size_t n = 0;
        struct job *job = NULL;
        int r;

        ck_assert_ptr_nonnull(words);
        for (char *word = strtok_r(words, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
                list[n++] = word;
        r = job_begin(l->table, kind, id, names ? list : NULL, n, &job);
        free(words);
        ck_assert_int_eq(r, 0);
        return job;
}

const struct receipt *life_receipt(struct scene *l, struct job *job, const char *name) {
        LIFE_UNTIL(l, job->finished);
        for (size_t k = 0; k < job->n_items; k++)
                if (strcmp(job->items[k].name, name) == 0)
                        return &job->items[k].receipt;
        ck_abort_msg("nothing was done about %s", name);
        return NULL;
}

/* ---- files ------------------------------------------------------------------------------------*/

static const char *path_of(const char *name) {
        static char path[256];

        (void) snprintf(path, sizeof(path), "%s/%s", test_folder(), name);
        return path;
}

bool life_exists(const char *name) {
        return access(path_of(name), F_OK) == 0;
}

const char *life_read(const char *name) {
        static char text[4096];
        FILE *f = fopen(path_of(name), "re");
        size_t n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;

        if (f)
                (void) fclose(f);
        text[n] = '\0';
        for (char *p = text; *p; p++)
                if (*p == '\n')
                        *p = p[1] ? ' ' : '\0';
        return text;
}
