/* HELLO: what this broker is, and whom the kernel says it is talking to. */
#include <unistd.h>

#include "control/answer.h"
#include "control/control_private.h"
#include "control/permission.h"
#include "control/session.h"
#include "fd_list.h"
#include "message.h"

/* What a client may ask about before it relies on it. Words are added, never changed. */
#define FEATURES "documents events leases store offer"

void handle_hello(struct request *request) {
        const struct peer *peer = &request->session->peer;
        bool stores = permission_to_store(request->session);
        struct packet_writer *w;

        /* Not before: of a session that never says HELLO no descriptors need to be closed. */
        if (stores || request->session->control->offers.open)
                session_take_descriptors(request->session);
        w = answer_begin(request);

        packet_add(w, "VERSION", FDPASS_VERSION);
        packet_add_u64(w, "PROTOCOL", 1);
        packet_add(w, "FEATURES", FEATURES);
        packet_add_u64(w, "PACKET_MAX", MESSAGE_SIZE_MAX);
        packet_add_u64(w, "FDS_MAX", FD_LIST_MAX);
        packet_add_u64(w, "BROKER_PID", (uint64_t) getpid());
        packet_add_u64(w, "SINCE_USEC", request->session->control->since_usec);
        packet_add_u64(w, "UID", peer->uid);
        packet_add_u64(w, "PID", (uint64_t) peer->pid);
        if (stores && request->session->takes_descriptors)
                packet_add(w, "STORE", "1");
        if (request->session->control->offers.open)
                packet_add(w, "OFFER", "1");
        (void) answer_send(request);
}
