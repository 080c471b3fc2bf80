/* HELLO: what this broker is, and whom the kernel says it is talking to. */
#include "control/answer.h"
#include "control/control_private.h"
#include "control/session.h"
#include "fd_list.h"
#include "message.h"

/* What a client may ask about before it relies on it. Words are added, never changed. */
#define FEATURES "documents events leases"

void handle_hello(struct request *request) {
        const struct peer *peer = &request->session->peer;
        struct packet_writer *w = answer_begin(request);

        packet_add(w, "VERSION", FDPASS_VERSION);
        packet_add_u64(w, "PROTOCOL", 1);
        packet_add(w, "FEATURES", FEATURES);
        packet_add_u64(w, "PACKET_MAX", MESSAGE_SIZE_MAX);
        packet_add_u64(w, "FDS_MAX", FD_LIST_MAX);
        packet_add_u64(w, "UID", peer->uid);
        packet_add_u64(w, "PID", (uint64_t) peer->pid);
        (void) answer_send(request);
}
