/* Sockets for tests: on loopback and free ports, or at paths of the private folder. */
#ifndef TESTS_SOCKETS_SUPPORT_H
#define TESTS_SOCKETS_SUPPORT_H

#include <stdbool.h>
#include <sys/types.h>

#define TEST_BACKLOG 16

/* A port that nobody has, that the kernel gives to nobody and that no other test is given. */
unsigned test_free_port(void);
/* Bound with SO_REUSEADDR, not listening. */
int test_tcp_bound(unsigned port);
/* Bound to an explicit port, as the broker binds, and listening. */
int test_tcp_listener(void);
unsigned test_port_of(int fd);
/* Connect and close again: 0 or the errno of connect(2). */
int test_tcp_connect(unsigned port);

int test_unix_listener(const char *path);
int test_unix_connect(const char *path, int type);

bool test_is_accepting(int fd); /* SO_ACCEPTCONN */
int test_disconnect(int fd);    /* connect(AF_UNSPEC) */

/* A duplicate, as a holder has it. */
int test_holder_of(int fd);

/* As a broker before us had it and lent it: test_tcp_listener() with hand_back_mark(). */
int test_marked_listener(void);
/* A process that has `fd` until it is killed, or the test ends; we have it no more. */
pid_t test_hold_elsewhere(int fd);

#endif
