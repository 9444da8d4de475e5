/*
 * A host that takes Asterisk's place for one module: it defines the functions that src/ast calls, opens the module as main/loader.c
 * does, and calls what the module registers. Compiled with the same headers as the module, so a wrong signature is a compile error.
 *
 * usage: host FOLDER, with FOLDER/planfix.conf
 *
 * It reads commands from its input, one a line, and answers each with lines and a last one that holds a dot:
 *
 *   open FILE | close               dlopen and dlclose; close tells whether the image is still mapped
 *   version TEXT NUMBER             what Asterisk claims to be
 *   load | reload | unload          the module's callbacks; the unload is one by force
 *   unload_by_the_way               one that hangs nobody up
 *   end                             what `core stop now` calls: no unload, but what is registered for it
 *   read NAME HOW SIZE ARGS         a dialplan function; HOW: none (no channel), channel, locked (the caller holds its lock)
 *   write NAME HOW WHO ARGS VALUE   the same, written; WHO: dialplan, outside (AMI and others, with live_dangerously=no)
 *   exec NAME ARGS                  a dialplan application, on the channel
 *   start NAME ARGS | join          the same, while other commands run: start waits until it listens, join until it is over
 *   channel TOKENS                  what happens to the channel from now on; see "The channel's media"
 *   device NAME                     the state of PROVIDER:NAME
 *   run WORDS | tab WORDS           a command, and its completion (a line that ends with a blank asks for a new word)
 *   action HEADERS                  an AMI action, headers divided by |
 *   tell KIND                       a stasis message, as its publisher's thread sends it
 *   decline TYPE                    stasis.conf declines messages of that type
 *   http GET|POST <path> [<rest>]   a request to the handler that was looked up last, registered or not; the rest is the body of a POST,
 *                                   and what a GET has in its header Authorization
 *   registered | threads | files    what there is at the moment
 *   inside                          calls of callbacks, of functions and of a device's state since it was last asked; how often the thread
 *                                   waited in them, and for how many microseconds it worked
 *   channelvars NAME                the function is read for each snapshot of the channel
 *   transmit_silence | search_custom   asterisk.conf wants that
 *   leaks                           whether memory was lost that nobody knows of any more, where a sanitizer is in here to tell
 *   leave                           ends the thread on which functions, commands and actions have run so far
 *
 * In ARGS and HEADERS, and in everything printed, \xNN stands for a byte.
 *
 * This program is free software, distributed under the terms of the GNU General Public License Version 2.
 */
#define ASTMM_LIBC ASTMM_IGNORE
#include "asterisk.h"

#include <dirent.h>
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "asterisk/ast_version.h"
#include "asterisk/app.h"
#include "asterisk/acl.h"
#include "asterisk/astdb.h"
#include "asterisk/astobj2.h"
#include "asterisk/callerid.h"
#include "asterisk/cdr.h"
#include "asterisk/channel.h"
#include "asterisk/cli.h"
#include "asterisk/config.h"
#include "asterisk/devicestate.h"
#include "asterisk/dial.h"
#include "asterisk/file.h"
#include "asterisk/format_cache.h"
#include "asterisk/frame.h"
#include "asterisk/http.h"
#include "asterisk/iostream.h"
#include "asterisk/json.h"
#include "asterisk/logger.h"
#include "asterisk/manager.h"
#include "asterisk/module.h"
#include "asterisk/options.h"
#include "asterisk/parking.h"
#include "asterisk/paths.h"
#include "asterisk/pbx.h"
#include "asterisk/pickup.h"
#include "asterisk/say.h"
#include "asterisk/stasis.h"
#include "asterisk/stasis_bridges.h"
#include "asterisk/stasis_channels.h"
#include "asterisk/tcptls.h"
#include "asterisk/translate.h"
#include "asterisk/utils.h"

/* lock.h forbids the plain ones to Asterisk's own code. */
#undef pthread_create
#undef pthread_mutex_t
#undef pthread_mutex_lock
#undef pthread_mutex_unlock
#undef pthread_mutex_init
#undef pthread_cond_t
#undef pthread_cond_wait
#undef pthread_cond_init
#undef pthread_cond_broadcast

#define MANY 64
#define LONG 65536

/* ---- What is printed. ---- */

static void escape(FILE *out, const char *text)
{
	for (; *text; text++) {
		if ((unsigned char) *text < 0x20 || *text == '\\' || *text == 0x7f) {
			fprintf(out, "\\x%02x", (unsigned char) *text);
		} else {
			fputc(*text, out);
		}
	}
}

/* One line, whole, whichever thread says it. */
static void say(const char *kind, const char *text)
{
	flockfile(stdout);
	fprintf(stdout, "%s ", kind);
	escape(stdout, text);
	fputc('\n', stdout);
	fflush(stdout);
	funlockfile(stdout);
}

static void __attribute__((format(printf, 2, 3))) sayf(const char *kind, const char *format, ...)
{
	static __thread char text[LONG];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	say(kind, text);
}

/* Undoes \xNN in place. */
static char *unescape(char *text)
{
	char *from = text, *to = text;
	unsigned int byte;

	while (*from) {
		if (sscanf(from, "\\x%2x", &byte) == 1) {
			*to++ = (char) byte;
			from += 4;
		} else {
			*to++ = *from++;
		}
	}
	*to = '\0';
	return text;
}

/* ---- main/asterisk.c, main/options.c, main/logger.c, main/utils.c ---- */

__typeof__(ast_options) ast_options;
int option_debug;

static char version_text[80] = "host", version_number[16] = "0";

const char *ast_get_version(void)
{
	return version_text;
}

const char *ast_get_version_num(void)
{
	return version_number;
}

int ast_shutting_down(void)
{
	return 0;
}

static void (*at_exit)(void);

int ast_register_atexit(void (*func)(void))
{
	at_exit = func;
	return 0;
}

void ast_unregister_atexit(void (*func)(void))
{
	if (at_exit == func) {
		at_exit = NULL;
	}
}

unsigned int ast_debug_get_by_module(const char *module)
{
	(void) module;
	return 0;
}

#define FOLDERS(X) X(CONFIG) X(SPOOL) X(MONITOR) X(VAR) X(DATA) X(LOG) X(RUN) X(MODULE)
#define FOLDER(name) const char *ast_config_AST_ ## name ## _DIR;
FOLDERS(FOLDER)
const char *ast_config_AST_DB;

struct timeval ast_startuptime = { 1763700000, 250999 };

void ast_log(int level, const char *file, int line, const char *function, const char *format, ...)
{
	static const char *const names[] = { "DEBUG", "", "NOTICE", "WARNING", "ERROR" };
	static __thread char text[LONG];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	sayf("log", "%s %s:%d %s: %s", level >= 0 && level < 5 ? names[level] : "?", file, line, function, text);
}

char *__ast_strdup(const char *text, const char *file, int line, const char *function)
{
	(void) file, (void) line, (void) function;
	return text ? strdup(text) : NULL;
}

int ast_background_stacksize(void)
{
	return 512 * 1024;
}

int ast_pthread_create_stack(pthread_t *thread, pthread_attr_t *attr, void *(*start)(void *), void *data, size_t stack,
	const char *file, const char *caller, int line, const char *name)
{
	pthread_attr_t own;
	int res;

	(void) attr, (void) file, (void) caller, (void) line;
	if (!name || !*name) {
		say("error", "a thread without a name");
	}
	pthread_attr_init(&own);
	pthread_attr_setstacksize(&own, stack);
	res = pthread_create(thread, &own, start, data);
	pthread_attr_destroy(&own);
	return res;
}

/* ---- main/loader.c ---- */

struct ast_module {
	struct ast_module_info *info;
};

static struct ast_module module;

void ast_module_register(const struct ast_module_info *info)
{
	module.info = (struct ast_module_info *) info;
	module.info->self = &module;
}

void ast_module_unregister(const struct ast_module_info *info)
{
	(void) info;
	module.info = NULL;
}

static void check_module(const struct ast_module *mod, const char *what)
{
	if (mod != &module) {
		sayf("error", "%s is not registered for the module", what);
	}
}

/* ---- main/channel.c, main/pbx_variables.c ---- */

struct ast_channel {
	pthread_mutex_t lock;
	int depth;
	enum ast_channel_state state;
	int hung_up;
	/* Something is playing; silence is sent. */
	int stream, silence;
	struct ast_format *reads;
	/* What is still to happen to it. */
	char script[LONG], *next;
	struct ast_party_caller caller;
	struct ast_party_connected_line connected;
	struct ast_party_dialed dialed;
	char variable[LONG];
};

static struct ast_channel channel;
/* Others that exist. Nobody locks one of them: each is busy for as long as it is looked for another. */
static struct ast_channel others[2];

static void check_locked(const struct ast_channel *chan, const char *what)
{
	if (chan != &channel) {
		sayf("error", "%s of a stranger", what);
	} else if (channel.depth < 1) {
		sayf("error", "%s of a channel that is not locked", what);
	}
}

static void check_unlocked(const struct ast_channel *chan, const char *what)
{
	if (chan != &channel || channel.depth) {
		sayf("error", "%s with the channel locked, or of a stranger", what);
	}
}

int __ao2_lock(void *object, enum ao2_lock_req how, const char *file, const char *function, int line, const char *name)
{
	(void) how, (void) file, (void) function, (void) line, (void) name;
	if (object != &channel) {
		say("error", "lock of a stranger");
		return -1;
	}
	pthread_mutex_lock(&channel.lock);
	channel.depth++;
	return 0;
}

void *ao2_object_get_lockaddr(void *object)
{
	return object == &channel ? &channel.lock : NULL;
}

int __ao2_unlock(void *object, const char *file, const char *function, int line, const char *name)
{
	(void) file, (void) function, (void) line, (void) name;
	check_locked(object, "unlock");
	channel.depth--;
	return pthread_mutex_unlock(&channel.lock);
}

#define CHANNEL_TEXT(name, value) \
	const char *ast_channel_ ## name(const struct ast_channel *chan) \
	{ \
		check_locked(chan, #name); \
		return value; \
	}
CHANNEL_TEXT(name, "PJSIP/101-00000001")
CHANNEL_TEXT(linkedid, "1700000000.1")
CHANNEL_TEXT(exten, "101")
CHANNEL_TEXT(context, "from-internal")
CHANNEL_TEXT(language, "ru_RU")
#if PLANFIX_ASTERISK_MAJOR <= 20
CHANNEL_TEXT(macroexten, "")
#endif

/* With the channel locked or not: the text lies in the channel itself (main/channel_internal_api.c, struct ast_channel_id). */
const char *ast_channel_uniqueid(const struct ast_channel *chan)
{
	return chan == &channel ? "1700000000.1" : chan == &others[0] ? "1700000000.0" : "1700000000.2";
}

struct ast_party_caller *ast_channel_caller(struct ast_channel *chan)
{
	check_locked(chan, "caller");
	return &chan->caller;
}

struct ast_party_connected_line *ast_channel_connected(struct ast_channel *chan)
{
	check_locked(chan, "connected");
	return &chan->connected;
}

struct ast_party_dialed *ast_channel_dialed(struct ast_channel *chan)
{
	check_locked(chan, "dialed");
	return &chan->dialed;
}

int ast_party_id_presentation(const struct ast_party_id *id)
{
	return id->number.presentation;
}

int64_t ast_channel_get_up_time_ms(struct ast_channel *chan)
{
	check_locked(chan, "up time");
	return 1500;
}

/* The variable that was set last: its name, and behind that its value. */
static char set_last[400];

const char *pbx_builtin_getvar_helper(struct ast_channel *chan, const char *name)
{
	check_locked(chan, "variable");
	return !strcmp(name, "LONG") ? chan->variable : !strcmp(name, set_last) ? strchr(set_last, 0) + 1 : NULL;
}

static void read_for_a_snapshot(void);

int pbx_builtin_setvar_helper(struct ast_channel *chan, const char *name, const char *value)
{
	if (chan->depth && strchr(name, '(')) {
		sayf("error", "the function %s is written to with the channel locked", name);
	}
	sayf("variable", "%s=%s", name, value);
	snprintf(set_last, sizeof(set_last) / 2, "%s", name);
	snprintf(strchr(set_last, 0) + 1, sizeof(set_last) / 2, "%s", value);
	read_for_a_snapshot();
	return 0;
}

void ast_set_callerid(struct ast_channel *chan, const char *number, const char *name, const char *ani)
{
	(void) chan, (void) ani;
	sayf("caller", "%s", name ? name : number);
}

void ast_channel_queue_connected_line_update(struct ast_channel *chan, const struct ast_party_connected_line *connected,
	const struct ast_set_party_connected_line *update)
{
	(void) chan;
	sayf("connected", "%s%s", connected->id.name.str, update->id.name && !update->id.number ? "" : " and more");
}

/* ---- main/config.c: sections, `name = value`, comments. ---- */

struct section {
	char name[80];
	struct ast_variable *first, **next;
};

struct ast_config {
	struct section sections[MANY];
	int count;
};

static const char *folder;

struct ast_config *ast_config_load2(const char *name, const char *asked, struct ast_flags flags)
{
	struct ast_config *config;
	char path[4096], text[4096], left[1024], right[2048];
	FILE *file;
	int line = 0;

	(void) flags;
	if (strcmp(asked, AST_MODULE)) {
		say("error", "a configuration is loaded in another's name");
	}
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "r");
	if (!file) {
		return CONFIG_STATUS_FILEMISSING;
	}
	config = calloc(1, sizeof(*config));
	while (fgets(text, sizeof(text), file)) {
		line++;
		if (!strncmp(text, "invalid", 7)) {
			fclose(file);
			ast_config_destroy(config);
			return CONFIG_STATUS_FILEINVALID;
		}
		if (sscanf(text, "[%79[^]]]", left) == 1 && config->count < MANY) {
			struct section *section = &config->sections[config->count++];

			snprintf(section->name, sizeof(section->name), "%.79s", left);
			section->next = &section->first;
		} else if (sscanf(text, " %1023[^=; \t\n] = %2047[^;\n]", left, right) == 2 && config->count) {
			struct ast_variable *variable = calloc(1, sizeof(*variable));
			struct section *section = &config->sections[config->count - 1];

			right[strcspn(right, "\r\n")] = '\0';
			variable->name = strdup(left);
			variable->value = strdup(right);
			variable->file = strdup("");
			variable->lineno = line;
			*section->next = variable;
			section->next = &variable->next;
		}
	}
	fclose(file);
	return config;
}

char *ast_category_browse(struct ast_config *config, const char *before)
{
	int at = 0;

	while (before && at < config->count && config->sections[at++].name != before) {
	}
	return at < config->count ? config->sections[at].name : NULL;
}

struct ast_variable *ast_variable_browse(const struct ast_config *config, const char *name)
{
	int at;

	for (at = 0; at < config->count; at++) {
		if (config->sections[at].name == name) {
			return config->sections[at].first;
		}
	}
	return NULL;
}

void ast_config_destroy(struct ast_config *config)
{
	int at;

	for (at = 0; config && at < config->count; at++) {
		struct ast_variable *variable = config->sections[at].first, *next;

		for (; variable; variable = next) {
			next = variable->next;
			free((char *) variable->name);
			free((char *) variable->value);
			free((char *) variable->file);
			free(variable);
		}
	}
	free(config);
}

/* ---- main/pbx_functions.c ---- */

/* What a later release of the same major version has behind the entries that it is given, and writes to: `since` and `provided_by` of a
 * function (20.12, 21.7, 22.2; 20.19, 22.9, 23.3). */
#define APPENDED 64
#define APPEND(entry) memset((char *) (entry) + sizeof(*(entry)), 0x5a, APPENDED)

static struct ast_custom_function *functions[MANY];

static struct ast_custom_function **find_function(const char *name)
{
	int at;

	for (at = 0; at < MANY; at++) {
		if (name ? functions[at] && !strcmp(functions[at]->name, name) : !functions[at]) {
			return &functions[at];
		}
	}
	return NULL;
}

int __ast_custom_function_register_escalating(struct ast_custom_function *function, enum ast_custom_function_escalation escalation,
	struct ast_module *mod)
{
	check_module(mod, function->name);
	if (find_function(function->name)) {
		return -1;
	}
	APPEND(function);
	function->mod = mod;
	function->read_escalates = escalation == AST_CFE_READ || escalation == AST_CFE_BOTH;
	function->write_escalates = escalation == AST_CFE_WRITE || escalation == AST_CFE_BOTH;
	*find_function(NULL) = function;
	return 0;
}

/* channelvars: a function that is read for each snapshot of the channel, and so whenever a variable of it is set. */
static char read_always[80];

static void read_for_a_snapshot(void)
{
	static int nested;
	struct ast_custom_function **function = *read_always ? find_function(read_always) : NULL;
	char value[200] = "", none[] = "79001234567,name";

	if (!function) {
		return;
	}
	if (++nested > 3) {
		say("error", "a function that is read for a snapshot makes another snapshot");
	} else {
		sayf("snapshot", "%d %s", (*function)->read(&channel, read_always, none, value, sizeof(value)), value);
	}
	nested--;
}

int ast_custom_function_unregister(struct ast_custom_function *function)
{
	struct ast_custom_function **place = find_function(function->name);

	if (!place || *place != function) {
		say("error", "a function is unregistered that is not registered");
		return -1;
	}
	*place = NULL;
	return 0;
}

/* ---- main/pbx_app.c ---- */

static struct {
	const char *name;
	int (*execute)(struct ast_channel *, const char *);
} applications[MANY];

/* Somebody listens to the channel, in that application. */
static int listens;
static char executed[80];

static int find_application(const char *name)
{
	int at;

	for (at = 0; at < MANY; at++) {
		if (name ? applications[at].name && !strcasecmp(applications[at].name, name) : !applications[at].name) {
			return at;
		}
	}
	return -1;
}

int ast_register_application2(const char *name, int (*execute)(struct ast_channel *, const char *), const char *synopsis,
	const char *description, void *mod)
{
	int at;

	check_module(mod, name);
	if (synopsis || description) {
		sayf("error", "the application %s hides its XML documentation", name);
	}
	if (find_application(name) >= 0) {
		return -1;
	}
	at = find_application(NULL);
	applications[at].name = name;
	applications[at].execute = execute;
	return 0;
}

int ast_unregister_application(const char *name)
{
	int at = find_application(name);

	if (at < 0) {
		say("error", "an application is unregistered that is not registered");
		return -1;
	}
	if (__atomic_load_n(&listens, __ATOMIC_SEQ_CST) && !strcasecmp(executed, name)) {
		say("error", "an application is unregistered with a channel inside");
	}
	applications[at].name = NULL;
	return 0;
}

/* ---- main/devicestate.c ---- */

static struct {
	const char *label;
	ast_devstate_prov_cb_type callback;
} providers[MANY];

int ast_devstate_prov_add(const char *label, ast_devstate_prov_cb_type callback)
{
	int at;

	for (at = 0; providers[at].label; at++) {
		;
	}
	providers[at].label = label;
	providers[at].callback = callback;
	return 0;
}

int ast_devstate_prov_del(const char *label)
{
	int at;

	for (at = 0; at < MANY; at++) {
		if (providers[at].label && !strcasecmp(providers[at].label, label)) {
			providers[at].label = NULL;
			return 0;
		}
	}
	say("error", "a provider is unregistered that is not registered");
	return -1;
}

int ast_devstate_changed_literal(enum ast_device_state state, enum ast_devstate_cache cachable, const char *device)
{
	sayf("lamp", "%s %d%s", device, (int) state, cachable == AST_DEVSTATE_CACHABLE ? " cached" : "");
	return 1;
}

/* ---- main/db.c: what is asked for a family brings another of a like name, too, as SQL's LIKE does. ---- */

static struct {
	char key[300], value[300];
} entries[MANY];

static int find_entry(const char *family, const char *key, int make)
{
	char path[300];
	int at, free_place = -1;

	snprintf(path, sizeof(path), "/%s/%s", family, key);
	for (at = MANY - 1; at >= 0; at--) {
		if (!strcmp(entries[at].key, path)) {
			return at;
		}
		if (!entries[at].key[0]) {
			free_place = at;
		}
	}
	if (make) {
		strcpy(entries[free_place].key, path);
		return free_place;
	}
	return -1;
}

int ast_db_put(const char *family, const char *key, const char *value)
{
	snprintf(entries[find_entry(family, key, 1)].value, sizeof(entries[0].value), "%s", value);
	return 0;
}

int ast_db_del(const char *family, const char *key)
{
	int at = find_entry(family, key, 0);

	if (at < 0) {
		return -1;
	}
	entries[at].key[0] = '\0';
	return 0;
}

static void *make_object(size_t size, const char *kind);

int ast_db_get_allocated(const char *family, const char *key, char **out)
{
	int at = find_entry(family, key, 0);

	if (at < 0) {
		return -1;
	}
	*out = strcpy(make_object(strlen(entries[at].value) + 1, "value"), entries[at].value);
	return 0;
}

struct ast_db_entry *ast_db_gettree(const char *family, const char *tree)
{
	struct ast_db_entry *first = NULL, *entry;
	char prefix[300];
	size_t length;
	int at;

	if (tree) {
		say("error", "a part of a family is asked for");
	}
	snprintf(prefix, sizeof(prefix), "/%s/", family);
	length = strlen(prefix);
	for (at = MANY - 1; at >= 0; at--) {
		if (entries[at].key[0] && !strncasecmp(entries[at].key, prefix, length)) {
			entry = make_object(sizeof(*entry) + sizeof(entries[at]), "entry");
			strcpy(entry->data, entries[at].value);
			entry->key = strcpy(entry->data + strlen(entry->data) + 1, entries[at].key);
			entry->next = first;
			first = entry;
		}
	}
	return first;
}

void ast_db_freetree(struct ast_db_entry *entry)
{
	struct ast_db_entry *next;

	for (; entry; entry = next) {
		next = entry->next;
		ao2_ref(entry, -1);
	}
}

/* ---- main/cli.c ---- */

static struct ast_cli_entry *commands[MANY];

static struct ast_cli_entry **find_command(const char *line)
{
	int at;

	for (at = 0; at < MANY; at++) {
		if (!line && !commands[at]) {
			return &commands[at];
		}
		if (line && commands[at]) {
			size_t length = strlen(commands[at]->command);

			if (!strncmp(line, commands[at]->command, length) && strchr(" ", line[length])) {
				return &commands[at];
			}
		}
	}
	return NULL;
}

int __ast_cli_register(struct ast_cli_entry *entry, struct ast_module *mod)
{
	struct ast_cli_args none = { .fd = -1 };

	entry->handler(entry, CLI_INIT, &none);
	check_module(mod, entry->command);
	if (!entry->usage || !entry->summary) {
		say("error", "a command without usage or summary");
	}
	if (find_command(entry->command)) {
		entry->command = NULL;
		return -1;
	}
	APPEND(entry);
	entry->command = strdup(entry->command);
	*find_command(NULL) = entry;
	return 0;
}

int ast_cli_unregister(struct ast_cli_entry *entry)
{
	struct ast_cli_entry **place = find_command(entry->command);

	if (!place || *place != entry) {
		say("error", "a command is unregistered that is not registered");
		return -1;
	}
	*place = NULL;
	free(entry->command);
	entry->command = NULL;
	return 0;
}

void ast_cli(int fd, const char *format, ...)
{
	char text[LONG];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	if (fd != 77) {
		say("error", "a command writes to another's console");
	}
	say("out", text);
}

int ast_cli_completion_add(char *value)
{
	say("candidate", value);
	free(value);
	return 0;
}

/* ---- main/manager.c ---- */

struct mansession {
	int answers;
};

static struct {
	const char *name;
	int (*callback)(struct mansession *, const struct message *);
} actions[MANY];

int ast_manager_register2(const char *name, int authority, int (*callback)(struct mansession *, const struct message *),
	struct ast_module *mod, const char *synopsis, const char *description)
{
	int at, free_place = -1;

	check_module(mod, name);
	if (!authority || synopsis || description) {
		sayf("error", "the action %s lacks authority or hides its XML documentation", name);
	}
	for (at = 0; at < MANY; at++) {
		if (!actions[at].name) {
			free_place = at;
		} else if (!strcasecmp(actions[at].name, name)) {
			return -1;
		}
	}
	actions[free_place].name = name;
	actions[free_place].callback = callback;
	return 0;
}

int ast_manager_unregister(const char *name)
{
	int at;

	for (at = 0; at < MANY; at++) {
		if (actions[at].name && !strcasecmp(actions[at].name, name)) {
			actions[at].name = NULL;
			return 0;
		}
	}
	say("error", "an action is unregistered that is not registered");
	return 0;
}

const char *astman_get_header(const struct message *message, char *name)
{
	size_t length = strlen(name);
	unsigned int at;

	for (at = 0; at < message->hdrcount; at++) {
		if (!strncasecmp(message->headers[at], name, length) && message->headers[at][length] == ':') {
			return ast_skip_blanks(message->headers[at] + length + 1);
		}
	}
	return "";
}

void astman_append(struct mansession *session, const char *format, ...)
{
	static __thread char text[LONG];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	if (!strncmp(text, "Response:", 9)) {
		session->answers++;
	}
	say("ami", text);
}

void astman_send_error(struct mansession *session, const struct message *message, char *error)
{
	(void) message;
	astman_append(session, "Response: Error\r\nMessage: %s\r\n\r\n", error);
}

void astman_send_ack(struct mansession *session, const struct message *message, char *text)
{
	(void) message;
	astman_append(session, "Response: Success\r\nMessage: %s\r\n\r\n", text);
}

void astman_send_listack(struct mansession *session, const struct message *message, char *text, char *flag)
{
	(void) message;
	astman_append(session, "Response: Success\r\nEventList: %s\r\nMessage: %s\r\n\r\n", flag, text);
}

void astman_send_list_complete_start(struct mansession *session, const struct message *message, const char *event, int count)
{
	(void) message;
	astman_append(session, "Event: %s\r\nEventList: Complete\r\nListItems: %d\r\n", event, count);
}

void astman_send_list_complete_end(struct mansession *session)
{
	astman_append(session, "\r\n");
}

int __ast_manager_event_multichan(int category, const char *event, int count, struct ast_channel **channels, const char *file,
	int line, const char *function, const char *format, ...)
{
	static __thread char text[LONG];
	va_list ap;

	(void) category, (void) count, (void) channels, (void) file, (void) line, (void) function;
	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	sayf("event", "%s: %s", event, text);
	return 0;
}

/* ---- main/http.c, main/iostream.c: one connection at a time, whose request is a string. ---- */

static struct ast_http_uri *handlers[MANY];
/* What was looked up before it was unregistered is called all the same (main/http.c, handle_uri). */
static struct ast_http_uri *looked_up;

struct ast_iostream {
	const char *unread;
};

int ast_http_uri_link(struct ast_http_uri *handler)
{
	int at;

	for (at = 0; handlers[at]; at++) {
		;
	}
	handlers[at] = handler;
	looked_up = handler;
	return 0;
}

void ast_http_uri_unlink(struct ast_http_uri *handler)
{
	int at;

	for (at = 0; at < MANY; at++) {
		if (handlers[at] == handler) {
			handlers[at] = NULL;
			return;
		}
	}
	say("error", "a handler is unregistered that is not registered");
}

void ast_http_prefix(char *buffer, int length)
{
	snprintf(buffer, length, "/prefix");
}

void ast_http_body_read_status(struct ast_tcptls_session_instance *session, int success)
{
	(void) session;
	sayf("body", "%d", success);
}

int ast_iostream_get_fd(struct ast_iostream *stream)
{
	(void) stream;
	return -1;
}

SSL *ast_iostream_get_ssl(struct ast_iostream *stream)
{
	(void) stream;
	return NULL;
}

void ast_iostream_set_timeout_sequence(struct ast_iostream *stream, struct timeval start, int timeout)
{
	(void) stream, (void) start, (void) timeout;
}

void ast_iostream_set_timeout_inactivity(struct ast_iostream *stream, int timeout)
{
	(void) stream, (void) timeout;
}

/* Byte by byte, as a slow client sends. */
ssize_t ast_iostream_read(struct ast_iostream *stream, void *buffer, size_t length)
{
	if (!length || !*stream->unread) {
		return 0;
	}
	*(char *) buffer = *stream->unread++;
	return 1;
}

ssize_t ast_iostream_gets(struct ast_iostream *stream, char *buffer, size_t length)
{
	size_t at = 0;

	while (at + 1 < length && *stream->unread) {
		buffer[at++] = *stream->unread;
		if (*stream->unread++ == '\n') {
			break;
		}
	}
	buffer[at] = '\0';
	return at;
}

ssize_t ast_iostream_write(struct ast_iostream *stream, const void *bytes, size_t length)
{
	(void) stream;
	sayf("sent", "%.*s", (int) length, (const char *) bytes);
	return length;
}

char *ast_sockaddr_stringify_fmt(const struct ast_sockaddr *address, int format)
{
	(void) address, (void) format;
	return "192.0.2.7";
}

/* ---- Phones, dialplans and lists of addresses: nothing here asks for any. ---- */

#define NOT_HERE(type, signature, result) \
	type signature \
	{ \
		say("error", "this is not asked for here: " #signature); \
		return result; \
	}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
NOT_HERE(struct ast_context *, ast_context_find(const char *name), NULL)
NOT_HERE(int, ast_exists_extension(struct ast_channel *chan, const char *context, const char *exten, int priority,
	const char *caller), 0)
NOT_HERE(enum ast_device_state, ast_device_state(const char *device), AST_DEVICE_INVALID)
NOT_HERE(int, ast_sockaddr_parse(struct ast_sockaddr *address, const char *text, int flags), 0)
NOT_HERE(struct ast_ha *, ast_named_acl_find(const char *name, int *is_realtime, int *is_undefined), NULL)
NOT_HERE(enum ast_acl_sense, ast_apply_ha(const struct ast_ha *rules, const struct ast_sockaddr *address), AST_SENSE_DENY)
NOT_HERE(void, ast_free_ha(struct ast_ha *rules), )
#pragma GCC diagnostic pop

/* ---- main/format.c, main/format_cache.c ---- */

struct ast_format {
	const char *name;
	unsigned int rate;
	int references;
};

static struct ast_format formats[] = { { "slin", 8000, 0 }, { "slin16", 16000, 0 }, { "bytes", 8000, 0 }, { "unknown", 8000, 0 } };

static int is_format(const void *address)
{
	return address >= (void *) formats && address < (void *) (formats + ARRAY_LEN(formats));
}

static struct ast_format *format(const char *name)
{
	size_t at;

	for (at = 0; at < ARRAY_LEN(formats); at++) {
		if (!strcmp(formats[at].name, name)) {
			return &formats[at];
		}
	}
	sayf("error", "no such format: %s", name);
	return &formats[0];
}

struct ast_format *ast_format_cache_get_slin_by_rate(unsigned int rate)
{
	return format(rate >= 16000 ? "slin16" : "slin");
}

unsigned int ast_format_get_sample_rate(const struct ast_format *of)
{
	return of->rate;
}

enum ast_format_cmp_res ast_format_cmp(const struct ast_format *one, const struct ast_format *other)
{
	return one == other ? AST_FORMAT_CMP_EQUAL : AST_FORMAT_CMP_NOT_EQUAL;
}

/* ---- main/astobj2.c: what the module is given a reference to. Counted, so that one that is not given back is seen. ---- */

static struct object {
	void *address;
	const char *kind;
	int references;
} objects[MANY];

static pthread_mutex_t objects_lock = PTHREAD_MUTEX_INITIALIZER;

static struct object *find_object(const void *address)
{
	int at;

	for (at = 0; at < MANY; at++) {
		if (objects[at].address == address) {
			return &objects[at];
		}
	}
	return NULL;
}

/* Memory that belongs to the host stays its own: only what was made with make_object() is freed. */
static void *lend_object(void *address, const char *kind)
{
	struct object *object;

	pthread_mutex_lock(&objects_lock);
	object = find_object(address);
	if (!object) {
		object = find_object(NULL);
		*object = (struct object) { address, kind, 0 };
	}
	object->references++;
	pthread_mutex_unlock(&objects_lock);
	return address;
}

static void *make_object(size_t size, const char *kind)
{
	return lend_object(calloc(1, size), kind);
}

int __ao2_ref(void *address, int delta, const char *tag, const char *file, int line, const char *function)
{
	struct object *object;
	int before = 0;

	(void) tag, (void) file, (void) line, (void) function;
	if (is_format(address)) {
		((struct ast_format *) address)->references += delta;
		return 1;
	}
	pthread_mutex_lock(&objects_lock);
	object = address ? find_object(address) : NULL;
	if (!object) {
		say("error", "a reference to what was never given or is gone");
	} else {
		before = object->references;
		object->references += delta;
		if (!object->references) {
			if (strncmp(object->kind, "lent ", 5)) {
				free(address);
			}
			object->address = NULL;
		}
	}
	pthread_mutex_unlock(&objects_lock);
	return before;
}

void __ao2_cleanup_debug(void *address, const char *tag, const char *file, int line, const char *function)
{
	if (address) {
		__ao2_ref(address, -1, tag, file, line, function);
	}
}

void *__ast_calloc(size_t count, size_t size, const char *file, int line, const char *function)
{
	(void) file, (void) line, (void) function;
	return make_object(count * size, "memory");
}

void __ast_free(void *memory, const char *file, int line, const char *function)
{
	__ao2_cleanup_debug(memory, NULL, file, line, function);
}

/* ---- main/dial.c, main/pbx.c: calls that the module makes. There is one phone, which is the channel. The resource tells what happens:
 * "nobody" cannot be called, "silent" does not answer, "full" answers when Asterisk takes no more calls. ---- */

struct ast_dial {
	char resource[80];
	int timeout, stolen;
};

struct ast_format *ast_format_slin = &formats[0];

struct ast_format_cap *__ast_format_cap_alloc(enum ast_format_cap_flags flags, const char *tag, const char *file, int line,
	const char *function)
{
	(void) flags, (void) tag, (void) file, (void) line, (void) function;
	return make_object(1, "formats");
}

int __ast_format_cap_append(struct ast_format_cap *cap, struct ast_format *one, unsigned int framing, const char *tag,
	const char *file, int line, const char *function)
{
	(void) cap, (void) one, (void) framing, (void) tag, (void) file, (void) line, (void) function;
	return 0;
}

struct ast_dial *ast_dial_create(void)
{
	return make_object(sizeof(struct ast_dial), "dial");
}

int ast_dial_append(struct ast_dial *dial, const char *technology, const char *resource, const struct ast_assigned_ids *ids)
{
	(void) ids;
	snprintf(dial->resource, sizeof(dial->resource), "%s", resource);
	sayf("dial", "%s/%s", technology, resource);
	return 0;
}

void ast_dial_set_global_timeout(struct ast_dial *dial, int timeout)
{
	dial->timeout = timeout;
}

int ast_dial_prerun(struct ast_dial *dial, struct ast_channel *chan, struct ast_format_cap *cap)
{
	(void) chan, (void) cap;
	return strcmp(dial->resource, "nobody") ? 0 : -1;
}

struct ast_channel *ast_dial_get_channel(struct ast_dial *dial, int number)
{
	return number ? NULL : dial->stolen ? NULL : &channel;
}

enum ast_dial_result ast_dial_run(struct ast_dial *dial, struct ast_channel *chan, int async)
{
	check_unlocked(&channel, "ast_dial_run");
	if (chan || async) {
		say("error", "a phone is called on behalf of somebody, or by another thread");
	}
	sayf("rings", "%d", dial->timeout);
	return strcmp(dial->resource, "silent") ? AST_DIAL_RESULT_ANSWERED : AST_DIAL_RESULT_TIMEOUT;
}

struct ast_channel *ast_dial_answered_steal(struct ast_dial *dial)
{
	struct ast_channel *answered = ast_dial_get_channel(dial, 0);

	dial->stolen = 1;
	/* For the dialplan to fail. */
	channel.hung_up = !strcmp(dial->resource, "full");
	return answered;
}

int ast_dial_destroy(struct ast_dial *dial)
{
	sayf("over", "%s", dial->stolen ? "without the phone" : "with the phone");
	ao2_ref(dial, -1);
	return 0;
}

struct ast_flags *ast_channel_flags(struct ast_channel *chan)
{
	static struct ast_flags flags;

	check_locked(chan, "flags");
	return &flags;
}

void ast_channel_context_set(struct ast_channel *chan, const char *value)
{
	check_locked(chan, "context");
	sayf("context", "%s", value);
}

void ast_channel_exten_set(struct ast_channel *chan, const char *value)
{
	check_locked(chan, "exten");
	sayf("exten", "%s", value);
}

void ast_channel_priority_set(struct ast_channel *chan, int value)
{
	check_locked(chan, "priority");
	sayf("priority", "%d", value);
}

enum ast_pbx_result ast_pbx_start(struct ast_channel *chan)
{
	check_unlocked(chan, "ast_pbx_start");
	say("dialplan", "begins");
	return chan->hung_up ? AST_PBX_CALL_LIMIT : AST_PBX_SUCCESS;
}

void ast_hangup(struct ast_channel *chan)
{
	check_unlocked(chan, "ast_hangup");
	say("hung", "up");
}

void ast_party_connected_line_set_init(struct ast_party_connected_line *init, const struct ast_party_connected_line *guide)
{
	(void) guide;
	memset(init, 0, sizeof(*init));
}

void ast_channel_set_connected_line(struct ast_channel *chan, const struct ast_party_connected_line *connected,
	const struct ast_set_party_connected_line *update)
{
	(void) update;
	check_unlocked(chan, "ast_channel_set_connected_line");
	sayf("shown", "%s", connected->id.number.str);
}

int ast_pthread_create_detached_stack(pthread_t *thread, pthread_attr_t *attr, void *(*start)(void *), void *data, size_t stack,
	const char *file, const char *caller, int line, const char *name)
{
	int res = ast_pthread_create_stack(thread, attr, start, data, stack ? stack : 512 * 1024, file, caller, line, name);

	if (!res) {
		pthread_detach(*thread);
	}
	return res;
}

/* ---- main/json.c: a list of keys and texts. ---- */

struct ast_json {
	const char *key, *value;
	struct ast_json *next;
};

struct ast_json *ast_json_object_get(struct ast_json *object, const char *key)
{
	while (object && strcmp(object->key, key)) {
		object = object->next;
	}
	return object;
}

const char *ast_json_string_get(const struct ast_json *text)
{
	return text ? text->value : NULL;
}

/* ---- main/stasis.c, main/stasis_channels.c, main/stasis_bridges.c ---- */

struct stasis_message_type {
	const char *name;
};

struct stasis_message {
	struct stasis_message_type *type;
	void *data;
	struct timeval timestamp;
};

struct stasis_topic {
	int feeds;
};

struct stasis_forward {
	struct stasis_topic *to;
};

static struct stasis_subscription {
	stasis_subscription_cb callback;
	void *data;
	struct stasis_topic *topic;
	struct stasis_message_type *accepted[MANY];
	int count, filters;
} *subscription;

static char declined_type[80];

#define MESSAGE_TYPES(X) X(ast_channel_snapshot_type) X(stasis_cache_update_type) X(ast_channel_dial_type) \
	X(ast_channel_entered_bridge_type) X(ast_channel_left_bridge_type) X(ast_channel_hold_type) X(ast_channel_unhold_type) \
	X(ast_blind_transfer_type) X(ast_attended_transfer_type) X(ast_call_pickup_type) X(ast_parked_call_type) \
	X(ast_channel_varset_type) X(ast_channel_masquerade_type) X(ast_channel_mixmonitor_start_type)
#define MESSAGE_TYPE(type) \
	struct stasis_message_type *type(void) \
	{ \
		static struct stasis_message_type it = { #type }; \
		return strcmp(declined_type, #type) ? &it : NULL; \
	}
MESSAGE_TYPES(MESSAGE_TYPE)

#define TOPICS(X) X(ast_bridge_topic_all) X(ast_parking_topic) CHANNEL_TOPIC(X)
#if PLANFIX_ASTERISK_MAJOR <= 16
#define CHANNEL_TOPIC(X) X(ast_channel_topic_all_cached)
#else
#define CHANNEL_TOPIC(X) X(ast_channel_topic_all)
#endif
#define TOPIC(topic) \
	struct stasis_topic *topic(void) \
	{ \
		static struct stasis_topic it; \
		return &it; \
	}
TOPICS(TOPIC)

/* ---- Recordings: there are none here. What reaches one of these is a fault. ---- */

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"

#define NO_RECORDINGS(type, signature, result) \
	type signature \
	{ \
		say("error", "a recording is looked for: " #signature); \
		return result; \
	}

NO_RECORDINGS(struct ast_filestream *, ast_readfile(const char *name, const char *type, const char *comment, int flags, int check,
	mode_t mode), NULL)
NO_RECORDINGS(struct ast_frame *, ast_readframe(struct ast_filestream *stream), NULL)
NO_RECORDINGS(int, ast_closestream(struct ast_filestream *stream), 0)
NO_RECORDINGS(int, ast_ratestream(struct ast_filestream *stream), 8000)
NO_RECORDINGS(void, ast_replace_sigchld(void), )
NO_RECORDINGS(void, ast_unreplace_sigchld(void), )
NO_RECORDINGS(int, ast_cdr_is_enabled(void), 0)
NO_RECORDINGS(struct ast_custom_function *, ast_custom_function_find(const char *name), NULL)
NO_RECORDINGS(int, ast_func_read(struct ast_channel *chan, const char *function, char *value, size_t size), -1)
NO_RECORDINGS(int, ast_func_write(struct ast_channel *chan, const char *function, const char *value), -1)
#pragma GCC diagnostic pop

/* ---- The channel's media: main/channel.c, main/file.c, main/say.c, main/translate.c. What happens is written as tokens:
 *
 *   down, up            its state, at once
 *   reads/FORMAT        what it reads, at once
 *   voice/FORMAT/COUNT/LEVEL*TIMES   frames of so many samples, which are LEVEL and -LEVEL in turn
 *   press/D, release/D  a digit
 *   stop                AMI's ControlPlayback
 *   wait/MS             nothing
 *   hangup
 *
 * and then nothing ever. What is played lasts until somebody speaks or is silent, or nothing more happens. ---- */

static void do_channel(char *tokens)
{
	char *token;

	snprintf(channel.script, sizeof(channel.script), "%s", tokens);
	channel.next = channel.script;
	channel.hung_up = 0;
	while (*channel.next) {
		if (!strncmp(channel.next, "down", 4) || !strncmp(channel.next, "up", 2)) {
			channel.state = *channel.next == 'd' ? AST_STATE_RING : AST_STATE_UP;
		} else if (!strncmp(channel.next, "reads/", 6)) {
			channel.reads = NULL;
		} else {
			break;
		}
		token = strsep(&channel.next, " ");
		if (!channel.reads) {
			channel.reads = format(token + 6);
		}
		if (!channel.next) {
			channel.next = "";
		}
	}
}

/* The next token, NULL when there is none. A repeated one is counted down in place. */
static char *next_token(void)
{
	static char token[80];
	char *end = channel.next + strcspn(channel.next, " "), *times;

	if (!*channel.next) {
		return NULL;
	}
	snprintf(token, sizeof(token), "%.*s", (int) (end - channel.next), channel.next);
	times = strchr(token, '*');
	if (times && atoi(times + 1) > 1) {
		/* As many digits, or fewer and a blank. */
		int length = strlen(times + 1);

		snprintf(times + 1, sizeof(token) - (times + 1 - token), "%0*d", length, atoi(times + 1) - 1);
		memcpy(end - length, times + 1, length);
	} else {
		channel.next = end + (*end == ' ');
	}
	return token;
}

static int is_next(const char *beginning)
{
	return !strncmp(channel.next, beginning, strlen(beginning));
}

static void hang_up(void)
{
	__atomic_store_n(&channel.hung_up, 1, __ATOMIC_SEQ_CST);
}

int ast_check_hangup(struct ast_channel *chan)
{
	(void) chan;
	return __atomic_load_n(&channel.hung_up, __ATOMIC_SEQ_CST);
}

enum ast_channel_state ast_channel_state(const struct ast_channel *chan)
{
	check_locked(chan, "state");
	return chan->state;
}

struct ast_format *ast_channel_readformat(struct ast_channel *chan)
{
	check_locked(chan, "read format");
	return chan->reads;
}

struct ast_format *ast_channel_rawreadformat(struct ast_channel *chan)
{
	check_locked(chan, "raw read format");
	return chan->reads;
}

int ast_set_read_format(struct ast_channel *chan, struct ast_format *wanted)
{
	check_unlocked(chan, "ast_set_read_format");
	if (chan->reads == format("unknown") || wanted == format("unknown")) {
		return -1;
	}
	chan->reads = wanted;
	return 0;
}

int ast_answer(struct ast_channel *chan)
{
	check_unlocked(chan, "ast_answer");
	say("answered", "");
	chan->state = AST_STATE_UP;
	return ast_check_hangup(chan) ? -1 : 0;
}

int ast_indicate(struct ast_channel *chan, int condition)
{
	check_unlocked(chan, "ast_indicate");
	say("indicated", condition == AST_CONTROL_PROGRESS ? "progress" : "something else");
	return 0;
}

/* Waits, and ends at once when the channel is hung up. */
static int pass(int milliseconds)
{
	for (; milliseconds > 0 && !ast_check_hangup(NULL); milliseconds--) {
		usleep(1000);
	}
	return milliseconds;
}

static int wait_for_script(int milliseconds);

int ast_waitfor(struct ast_channel *chan, int milliseconds)
{
	int left;

	check_unlocked(chan, "ast_waitfor");
	__atomic_store_n(&listens, 1, __ATOMIC_SEQ_CST);
	left = wait_for_script(milliseconds);
	__atomic_store_n(&listens, 0, __ATOMIC_SEQ_CST);
	return left;
}

static int wait_for_script(int milliseconds)
{
	if (milliseconds < 1) {
		say("error", "ast_waitfor for ever");
	}
	if (ast_check_hangup(NULL)) {
		return milliseconds;
	}
	if (is_next("wait/")) {
		int rest = atoi(channel.next + 5);

		if (rest > milliseconds) {
			int length = strcspn(channel.next + 5, " ");
			char left[20];

			pass(milliseconds);
			snprintf(left, sizeof(left), "%0*d", length, rest - milliseconds);
			memcpy(channel.next + 5, left, length);
			return 0;
		}
		next_token();
		pass(rest);
		return milliseconds > rest ? wait_for_script(milliseconds - rest) : 0;
	}
	return *channel.next ? milliseconds : pass(milliseconds);
}

static struct ast_frame *voice(struct ast_format *of, int samples, int size)
{
	struct ast_frame *frame = make_object(sizeof(*frame) + samples * size, "frame");

	frame->frametype = AST_FRAME_VOICE;
	frame->subclass.format = of;
	frame->samples = samples;
	frame->datalen = samples * size;
	frame->data.ptr = frame + 1;
	return frame;
}

struct ast_frame *ast_read(struct ast_channel *chan)
{
	char *token, name[20], digit;
	int count, level, at;
	struct ast_frame *frame;

	check_unlocked(chan, "ast_read");
	if (ast_check_hangup(chan) || !(token = next_token())) {
		return NULL;
	}
	if (!strcmp(token, "hangup")) {
		hang_up();
		return NULL;
	}
	if (sscanf(token, "voice/%19[a-z0-9]/%d/%d", name, &count, &level) == 3) {
		struct ast_format *of = format(name);
		int size = of == format("bytes") || of == format("unknown") ? 1 : 2;

		frame = voice(of, count, size);
		for (at = 0; at < count; at++) {
			if (size == 1) {
				((signed char *) frame->data.ptr)[at] = at % 2 ? -level : level;
			} else {
				((int16_t *) frame->data.ptr)[at] = at % 2 ? -level : level;
			}
		}
		return frame;
	}
	frame = make_object(sizeof(*frame), "frame");
	if (sscanf(token, "press/%c", &digit) == 1 || sscanf(token, "release/%c", &digit) == 1) {
		frame->frametype = *token == 'p' ? AST_FRAME_DTMF_BEGIN : AST_FRAME_DTMF_END;
		frame->subclass.integer = digit;
	} else {
		frame->frametype = AST_FRAME_CONTROL;
		frame->subclass.integer = AST_CONTROL_STREAM_STOP;
	}
	return frame;
}

void ast_frame_free(struct ast_frame *frame, int cache)
{
	struct ast_frame *next;

	(void) cache;
	for (; frame; frame = next) {
		next = AST_LIST_NEXT(frame, frame_list);
		ao2_ref(frame, -1);
	}
}

/* What Asterisk has in the place of a struct ast_trans_pvt. */
struct way {
	struct ast_format *to, *from;
};

struct ast_trans_pvt *ast_translator_build_path(struct ast_format *to, struct ast_format *from)
{
	struct way *path;

	sayf("path", "%s %s", from->name, to->name);
	if (from == format("unknown")) {
		return NULL;
	}
	path = make_object(sizeof(*path), "path");
	path->to = to;
	path->from = from;
	return (struct ast_trans_pvt *) path;
}

void ast_translator_free_path(struct ast_trans_pvt *path)
{
	ao2_ref(path, -1);
}

/* Two frames of one, as some codecs do: the halves of the sound. */
struct ast_frame *ast_translate(struct ast_trans_pvt *translator, struct ast_frame *frame, int consume)
{
	const struct way *path = (struct way *) translator;
	int samples = frame->samples * (int) path->to->rate / (int) path->from->rate, at;
	struct ast_frame *half[2] = { voice(path->to, samples / 2, 2), voice(path->to, samples - samples / 2, 2) };

	if (consume || frame->subclass.format != path->from) {
		say("error", "a frame is translated that is another's");
	}
	for (at = 0; at < samples; at++) {
		int from = at * (int) path->from->rate / (int) path->to->rate, second = at >= samples / 2;

		((int16_t *) half[second]->data.ptr)[second ? at - samples / 2 : at] = path->from == format("bytes")
			? ((signed char *) frame->data.ptr)[from] * 256 : ((int16_t *) frame->data.ptr)[from];
	}
	AST_LIST_NEXT(half[0], frame_list) = half[1];
	return half[0];
}

struct ast_silence_generator *ast_channel_start_silence_generator(struct ast_channel *chan)
{
	check_unlocked(chan, "silence");
	chan->silence = 1;
	say("silence", "begins");
	return (struct ast_silence_generator *) chan;
}

void ast_channel_stop_silence_generator(struct ast_channel *chan, struct ast_silence_generator *generator)
{
	check_unlocked(chan, "silence");
	if (generator != (void *) chan || !chan->silence) {
		say("error", "a silence is stopped that is another's");
	}
	chan->silence = 0;
	say("silence", "ends");
}

int ast_fileexists(const char *name, const char *type, const char *language)
{
	(void) language;
	if (type) {
		say("error", "a sound of one format is looked for");
	}
	/* Some lie below custom/ alone. */
	return !strstr(name, "missing") && (!strstr(name, "own-") || !strncmp(name, "custom/", 7));
}

int ast_streamfile(struct ast_channel *chan, const char *name, const char *language)
{
	check_unlocked(chan, "ast_streamfile");
	sayf("played", "%s %s", name, language);
	if (strstr(name, "unreadable") || ast_check_hangup(chan)) {
		return -1;
	}
	chan->stream = 1;
	return 0;
}

int ast_waitstream(struct ast_channel *chan, const char *breaks)
{
	char *token;

	check_unlocked(chan, "ast_waitstream");
	while (!ast_check_hangup(chan) && !is_next("voice/") && !is_next("wait/") && (token = next_token())) {
		if (!strcmp(token, "hangup")) {
			hang_up();
		} else if (!strncmp(token, "release/", 8) && strchr(breaks, token[8])) {
			return token[8];
		} else if (!strcmp(token, "stop")) {
			return 0;
		}
	}
	return ast_check_hangup(chan) ? -1 : 0;
}

int ast_stopstream(struct ast_channel *chan)
{
	check_unlocked(chan, "ast_stopstream");
	chan->stream = 0;
	return 0;
}

int ast_waitfordigit(struct ast_channel *chan, int milliseconds)
{
	char *token;

	check_unlocked(chan, "ast_waitfordigit");
	if (milliseconds < 0) {
		say("error", "ast_waitfordigit for ever");
	}
	while (!ast_check_hangup(chan) && (token = next_token())) {
		if (!strcmp(token, "hangup")) {
			hang_up();
		} else if (!strncmp(token, "release/", 8)) {
			return token[8];
		} else if (!strcmp(token, "stop")) {
			return AST_CONTROL_STREAM_STOP;
		}
	}
	return ast_check_hangup(chan) ? -1 : 0;
}

/* Saying is playing, and fails alike for a sound that is missing. */
static int said(struct ast_channel *chan, const char *what, const char *breaks, const char *language)
{
	int res = ast_streamfile(chan, what, language);

	if (!res) {
		res = ast_waitstream(chan, breaks);
	}
	ast_stopstream(chan);
	return res;
}

int ast_say_number(struct ast_channel *chan, int number, const char *breaks, const char *language, const char *options)
{
	char what[40];

	snprintf(what, sizeof(what), "number %d%s", number, options ? options : "");
	return said(chan, what, breaks, language);
}

int ast_say_digit_str(struct ast_channel *chan, const char *digits, const char *breaks, const char *language)
{
	return said(chan, digits, breaks, language);
}

static int say_date(struct ast_channel *chan, time_t date, const char *breaks, const char *language)
{
	char what[40];

	snprintf(what, sizeof(what), "date %lld", (long long) date);
	return said(chan, what, breaks, language);
}

int (*ast_say_date)(struct ast_channel *, time_t, const char *, const char *) = say_date;

char ast_defaultlanguage[] = "en";

struct stasis_topic *stasis_topic_create(const char *name)
{
	if (!strchr(name, ':')) {
		say("error", "a topic's name is SUBSYSTEM:NAME");
	}
	return make_object(sizeof(struct stasis_topic), "topic");
}

struct stasis_forward *stasis_forward_all(struct stasis_topic *from, struct stasis_topic *to)
{
	struct stasis_forward *forward = make_object(sizeof(*forward), "forward");

	if (!subscription || !subscription->filters) {
		say("error", "messages are forwarded before they are filtered");
	}
	(void) from;
	forward->to = to;
	to->feeds++;
	return forward;
}

struct stasis_forward *stasis_forward_cancel(struct stasis_forward *forward)
{
	if (forward) {
		forward->to->feeds--;
		ao2_ref(forward, -1);
	}
	return NULL;
}

enum stasis_message_type_result stasis_message_type_create(const char *name, struct stasis_message_vtable *vtable,
	struct stasis_message_type **result)
{
	(void) vtable;
	*result = make_object(sizeof(**result), "message type");
	(*result)->name = name;
	return STASIS_MESSAGE_TYPE_SUCCESS;
}

struct stasis_message_type *stasis_message_type(const struct stasis_message *message)
{
	return message->type;
}

void *stasis_message_data(const struct stasis_message *message)
{
	return message->data;
}

const struct timeval *stasis_message_timestamp(const struct stasis_message *message)
{
	return &message->timestamp;
}

struct stasis_message *stasis_message_create(struct stasis_message_type *type, void *data)
{
	struct stasis_message *message = make_object(sizeof(*message), "message");

	message->type = type;
	message->data = data;
	return message;
}

/* The module's own topic has one subscriber, who in Asterisk is called on another thread. */
void stasis_publish(struct stasis_topic *topic, struct stasis_message *message)
{
	if (!subscription || topic != subscription->topic) {
		say("error", "a message is published on a strange topic");
	} else {
		subscription->callback(subscription->data, subscription, message);
	}
}

static struct stasis_subscription *subscribe(struct stasis_topic *topic, stasis_subscription_cb callback, void *data)
{
	if (subscription) {
		say("error", "a second subscription");
	}
	subscription = make_object(sizeof(*subscription), "subscription");
	subscription->callback = callback;
	subscription->data = data;
	subscription->topic = topic;
	return subscription;
}

#ifdef stasis_subscribe
struct stasis_subscription *__stasis_subscribe(struct stasis_topic *topic, stasis_subscription_cb callback, void *data,
	const char *file, int line, const char *function)
{
	(void) file, (void) line, (void) function;
	return subscribe(topic, callback, data);
}
#else
struct stasis_subscription *stasis_subscribe(struct stasis_topic *topic, stasis_subscription_cb callback, void *data)
{
	return subscribe(topic, callback, data);
}
#endif

int stasis_subscription_accept_message_type(struct stasis_subscription *sub, const struct stasis_message_type *type)
{
	if (!type) {
		say("error", "a type that there is not switches the filter off");
	}
	sub->accepted[sub->count++] = (struct stasis_message_type *) type;
	return 0;
}

int stasis_subscription_set_filter(struct stasis_subscription *sub, enum stasis_subscription_message_filter filter)
{
	sub->filters = filter == STASIS_SUBSCRIPTION_FILTER_SELECTIVE;
	return 0;
}

int stasis_subscription_set_congestion_limits(struct stasis_subscription *sub, long low, long high)
{
	(void) sub, (void) low, (void) high;
	return 0;
}

struct stasis_subscription *stasis_unsubscribe_and_join(struct stasis_subscription *sub)
{
	if (sub != subscription || sub->topic->feeds) {
		say("error", "an unsubscription of a stranger, or with messages on their way");
	}
	ao2_ref(sub, -1);
	subscription = NULL;
	return NULL;
}

struct ast_multi_channel_blob {
	const char *roles[3];
	struct ast_channel_snapshot *snapshots[3];
	struct ast_json *json;
};

struct ast_channel_snapshot *ast_multi_channel_blob_get_channel(struct ast_multi_channel_blob *blob, const char *role)
{
	int at;

	for (at = 0; at < 3; at++) {
		if (blob->roles[at] && !strcmp(blob->roles[at], role)) {
			return blob->snapshots[at];
		}
	}
	return NULL;
}

struct ast_json *ast_multi_channel_blob_get_json(struct ast_multi_channel_blob *blob)
{
	return blob->json;
}

/* What messages are made of stays and is known to stay: nobody here counts who uses it, and no sanitizer is to take it for lost. */
static void *kept(size_t size)
{
	static struct kept {
		struct kept *before;
		max_align_t start[];
	} *last;
	struct kept *made = calloc(1, sizeof(*made) + size);

	made->before = __atomic_exchange_n(&last, made, __ATOMIC_SEQ_CST);
	return made->start;
}

#define SET(field, text) (*(const char **) &(field) = (text))

/* Makes a snapshot in which every text says what it is, so that no two can be confused. */
#if PLANFIX_ASTERISK_MAJOR <= 16
static struct ast_channel_snapshot *snapshot(const char *name, enum ast_channel_state state)
{
	struct ast_channel_snapshot *made = kept(sizeof(*made));

	SET(made->name, name);
	SET(made->uniqueid, name);
	SET(made->linkedid, "linkedid");
	SET(made->type, "technology");
	SET(made->accountcode, "accountcode");
	SET(made->caller_number, "caller-number");
	SET(made->caller_name, "caller-name");
	SET(made->caller_ani, "ani");
	SET(made->caller_rdnis, "rdnis");
	SET(made->caller_dnid, "dialed");
	SET(made->connected_number, "connected-number");
	SET(made->connected_name, "connected-name");
	SET(made->context, "context");
	SET(made->exten, "exten");
	SET(made->appl, "application");
	SET(made->data, "application-data");
	SET(made->bridgeid, "");
	made->creationtime = (struct timeval) { 1600000000, 1 };
	made->hangupcause = 17;
	made->state = state;
	return made;
}
#define BRIDGE_OF(made) SET((made)->bridgeid, "bridge-1")
#define RENUMBER(made) SET((made)->caller_number, "another-number")
#define NEXT_APPLICATION(made, name) SET((made)->appl, name)
#define HIDE(made) ((made)->caller_pres = AST_PRES_PROHIB_USER_NUMBER_NOT_SCREENED)
#else
/* Since 18.25, 20.10 and 21.5 a string stands before the time of creation, and there is a function for it. Another release than that of the
 * headers is one from the other side of that. */
#if defined(AST_MAX_TENANT_ID) && defined(ANOTHER_RELEASE)
#define MOVED (-(int) sizeof(ast_string_field))
#elif defined(ANOTHER_RELEASE)
#define MOVED ((int) sizeof(ast_string_field))
#else
#define MOVED 0
#endif

#if defined(AST_MAX_TENANT_ID) != defined(ANOTHER_RELEASE)
const char *ast_channel_tenantid(const struct ast_channel *chan)
{
	(void) chan;
	say("error", "this is not asked for here: ast_channel_tenantid()");
	return "";
}
#endif

static void *with_text(size_t size, const char *text, size_t offset)
{
	return strcpy((char *) kept(size + strlen(text) + 1) + offset, text) - offset;
}

static struct ast_channel_snapshot *snapshot(const char *name, enum ast_channel_state state)
{
	struct ast_channel_snapshot *made = kept(sizeof(*made));

	made->base = kept(sizeof(*made->base) + sizeof(ast_string_field));
	SET(made->base->name, name);
	SET(made->base->uniqueid, name);
	SET(made->base->type, "technology");
	SET(made->base->accountcode, "accountcode");
	memcpy((char *) &made->base->creationtime + MOVED, &(struct timeval) { 1600000000, 1 }, sizeof(struct timeval));
	made->peer = kept(sizeof(*made->peer));
	made->peer->linkedid = "linkedid";
	made->caller = kept(sizeof(*made->caller));
	SET(made->caller->number, "caller-number");
	SET(made->caller->name, "caller-name");
	SET(made->caller->ani, "ani");
	SET(made->caller->rdnis, "rdnis");
	SET(made->caller->dnid, "dialed");
	made->connected = with_text(sizeof(*made->connected), "connected-name", offsetof(struct ast_channel_snapshot_connected, name));
	made->connected->number = "connected-number";
	made->dialplan = kept(sizeof(*made->dialplan));
	SET(made->dialplan->context, "context");
	SET(made->dialplan->exten, "exten");
	SET(made->dialplan->appl, "application");
	SET(made->dialplan->data, "application-data");
	made->bridge = with_text(sizeof(*made->bridge), "", offsetof(struct ast_channel_snapshot_bridge, id));
	made->hangup = kept(sizeof(*made->hangup) + 1);
	made->hangup->cause = 17;
	made->state = state;
	return made;
}
#define BRIDGE_OF(made) ((made)->bridge = with_text(0, "bridge-1", 0))
#define RENUMBER(made) SET((made)->caller->number, "another-number")
#define NEXT_APPLICATION(made, name) SET((made)->dialplan->appl, name)
#define HIDE(made) ((made)->caller->pres = AST_PRES_PROHIB_USER_NUMBER_NOT_SCREENED)
#endif

static struct ast_channel_snapshot *dead(struct ast_channel_snapshot *made)
{
	ast_set_flag(&made->flags, AST_FLAG_DEAD);
	return made;
}

static struct ast_bridge_snapshot *bridge_snapshot(void)
{
	static struct ast_bridge_snapshot it = { .num_channels = 2 };

	SET(it.uniqueid, "bridge-1");
	SET(it.technology, "simple_bridge");
	SET(it.creator, "creator");
	SET(it.name, "bridge-name");
	return &it;
}

/* What the module's callbacks cost the thread that calls them: how often it gave its processor away in them, to sleep or to wait for
 * somebody, and how long it kept it. Neither depends on what else the machine does. */
static struct {
	long calls, waits;
	long long microseconds;
} inside;
static struct timespec kept_before;
static long waited_before;

/* The thread's own: getrusage() knows of processor time only what the scheduler has booked. */
static struct timespec processor_time(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return now;
}

static long waits_so_far(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_nvcsw;
}

static void enter_module(void)
{
	waited_before = waits_so_far();
	kept_before = processor_time();
}

static void leave_module(void)
{
	struct timespec now = processor_time();

	inside.calls++;
	inside.waits += waits_so_far() - waited_before;
	inside.microseconds += (now.tv_sec - kept_before.tv_sec) * 1000000LL + (now.tv_nsec - kept_before.tv_nsec) / 1000;
}

static void deliver(struct stasis_message *message)
{
	int at;

	for (at = 0; subscription && at < subscription->count; at++) {
		if (subscription->accepted[at] == message->type) {
			enter_module();
			subscription->callback(subscription->data, subscription, message);
			leave_module();
			return;
		}
	}
	say("filtered", message->type->name);
}

static const struct timeval told_at = { 1700000000, 123456 };

static void tell_snapshots(struct ast_channel_snapshot *old, struct ast_channel_snapshot *new)
{
#if PLANFIX_ASTERISK_MAJOR <= 16
	struct stasis_message before = { .type = ast_channel_snapshot_type(), .data = old, .timestamp = { 1500000000, 0 } };
	struct stasis_message after = { .type = ast_channel_snapshot_type(), .data = new, .timestamp = told_at };
	struct stasis_cache_update update = { ast_channel_snapshot_type(), old ? &before : NULL, new ? &after : NULL };
	struct stasis_message message = { stasis_cache_update_type(), &update, { told_at.tv_sec + 9, 0 } };
#else
	struct ast_channel_snapshot_update update = { old, new };
	struct stasis_message message = { ast_channel_snapshot_type(), &update, told_at };
#endif

	deliver(&message);
}

static void tell(struct stasis_message_type *type, void *data)
{
	struct stasis_message message = { type, data, told_at };

	deliver(&message);
}

/* Snapshots are never freed here: the process ends soon. */
static void do_tell(const char *kind)
{
	struct ast_channel_snapshot *one = snapshot("one", AST_STATE_UP), *two = snapshot("two", AST_STATE_RINGING);
	struct ast_channel_snapshot *three = snapshot("three", AST_STATE_UP), *four = snapshot("four", AST_STATE_UP);
	struct ast_bridge_snapshot *bridge = bridge_snapshot();
	struct ast_bridge_blob in_bridge = { .bridge = bridge, .channel = one };
	struct ast_channel_blob blob = { .snapshot = one };
	struct ast_json value = { "value", "%s\nvalue", NULL }, variable = { "variable", "NAME", &value };
	struct ast_json forward = { "forward", "", NULL }, string = { "dialstring", "101", &forward };
	struct ast_json status = { "dialstatus", "", &string };
	struct ast_multi_channel_blob dial = { { "caller", "peer", NULL }, { one, two, NULL }, &status };

	if (!strcmp(kind, "created")) {
		tell_snapshots(NULL, one);
	} else if (!strcmp(kind, "answered")) {
		tell_snapshots(snapshot("one", AST_STATE_RING), one);
	} else if (!strcmp(kind, "renumbered")) {
		RENUMBER(one);
		HIDE(one);
		BRIDGE_OF(one);
		tell_snapshots(snapshot("one", AST_STATE_UP), one);
	} else if (!strcmp(kind, "stepped")) {
		NEXT_APPLICATION(one, "another-application");
		tell_snapshots(snapshot("one", AST_STATE_UP), one);
	} else if (!strcmp(kind, "stepped quietly")) {
		NEXT_APPLICATION(one, "NoOp");
		tell_snapshots(snapshot("one", AST_STATE_UP), one);
	} else if (!strcmp(kind, "bridged")) {
		BRIDGE_OF(one);
		tell_snapshots(snapshot("one", AST_STATE_UP), one);
	} else if (!strcmp(kind, "unchanged")) {
		tell_snapshots(snapshot("one", AST_STATE_UP), one);
	} else if (!strcmp(kind, "gone")) {
		tell_snapshots(one, dead(snapshot("one", AST_STATE_UP)));
	} else if (!strcmp(kind, "gone twice")) {
		tell_snapshots(dead(one), dead(snapshot("one", AST_STATE_UP)));
#if PLANFIX_ASTERISK_MAJOR <= 16
	} else if (!strcmp(kind, "cleared")) {
		tell_snapshots(dead(one), NULL);
#endif
	} else if (!strcmp(kind, "entered")) {
		tell(ast_channel_entered_bridge_type(), &in_bridge);
	} else if (!strcmp(kind, "swapped")) {
		struct ast_json swap = { "swap", "two", NULL };

		in_bridge.blob = &swap;
		tell(ast_channel_entered_bridge_type(), &in_bridge);
	} else if (!strcmp(kind, "left")) {
		tell(ast_channel_left_bridge_type(), &in_bridge);
	} else if (!strcmp(kind, "dial")) {
		tell(ast_channel_dial_type(), &dial);
	} else if (!strcmp(kind, "dial forwarded")) {
		status.value = "BUSY";
		forward.value = "Local/102@phones";
		dial.roles[0] = "forwarded";
		tell(ast_channel_dial_type(), &dial);
	} else if (!strcmp(kind, "ringing")) {
		status.value = "RINGING";
		tell(ast_channel_dial_type(), &dial);
	} else if (!strcmp(kind, "blind")) {
		struct ast_blind_transfer_message transfer = {
			.result = AST_BRIDGE_TRANSFER_SUCCESS, .is_external = 1, .transferer = one, .bridge = bridge, .context = "context",
			.exten = "102", .transferee = two, .replace_channel = three,
		};

		tell(ast_blind_transfer_type(), &transfer);
	} else if (!strcmp(kind, "attended") || !strcmp(kind, "attended to application")) {
		struct ast_attended_transfer_message transfer = {
			.result = AST_BRIDGE_TRANSFER_FAIL, .to_transferee = { bridge, one }, .to_transfer_target = { NULL, two },
			.transferee = three, .target = four, .dest_type = AST_ATTENDED_TRANSFER_DEST_BRIDGE_MERGE,
			.dest.bridge = "bridge-2",
		};

		if (kind[8]) {
			transfer.result = AST_BRIDGE_TRANSFER_NOT_PERMITTED;
			transfer.dest_type = AST_ATTENDED_TRANSFER_DEST_APP;
			snprintf(transfer.dest.app, sizeof(transfer.dest.app), "Queue");
			transfer.target = NULL;
		}
		tell(ast_attended_transfer_type(), &transfer);
	} else if (!strcmp(kind, "pickup")) {
		struct ast_multi_channel_blob pickup = { { "channel", "target", NULL }, { one, two, NULL }, NULL };

		tell(ast_call_pickup_type(), &pickup);
	} else if (!strcmp(kind, "hold")) {
		struct ast_json music = { "musicclass", "jazz", NULL };

		blob.blob = &music;
		tell(ast_channel_hold_type(), &blob);
	} else if (!strcmp(kind, "hold plain")) {
		tell(ast_channel_hold_type(), &blob);
	} else if (!strcmp(kind, "unhold")) {
		tell(ast_channel_unhold_type(), &blob);
	} else if (!strcmp(kind, "parked")) {
		struct ast_parked_call_payload parked = {
			.parkee = one, .retriever = two, .event_type = PARKED_CALL_UNPARKED, .parkingspace = 701,
		};

		SET(parked.parkinglot, "lot");
		SET(parked.parker_dial_string, "PJSIP/101");
		tell(ast_parked_call_type(), &parked);
	} else if (!strcmp(kind, "variable") || !strcmp(kind, "panic")) {
		blob.blob = &variable;
		if (kind[0] == 'p') {
			variable.value = "panic";
		}
		tell(ast_channel_varset_type(), &blob);
	} else if (!strcmp(kind, "global variable")) {
		blob.blob = &variable;
		blob.snapshot = NULL;
		tell(ast_channel_varset_type(), &blob);
	} else if (!strcmp(kind, "masquerade")) {
		tell(ast_channel_masquerade_type(), &blob);
	} else {
		say("error", "no such kind of message");
	}
}

/* The channels that exist: one in a bridge, one that is just going. */
#define EXISTING 2
static void *existing(int at)
{
	static struct ast_channel_snapshot *snapshots[EXISTING];
#if PLANFIX_ASTERISK_MAJOR <= 16
	static struct stasis_message messages[EXISTING];
#endif

	if (!snapshots[at]) {
		snapshots[at] = at ? dead(snapshot("going", AST_STATE_UP)) : snapshot("there", AST_STATE_UP);
		BRIDGE_OF(snapshots[at]);
	}
#if PLANFIX_ASTERISK_MAJOR <= 16
	messages[at].data = snapshots[at];
	return lend_object(&messages[at], "lent message");
#else
	return lend_object(snapshots[at], "lent snapshot");
#endif
}

struct ao2_container {
	int at;
};

#if PLANFIX_ASTERISK_MAJOR <= 16
struct stasis_cache *ast_channel_cache(void)
{
	return NULL;
}

struct ao2_container *stasis_cache_dump(struct stasis_cache *cache, struct stasis_message_type *type)
{
	(void) cache;
	if (type != ast_channel_snapshot_type()) {
		say("error", "something else than channels is looked for");
	}
	return make_object(sizeof(struct ao2_container), "container");
}

struct ast_bridge_snapshot *ast_bridge_snapshot_get_latest(const char *uniqueid)
#else
struct ao2_container *ast_channel_cache_all(void)
{
	return make_object(sizeof(struct ao2_container), "container");
}

struct ast_bridge_snapshot *ast_bridge_get_snapshot_by_uniqueid(const char *uniqueid)
#endif
{
	return strcmp(uniqueid, "bridge-1") ? NULL : lend_object(bridge_snapshot(), "lent bridge");
}

struct ao2_iterator ao2_iterator_init(struct ao2_container *container, int flags)
{
	struct ao2_iterator iterator = { .c = container, .flags = flags };

	lend_object(container, "container");
	return iterator;
}

void *__ao2_iterator_next(struct ao2_iterator *iterator, const char *tag, const char *file, int line, const char *function)
{
	(void) tag, (void) file, (void) line, (void) function;
	return iterator->c->at < EXISTING ? existing(iterator->c->at++) : NULL;
}

void ao2_iterator_destroy(struct ao2_iterator *iterator)
{
	ao2_ref(iterator->c, -1);
}

/* The cache's last snapshot of a channel: of those that exist, and of one that goes just now. */
struct ast_channel_snapshot *ast_channel_snapshot_get_latest(const char *uniqueid)
{
	return strncmp(uniqueid, "1700000000.", 11) ? NULL : lend_object(snapshot("latest", AST_STATE_UP), "lent latest snapshot");
}

/* ---- main/channel.c: the channels that exist. Nothing here holds their container while a channel is waited for. ---- */

struct ast_channel_iterator {
	int at;
};

struct ast_channel_iterator *ast_channel_iterator_all_new(void)
{
	if (channel.depth) {
		say("error", "channels are looked for with one of them locked");
	}
	say("walk", "begins");
	return make_object(sizeof(struct ast_channel_iterator), "channel iterator");
}

struct ast_channel *ast_channel_iterator_next(struct ast_channel_iterator *iterator)
{
	static struct ast_channel *const all[] = { &others[0], &channel, &others[1] };

	return iterator->at < (int) ARRAY_LEN(all) ? lend_object(all[iterator->at++], "lent channel") : NULL;
}

struct ast_channel_iterator *ast_channel_iterator_destroy(struct ast_channel_iterator *iterator)
{
	ao2_ref(iterator, -1);
	return NULL;
}

/* ---- The host's own commands. ---- */

static void *image;
static char image_path[4096];

static int seek_image(struct dl_phdr_info *info, size_t size, void *data)
{
	(void) size, (void) data;
	return !strcmp(info->dlpi_name, image_path);
}

static void do_open(const char *path)
{
	snprintf(image_path, sizeof(image_path), "%s", path);
	image = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!image) {
		say("error", dlerror());
	} else if (!module.info) {
		say("error", "the module did not register itself during load");
	} else {
		sayf("opened", "%s %s", module.info->name, module.info->description);
		if (strcmp(module.info->key, ASTERISK_GPL_KEY) || strcmp(module.info->buildopt_sum, AST_BUILDOPT_SUM)) {
			say("error", "wrong key or build options");
		}
	}
}

static void do_read(char *rest)
{
	char *name = strsep(&rest, " "), *how = strsep(&rest, " "), *size = strsep(&rest, " ");
	struct ast_custom_function **function = find_function(name);
	size_t length = strtoul(size ? size : "0", NULL, 10);
	char *buffer = malloc(length + 8);
	int res, locked = !strcmp(how, "locked");

	if (!function) {
		say("error", "no such function");
		free(buffer);
		return;
	}
	memset(buffer, 0x55, length + 8);
	if (locked) {
		ao2_lock(&channel);
	}
	enter_module();
	res = (*function)->read(strcmp(how, "none") ? &channel : NULL, name, rest ? unescape(rest) : NULL, buffer, length);
	leave_module();
	if (channel.depth != locked) {
		say("error", "the channel's lock is not as it was");
	}
	if (locked) {
		ao2_unlock(&channel);
	}
	if (memcmp(buffer + length, "\x55\x55\x55\x55\x55\x55\x55\x55", 8)) {
		say("error", "written behind the buffer");
	}
	/* As in Asterisk, a function that fails need not have written anything. */
	sayf("returned", "%d %s", res, length && memchr(buffer, 0, length) ? buffer : "");
	free(buffer);
}

/* As ast_func_write. */
static void do_write(char *rest)
{
	char *name = strsep(&rest, " "), *how = strsep(&rest, " "), *who = strsep(&rest, " "), *args = strsep(&rest, " ");
	struct ast_custom_function **function = find_function(name);
	int res, locked = !strcmp(how, "locked");

	if (!function || !(*function)->write) {
		say("error", "no such function to be written");
		return;
	}
	if ((*function)->write_escalates && !strcmp(who, "outside")) {
		say("returned", "blocked");
		return;
	}
	if (locked) {
		ao2_lock(&channel);
	}
	enter_module();
	res = (*function)->write(strcmp(how, "none") ? &channel : NULL, name, args ? unescape(args) : NULL, rest ? unescape(rest) : NULL);
	leave_module();
	if (channel.depth != locked) {
		say("error", "the channel's lock is not as it was");
	}
	if (locked) {
		ao2_unlock(&channel);
	}
	sayf("returned", "%d", res);
}

/* As pbx_exec. */
static void do_exec(char *rest)
{
	char *name = strsep(&rest, " ");
	int at = find_application(name), res;
	struct ast_format *reads = channel.reads;

	if (at < 0) {
		say("error", "no such application");
		return;
	}
	snprintf(executed, sizeof(executed), "%s", name);
	res = applications[at].execute(&channel, rest ? unescape(rest) : "");
	if (channel.depth || channel.stream || channel.silence || channel.reads != reads) {
		say("error", "the channel is not as it was");
	}
	sayf("ran", "%d", res);
}

static void do_device(const char *name)
{
	const char *colon = strchr(name, ':');
	int at, state;

	for (at = 0; at < MANY; at++) {
		if (providers[at].label && !strncasecmp(providers[at].label, name, colon - name)) {
			enter_module();
			state = providers[at].callback(colon + 1);
			leave_module();
			sayf("returned", "%d", state);
			return;
		}
	}
	say("error", "no such provider");
}

static void do_run(char *line, int tab)
{
	struct ast_cli_entry **entry = find_command(line);
	const char *argv[MANY] = { NULL };
	char copy[4096], *rest = copy, *word;
	int argc = 0, blank = !*line || line[strlen(line) - 1] == ' ';

	snprintf(copy, sizeof(copy), "%s", line);
	while ((word = strsep(&rest, " ")) && argc < MANY - 1) {
		if (*word) {
			argv[argc++] = unescape(word);
		}
	}
	if (!entry) {
		say("error", "no such command");
	} else if (tab) {
		struct ast_cli_args args = {
			.fd = -1, .argc = argc, .argv = argv, .line = line, .word = blank ? "" : argv[argc - 1],
			.pos = blank ? argc : argc - 1, .n = 0,
		};

		if ((*entry)->handler(*entry, CLI_GENERATE, &args)) {
			say("error", "a completion returned something");
		}
	} else {
		struct ast_cli_args args = { .fd = 77, .argc = argc, .argv = argv };
		char *res = (*entry)->handler(*entry, CLI_HANDLER, &args);

		say("returned", res == CLI_SUCCESS ? "success" : res == CLI_SHOWUSAGE ? "usage" : "failure");
	}
}

static void do_action(char *rest)
{
	struct message message = { .hdrcount = 0 };
	struct mansession session = { 0 };
	const char *name;
	char *part;
	int at;

	while ((part = strsep(&rest, "|")) && message.hdrcount < AST_MAX_MANHEADERS) {
		message.headers[message.hdrcount++] = unescape(part);
	}
	name = astman_get_header(&message, "Action");
	for (at = 0; at < MANY; at++) {
		if (actions[at].name && !strcasecmp(actions[at].name, name)) {
			sayf("returned", "%d", actions[at].callback(&session, &message));
			if (session.answers != 1) {
				sayf("error", "the action gave %d answers", session.answers);
			}
			return;
		}
	}
	say("error", "no such action");
}

static void do_registered(void)
{
	int at;

	if (at_exit) {
		say("at", "exit");
	}
	for (at = 0; at < (int) ARRAY_LEN(formats); at++) {
		if (formats[at].references) {
			say("object", formats[at].name);
		}
	}
	for (at = 0; at < MANY; at++) {
		if (functions[at]) {
			say("function", functions[at]->name);
		}
		if (applications[at].name) {
			say("application", applications[at].name);
		}
		if (providers[at].label) {
			say("provider", providers[at].label);
		}
		if (commands[at]) {
			say("command", commands[at]->command);
		}
		if (actions[at].name) {
			say("action", actions[at].name);
		}
		if (handlers[at]) {
			say("handler", handlers[at]->uri);
		}
		if (objects[at].address) {
			say("object", objects[at].kind);
		}
	}
}

/* GET or POST, a path, and for POST what follows the header: a form, as far as the header says. For GET what it shows. */
static void do_http(char *rest)
{
	char *method = strsep(&rest, " ");
	char *path = strsep(&rest, " ");
	int posts = !strcmp(method, "POST");
	char *more = rest ? unescape(rest) : "";
	char *body = posts ? more : "";
	char length[32];
	struct ast_variable shown_header = { .name = "Authorization", .value = more };
	struct ast_variable length_header = { .name = "Content-Length", .value = length };
	struct ast_variable type_header = { .name = "Content-Type", .value = "application/x-www-form-urlencoded", .next = &length_header };
	struct ast_variable *headers = posts ? &type_header : &shown_header;
	struct ast_iostream stream = { .unread = body };
	struct ast_tcptls_session_instance session = { .stream = &stream };

	snprintf(length, sizeof(length), "%zu", strlen(body));
	sayf("returned", "%d", looked_up->callback(&session, looked_up, unescape(path),
		posts ? AST_HTTP_POST : AST_HTTP_GET, NULL, *more ? headers : NULL));
}

static void count_entries(const char *path)
{
	DIR *directory = opendir(path);
	int count = 0;

	while (directory && readdir(directory)) {
		count++;
	}
	if (directory) {
		closedir(directory);
	}
	sayf("count", "%d", count);
}

/* There where the host was linked with AddressSanitizer (tools/sanitize). */
extern int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

static void do_leaks(void)
{
	if (__lsan_do_recoverable_leak_check) {
		sayf("leaks", "%d", __lsan_do_recoverable_leak_check());
	} else {
		say("leaks", "unknown");
	}
}

/* Everything that Asterisk does on a channel's, a console's or a session's thread is done on one that outlives the module. */
static pthread_mutex_t hand;
static pthread_cond_t changed;
static char *task;
static pthread_t foreign;
static int foreign_runs;

static void *work(void *data)
{
	int go_on = 1;

	(void) data;
	while (go_on) {
		char *line, *verb;

		pthread_mutex_lock(&hand);
		while (!task) {
			pthread_cond_wait(&changed, &hand);
		}
		line = task;
		pthread_mutex_unlock(&hand);
		verb = strsep(&line, " ");
		if (!strcmp(verb, "read")) {
			do_read(line);
		} else if (!strcmp(verb, "write")) {
			do_write(line);
		} else if (!strcmp(verb, "exec") || !strcmp(verb, "start")) {
			do_exec(line);
		} else if (!strcmp(verb, "device")) {
			do_device(unescape(line));
		} else if (!strcmp(verb, "run") || !strcmp(verb, "tab")) {
			do_run(line, verb[0] == 't');
		} else if (!strcmp(verb, "action")) {
			do_action(line);
		} else if (!strcmp(verb, "tell")) {
			do_tell(line);
		} else {
			go_on = 0;
		}
		pthread_mutex_lock(&hand);
		task = NULL;
		pthread_cond_broadcast(&changed);
		pthread_mutex_unlock(&hand);
	}
	return NULL;
}

static void wait_for_foreign(void)
{
	pthread_mutex_lock(&hand);
	while (task) {
		pthread_cond_wait(&changed, &hand);
	}
	pthread_mutex_unlock(&hand);
}

static void on_foreign_thread(char *line)
{
	static char copy[LONG];
	int starts = !strncmp(line, "start ", 6);

	strcpy(copy, line);
	if (!foreign_runs) {
		pthread_create(&foreign, NULL, work, NULL);
		foreign_runs = 1;
	}
	pthread_mutex_lock(&hand);
	task = copy;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&hand);
	while (starts && !__atomic_load_n(&listens, __ATOMIC_SEQ_CST)) {
		usleep(1000);
	}
	if (!starts) {
		wait_for_foreign();
	}
}

int main(int argc, char **argv)
{
	static char line[LONG];
	pthread_mutexattr_t recursive;

	if (argc != 2) {
		return 2;
	}
	folder = argv[1];
#define SET_FOLDER(name) ast_config_AST_ ## name ## _DIR = folder;
	FOLDERS(SET_FOLDER)
	ast_config_AST_DB = folder;
	pthread_mutex_init(&hand, NULL);
	pthread_cond_init(&changed, NULL);
	pthread_mutexattr_init(&recursive);
	pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&channel.lock, &recursive);
	channel.caller.id.number.valid = 1;
	channel.caller.id.number.str = "79001234567";
	memset(channel.variable, 'v', sizeof(channel.variable) - 1);
	channel.next = channel.script;
	channel.state = AST_STATE_UP;
	channel.reads = format("bytes");

	while (fgets(line, sizeof(line), stdin)) {
		char *rest = line, *verb;

		line[strcspn(line, "\n")] = '\0';
		if (!strncmp(line, "read ", 5) || !strncmp(line, "run ", 4) || !strncmp(line, "tab ", 4) || !strncmp(line, "action ", 7)
			|| !strncmp(line, "tell ", 5) || !strncmp(line, "write ", 6) || !strncmp(line, "exec ", 5)
			|| !strncmp(line, "start ", 6) || !strncmp(line, "device ", 7)) {
			on_foreign_thread(line);
			say(".", "");
			continue;
		}
		verb = strsep(&rest, " ");
		if (!strcmp(verb, "open")) {
			do_open(rest);
		} else if (!strcmp(verb, "close")) {
			sayf("closed", "%d mapped %d", dlclose(image), dl_iterate_phdr(seek_image, NULL));
		} else if (!strcmp(verb, "version")) {
			snprintf(version_text, sizeof(version_text), "%s", strsep(&rest, " "));
			snprintf(version_number, sizeof(version_number), "%s", rest);
		} else if (!strcmp(verb, "decline")) {
			snprintf(declined_type, sizeof(declined_type), "%s", rest);
		} else if (!strcmp(verb, "load")) {
			*set_last = '\0';
			sayf("returned", "%d", (int) module.info->load());
		} else if (!strcmp(verb, "reload")) {
			sayf("returned", "%d", module.info->reload());
		} else if (!strcmp(verb, "unload_by_the_way")) {
			sayf("returned", "%d", module.info->unload());
		} else if (!strcmp(verb, "unload")) {
			/* Forced, it hangs up who is inside: __ast_module_user_hangup_all(). */
			hang_up();
			sayf("returned", "%d", module.info->unload());
		} else if (!strcmp(verb, "end")) {
			if (at_exit) {
				at_exit();
			}
		} else if (!strcmp(verb, "http")) {
			do_http(rest);
		} else if (!strcmp(verb, "registered")) {
			do_registered();
		} else if (!strcmp(verb, "channel")) {
			do_channel(rest ? rest : "");
		} else if (!strcmp(verb, "join")) {
			wait_for_foreign();
		} else if (!strcmp(verb, "channelvars")) {
			snprintf(read_always, sizeof(read_always), "%s", rest);
		} else if (!strcmp(verb, "search_custom")) {
			/* AST_OPT_FLAG_SOUNDS_SEARCH_CUSTOM, which older headers do not have. */
			ast_options.flags |= 1 << 19;
		} else if (!strcmp(verb, "transmit_silence")) {
			ast_options.flags |= AST_OPT_FLAG_TRANSMIT_SILENCE;
		} else if (!strcmp(verb, "inside")) {
			sayf("inside", "%ld %ld %lld", inside.calls, inside.waits, inside.microseconds);
			memset(&inside, 0, sizeof(inside));
		} else if (!strcmp(verb, "threads")) {
			count_entries("/proc/self/task");
		} else if (!strcmp(verb, "files")) {
			count_entries("/proc/self/fd");
		} else if (!strcmp(verb, "leaks")) {
			do_leaks();
		} else if (!strcmp(verb, "leave")) {
			if (foreign_runs) {
				on_foreign_thread(line);
				pthread_join(foreign, NULL);
				foreign_runs = 0;
			}
		} else {
			say("error", "no such command of the host");
		}
		say(".", "");
	}
	return 0;
}
