// Rows instead of columns: what stands between a mapper's author and the contract in wit/rules.wit.
import { log as hostLog } from "stillhouse:rules/log@0.2.0";

// ---- What a rule is written with -------------------------------------------------------------

/** A field of the signal. Without `.optional()` a signal that lacks it is rejected. */
const field = (kind) => (path) => ({ path, kind, required: true, optional: () => ({ path, kind, required: false }) });
export const text = field("text");
/** Whole numbers, exact to 2 to the 53rd; times are microseconds since 1970. */
export const int = field("int");
export const float = field("float");
export const bool = field("bool");

/**
 * The entity `key` is in `state`. Severity is "info", "warning", "error" or "critical": a warning
 * for a problem and info otherwise, unless it is given. `value` tells two observations of the same
 * state apart.
 */
export const observe = (state, key, { severity = null, value = "" } = {}) =>
  ({ outcome: 0, state, key, severity, value, reason: "" });
/** The signal says nothing about any state. Keep the reasons few. */
export const dropped = (reason) => ({ outcome: 1, state: "", key: "", severity: null, value: "", reason });
/** The signal should say something and does not: it becomes a dead letter. */
export const rejected = (reason) => ({ outcome: 2, state: "", key: "", severity: null, value: "", reason });

/** Writes a line to the host's log; never affects an answer. */
export const log = (message) => hostLog("info", String(message));

/**
 * Makes the export `mapperRule` of a rule. `map(row, settings)` answers one signal; `configure` (an
 * object of texts in, the settings out) may throw an error, whose message is for the user.
 */
export function mapper({ name, version, schema, fields, states, map, cases, configure = noSettings }) {
  const names = Object.keys(fields);
  const declared = Object.values(fields);
  let settings;
  return {
    describe: () => telling(() => ({
      identity: { name, version, fields: declared.map(({ path, kind }) => ({ path, kind })) },
      schema,
      states: Object.entries(states).map(([name, condition]) => ({ name, condition })),
      cases: cases.map(({ name, given, expected }) => ({
        name,
        given: Object.entries(given).map(([path, value]) => ({ path, value })),
        expected: { ...expected, severity: severityCode(expected, states) },
      })),
    })),
    configure(given) {
      try {
        settings = configure(Object.fromEntries(given));
      } catch (error) {
        throw error instanceof Error ? error.message : String(error);
      }
    },
    map: (batch) => telling(() => {
      const readers = batch.columns.map(reader);
      const answers = new Answers(batch.rows, states);
      for (let row = 0; row < batch.rows; row++) {
        const signal = {};
        let missing = null;
        for (let f = 0; f < names.length; f++) {
          const value = readers[f](row);
          if (value === null && declared[f].required) missing ??= declared[f].path;
          signal[names[f]] = value;
        }
        answers.set(row, missing === null ? map(signal, settings) : rejected(`missing ${missing}`));
      }
      return answers.finish();
    }),
  };
}

// ---- A rule's answer depends on its row alone ------------------------------------------------

const none = (what) => () => {
  throw new Error(`a rule has no ${what}: its answer depends on the signal and the settings alone`);
};
const noClock = none("clock");
Math.random = none("randomness");
globalThis.Date = class extends Date {
  constructor(...given) {
    if (given.length === 0) noClock();
    super(...given);
  }
  static now() {
    noClock();
  }
};
// The first is a clock; the others tell when memory is tidied.
for (const name of ["performance", "WeakRef", "FinalizationRegistry"]) delete globalThis[name];

// ---- Between rows and columns ----------------------------------------------------------------

const SEVERITIES = ["info", "warning", "error", "critical"];

function noSettings(given) {
  for (const name in given) throw new Error(`unknown setting \`${name}\`: this rule has no settings`);
}

/** Runs `call`; what it throws reaches the operator with its message and the rule's line. */
function telling(call) {
  try {
    return call();
  } catch (error) {
    const where = error?.stack?.split("\n").find((line) => !line.includes("/stillhouse.js")) ?? "";
    hostLog("fatal", `${error} ${where.trim()}`);
    throw error;
  }
}

/** The code of an answer's severity. */
function severityCode({ state, severity }, states) {
  if (severity === null) return states[state] === "problem" ? 1 : 0;
  const code = SEVERITIES.indexOf(severity);
  if (code < 0) throw new Error(`unknown severity \`${severity}\``);
  return code;
}

/** The function from a row to its value in a column, or to null where it has none. */
function reader({ values: { tag, val }, present }) {
  const get = {
    text: () => texts(val),
    dict: () => {
      const entry = texts(val.entries);
      return (row) => entry(val.codes[row]);
    },
    bools: () => (row) => val[row] !== 0,
    ints: () => (row) => val[row],
    floats: () => (row) => val[row],
  }[tag]();
  return present.length === 0 ? get : (row) => (present[row] ? get(row) : null);
}

// Offsets count bytes of UTF-8, JavaScript counts UTF-16. A column is read once, one character a
// byte; while that is ASCII, it is sliced as it is.
function texts({ offsets, data }) {
  const bytes = atob(data.toBase64());
  const slice = (row) => bytes.slice(offsets[row], offsets[row + 1]);
  return isAscii(bytes) ? slice : (row) => decodeURIComponent(escape(slice(row)));
}

const isAscii = (text) => !/[^\x00-\x7f]/.test(text);

/** Texts as a column. */
function textColumn(texts) {
  const joined = texts.join("");
  const ascii = isAscii(joined);
  const bytes = ascii ? texts : texts.map((text) => unescape(encodeURIComponent(text)));
  const offsets = [0];
  let length = 0;
  for (const text of bytes) offsets.push((length += text.length));
  return { offsets, data: Uint8Array.fromBase64(btoa(ascii ? joined : bytes.join(""))) };
}

/** The column of a text that no row has. */
const NO_TEXTS = { offsets: [], data: new Uint8Array(0) };

/** The host's bound on distinct reasons in one batch; what is beyond shares the last. */
const REASONS_MAX = 256;

class Answers {
  keys = [];
  values = [];
  hasValues = false;
  reasons = new Map();

  constructor(rows, states) {
    this.states = states;
    this.stateCodes = new Map(Object.keys(states).map((state, code) => [state, code]));
    this.outcome = new Uint8Array(rows);
    this.state = new Uint8Array(rows);
    this.severity = new Uint8Array(rows);
    this.codes = new Array(rows).fill(0);
  }

  set(row, answer) {
    const outcome = answer?.outcome;
    if (outcome === undefined) throw new Error("map must return observe(...), dropped(...) or rejected(...)");
    this.keys.push(answer.key);
    this.values.push(answer.value);
    if (answer.value !== "") this.hasValues = true;
    this.outcome[row] = outcome;
    if (outcome !== 0) {
      this.codes[row] = this.reason(answer.reason);
      return;
    }
    const state = this.stateCodes.get(answer.state);
    if (state === undefined) throw new Error(`unknown state \`${answer.state}\``);
    this.state[row] = state;
    this.severity[row] = severityCode(answer, this.states);
  }

  reason(reason) {
    const known = this.reasons.get(reason);
    if (known !== undefined) return known;
    if (this.reasons.size === REASONS_MAX) return REASONS_MAX - 1;
    this.reasons.set(reason, this.reasons.size);
    return this.reasons.size - 1;
  }

  finish() {
    const { outcome, state, severity, reasons } = this;
    const reason = { codes: reasons.size === 0 ? [] : this.codes, entries: textColumn([...reasons.keys()]) };
    const value = this.hasValues ? textColumn(this.values) : NO_TEXTS;
    return { outcome, state, severity, key: textColumn(this.keys), value, reason };
  }
}
