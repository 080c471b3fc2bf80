/*
 * OFFER, and waiting for it.
 *
 * Descriptors of anybody who might hold a listener are let in, so what they are is found out
 * without asking a file (sockets/offers.h), and what is refused is closed by somebody else.
 */
#include "control/offer.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "control/answer.h"
#include "control/control_private.h"
#include "control/permission.h"
#include "control/session.h"
#include "core/inherited.h"
#include "sockets/hand_back.h"
#include "sockets/lease.h"
#include "sockets/listener_table.h"
#include "sockets/offers.h"

/* ---- the wait ---------------------------------------------------------------------------------*/

static void on_time_over(void *owner) {
        struct control *c = owner;

        loop_break(c->broker->loop);
}

int control_wait_for_offers(struct control *c, uint64_t usec) {
        if (!c->broker->inherited) {
                int r = inherited_new(&c->broker->inherited);

                if (r < 0)
                        return r;
        }
        c->offers.open = true;
        deadline_start(&c->offers.timer, c->broker->loop, usec, on_time_over, c);
        loop_run(c->broker->loop);
        timer_stop(&c->offers.timer);
        /* By a signal, which may come in one turn with an offer and goes before it. */
        return loop_is_stopped(c->broker->loop) ? -ECANCELED : 0;
}

void control_end_offers(struct control *c) {
        struct session *s;

        if (!c->offers.open)
                return;
        c->offers.open = false;
        LIST_FOREACH (s, &c->sessions, in_control)
                session_resume(s);
}

static bool begins_with(const char *data, size_t size, const char *line) {
        size_t n = strlen(line);

        return size >= n && memcmp(data, line, n) == 0 && (size == n || data[n] == '\n');
}

bool offer_may_read(struct session *s) {
        char data[32];
        ssize_t n;

        if (!s->control->offers.open)
                return true;
        /* Without room for control data, so that no descriptor is received. */
        n = recv(s->fd, data, sizeof(data), MSG_PEEK | MSG_DONTWAIT);
        if (n <= 0 || begins_with(data, (size_t) n, "VERB=HELLO") ||
            begins_with(data, (size_t) n, "VERB=OFFER"))
                return true;
        session_pause(s);
        return false;
}

/* ---- the verb ---------------------------------------------------------------------------------*/

static const struct socket_config *find_config(const struct request *request) {
        const struct text *text = assignments_get(request->keys, "NAME");
        char name[NAME_LENGTH_MAX + 1];

        memcpy(name, text->start, text->length); /* a valid name, so it fits */
        name[text->length] = '\0';
        return config_find_socket(request->session->control->broker->config, name);
}

static bool is_given(const struct inherited *all, const struct address *address) {
        struct address given;

        for (size_t i = 0; i < inherited_count(all); i++)
                if (address_of_socket(inherited_peek_fd(all, i), &given) == 0 &&
                    address_equal(&given, address))
                        return true;
        return false;
}

static bool is_configured(const struct socket_config *config, const struct address *address) {
        for (size_t i = 0; i < config->n_addresses; i++)
                if (address_equal(config->addresses[i], address))
                        return true;
        return false;
}

/* Whoever lives and has it shares it with nobody; as far as we can see him. */
static bool check_brokers(const struct request *request, int fd) {
        pid_t pid;
        int r = hand_back_find_broker(fd, &pid);

        if (r < 0)
                answer_error(request, -r, "it cannot be told whether another broker has it: %s",
                             strerror(-r));
        else if (r > 0)
                answer_error(request, EBUSY, "another broker, fdpassd (pid %d), holds it",
                             (int) pid);
        return r == 0;
}

static bool check_descriptor(const struct request *request, const struct socket_config *config,
                             int fd) {
        char text[ADDRESS_TEXT_SIZE];
        struct address address;
        const char *reason = offer_refusal(fd, &address);

        if (reason)
                answer_error(request, EINVAL, "what is offered for the listener %s is %s",
                             config->name, reason);
        else if (!is_configured(config, &address))
                answer_error(request, EINVAL,
                             "what is offered for the listener %s listens on %s, which is none of "
                             "its addresses",
                             config->name, address_text(&address, text));
        else if (is_given(request->session->control->broker->inherited, &address))
                answer_error(request, EEXIST, "the broker has %s already",
                             address_text(&address, text));
        else
                return check_brokers(request, fd);
        return false;
}

static int take(const struct request *request, const struct socket_config *config, int fd) {
        struct broker *b = request->session->control->broker;
        struct holder *holder;
        int r = session_holder(request->session, &holder);

        if (r < 0) {
                close_fd(fd);
                return r;
        }
        r = inherited_put_fd(b->inherited, config->name, fd);
        if (r < 0)
                return r;
        holder->references++; /* the session may end before the listeners stand */
        return offers_put(b->listeners, holder, config->name, fd);
}

void handle_offer(struct request *request) {
        const struct socket_config *config = find_config(request);
        struct control *c = request->session->control;
        struct fd_list *fds = &c->message.fds;
        int r;

        if (!config || !permission_by_list(request->session, &config->access)) {
                answer_error(request, ENOENT,
                             "there is no such listener, or none that this user may hold");
                return;
        }
        if (!c->offers.open) {
                answer_error(request, EEXIST, "the broker has the listener %s", config->name);
                return;
        }
        if (!check_descriptor(request, config, fds->fds[0]))
                return;
        r = take(request, config, fd_list_take_fd(fds, 0));
        if (r < 0) {
                answer_error(request, -r, "it cannot be taken: %s", strerror(-r));
                return;
        }
        (void) answer_begin(request);
        (void) answer_send(request);
        loop_break(c->broker->loop); /* the listeners are tried again */
}
