/*
 * The rules. They are looked up in the configuration that is in force at each request, never kept
 * with a session: an apply that takes a right away is felt by the next request.
 */
#include "control/permission.h"

#include "components/component_table.h"
#include "config/config.h"
#include "control/control_private.h"
#include "control/session.h"
#include "sockets/listener_table.h"

bool permission_is_privileged(const struct session *s) {
        uid_t uid = s->peer.uid;

        /* If the broker itself runs as the overflow uid, that still says nothing of a peer. */
        return uid == 0 || (uid == s->control->uid && uid != s->control->overflow_uid);
}

static bool named(struct session *s, const struct access_list *list) {
        return s->peer.uid != s->control->overflow_uid && peer_is_named(&s->peer, s->fd, list);
}

bool permission_to_operate(struct session *s) {
        return permission_is_privileged(s) ||
               named(s, &s->control->broker->config->broker.operators);
}

bool permission_to_store(struct session *s) {
        return permission_is_privileged(s) ||
               named(s, &s->control->broker->config->broker.store_access);
}

bool permission_by_list(struct session *s, const struct access_list *access) {
        return permission_is_privileged(s) || named(s, access);
}

/* A generation may ask for its own Sockets=, whoever it runs as. */
static bool is_of_its_component(const struct session *s, const struct listener *listener) {
        const struct component_table *t = s->control->broker->components;

        return t && s->peer.pid > 0 && component_table_may_hold(t, listener->name, s->peer.pid);
}

bool permission_to_acquire(struct session *s, const struct listener *listener) {
        return permission_by_list(s, &listener->config->access) || is_of_its_component(s, listener);
}

bool permission_to_see(struct session *s, const struct listener *listener) {
        return permission_to_acquire(s, listener) || named(s, &listener->config->operators) ||
               permission_to_operate(s);
}

bool permission_to_see_component(struct session *s, const struct component *component) {
        const struct component_config *config = component->config;

        if (permission_to_operate(s))
                return true;
        for (size_t i = 0; i < config->n_sockets; i++) {
                const struct listener *listener =
                        listener_table_find(s->control->broker->listeners, config->sockets[i]);

                if (listener && named(s, &listener->config->operators))
                        return true;
        }
        return false;
}
