#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "core/inherited.h"
#include "core/log.h"
#include "core/loop.h"
#include "keeper/memory.h"
#include "sockets/path_guard.h"
#include "sockets_support.h"
#include "support.h"

struct fixture {
        struct loop *loop;
        struct log *log;
        struct path_watch *watch;
        unsigned warnings, errors;
        char last[1024];
};

struct guarded {
        struct path_guard guard;
        const char *path;
        int fd;
        unsigned lost, mended;
};

static void on_log(void *owner, enum log_level level, const char *text) {
        struct fixture *f = owner;

        f->warnings += level == LEVEL_WARNING;
        f->errors += level == LEVEL_ERROR;
        (void) snprintf(f->last, sizeof(f->last), "%s", text);
}

static void start(struct fixture *f) {
        memset(f, 0, sizeof(*f));
        ck_assert_int_eq(loop_new(&f->loop), 0);
        ck_assert_int_eq(log_new(&f->log, "test", LOG_TARGET_NONE, LEVEL_DEBUG), 0);
        log_set_sink(f->log, on_log, f);
        ck_assert_int_eq(path_watch_new(&f->watch, f->loop, f->log), 0);
}

static void stop(struct fixture *f) {
        path_watch_free(f->watch);
        log_free(f->log);
        loop_free(f->loop);
}

static void on_lost(void *owner) {
        ((struct guarded *) owner)->lost++;
}

static void on_mended(void *owner) {
        ((struct guarded *) owner)->mended++;
}

static void guard(struct fixture *f, struct guarded *g) {
        path_guard_start(&g->guard, f->watch, g->path, g->fd, on_lost, on_mended, g);
}

/* A guarded listener at FOLDER/name. */
static void listener(struct fixture *f, struct guarded *g, const char *name) {
        memset(g, 0, sizeof(*g));
        g->path = test_path(name);
        g->fd = test_unix_listener(g->path);
        guard(f, g);
}

/* The first or another name for it. */
static const char *link_of(const struct guarded *g) {
        static char text[256];
        const char *base = strrchr(g->path, '/') + 1;
        int n = snprintf(text, sizeof(text), "%.*s.fdpass-%u/%s", (int) (base - g->path), g->path,
                         (unsigned) geteuid(), base);

        if (g->guard.link > 1)
                (void) snprintf(text + n, sizeof(text) - (size_t) n, ".%u", g->guard.link);
        return text;
}

static void end(struct guarded *g) {
        path_guard_stop(&g->guard);
        close(g->fd);
}

static void turns(struct fixture *f) {
        for (unsigned i = 0; i < 3; i++)
                loop_run_once(f->loop, false);
}

static const char *folder_of_links(void) {
        char name[64];

        (void) snprintf(name, sizeof(name), ".fdpass-%u", (unsigned) geteuid());
        return test_path(name);
}

START_TEST(an_unlinked_path_is_there_again_with_the_same_socket) {
        struct fixture f;
        struct guarded g;
        struct stat before, after;

        start(&f);
        listener(&f, &g, "web.sock");
        ck_assert_int_eq(chmod(g.path, 0640), 0);
        ck_assert_int_eq(lstat(g.path, &before), 0);
        for (unsigned i = 1; i <= 10; i++) { /* every generation does it */
                ck_assert_int_eq(unlink(g.path), 0);
                turns(&f);
                ck_assert_uint_eq(g.mended, i);
                ck_assert_int_eq(test_unix_connect(g.path, SOCK_STREAM), 0);
        }
        ck_assert_int_eq(lstat(g.path, &after), 0);
        ck_assert_uint_eq(before.st_ino, after.st_ino);
        ck_assert_uint_eq(after.st_mode & 07777, 0640);
        ck_assert_uint_eq(g.lost, 0);
        end(&g);
        stop(&f);
}
END_TEST

START_TEST(a_path_that_is_moved_away_is_there_again) {
        struct fixture f;
        struct guarded g;

        start(&f);
        listener(&f, &g, "web.sock");
        ck_assert_int_eq(rename(g.path, test_path("web.old")), 0);
        turns(&f);
        ck_assert_uint_eq(g.mended, 1);
        ck_assert_int_eq(test_unix_connect(g.path, SOCK_STREAM), 0);
        end(&g);
        stop(&f);
}
END_TEST

START_TEST(other_files_of_the_folder_are_nothing_to_it) {
        struct fixture f;
        struct guarded g;

        start(&f);
        listener(&f, &g, "web.sock");
        test_write("other", "x");
        ck_assert_int_eq(unlink(test_path("other")), 0);
        turns(&f);
        ck_assert_uint_eq(g.mended + g.lost, 0);
        end(&g);
        stop(&f);
}
END_TEST

START_TEST(a_foreign_socket_at_the_path_is_replaced_a_few_times_and_then_left) {
        struct fixture f;
        struct guarded g;
        struct stat st;
        int foreign = -1;

        start(&f);
        listener(&f, &g, "web.sock");
        for (unsigned i = 1; i <= PATH_GUARD_BURST; i++) {
                ck_assert_int_eq(unlink(g.path), 0);
                foreign = test_unix_listener(g.path);
                turns(&f);
                ck_assert_uint_eq(g.mended, i);
                ck_assert_int_eq(lstat(g.path, &st), 0);
                ck_assert_uint_eq(st.st_ino, g.guard.inode);
                ck_assert_uint_eq(f.warnings, i);
                close(foreign);
        }
        ck_assert_int_eq(unlink(g.path), 0);
        foreign = test_unix_listener(g.path);
        turns(&f);
        ck_assert_uint_eq(g.mended, PATH_GUARD_BURST);
        ck_assert_uint_eq(f.errors, 1);
        ck_assert_ptr_nonnull(strstr(f.last, g.path));
        path_guard_check(&g.guard); /* and that is said once */
        ck_assert_uint_eq(f.errors, 1);

        /* The other program ends and removes its socket: nothing to fight about any more. */
        close(foreign);
        ck_assert_int_eq(unlink(g.path), 0);
        turns(&f);
        ck_assert_int_eq(test_unix_connect(g.path, SOCK_STREAM), 0);
        end(&g);
        stop(&f);
}
END_TEST

START_TEST(a_foreign_socket_renamed_over_the_path_is_seen) {
        struct fixture f;
        struct guarded g;
        int foreign;

        start(&f);
        listener(&f, &g, "web.sock");
        foreign = test_unix_listener(test_path("new.sock"));
        ck_assert_int_eq(rename(test_path("new.sock"), g.path), 0);
        turns(&f);
        ck_assert_uint_eq(g.mended, 1);
        close(foreign);
        ck_assert_int_eq(test_unix_connect(g.path, SOCK_STREAM), 0);
        end(&g);
        stop(&f);
}
END_TEST

START_TEST(a_listener_whose_path_has_the_name_of_a_spare_link_is_no_obstacle) {
        struct fixture f;
        struct guarded g, other;
        struct stat before, after;
        int foreign;

        start(&f);
        listener(&f, &g, "web.sock");
        listener(&f, &other, "web.sock.spare1");
        ck_assert_int_eq(lstat(g.path, &before), 0);
        foreign = test_unix_listener(test_path("new.sock"));
        ck_assert_int_eq(rename(test_path("new.sock"), g.path), 0);
        turns(&f);
        ck_assert_uint_eq(g.lost, 0);
        ck_assert_uint_eq(g.mended, 1);
        ck_assert_int_eq(lstat(g.path, &after), 0);
        ck_assert_uint_eq(before.st_ino, after.st_ino);
        /* The other one's link is still its own. */
        ck_assert_int_eq(unlink(other.path), 0);
        turns(&f);
        ck_assert_uint_eq(other.lost, 0);
        ck_assert_uint_eq(other.mended, 1);
        close(foreign);
        end(&other);
        end(&g);
        ck_assert_int_lt(access(folder_of_links(), F_OK), 0);
        stop(&f);
}
END_TEST

START_TEST(what_is_no_socket_at_the_path_is_left_alone) {
        struct fixture f;
        struct guarded g;
        struct stat st;

        start(&f);
        listener(&f, &g, "web.sock");
        ck_assert_int_eq(unlink(g.path), 0);
        test_write("web.sock", "precious");
        turns(&f);
        ck_assert_uint_eq(g.mended + g.lost, 0);
        ck_assert_uint_eq(f.errors, 1);
        ck_assert_int_eq(lstat(g.path, &st), 0);
        ck_assert(S_ISREG(st.st_mode));
        ck_assert_int_eq(unlink(g.path), 0);
        turns(&f);
        ck_assert_uint_eq(g.mended, 1);
        end(&g);
        stop(&f);
}
END_TEST

START_TEST(a_deleted_folder_is_a_loss) {
        struct fixture f;
        struct guarded g;

        start(&f);
        ck_assert_int_eq(mkdir(test_path("d"), 0755), 0);
        listener(&f, &g, "d/web.sock");
        ck_assert_int_eq(unlink(link_of(&g)), 0);
        ck_assert_int_eq(unlink(g.path), 0);
        turns(&f);
        ck_assert_uint_eq(g.lost, 1); /* the link was gone too */
        end(&g);

        listener(&f, &g, "d/web.sock");
        ck_assert_int_eq(rename(test_path("d"), test_path("e")), 0);
        turns(&f);
        ck_assert_uint_eq(g.lost, 1);
        end(&g);
        stop(&f);
}
END_TEST

START_TEST(a_folder_that_was_deleted_and_made_again_is_watched_again) {
        struct fixture f;
        struct guarded g;
        char links[64];

        start(&f);
        (void) snprintf(links, sizeof(links), "d/.fdpass-%u", (unsigned) geteuid());
        ck_assert_int_eq(mkdir(test_path("d"), 0755), 0);
        listener(&f, &g, "d/web.sock");
        ck_assert_int_eq(rename(test_path(links), test_path("links")), 0);
        ck_assert_int_eq(unlink(g.path), 0);
        ck_assert_int_eq(rmdir(test_path("d")), 0);
        ck_assert_int_eq(mkdir(test_path("d"), 0755), 0);
        ck_assert_int_eq(rename(test_path("links"), test_path(links)), 0);
        turns(&f); /* only now does the guard hear of it */
        ck_assert_uint_eq(g.mended, 1);
        ck_assert_int_eq(unlink(g.path), 0);
        turns(&f);
        ck_assert_uint_eq(g.mended, 2);
        end(&g);
        stop(&f);
}
END_TEST

START_TEST(a_path_that_is_gone_at_the_start_is_told_from_the_loop) {
        struct fixture f;
        struct guarded g = {0};

        start(&f);
        g.path = test_path("web.sock");
        g.fd = test_unix_listener(g.path);
        ck_assert_int_eq(unlink(g.path), 0);
        guard(&f, &g);
        ck_assert_uint_eq(g.lost, 0);
        loop_run_once(f.loop, true);
        ck_assert_uint_eq(g.lost, 1);
        end(&g);
        stop(&f);
}
END_TEST

START_TEST(a_path_that_leads_to_another_socket_at_the_start_is_not_taken_for_ours) {
        struct fixture f;
        struct guarded g = {0};
        int foreign;

        start(&f);
        g.path = test_path("web.sock");
        g.fd = test_unix_listener(g.path);
        ck_assert_int_eq(unlink(g.path), 0);
        foreign = test_unix_listener(g.path);
        guard(&f, &g);
        ck_assert_uint_eq(g.guard.link, 0);
        loop_run_once(f.loop, true);
        ck_assert_uint_eq(g.lost, 1);
        end(&g);
        close(foreign);
        stop(&f);
}
END_TEST

START_TEST(the_private_folder_is_private_and_goes_with_the_last_guard) {
        struct fixture f;
        struct guarded a, b;
        struct stat st;

        start(&f);
        listener(&f, &a, "a.sock");
        listener(&f, &b, "b.sock");
        ck_assert_int_eq(lstat(folder_of_links(), &st), 0);
        ck_assert_uint_eq(st.st_mode & 07777, 0700);
        end(&a);
        ck_assert_int_eq(unlink(b.path), 0); /* b is guarded on, watch and link */
        turns(&f);
        ck_assert_uint_eq(b.mended, 1);
        end(&b);
        ck_assert_int_lt(lstat(folder_of_links(), &st), 0);
        ck_assert_int_eq(lstat(b.path, &st), 0); /* the path itself stays */
        stop(&f);
}
END_TEST

START_TEST(a_private_folder_that_others_could_write_is_not_used) {
        struct fixture f;
        struct guarded g;

        start(&f);
        ck_assert_int_eq(mkdir(folder_of_links(), 0777), 0);
        ck_assert_int_eq(chmod(folder_of_links(), 0777), 0);
        listener(&f, &g, "web.sock");
        ck_assert_uint_eq(g.guard.link, 0);
        ck_assert_uint_eq(f.warnings, 1);
        ck_assert_int_eq(unlink(g.path), 0);
        turns(&f);
        ck_assert_uint_eq(g.lost, 1);
        end(&g);
        stop(&f);
}
END_TEST

START_TEST(a_private_folder_that_is_a_symbolic_link_is_not_used) {
        struct fixture f;
        struct guarded g;
        struct stat st;

        start(&f);
        ck_assert_int_eq(mkdir(test_path("elsewhere"), 0700), 0);
        ck_assert_int_eq(symlink(test_path("elsewhere"), folder_of_links()), 0);
        listener(&f, &g, "web.sock");
        ck_assert_uint_eq(g.guard.link, 0);
        ck_assert_int_lt(lstat(test_path("elsewhere/web.sock"), &st), 0);
        end(&g);
        stop(&f);
}
END_TEST

START_TEST(a_link_of_a_dead_broker_is_replaced) {
        struct fixture f;
        struct guarded g;
        const char *stale;
        struct stat st;

        start(&f);
        ck_assert_int_eq(mkdir(folder_of_links(), 0700), 0);
        ck_assert_int_gt(asprintf((char **) &stale, "%s/web.sock", folder_of_links()), 0);
        close(test_unix_listener(stale));
        listener(&f, &g, "web.sock");
        ck_assert_str_eq(link_of(&g), stale);
        ck_assert_int_eq(lstat(stale, &st), 0);
        ck_assert_uint_eq(st.st_ino, g.guard.inode);
        free((char *) stale);
        end(&g);
        stop(&f);
}
END_TEST

START_TEST(a_link_of_a_living_socket_is_left) {
        struct fixture f;
        struct guarded g;
        char living[512];
        struct stat before, after;
        int fd;

        start(&f);
        ck_assert_int_eq(mkdir(folder_of_links(), 0700), 0);
        (void) snprintf(living, sizeof(living), "%s/web.sock", folder_of_links());
        fd = test_unix_listener(living);
        ck_assert_int_eq(lstat(living, &before), 0);
        listener(&f, &g, "web.sock");
        ck_assert_str_ne(link_of(&g), living);
        ck_assert_int_eq(unlink(g.path), 0);
        turns(&f);
        ck_assert_uint_eq(g.mended, 1);
        end(&g);
        ck_assert_int_eq(lstat(living, &after), 0);
        ck_assert_uint_eq(before.st_ino, after.st_ino);
        close(fd);
        stop(&f);
}
END_TEST

START_TEST(a_link_that_a_crash_left_is_used_when_the_socket_is_adopted) {
        struct fixture f;
        struct guarded g, again = {0};

        start(&f);
        listener(&f, &g, "web.sock");
        again.path = g.path; /* as if the first guard's broker had been killed */
        again.fd = g.fd;
        guard(&f, &again);
        ck_assert_uint_eq(again.guard.link, g.guard.link);
        path_guard_stop(&again.guard);
        end(&g);
        stop(&f);
}
END_TEST

/* How many events the kernel keeps for us before it drops the rest. */
static unsigned long events_max(void) {
        FILE *file = fopen("/proc/sys/fs/inotify/max_queued_events", "re");
        unsigned long value = 0;

        ck_assert_ptr_nonnull(file);
        ck_assert_int_eq(fscanf(file, "%lu", &value), 1);
        fclose(file);
        return value;
}

START_TEST(lost_events_make_it_look_at_every_path) {
        struct fixture f;
        struct guarded g;
        const char *a = test_path("a"), *b = test_path("b");
        unsigned long max = events_max();

        if (max > 100000) /* set by someone who has the time */
                return;
        start(&f);
        listener(&f, &g, "web.sock");
        test_write("a", "");
        for (unsigned long i = 0; i <= max; i++) /* two events each */
                ck_assert_int_eq(rename(i % 2 ? b : a, i % 2 ? a : b), 0);
        ck_assert_int_eq(unlink(g.path), 0); /* of this there is no event */
        for (unsigned long i = 0; i < max && g.mended == 0; i++)
                loop_run_once(f.loop, false);
        ck_assert_uint_eq(g.mended, 1);
        end(&g);
        stop(&f);
}
END_TEST

static int inherit(void *inherited, const char *id, int fd) {
        return inherited_put_fd(inherited, id, test_holder_of(fd));
}

/* For the next broker: what the one before left in its fd store; NULL: nothing. */
static struct memory *memory_after(const struct memory *before, struct loop *loop) {
        struct inherited *inherited;
        struct memory *m;

        ck_assert_int_eq(inherited_new(&inherited), 0);
        if (before)
                ck_assert_int_eq(memory_each_fd(before, inherit, inherited), 0);
        ck_assert_int_eq(memory_new(&m, FD_STORE_NONE, -1, inherited, loop, NULL), 0);
        inherited_free(inherited);
        return m;
}

/* Of all inotify descriptors that we have. */
static unsigned count_watches(void) {
        char path[64], line[256];
        unsigned count = 0;

        for (int fd = 3; fd < 64; fd++) {
                FILE *file;

                (void) snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
                file = fopen(path, "re");
                while (file && fgets(line, sizeof(line), file))
                        count += strncmp(line, "inotify wd:", 11) == 0;
                if (file)
                        (void) fclose(file);
        }
        return count;
}

START_TEST(what_the_broker_before_watched_with_is_used_again) {
        struct guarded a, b;
        struct memory *first, *second;
        struct fixture f;
        int before;

        start(&f);
        first = memory_after(NULL, f.loop);
        path_watch_keep(f.watch, first, "listeners");
        ck_assert_int_eq(mkdir(test_path("other"), 0755), 0);
        listener(&f, &a, "other/a.sock");
        listener(&f, &b, "b.sock");
        before = b.guard.directory_watch;
        ck_assert_int_eq(before, 2);

        second = memory_after(first, f.loop); /* it is killed, and its guards stop nothing */
        memory_free(first);
        path_watch_free(f.watch);
        ck_assert_int_eq(unlink(a.path), 0);
        ck_assert_int_eq(unlink(b.path), 0);
        close(a.fd);
        close(b.fd);

        ck_assert_int_eq(path_watch_new(&f.watch, f.loop, f.log), 0);
        path_watch_keep(f.watch, second, "control"); /* another one's */
        ck_assert_uint_eq(count_watches(), 2);
        path_watch_free(f.watch);
        ck_assert_int_eq(path_watch_new(&f.watch, f.loop, f.log), 0);
        path_watch_keep(f.watch, second, "listeners");
        listener(&f, &b, "b.sock");
        ck_assert_int_eq(b.guard.directory_watch, before); /* a new one would begin with 1 */
        turns(&f);
        ck_assert_uint_eq(b.mended, 0); /* what happened before it is not told */
        ck_assert_int_eq(unlink(b.path), 0);
        turns(&f);
        ck_assert_uint_eq(b.mended, 1);

        ck_assert_uint_eq(count_watches(), 2);
        test_write("other/file", "");
        ck_assert_int_eq(unlink(test_path("other/file")), 0); /* where nobody listens any more */
        turns(&f);
        ck_assert_uint_eq(count_watches(), 1);
        end(&b);
        stop(&f);
        memory_free(second);
}
END_TEST

SUITE("path guard", {
        TEST(an_unlinked_path_is_there_again_with_the_same_socket);
        TEST(a_path_that_is_moved_away_is_there_again);
        TEST(other_files_of_the_folder_are_nothing_to_it);
        TEST(a_foreign_socket_at_the_path_is_replaced_a_few_times_and_then_left);
        TEST(a_foreign_socket_renamed_over_the_path_is_seen);
        TEST(a_listener_whose_path_has_the_name_of_a_spare_link_is_no_obstacle);
        TEST(what_is_no_socket_at_the_path_is_left_alone);
        TEST(a_deleted_folder_is_a_loss);
        TEST(a_folder_that_was_deleted_and_made_again_is_watched_again);
        TEST(a_path_that_is_gone_at_the_start_is_told_from_the_loop);
        TEST(a_path_that_leads_to_another_socket_at_the_start_is_not_taken_for_ours);
        TEST(the_private_folder_is_private_and_goes_with_the_last_guard);
        TEST(a_private_folder_that_others_could_write_is_not_used);
        TEST(a_private_folder_that_is_a_symbolic_link_is_not_used);
        TEST(a_link_of_a_dead_broker_is_replaced);
        TEST(a_link_of_a_living_socket_is_left);
        TEST(a_link_that_a_crash_left_is_used_when_the_socket_is_adopted);
        TEST(lost_events_make_it_look_at_every_path);
        TEST(what_the_broker_before_watched_with_is_used_again);
})
