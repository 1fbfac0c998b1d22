// Rows instead of columns: what stands between a mapper's author and the contract of the host,
// stillhouse:rules@0.2.0. A rule is one C file that includes this one and defines
// `sh_rule`. There is no C library; memory comes from `sh_alloc`.
#pragma once

#include <stdbool.h>
#include <stdint.h>

// ---- What a rule is written with ---------------------------------------------------------------
// The layout of these structs is that of the contract's records (the canonical ABI): they cross as
// they are.

// UTF-8, without a zero at its end.
typedef struct { const char *data; uint32_t size; } sh_text;
// A text that is known when the rule is built.
#define T(literal) ((sh_text){literal, sizeof(literal) - 1})
// A list of all elements of an array.
#define LIST(array) {array, sizeof(array) / sizeof *(array)}

enum { SH_TEXT, SH_INT, SH_FLOAT, SH_BOOL };
// A field of the signal. A signal that lacks one that is not optional is rejected.
typedef struct { sh_text path; uint8_t kind; bool optional; } sh_field;

enum { SH_HEALTHY, SH_PROBLEM, SH_GONE };
// A canonical state; its code is its place in the list.
typedef struct { sh_text name; uint8_t condition; } sh_state;

enum { SH_OBSERVED, SH_DROPPED, SH_REJECTED };
enum { SH_INFO, SH_WARNING, SH_ERROR, SH_CRITICAL };

// A case: a signal, and what the rule must answer, severity included.
typedef struct { sh_text path, value; } sh_given;
typedef struct { const sh_given *data; uint32_t size; } sh_givens;
#define GIVEN(...) LIST(((const sh_given[]){__VA_ARGS__}))
typedef struct { uint8_t outcome; sh_text state; uint8_t severity; sh_text key, value, reason; } sh_expected;
typedef struct { sh_text name; sh_givens given; sh_expected expected; } sh_case;

// One signal; read it with `sh_has`, `sh_is` and `sh_get_...`.
typedef struct sh_row sh_row;

// What a mapper says of one signal. Made by `sh_observe`, `sh_dropped` and `sh_rejected`.
typedef struct { uint8_t outcome, state, severity; sh_text key, value, reason; } sh_answer;

// What the user set, or how it should have been.
typedef struct { sh_text name, value; } sh_setting;
typedef struct { const sh_setting *data; uint32_t size; } sh_settings;

typedef struct {
  sh_text name, version;
  // Version of the list of states.
  uint32_t schema;
  struct { const sh_field *data; uint32_t size; } fields;
  struct { const sh_state *data; uint32_t size; } states;
  struct { const sh_case *data; uint32_t size; } cases;
  sh_answer (*map)(const sh_row *row);
  // Reads the settings, once and before the first signal; false refuses them with the text `why`.
  // They stay where they are. Without it the rule has no settings.
  bool (*configure)(sh_settings settings, sh_text *why);
} sh_mapper;

// The rule.
extern const sh_mapper sh_rule;

// The entity `key` is in `state`: with severity warning for a problem, and info otherwise.
static inline sh_answer sh_observe(uint8_t state, sh_text key) {
  uint8_t severity = sh_rule.states.data[state].condition == SH_PROBLEM ? SH_WARNING : SH_INFO;
  return (sh_answer){.state = state, .severity = severity, .key = key};
}

static inline sh_answer sh_with_severity(sh_answer answer, uint8_t severity) {
  answer.severity = severity;
  return answer;
}

// Tells two observations of the same state apart.
static inline sh_answer sh_with_value(sh_answer answer, sh_text value) {
  answer.value = value;
  return answer;
}

// The signal says nothing about any state. Keep the reasons few.
static inline sh_answer sh_dropped(sh_text reason) {
  return (sh_answer){.outcome = SH_DROPPED, .reason = reason};
}

// The signal should say something and does not: it becomes a dead letter.
static inline sh_answer sh_rejected(sh_text reason) {
  return (sh_answer){.outcome = SH_REJECTED, .reason = reason};
}

static inline bool sh_equal(sh_text a, sh_text b) {
  if (a.size != b.size) return false;
  for (uint32_t i = 0; i < a.size; i++)
    if (a.data[i] != b.data[i]) return false;
  return true;
}

// ---- The host ------------------------------------------------------------------------------------

enum { SH_LOG_INFO = 1, SH_LOG_FATAL = 4 };
__attribute__((import_module("stillhouse:rules/log@0.2.0"), import_name("log")))
void sh_host_log(uint32_t level, const char *data, uint32_t size);

// Writes a line to the host's log; never affects an answer.
static inline void sh_log(sh_text line) { sh_host_log(SH_LOG_INFO, line.data, line.size); }

// Fails the signal with a text for the operator.
_Noreturn static inline void sh_fail(sh_text why) {
  sh_host_log(SH_LOG_FATAL, why.data, why.size);
  __builtin_trap();
}
// Fails the signal unless `condition` holds; tells the line.
#define SH_STRING(x) #x
#define SH_LINE(x) SH_STRING(x)
#define SH_CHECK(condition) \
  ((condition) ? (void)0 : sh_fail(T("check failed: " #condition " at " __FILE__ ":" SH_LINE(__LINE__))))

// ---- Memory: taken from the end, given back all at once when the host has read the answer ----------

extern unsigned char __heap_base;
static uintptr_t sh_kept, sh_top;

static void *sh_alloc_aligned(uint32_t size, uint32_t align) {
  if (sh_top == 0) sh_kept = sh_top = (uintptr_t)&__heap_base;
  uintptr_t at = (sh_top + align - 1) & ~(uintptr_t)(align - 1);
  uint64_t end = (uint64_t)at + size, have = (uint64_t)__builtin_wasm_memory_size(0) << 16;
  if (end > have && __builtin_wasm_memory_grow(0, (uint32_t)((end - have + 0xFFFF) >> 16)) == SIZE_MAX)
    sh_fail(T("out of memory"));
  sh_top = (uintptr_t)end;
  return (void *)at;
}

// Memory until the answer is given; never null.
static inline void *sh_alloc(uint32_t size) { return sh_alloc_aligned(size, 8); }

// `a/b`, as a key of two parts.
static inline sh_text sh_join(sh_text a, sh_text b) {
  char *data = sh_alloc(a.size + b.size + 1);
  __builtin_memcpy(data, a.data, a.size);
  data[a.size] = '/';
  __builtin_memcpy(data + a.size + 1, b.data, b.size);
  return (sh_text){data, a.size + b.size + 1};
}

// The host takes memory for what it hands over; it never changes the size of a piece.
__attribute__((export_name("cabi_realloc")))
void *sh_realloc(void *old, uint32_t old_size, uint32_t align, uint32_t size) {
  void *new = sh_alloc_aligned(size, align);
  __builtin_memcpy(new, old, old_size < size ? old_size : size);
  return new;
}

// ---- Rows out of columns -----------------------------------------------------------------------

typedef struct { const uint32_t *data; uint32_t size; } sh_u32s;
typedef struct { const uint8_t *data; uint32_t size; } sh_bytes;
typedef struct { sh_u32s offsets; sh_text data; } sh_text_column;
typedef struct { sh_u32s codes; sh_text_column entries; } sh_dict_column;
enum { SH_COLUMN_TEXT, SH_COLUMN_DICT };
typedef struct {
  uint8_t tag;
  union {
    sh_text_column text;
    sh_dict_column dict;
    struct { const int64_t *data; uint32_t size; } ints;
    struct { const double *data; uint32_t size; } floats;
    sh_bytes bools;
  };
  sh_bytes present;
} sh_column;
_Static_assert(sizeof(sh_column) == 36 && sizeof(sh_case) == 56, "the layout of the canonical ABI");

struct sh_row { const sh_column *columns; uint32_t at; };

// Whether the signal has the field. What it lacks reads as empty text, 0 or false.
static inline bool sh_has(const sh_row *row, uint32_t field) {
  sh_bytes present = row->columns[field].present;
  return present.size == 0 || present.data[row->at] != 0;
}

static inline sh_text sh_get_text(const sh_row *row, uint32_t field) {
  const sh_column *column = &row->columns[field];
  bool dict = column->tag == SH_COLUMN_DICT;
  const sh_text_column *text = dict ? &column->dict.entries : &column->text;
  uint32_t at = dict ? column->dict.codes.data[row->at] : row->at;
  uint32_t start = text->offsets.data[at];
  return (sh_text){text->data.data + start, text->offsets.data[at + 1] - start};
}

// Times are microseconds since 1970.
static inline int64_t sh_get_int(const sh_row *row, uint32_t field) {
  return row->columns[field].ints.data[row->at];
}

static inline double sh_get_float(const sh_row *row, uint32_t field) {
  return row->columns[field].floats.data[row->at];
}

static inline bool sh_get_bool(const sh_row *row, uint32_t field) {
  return row->columns[field].bools.data[row->at] != 0;
}

// Whether the signal has the text field, and it is `text`.
static inline bool sh_is(const sh_row *row, uint32_t field, sh_text text) {
  return sh_has(row, field) && sh_equal(sh_get_text(row, field), text);
}

// ---- Columns out of answers ----------------------------------------------------------------------

// The column of the text at `text` in each of `count` structs of `stride` bytes.
static sh_text_column sh_column_of(const sh_text *text, uint32_t count, uint32_t stride) {
  uint32_t *offsets = sh_alloc((count + 1) * sizeof *offsets);
  offsets[0] = 0;
  const char *at = (const char *)text;
  for (uint32_t i = 0; i < count; i++) offsets[i + 1] = offsets[i] + ((const sh_text *)(at + i * stride))->size;
  char *data = sh_alloc(offsets[count]);
  for (uint32_t i = 0; i < count; i++) {
    const sh_text *from = (const sh_text *)(at + i * stride);
    __builtin_memcpy(data + offsets[i], from->data, from->size);
  }
  return (sh_text_column){{offsets, count + 1}, {data, offsets[count]}};
}

// The host's bound on distinct reasons in one batch; what is beyond shares the last.
enum { SH_REASONS_MAX = 256 };

static sh_dict_column sh_reasons_of(const sh_answer *answers, uint32_t rows) {
  uint32_t *codes = sh_alloc(rows * sizeof *codes), count = 0;
  sh_text *reasons = sh_alloc(SH_REASONS_MAX * sizeof *reasons);
  for (uint32_t row = 0; row < rows; row++) {
    codes[row] = 0;
    if (answers[row].outcome == SH_OBSERVED) continue;
    uint32_t code = 0;
    while (code < count && !sh_equal(reasons[code], answers[row].reason)) code++;
    if (code == SH_REASONS_MAX) code--;
    else if (code == count) reasons[count++] = answers[row].reason;
    codes[row] = code;
  }
  if (count == 0) return (sh_dict_column){0};
  return (sh_dict_column){{codes, rows}, sh_column_of(reasons, count, sizeof *reasons)};
}

// The path of a field that the signal lacks and must have.
static inline const sh_text *sh_missing(const sh_row *row) {
  for (uint32_t f = 0; f < sh_rule.fields.size; f++)
    if (!sh_rule.fields.data[f].optional && !sh_has(row, f)) return &sh_rule.fields.data[f].path;
  return 0;
}

static sh_answer sh_reject_missing(sh_text path) {
  const sh_text why = T("missing ");
  char *reason = sh_alloc(why.size + path.size);
  __builtin_memcpy(reason, why.data, why.size);
  __builtin_memcpy(reason + why.size, path.data, path.size);
  return sh_rejected((sh_text){reason, why.size + path.size});
}

// ---- What the host calls ---------------------------------------------------------------------------

#define SH_EXPORT(function) __attribute__((export_name("stillhouse:rules/mapper-rule@0.2.0#" function)))
#define SH_AFTER(function) \
  __attribute__((export_name("cabi_post_stillhouse:rules/mapper-rule@0.2.0#" function)))

typedef struct {
  sh_text name, version;
  struct { const sh_field *data; uint32_t size; } fields;
  uint32_t schema;
  struct { const sh_state *data; uint32_t size; } states;
  struct { const sh_case *data; uint32_t size; } cases;
} sh_manifest;

SH_EXPORT("describe") const sh_manifest *sh_describe(void) {
  const sh_mapper *rule = &sh_rule;
  sh_manifest *manifest = sh_alloc(sizeof *manifest);
  *manifest = (sh_manifest){
      rule->name, rule->version, {rule->fields.data, rule->fields.size}, rule->schema,
      {rule->states.data, rule->states.size}, {rule->cases.data, rule->cases.size},
  };
  return manifest;
}

typedef struct { uint8_t is_error; sh_text why; } sh_configured;

SH_EXPORT("configure") const sh_configured *sh_do_configure(const sh_setting *settings, uint32_t size) {
  sh_configured *answer = sh_alloc(sizeof *answer);
  *answer = (sh_configured){0};
  if (sh_rule.configure) answer->is_error = !sh_rule.configure((sh_settings){settings, size}, &answer->why);
  else if (size > 0) *answer = (sh_configured){1, T("this rule has no settings")};
  sh_kept = sh_top;
  return answer;
}

typedef struct {
  sh_bytes outcome, state, severity;
  sh_text_column key, value;
  sh_dict_column reason;
} sh_observations;

SH_EXPORT("map") const sh_observations *sh_map(uint32_t rows, const sh_column *columns, uint32_t count) {
  (void)count;
  sh_answer *answers = sh_alloc(rows * sizeof *answers);
  uint8_t *outcome = sh_alloc(rows), *state = sh_alloc(rows), *severity = sh_alloc(rows);
  bool has_value = false;
  for (uint32_t at = 0; at < rows; at++) {
    sh_row row = {columns, at};
    const sh_text *missing = sh_missing(&row);
    answers[at] = missing ? sh_reject_missing(*missing) : sh_rule.map(&row);
    outcome[at] = answers[at].outcome;
    state[at] = answers[at].state;
    severity[at] = answers[at].severity;
    has_value |= answers[at].value.size > 0;
  }
  sh_observations *out = sh_alloc(sizeof *out);
  *out = (sh_observations){{outcome, rows}, {state, rows}, {severity, rows}, {0}, {0}, {0}};
  out->key = sh_column_of(&answers->key, rows, sizeof *answers);
  if (has_value) out->value = sh_column_of(&answers->value, rows, sizeof *answers);
  out->reason = sh_reasons_of(answers, rows);
  return out;
}

SH_AFTER("describe") void sh_after_describe(const void *answer) { (void)answer; sh_top = sh_kept; }
SH_AFTER("configure") void sh_after_configure(const void *answer) { (void)answer; sh_top = sh_kept; }
SH_AFTER("map") void sh_after_map(const void *answer) { (void)answer; sh_top = sh_kept; }
