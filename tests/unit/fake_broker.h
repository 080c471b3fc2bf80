/*
 * A broker that says what a test wants it to say: a forked child that runs a script on a listening
 * SOCK_SEQPACKET socket. The socket listens before the child starts, so nobody has to wait.
 */
#ifndef TESTS_FAKE_BROKER_H
#define TESTS_FAKE_BROKER_H

#include <stddef.h>
#include <sys/types.h>

struct fdpass;

/* The script: serve on the listening socket. When it returns, the fake exits. */
typedef void fake_script(int listening);

struct fake {
        pid_t pid;
        const char *path;
};

/* "FOLDER/broker.sock", bound and listening, or a short backlog for who wants to fill it. */
int fake_listen(const char *path, int backlog);

struct fake fake_start(fake_script *script);
/* The process that listens, and so the peer that the kernel names, is of another uid. */
struct fake fake_start_as(fake_script *script, uid_t uid);

/* Wait for the script to end; fails the test when the script failed. */
void fake_join(struct fake *fake);
/* For scripts without an end. */
void fake_kill(struct fake *fake);

/* ---- for scripts: each ends the fake with a failure when it cannot ----------------------------
 */

#define FAKE_ASSERT(condition) fake_assert(condition, #condition, __LINE__)
void fake_assert(int condition, const char *text, int line);

int fake_accept(int listening);
/* The next request, NUL-terminated; valid until the next one. "" when the peer has closed. */
const char *fake_request(int connection);
/* The same, and it must be this, whatever its SERIAL= is. */
void fake_expect(int connection, const char *request);
/* The SERIAL= of the last request. */
const char *fake_serial(void);
/* Send, with `n` duplicates of a descriptor. A "%s" in the text becomes the last SERIAL=. */
void fake_send(int connection, const char *text, size_t n);
/* Wait until the peer has closed. */
void fake_wait_closed(int connection);
/* Let time pass for the other side; no result depends on how much. */
void fake_pass_time(int milliseconds);

/* ---- for tests ---------------------------------------------------------------------------------
 */

/* A connection to it. */
struct fdpass *fake_open(const struct fake *fake);
/* Every call says -ENOTCONN, and a poller wakes. */
void fake_assert_dead(struct fdpass *c);

/* Run in a fork of its own, which may change uid, environment and standard descriptors; an
 * assertion there is fake_assert(). */
void run_in_child(void (*body)(void));
/* Milliseconds of CLOCK_MONOTONIC. */
long now_msec(void);

#endif
