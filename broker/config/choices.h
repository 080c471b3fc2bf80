/*
 * The words of directives that take one of several, by the value that each stands for: read,
 * printed so that they can be read again, and shown by `fdpass check --json`.
 */
#ifndef CONFIG_CHOICES_H
#define CONFIG_CHOICES_H

struct component_config;

extern const char *const ipv6_only_words[3];
extern const char *const component_type_words[3]; /* without "-reload" */
extern const char *const notify_access_words[4];
extern const char *const kill_mode_words[4];
extern const char *const handover_words[2];
extern const char *const preserve_words[3]; /* the first two are truth values */

/* Restart=, each with its set of enum restart_when. */
#define N_RESTARTS 7
extern const char *const restart_words[N_RESTARTS];
extern const unsigned restart_sets[N_RESTARTS];
const char *restart_word(unsigned set);

/* Start=, which is two truths in the configuration. */
enum start_when { START_AUTO, START_ON_DEMAND, START_MANUAL };
extern const char *const start_words[3];
const char *start_word(const struct component_config *component);

#endif
