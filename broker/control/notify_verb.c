/* NOTIFY: what a process says of itself. It is shown with its leases, and believed by nobody else.
 */
#include <errno.h>
#include <string.h>

#include "control/answer.h"
#include "control/control_private.h"
#include "control/session.h"
#include "sockets/lease.h"

void handle_notify(struct request *request) {
        const struct text *status = assignments_get(request->keys, "STATUS");
        struct holder *holder;
        int r = session_holder(request->session, &holder);

        if (r < 0) {
                answer_error(request, -r, "your process cannot be identified: %s", strerror(-r));
                return;
        }
        (void) answer_begin(request);
        if (answer_send(request) < 0)
                return;
        holder_set_status(holder, assignments_get(request->keys, "READY") != NULL,
                          status ? status->start : NULL, status ? status->length : 0);
}
