/*
 * What components leave in the broker's memory for its next life: records of components, their
 * instances and jobs; with an instance its pidfd, its notify socket and the read ends of its pipes,
 * each under a record of its own.
 */
#ifndef COMPONENTS_KEPT_H
#define COMPONENTS_KEPT_H

#include <stdbool.h>

struct component;
struct component_table;
struct job;
struct job_item;

/* Write the record as it is now. Nothing without a memory; a failure is logged. */
void component_keep(struct component *component);
void component_forget(struct component *component);
void job_keep(struct job *job);
void job_item_keep(struct job_item *item); /* of a job that is kept */
void job_forget(struct job *job);

/* Is there something that ran, of a component that may not be configured any more? */
bool kept_has_instances(const struct component_table *table);
/* Find all again, for the components that are configured. What cannot be found again is logged. */
void kept_load(struct component_table *table);
/* After all components are there: jobs that were under way go on. */
void kept_resume_jobs(struct component_table *table);

#endif
