/*
 * How long this process may keep a processor at once, where others want it as well: a slice of the
 * fair scheduler (EEVDF), which a process may choose for itself since Linux 6.12, without any
 * privilege. Who asks for short ones gets the processor sooner and gives it back sooner; his share
 * stays what it is.
 */
#ifndef CORE_SLICE_H
#define CORE_SLICE_H

/*
 * Short ones, from now on and for children that are not told otherwise. A broker needs a
 * millisecond for a restart; taken at once, it is one by which all connections of the machine come
 * later. Nothing with another scheduling policy (sched(7)), or with an older kernel.
 */
void slice_shorten(void);
/* As long as the kernel finds right: for programs that are not ours. */
void slice_restore(void);

#endif
