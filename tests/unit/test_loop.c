/* The loop: handlers may destroy their owner, timers fire once, idle means asleep. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "core/loop.h"
#include "core/process.h"
#include "support.h"

struct owner {
        struct io_watch watch;
        struct timer timer;
        struct loop *loop;
        int fd;
        int calls;
};

static void destroy_owner(void *data, int events) {
        struct owner *o = data;

        ck_assert_int_eq(events, IO_READ);
        io_watch_stop(&o->watch);
        close_fd(o->fd);
        free(o);
}

START_TEST(a_handler_may_free_its_owner) {
        struct owner *o = calloc(1, sizeof(*o));
        struct loop *loop;

        ck_assert_int_eq(loop_new(&loop), 0);
        o->fd = eventfd(1, EFD_CLOEXEC);
        io_watch_start(&o->watch, loop, o->fd, IO_READ, destroy_owner, o);
        loop_run_once(loop, true);
        loop_free(loop);
}
END_TEST

static void count(void *data) {
        struct owner *o = data;

        o->calls++;
        loop_stop(o->loop);
}

START_TEST(a_timer_fires_once_and_can_be_set_anew_or_stopped) {
        struct owner o = {0};
        uint64_t begin = loop_now_usec();

        ck_assert_int_eq(loop_new(&o.loop), 0);
        timer_stop(&o.timer); /* never started: nothing */
        timer_start(&o.timer, o.loop, 60000000, count, &o);
        timer_start(&o.timer, o.loop, 20000, count, &o);
        loop_run(o.loop);
        ck_assert_int_eq(o.calls, 1);
        ck_assert(!timer_is_started(&o.timer));
        ck_assert_uint_ge(loop_now_usec() - begin, 19000);
        timer_start(&o.timer, o.loop, 0, count, &o);
        timer_stop(&o.timer);
        loop_run_once(o.loop, false);
        ck_assert_int_eq(o.calls, 1);
        loop_free(o.loop);
}
END_TEST

/* Whichever comes first stops both. */
static void stop_both(void *data) {
        struct owner *o = data;

        o[0].calls++;
        timer_stop(&o[0].timer);
        timer_stop(&o[1].timer);
}

/* Its owner may be freed right after. */
START_TEST(a_timer_that_is_due_and_stopped_is_silent) {
        struct owner *o = calloc(2, sizeof(*o));
        uint64_t begin = loop_now_usec();
        struct loop *loop;

        ck_assert_int_eq(loop_new(&loop), 0);
        timer_start(&o[0].timer, loop, 1000, stop_both, o);
        timer_start(&o[1].timer, loop, 1000, stop_both, o);
        while (loop_now_usec() - begin < 5000)
                ; /* both are due in one turn */
        while (o[0].calls == 0)
                loop_run_once(loop, true);
        loop_run_once(loop, false);
        ck_assert_int_eq(o[0].calls, 1);
        loop_free(loop);
        free(o);
}
END_TEST

static void answered(void *data, int events) {
        struct owner *o = data;

        timer_stop(&o->timer);
        io_watch_stop(&o->watch);
}

/* As after a time in which we were not scheduled, for a moment and for longer: both are there. */
START_TEST(what_came_in_time_is_heard_before_its_deadline) {
        struct owner o = {0};
        uint64_t begin;

        ck_assert_int_eq(loop_new(&o.loop), 0);
        o.fd = eventfd(0, EFD_CLOEXEC);
        io_watch_start(&o.watch, o.loop, o.fd, IO_READ, answered, &o);
        loop_run_once(o.loop, false);
        timer_start(&o.timer, o.loop, 1000, count, &o);
        ck_assert_int_eq(eventfd_write(o.fd, 1), 0);
        begin = loop_now_usec();
        while (loop_now_usec() - begin < (_i == 0 ? 5000 : 200000))
                ;
        while (timer_is_started(&o.timer) || io_watch_is_started(&o.watch))
                loop_run_once(o.loop, true);
        ck_assert_int_eq(o.calls, 0);
        close_fd(o.fd);
        loop_free(o.loop);
}
END_TEST

static void answer_later(void *data) {
        struct owner *o = data;

        if (--o->fd > 0)
                timer_start(&o[1].timer, o->loop, 1000, answer_later, o);
        else
                timer_stop(&o->timer);
}

/* What it takes to hear of it is turns, and timers as late as the deadline. */
START_TEST(when_we_were_held_up_a_deadline_waits_for_what_takes_turns) {
        struct owner o[2] = {0};
        uint64_t begin = loop_now_usec();

        ck_assert_int_eq(loop_new(&o->loop), 0);
        if (_i == 0)
                deadline_start(&o->timer, o->loop, 1000, count, o);
        else
                deadline_start_at(&o->timer, o->loop, begin - 1000 * 1000, count, o);
        o->fd = 5;
        answer_later(o);
        while (loop_now_usec() - begin < 200000)
                ;
        while (timer_is_started(&o->timer))
                loop_run_once(o->loop, true);
        ck_assert_int_eq(o->calls, 0);
        ck_assert_int_eq(o->fd, 0);
        loop_free(o->loop);
}
END_TEST

/* But not for ever; and without a delay of ours it is what it says. */
START_TEST(a_deadline_has_an_end) {
        struct owner o = {0};
        uint64_t begin = loop_now_usec(), took;

        ck_assert_int_eq(loop_new(&o.loop), 0);
        deadline_start(&o.timer, o.loop, 20000, count, &o);
        while (_i == 1 && loop_now_usec() - begin < 200000)
                ;
        loop_run(o.loop);
        took = loop_now_usec() - begin;
        ck_assert_int_eq(o.calls, 1);
        ck_assert(!timer_is_started(&o.timer));
        ck_assert_uint_ge(took, _i == 0 ? 19000 : 199000 + DEADLINE_GRACE_USEC);
        loop_free(o.loop);
}
END_TEST

/* Nobody has that much patience, but it can be asked for: it is not to be over at once. */
START_TEST(a_deadline_beyond_the_end_of_time_never_comes) {
        struct owner o = {0};

        ck_assert_uint_eq(loop_in_usec(UINT64_MAX), UINT64_MAX);
        ck_assert_int_eq(loop_new(&o.loop), 0);
        deadline_start(&o.timer, o.loop, UINT64_MAX - (uint64_t) _i, count, &o);
        for (uint64_t begin = loop_now_usec(); loop_now_usec() - begin < 5000;)
                loop_run_once(o.loop, false);
        ck_assert_int_eq(o.calls, 0);
        ck_assert(timer_is_started(&o.timer));
        timer_stop(&o.timer);
        loop_free(o.loop);
}
END_TEST

START_TEST(who_is_very_late_is_told_once) {
        struct owner o = {0};
        uint64_t begin = loop_now_usec();

        ck_assert_int_eq(loop_new(&o.loop), 0);
        timer_start(&o.timer, o.loop, 1000, count, &o);
        while (loop_now_usec() - begin < 200000)
                ;
        loop_run(o.loop);
        loop_run_once(o.loop, false);
        ck_assert_int_eq(o.calls, 1);
        ck_assert(!timer_is_started(&o.timer));
        loop_free(o.loop);
}
END_TEST

static void count_io(void *data, int events) {
        struct owner *o = data;

        o->calls++;
        ck_assert_int_eq(events, IO_WRITE);
        io_watch_stop(&o->watch);
}

START_TEST(starting_again_changes_what_is_waited_for) {
        struct owner o = {0};

        ck_assert_int_eq(loop_new(&o.loop), 0);
        o.fd = eventfd(1, EFD_CLOEXEC);
        io_watch_start(&o.watch, o.loop, o.fd, IO_READ, count_io, &o);
        io_watch_start(&o.watch, o.loop, o.fd, IO_WRITE, count_io, &o);
        loop_run_once(o.loop, false);
        ck_assert_int_eq(o.calls, 1);
        ck_assert(!io_watch_is_started(&o.watch));
        close_fd(o.fd);
        loop_free(o.loop);
}
END_TEST

/* A loop with nothing due must sleep for ever: libev alone wakes once a minute. */
START_TEST(an_idle_loop_sleeps_without_a_limit) {
        char path[64], stat[256], *p;
        _cleanup_close_ int fd = -1;
        int status, hold[2], started[2];
        pid_t pid;

        ck_assert_int_eq(pipe2(hold, O_CLOEXEC), 0);
        ck_assert_int_eq(pipe2(started, O_CLOEXEC), 0);
        pid = fork();
        if (pid == 0) {
                struct owner o = {.fd = hold[0]};
                if (loop_new(&o.loop) < 0)
                        _exit(1);
                io_watch_start(&o.watch, o.loop, o.fd, IO_READ, count_io, &o);
                (void) !write(started[1], "x", 1);
                loop_run(o.loop);
                _exit(0);
        }
        ck_assert_int_eq((int) read(started[0], stat, 1), 1);
        /* epoll_wait's timeout, its fourth argument, once it sleeps there: proc(5), syscall */
        (void) snprintf(path, sizeof(path), "/proc/%d/syscall", (int) pid);
        unsigned long nr = 0, arg[4] = {0};
        for (int tries = 0; tries < 40000; tries++) { /* until it has come to that */
                close_fd(fd);
                fd = open(path, O_RDONLY | O_CLOEXEC);
                ssize_t n = fd < 0 ? -1 : read(fd, stat, sizeof(stat) - 1);
                if (n > 0) {
                        stat[n] = '\0';
                        p = stat;
                        nr = strtoul(p, &p, 10);
                        for (int i = 0; i < 4; i++)
                                arg[i] = strtoul(p, &p, 16);
                        if (p != stat && arg[1] != 0 && arg[2] > 0)
                                break;
                }
                (void) usleep(1000);
        }
        ck_assert_msg((int) arg[3] == -1 || (int) arg[3] > 24 * 3600 * 1000,
                      "system call %lu waits for %d ms only", nr, (int) arg[3]);
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        close_fd(hold[0]);
        close_fd(hold[1]);
        close_fd(started[0]);
        close_fd(started[1]);
}
END_TEST

START_TEST(a_killed_child_is_collected_by_the_loop) {
        struct loop *loop;
        siginfo_t info;
        pid_t pid = fork();
        int pidfd, copy;

        if (pid == 0) {
                pause();
                _exit(0);
        }
        ck_assert_int_eq(loop_new(&loop), 0);
        pidfd = process_open(pid);
        ck_assert_int_ge(pidfd, 0);
        copy = fcntl(pidfd, F_DUPFD_CLOEXEC, 3);
        ck_assert_int_eq(process_has_ended(copy), 0);
        ck_assert_int_eq(pidfd_send_signal(pidfd, SIGKILL, NULL, 0), 0);
        loop_put_child(loop, pidfd);
        loop_run_once(loop, true);
        ck_assert_int_eq(process_has_ended(copy), 1);
        ck_assert_int_lt(waitid(P_PID, (id_t) pid, &info, WEXITED | WNOHANG), 0);
        close_fd(copy);
        loop_free(loop);
}
END_TEST

START_TEST(a_process_name_has_no_control_characters) {
        char name[PROCESS_NAME_SIZE];
        int fd = open("/proc/self/comm", O_WRONLY | O_CLOEXEC);

        ck_assert_int_eq((int) write(fd, "a\033[31mb", 7), 7);
        close_fd(fd);
        process_name(getpid(), name);
        ck_assert_str_eq(name, "a?[31mb");
        process_name(-1, name);
        ck_assert_str_eq(name, "?");
}
END_TEST

static void note_events(void *data, int events) {
        struct owner *o = data;

        o->calls++;
}

/* How many descriptors all epoll sets of this process have. */
static unsigned count_watched(void) {
        char path[64], line[256];
        unsigned count = 0;

        for (int fd = 3; fd < 64; fd++) {
                FILE *f;

                (void) snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
                f = fopen(path, "re");
                while (f && fgets(line, sizeof(line), f))
                        count += strncmp(line, "tfd:", 4) == 0;
                if (f)
                        (void) fclose(f);
        }
        return count;
}

START_TEST(what_is_not_watched_any_more_is_forgotten_though_another_has_it) {
        struct owner o = {0};
        unsigned before;
        int copy;

        ck_assert_int_eq(loop_new(&o.loop), 0);
        loop_run_once(o.loop, false);
        before = count_watched();
        o.fd = eventfd(1, EFD_CLOEXEC);
        copy = dup(o.fd); /* as the keeper has it, and a child before its exec */
        io_watch_start(&o.watch, o.loop, o.fd, IO_WRITE, note_events, &o);
        loop_run_once(o.loop, true);
        ck_assert_uint_eq(count_watched(), before + 1);
        io_watch_stop(&o.watch);
        ck_assert_uint_eq(count_watched(), before);
        /* and may be watched again at once */
        io_watch_start(&o.watch, o.loop, o.fd, IO_READ, note_events, &o);
        o.calls = 0;
        loop_run_once(o.loop, true);
        ck_assert_int_eq(o.calls, 1);
        io_watch_stop(&o.watch);
        close_fd(o.fd);
        close_fd(copy);
        loop_free(o.loop);
}
END_TEST

SUITE("loop", {
        TEST(what_is_not_watched_any_more_is_forgotten_though_another_has_it);
        TEST(a_handler_may_free_its_owner);
        TEST(a_timer_fires_once_and_can_be_set_anew_or_stopped);
        TEST(a_timer_that_is_due_and_stopped_is_silent);
        tcase_add_loop_test(tests_, what_came_in_time_is_heard_before_its_deadline, 0, 2);
        tcase_add_loop_test(tests_, when_we_were_held_up_a_deadline_waits_for_what_takes_turns, 0,
                            2);
        tcase_add_loop_test(tests_, a_deadline_has_an_end, 0, 2);
        tcase_add_loop_test(tests_, a_deadline_beyond_the_end_of_time_never_comes, 0, 2);
        TEST(who_is_very_late_is_told_once);
        TEST(starting_again_changes_what_is_waited_for);
        TEST(an_idle_loop_sleeps_without_a_limit);
        TEST(a_killed_child_is_collected_by_the_loop);
        TEST(a_process_name_has_no_control_characters);
})
