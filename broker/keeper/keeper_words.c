/* What the broker says to the keeper, keeper/link.h, and what the keeper does for it. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "cleanup.h"
#include "core/inherited.h"
#include "core/log.h"
#include "core/process.h"
#include "keeper/handover.h"
#include "keeper/keeper_private.h"
#include "keeper/link.h"

/* ---- what is kept ------------------------------------------------------------------------------
 */

void keeper_drop(struct keeper *k, struct kept *e) {
        if (k->next_sent == e)
                k->next_sent = e->hh.next;
        kept_remove(&k->kept, e);
}

/* Takes fd. */
static void keep(struct keeper *k, const char *id, int fd) {
        if (kept_put_fd(&k->kept, id, fd) < 0)
                log_error(k->log, NULL,
                          "no memory to keep descriptor %s: it is lost if the broker dies", id);
}

static bool copy_id(const struct text *name, char ret[STATE_ID_SIZE]) {
        if (!name || name->length == 0 || name->length >= STATE_ID_SIZE)
                return false;
        memcpy(ret, name->start, name->length);
        ret[name->length] = '\0';
        return true;
}

static void answer_barrier(struct keeper *k, struct text serial) {
        packet_begin(&k->writer);
        packet_add_text(&k->writer, "BARRIER", serial);
        /* Full only if the broker does not read: it is about to be found dead. */
        (void) message_send(k->link_fd, k->writer.data, k->writer.size, NULL, 0);
}

/* ---- an upgrade --------------------------------------------------------------------------------
 */

static int hand_over_to_ourselves(struct keeper *k, struct handover *h) {
        int r = 0;

        for (struct kept *e = k->kept; e && r == 0; e = e->hh.next)
                r = handover_add(h, e->id, e->fd);
        if (r == 0 && k->made) /* whatever it is a descriptor of */
                r = handover_add(h, LINK_MADE_KEEPER, k->broker_fd);
        return r == 0 ? handover_pass(h) : r;
}

/*
 * Become the program that the broker has become: same process, same children, same descriptors, so
 * that whoever started us notices nothing. Signals that come meanwhile stay pending, being blocked.
 */
static void execute(struct keeper *k) {
        struct handover *h;
        int r = handover_new(&h);

        if (r == 0) {
                r = hand_over_to_ourselves(k, h);
                if (r == 0) {
                        handover_pass_fd(KEEPER_LINK_ENV, k->link_fd);
                        handover_pass_fd(KEEPER_BROKER_ENV, k->broker_fd);
                        (void) fexecve(k->executable_fd, k->options->argv, environ);
                        r = -errno;
                        (void) handover_take_fd(KEEPER_LINK_ENV);
                        (void) handover_take_fd(KEEPER_BROKER_ENV);
                        handover_undo(h);
                }
                handover_free(h);
        }
        log_error(k->log, NULL, "the keeper cannot be upgraded: %s; it goes on as it is",
                  strerror(-r));
}

/* The other side of it. Nothing of what is kept may be lost, so what fails is only logged. */
void keeper_take_over(struct keeper *k) {
        struct inherited *passed;
        int r;

        if (inherited_new(&passed) < 0)
                return;
        r = handover_take(passed);
        if (r < 0)
                log_error(k->log, NULL, "not all descriptors came through the upgrade");
        k->is_ready = r != 0; /* else a broker made us, and it is going to say so */
        k->made = r == 0;
        while (inherited_count(passed) > 0) {
                char id[STATE_ID_SIZE];
                size_t last = inherited_count(passed) - 1;
                int fd;

                (void) snprintf(id, sizeof(id), "%s", inherited_name(passed, last));
                fd = inherited_take_fd(passed, last);
                if (strcmp(id, LINK_MADE_KEEPER) == 0)
                        k->made = true; /* the descriptor is the broker's, which has a variable */
                else
                        keep(k, id, fd);
        }
        inherited_free(passed);
}

/* ---- what the broker says: keeper/link.h ------------------------------------------------------*/

static void on_barrier(struct keeper *k, const struct assignments *a) {
        answer_barrier(k, *assignments_get(a, "BARRIER"));
}

static void on_ready(struct keeper *k, const struct assignments *a) {
        k->was_ready = k->is_ready = true;
        if (k->told_again && k->n_finishers > 0) /* it heard the first at its start */
                (void) pidfd_send_signal(k->broker_fd, SIGTERM, NULL, 0);
        k->executing = false;
        /* It has stored what it wants of that, under ids. */
        k->inherited = inherited_free(k->inherited);
}

static void on_ending(struct keeper *k, const struct assignments *a) {
        k->told_to_end = true;
}

static void on_stopping(struct keeper *k, const struct assignments *a) {
        k->told_to_end = k->stopping = true;
}

/*
 * Ours found one running, which from now on is our broker, over this very link. What is kept by
 * now was of the one that found it.
 */
static void on_broker(struct keeper *k, const struct assignments *a) {
        if (k->message.fds.count != 1)
                return;
        close_fd(k->broker_fd);
        k->broker_fd = fd_list_take_fd(&k->message.fds, 0);
        k->handing_over = false;
        while (k->kept)
                keeper_drop(k, k->kept);
        k->waits = true;
        keeper_reap(k); /* the one that found it, if that was told to have ended before */
}

static void on_charge(struct keeper *k, const struct assignments *a) {
        if (k->message.fds.count != 1)
                return;
        close_fd(k->charge_fd);
        k->charge_fd = fd_list_take_fd(&k->message.fds, 0);
}

static void on_sole(struct keeper *k, const struct assignments *a) {
        k->waits = false;
        k->was_ready = true;
}

static void on_executing(struct keeper *k, const struct assignments *a) {
        k->executing = true;
}

static void on_executable(struct keeper *k, const struct assignments *a) {
        if (k->message.fds.count != 1)
                return;
        close_fd(k->executable_fd);
        k->executable_fd = fd_list_take_fd(&k->message.fds, 0);
}

static void on_exec(struct keeper *k, const struct assignments *a) {
        execute(k);
}

static void on_remove(struct keeper *k, const struct assignments *a) {
        char id[STATE_ID_SIZE];
        struct kept *e;

        if (!copy_id(assignments_get(a, "FDNAME"), id))
                return;
        e = kept_find(k->kept, id);
        if (e)
                keeper_drop(k, e);
}

static void on_store(struct keeper *k, const struct assignments *a) {
        char id[STATE_ID_SIZE];

        if (copy_id(assignments_get(a, "FDNAME"), id) && k->message.fds.count == 1)
                keep(k, id, fd_list_take_fd(&k->message.fds, 0));
}

static const struct word {
        const char *key;
        void (*handle)(struct keeper *k, const struct assignments *a);
} words[] = {
        {"BARRIER", on_barrier},   {"READY", on_ready},          {"ENDING", on_ending},
        {"STOPPING", on_stopping}, {"EXECUTING", on_executing},  {"EXECUTABLE", on_executable},
        {"EXEC", on_exec},         {"FDSTOREREMOVE", on_remove}, {"FDSTORE", on_store},
        {"BROKER", on_broker},     {"CHARGE", on_charge},        {"SOLE", on_sole},
};

static void handle_packet(struct keeper *k) {
        struct assignments a;

        if (grammar_parse(k->message.data, k->message.size, &a) < 0)
                return;
        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
                if (assignments_get(&a, words[i].key)) {
                        words[i].handle(k, &a);
                        return;
                }
}

void keeper_read_link(struct keeper *k) {
        int r;

        while (k->link_fd >= 0 && (r = message_receive(k->link_fd, &k->message)) != -EAGAIN) {
                if (r > 0)
                        handle_packet(k);
                message_clear(&k->message);
                if (r == -EMFILE)
                        log_error(k->log, NULL,
                                  "out of descriptors: one that the broker stored is not kept; "
                                  "raise RLIMIT_NOFILE (ulimit -n)");
                else if (r <= 0)
                        k->link_fd = close_fd(k->link_fd);
        }
}
