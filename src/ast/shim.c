/*
 * res_planfix: what only C can say to Asterisk. include/res_planfix.h tells what each function is for.
 *
 * This program is free software, distributed under the terms of the GNU General Public License Version 2.
 */

/*** MODULEINFO
	<support_level>extended</support_level>
 ***/

#include "asterisk.h"

#include <sys/syscall.h>
#include <unistd.h>

#include "asterisk/acl.h"
#include "asterisk/app.h"
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
#include "asterisk/format_cap.h"
#include "asterisk/frame.h"
#include "asterisk/iostream.h"
#include "asterisk/json.h"
#include "asterisk/lock.h"
#include "asterisk/logger.h"
#include "asterisk/manager.h"
#include "asterisk/module.h"
#include "asterisk/options.h"
#include "asterisk/parking.h"
#include "asterisk/pbx.h"
#include "asterisk/pickup.h"
#include "asterisk/say.h"
#include "asterisk/stasis.h"
#include "asterisk/stasis_bridges.h"
#include "asterisk/stasis_channels.h"
#include "asterisk/strings.h"
#include "asterisk/taskprocessor.h"
#include "asterisk/tcptls.h"
#include "asterisk/time.h"
#include "asterisk/translate.h"
#include "asterisk/utils.h"

#include "include/res_planfix.h"

/* Not in every Asterisk from 16 to 23. Weak, so that in one of another version than this was built for the loader gets as far as
 * our own message about that, and does not stop at a symbol that is missing. */
#pragma weak ast_bridge_get_snapshot_by_uniqueid
#pragma weak ast_bridge_snapshot_get_latest
#pragma weak ast_channel_mixmonitor_start_type
#pragma weak ast_channel_cache
#pragma weak ast_channel_macroexten
#pragma weak ast_channel_topic_all_cached
#pragma weak stasis_subscribe

void shim_log(int level, const char *file, int line, const char *function, const char *message)
{
	ast_log(level, file, line, function, "%s\n", message);
}

int shim_debug_atleast(int level)
{
	return DEBUG_ATLEAST(level);
}

int shim_fully_booted(void)
{
	return ast_fully_booted ? 1 : 0;
}

void shim_channel_lock(struct ast_channel *channel)
{
	ast_channel_lock(channel);
}

void shim_channel_unlock(struct ast_channel *channel)
{
	ast_channel_unlock(channel);
}

int shim_channel_is_locked_here(struct ast_channel *channel)
{
#ifdef __GLIBC__
	/* A recursive mutex knows its owner, and nobody but this thread makes this thread the owner or takes that from it. While the
	 * lock is another's or nobody's, whatever is read here is another number. */
	const ast_mutex_t *lock = ao2_object_get_lockaddr(channel);

	return lock && __atomic_load_n(&lock->mutex.__data.__owner, __ATOMIC_RELAXED) == (int) syscall(SYS_gettid);
#else
	(void) channel;
	return 0;
#endif
}

static const char *valid_number(const struct ast_party_number *number)
{
	return number->valid ? S_OR(number->str, NULL) : NULL;
}

const char *shim_channel_caller_number(struct ast_channel *channel)
{
	return valid_number(&ast_channel_caller(channel)->id.number);
}

int shim_channel_caller_restricted(struct ast_channel *channel)
{
	return (ast_party_id_presentation(&ast_channel_caller(channel)->id) & AST_PRES_RESTRICTION) != AST_PRES_ALLOWED;
}

const char *shim_channel_connected_number(struct ast_channel *channel)
{
	return valid_number(&ast_channel_connected(channel)->id.number);
}

const char *shim_channel_dialed_number(struct ast_channel *channel)
{
	return S_OR(ast_channel_dialed(channel)->number.str, NULL);
}

const char *shim_channel_macro_exten(struct ast_channel *channel)
{
#if PLANFIX_ASTERISK_MAJOR <= 20
	return S_OR(ast_channel_macroexten(channel), NULL);
#else
	/* app_macro and the channel's fields for it are gone since 21. */
	(void) channel;
	return NULL;
#endif
}

void shim_channel_unref(struct ast_channel *channel)
{
	ast_channel_unref(channel);
}

int shim_channel_is_up(struct ast_channel *channel)
{
	int is_up;

	ast_channel_lock(channel);
	is_up = ast_channel_state(channel) == AST_STATE_UP;
	ast_channel_unlock(channel);
	return is_up;
}

int shim_channel_rate(struct ast_channel *channel)
{
	int rate;

	ast_channel_lock(channel);
	rate = ast_format_get_sample_rate(ast_channel_rawreadformat(channel));
	ast_channel_unlock(channel);
	return rate;
}

int shim_channel_recordingfile(struct ast_channel *channel, char *value, size_t size)
{
	/* Asked without need, both would complain in the log. */
	if (!ast_cdr_is_enabled() || !ast_custom_function_find("CDR")) {
		return -1;
	}
	return ast_func_read(channel, "CDR(recordingfile)", value, size);
}

int shim_channel_set_recordingfile(struct ast_channel *channel, const char *value)
{
	return ast_func_write(channel, "CDR(recordingfile)", value);
}

int shim_channel_set_caller_name(struct ast_channel *channel, const char *name)
{
	const struct ast_party_name *known;
	int same;

	ast_channel_lock(channel);
	known = &ast_channel_caller(channel)->id.name;
	same = known->valid && known->str && !strcmp(known->str, name);
	ast_channel_unlock(channel);
	if (same) {
		return 0;
	}
	ast_set_callerid(channel, NULL, name, NULL);
	return 1;
}

struct ast_channel *shim_channel_find(const char *uniqueid)
{
	struct ast_channel_snapshot *known = ast_strlen_zero(uniqueid) ? NULL : ast_channel_snapshot_get_latest(uniqueid);
	struct ast_channel_iterator *each;
	struct ast_channel *channel;

	/* Who is gone is gone from the cache of snapshots too, which no call waits for. */
	if (!known) {
		return NULL;
	}
	ao2_ref(known, -1);
	/* ast_channel_get_by_name() holds the container of all channels while it locks one channel after the other (main/channel.c,
	 * by_uniqueid_cb; main/channelstorage_ao2_legacy.c since 20.15, 21.10, 22.5 and 23.0). One that is busy would then hold up every call
	 * that begins, and Asterisk's issues 1872, 1873 and 1946 are what comes of that. An iterator lets go of the container before it
	 * returns, in every storage, and locks no channel. */
	each = ast_channel_iterator_all_new();
	if (!each) {
		return NULL;
	}
	/* Without the channel's lock: the text lies in the channel itself and is never freed before it (struct ast_channel_id). A
	 * masquerade that changes it just now makes it nobody's for that moment. */
	while ((channel = ast_channel_iterator_next(each)) && strcmp(ast_channel_uniqueid(channel), uniqueid)) {
		ast_channel_unref(channel);
	}
	ast_channel_iterator_destroy(each);
	return channel;
}

void shim_channel_name_caller(struct ast_channel *channel, const char *name)
{
	struct ast_party_connected_line connected;
	struct ast_set_party_connected_line update;

	if (!shim_channel_set_caller_name(channel, name)) {
		return;
	}
	/* Phones that ring already learned who calls from the INVITE. What changes then is told by the caller's own channel, and
	 * Dial() or the bridge passes it on (apps/app_dial.c, wait_for_answer, AST_CONTROL_CONNECTED_LINE). */
	memset(&connected, 0, sizeof(connected));
	memset(&update, 0, sizeof(update));
	update.id.name = 1;
	connected.id.name.valid = 1;
	connected.id.name.str = (char *) name;
	connected.id.name.char_set = AST_PARTY_CHAR_SET_ISO10646_UTF_8STRING;
	connected.id.name.presentation = AST_PRES_ALLOWED_USER_NUMBER_NOT_SCREENED;
	connected.source = AST_CONNECTED_LINE_UPDATE_SOURCE_UNKNOWN;
	ast_channel_queue_connected_line_update(channel, &connected, &update);
}

int shim_function_register(struct ast_custom_function *function, int read_escalates, int write_escalates)
{
	return ast_custom_function_register_escalating(function, read_escalates
		? write_escalates ? AST_CFE_BOTH : AST_CFE_READ
		: write_escalates ? AST_CFE_WRITE : AST_CFE_NONE);
}

int shim_application_register(const char *name, int (*run)(struct ast_channel *, const char *))
{
	/* Without texts of ours Asterisk shows what the XML documentation says. With our module it counts who is inside
	 * (main/pbx_app.c, pbx_exec). */
	return ast_register_application2(name, run, NULL, NULL, AST_MODULE_SELF);
}

char *shim_database_get(const char *family, const char *key)
{
	char *value;

	return ast_db_get_allocated(family, key, &value) ? NULL : value;
}

void shim_free(void *memory)
{
	ast_free(memory);
}

int shim_cli_register(struct ast_cli_entry *entry)
{
	return ast_cli_register(entry);
}

void shim_cli_line(int fd, const char *line)
{
	ast_cli(fd, "%s\n", line);
}

void shim_cli_completion(const char *candidate)
{
	/* Asterisk frees it, so its own allocator must have made it. */
	ast_cli_completion_add(ast_strdup(candidate));
}

int shim_manager_register(const char *action, int authority, int (*callback)(struct mansession *, const struct message *))
{
	/* Only without texts of ours does Asterisk show what the XML documentation says (main/manager.c, ast_manager_register2). */
	return ast_manager_register2(action, authority, callback, AST_MODULE_SELF, NULL, NULL);
}

void shim_manager_append(struct mansession *session, const char *text)
{
	astman_append(session, "%s", text);
}

void shim_manager_event(int category, const char *event, const char *text)
{
	manager_event(category, event, "%s", text);
}

int shim_http_socket(struct ast_tcptls_session_instance *session)
{
	return ast_iostream_get_fd(session->stream);
}

int shim_http_encrypted(struct ast_tcptls_session_instance *session)
{
	return ast_iostream_get_ssl(session->stream) != NULL;
}

const char *shim_http_peer(struct ast_tcptls_session_instance *session)
{
	return ast_sockaddr_stringify_addr(&session->remote_address);
}

void shim_http_deadline(struct ast_tcptls_session_instance *session, int total)
{
	ast_iostream_set_timeout_sequence(session->stream, ast_tvnow(), total);
}

void shim_http_patience(struct ast_tcptls_session_instance *session, int each)
{
	ast_iostream_set_timeout_inactivity(session->stream, each);
}

ssize_t shim_http_read(struct ast_tcptls_session_instance *session, void *buffer, size_t length)
{
	return ast_iostream_read(session->stream, buffer, length);
}

ssize_t shim_http_line(struct ast_tcptls_session_instance *session, char *buffer, size_t length)
{
	return ast_iostream_gets(session->stream, buffer, length);
}

ssize_t shim_http_write(struct ast_tcptls_session_instance *session, const void *bytes, size_t length)
{
	return ast_iostream_write(session->stream, bytes, length);
}

enum shim_acl shim_acl(const char *list, const char *address)
{
	struct ast_sockaddr from;
	struct ast_ha *rules;
	enum shim_acl answer;

	if (!ast_sockaddr_parse(&from, address, PARSE_PORT_FORBID)) {
		return SHIM_ACL_DENIED;
	}
	/* NULL is the answer for a list without rules, too, and where acl.conf could not be read, without saying which it is. */
	rules = ast_named_acl_find(list, NULL, NULL);
	if (!rules) {
		return SHIM_ACL_UNDEFINED;
	}
	answer = ast_apply_ha(rules, &from) == AST_SENSE_ALLOW ? SHIM_ACL_ALLOWED : SHIM_ACL_DENIED;
	ast_free_ha(rules);
	return answer;
}

int shim_device_exists(const char *device)
{
	return ast_device_state(device) != AST_DEVICE_INVALID;
}

static void set_parties(struct ast_channel *channel, const char *caller, const char *other)
{
	struct ast_party_connected_line connected;
	int knows_itself;

	ast_channel_lock(channel);
	knows_itself = valid_number(&ast_channel_caller(channel)->id.number) != NULL;
	/* Takes no text along. */
	ast_party_connected_line_set_init(&connected, ast_channel_connected(channel));
	ast_channel_unlock(channel);
	/* A phone of its own technology knows who it is, by its endpoint's callerid; a Local channel does not. */
	if (!knows_itself) {
		ast_set_callerid(channel, caller, NULL, caller);
	}
	connected.id.number.valid = 1;
	connected.id.number.str = (char *) other;
	connected.id.number.presentation = AST_PRES_ALLOWED_USER_NUMBER_NOT_SCREENED;
	ast_channel_set_connected_line(channel, &connected, NULL);
}

/* A phone that is called, and where it goes then. */
struct ringing {
	struct ast_dial *dial;
	char context[AST_MAX_CONTEXT];
	char exten[AST_MAX_EXTENSION];
};

static void stop_ringing(struct ringing *ringing)
{
	/* Hangs up what is still there. */
	ast_dial_destroy(ringing->dial);
	ast_free(ringing);
}

/* The thread of a phone for as long as it rings, as main/pbx.c's pbx_outgoing_exec() is. It has nothing of the module's but this code,
 * which stays mapped (-z nodelete), so an unload need not wait for it. */
static void *ring(void *data)
{
	struct ringing *ringing = data;

	if (ast_dial_run(ringing->dial, NULL, 0) == AST_DIAL_RESULT_ANSWERED) {
		struct ast_channel *channel = ast_dial_answered_steal(ringing->dial);

		ast_channel_lock(channel);
		ast_channel_context_set(channel, ringing->context);
		ast_channel_exten_set(channel, ringing->exten);
		ast_channel_priority_set(channel, 1);
		ast_channel_unlock(channel);
		/* Not ast_pbx_run(): the call may last for hours, and its thread is to be Asterisk's own. */
		if (ast_pbx_start(channel) != AST_PBX_SUCCESS) {
			ast_hangup(channel);
		}
	}
	stop_ringing(ringing);
	return NULL;
}

int shim_originate(const char *technology, const char *resource, int timeout, const char *context, const char *exten,
	const char *caller, const char *const *variables)
{
	struct ringing *ringing = ast_calloc(1, sizeof(*ringing));
	struct ast_format_cap *formats;
	struct ast_channel *channel;
	pthread_t thread;
	int failed;

	if (!ringing) {
		return -1;
	}
	ast_copy_string(ringing->context, context, sizeof(ringing->context));
	ast_copy_string(ringing->exten, exten, sizeof(ringing->exten));
	ringing->dial = ast_dial_create();
	formats = ast_format_cap_alloc(AST_FORMAT_CAP_FLAG_DEFAULT);
	if (formats) {
		/* As AMI's Originate and call files do. */
		ast_format_cap_append(formats, ast_format_slin, 0);
	}
	failed = !ringing->dial || !formats || ast_dial_append(ringing->dial, technology, resource, NULL) < 0;
	if (!failed) {
		ast_dial_set_global_timeout(ringing->dial, timeout);
		failed = ast_dial_prerun(ringing->dial, NULL, formats);
	}
	ao2_cleanup(formats);
	channel = failed ? NULL : ast_dial_get_channel(ringing->dial, 0);
	if (!channel) {
		stop_ringing(ringing);
		return -1;
	}
	/* Nobody calls the channel yet, and it is not locked: PJSIP_HEADER() waits for a thread of PJSIP's
	 * (res/res_pjsip_header_funcs.c, func_write_header), which may wait for this channel. ast_pbx_outgoing_exten() sets variables with
	 * the channel locked (main/pbx.c, pbx_outgoing_attempt, before 20.20, 22.10 and 23.4): Asterisk's issue 1936, where no call
	 * can begin any more. Nor can it tell who is shown on the phone from who calls then. */
	for (; variables[0]; variables += 2) {
		pbx_builtin_setvar_helper(channel, variables[0], variables[1]);
	}
	ast_channel_lock(channel);
	ast_set_flag(ast_channel_flags(channel), AST_FLAG_ORIGINATED);
	ast_channel_unlock(channel);
	set_parties(channel, caller, exten);
	if (ast_pthread_create_detached_stack(&thread, NULL, ring, ringing, 0, __FILE__, __FUNCTION__, __LINE__, "planfix/click")) {
		stop_ringing(ringing);
		return -1;
	}
	return 0;
}

enum shim_config_status shim_config_load(const char *file, struct ast_config **config)
{
	/* No flag for an unchanged file: whoever asks wants the contents. */
	struct ast_flags flags = { CONFIG_FLAG_NOCACHE };

	*config = ast_config_load2(file, AST_MODULE, flags);
	if (*config == CONFIG_STATUS_FILEMISSING) {
		return SHIM_CONFIG_MISSING;
	}
	if (*config == CONFIG_STATUS_FILEINVALID || *config == CONFIG_STATUS_FILEUNCHANGED) {
		*config = NULL;
		return SHIM_CONFIG_INVALID;
	}
	return SHIM_CONFIG_LOADED;
}

uint64_t shim_nanoseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t) now.tv_sec * 1000000000 + (uint64_t) now.tv_nsec;
}

static int64_t microseconds(struct timeval when)
{
	return (int64_t) when.tv_sec * 1000000 + when.tv_usec;
}

/* A snapshot is immutable and lives as long as the message that holds it, so nothing is copied but pointers. */
/* Since 17 a snapshot is made of parts, and shares those that did not change with the one before (main/stasis_channels.c,
 * ast_channel_snapshot_create). */
#if PLANFIX_ASTERISK_MAJOR <= 16
#define PART(snapshot, part, field, plain) ((snapshot)->plain)
#define SHARES(a, b, part) 0
#else
#define PART(snapshot, part, field, plain) ((snapshot)->part->field)
#define SHARES(a, b, part) ((a)->part == (b)->part)
#endif

/* A module that was built for one release is loaded by every other of the same major version, whose structures differ. So nothing is read
 * that has moved within one: not hangup->source (a pointer since 20.17, 22.7 and 23.1). Before the time of creation a string came in
 * with 18.25, 20.10 and 21.5, together with this function. */
extern const char *ast_channel_tenantid(const struct ast_channel *channel) __attribute__((weak));

#ifdef AST_MAX_TENANT_ID
#define BUILT_WITH_TENANTS 1
#else
#define BUILT_WITH_TENANTS 0
#endif

static struct timeval created(const struct ast_channel_snapshot *snapshot)
{
	const char *built_for = (const char *) &PART(snapshot, base, creationtime, creationtime);
	struct timeval time;

	memcpy(&time, built_for + ((ast_channel_tenantid != NULL) - BUILT_WITH_TENANTS) * (int) sizeof(ast_string_field), sizeof(time));
	return time;
}

static int is_restricted(const struct ast_channel_snapshot *snapshot)
{
	return (PART(snapshot, caller, pres, caller_pres) & AST_PRES_RESTRICTION) != AST_PRES_ALLOWED;
}

/* A message comes from another processor's cache, one line at a time: each text is waited for when it is looked at. Asked for
 * together they come together. */
static void hurry(const struct shim_snapshot *snapshot)
{
	__builtin_prefetch(snapshot->uniqueid);
	__builtin_prefetch(snapshot->linkedid);
	__builtin_prefetch(snapshot->name);
	__builtin_prefetch(snapshot->caller_number);
	__builtin_prefetch(snapshot->rdnis);
	__builtin_prefetch(snapshot->dialed);
	__builtin_prefetch(snapshot->connected_number);
	__builtin_prefetch(snapshot->context);
	__builtin_prefetch(snapshot->exten);
	__builtin_prefetch(snapshot->application);
}

static void fill_snapshot(struct shim_snapshot *to, const struct ast_channel_snapshot *from)
{
	if (!from) {
		return;
	}
	*to = (struct shim_snapshot) {
		.uniqueid = PART(from, base, uniqueid, uniqueid),
		.linkedid = PART(from, peer, linkedid, linkedid),
		.name = PART(from, base, name, name),
		.technology = PART(from, base, type, type),
		.accountcode = PART(from, base, accountcode, accountcode),
		.caller_number = PART(from, caller, number, caller_number),
		.caller_name = PART(from, caller, name, caller_name),
		.ani = PART(from, caller, ani, caller_ani),
		.rdnis = PART(from, caller, rdnis, caller_rdnis),
		.dialed = PART(from, caller, dnid, caller_dnid),
		.connected_number = PART(from, connected, number, connected_number),
		.connected_name = PART(from, connected, name, connected_name),
		.context = PART(from, dialplan, context, context),
		.exten = PART(from, dialplan, exten, exten),
		.application = PART(from, dialplan, appl, appl),
		.application_data = PART(from, dialplan, data, data),
		.bridge = PART(from, bridge, id, bridgeid),
		.created = microseconds(created(from)),
		.state = from->state,
		.hangup_cause = PART(from, hangup, cause, hangupcause),
		.caller_restricted = is_restricted(from),
	};
	hurry(to);
}

static void fill_bridge(struct shim_bridge *to, const struct ast_bridge_snapshot *from)
{
	if (!from) {
		return;
	}
	*to = (struct shim_bridge) {
		.uniqueid = from->uniqueid,
		.technology = from->technology,
		.creator = from->creator,
		.name = from->name,
		.channels = from->num_channels,
	};
}

static int differs(const char *one, const char *other)
{
	return one != other && strcmp(one, other);
}

#define DIFFERS(part, field, plain) differs(PART(a, part, field, plain), PART(b, part, field, plain))

/* Looks into those parts only that are not shared: the older snapshot is no longer in the processor's cache. */
static unsigned int differences(const struct ast_channel_snapshot *a, const struct ast_channel_snapshot *b)
{
	unsigned int changes = 0;

	if (a->state != b->state) {
		changes |= SHIM_CHANGED_STATE;
	}
	if ((!SHARES(a, b, base) && (DIFFERS(base, name, name) || DIFFERS(base, accountcode, accountcode)))
		|| (!SHARES(a, b, peer) && DIFFERS(peer, linkedid, linkedid))) {
		changes |= SHIM_CHANGED_IDENTITY;
	}
	if (!SHARES(a, b, caller) && (DIFFERS(caller, number, caller_number) || DIFFERS(caller, name, caller_name)
		|| DIFFERS(caller, ani, caller_ani) || DIFFERS(caller, rdnis, caller_rdnis) || DIFFERS(caller, dnid, caller_dnid)
		|| is_restricted(a) != is_restricted(b))) {
		changes |= SHIM_CHANGED_CALLER;
	}
	if (!SHARES(a, b, connected) && (DIFFERS(connected, number, connected_number)
		|| DIFFERS(connected, name, connected_name))) {
		changes |= SHIM_CHANGED_CONNECTED;
	}
	if (!SHARES(a, b, dialplan)) {
		if (DIFFERS(dialplan, context, context) || DIFFERS(dialplan, exten, exten)) {
			changes |= SHIM_CHANGED_EXTENSION;
		}
		if (DIFFERS(dialplan, appl, appl) || DIFFERS(dialplan, data, data)) {
			changes |= SHIM_CHANGED_APPLICATION;
		}
	}
	return changes;
}

/* Each of the following makes a record of a message's data, and tells whether there is something to report. */

static int on_entered(struct shim_record *record, void *data)
{
	struct ast_bridge_blob *blob = data;

	record->event = SHIM_BRIDGE_ENTERED;
	fill_snapshot(&record->channel, blob->channel);
	fill_bridge(&record->bridge, blob->bridge);
	record->text[0] = blob->blob ? ast_json_object_string_get(blob->blob, "swap") : NULL;
	return blob->channel && blob->bridge;
}

static int on_left(struct shim_record *record, void *data)
{
	struct ast_bridge_blob *blob = data;

	record->event = SHIM_BRIDGE_LEFT;
	fill_snapshot(&record->channel, blob->channel);
	fill_bridge(&record->bridge, blob->bridge);
	return blob->channel && blob->bridge;
}

static int on_dial(struct shim_record *record, void *data)
{
	struct ast_json *blob = ast_multi_channel_blob_get_json(data);

	record->event = SHIM_DIAL;
	fill_snapshot(&record->channel, ast_multi_channel_blob_get_channel(data, "caller"));
	fill_snapshot(&record->peer, ast_multi_channel_blob_get_channel(data, "peer"));
	fill_snapshot(&record->third, ast_multi_channel_blob_get_channel(data, "forwarded"));
	record->text[0] = ast_json_object_string_get(blob, "dialstatus");
	record->text[1] = ast_json_object_string_get(blob, "dialstring");
	record->text[2] = ast_json_object_string_get(blob, "forward");
	return record->peer.uniqueid != NULL;
}

static int on_blind_transfer(struct shim_record *record, void *data)
{
	const struct ast_blind_transfer_message *transfer = data;

	record->event = SHIM_BLIND_TRANSFER;
	fill_snapshot(&record->channel, transfer->transferer);
	fill_snapshot(&record->peer, transfer->transferee);
	fill_snapshot(&record->third, transfer->replace_channel);
	fill_bridge(&record->bridge, transfer->bridge);
	record->text[0] = transfer->context;
	record->text[1] = transfer->exten;
	record->outcome = transfer->result;
	record->external = transfer->is_external;
	return transfer->transferer != NULL;
}

static int on_attended_transfer(struct shim_record *record, void *data)
{
	const struct ast_attended_transfer_message *transfer = data;

	record->event = SHIM_ATTENDED_TRANSFER;
	fill_snapshot(&record->channel, transfer->to_transferee.channel_snapshot);
	fill_snapshot(&record->peer, transfer->to_transfer_target.channel_snapshot);
	fill_snapshot(&record->third, transfer->transferee);
	fill_snapshot(&record->fourth, transfer->target);
	fill_bridge(&record->bridge, transfer->to_transferee.bridge_snapshot);
	fill_bridge(&record->second_bridge, transfer->to_transfer_target.bridge_snapshot);
	record->outcome = transfer->result;
	record->external = transfer->is_external;
	record->kind = transfer->dest_type;
	switch (transfer->dest_type) {
	case AST_ATTENDED_TRANSFER_DEST_BRIDGE_MERGE:
		record->text[0] = transfer->dest.bridge;
		break;
	case AST_ATTENDED_TRANSFER_DEST_APP:
	case AST_ATTENDED_TRANSFER_DEST_LOCAL_APP:
		record->text[0] = transfer->dest.app;
		break;
	case AST_ATTENDED_TRANSFER_DEST_THREEWAY:
		record->text[0] = transfer->dest.threeway.bridge_snapshot ? transfer->dest.threeway.bridge_snapshot->uniqueid : NULL;
		break;
	case AST_ATTENDED_TRANSFER_DEST_LINK:
	case AST_ATTENDED_TRANSFER_DEST_FAIL:
		break;
	}
	return record->channel.uniqueid && record->peer.uniqueid;
}

static int on_pickup(struct shim_record *record, void *data)
{
	record->event = SHIM_PICKUP;
	fill_snapshot(&record->channel, ast_multi_channel_blob_get_channel(data, "channel"));
	fill_snapshot(&record->peer, ast_multi_channel_blob_get_channel(data, "target"));
	return record->channel.uniqueid && record->peer.uniqueid;
}

static int on_hold(struct shim_record *record, void *data)
{
	const struct ast_channel_blob *blob = data;

	record->event = SHIM_HOLD;
	fill_snapshot(&record->channel, blob->snapshot);
	/* There is an object only when the phone named a music class (main/channel.c, ast_queue_hold). */
	record->text[0] = blob->blob ? ast_json_object_string_get(blob->blob, "musicclass") : NULL;
	return blob->snapshot != NULL;
}

static int on_unhold(struct shim_record *record, void *data)
{
	const struct ast_channel_blob *blob = data;

	record->event = SHIM_UNHOLD;
	fill_snapshot(&record->channel, blob->snapshot);
	return blob->snapshot != NULL;
}

static int on_parked(struct shim_record *record, void *data)
{
	const struct ast_parked_call_payload *parked = data;

	record->event = SHIM_PARKING;
	fill_snapshot(&record->channel, parked->parkee);
	fill_snapshot(&record->peer, parked->retriever);
	record->text[0] = parked->parker_dial_string;
	record->text[1] = parked->parkinglot;
	record->kind = parked->event_type;
	record->number = parked->parkingspace;
	return parked->parkee != NULL;
}

#ifdef PLANFIX_MIXMONITOR_MESSAGES
static int on_recording(struct shim_record *record, void *data)
{
	const struct ast_channel_blob *blob = data;

	record->event = SHIM_RECORDING;
	fill_snapshot(&record->channel, blob->snapshot);
	return blob->snapshot != NULL;
}

/* The first releases of 16 and 18 have no such message, and one that was built with newer headers may run there. */
static struct stasis_message_type *recording_type(void)
{
	return ast_channel_mixmonitor_start_type ? ast_channel_mixmonitor_start_type() : NULL;
}
#endif

int shim_stasis_tells_of_recordings(void)
{
#ifdef PLANFIX_MIXMONITOR_MESSAGES
	return ast_channel_mixmonitor_start_type != NULL;
#else
	return 0;
#endif
}

static int on_variable(struct shim_record *record, void *data)
{
	const struct ast_channel_blob *blob = data;

	record->event = SHIM_VARIABLE_SET;
	fill_snapshot(&record->channel, blob->snapshot);
	record->text[0] = ast_json_object_string_get(blob->blob, "variable");
	record->text[1] = ast_json_object_string_get(blob->blob, "value");
	return blob->snapshot != NULL;
}

/* The kinds of message that are listened to, the most frequent first. */
static const struct {
	const char *name;
	struct stasis_message_type *(*type)(void);
	/* None for the first, see on_snapshots(). */
	int (*fill)(struct shim_record *record, void *data);
} kinds[] = {
#if PLANFIX_ASTERISK_MAJOR <= 16
	{ "stasis_cache_update", stasis_cache_update_type, NULL },
#else
	{ "ast_channel_snapshot_type", ast_channel_snapshot_type, NULL },
#endif
	{ "ast_channel_dial_type", ast_channel_dial_type, on_dial },
	{ "ast_channel_entered_bridge_type", ast_channel_entered_bridge_type, on_entered },
	{ "ast_channel_left_bridge_type", ast_channel_left_bridge_type, on_left },
	{ "ast_channel_hold_type", ast_channel_hold_type, on_hold },
	{ "ast_channel_unhold_type", ast_channel_unhold_type, on_unhold },
	{ "ast_blind_transfer_type", ast_blind_transfer_type, on_blind_transfer },
	{ "ast_attended_transfer_type", ast_attended_transfer_type, on_attended_transfer },
	{ "ast_call_pickup_type", ast_call_pickup_type, on_pickup },
	{ "ast_parked_call_type", ast_parked_call_type, on_parked },
#ifdef PLANFIX_MIXMONITOR_MESSAGES
	{ "ast_channel_mixmonitor_start_type", recording_type, on_recording },
#endif
	{ "ast_channel_varset_type", ast_channel_varset_type, on_variable },
};

enum {
	SNAPSHOTS = 0,
	/* The last of kinds, because not every subscriber wants it. */
	VARIABLE_SET = ARRAY_LEN(kinds) - 1,
};

struct shim_subscription {
	shim_record_callback callback;
	shim_passed_callback passed;
	const char *applications[SHIM_MOST_APPLICATIONS];
	/* Those of kinds; NULL where stasis.conf declines one. */
	struct stasis_message_type *types[ARRAY_LEN(kinds)];
	struct stasis_topic *topic;
	struct stasis_forward *forwards[3];
	struct stasis_subscription *subscription;
	/* Of the message that this puts into its own stream, once everything is forwarded: that is when the channels which exist
	 * are looked at. A channel is put into the cache before the news of it is published, so whatever happens to it later
	 * follows. */
	struct stasis_message_type *beginning;
};

static void report_running(const struct ast_channel_snapshot *snapshot, shim_record_callback callback, void *data)
{
	struct shim_record record = { .event = SHIM_RUNNING, .time = microseconds(ast_tvnow()), .began = shim_nanoseconds() };
	struct ast_bridge_snapshot *bridge = NULL;

	/* In 16 a dead channel stays in the cache for a moment, after its last snapshot was published. */
	if (ast_test_flag(&snapshot->flags, AST_FLAG_DEAD)) {
		return;
	}
	fill_snapshot(&record.channel, snapshot);
	if (!ast_strlen_zero(record.channel.bridge)) {
#if PLANFIX_ASTERISK_MAJOR <= 16
		bridge = ast_bridge_snapshot_get_latest(record.channel.bridge);
#else
		bridge = ast_bridge_get_snapshot_by_uniqueid(record.channel.bridge);
#endif
		fill_bridge(&record.bridge, bridge);
	}
	callback(&record, data);
	ao2_cleanup(bridge);
}

void shim_stasis_running(shim_record_callback callback, void *data)
{
	struct ao2_container *all;
	struct ao2_iterator each;
	void *item;

	/* Both ways look at the cache, never at the channels' container, which a busy PBX needs. */
#if PLANFIX_ASTERISK_MAJOR <= 16
	all = stasis_cache_dump(ast_channel_cache(), ast_channel_snapshot_type());
#else
	all = ast_channel_cache_all();
#endif
	if (!all) {
		return;
	}
	each = ao2_iterator_init(all, 0);
	while ((item = ao2_iterator_next(&each))) {
#if PLANFIX_ASTERISK_MAJOR <= 16
		report_running(stasis_message_data(item), callback, data);
#else
		report_running(item, callback, data);
#endif
		ao2_ref(item, -1);
	}
	ao2_iterator_destroy(&each);
	ao2_ref(all, -1);
}

static int is_telling(const struct shim_subscription *self, const char *application)
{
	size_t at;

	for (at = 0; at < ARRAY_LEN(self->applications) && self->applications[at]; at++) {
		if (!strcmp(self->applications[at], application)) {
			return 1;
		}
	}
	return 0;
}

/* Nearly every step in the dialplan publishes a snapshot, and hardly any says something of a call. So what is passed over is found
 * out before anything else is done.
 *
 * A channel goes with a snapshot that has AST_FLAG_DEAD, in every version: ast_channel_destructor() sets the flag and publishes
 * (main/channel.c). In 16 the cache is cleared after that, which is no news. */
static void on_snapshots(const struct shim_subscription *self, struct stasis_message *message, uint64_t began)
{
#if PLANFIX_ASTERISK_MAJOR <= 16
	const struct stasis_cache_update *update = stasis_message_data(message);
	const struct ast_channel_snapshot *old = update->old_snapshot ? stasis_message_data(update->old_snapshot) : NULL;
	const struct ast_channel_snapshot *new = update->new_snapshot ? stasis_message_data(update->new_snapshot) : NULL;
#else
	const struct ast_channel_snapshot_update *update = stasis_message_data(message);
	const struct ast_channel_snapshot *old = update->old_snapshot;
	const struct ast_channel_snapshot *new = update->new_snapshot;
#endif
	enum shim_event event;
	unsigned int changes = 0;

#if PLANFIX_ASTERISK_MAJOR <= 16
	if (update->type != ast_channel_snapshot_type()) {
		return;
	}
	/* The update was made a little later than the message in it. */
	message = update->new_snapshot;
#endif
	if (!new || (old && ast_test_flag(&old->flags, AST_FLAG_DEAD))) {
		return;
	}
	if (ast_test_flag(&new->flags, AST_FLAG_DEAD)) {
		event = SHIM_CHANNEL_GONE;
	} else if (!old) {
		event = SHIM_CHANNEL_CREATED;
	} else {
		event = SHIM_CHANNEL_CHANGED;
		changes = differences(old, new);
		if (changes == SHIM_CHANGED_APPLICATION && !is_telling(self, PART(new, dialplan, appl, appl))) {
			changes = 0;
		}
		if (!changes) {
			self->passed(began);
			return;
		}
	}
	{
		struct shim_record record = {
			.event = event,
			.time = microseconds(*stasis_message_timestamp(message)),
			.began = began,
			.changes = changes,
		};

		fill_snapshot(&record.channel, new);
		self->callback(&record, NULL);
	}
}

static void on_message(void *data, struct stasis_subscription *subscription, struct stasis_message *message)
{
	const struct shim_subscription *self = data;
	const struct stasis_message_type *type = stasis_message_type(message);
	uint64_t began = shim_nanoseconds();
	size_t at;

	(void) subscription;
	if (self->types[SNAPSHOTS] == type) {
		on_snapshots(self, message, began);
		return;
	}
	for (at = SNAPSHOTS + 1; at < ARRAY_LEN(kinds); at++) {
		if (self->types[at] == type) {
			struct shim_record record = { .time = microseconds(*stasis_message_timestamp(message)), .began = began };

			if (kinds[at].fill(&record, stasis_message_data(message))) {
				self->callback(&record, NULL);
			}
			return;
		}
	}
	if (type == self->beginning) {
		struct shim_record record = { .event = SHIM_CAUGHT_UP, .began = began };

		shim_stasis_running(self->callback, NULL);
		record.time = microseconds(ast_tvnow());
		self->callback(&record, NULL);
	}
}

static int begin(const struct shim_subscription *self)
{
	/* A message must carry an object; the topic is one that is there anyway. */
	struct stasis_message *message = stasis_message_create(self->beginning, self->topic);

	if (!message) {
		return -1;
	}
	stasis_publish(self->topic, message);
	ao2_ref(message, -1);
	return 0;
}

struct shim_subscription *shim_stasis_subscribe(shim_record_callback callback, shim_passed_callback passed,
	const char *const *applications, size_t count)
{
	/* A topic whose last reference is still held by a task of the previous subscription would be found again by its name
	 * (main/stasis.c, stasis_topic_create_with_detail). */
	static int subscriptions;
	struct stasis_topic *const sources[] = {
#if PLANFIX_ASTERISK_MAJOR <= 16
		/* Everything of the other, with updates that know the snapshot before in place of bare snapshots. The cache works on
		 * the publisher's thread (stasis_caching_topic_create subscribes without a mailbox), so the order stays. */
		ast_channel_topic_all_cached(),
#else
		ast_channel_topic_all(),
#endif
		ast_bridge_topic_all(),
		ast_parking_topic(),
	};
	char name[40];
	struct shim_subscription *self = ast_calloc(1, sizeof(*self));
	size_t at;

	if (!self) {
		return NULL;
	}
	self->callback = callback;
	self->passed = passed;
	for (at = 0; at < ARRAY_LEN(self->applications) && at < count; at++) {
		self->applications[at] = applications[at];
	}
	for (at = 0; at < ARRAY_LEN(kinds); at++) {
		self->types[at] = kinds[at].type();
	}
	snprintf(name, sizeof(name), "res_planfix:calls/%d", ast_atomic_fetchadd_int(&subscriptions, +1));
	self->topic = stasis_topic_create(name);
	/* One topic and one subscription for all, as main/cdr.c does it: two subscriptions would be two task processors, and a
	 * channel's news would overtake its bridge's. */
	if (self->topic && stasis_message_type_create("res_planfix_beginning", NULL, &self->beginning) == STASIS_MESSAGE_TYPE_SUCCESS) {
		self->subscription = stasis_subscribe(self->topic, on_message, self);
	}
	if (!self->subscription) {
		shim_stasis_unsubscribe(self);
		return NULL;
	}
	for (at = 0; at < VARIABLE_SET; at++) {
		/* A NULL would switch the filter off. */
		if (self->types[at]) {
			stasis_subscription_accept_message_type(self->subscription, self->types[at]);
		}
	}
	stasis_subscription_accept_message_type(self->subscription, self->beginning);
	stasis_subscription_set_filter(self->subscription, STASIS_SUBSCRIPTION_FILTER_SELECTIVE);
	/* As for CDR, CEL and AMI: by default a queue of 500 makes chan_pjsip refuse calls (taskprocessor_overload_trigger). */
	stasis_subscription_set_congestion_limits(self->subscription, -1, 10 * AST_TASKPROCESSOR_HIGH_WATER_LEVEL);
	for (at = 0; at < ARRAY_LEN(sources); at++) {
		self->forwards[at] = stasis_forward_all(sources[at], self->topic);
		if (!self->forwards[at]) {
			shim_stasis_unsubscribe(self);
			return NULL;
		}
	}
	if (begin(self)) {
		shim_stasis_unsubscribe(self);
		return NULL;
	}
	return self;
}

void shim_stasis_unsubscribe(struct shim_subscription *self)
{
	size_t at;

	for (at = 0; at < ARRAY_LEN(self->forwards); at++) {
		stasis_forward_cancel(self->forwards[at]);
	}
	/* Waits until what is queued has been given to the callback. */
	stasis_unsubscribe_and_join(self->subscription);
	ao2_cleanup(self->beginning);
	ao2_cleanup(self->topic);
	ast_free(self);
}

/* What is not accepted is not even queued, and there are more of these than of all others together. */
void shim_stasis_accept_variables(struct shim_subscription *self)
{
	struct stasis_message_type *type = self->types[VARIABLE_SET];

	if (type) {
		stasis_subscription_accept_message_type(self->subscription, type);
	}
}

const char *shim_stasis_declined(const struct shim_subscription *self, size_t index)
{
	size_t at;

	for (at = 0; at < VARIABLE_SET; at++) {
		if (!self->types[at] && !index--) {
			return kinds[at].name;
		}
	}
	return NULL;
}

struct shim_audio {
	struct ast_filestream *stream;
	struct ast_format *linear;
	/* From what the file holds, while that is not linear. */
	struct ast_trans_pvt *path;
};

struct shim_audio *shim_audio_open(const char *name, const char *extension)
{
	struct shim_audio *audio = ast_calloc(1, sizeof(*audio));

	if (!audio) {
		return NULL;
	}
	audio->stream = ast_readfile(name, extension, NULL, O_RDONLY, 0, 0);
	if (!audio->stream) {
		ast_free(audio);
		return NULL;
	}
	audio->linear = ast_format_cache_get_slin_by_rate(ast_ratestream(audio->stream));
	return audio;
}

int shim_audio_rate(struct shim_audio *audio)
{
	return ast_format_get_sample_rate(audio->linear);
}

int shim_audio_read(struct shim_audio *audio, char *samples, size_t size)
{
	struct ast_frame *frame = ast_readframe(audio->stream);
	struct ast_frame *linear;
	int length = 0;

	if (!frame) {
		return 0;
	}
	if (frame->frametype != AST_FRAME_VOICE) {
		ast_frfree(frame);
		return -1;
	}
	if (ast_format_cmp(frame->subclass.format, audio->linear) == AST_FORMAT_CMP_EQUAL) {
		linear = frame;
	} else {
		if (!audio->path) {
			audio->path = ast_translator_build_path(audio->linear, frame->subclass.format);
		}
		linear = audio->path ? ast_translate(audio->path, frame, 0) : NULL;
	}
	if (linear && linear->datalen >= 0 && (size_t) linear->datalen <= size) {
		memcpy(samples, linear->data.ptr, linear->datalen);
		length = linear->datalen;
	}
	if (linear && linear != frame) {
		ast_frfree(linear);
	}
	ast_frfree(frame);
	return length ? length : -1;
}

void shim_audio_close(struct shim_audio *audio)
{
	if (audio->path) {
		ast_translator_free_path(audio->path);
	}
	ast_closestream(audio->stream);
	ast_free(audio);
}

/* These fail alike for a sound that is missing and for a channel that is gone. */
static int told(struct ast_channel *channel, int result)
{
	if (result >= 0) {
		return result;
	}
	return ast_check_hangup(channel) ? SHIM_TOLD_NOBODY : SHIM_TOLD_MISSING;
}

/* asterisk.conf's sounds_search_custom_dir, of 18.21, 20.6 and every later major version. Before that the bit means nothing (options.h),
 * and a module that was built there is loaded by those that have it. */
#ifndef ast_opt_sounds_search_custom
#define ast_opt_sounds_search_custom ast_test_flag(&ast_options, 1 << 19)
#endif

int shim_sound_exists(const char *sound, const char *language)
{
	char custom[PATH_MAX];

	if (ast_fileexists(sound, NULL, language) > 0) {
		return 1;
	}
	/* ast_streamfile() looks there by itself (main/file.c), and ast_fileexists() does not. */
	if (!ast_opt_sounds_search_custom || *sound == '/') {
		return 0;
	}
	snprintf(custom, sizeof(custom), "custom/%s", sound);
	return ast_fileexists(custom, NULL, language) > 0;
}

int shim_tell_sound(struct ast_channel *channel, const char *sound, const char *language, const char *breaks)
{
	int result;

	/* ast_streamfile() would complain of it in the log, twice. */
	if (!shim_sound_exists(sound, language)) {
		return SHIM_TOLD_MISSING;
	}
	if (ast_streamfile(channel, sound, language)) {
		ast_stopstream(channel);
		return told(channel, -1);
	}
	result = ast_waitstream(channel, breaks);
	/* This also gives the channel its former write format back. */
	ast_stopstream(channel);
	return result < 0 ? SHIM_TOLD_NOBODY : result;
}

int shim_tell_number(struct ast_channel *channel, int number, const char *language, const char *breaks)
{
	return told(channel, ast_say_number(channel, number, breaks, language, NULL));
}

int shim_tell_digits(struct ast_channel *channel, const char *digits, const char *language, const char *breaks)
{
	return told(channel, ast_say_digit_str(channel, digits, breaks, language));
}

int shim_tell_date(struct ast_channel *channel, int64_t date, const char *language, const char *breaks)
{
	return told(channel, ast_say_date(channel, (time_t) date, breaks, language));
}

struct shim_ear {
	struct ast_channel *channel;
	struct ast_format *linear;
	/* What the channel read before; NULL where it could not be changed. */
	struct ast_format *before;
	struct ast_silence_generator *silence;
	/* For frames that come in another format all the same: from where, and the way to linear, if there is one. */
	struct ast_format *from;
	struct ast_trans_pvt *path;
};

struct shim_ear *shim_ear_open(struct ast_channel *channel, int rate)
{
	struct shim_ear *ear = ast_calloc(1, sizeof(*ear));

	if (!ear) {
		return NULL;
	}
	ear->channel = channel;
	ear->linear = ast_format_cache_get_slin_by_rate(rate);
	ast_channel_lock(channel);
	ear->before = ao2_bump(ast_channel_readformat(channel));
	ast_channel_unlock(channel);
	if (ast_set_read_format(channel, ear->linear)) {
		ao2_cleanup(ear->before);
		ear->before = NULL;
	}
	if (ast_opt_transmit_silence) {
		ear->silence = ast_channel_start_silence_generator(channel);
	}
	return ear;
}

static void take_samples(struct shim_ear *ear, struct ast_frame *frame, struct shim_sound *sound)
{
	struct ast_frame *linear = frame, *each;

	/* Some drivers mark a gap so; codecs would make something up for it. */
	if (frame->datalen <= 0) {
		return;
	}
	if (ast_format_cmp(frame->subclass.format, ear->linear) != AST_FORMAT_CMP_EQUAL) {
		/* Where there is no way it is not looked for again with each frame, which would fill the log. */
		if (!ear->from || ast_format_cmp(frame->subclass.format, ear->from) != AST_FORMAT_CMP_EQUAL) {
			if (ear->path) {
				ast_translator_free_path(ear->path);
			}
			ao2_replace(ear->from, frame->subclass.format);
			ear->path = ast_translator_build_path(ear->linear, frame->subclass.format);
		}
		linear = ear->path ? ast_translate(ear->path, frame, 0) : NULL;
	}
	/* A codec may make several frames of one. */
	for (each = linear; each; each = AST_LIST_NEXT(each, frame_list)) {
		size_t count = each->datalen > 0 ? MIN(each->datalen / sizeof(*sound->samples), sound->room - sound->count) : 0;

		memcpy(sound->samples + sound->count, each->data.ptr, count * sizeof(*sound->samples));
		sound->count += count;
	}
	if (linear && linear != frame) {
		ast_frfree(linear);
	}
}

enum shim_heard shim_ear_listen(struct shim_ear *ear, int patience, struct shim_sound *sound)
{
	int left = ast_waitfor(ear->channel, patience);
	enum shim_heard heard = SHIM_HEARD_OTHER;
	struct ast_frame *frame;

	sound->count = 0;
	if (left <= 0) {
		return left ? SHIM_HEARD_END : SHIM_HEARD_NOTHING;
	}
	frame = ast_read(ear->channel);
	if (!frame) {
		return SHIM_HEARD_END;
	}
	if (frame->frametype == AST_FRAME_VOICE) {
		take_samples(ear, frame, sound);
		heard = SHIM_HEARD_VOICE;
	} else if (frame->frametype == AST_FRAME_DTMF_BEGIN || frame->frametype == AST_FRAME_DTMF_END) {
		sound->digit = frame->subclass.integer;
		heard = frame->frametype == AST_FRAME_DTMF_BEGIN ? SHIM_HEARD_PRESS : SHIM_HEARD_RELEASE;
	}
	ast_frfree(frame);
	return heard;
}

void shim_ear_close(struct shim_ear *ear)
{
	if (ear->silence) {
		ast_channel_stop_silence_generator(ear->channel, ear->silence);
	}
	if (ear->before) {
		ast_set_read_format(ear->channel, ear->before);
	}
	if (ear->path) {
		ast_translator_free_path(ear->path);
	}
	ao2_cleanup(ear->before);
	ao2_cleanup(ear->from);
	ast_free(ear);
}

int shim_thread_start(pthread_t *thread, void *(*start)(void *), void *data, size_t stack, const char *name)
{
	/* This is ast_pthread_create_background with a stack size and a name of ours: the macro would take the name from its
	 * argument, and every thread of the module would be listed as "start". */
	return ast_pthread_create_stack(thread, NULL, start, data, MAX(stack, (size_t) AST_BACKGROUND_STACKSIZE), __FILE__,
		__FUNCTION__, __LINE__, name);
}

static enum ast_module_load_result load_module(void)
{
	return res_planfix_load() == AST_MODULE_LOAD_SUCCESS ? AST_MODULE_LOAD_SUCCESS : AST_MODULE_LOAD_DECLINE;
}

static int reload_module(void)
{
	return res_planfix_reload();
}

static int unload_module(void)
{
	return res_planfix_unload();
}

/* Before the modules of default priority, among them pbx_config: when the dialplan is there, so are its functions. */
AST_MODULE_INFO(ASTERISK_GPL_KEY, AST_MODFLAG_LOAD_ORDER, "Planfix CRM integration",
	.support_level = AST_MODULE_SUPPORT_EXTENDED,
	.load = load_module,
	.unload = unload_module,
	.reload = reload_module,
	.load_pri = AST_MODPRI_APP_DEPEND,
);
