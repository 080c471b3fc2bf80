/* KEEPER: an fdpassd that found us running offers itself as our keeper. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "control/answer.h"
#include "control/control_private.h"
#include "control/peer.h"
#include "control/permission.h"
#include "keeper/memory.h"

static int get_option(int fd, int option) {
        int value;
        socklen_t size = sizeof(value);

        return getsockopt(fd, SOL_SOCKET, option, &value, &size) < 0 ? -1 : value;
}

/* A socketpair that was made by a process of the peer's uid: who has the other end keeps for us. */
static bool is_link(const struct session *s, int fd) {
        struct peer maker;

        return get_option(fd, SO_DOMAIN) == AF_UNIX && get_option(fd, SO_TYPE) == SOCK_SEQPACKET &&
               get_option(fd, SO_ACCEPTCONN) == 0 && peer_read(fd, &maker) == 0 &&
               maker.uid == s->peer.uid;
}

static bool check(const struct request *request, const struct fd_list *fds) {
        const struct broker *b = request->session->control->broker;
        const struct text *config = assignments_get(request->keys, "CONFIG");

        if (!b->memory)
                answer_error(request, EOPNOTSUPP, "this broker keeps nothing (--keeper=no)");
        else if (!is_link(request->session, fds->fds[0]))
                answer_error(request, EINVAL,
                             "KEEPER takes one end of a sequential-packet socketpair");
        else if (!text_equal(*config, b->config_path))
                answer_error(request, EINVAL, "this broker has another configuration, %s",
                             b->config_path);
        else
                return true;
        return false;
}

static const char *reason(int r) {
        if (r == -EBUSY)
                return "its keeper lives, or is just being replaced";
        return r == -EOPNOTSUPP ? "systemd keeps for it" : strerror(-r);
}

void handle_keeper(struct request *request) {
        struct session *s = request->session;
        struct fd_list *fds = &s->control->message.fds;
        int r;

        if (!check(request, fds))
                return;
        r = memory_change_keeper(s->control->broker->memory, fds->fds[0]);
        if (r < 0) {
                answer_error(request, -r, "this broker needs no keeper: %s", reason(r));
                return;
        }
        (void) fd_list_take_fd(fds, 0);
        log_notice(s->control->broker->log, ABOUT(.pid = s->peer.pid),
                   "an fdpassd that was started beside us is our keeper now (pid %d found us)",
                   (int) s->peer.pid);
        (void) answer_begin(request);
        (void) answer_send(request);
}
