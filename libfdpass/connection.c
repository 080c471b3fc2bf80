/*
 * The life of a connection: open, lose the broker, find it again, die, close.
 *
 * The socket is blocking, and everything but the one wait in call.c says MSG_DONTWAIT. While the
 * broker is away a timer stands in its place. A caller's loop must not have to notice: a closed
 * descriptor vanishes from its epoll set in silence, and the next one likes to have the same
 * number. So the loop is given an epoll set of ours, made when it first asks.
 */
#include "connection.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#include "cleanup.h"

/* Between attempts, in milliseconds: while a call waits, and while a loop does. */
#define CALL_DELAY_MAX 50
#define LOOP_DELAY_MAX 1000
#define AWAY_TOLD_MSEC 2000

static int choose_path(char ret[CONTROL_SOCKET_PATH_SIZE], const char *path) {
        if (!path)
                return control_socket_find(ret);
        if (strlen(path) >= CONTROL_SOCKET_PATH_SIZE)
                return -ENAMETOOLONG;
        strcpy(ret, path);
        return 0;
}

int connection_open(struct fdpass **ret, const char *path, int64_t deadline) {
        _cleanup_free_ struct fdpass *c = malloc(sizeof(*c));
        int r;

        if (!c)
                return -ENOMEM;
        memset(c, 0, offsetof(struct fdpass, event));
        c->event.valid = false;
        c->event.data = NULL;
        c->timeout = DEFAULT_TIMEOUT_MSEC;
        c->patience = -1;
        r = choose_path(c->path, path);
        if (r < 0)
                return r;
        r = control_socket_connect_until(c->path, deadline);
        if (r < 0)
                return r;
        c->fd = r;
        c->loop_fd = -1;
        *ret = c;
        c = NULL;
        return 0;
}

int fdpass_open(struct fdpass **ret, const char *path) {
        if (!ret)
                return -EINVAL;
        return connection_open(ret, path, deadline_in(DEFAULT_TIMEOUT_MSEC));
}

struct fdpass *fdpass_close(struct fdpass *c) {
        if (!c)
                return NULL;
        close_fd(c->loop_fd);
        close_fd(c->fd);
        events_free(c);
        held_free(c);
        for (size_t i = 0; i < c->n_watches; i++)
                free(c->watches[i]);
        free(c);
        return NULL;
}

int fdpass_set_timeout(struct fdpass *c, int milliseconds) {
        if (!c || milliseconds == 0 || milliseconds < -1)
                return -EINVAL;
        c->timeout = milliseconds;
        return 0;
}

void fdpass_set_patience(struct fdpass *c, int milliseconds, void (*away)(void *owner),
                         void *owner) {
        c->patience = milliseconds;
        c->away = away;
        c->away_owner = owner;
}

const char *fdpass_error(const struct fdpass *c) {
        return c ? c->error : "";
}

void connection_begin(struct fdpass *c) {
        c->error[0] = '\0';
        c->deadline = deadline_in(c->timeout);
        c->waited = false;
}

static int add_to_loop(int loop_fd, int fd) {
        struct epoll_event event = {.events = EPOLLIN};

        return epoll_ctl(loop_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

int connection_put_fd(struct fdpass *c, int fd) {
        if (c->loop_fd >= 0) {
                int r = add_to_loop(c->loop_fd, fd);

                if (r < 0) {
                        close_fd(fd);
                        return r;
                }
                /* Not left to close(2): a forked child may hold a copy, and then it would stay. */
                (void) epoll_ctl(c->loop_fd, EPOLL_CTL_DEL, c->fd, NULL);
        }
        close_fd(c->fd);
        c->fd = fd;
        c->stores = false; /* HELLO was said to the one before */
        c->asks = false;
        return 0;
}

int fdpass_get_fd(struct fdpass *c) {
        _cleanup_close_ int loop_fd = -1;
        int r;

        if (!c)
                return -EINVAL;
        if (c->loop_fd >= 0)
                return c->loop_fd;
        loop_fd = epoll_create1(EPOLL_CLOEXEC);
        loop_fd = loop_fd < 0 ? -errno : fd_above_stdio(loop_fd);
        r = loop_fd < 0 ? loop_fd : add_to_loop(loop_fd, c->fd);
        if (r < 0)
                return r;
        c->loop_fd = take_fd(&loop_fd);
        return c->loop_fd;
}

static int set_timer(int fd, unsigned milliseconds) {
        struct itimerspec when = {
                .it_value = {.tv_sec = milliseconds / 1000,
                             .tv_nsec = (long) (milliseconds % 1000) * 1000000 + 1},
        };

        return timerfd_settime(fd, 0, &when, NULL) < 0 ? -errno : 0;
}

int connection_die(struct fdpass *c, int error) {
        if (c->state == AWAY)
                (void) set_timer(c->fd, 0);
        else
                (void) shutdown(c->fd, SHUT_RDWR);
        c->state = DEAD;
        return error;
}

/*
 * Never waits: WATCHES_MAX small packets fit into an empty send buffer. Their answers are told from
 * others by the W of their serial.
 */
static int watch_again(struct fdpass *c, int fd) {
        struct packet_writer request;

        for (size_t i = 0; i < c->n_watches; i++) {
                packet_begin(&request);
                packet_add(&request, "VERB", "WATCH");
                if (c->watches[i][0] != '\0')
                        packet_add(&request, "NAME", c->watches[i]);
                packet_addf(&request, "SERIAL", "W%zu", i);
                if (message_send(fd, request.data, request.size, NULL, 0) < 0)
                        return -EHOSTDOWN;
        }
        return 0;
}

static void say_reconnected(struct fdpass *c) {
        static const char reconnected[] = "EVENT=RECONNECTED";

        if (c->n_watches > 0)
                events_put(c, reconnected, sizeof(reconnected) - 1);
}

/* The new socket is ours, also on failure. */
static int replace_socket(struct fdpass *c, int fd) {
        int asks = held_ask(c, fd), r = asks == 0 ? watch_again(c, fd) : 0;

        if (asks < 0 || r < 0) {
                close_fd(fd);
                return -EHOSTDOWN;
        }
        r = connection_put_fd(c, fd);
        if (r < 0)
                return r;
        c->receive_timeout = 0;
        c->state = CONNECTED;
        c->asks = asks > 0;
        if (!c->asks)
                say_reconnected(c);
        return 0;
}

void connection_go_on(struct fdpass *c) {
        c->asks = false;
        held_offer(c);
        if (watch_again(c, c->fd) < 0)
                (void) shutdown(c->fd, SHUT_RDWR); /* it is found to be gone when it is read */
        else
                say_reconnected(c);
}

int connection_try_to_come_back(struct fdpass *c) {
        _cleanup_close_ int fd = control_socket_connect(c->path);

        if (fd < 0)
                return fd;
        if (fcntl(fd, F_SETFL, O_RDWR) < 0) /* blocking, as the others are */
                return -errno;
        return replace_socket(c, take_fd(&fd));
}

static void sleep_until(int64_t when, int64_t deadline) {
        int64_t end = when < deadline ? when : deadline;

        while (deadline_remaining(end) > 0)
                (void) poll(NULL, 0, deadline_poll(end));
}

/* -EACCES also: a broker that has just bound its socket has not set its mode yet. */
static bool may_pass(int error) {
        return error == -EHOSTDOWN || error == -EACCES;
}

/* At once for the first time in a call, then less and less often, and once more when the patience
 * is over: it may be back, and we were held up. */
int connection_come_back(struct fdpass *c) {
        int64_t patience = deadline_in(c->patience);
        int64_t deadline = patience < c->deadline ? patience : c->deadline;
        int64_t tell_at = c->away ? deadline_in(AWAY_TOLD_MSEC) : deadline_in(-1);
        bool is_over;
        int r = -EHOSTDOWN;

        do {
                unsigned delay = c->retry_delay < CALL_DELAY_MAX ? c->retry_delay : CALL_DELAY_MAX;

                if (c->waited && delay > 0)
                        sleep_until(clock_usec() + (int64_t) delay * 1000, deadline);
                c->waited = true;
                c->retry_delay = delay > 0 ? 2 * delay : 1;
                if (deadline_remaining(c->deadline) == 0)
                        break;
                is_over = deadline_remaining(patience) == 0;
                if (deadline_remaining(tell_at) == 0) {
                        tell_at = deadline_in(-1);
                        c->away(c->away_owner);
                }
                r = control_socket_connect_until(c->path, deadline);
                if (r >= 0)
                        r = replace_socket(c, r);
        } while (may_pass(r) && !is_over);
        return r < 0 ? connection_die(c, r) : 0;
}

int connection_go_away(struct fdpass *c) {
        int timer;

        if (c->state != AWAY) {
                timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
                timer = timer < 0 ? -errno : fd_above_stdio(timer);
                if (timer < 0)
                        return connection_die(c, timer);
                timer = connection_put_fd(c, timer);
                if (timer < 0)
                        return connection_die(c, timer);
                c->state = AWAY;
        }
        c->retry_delay = c->retry_delay > 0 ? 2 * c->retry_delay : 1;
        if (c->retry_delay > LOOP_DELAY_MAX)
                c->retry_delay = LOOP_DELAY_MAX;
        c->retry_at = clock_usec() + (int64_t) c->retry_delay * 1000;
        (void) set_timer(c->fd, c->retry_delay);
        return 0;
}
