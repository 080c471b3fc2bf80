/*
 * A broker in this process, on a socket of the test's folder, with a real loop; and raw clients,
 * which are sockets of the same process. Nothing here waits for luck: the loop is turned until what
 * the test waits for is there, or the test fails.
 */
#ifndef TESTS_CONTROL_FIXTURE_H
#define TESTS_CONTROL_FIXTURE_H

#include <stdbool.h>
#include <sys/types.h>

#include "control/control_private.h"
#include "core/loop.h"
#include "message.h"

/* An ordinary user of the tests; has no account anywhere. */
#define STRANGER 61000

struct fixture {
        struct loop *loop;
        struct log *log;
        struct broker *broker;
        struct control *control;
        char *last_line; /* of the log */
        unsigned lines;
};

/* A text that the test need not free. */
char *compose(const char *format, ...) __attribute__((format(printf, 1, 2)));
char *keep(char *text);

/* "ListenStream=…\n" of a free port on loopback. */
const char *fixture_port(void);

/* A broker with this configuration; [Broker] with ControlSocket= is put in front. */
struct fixture *fixture_new(const char *config);
/* The same, and what broker_new() returns. */
int fixture_try(const char *config, struct inherited *inherited, struct fixture **ret);
void fixture_free(struct fixture *f);
/* Replace the configuration file, for an apply. */
void fixture_configure(const char *config);

void turn(struct fixture *f); /* what is ready, without waiting */
/* Turn until the condition holds. */
#define TURN_UNTIL(f, condition)                                                                   \
        do {                                                                                       \
                struct patience p_ = {0};                                                          \
                while (!(condition)) {                                                             \
                        turn(f);                                                                   \
                        if (!(condition))                                                          \
                                be_patient(&p_, #condition);                                       \
                }                                                                                  \
        } while (0)

struct patience {
        uint64_t since;
};
void be_patient(struct patience *p, const char *what);

int client_connect(struct fixture *f);
/* As a process of this user, whose groups are gid and `group` (0: none). Root only. */
int client_connect_as(struct fixture *f, uid_t uid, gid_t gid, gid_t group);
void client_send(int fd, const char *request);
void client_send_fd(int fd, const char *request, int sent, int expected_errno);

/* The next packet, NUL-terminated, in a buffer of the fixture; "" at the end of the conversation.
 */
const char *client_receive(struct fixture *f, int fd);
/* What came with it; closed at the next receive. */
struct fd_list *client_fds(void);
/* Both, and the answer must begin with this. */
const char *ask(struct fixture *f, int fd, const char *request, const char *begin);
bool is_readable(int fd);

/* The document that came last, NUL-terminated; need not be freed. */
const char *client_document(void);

/* True (and says so) when the test needs root and this is not. */
bool needs_root(void);

#endif
