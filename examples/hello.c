/*
 * The smallest server on a borrowed listener. The same program works under systemd's socket
 * activation, under `fdpass exec web -- ./hello`, and when it is simply started while a broker
 * runs.
 *
 *      cc hello.c -o hello $(pkg-config --cflags --libs libfdpass)
 */
#include <fdpass.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(void) {
        static const char answer[] = "hello\n";
        int listener = fdpass_listener("web");

        if (listener < 0) {
                fprintf(stderr, "hello: no listener \"web\": %s\n", strerror(-listener));
                return 1;
        }
        for (;;) {
                int peer = accept(listener, NULL, NULL);
                if (peer < 0)
                        continue;
                (void) send(peer, answer, sizeof(answer) - 1, MSG_NOSIGNAL);
                close(peer);
        }
}
