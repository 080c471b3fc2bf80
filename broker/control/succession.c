/* The client of the verb KEEPER. See succession.h. */
#include "control/succession.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "cleanup.h"
#include "control/peer.h"
#include "core/broker.h"
#include "core/log.h"
#include "core/loop.h"
#include "grammar.h"
#include "keeper/memory.h"
#include "message.h"

#define ANSWER_USEC 10000000

struct talk {
        int fd;
        uint64_t deadline_usec;
        struct packet_writer writer;
        struct message message;
        struct assignments answer;
};

static int wait_for_answer(struct talk *t) {
        struct pollfd p = {.fd = t->fd, .events = POLLIN};
        int r;

        while ((r = message_receive(t->fd, &t->message)) == -EAGAIN) {
                uint64_t now = loop_now_usec();

                if (now >= t->deadline_usec)
                        return -ETIMEDOUT;
                if (poll(&p, 1, (int) ((t->deadline_usec - now) / 1000) + 1) < 0 && errno != EINTR)
                        return -errno;
        }
        if (r <= 0)
                return r < 0 ? r : -ECONNRESET;
        fd_list_clear(&t->message.fds);
        return grammar_parse(t->message.data, t->message.size, &t->answer);
}

/* What was composed, with `fd` or -1. */
static int call(struct talk *t, int fd) {
        int r = message_send(t->fd, t->writer.data, t->writer.size, &fd, fd >= 0);

        if (r == 0)
                r = wait_for_answer(t);
        if (r < 0 || assignments_get(&t->answer, "OK"))
                return r;
        const struct text *error = assignments_get(&t->answer, "ERROR");

        return error && text_equal(*error, "EBUSY") ? -EBUSY : -EOPNOTSUPP;
}

/* Who gets the link tells our keeper what to execute. */
static int check_peer(int fd) {
        struct peer peer;
        int r = peer_read(fd, &peer);

        if (r < 0)
                return r;
        return peer.uid == 0 || peer.uid == geteuid() ? 0 : -EPERM;
}

/* The first word lets the session bring a descriptor, and tells whether signals would arrive. */
static int greet(struct talk *t, uint64_t *ret_pid) {
        int r;

        packet_begin(&t->writer);
        packet_add(&t->writer, "VERB", "HELLO");
        r = call(t, -1);
        if (r < 0)
                return r;
        if (assignments_u64(&t->answer, "PID", 0) != (uint64_t) getpid())
                return -EXDEV; /* in another pid namespace a keeper could not signal its broker */
        *ret_pid = assignments_u64(&t->answer, "BROKER_PID", 0);
        return 0;
}

int succession_offer(const struct broker *b, int fd) {
        _cleanup_free_ struct talk *t = malloc(sizeof(*t));
        int link_fd = b->memory ? memory_peek_link(b->memory) : -1;
        uint64_t pid;
        int r;

        if (link_fd < 0)
                return -ENOTCONN;
        /* Else the lock may be one that we kept and do not know again, and nobody would answer. */
        if (!memory_is_new(b->memory))
                return -EBUSY;
        if (!t)
                return -ENOMEM;
        t->fd = fd;
        t->deadline_usec = loop_now_usec() + ANSWER_USEC;
        fd_list_init(&t->message.fds);
        r = check_peer(fd);
        if (r == 0)
                r = greet(t, &pid);
        if (r < 0)
                return r;
        packet_begin(&t->writer);
        packet_add(&t->writer, "VERB", "KEEPER");
        packet_add(&t->writer, "CONFIG", b->config_path);
        r = call(t, link_fd);
        if (r < 0)
                return r;
        log_notice(b->log, ABOUT(.pid = (pid_t) pid),
                   "a broker is running (pid %llu) whose keeper was killed: this fdpassd is its "
                   "keeper now",
                   (unsigned long long) pid);
        return 0;
}
