"""Compares exported Parquet with the lines that it was made of: check.py INPUT, in the folder of the files."""

import json
import sys
from datetime import datetime, timedelta, timezone

import duckdb
import pandas


EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def micros(time):
    return time and (datetime.fromisoformat(time) - EPOCH) // timedelta(microseconds=1)


with open("events.jsonl") as file:
    events = [json.loads(line) for line in file]
with open(sys.argv[1], newline="") as file:
    lines = file.read().split("\n")
signals = [(at, line) for at, line in enumerate(lines, 1) if line.strip()]
assert events and signals


def check(what, got, expected):
    assert len(got) == len(expected), f"{what}: {len(got)} rows, expected {len(expected)}"
    for at, (row, wanted) in enumerate(zip(got, expected)):
        assert tuple(row) == tuple(wanted), f"{what}: row {at}: {row}, expected {wanted}"


def expected(position, event):
    about = event["data"].get("candidate") or event["data"].get("event") or event["data"]
    provenance = about.get("provenance") or {}
    return (
        position,
        event["id"],
        event["type"],
        event.get("subject"),
        micros(event.get("time")),
        about.get("signal"),
        (about.get("from") or {}).get("state"),
        (about.get("to") or {}).get("state"),
        about.get("severity"),
        (about.get("counts") or {}).get("inputs"),
        (provenance.get("mapper") or about.get("mapper") or {}).get("digest"),
        (provenance.get("suppressor") or {}).get("digest"),
    )


wanted = [expected(position, event) for position, event in enumerate(events)]

duck = duckdb.connect()
types = dict(duck.sql("SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM 'events.parquet')").fetchall())
assert types["time"] == "TIMESTAMP WITH TIME ZONE" and types["position"] == "BIGINT" and types["data"] == "VARCHAR", types
columns = "id, type, subject, epoch_us(time), signal, from_state, to_state, severity, inputs, mapper, suppressor"
check("events in DuckDB", duck.sql(f"SELECT position, {columns} FROM 'events.parquet' ORDER BY position").fetchall(), wanted)
data = duck.sql("SELECT data, data->>'$.provenance.config' FROM 'events.parquet' ORDER BY position").fetchall()
check("data", [(json.loads(text),) for text, _ in data], [(event["data"],) for event in events])
check("paths", [(config,) for _, config in data], [((event["data"].get("provenance") or {}).get("config"),) for event in events])

frame = pandas.read_parquet("events.parquet")
assert str(frame["time"].dtype) == "datetime64[us, UTC]", frame["time"].dtype
rows = frame.assign(time=frame["time"].map(lambda time: None if pandas.isna(time) else micros(time.isoformat())))
rows = rows.drop(columns=["log_position", "data"]).astype(object)
rows = rows.where(rows.notna(), None)
check("events in pandas", list(rows.itertuples(index=False, name=None)), wanted)

query = "SELECT record, raw FROM 'log.parquet' WHERE kind = 'signal' ORDER BY position, record"
check("signals in DuckDB", duck.sql(query).fetchall(), signals)
log = pandas.read_parquet("log.parquet", columns=["kind", "record", "raw"])
log = log[log["kind"] == "signal"]
check("signals in pandas", [(int(record), raw) for record, raw in zip(log["record"], log["raw"])], signals)
kinds = dict(duck.sql("SELECT kind, count(*) FROM 'log.parquet' GROUP BY kind").fetchall())
assert kinds["config"] >= 1 and kinds["input"] == 1 and kinds["end"] == 1, kinds
behind = duck.sql(
    "SELECT count(*) FROM 'events.parquet' e JOIN (SELECT DISTINCT position FROM 'log.parquet') l ON l.position + 1 = e.log_position"
).fetchall()[0][0]
assert behind == len(events), f"{behind} of {len(events)} events have an entry of the log"
print(f"{len(signals)} signals and {len(events)} events are the same in DuckDB {duckdb.__version__} and pandas {pandas.__version__}; the log has {kinds}")
