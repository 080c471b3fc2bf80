/*
 * Upgrade in place, the process's side. The program that is to take over is first tried in a child
 * (control/upgrade.h asks for that), then executed: same process, same children, and everything
 * that is kept passes over the exec. Sessions do not.
 *
 * When the new program dies before it is ready, the keeper starts the one before it, whose
 * descriptor it has; systemd starts what is at the unit's path.
 */
#ifndef FDPASSD_UPGRADE_H
#define FDPASSD_UPGRADE_H

struct broker;
struct log;
struct loop;

/*
 * The path from which this program was started, for free(3): as it was written, if that still leads
 * here (it may be a link that is about to be changed), else as the kernel knows it. NULL: unknown.
 */
char *upgrade_own_path(const char *argv0);

/*
 * Execute the program. It is killed by SIGALRM unless it is ready within UPGRADE_READY_SECONDS: an
 * alarm passes an exec, and whoever is ready calls alarm(0). Returns only if it fails, with
 * everything as before: a negative errno.
 */
#define UPGRADE_READY_SECONDS 60
int upgrade_execute(struct broker *broker, int executable_fd, char **argv);

/*
 * After the exec, once components have been found again: disposable children of the program before,
 * and a keeper that it started, are ours to collect, and nobody else waits for them.
 */
void upgrade_adopt_children(const struct broker *broker);

/*
 * fdpassd --check-upgrade: can this program load what the broker passed (a copy of the state
 * document, the configuration in force)? Says on stdout what it is. Returns an exit status.
 */
int upgrade_check(struct log *log);

#endif
