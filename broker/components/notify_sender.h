/* Who may speak on a notify socket. The rules are in notify_socket.h. */
#ifndef COMPONENTS_NOTIFY_SENDER_H
#define COMPONENTS_NOTIFY_SENDER_H

#include "config/component_config.h"
#include "message.h"

struct process_tree;

/* NULL: it may. Else why not, for people. `command`: that of the command that runs now, if any; may
 * be NULL. Reads two small files of /proc at most. */
const char *notify_sender_refused(enum notify_access access, const struct process_tree *tree,
                                  const struct process_tree *command,
                                  const struct message_sender *sender);

#endif
