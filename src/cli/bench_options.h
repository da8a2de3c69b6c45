/*
 * bench_options.h - what mistral bench serve's options mean, and its files. Main thread.
 */
#ifndef MISTRAL_CLI_BENCH_OPTIONS_H
#define MISTRAL_CLI_BENCH_OPTIONS_H

#include "bench/load_report.h"
#include "cli/cli.h"

/* "1,4,16" */
bool bench_read_levels(const char *text, bool is_rate, struct load_report *report,
                       struct error *error);
/* "512" or "512x4" */
bool bench_read_prefix(const char *text, struct workload_options *workload, struct error *error);
/* "ttft=500ms,itl=50ms,latency=10s" */
bool bench_read_goal(const char *text, struct load_goal *goal, struct error *error);

/* The command line as it was given, without a key that is in it. */
void bench_append_command(const struct cli *cli, struct string_buffer *out);

/* Whether each file's name says its form, and its folder may be written to: asked before a long
 * run, not after. */
bool bench_check_outputs(const struct argument_operands *outputs, struct error *error);
bool bench_write_outputs(const struct load_report *report, const struct argument_operands *outputs,
                         struct error *error);

#endif
