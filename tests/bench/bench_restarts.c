/*
 * Restarts of several servers in turn, so many a second: asked of the broker, or, to know what a
 * restart costs that nobody manages, done here with the system calls that no hand-over can do
 * without: execute the next one with the listener, wait for READY=1, tell the one before to end.
 *
 *      bench_restarts [--rate N] --broker CONTROL-SOCKET COMPONENT...
 *      bench_restarts [--rate N] --bare HOST:PORT... -- PROGRAM [ARGUMENT...]
 *
 * It writes "ready" when that can begin. "begin" on standard input begins the restarts, "end" ends
 * them: when the last one is over, their number is written. With the end of its input it ends, and
 * so do servers that are its own.
 *
 * In turn: a server that is still being restarted when its turn comes is waited for.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "measure.h"

#define SERVERS_MAX 64
#define LISTEN_FDS_START 3
#define BACKLOG 4096 /* as the broker's listeners have it here */
#define NSEC_PER_SEC 1000000000U

struct server {
        const char *name;
        int fd; /* what is waited for while it is being restarted; at the broker, a session */
        bool under_way;
        /* its own: */
        int listener;
        pid_t pid, before; /* before: told to end; 0 for none */
};

struct restarts {
        const struct way *way;
        uint64_t pause_nsec, due;
        bool going;
        size_t n_servers, next, n_under_way;
        struct server servers[SERVERS_MAX];
        unsigned long long count;
        const char *control;
        char **program;
};

/* How a restart is done. */
struct way {
        void (*prepare)(struct restarts *r, struct server *s);
        void (*begin)(struct restarts *r, struct server *s);
        /* Its descriptor is readable. True when the restart is over. */
        bool (*go_on)(struct restarts *r, struct server *s);
        void (*end)(struct server *s);
};

/* ---- by the broker ----------------------------------------------------------------------------*/

static void open_session(struct restarts *r, struct server *s) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};

        if (strlen(r->control) >= sizeof(address.sun_path))
                give_up("%s is too long", r->control);
        memcpy(address.sun_path, r->control, strlen(r->control));
        s->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (s->fd < 0 || connect(s->fd, (struct sockaddr *) &address, sizeof(address)) < 0)
                give_up_errno("%s", r->control);
}

static void ask(struct restarts *r, struct server *s) {
        char request[512];
        int n = snprintf(request, sizeof(request), "VERB=RESTART\nNAMES=%.256s", s->name);

        if (send(s->fd, request, (size_t) n, MSG_NOSIGNAL) != n)
                give_up_errno("%s", r->control);
}

/* The receipts are not asked for: the kernel drops a descriptor that recv(2) has no room for. */
static bool read_answer(struct restarts *r, struct server *s) {
        char answer[4096];
        ssize_t n = recv(s->fd, answer, sizeof(answer) - 1, 0);

        if (n <= 0)
                give_up_errno("%s hung up", r->control);
        answer[n] = '\0';
        if (strncmp(answer, "EVENT=", 6) == 0)
                return false;
        if (!strstr(answer, "RESULT=good"))
                give_up("%s: restart of %s:\n%s", r->control, s->name, answer);
        return true;
}

static void close_session(struct server *s) {
        s->fd = close_fd(s->fd);
}

/* ---- bare -------------------------------------------------------------------------------------*/

static int listen_at(const char *text) {
        struct sockaddr_in address = {.sin_family = AF_INET};
        const char *colon = strrchr(text, ':');
        char host[64] = "";
        int one = 1, fd;

        if (!colon || (size_t) (colon - text) >= sizeof(host))
                give_up("HOST:PORT is wanted, not %s", text);
        memcpy(host, text, (size_t) (colon - text));
        address.sin_port = htons((uint16_t) number_option("port", colon + 1, 65535));
        if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
                give_up("%s is no IPv4 address", host);
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
            bind(fd, (struct sockaddr *) &address, sizeof(address)) < 0 || listen(fd, BACKLOG) < 0)
                give_up_errno("%s", text);
        return fd;
}

/* An abstract one, whose name the kernel gives. */
static int open_notify_socket(char *ret_name, size_t size) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        socklen_t length = sizeof(address);
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        if (fd < 0 || bind(fd, (struct sockaddr *) &address, sizeof(sa_family_t)) < 0 ||
            getsockname(fd, (struct sockaddr *) &address, &length) < 0)
                give_up_errno("no notify socket");
        (void) snprintf(ret_name, size, "NOTIFY_SOCKET=@%.*s",
                        (int) (length - sizeof(sa_family_t) - 1), address.sun_path + 1);
        return fd;
}

/* In a session of its own, as who manages servers starts them: where the kernel groups by session
 * (autogroup), that decides how the processor is shared. */
static void spawn(struct restarts *r, struct server *s) {
        char notify[128], fds[] = "LISTEN_FDS=1", *environment[] = {notify, fds, NULL};
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attributes;
        int error;

        s->fd = open_notify_socket(notify, sizeof(notify));
        (void) posix_spawn_file_actions_init(&actions);
        (void) posix_spawn_file_actions_adddup2(&actions, s->listener, LISTEN_FDS_START);
        (void) posix_spawnattr_init(&attributes);
        (void) posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
        error = posix_spawn(&s->pid, r->program[0], &actions, &attributes, r->program, environment);
        (void) posix_spawnattr_destroy(&attributes);
        (void) posix_spawn_file_actions_destroy(&actions);
        errno = error;
        if (error)
                give_up_errno("%s", r->program[0]);
}

static void begin_bare(struct restarts *r, struct server *s) {
        s->before = s->pid;
        spawn(r, s);
}

static void wait_ready(const struct server *s) {
        char text[256];
        ssize_t n = recv(s->fd, text, sizeof(text) - 1, 0);

        text[n > 0 ? n : 0] = '\0';
        if (strcmp(text, "READY=1") != 0)
                give_up("%s: READY=1 was to be said, not %s", s->name, text);
}

/* First that the next one is ready, then that the one before has ended. */
static bool go_on_bare(struct restarts *r, struct server *s) {
        pid_t before = s->before;

        if (before > 0) {
                wait_ready(s);
                (void) close_fd(s->fd);
                s->before = 0;
                s->fd = pidfd_open(before, 0);
                if (s->fd < 0 || kill(before, SIGTERM) < 0)
                        give_up_errno("%s", s->name);
                return false;
        }
        if (waitid(P_PIDFD, (id_t) s->fd, &(siginfo_t){0}, WEXITED) < 0)
                give_up_errno("%s", s->name);
        s->fd = close_fd(s->fd);
        return true;
}

static void prepare_bare(struct restarts *r, struct server *s) {
        int fd = listen_at(s->name);

        /* Above where it is to stand: dup2(2) onto itself would leave it close-on-exec. */
        s->listener = fcntl(fd, F_DUPFD_CLOEXEC, LISTEN_FDS_START + 1);
        if (s->listener < 0)
                give_up_errno("%s", s->name);
        (void) close_fd(fd);
        spawn(r, s);
        wait_ready(s);
        s->fd = close_fd(s->fd);
}

static void end_process(pid_t pid) {
        if (pid <= 0)
                return;
        (void) kill(pid, SIGKILL);
        (void) waitpid(pid, NULL, 0);
}

static void end_bare(struct server *s) {
        end_process(s->before);
        end_process(s->pid);
}

static const struct way by_broker = {open_session, ask, read_answer, close_session};
static const struct way bare = {prepare_bare, begin_bare, go_on_bare, end_bare};

/* ---- in turn ----------------------------------------------------------------------------------*/

static void begin_what_is_due(struct restarts *r) {
        uint64_t now = now_nsec();
        struct server *s = &r->servers[r->next];

        if (!r->going || now < r->due || s->under_way)
                return;
        r->way->begin(r, s);
        s->under_way = true;
        r->n_under_way++;
        r->count++;
        r->next = (r->next + 1) % r->n_servers;
        r->due = r->due + r->pause_nsec > now ? r->due + r->pause_nsec : now;
}

static void go_on(struct restarts *r, struct server *s) {
        if (!r->way->go_on(r, s))
                return;
        s->under_way = false;
        r->n_under_way--;
}

static void say_count(struct restarts *r) {
        (void) printf("%llu\n", r->count);
        (void) fflush(stdout);
        r->count = 0;
}

static void wait_for_events(struct restarts *r, struct pollfd polled[SERVERS_MAX + 1]) {
        uint64_t now = now_nsec(), nsec = r->due > now ? r->due - now : 0;
        struct timespec pause = {.tv_sec = (time_t) (nsec / NSEC_PER_SEC),
                                 .tv_nsec = (long) (nsec % NSEC_PER_SEC)};
        bool waits_for_time = r->going && !r->servers[r->next].under_way;

        polled[0] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
        for (size_t i = 0; i < r->n_servers; i++)
                polled[i + 1] = (struct pollfd){
                        .fd = r->servers[i].under_way ? r->servers[i].fd : -1, .events = POLLIN};
        if (ppoll(polled, r->n_servers + 1, waits_for_time ? &pause : NULL, NULL) < 0)
                give_up_errno("ppoll");
}

/* False at the end. */
static bool obey(struct restarts *r) {
        char line[16];

        if (!fgets(line, sizeof(line), stdin))
                return false;
        r->going = strcmp(line, "begin\n") == 0;
        r->due = now_nsec() + r->pause_nsec;
        if (!r->going && r->n_under_way == 0)
                say_count(r);
        return true;
}

static void run(struct restarts *r) {
        struct pollfd polled[SERVERS_MAX + 1];
        bool goes_on = true;

        while (goes_on) {
                bool was_under_way = r->n_under_way > 0;

                begin_what_is_due(r);
                wait_for_events(r, polled);
                for (size_t i = 0; i < r->n_servers; i++)
                        if (polled[i + 1].revents)
                                go_on(r, &r->servers[i]);
                if (was_under_way && r->n_under_way == 0 && !r->going)
                        say_count(r);
                if (polled[0].revents)
                        goes_on = obey(r);
        }
}

/* ---- the command line -------------------------------------------------------------------------*/

static uint64_t pause_of(uint64_t rate) {
        return rate > 0 ? NSEC_PER_SEC / rate : 0;
}

static void parse_options(int argc, char *argv[], struct restarts *r) {
        static const struct option rows[] = {
                {"rate", required_argument, NULL, 'r'},
                {"broker", required_argument, NULL, 'b'},
                {"bare", no_argument, NULL, 'a'},
                {0},
        };
        int letter;

        while ((letter = getopt_long(argc, argv, "+", rows, NULL)) != -1) {
                if (letter == 'r')
                        r->pause_nsec = pause_of(number_option("rate", optarg, 1000));
                else if (letter == 'b')
                        r->way = &by_broker, r->control = optarg;
                else if (letter == 'a')
                        r->way = &bare;
                else
                        exit(2);
        }
        for (; optind < argc && strcmp(argv[optind], "--") != 0; optind++) {
                if (r->n_servers == SERVERS_MAX)
                        give_up("more than %d servers", SERVERS_MAX);
                r->servers[r->n_servers++].name = argv[optind];
        }
        r->program = optind + 1 < argc ? argv + optind + 1 : NULL;
        if (!r->way || r->n_servers == 0 || (r->way == &bare && !r->program))
                give_up("usage: bench_restarts --broker CONTROL-SOCKET COMPONENT..., or --bare "
                        "HOST:PORT... -- PROGRAM");
}

/* Also when it gives up: nothing is to be left behind. */
static void end_all(int status, void *argument) {
        struct restarts *r = argument;

        for (size_t i = 0; i < r->n_servers; i++)
                r->way->end(&r->servers[i]);
        free(r);
}

int main(int argc, char *argv[]) {
        struct restarts *r = calloc(1, sizeof(*r));

        if (!r)
                give_up("no memory");
        r->pause_nsec = pause_of(10);
        parse_options(argc, argv, r);
        (void) on_exit(end_all, r);
        (void) setvbuf(stdin, NULL, _IONBF, 0); /* a line in a buffer wakes nobody */
        for (size_t i = 0; i < r->n_servers; i++)
                r->way->prepare(r, &r->servers[i]);
        (void) puts("ready");
        (void) fflush(stdout);
        run(r);
        return 0;
}
