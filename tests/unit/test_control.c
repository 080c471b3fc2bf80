/* What a client can have from the broker: the verbs, who may use them, the events, the documents.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "config/config.h"
#include "control_fixture.h"
#include "fd_list.h"
#include "sockets/lease.h"
#include "sockets/listener_table.h"
#include "sockets_support.h"
#include "support.h"

static struct listener *find(struct fixture *f, const char *name) {
        return listener_table_find(f->broker->listeners, name);
}

static ino_t inode_of(int fd) {
        struct stat st;

        ck_assert_int_eq(fstat(fd, &st), 0);
        return st.st_ino;
}

/* ---- HELLO, ACQUIRE, RELEASE, NOTIFY ------------------------------------------------------------
 */

START_TEST(hello_tells_who_the_kernel_says_the_peer_is) {
        struct fixture *f = fixture_new("");
        int fd = client_connect(f);
        const char *answer = ask(f, fd, "VERB=HELLO\nSERIAL=1", "OK=1\nSERIAL=1\nVERSION=");

        ck_assert_ptr_nonnull(strstr(answer, compose("\nPID=%d\n", (int) getpid())));
        ck_assert_ptr_nonnull(strstr(answer, compose("\nUID=%u\n", (unsigned) geteuid())));
        ck_assert_ptr_nonnull(strstr(answer, "\nPROTOCOL=1\n"));
        close_fd(fd);
        fixture_free(f);
}
END_TEST

START_TEST(acquire_lends_the_very_sockets_and_begins_one_lease) {
        struct fixture *f = fixture_new(compose("[Socket web]\n%s%sFileDescriptorName=http\n",
                                                fixture_port(), fixture_port()));
        int fd = client_connect(f);
        struct listener *web = find(f, "web");

        for (int round = 0; round < 2; round++) {
                ask(f, fd, "VERB=ACQUIRE\nNAME=web\nSERIAL=7",
                    "OK=1\nSERIAL=7\nNAME=web\nFDS=2\nFDNAME=http\n");
                ck_assert_uint_eq(client_fds()->count, 2);
                for (size_t i = 0; i < 2; i++)
                        ck_assert_uint_eq(inode_of(client_fds()->fds[i]), web->sockets[i]->inode);
                ck_assert_uint_eq(web->n_leases, 1);
        }
        close_fd(fd);
        turn(f);
        ck_assert_uint_eq(f->control->n_sessions, 0);
        ck_assert_uint_eq(web->n_leases, 1); /* the process lives */
        ck_assert_int_eq(LIST_FIRST(&web->leases)->holder->pid, getpid());
        fixture_free(f);
}
END_TEST

START_TEST(release_ends_the_lease_and_a_second_one_finds_none) {
        struct fixture *f = fixture_new(compose("[Socket web]\n%s", fixture_port()));
        int fd = client_connect(f);

        ask(f, fd, "VERB=RELEASE\nNAME=web", "ERROR=ENOENT\n");
        ask(f, fd, "VERB=ACQUIRE\nNAME=web", "OK=1\n");
        ask(f, fd, "VERB=RELEASE\nNAME=web", "OK=1\n");
        ck_assert_uint_eq(find(f, "web")->n_leases, 0);
        ask(f, fd, "VERB=RELEASE\nNAME=web", "ERROR=ENOENT\n");
        ask(f, fd, "VERB=RELEASE\nNAME=absent", "ERROR=ENOENT\n");
        close_fd(fd);
        fixture_free(f);
}
END_TEST

START_TEST(a_lease_ends_with_the_process_and_not_with_the_connection) {
        struct fixture *f = fixture_new(compose("[Socket web]\n%s", fixture_port()));
        pid_t child = fork();

        if (child == 0) {
                int fd = client_connect(f);

                client_send(fd, "VERB=ACQUIRE\nNAME=web");
                for (;;)
                        (void) pause();
        }
        ck_assert_int_gt(child, 0);
        TURN_UNTIL(f, find(f, "web")->n_leases == 1);
        ck_assert_int_eq(LIST_FIRST(&find(f, "web")->leases)->holder->pid, child);
        ck_assert_int_eq(kill(child, SIGKILL), 0);
        TURN_UNTIL(f, find(f, "web")->n_leases == 0);
        ck_assert_int_eq(waitpid(child, NULL, 0), child);
        fixture_free(f);
}
END_TEST

START_TEST(what_a_process_says_of_itself_is_kept_before_and_with_its_lease) {
        struct fixture *f = fixture_new(compose("[Socket web]\n%s", fixture_port()));
        int fd = client_connect(f);

        ask(f, fd, "VERB=NOTIFY\nSTATUS=warming up", "OK=1\n");
        ask(f, fd, "VERB=ACQUIRE\nNAME=web", "OK=1\n");
        const struct holder *holder = LIST_FIRST(&find(f, "web")->leases)->holder;
        ck_assert(!holder->ready);
        ck_assert_str_eq(holder->status, "warming up");
        ask(f, fd, "VERB=NOTIFY\nREADY=1", "OK=1\n");
        ck_assert(holder->ready);
        ck_assert_str_eq(holder->status, "warming up");
        close_fd(fd);
        fixture_free(f);
}
END_TEST

START_TEST(more_descriptors_than_a_packet_holds_come_in_numbered_parts) {
        enum { SOCKETS = FD_LIST_MAX + 3 };
        char *config = compose("[Socket many]\n");
        struct fixture *f;
        ino_t last;
        int fd;

        for (int i = 0; i < SOCKETS; i++)
                config = compose("%sListenStream=%s\n", config, test_path(compose("s%d.sock", i)));
        f = fixture_new(config);
        fd = client_connect(f);
        client_send(fd, "VERB=ACQUIRE\nNAME=many\nSERIAL=p");
        const char *part = client_receive(f, fd);
        ck_assert_ptr_nonnull(strstr(part, "OK=1\nSERIAL=p\n"));
        ck_assert_ptr_nonnull(strstr(part, "\nFDS=255\n"));
        ck_assert_ptr_nonnull(strstr(part, "\nPART=1\nPARTS=2\n"));
        ck_assert_uint_eq(client_fds()->count, FD_LIST_MAX);
        part = client_receive(f, fd);
        ck_assert_ptr_nonnull(strstr(part, "\nPART=2\nPARTS=2\n"));
        ck_assert_uint_eq(client_fds()->count, 3);
        last = inode_of(client_fds()->fds[2]);
        ck_assert_uint_eq(last, find(f, "many")->sockets[SOCKETS - 1]->inode);
        close_fd(fd);
        fixture_free(f);
}
END_TEST

/* ---- who may ------------------------------------------------------------------------------------
 */

START_TEST(the_default_is_no_and_what_may_not_be_seen_does_not_exist) {
        if (needs_root())
                return;
        struct fixture *f = fixture_new(compose("[Socket web]\n%s[Socket api]\n%sAccess=%d\n",
                                                fixture_port(), fixture_port(), STRANGER));
        int fd = client_connect_as(f, STRANGER, STRANGER, 0);
        char *absent = compose("%s", ask(f, fd, "VERB=ACQUIRE\nNAME=wab", "ERROR=ENOENT\n"));
        const char *hidden = ask(f, fd, "VERB=ACQUIRE\nNAME=web", "ERROR=ENOENT\n");
        strstr(absent, "wab")[1] = 'e';
        ck_assert_str_eq(hidden, absent);
        ask(f, fd, "VERB=STATUS\nNAME=web", "ERROR=ENOENT\n");
        ask(f, fd, "VERB=WATCH\nNAME=web", "ERROR=ENOENT\n");
        ask(f, fd, "VERB=APPLY", "ERROR=EACCES\n");
        ask(f, fd, "VERB=ACQUIRE\nNAME=api", "OK=1\n");
        ask(f, fd, "VERB=STATUS", "OK=1\n");
        const char *document = client_document();
        ck_assert_ptr_null(strstr(document, "\"web\""));
        ck_assert_ptr_nonnull(strstr(document, "\"name\":\"api\""));
        ck_assert_ptr_nonnull(strstr(document, "\"config\":null"));
        close_fd(fd);
        fixture_free(f);
}
END_TEST

START_TEST(operators_see_and_do_not_acquire) {
        if (needs_root())
                return;
        struct fixture *f =
                fixture_new(compose("[Socket web]\n%sOperators=%d\n", fixture_port(), STRANGER));
        int fd = client_connect_as(f, STRANGER, STRANGER, 0);

        ask(f, fd, "VERB=STATUS\nNAME=web", "OK=1\n");
        ask(f, fd, "VERB=ACQUIRE\nNAME=web", "ERROR=EACCES\n");
        ask(f, fd, "VERB=APPLY", "ERROR=EACCES\n"); /* of the listener, not of the broker */
        close_fd(fd);
        fixture_free(f);
}
END_TEST

START_TEST(groups_of_the_peer_are_asked_for_primary_and_supplementary) {
        if (needs_root())
                return;
        struct fixture *f =
                fixture_new(compose("[Socket web]\n%sAccess=@%d\n", fixture_port(), 61007));
        int primary = client_connect_as(f, STRANGER, 61007, 0);
        int supplementary = client_connect_as(f, STRANGER, STRANGER, 61007);
        int neither = client_connect_as(f, STRANGER, STRANGER, 61008);

        ask(f, primary, "VERB=ACQUIRE\nNAME=web", "OK=1\n");
        ask(f, supplementary, "VERB=ACQUIRE\nNAME=web", "OK=1\n");
        ask(f, neither, "VERB=ACQUIRE\nNAME=web", "ERROR=ENOENT\n");
        close_fd(primary);
        close_fd(supplementary);
        close_fd(neither);
        fixture_free(f);
}
END_TEST

START_TEST(the_overflow_uid_matches_no_rule_and_is_never_ourselves) {
        if (needs_root())
                return;
        struct fixture *f = fixture_new(compose("[Socket web]\n%s", fixture_port()));
        uid_t nobody = f->control->overflow_uid;
        int fd = client_connect_as(f, nobody, STRANGER, 0);

        f->control->uid = nobody; /* as if the broker ran as that user */
        ask(f, fd, "VERB=ACQUIRE\nNAME=web", "ERROR=ENOENT\n");
        ask(f, fd, "VERB=APPLY", "ERROR=EACCES\n");
        ask(f, fd, "VERB=HELLO", "OK=1\n");
        close_fd(fd);
        fixture_free(f);
}
END_TEST

START_TEST(the_brokers_own_uid_may_everything) {
        if (needs_root())
                return;
        struct fixture *f = fixture_new(compose("[Socket web]\n%s", fixture_port()));
        int fd = client_connect_as(f, STRANGER, STRANGER, 0);

        f->control->uid = STRANGER;
        ask(f, fd, "VERB=ACQUIRE\nNAME=web", "OK=1\n");
        ask(f, fd, "VERB=APPLY", "OK=1\n");
        close_fd(fd);
        fixture_free(f);
}
END_TEST

START_TEST(leases_of_a_user_have_a_limit_and_a_refused_one_changes_nothing) {
        if (needs_root())
                return;
        struct fixture *f =
                fixture_new(compose("[Socket a]\n%sAccess=%d\n[Socket b]\n%sAccess=%d\n",
                                    fixture_port(), STRANGER, fixture_port(), STRANGER));
        int fd = client_connect_as(f, STRANGER, STRANGER, 0);

        f->broker->limits.leases_per_user = 1;
        ask(f, fd, "VERB=ACQUIRE\nNAME=a", "OK=1\n");
        ask(f, fd, "VERB=ACQUIRE\nNAME=a", "OK=1\n");
        ask(f, fd, "VERB=ACQUIRE\nNAME=b", "ERROR=EDQUOT\n");
        ck_assert_uint_eq(find(f, "b")->n_leases, 0);
        ask(f, fd, "VERB=RELEASE\nNAME=a", "OK=1\n");
        ask(f, fd, "VERB=ACQUIRE\nNAME=b", "OK=1\n");
        close_fd(fd);
        fixture_free(f);
}
END_TEST

/* ---- STATUS -------------------------------------------------------------------------------------
 */

START_TEST(status_is_a_sealed_document_of_what_is) {
        struct fixture *f = fixture_new(compose("[Socket web]\n%s[Socket sock]\nListenStream=%s\n",
                                                fixture_port(), test_path("s.sock")));
        int fd = client_connect(f);

        ask(f, fd, "VERB=ACQUIRE\nNAME=web", "OK=1\n");
        ask(f, fd, "VERB=NOTIFY\nREADY=1\nSTATUS=a\"b\xff", "OK=1\n");
        ask(f, fd, "VERB=STATUS\nSERIAL=x", "OK=1\nSERIAL=x\nDOCUMENT=json\nSIZE=");
        int memfd = client_fds()->fds[0];
        ck_assert_int_eq(fcntl(memfd, F_GET_SEALS) &
                                 (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE),
                         F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
        ck_assert_int_lt((int) write(memfd, "x", 1), 0);
        const char *document = client_document();
        const char *const wanted[] = {
                "\"schema\":1",
                "\"name\":\"web\"",
                "\"family\":\"inet\"",
                "\"family\":\"unix\"",
                compose("\"inode\":%lu", (unsigned long) find(f, "web")->sockets[0]->inode),
                compose("\"pid\":%d,\"uid\":%u", (int) getpid(), (unsigned) geteuid()),
                "\"ready\":true,\"status\":\"a\\\"b\xef\xbf\xbd\"",
                "\"queue\":{\"length\":0,",
                "\"sessions\":1,\"listeners\":2,\"leases\":1",
        };
        for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
                ck_assert_msg(strstr(document, wanted[i]) != NULL, "no %s in %s", wanted[i],
                              document);
        close_fd(fd);
        fixture_free(f);
}
END_TEST

/* What was sent takes memory until the other end has read it, unix(7). */
static bool is_unread(int fd) {
        int bytes;

        ck_assert_int_eq(ioctl(fd, TIOCOUTQ, &bytes), 0);
        return bytes > 0;
}

START_TEST(a_second_document_waits_for_the_first_to_be_read) {
        struct fixture *f = fixture_new("");
        int fd = client_connect(f);

        client_send(fd, "VERB=STATUS\nSERIAL=1");
        client_send(fd, "VERB=STATUS\nSERIAL=2");
        client_send(fd, "VERB=APPLY\nSERIAL=3");
        while (is_unread(fd))
                turn(f);
        ck_assert_int_eq(strncmp(client_receive(f, fd), "OK=1\nSERIAL=1\n", 14), 0);
        ck_assert_int_eq(strncmp(client_receive(f, fd), "ERROR=EBUSY\nSERIAL=2\n", 21), 0);
        ck_assert_int_eq(strncmp(client_receive(f, fd), "ERROR=EBUSY\nSERIAL=3\n", 21), 0);
        ask(f, fd, "VERB=STATUS", "OK=1\n");
        close_fd(fd);
        fixture_free(f);
}
END_TEST

/* Enough Unix sockets that one turn of the loop is not allowed to ask for all their queues. */
enum { MANY = 3000 };

static const char *many_listeners(int n) {
        char *config = malloc((size_t) n * 128 + 1), *p = keep(config);

        config[0] = '\0';
        for (int i = 0; i < n; i++)
                p += sprintf(p, "[Socket s%04d]\nListenStream=%s/%d\n", i, test_folder(), i);
        return config;
}

static unsigned count(const char *document, const char *wanted) {
        unsigned n = 0;

        for (const char *p = document; (p = strstr(p, wanted)); p++)
                n++;
        return n;
}

START_TEST(a_long_status_is_written_in_pieces_and_others_are_served_in_between) {
        struct fixture *f = fixture_new(many_listeners(MANY));
        int fd = client_connect(f), second = client_connect(f), other = client_connect(f);
        struct status_jobs *jobs = &f->control->status;

        ask(f, other, "VERB=HELLO", "OK=1\n");
        client_send(fd, "VERB=STATUS\nSERIAL=1");
        client_send(fd, "VERB=HELLO\nSERIAL=2"); /* is answered after it, all the same */
        client_send(second, "VERB=STATUS\nSERIAL=3");
        TURN_UNTIL(f, !TAILQ_EMPTY(&jobs->queue));
        ask(f, other, "VERB=ACQUIRE\nNAME=s0000", "OK=1\n");
        ck_assert(!TAILQ_EMPTY(&jobs->queue));
        const char *first = client_receive(f, fd);
        ck_assert_msg(strncmp(first, "OK=1\nSERIAL=1\nDOCUMENT=", 23) == 0, "%s", first);
        ck_assert_uint_eq(count(client_document(), "\"name\":"), MANY);
        ck_assert_int_eq(strncmp(client_receive(f, fd), "OK=1\nSERIAL=2\n", 14), 0);
        ck_assert_int_eq(strncmp(client_receive(f, second), "OK=1\nSERIAL=3\n", 14), 0);
        const char *document = client_document();
        ck_assert_uint_eq(count(document, "\"name\":"), MANY);
        ck_assert_uint_eq(count(document, "\"limit\":"), MANY);
        ck_assert(!timer_is_started(&jobs->turn));
        close_fd(fd);
        close_fd(second);
        close_fd(other);
        fixture_free(f);
}
END_TEST

START_TEST(listeners_may_go_away_while_a_status_is_written) {
        struct fixture *f = fixture_new(many_listeners(MANY));
        int fd = client_connect(f), mine = client_connect(f);

        client_send(fd, "VERB=STATUS");
        TURN_UNTIL(f, !TAILQ_EMPTY(&f->control->status.queue) &&
                              TAILQ_FIRST(&f->control->status.queue)->listeners > 0);
        fixture_configure(""); /* the one where it stopped, and all after it */
        control_reload(f->broker);
        ck_assert_uint_eq(listener_table_count(f->broker->listeners), MANY); /* not allowed */
        client_send(mine, "VERB=APPLY\nALLOW_CLOSE=1");
        TURN_UNTIL(f, is_readable(mine));
        ck_assert_int_eq(strncmp(client_receive(f, fd), "OK=1\n", 5), 0);
        const char *document = client_document();
        ck_assert_uint_lt(count(document, "\"name\":"), MANY);
        ck_assert_ptr_nonnull(strstr(document, "],\"broker\":{"));
        close_fd(mine);
        close_fd(fd);
        fixture_free(f);
}
END_TEST

START_TEST(a_session_may_end_while_its_status_is_written_and_the_broker_too) {
        struct fixture *f = fixture_new(many_listeners(MANY));
        int fd = client_connect(f), second = client_connect(f);

        client_send(fd, "VERB=STATUS");
        TURN_UNTIL(f, !TAILQ_EMPTY(&f->control->status.queue));
        close_fd(fd);
        TURN_UNTIL(f, f->control->n_sessions == 1);
        client_send(second, "VERB=STATUS");
        TURN_UNTIL(f, !TAILQ_EMPTY(&f->control->status.queue));
        fixture_free(f);
        close_fd(second);
}
END_TEST

/* ---- APPLY --------------------------------------------------------------------------------------
 */

START_TEST(apply_puts_a_new_configuration_in_force) {
        const char *web = compose("[Socket web]\n%s", fixture_port());
        struct fixture *f = fixture_new(web);
        int fd = client_connect(f);
        ino_t inode = find(f, "web")->sockets[0]->inode;

        fixture_configure(compose("%s[Socket api]\n%s", web, fixture_port()));
        ask(f, fd, "VERB=APPLY\nSERIAL=1",
            "OK=1\nSERIAL=1\nOPENED=1\nADOPTED=0\nKEPT=1\nCHANGED=0\nCLOSED=0\n");
        ck_assert_uint_eq(find(f, "web")->sockets[0]->inode, inode);
        ck_assert_uint_eq(f->broker->config->n_sockets, 2);
        fixture_configure(web);
        ask(f, fd, "VERB=APPLY", "ERROR=EINVAL\nMESSAGE=");
        ck_assert_ptr_nonnull(strstr(client_document(), "\"severity\":\"error\""));
        ck_assert_ptr_nonnull(find(f, "api"));
        ask(f, fd, "VERB=APPLY\nALLOW_CLOSE=1", "OK=1\nOPENED=0\n");
        ck_assert_ptr_null(find(f, "api"));
        close_fd(fd);
        fixture_free(f);
}
END_TEST

START_TEST(a_wrong_configuration_changes_nothing_and_all_its_errors_are_told) {
        struct fixture *f = fixture_new(compose("[Socket web]\n%s", fixture_port()));
        int fd = client_connect(f);
        const struct config *before = f->broker->config;

        fixture_configure("[Socket web]\nListenStream=nonsense:\nBacklog=many\n");
        const char *answer = ask(f, fd, "VERB=APPLY", "ERROR=EINVAL\nMESSAGE=");
        ck_assert_ptr_nonnull(strstr(answer, compose("%s:4: ", test_path("fdpass.conf"))));
        const char *document = client_document();
        ck_assert_ptr_nonnull(strstr(document, "\"line\":4"));
        ck_assert_ptr_nonnull(strstr(document, "\"line\":5"));
        ck_assert_ptr_eq(f->broker->config, before);
        ck_assert_ptr_nonnull(find(f, "web"));
        close_fd(fd);
        fixture_free(f);
}
END_TEST

/* Who has an address is found out by a child: others are served meanwhile. */
START_TEST(an_address_in_use_is_explained_while_others_are_served) {
        const char *web = compose("[Socket web]\n%s", fixture_port());
        struct fixture *f = fixture_new(web);
        int busy = test_tcp_listener(), fd = client_connect(f), other = client_connect(f);

        fixture_configure(
                compose("%s[Socket api]\nListenStream=127.0.0.1:%u\n", web, test_port_of(busy)));
        client_send(fd, "VERB=APPLY\nSERIAL=1");
        TURN_UNTIL(f, f->control->apply.running);
        ask(f, other, "VERB=APPLY", "ERROR=EBUSY\n");
        ask(f, other, "VERB=ACQUIRE\nNAME=web", "OK=1\n");
        control_reload(f->broker); /* waits until this one is done */
        const char *answer = client_receive(f, fd);
        ck_assert_int_eq(strncmp(answer, "ERROR=EADDRINUSE\nSERIAL=1\n", 26), 0);
        const char *document = client_document(), *ours = compose("pid %d", (int) getpid());
        ck_assert(f->control->apply.running);
        TURN_UNTIL(f, !f->control->apply.running); /* the reload, which fails the same way */
        ck_assert_ptr_null(find(f, "api"));
        /* The child has three seconds for it, which a very busy machine may need for less. */
        for (int tries = 0; tries < 5 && !strstr(document, ours); tries++) {
                ask(f, fd, "VERB=APPLY", "ERROR=EADDRINUSE\n");
                document = client_document();
        }
        ck_assert_msg(strstr(document, ours) != NULL, "%s", document);
        close_fd(busy);
        ask(f, fd, "VERB=APPLY", "OK=1\nOPENED=1\n");
        close_fd(fd);
        close_fd(other);
        fixture_free(f);
}
END_TEST

START_TEST(a_session_that_ends_while_its_apply_is_under_way_is_forgotten) {
        struct fixture *f = fixture_new("");
        int busy = test_tcp_listener(), fd = client_connect(f);

        fixture_configure(compose("[Socket api]\nListenStream=127.0.0.1:%u\n", test_port_of(busy)));
        client_send(fd, "VERB=APPLY\nSERIAL=1");
        TURN_UNTIL(f, f->control->apply.running);
        /* It may not have come as far as closing its copies, of this test's socket too. */
        ck_assert_int_eq(shutdown(fd, SHUT_RDWR), 0);
        close_fd(fd);
        TURN_UNTIL(f, f->control->n_sessions == 0);
        ck_assert_ptr_null(f->control->apply.session);
        TURN_UNTIL(f, !f->control->apply.running);
        close_fd(busy);
        fixture_free(f);
}
END_TEST

START_TEST(the_broker_can_end_while_an_apply_is_under_way) {
        struct fixture *f = fixture_new("");
        int busy = test_tcp_listener(), fd = client_connect(f);

        fixture_configure(compose("[Socket api]\nListenStream=127.0.0.1:%u\n", test_port_of(busy)));
        client_send(fd, "VERB=APPLY\nSERIAL=1");
        TURN_UNTIL(f, f->control->apply.running);
        fixture_free(f);
        close_fd(fd);
        close_fd(busy);
}
END_TEST

START_TEST(reload_does_what_apply_does_without_allowing_to_close) {
        const char *web = compose("[Socket web]\n%s", fixture_port());
        struct fixture *f = fixture_new(web);

        fixture_configure(compose("%s[Socket api]\n%s", web, fixture_port()));
        control_reload(f->broker);
        ck_assert_ptr_nonnull(find(f, "api"));
        ck_assert_ptr_nonnull(strstr(f->last_line, "1 opened"));
        fixture_configure(web);
        control_reload(f->broker);
        ck_assert_ptr_nonnull(find(f, "api"));
        ck_assert_ptr_nonnull(strstr(f->last_line, "not applied"));
        fixture_free(f);
}
END_TEST

/* ---- WATCH --------------------------------------------------------------------------------------
 */

START_TEST(events_come_to_who_asked_and_about_what_was_asked) {
        const char *a = compose("[Socket a]\n%s", fixture_port());
        const char *b = compose("[Socket b]\n%s", fixture_port());
        struct fixture *f = fixture_new(compose("%s%s", a, b));
        int all = client_connect(f), one = client_connect(f), none = client_connect(f);

        ask(f, all, "VERB=WATCH", "OK=1\n");
        ask(f, one, "VERB=WATCH\nNAME=a", "OK=1\n");
        ask(f, none, "VERB=HELLO", "OK=1\n");
        fixture_configure(compose("%s%sBacklog=77\n", a, b));
        control_reload(f->broker);
        ck_assert_str_eq(client_receive(f, all), "EVENT=CHANGED\nNAME=b\n");
        ck_assert(!is_readable(one));
        fixture_configure("");
        ask(f, none, "VERB=APPLY\nALLOW_CLOSE=1", "OK=1\n");
        ck_assert_str_eq(client_receive(f, one), "EVENT=REMOVED\nNAME=a\n");
        ck_assert_ptr_nonnull(strstr(client_receive(f, all), "EVENT=REMOVED\n"));
        ck_assert_ptr_nonnull(strstr(client_receive(f, all), "EVENT=REMOVED\n"));
        ck_assert(!is_readable(one) && !is_readable(none) && !is_readable(all));
        close_fd(all);
        close_fd(one);
        close_fd(none);
        fixture_free(f);
}
END_TEST

START_TEST(events_stop_when_the_right_to_see_is_taken_away) {
        if (needs_root())
                return;
        const char *web = compose("[Socket web]\n%s", fixture_port());
        struct fixture *f = fixture_new(compose("%sAccess=%d\n", web, STRANGER));
        int fd = client_connect_as(f, STRANGER, STRANGER, 0);

        ask(f, fd, "VERB=WATCH\nNAME=web", "OK=1\n");
        fixture_configure(web);
        control_reload(f->broker);
        fixture_configure(compose("%sBacklog=9\n", web));
        control_reload(f->broker);
        ask(f, fd, "VERB=HELLO", "OK=1\n"); /* and no event before that */
        close_fd(fd);
        fixture_free(f);
}
END_TEST

START_TEST(names_to_watch_have_a_limit) {
        const char *config = "";
        struct fixture *f;
        int fd;

        for (int i = 0; i <= WATCHED_NAMES_MAX; i++)
                config = compose("%s[Socket s%d]\nListenStream=%s\n", config, i,
                                 test_path(compose("s%d.sock", i)));
        f = fixture_new(config);
        fd = client_connect(f);
        for (int i = 0; i < WATCHED_NAMES_MAX; i++)
                ask(f, fd, compose("VERB=WATCH\nNAME=s%d", i), "OK=1\n");
        ask(f, fd, "VERB=WATCH\nNAME=s0", "OK=1\n");
        ask(f, fd, compose("VERB=WATCH\nNAME=s%d", WATCHED_NAMES_MAX), "ERROR=EDQUOT\n");
        ask(f, fd, "VERB=WATCH", "OK=1\n");
        close_fd(fd);
        fixture_free(f);
}
END_TEST

SUITE("control", {
        TEST(hello_tells_who_the_kernel_says_the_peer_is);
        TEST(acquire_lends_the_very_sockets_and_begins_one_lease);
        TEST(release_ends_the_lease_and_a_second_one_finds_none);
        TEST(a_lease_ends_with_the_process_and_not_with_the_connection);
        TEST(what_a_process_says_of_itself_is_kept_before_and_with_its_lease);
        TEST(more_descriptors_than_a_packet_holds_come_in_numbered_parts);
        TEST(the_default_is_no_and_what_may_not_be_seen_does_not_exist);
        TEST(operators_see_and_do_not_acquire);
        TEST(groups_of_the_peer_are_asked_for_primary_and_supplementary);
        TEST(the_overflow_uid_matches_no_rule_and_is_never_ourselves);
        TEST(the_brokers_own_uid_may_everything);
        TEST(leases_of_a_user_have_a_limit_and_a_refused_one_changes_nothing);
        TEST(status_is_a_sealed_document_of_what_is);
        TEST(a_second_document_waits_for_the_first_to_be_read);
        TEST(a_long_status_is_written_in_pieces_and_others_are_served_in_between);
        TEST(listeners_may_go_away_while_a_status_is_written);
        TEST(a_session_may_end_while_its_status_is_written_and_the_broker_too);
        TEST(apply_puts_a_new_configuration_in_force);
        TEST(a_wrong_configuration_changes_nothing_and_all_its_errors_are_told);
        TEST(an_address_in_use_is_explained_while_others_are_served);
        TEST(a_session_that_ends_while_its_apply_is_under_way_is_forgotten);
        TEST(the_broker_can_end_while_an_apply_is_under_way);
        TEST(reload_does_what_apply_does_without_allowing_to_close);
        TEST(events_come_to_who_asked_and_about_what_was_asked);
        TEST(events_stop_when_the_right_to_see_is_taken_away);
        TEST(names_to_watch_have_a_limit);
})
