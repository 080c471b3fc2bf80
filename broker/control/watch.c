/*
 * WATCH, and the events. They are best effort: a session whose queue is full gets EVENT=OVERFLOW
 * when it reads again, and then asks for the STATUS. Whether it may know of the listener is asked
 * again for each event, because rights can be taken away.
 */
#include "control/watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "control/answer.h"
#include "control/control_private.h"
#include "control/outgoing.h"
#include "control/permission.h"
#include "control/session.h"
#include "sockets/listener_table.h"

static const char *const event_names[] = {
        [LISTENER_REPLACED] = "REPLACED",
        [LISTENER_CHANGED] = "CHANGED",
        [LISTENER_REMOVED] = "REMOVED",
};

static bool is_watching(const struct watch_list *w) {
        return w->all || w->n_names > 0;
}

static bool has_name(const struct watch_list *w, const char *name) {
        for (size_t i = 0; i < w->n_names; i++)
                if (strcmp(w->names[i], name) == 0)
                        return true;
        return false;
}

static void on_listener_event(void *owner, const struct listener *listener,
                              enum listener_event event) {
        struct control *c = owner;
        struct session *s;

        packet_begin(&c->event);
        packet_add(&c->event, "EVENT", event_names[event]);
        packet_add(&c->event, "NAME", listener->name);
        LIST_FOREACH (s, &c->watchers, watched_listeners.in_watchers) {
                const struct watch_list *w = &s->watched_listeners;

                if ((w->all || has_name(w, listener->name)) && permission_to_see(s, listener))
                        outgoing_send_event(s, c->event.data, c->event.size);
        }
}

/* The table did not exist yet when the control object was made; from the first watcher on it does.
 */
static void hear_events(struct control *c) {
        if (c->listener_watcher.entry.le_prev)
                return;
        c->listener_watcher.event = on_listener_event;
        c->listener_watcher.owner = c;
        listener_table_watch(c->broker->listeners, &c->listener_watcher);
}

void watch_clear(struct session *s) {
        struct watch_list *w = &s->watched_listeners;

        if (is_watching(w))
                LIST_REMOVE(s, watched_listeners.in_watchers);
        for (size_t i = 0; i < w->n_names; i++)
                free(w->names[i]);
        free(w->names);
        *w = (struct watch_list){0};
}

/* 0, -EDQUOT or -ENOMEM. */
static int add_name(struct watch_list *w, const char *name) {
        char **names;

        if (has_name(w, name))
                return 0;
        if (w->n_names == WATCHED_NAMES_MAX)
                return -EDQUOT;
        names = reallocarray(w->names, w->n_names + 1, sizeof(*names));
        if (!names)
                return -ENOMEM;
        w->names = names;
        names[w->n_names] = strdup(name);
        if (!names[w->n_names])
                return -ENOMEM;
        w->n_names++;
        return 0;
}

void handle_watch(struct request *request) {
        struct session *s = request->session;
        struct watch_list *w = &s->watched_listeners;
        bool was_watching = is_watching(w);
        int r = 0;

        if (request->listener)
                r = add_name(w, request->listener->name);
        else
                w->all = true;
        if (!was_watching && is_watching(w))
                LIST_INSERT_HEAD(&s->control->watchers, s, watched_listeners.in_watchers);
        if (r == -EDQUOT) {
                answer_error(request, EDQUOT,
                             "a session can watch %d listeners by name; leave NAME= out to watch "
                             "all",
                             WATCHED_NAMES_MAX);
                return;
        }
        if (r < 0) {
                answer_error(request, -r, "the name cannot be kept: %s", strerror(-r));
                return;
        }
        hear_events(s->control);
        (void) answer_begin(request);
        (void) answer_send(request);
}
