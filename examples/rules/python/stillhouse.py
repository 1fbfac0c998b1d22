"""Rows instead of columns: what stands between a mapper's author and the contract in
wit/rules.wit. What begins with an underscore is not for rules."""

import collections
import datetime
import random
import time
from dataclasses import dataclass

from componentize_py_types import Err
from wit_world.exports import mapper_rule as _wit
from wit_world.imports import columns as _columns
from wit_world.imports import declaration as _declaration
from wit_world.imports import log as _log

# ---- What a rule is written with -----------------------------------------------------------------


@dataclass(frozen=True)
class Field:
    """A field of the signal. A signal that lacks one that is not optional is rejected."""

    path: str
    kind: _declaration.FieldKind
    optional: bool


def text(path, optional=False):
    return Field(path, _declaration.FieldKind.TEXT, optional)


def int_(path, optional=False):
    """Whole numbers; times are microseconds since 1970."""
    return Field(path, _declaration.FieldKind.INT, optional)


def float_(path, optional=False):
    return Field(path, _declaration.FieldKind.FLOAT, optional)


def bool_(path, optional=False):
    return Field(path, _declaration.FieldKind.BOOL, optional)


class Answer:
    """What a mapper says of one signal. Made by `observe`, `dropped` and `rejected`."""

    __slots__ = ("outcome", "state", "key", "severity", "value", "reason")

    def __init__(self, outcome, state="", key="", severity=None, value="", reason=""):
        self.outcome = outcome
        self.state = state
        self.key = key
        self.severity = severity
        self.value = value
        self.reason = reason


def observe(state, key, severity=None, value=""):
    """The entity `key` is in `state`. Severity is "info", "warning", "error" or "critical": a
    warning for a problem and info otherwise, unless it is given. `value` tells two observations of
    the same state apart."""
    return Answer(0, state, key, severity, value)


def dropped(reason):
    """The signal says nothing about any state. Keep the reasons few."""
    return Answer(1, reason=reason)


def rejected(reason):
    """The signal should say something and does not: it becomes a dead letter."""
    return Answer(2, reason=reason)


@dataclass(frozen=True)
class Case:
    """A signal, as a dictionary from path to text, and what the rule must answer."""

    name: str
    given: dict
    expected: Answer


def log(message):
    """Writes a line to the host's log; never affects an answer."""
    _log.log(_log.Level.INFO, str(message))


def mapper(*, name, version, schema, fields, states, map, cases, configure=None):
    """Makes the class `MapperRule` of a rule. `map(row)` answers one signal; with `configure` (a
    dictionary of texts in, the settings out; a `ValueError` is a text for the user) it is
    `map(row, settings)`."""
    manifest = _manifest(name, version, schema, fields, states, cases)
    codes = {}
    for code, (state, condition) in enumerate(states.items()):
        codes[state, None] = code, int(condition == "problem")
        codes.update({(state, word): (code, severity) for severity, word in enumerate(_SEVERITIES)})
    required = [(at, field.path) for at, field in enumerate(fields.values()) if not field.optional]
    signal = collections.namedtuple("Signal", fields)
    configured = ()

    class MapperRule:
        def describe(self):
            return manifest

        def configure(self, settings):
            nonlocal configured
            if configure is not None:
                try:
                    configured = (configure(dict(settings)),)
                except ValueError as error:
                    raise Err(str(error)) from None
            elif settings:
                raise Err(f"unknown setting `{settings[0][0]}`: this rule has no settings")

        def map(self, batch):
            try:
                return self.answers(batch)
            except BaseException as error:
                _tell(error)
                raise

        def answers(self, batch):
            out = _Answers(batch.rows)
            for row, values in enumerate(zip(*[_values(column) for column in batch.columns])):
                missing = next((path for at, path in required if values[at] is None), None)
                if missing is None:
                    answer = map(signal._make(values), *configured)
                else:
                    answer = rejected(f"missing {missing}")
                if not isinstance(answer, Answer):
                    raise TypeError("map must return observe(...), dropped(...) or rejected(...)")
                out.keys.append(answer.key)
                out.values.append(answer.value)
                out.outcome[row] = answer.outcome
                if answer.outcome == 0:
                    if (answer.state, answer.severity) not in codes:
                        raise ValueError(f"unknown state `{answer.state}` or severity `{answer.severity}`")
                    out.state[row], out.severity[row] = codes[answer.state, answer.severity]
                else:
                    out.codes[row] = out.reason(answer.reason)
            return out.finish()

    return MapperRule


# ---- A rule's answer depends on its row alone ------------------------------------------------------


def _none(what):
    def refuse(*_, **__):
        raise RuntimeError(f"a rule has no {what}: its answer depends on the signal and the settings alone")

    return refuse


class _Datetime(datetime.datetime):
    now = utcnow = today = _none("clock")


datetime.datetime = _Datetime
for _name in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "sleep"):
    setattr(time, _name, _none("clock"))
# The functions of the module; a `random.Random(seed)` is the same each time.
for _name in [name for name in dir(random) if isinstance(getattr(getattr(random, name), "__self__", None), random.Random)]:
    setattr(random, _name, _none("randomness"))


# ---- Between rows and columns ----------------------------------------------------------------------

_SEVERITIES = ("info", "warning", "error", "critical")
# The host's bound on distinct reasons in one batch; what is beyond shares the last.
_REASONS_MAX = 256


def _tell(error):
    """What a rule raises reaches the operator with its message and the rule's line."""
    where, trace = "", error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename != __file__:
            where = f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    _log.log(_log.Level.FATAL, f"{type(error).__name__}: {error}{where}")


def _manifest(name, version, schema, fields, states, cases):
    def expected(answer):
        severity = 0
        if answer.outcome == 0:
            default = "warning" if states[answer.state] == "problem" else "info"
            severity = _SEVERITIES.index(answer.severity or default)
        return _wit.Expected(answer.outcome, answer.state, severity, answer.key, answer.value, answer.reason)

    return _wit.Manifest(
        identity=_declaration.Identity(
            name, version, [_declaration.Field(field.path, field.kind) for field in fields.values()]
        ),
        schema=schema,
        states=[
            _declaration.State(state, _declaration.Condition[condition.upper()])
            for state, condition in states.items()
        ],
        cases=[
            _wit.MapperCase(
                case.name,
                [_declaration.Given(path, value) for path, value in case.given.items()],
                expected(case.expected),
            )
            for case in cases
        ],
    )


def _values(column):
    """The values of a column, one for each row: None where it has none."""
    values = column.values.value
    if isinstance(column.values, _columns.Values_Text):
        values = _texts(values)
    elif isinstance(column.values, _columns.Values_Dict):
        entries = _texts(values.entries)
        values = [entries[code] for code in values.codes]
    elif isinstance(column.values, _columns.Values_Bools):
        values = [value != 0 for value in values]
    if column.present:
        values = [value if present else None for value, present in zip(values, column.present)]
    return values


def _texts(column):
    """Offsets count bytes of UTF-8, Python counts characters: a column is decoded once and sliced
    where it is ASCII."""
    offsets, data = column.offsets, column.data
    spans = zip(offsets, offsets[1:])
    if data.isascii():
        text = data.decode()
        return [text[start:end] for start, end in spans]
    return [data[start:end].decode() for start, end in spans]


def _column(texts):
    """Texts as a column."""
    encoded = [text.encode() for text in texts]
    offsets, end = [0], 0
    for text in encoded:
        end += len(text)
        offsets.append(end)
    return _columns.Text(offsets, b"".join(encoded))


class _Answers:
    def __init__(self, rows):
        self.outcome, self.state, self.severity = bytearray(rows), bytearray(rows), bytearray(rows)
        self.keys, self.values, self.codes = [], [], [0] * rows
        self.reasons = {}

    def reason(self, reason):
        if reason not in self.reasons and len(self.reasons) == _REASONS_MAX:
            return _REASONS_MAX - 1
        return self.reasons.setdefault(reason, len(self.reasons))

    def finish(self):
        return _wit.Observations(
            outcome=bytes(self.outcome),
            state=bytes(self.state),
            severity=bytes(self.severity),
            key=_column(self.keys),
            value=_column(self.values) if any(self.values) else _columns.Text([], b""),
            reason=_columns.Dict(self.codes if self.reasons else [], _column(self.reasons)),
        )
