/*
 * The whole surface between the C shim (src/ast/shim.c) and Rust, on one page.
 *
 * The shim exists for what bindgen cannot give: macros (AST_MODULE_INFO, ast_log, AST_MODULE_SELF, ao2_lock), printf-like
 * functions, which get their "%s" here and nowhere else, and structures whose shape differs between Asterisk 16 and 23.
 * It decides nothing.
 *
 * This program is free software, distributed under the terms of the GNU General Public License Version 2.
 */
#ifndef RES_PLANFIX_H
#define RES_PLANFIX_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct ast_channel;
struct ast_cli_entry;
struct ast_config;
struct ast_custom_function;
struct ast_tcptls_session_instance;
struct mansession;
struct message;

/* ---- Rust, called by Asterisk through the shim. ---- */

/* Each returns what Asterisk's load, reload and unload callbacks return. Load never returns AST_MODULE_LOAD_FAILURE. */
int res_planfix_load(void);
int res_planfix_reload(void);
int res_planfix_unload(void);

/* ---- The shim, called by Rust. All strings are NUL-terminated; none is a format. ---- */

/* logger.h. The level is one of __LOG_*. */
void shim_log(int level, const char *file, int line, const char *function, const char *message);
int shim_debug_atleast(int level);

/* options.h. */
int shim_fully_booted(void);

/* channel.h. Pointers are valid while the channel is locked; NULL means not known. */
void shim_channel_lock(struct ast_channel *channel);
void shim_channel_unlock(struct ast_channel *channel);
/* Whether this thread has it locked. 0 also where the C library does not tell. */
int shim_channel_is_locked_here(struct ast_channel *channel);
const char *shim_channel_caller_number(struct ast_channel *channel);
int shim_channel_caller_restricted(struct ast_channel *channel);
const char *shim_channel_connected_number(struct ast_channel *channel);
const char *shim_channel_dialed_number(struct ast_channel *channel);
const char *shim_channel_macro_exten(struct ast_channel *channel);
void shim_channel_unref(struct ast_channel *channel);
/* Answered. */
int shim_channel_is_up(struct ast_channel *channel);
/* Samples a second of what is heard from there, as it comes. */
int shim_channel_rate(struct ast_channel *channel);
/* CDR(recordingfile), for which the channel must not be locked. Not 0 when there is none. */
int shim_channel_recordingfile(struct ast_channel *channel, char *value, size_t size);
int shim_channel_set_recordingfile(struct ast_channel *channel, const char *value);
/* Gives the caller another name, unless it is his already. */
int shim_channel_set_caller_name(struct ast_channel *channel, const char *name);
/* The same, and shows it on phones that ring for him already. No lock may be held. */
void shim_channel_name_caller(struct ast_channel *channel, const char *name);
/* The channel with this unique id, with a reference that is given back with shim_channel_unref(). NULL when there is no such channel
 * any more. No lock may be held, and none is waited for but the container's, for an instant each. */
struct ast_channel *shim_channel_find(const char *uniqueid);

/* pbx.h. */
int shim_function_register(struct ast_custom_function *function, int read_escalates, int write_escalates);

/* module.h. */
int shim_application_register(const char *name, int (*run)(struct ast_channel *, const char *));

/* astdb.h. NULL when there is no such entry, else memory that is given back with shim_free(). */
char *shim_database_get(const char *family, const char *key);
void shim_free(void *memory);

/* cli.h. */
int shim_cli_register(struct ast_cli_entry *entry);
void shim_cli_line(int fd, const char *line);
void shim_cli_completion(const char *candidate);

/* manager.h. */
int shim_manager_register(const char *action, int authority, int (*callback)(struct mansession *, const struct message *));
void shim_manager_append(struct mansession *session, const char *text);
void shim_manager_event(int category, const char *event, const char *text);

/* tcptls.h, iostream.h: a connection of the HTTP server, for the time of a handler's callback. */
int shim_http_socket(struct ast_tcptls_session_instance *session);
int shim_http_encrypted(struct ast_tcptls_session_instance *session);
/* The client's address without a port, in memory of this thread's that the next such call takes again. */
const char *shim_http_peer(struct ast_tcptls_session_instance *session);
/* In milliseconds: for everything together from now on, and for each reading and writing. */
void shim_http_deadline(struct ast_tcptls_session_instance *session, int total);
void shim_http_patience(struct ast_tcptls_session_instance *session, int each);
ssize_t shim_http_read(struct ast_tcptls_session_instance *session, void *buffer, size_t length);
ssize_t shim_http_line(struct ast_tcptls_session_instance *session, char *buffer, size_t length);
ssize_t shim_http_write(struct ast_tcptls_session_instance *session, const void *bytes, size_t length);

/* acl.h. */
enum shim_acl {
	SHIM_ACL_ALLOWED,
	SHIM_ACL_DENIED,
	SHIM_ACL_UNDEFINED,
};
enum shim_acl shim_acl(const char *list, const char *address);

/* devicestate.h. */
int shim_device_exists(const char *device);

/* dial.h, pbx.h. Calls the phone and, when it answers, runs the dialplan on its channel. The timeout is in milliseconds, the variables
 * are names and values in turn up to a NULL. Returns 0 when the phone begins to be called. No lock may be held: a variable that is a
 * function waits as long as it likes. */
int shim_originate(const char *technology, const char *resource, int timeout, const char *context, const char *exten,
	const char *caller, const char *const *variables);

/* config.h. */
enum shim_config_status {
	SHIM_CONFIG_LOADED,
	SHIM_CONFIG_MISSING,
	SHIM_CONFIG_INVALID,
};
enum shim_config_status shim_config_load(const char *file, struct ast_config **config);

/* stasis_channels.h, stasis_bridges.h, parking.h, pickup.h: what happens to channels, in one shape for every version. Strings
 * are never NULL where the snapshot or bridge they belong to is present, and live as long as the callback that is given them. */

/* A channel at one moment. It is present when uniqueid is not NULL. */
struct shim_snapshot {
	const char *uniqueid;
	const char *linkedid;
	const char *name;
	const char *technology;
	const char *accountcode;
	const char *caller_number;
	const char *caller_name;
	const char *ani;
	const char *rdnis;
	const char *dialed;
	const char *connected_number;
	const char *connected_name;
	const char *context;
	const char *exten;
	const char *application;
	const char *application_data;
	const char *bridge;
	int64_t created;          /* Microseconds since 1970. */
	int state;                /* enum ast_channel_state */
	int caller_restricted;
	int hangup_cause;
};

/* A bridge at one moment. It is present when uniqueid is not NULL. */
struct shim_bridge {
	const char *uniqueid;
	const char *technology;
	const char *creator;
	const char *name;
	unsigned int channels;
};

enum shim_event {
	SHIM_RUNNING,             /* channel, bridge */
	SHIM_CAUGHT_UP,
	SHIM_CHANNEL_CREATED,     /* channel */
	SHIM_CHANNEL_CHANGED,     /* channel, peer: as it was before, changes */
	SHIM_CHANNEL_GONE,        /* channel */
	SHIM_BRIDGE_ENTERED,      /* channel, bridge, text: uniqueid of the channel whose place it takes */
	SHIM_BRIDGE_LEFT,         /* channel, bridge */
	SHIM_DIAL,                /* channel: caller, peer, third: forwarded, text: status, dial string, forward */
	SHIM_BLIND_TRANSFER,      /* channel: transferer, peer: transferee, third: replacing, bridge, text: context, exten, outcome,
	                             external */
	SHIM_ATTENDED_TRANSFER,   /* channel and peer: transferer's legs to transferee and target, third: transferee, fourth: target,
	                             bridge and second_bridge: those of the legs, text: destination, outcome, external, kind: dest_type */
	SHIM_PICKUP,              /* channel: who picked up, peer: whose call */
	SHIM_HOLD,                /* channel, text: music class */
	SHIM_UNHOLD,              /* channel */
	SHIM_PARKING,             /* channel: parkee, peer: retriever, text: parker's dial string, lot, kind: event_type, number: space */
	SHIM_RECORDING,           /* channel: MixMonitor() began to record it */
	SHIM_VARIABLE_SET,        /* channel, text: name, value */
};

/* What differs from the channel as it was, in SHIM_CHANNEL_CHANGED. The bridge has messages of its own, and the cause of a
 * hangup comes with the end. */
enum shim_change {
	SHIM_CHANGED_STATE = 1 << 0,
	SHIM_CHANGED_IDENTITY = 1 << 1,
	SHIM_CHANGED_CALLER = 1 << 2,
	SHIM_CHANGED_CONNECTED = 1 << 3,
	SHIM_CHANGED_EXTENSION = 1 << 4,
	SHIM_CHANGED_APPLICATION = 1 << 5,
};

struct shim_record {
	enum shim_event event;
	int64_t time;             /* Microseconds since 1970, when Asterisk made the message. */
	uint64_t began;           /* Nanoseconds of the machine's monotonic clock, when Asterisk gave it to us. */
	unsigned int changes;     /* of enum shim_change */
	int outcome;              /* enum ast_transfer_result */
	int external;             /* A transfer by the channel driver or AMI, not by DTMF. */
	int kind;
	unsigned int number;
	struct shim_snapshot channel;
	struct shim_snapshot peer;
	struct shim_snapshot third;
	struct shim_snapshot fourth;
	struct shim_bridge bridge;
	struct shim_bridge second_bridge;
	const char *text[3];
};

typedef void (*shim_record_callback)(const struct shim_record *record, void *data);
/* A change of a channel of which nothing is told; what Asterisk's thread pays for it began at that moment. */
typedef void (*shim_passed_callback)(uint64_t began);

#define SHIM_MOST_APPLICATIONS 8

struct shim_subscription;
/* NULL when there is no memory. The callbacks may run before this returns; the record's is given no data. It is given SHIM_RUNNING
 * for each channel that exists and then SHIM_CAUGHT_UP; a little of everything else may come before these. That a channel goes
 * on to another application is told of those alone, of which there are SHIM_MOST_APPLICATIONS at most; their names are to live as
 * long as the subscription. */
struct shim_subscription *shim_stasis_subscribe(shim_record_callback callback, shim_passed_callback passed,
	const char *const *applications, size_t count);
/* Returns when the callback has run for the last time. Not to be called from the callback. */
void shim_stasis_unsubscribe(struct shim_subscription *subscription);
/* From now on also tell of channel variables that are set. */
void shim_stasis_accept_variables(struct shim_subscription *subscription);
/* Whether this Asterisk tells of SHIM_RECORDING. */
int shim_stasis_tells_of_recordings(void);
/* Name of a kind of message that this Asterisk's stasis.conf declines, NULL when there is no such at that index. */
const char *shim_stasis_declined(const struct shim_subscription *subscription, size_t index);
/* SHIM_RUNNING for each channel that exists, on this thread. */
void shim_stasis_running(shim_record_callback callback, void *data);
/* The clock of shim_record's `began`. */
uint64_t shim_nanoseconds(void);

/* file.h, translate.h: sound from a file of any format that this Asterisk reads. The name is without its extension. */
struct shim_audio;
struct shim_audio *shim_audio_open(const char *name, const char *extension);
int shim_audio_rate(struct shim_audio *audio);
/* 16 bits in the machine's order. How many bytes, 0 at the end, less than 0 when it cannot be read. */
int shim_audio_read(struct shim_audio *audio, char *samples, size_t size);
void shim_audio_close(struct shim_audio *audio);

/* file.h, say.h: what a caller is told. On the channel's own thread, which waits until it is said; the channel must not be locked.
 * Each returns the digit of `breaks` that ended it, or one of these. */
enum shim_told {
	SHIM_TOLD_ALL = 0,
	/* There is no such sound, or none that can be read. */
	SHIM_TOLD_MISSING = -1,
	/* The channel is hung up, or wanted elsewhere. */
	SHIM_TOLD_NOBODY = -2,
};
/* Whether shim_tell_sound() would find it, in that language or one that Asterisk takes for it. */
int shim_sound_exists(const char *sound, const char *language);
int shim_tell_sound(struct ast_channel *channel, const char *sound, const char *language, const char *breaks);
int shim_tell_number(struct ast_channel *channel, int number, const char *language, const char *breaks);
int shim_tell_digits(struct ast_channel *channel, const char *digits, const char *language, const char *breaks);
/* Seconds since 1970. */
int shim_tell_date(struct ast_channel *channel, int64_t date, const char *language, const char *breaks);

/* channel.h, translate.h: what a caller says, as linear samples of one rate. On the channel's own thread; the channel must not be
 * locked. Until the end it reads in another format, and is sent silence where asterisk.conf wants that. */
struct shim_ear;
struct shim_ear *shim_ear_open(struct ast_channel *channel, int rate);
enum shim_heard {
	/* The time is up. */
	SHIM_HEARD_NOTHING,
	/* `count` samples, which may be none. */
	SHIM_HEARD_VOICE,
	/* `digit` goes down, and up again. */
	SHIM_HEARD_PRESS,
	SHIM_HEARD_RELEASE,
	SHIM_HEARD_OTHER,
	/* The channel is hung up, or wanted elsewhere. */
	SHIM_HEARD_END,
};
struct shim_sound {
	int16_t *samples;
	size_t room;
	size_t count;
	int digit;
};
/* Waits at most so many milliseconds. */
enum shim_heard shim_ear_listen(struct shim_ear *ear, int patience, struct shim_sound *sound);
void shim_ear_close(struct shim_ear *ear);

/* utils.h. The name is what `core show threads` prints. Returns an errno value. */
int shim_thread_start(pthread_t *thread, void *(*start)(void *), void *data, size_t stack, const char *name);

#endif
