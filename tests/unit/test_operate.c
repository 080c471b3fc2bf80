/* Who may start and see components, and what a session does while it waits for a job. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "components/component_table.h"
#include "control/logs.h"
#include "control/operate.h"
#include "control_fixture.h"
#include "support.h"

/* Programs that never run: nobody starts them here, but where a test says so. */
#define COMPONENTS                                                                                 \
        "[Component hermes]\nSockets=web\nExecStart=/bin/sleep 60\nStart=manual\n"                 \
        "[Component engram]\nExecStart=/bin/sleep 60\nStart=manual\nTimeoutStopSec=10\n"

static struct fixture *with_components(const char *of_broker, const char *of_web) {
        return fixture_new(
                compose("%s[Socket web]\n%s%s" COMPONENTS, of_broker, fixture_port(), of_web));
}

static struct component *component(const struct fixture *f, const char *name) {
        struct component *c = component_find(f->broker->components, name);

        ck_assert_ptr_nonnull(c);
        return c;
}

START_TEST(a_stranger_may_neither_operate_nor_see_nor_read) {
        struct fixture *f = with_components("", "");
        int fd;

        if (!needs_root()) {
                fd = client_connect_as(f, STRANGER, STRANGER, 0);
                ask(f, fd, "VERB=START\nNAMES=hermes", "ERROR=EACCES\n");
                ask(f, fd, "VERB=STOP\nALL=1", "ERROR=EACCES\n");
                ask(f, fd, "VERB=LOGS\nNAME=hermes", "ERROR=EACCES\n");
                ask(f, fd, "VERB=STATUS\nNAME=hermes", "ERROR=ENOENT\n");
                ask(f, fd, "VERB=DROP\nNAME=x\nCOMPONENT=hermes", "ERROR=EACCES\n");
                ask(f, fd, "VERB=STATUS", "OK=1\n");
                ck_assert_ptr_nonnull(strstr(client_document(), "\"components\":[]"));
                close_fd(fd);
        }
        fixture_free(f);
}
END_TEST

START_TEST(an_operator_of_its_listener_sees_a_component_and_cannot_stop_it) {
        struct fixture *f;
        const char *document;
        int fd;

        if (needs_root())
                return;
        f = with_components("", compose("Operators=%d\n", STRANGER));
        fd = client_connect_as(f, STRANGER, STRANGER, 0);
        ask(f, fd, "VERB=STATUS", "OK=1\n");
        document = client_document();
        ck_assert_ptr_nonnull(strstr(document, "\"name\":\"hermes\""));
        ck_assert_ptr_null(strstr(document, "\"name\":\"engram\""));
        ask(f, fd, "VERB=STATUS\nNAME=hermes", "OK=1\n");
        ck_assert_ptr_nonnull(strstr(client_document(), "\"state\":\"stopped\""));
        ask(f, fd, "VERB=STATUS\nNAME=engram", "ERROR=ENOENT\n");
        ask(f, fd, "VERB=START\nNAMES=hermes", "ERROR=EACCES\n");
        close_fd(fd);
        fixture_free(f);
}
END_TEST

START_TEST(an_operator_of_the_broker_may_all_of_it) {
        struct fixture *f;
        int fd;

        if (needs_root())
                return;
        f = with_components(compose("Operators=%d\n", STRANGER), "");
        fd = client_connect_as(f, STRANGER, STRANGER, 0);
        ask(f, fd, "VERB=STOP\nNAMES=hermes engram\nJOB=j1\nSERIAL=s",
            "OK=1\nSERIAL=s\nJOB=j1\nRESULT=good\n");
        ck_assert_ptr_nonnull(strstr(client_document(), "\"verdict\":\"nothing\""));
        ask(f, fd, "VERB=LOGS\nNAME=engram", "OK=1\n");
        close_fd(fd);
        fixture_free(f);
}
END_TEST

START_TEST(one_name_of_many_that_is_unknown_is_named_and_nothing_is_begun) {
        struct fixture *f = with_components("", "");
        int fd = client_connect(f);
        const char *answer =
                ask(f, fd, "VERB=START\nNAMES=hermes nobody engram", "ERROR=ENOENT\nMESSAGE=");

        ck_assert_ptr_nonnull(strstr(answer, "no component nobody"));
        ck_assert_uint_eq(component(f, "hermes")->n_instances, 0);
        close_fd(fd);
        fixture_free(f);
}
END_TEST

/* Its program ends by SIGTERM, so each of these takes some turns of the loop. */
static void start_engram(struct fixture *f, int fd) {
        const char *answer;

        client_send(fd, "VERB=START\nNAMES=engram");
        do
                answer = client_receive(f, fd);
        while (strncmp(answer, "EVENT=PROGRESS\n", 15) == 0);
        ck_assert_msg(strncmp(answer, "OK=1\n", 5) == 0 && strstr(answer, "\nRESULT=good\n"), "%s",
                      answer);
        (void) client_document();
}

/* The job goes on, and hears of nobody; the address sanitizer would. */
START_TEST(a_session_that_ends_while_it_waits_leaves_the_job_alone) {
        struct fixture *f = with_components("", "");
        int fd = client_connect(f), other = client_connect(f);

        start_engram(f, other);
        client_send(fd, "VERB=STOP\nNAMES=engram");
        TURN_UNTIL(f, is_readable(fd)); /* progress: it waits */
        close_fd(fd);
        TURN_UNTIL(f, f->control->n_sessions == 1);
        TURN_UNTIL(f, component(f, "engram")->n_instances == 0);
        ask(f, other, "VERB=HELLO", "OK=1\n");
        close_fd(other);
        fixture_free(f);
}
END_TEST

START_TEST(the_broker_may_end_while_sessions_wait_and_follow) {
        struct fixture *f = with_components("", "");
        int fd = client_connect(f), follows = client_connect(f);

        start_engram(f, fd);
        ask(f, follows, "VERB=LOGS\nNAME=engram\nFOLLOW=1", "OK=1\n");
        (void) client_document();
        ask(f, follows, "VERB=LOGS\nNAME=hermes\nFOLLOW=1", "OK=1\n"); /* in place of the first */
        (void) client_document();
        ck_assert(LIST_EMPTY(&component(f, "engram")->output.followers));
        ck_assert(!LIST_EMPTY(&component(f, "hermes")->output.followers));
        client_send(fd, "VERB=STOP\nNAMES=engram\nJOB=j");
        client_send(fd, "VERB=HELLO"); /* which is not read */
        TURN_UNTIL(f, component(f, "engram")->operation != NULL);
        close_fd(follows);
        TURN_UNTIL(f, f->control->n_sessions == 1);
        ck_assert(LIST_EMPTY(&component(f, "hermes")->output.followers));
        TURN_UNTIL(f, component(f, "engram")->n_instances == 0);
        client_send(fd, "VERB=START\nNAMES=hermes engram");
        fixture_free(f);
        close_fd(fd);
}
END_TEST

SUITE("operate", {
        TEST(a_stranger_may_neither_operate_nor_see_nor_read);
        TEST(an_operator_of_its_listener_sees_a_component_and_cannot_stop_it);
        TEST(an_operator_of_the_broker_may_all_of_it);
        TEST(one_name_of_many_that_is_unknown_is_named_and_nothing_is_begun);
        TEST(a_session_that_ends_while_it_waits_leaves_the_job_alone);
        TEST(the_broker_may_end_while_sessions_wait_and_follow);
})
