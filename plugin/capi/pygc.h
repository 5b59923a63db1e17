/* libpygc: pygc's engine for other programs. A small C interface: say which process or core is meant, or serve its memory; run one command line; take the
 * report. The engine itself runs in a child process (the program pygc, found beside the library or named by $PYGC_WORKER): whatever a damaged core does, this
 * library returns. No function throws, none installs a signal handler, none keeps global state; one session is used by one thread at a time.
 *
 *     char line[PYGC_LINE];
 *     pygc_session *s = pygc_open(line);                        // NULL: `line` says why
 *     pygc_set_core(s, "core.4711");
 *     const char *words[] = {"leaks", "--format", "json"};
 *     int status = pygc_run(s, 3, words, &(pygc_callbacks){.out = take}, me);
 *     pygc_close(s);
 *
 * Command lines, reports, JSON and exit status are those of the program pygc (pygc --help). */
#ifndef PYGC_H
#define PYGC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PYGC_ABI 1    /* pygc_abi() of a library that this header fits */
#define PYGC_LINE 512 /* bytes of a buffer for one line of error text */

typedef struct pygc_session pygc_session;

/* The version of the library, as `pygc --version` says it; and the number of this interface. */
const char *pygc_version(void);
int pygc_abi(void);

/* The commands that this build can run: name and summary of number `index`, in a fixed order. Returns 0 beyond the last. */
int pygc_command(size_t index, const char **name, const char **summary);

/* The text of `pygc COMMAND --help` (NULL or "": of `pygc --help`), empty where there is no such command. Like snprintf: at most size - 1 bytes and a NUL are
 * written, the length of the whole text is returned. */
size_t pygc_help(const char *command, char *out, size_t size);
/* What the last of `words` (a command line without "pygc") could become, one a line; as pygc_help otherwise. `kind`, where not NULL, says what else may stand
 * there: 1 the name of a type of the target, 2 a file, 0 nothing else. Needs no session. */
size_t pygc_complete(size_t word_count, const char *const *words, int *kind, char *out, size_t size);

/* Starts an engine. NULL when it cannot be started; `line` (PYGC_LINE bytes, may be NULL) then holds one line that says why.
 * pygc_open_with: `worker` is the path of the program pygc to use. */
pygc_session *pygc_open(char *line);
pygc_session *pygc_open_with(const char *worker, char *line);
/* Ends it, also in the middle of a command. NULL is allowed. */
void pygc_close(pygc_session *session);
/* 0 when the engine has died (its command returned 6) or was ended: close the session and open another. Also 0 while a command runs. */
int pygc_is_usable(const pygc_session *session);

/* ---- The target: one of these, then any number of commands. Another target may follow, of any kind: an engine that has read a core is confined and reads no
 * process, so a process after a core gets an engine of its own, which the library starts with the next command. Not while a command runs. ---- */
void pygc_set_core(pygc_session *session, const char *path);        /* a core file */
void pygc_set_live_pid(pygc_session *session, int pid);             /* a process that runs: it stands still while it is copied */
void pygc_set_stopped_pid(pygc_session *session, int pid);          /* a process that the caller holds stopped with ptrace */
void pygc_set_no_target(pygc_session *session, const char *reason); /* commands answer `reason`; help still works */

typedef struct pygc_region {
  uint64_t begin, end;  /* [begin, end) */
  int readable, writable, executable;
  const char *file;     /* path as the target names it, or a name like [stack]; NULL where anonymous */
  uint64_t file_offset; /* bytes */
} pygc_region;

typedef struct pygc_thread {
  int tid, signal, has_registers;
  uint64_t registers[27]; /* order of struct user_regs_struct, x86-64 */
} pygc_thread;

/* Only the caller can read the target, or the ways above may fail and this is the way out (set the other one first, then this). The arrays are copied. */
typedef struct pygc_memory {
  int is_core; /* 1: a dump, 0: a stopped process */
  int pid;
  const char *path; /* of the dump, or NULL */
  const pygc_region *regions;
  size_t region_count;
  const pygc_thread *threads;
  size_t thread_count;
} pygc_memory;
void pygc_set_memory(pygc_session *session, const pygc_memory *memory);

/* A file of this machine that may be the target's module `name`. It is used only where its build-id is the module's. */
void pygc_add_module_file(pygc_session *session, const char *name, const char *file);
/* The target has run on since the last command: what was read of it is dropped. */
void pygc_target_changed(pygc_session *session);
/* The target runs since PYGC_EVENT_COPIED: commands answer from that copy, with a warning that says so; `reason` is what they say where there is none.
 * Ends with the next pygc_set_... of a target. */
void pygc_target_runs(pygc_session *session, const char *reason);
/* Reports are written for a terminal so wide (0: no terminal), with colours or without; `host` goes into JSON. Default: 0, 0, "standalone". */
void pygc_set_output(pygc_session *session, const char *host, unsigned columns, int colours);

/* ---- Running a command, with callbacks. Each may be NULL. ---- */
typedef struct pygc_callbacks {
  int (*out)(void *user, const char *bytes, size_t size);  /* report; not 0: nobody reads any more */
  void (*err)(void *user, const char *bytes, size_t size); /* diagnostics, whole lines */
  void (*progress)(void *user, const char *stage, uint64_t done, uint64_t total);
  int (*interrupts)(void *user); /* how often the user asked to stop: 1 finishes with what is known, 2 ends at once */
  /* Copies target bytes; returns how many there are before the first that cannot be read. Never fills up. For pygc_set_memory. */
  size_t (*read)(void *user, uint64_t address, void *out, size_t size);
} pygc_callbacks;

/* Runs `pygc words...` and returns its exit status: 0 done, 1 findings, 2 usage, 3 partial, 4 cannot be analysed, 5 not permitted, 6 fault, 130 interrupted. */
int pygc_run(pygc_session *session, size_t word_count, const char *const *words, const pygc_callbacks *callbacks, void *user);

/* ---- The same without callbacks, for callers that have an event loop or a language of their own. ---- */
enum pygc_event_kind {
  PYGC_EVENT_NONE = 0,     /* nothing within the time given */
  PYGC_EVENT_OUT = 1,      /* bytes, size */
  PYGC_EVENT_ERR = 2,      /* bytes, size */
  PYGC_EVENT_PROGRESS = 3, /* bytes (the stage), done, total */
  PYGC_EVENT_READ = 4,     /* address, size: answer with pygc_reply */
  PYGC_EVENT_DONE = 5,     /* status */
  PYGC_EVENT_DIED = 6,     /* bytes: one line; status is 6, or 130 after pygc_cancel */
  PYGC_EVENT_COPIED = 7,   /* done: microseconds since pygc_begin. All of the stopped process is copied: the caller may let it run again (pygc_target_runs) */
};
typedef struct pygc_event {
  int kind;
  int status;
  const char *bytes; /* valid until the next call; ends with a NUL that `size` does not count */
  size_t size;
  uint64_t address, done, total;
} pygc_event;

/* Starts a command. Returns 0: call pygc_next until PYGC_EVENT_DONE or PYGC_EVENT_DIED. 2: nothing was started, because a command of this session still runs (it
 * goes on, and its events come as before) or the command line is too long. 6: the engine is gone. pygc_run while such a command runs returns 2 likewise. */
int pygc_begin(pygc_session *session, size_t word_count, const char *const *words);
/* Waits up to `timeout_ms`. */
void pygc_next(pygc_session *session, int timeout_ms, pygc_event *event);
void pygc_reply(pygc_session *session, const void *bytes, size_t size);
/* Asks the command to finish with what is known; an engine that does not within 5 s is ended by pygc_next. `now`: ends it at once. */
void pygc_cancel(pygc_session *session, int now);

#ifdef __cplusplus
}
#endif
#endif
