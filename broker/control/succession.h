/*
 * A broker that was started while another one has the lock: it may have come to be that one's
 * keeper. A supervisor that started fdpassd sees its process die when the keeper dies, and starts
 * it again; the broker lives, with a keeper that it made for itself, which the supervisor does not
 * know.
 */
#ifndef CONTROL_SUCCESSION_H
#define CONTROL_SUCCESSION_H

struct broker;
struct log;

/*
 * Offer the link to our own keeper, over `fd`, a connection to the control socket of the other
 * broker. Blocks for at most ten seconds, in a process that has nothing else to do. 0: that broker
 * has it, and this process may end; it is logged. Else a negative errno: -EBUSY (it has a keeper
 * from outside), -EPERM (it is of another user, who would then command our keeper), -ETIMEDOUT, …
 */
int succession_offer(const struct broker *broker, int fd);

#endif
