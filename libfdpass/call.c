/*
 * One request, one answer.
 *
 * What a call costs on an open connection is one sendmsg(2) and one recvmsg(2) that waits by itself
 * (SO_RCVTIMEO, set once); poll(2) comes in only when something else than the answer arrived first.
 * A request can be repeated without harm, so a lost broker is looked for until the deadline.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "connection.h"

/* What the broker may answer. */
static const struct {
        const char *name;
        int number;
} error_names[] = {
        {"ENOENT", ENOENT},
        {"EACCES", EACCES},
        {"EBUSY", EBUSY},
        {"EDQUOT", EDQUOT},
        {"EINVAL", EINVAL},
        {"EPERM", EPERM},
        {"E2BIG", E2BIG},
        {"EADDRINUSE", EADDRINUSE},
        {"EADDRNOTAVAIL", EADDRNOTAVAIL},
        {"EAGAIN", EAGAIN},
        {"EBADMSG", EBADMSG},
        {"ECANCELED", ECANCELED},
        {"EEXIST", EEXIST},
        {"EINPROGRESS", EINPROGRESS},
        {"EIO", EIO},
        {"EMFILE", EMFILE},
        {"EMSGSIZE", EMSGSIZE},
        {"ENAMETOOLONG", ENAMETOOLONG},
        {"ENFILE", ENFILE},
        {"ENOMEM", ENOMEM},
        {"ENOSPC", ENOSPC},
        {"ENOSYS", ENOSYS},
        {"ENOTSUP", ENOTSUP},
        {"ENOTUNIQ", ENOTUNIQ},
        {"EOPNOTSUPP", EOPNOTSUPP},
        {"EOVERFLOW", EOVERFLOW},
        {"ERANGE", ERANGE},
        {"ESHUTDOWN", ESHUTDOWN},
        {"ESRCH", ESRCH},
        {"ESTALE", ESTALE},
        {"ETIMEDOUT", ETIMEDOUT},
        {"ETOOMANYREFS", ETOOMANYREFS},
};

static int error_number(struct text name) {
        for (size_t i = 0; i < sizeof(error_names) / sizeof(error_names[0]); i++)
                if (text_equal(name, error_names[i].name))
                        return -error_names[i].number;
        return -EREMOTEIO;
}

/* The broker hung up, seen from either direction. */
static bool is_gone(int r) {
        return r == -EPIPE || r == -ECONNRESET || r == -ECONNREFUSED || r == -ENOTCONN;
}

/* 0, or -ETIMEDOUT. */
static int wait_for(struct fdpass *c, short events) {
        struct pollfd p = {.fd = c->fd, .events = events};

        c->waited = true;
        for (;;) {
                int timeout = deadline_poll(c->deadline);

                if (timeout == 0)
                        return -ETIMEDOUT;
                if (poll(&p, 1, timeout) > 0)
                        return 0;
        }
}

static int send_packet(struct fdpass *c, const struct packet_writer *request, const int *fds,
                       size_t n_fds) {
        int r;

        while ((r = message_send(c->fd, request->data, request->size, fds, n_fds)) == -EAGAIN) {
                r = wait_for(c, POLLOUT);
                if (r < 0)
                        return r;
        }
        return r;
}

/* Let recvmsg(2) itself wait for the whole timeout: once a call, a second wait would exceed it. */
static int receive_first(struct fdpass *c) {
        int timeout = c->timeout < 0 ? 0 : c->timeout;

        if (timeout != c->receive_timeout) {
                struct timeval limit = {.tv_sec = timeout / 1000,
                                        .tv_usec = (timeout % 1000) * 1000};

                if (setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0)
                        return -errno;
                c->receive_timeout = timeout;
        }
        c->waited = true;
        return message_receive_wait(c->fd, &c->answer.message);
}

/* One packet into c->answer: 0; -ETIMEDOUT; -ECONNRESET when the broker hung up; or an error. */
static int receive(struct fdpass *c) {
        int r = c->waited ? -EAGAIN : receive_first(c);

        if (r == -EAGAIN || r == -EINTR)
                while ((r = message_receive(c->fd, &c->answer.message)) == -EAGAIN) {
                        r = wait_for(c, POLLIN);
                        if (r < 0)
                                return r;
                }
        if (r == 1)
                return 0;
        if (r == 0 || is_gone(r))
                return -ECONNRESET;
        return r == -EMSGSIZE ? -EPROTO : r;
}

enum packet_kind connection_packet_kind(struct fdpass *c) {
        /* What is asked between calls; the serials of calls are numbers. */
        static const struct {
                char serial;
                enum packet_kind kind;
        } own[] = {{'W', PACKET_REWATCH}, {'H', PACKET_HELLO}, {'O', PACKET_OFFERED}};
        const struct message *m = &c->answer.message;
        const struct assignments *a = &c->answer.assignments;
        const struct text *serial;

        if (grammar_parse(m->data, m->size, &c->answer.assignments) < 0)
                return PACKET_NONSENSE;
        if (text_equal(a->items[0].key, "EVENT"))
                return PACKET_EVENT;
        if (!text_equal(a->items[0].key, "ERROR") &&
            !(text_equal(a->items[0].key, "OK") && text_equal(a->items[0].value, "1")))
                return PACKET_NONSENSE;
        serial = assignments_get(a, "SERIAL");
        for (size_t i = 0; serial && i < sizeof(own) / sizeof(own[0]); i++)
                if (serial->length > 0 && serial->start[0] == own[i].serial)
                        return own[i].kind;
        return PACKET_ANSWER;
}

/* The answer is in c->answer: 0 for OK, else its errno and text. */
static int take_answer(struct fdpass *c) {
        const struct assignments *a = &c->answer.assignments;
        const struct text *serial = assignments_get(a, "SERIAL");
        const struct text *text = assignments_get(a, "MESSAGE");
        uint64_t number;

        if (!serial || text_to_u64(*serial, &number) < 0 || number != c->serial)
                return connection_die(c, -EPROTO);
        if (text_equal(a->items[0].key, "OK"))
                return 0;
        if (text) {
                size_t n = text->length < sizeof(c->error) ? text->length : sizeof(c->error) - 1;

                memcpy(c->error, text->start, n);
                c->error[n] = '\0';
        }
        return error_number(a->items[0].value);
}

/* As connection_call_next(), but a refusal is left in c->answer with what it brought. */
static int next_answer(struct fdpass *c) {
        unsigned late = 0;

        for (;;) {
                enum packet_kind kind;
                int r = receive(c);

                if (r == -ECONNRESET)
                        return r;
                if (r < 0)
                        return connection_die(c, r);
                kind = connection_packet_kind(c);
                switch (kind) {
                case PACKET_ANSWER:
                        r = take_answer(c);
                        if (c->state == DEAD)
                                message_clear(&c->answer.message);
                        return r;
                case PACKET_NONSENSE:
                        message_clear(&c->answer.message);
                        return connection_die(c, -EPROTO);
                case PACKET_EVENT:
                case PACKET_REWATCH:
                case PACKET_HELLO:
                case PACKET_OFFERED:
                        events_take(c, kind);
                }
                message_clear(&c->answer.message); /* events bring no descriptors */
                /* When we were held up the answer may have come in time, behind so many. */
                if (deadline_remaining(c->deadline) == 0 && late++ == EVENTS_MAX)
                        return connection_die(c, -ETIMEDOUT);
        }
}

/* After a reconnection the broker first hears what it is offered. 0, or as receive(). */
static int finish_reconnection(struct fdpass *c) {
        while (c->asks) {
                enum packet_kind kind;
                int r = receive(c);

                if (r < 0)
                        return r;
                kind = connection_packet_kind(c);
                if (kind == PACKET_NONSENSE || kind == PACKET_ANSWER)
                        r = -EPROTO;
                else
                        events_take(c, kind);
                message_clear(&c->answer.message);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* What message_send() refuses without harm to the conversation. */
static bool is_refused(int r) {
        return r == -EINVAL || r == -EMSGSIZE || r == -EBADF || r == -EPERM || r == -ETOOMANYREFS;
}

/* As connection_call(), but a refusal is left in c->answer; without an answer that is empty. */
static int call(struct fdpass *c, struct packet_writer *request, const int *fds, size_t n_fds) {
        int r = 0;

        c->answer.message.size = 0;
        fd_list_init(&c->answer.message.fds);
        if (c->state == DEAD)
                return -ENOTCONN;
        packet_add_u64(request, "SERIAL", ++c->serial);
        if (request->overflow)
                return -EMSGSIZE;
        do {
                if (r < 0 || c->state == AWAY)
                        r = connection_come_back(c);
                if (r < 0)
                        return r;
                if (c->storing && !c->stores)
                        return -ECONNRESET;
                r = finish_reconnection(c);
                if (r == 0)
                        r = send_packet(c, request, fds, n_fds);
                if (r == 0)
                        r = next_answer(c);
                else if (is_refused(r))
                        return r;
                else if (!is_gone(r))
                        return connection_die(c, r);
        } while (is_gone(r) && c->state != DEAD);
        c->retry_delay = 0;
        return r;
}

int connection_call(struct fdpass *c, struct packet_writer *request, const int *fds, size_t n_fds) {
        int r = call(c, request, fds, n_fds);

        if (r < 0)
                message_clear(&c->answer.message);
        return r;
}

int connection_call_next(struct fdpass *c) {
        int r = next_answer(c);

        if (r < 0)
                message_clear(&c->answer.message);
        return r;
}

struct answer *answer_free(struct answer *answer) {
        if (answer)
                message_clear(&answer->message);
        free(answer);
        return NULL;
}

/* The views point into the copy, so the copy is parsed again. */
static struct answer *move_answer(struct fdpass *c) {
        struct message *m = &c->answer.message;
        struct answer *answer = malloc(sizeof(*answer));

        if (!answer)
                return NULL;
        answer->message.size = m->size;
        answer->message.fds = m->fds;
        fd_list_init(&m->fds);
        memcpy(answer->message.data, m->data, m->size);
        (void) grammar_parse(answer->message.data, m->size, &answer->assignments);
        return answer;
}

int fdpass_call(struct fdpass *c, struct packet_writer *request, const int *fds, size_t n_fds,
                struct answer **ret_answer) {
        struct answer *answer;
        int r;

        connection_begin(c);
        r = call(c, request, fds, n_fds);
        if (c->answer.message.size == 0)
                return r;
        if (assignments_get(&c->answer.assignments, "PARTS")) {
                message_clear(&c->answer.message);
                return connection_die(c, -EPROTO);
        }
        answer = move_answer(c);
        if (!answer) {
                message_clear(&c->answer.message);
                return r < 0 ? r : -ENOMEM;
        }
        *ret_answer = answer;
        return r;
}
