/*
 * A module that measures what the thread of a channel pays. Built and loaded by the benchmark alone.
 *
 * ${PLANFIX_PROBE(how,count,pause,expected,file,expression)}
 *
 * how         read: the expression is a dialplan function with its arguments; exec: an application with its arguments
 * count       how often
 * pause       microseconds of sleep between two of them
 * expected    what the function has to return, or the application to leave in the variable that has its name and STATUS
 *             behind it (SYSTEMSTATUS, AGISTATUS); empty: anything
 * file        where the figures are added: for each a moment (CLOCK_MONOTONIC) and a time in nanoseconds, and 1 for a
 *             result that was as expected, else 0; all of them 64 bits wide and in the machine's order
 * expression  {n} in it becomes 0, 1, 2, ...
 *
 * What is measured is the call that pbx.c itself makes once the text of a dialplan line is expanded.
 *
 * ${PLANFIX_HEAP()}: how many bytes of the heap are in use, in the whole Asterisk.
 */
/* Before asterisk.h, which renames the functions that this declares. */
#include <malloc.h>

#include "asterisk.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "asterisk/channel.h"
#include "asterisk/module.h"
#include "asterisk/pbx.h"
#include "asterisk/strings.h"
#include "asterisk/utils.h"

#define LONGEST 4096
#define MARK "{n}"

struct sample {
	uint64_t begin;
	uint64_t took;
	uint64_t good;
};

static uint64_t now(void)
{
	struct timespec moment;

	clock_gettime(CLOCK_MONOTONIC, &moment);
	return (uint64_t) moment.tv_sec * 1000000000 + moment.tv_nsec;
}

static void expand(const char *text, unsigned int n, char *into, size_t size)
{
	const char *mark = strstr(text, MARK);

	if (mark) {
		snprintf(into, size, "%.*s%u%s", (int) (mark - text), text, n, mark + strlen(MARK));
	} else {
		ast_copy_string(into, text, size);
	}
}

static void measure(struct ast_channel *channel, int exec, char *text, const char *expected, struct sample *sample)
{
	char result[LONGEST] = "";
	char status[AST_MAX_APP + sizeof("STATUS")] = "";
	struct ast_app *app = NULL;
	char *arguments = NULL;
	int failed;

	if (exec) {
		arguments = strchr(text, '(');
		if (!arguments) {
			return;
		}
		*arguments++ = '\0';
		arguments[strlen(arguments) - 1] = '\0';
		app = pbx_findapp(text);
		if (!app) {
			return;
		}
		snprintf(status, sizeof(status), "%sSTATUS", text);
		ast_str_to_upper(status);
	}
	sample->begin = now();
	if (exec) {
		failed = pbx_exec(channel, app, arguments);
	} else {
		failed = ast_func_read(channel, text, result, sizeof(result));
	}
	sample->took = now() - sample->begin;
	if (exec) {
		ast_channel_lock(channel);
		ast_copy_string(result, S_OR(pbx_builtin_getvar_helper(channel, status), ""), sizeof(result));
		ast_channel_unlock(channel);
	}
	sample->good = !failed && (ast_strlen_zero(expected) || !strcmp(result, expected));
}

static int probe(struct ast_channel *channel, const char *command, char *data, char *buffer, size_t length)
{
	char *rest = ast_strdupa(data);
	int exec = !strcmp(S_OR(strsep(&rest, ","), ""), "exec");
	unsigned int count = atoi(S_OR(strsep(&rest, ","), "0"));
	unsigned int pause = atoi(S_OR(strsep(&rest, ","), "0"));
	const char *expected = strsep(&rest, ",");
	const char *name = strsep(&rest, ",");
	struct sample *samples;
	char text[LONGEST];
	unsigned int n;
	FILE *file;
	int written;

	if (!channel || !count || !rest || !(samples = ast_calloc(count, sizeof(*samples)))) {
		ast_log(LOG_ERROR, "%s needs a channel and six arguments\n", command);
		return -1;
	}
	for (n = 0; n < count; n++) {
		expand(rest, n, text, sizeof(text));
		measure(channel, exec, text, expected, &samples[n]);
		if (pause) {
			usleep(pause);
		}
	}
	file = fopen(name, "a");
	written = file && fwrite(samples, sizeof(*samples), count, file) == count;
	if (file && fclose(file)) {
		written = 0;
	}
	ast_free(samples);
	if (!written) {
		ast_log(LOG_ERROR, "%s cannot write %s\n", command, name);
		return -1;
	}
	snprintf(buffer, length, "%u", count);
	return 0;
}

static int heap(struct ast_channel *channel, const char *command, char *data, char *buffer, size_t length)
{
	struct mallinfo2 info = mallinfo2();

	(void) channel;
	(void) command;
	(void) data;
	snprintf(buffer, length, "%zu", info.uordblks + info.hblkhd);
	return 0;
}

static struct ast_custom_function probe_function = {
	.name = "PLANFIX_PROBE",
	.read = probe,
};

static struct ast_custom_function heap_function = {
	.name = "PLANFIX_HEAP",
	.read = heap,
};

static int load_module(void)
{
	return ast_custom_function_register(&probe_function) || ast_custom_function_register(&heap_function)
		? AST_MODULE_LOAD_DECLINE : AST_MODULE_LOAD_SUCCESS;
}

static int unload_module(void)
{
	return ast_custom_function_unregister(&probe_function) | ast_custom_function_unregister(&heap_function);
}

AST_MODULE_INFO_STANDARD_EXTENDED(ASTERISK_GPL_KEY, "Times dialplan functions and applications");
