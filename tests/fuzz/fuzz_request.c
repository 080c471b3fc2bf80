/*
 * A whole conversation with a broker: the input is cut at NUL bytes (which no packet may hold) into
 * packets, each of which is handed to the dispatcher as if it had come over the socket. The broker
 * is a real one, with one listener on a Unix path and no network.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "config/config.h"
#include "control/control_private.h"
#include "control/session.h"
#include "core/inherited.h"
#include "fdpassd/assemble.h"
#include "message.h"

/* Enough for every verb in both orders; a longer conversation finds nothing more and takes longer.
 */
#define PACKETS_MAX 16
/* Of the loop, for what is not done at once. */
#define TURNS_MAX 1000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct broker *broker;
static char folder[] = "/tmp/fdpass-fuzz-XXXXXX";

static void need(bool ok, const char *what) {
        if (!ok) {
                perror(what);
                abort();
        }
}

static void clean_up(void) {
        static const char *const names[] = {"fdpass.conf", "web.sock", "broker.sock.lock"};
        struct loop *loop = broker->loop;
        char path[128];

        broker_free(broker);
        loop_free(loop);
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                (void) snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
                (void) unlink(path);
        }
        (void) snprintf(path, sizeof(path), "%s/.fdpass-%u", folder, (unsigned) geteuid());
        (void) rmdir(path);
        (void) rmdir(folder);
}

static void set_up(void) {
        struct diagnostics diagnostics = {0};
        struct inherited *inherited;
        struct config *config;
        struct loop *loop;
        char path[128];
        FILE *f;

        need(mkdtemp(folder), "mkdtemp");
        (void) snprintf(path, sizeof(path), "%s/fdpass.conf", folder);
        f = fopen(path, "we");
        need(f, path);
        (void) fprintf(f,
                       "[Broker]\nControlSocket=%s/broker.sock\n"
                       "[Socket web]\nListenStream=%s/web.sock\n",
                       folder, folder);
        need(fclose(f) == 0, path);
        need(config_load(path, &diagnostics, &config) == 0, "config_load");
        need(loop_new(&loop) == 0, "loop_new");
        need(inherited_new(&inherited) == 0, "inherited_new");
        need(broker_new(&broker, loop, NULL,
                        &(struct broker_parts){.config_path = path,
                                               .config = config,
                                               .inherited = inherited,
                                               .config_fd = -1}) == 0,
             "broker_new");
        (void) atexit(clean_up);
}

/* Whatever was said, each answer is a packet of the grammar that begins as answers do. */
static void read_answers(int fd) {
        static struct message answer;
        static struct assignments assignments;

        while (message_receive(fd, &answer) == 1) {
                need(grammar_parse(answer.data, answer.size, &assignments) == 0, "an answer");
                need(text_equal(assignments.items[0].key, "OK") ||
                             text_equal(assignments.items[0].key, "ERROR") ||
                             text_equal(assignments.items[0].key, "EVENT"),
                     "an answer's beginning");
                message_clear(&answer);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const char *p = (const char *) data, *end = p + size;
        struct session *s;
        int ends[2];

        if (!broker)
                set_up();
        need(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0, "socketpair");
        need(session_new(broker->control, ends[0], &s) == 0, "session_new");
        for (unsigned i = 0; i < PACKETS_MAX && p < end; i++) {
                const char *nul = memchr(p, '\0', (size_t) (end - p));
                const char *packet_end = nul ? nul : end;

                session_feed(s, p, (size_t) (packet_end - p));
                /* As over the socket: nothing is read while an answer is still being written. */
                for (int turn = 0; turn < TURNS_MAX && broker->control->n_sessions && s->status;
                     turn++)
                        loop_run_once(broker->loop, true);
                read_answers(ends[1]);
                if (broker->control->n_sessions == 0)
                        break;
                p = nul ? nul + 1 : end;
        }
        close_fd(ends[1]);
        /* It sees the end, if it was not ended before. */
        for (int turn = 0; turn < TURNS_MAX && broker->control->n_sessions; turn++)
                loop_run_once(broker->loop, false);
        need(broker->control->n_sessions == 0, "the session is still there");
        return 0;
}
