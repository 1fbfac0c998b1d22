//! What is exported is read back: each record, each event, and what is neither.
#![cfg(feature = "export")]

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use stillhouse::config::{Config, Overrides};
use stillhouse::durable::{Policy, Recorded};
use stillhouse::export::{Exported, Selection, What, export};
use stillhouse::input::Input;
use stillhouse::journal::{Given, Mapper};
use stillhouse::run::{Options, Unwatched, run};
use stillhouse_store::{Batch, Sequence, Store};

type Row = BTreeMap<String, Field>;

fn selection(what: What) -> Selection {
    Selection { what, from: None, to: None, columns: None }
}

/// Exports, and reads all rows back.
fn exported(store: &Path, selection: &Selection) -> (Exported, Vec<Row>) {
    let file = store.with_extension("parquet");
    let recorded = Recorded::open(store).expect("the store is sound");
    let exported = export(&recorded, selection, &file, &mut |_, _, _| {}).unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(exported.file_bytes, std::fs::metadata(&file).unwrap().len());
    assert!(!store.with_extension("parquet.part").exists());
    let reader = SerializedFileReader::new(File::open(&file).unwrap()).expect("it is Parquet");
    assert_eq!(reader.num_row_groups(), exported.row_groups);
    let rows = reader.get_row_iter(None).unwrap().map(|row| row.unwrap().into_columns().into_iter().collect());
    let rows: Vec<Row> = rows.collect();
    assert_eq!(rows.len() as u64, exported.rows);
    (exported, rows)
}

fn text(text: &str) -> Field {
    Field::Str(text.to_owned())
}

fn long(number: u64) -> Field {
    Field::Long(number as i64)
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}

/// Runs an example into a store; what left.
fn ran(name: &str, sample: &str, store: &Path) -> String {
    let config = Config::load(&example(name).join("stillhouse.toml"), &Overrides::default()).unwrap();
    let options = Options {
        shards: 1,
        threads: 1,
        batch_rows: 1024,
        follow: false,
        store: Some(store.to_owned()),
        policy: Policy::DEFAULT,
        output: None,
    };
    let mut bytes = Vec::new();
    run(&config, &[Input::File(example(name).join(sample))], &mut bytes, &options, &mut Unwatched).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn every_event_is_a_row() {
    let folder = tempfile::tempdir().unwrap();
    for (name, sample) in [("maintenance", "signals.jsonl"), ("kubelet", "sample.log"), ("wazuh", "alerts.json")] {
        let store = folder.path().join(name);
        let lines = ran(name, sample, &store);
        let (_, rows) = exported(&store, &selection(What::Events));
        assert_eq!(rows.len(), lines.lines().count(), "{name}");
        assert!(!rows.is_empty(), "{name}");
        for (position, (row, line)) in rows.iter().zip(lines.lines()).enumerate() {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            let of = |value: &serde_json::Value| value.as_str().map_or(Field::Null, text);
            assert_eq!(row["position"], long(position as u64));
            for (column, field) in [("id", "id"), ("type", "type"), ("subject", "subject")] {
                assert_eq!(row[column], of(&event[field]), "{name}: {column}");
            }
            let time: Option<jiff::Timestamp> = event["time"].as_str().map(|time| time.parse().unwrap());
            let time = time.map_or(Field::Null, |time| Field::TimestampMicros(time.as_microsecond()));
            assert_eq!(row["time"], time, "{name}");
            let Field::Str(data) = &row["data"] else { panic!("{:?}", row["data"]) };
            assert!(line.contains(data.as_str()), "the data is as it left");
            assert_eq!(serde_json::from_str::<serde_json::Value>(data).unwrap(), event["data"]);
            // What is held back is shown as what it would have been.
            let mut data = &event["data"];
            if data["candidate"].is_object() {
                data = &data["candidate"];
            }
            assert_eq!(row["signal"], of(&data["signal"]));
            assert_eq!(row["from_state"], of(&data["from"]["state"]));
            assert_eq!(row["to_state"], of(&data["to"]["state"]));
            assert_eq!(row["severity"], of(&data["severity"]));
            assert_eq!(row["inputs"], data["counts"]["inputs"].as_u64().map_or(Field::Null, long));
            assert_eq!(row["mapper"], of(&data["provenance"]["mapper"]["digest"]));
            assert_eq!(row["suppressor"], of(&data["provenance"]["suppressor"]["digest"]));
        }
        let has = |column: &str| rows.iter().any(|row| row[column] != Field::Null);
        for column in ["subject", "time", "signal", "severity", "inputs", "mapper"] {
            assert!(has(column), "{name}: {column}");
        }
        assert!(name != "maintenance" || (has("suppressor") && has("from_state") && has("to_state")));
    }
}

#[test]
fn every_record_is_a_row() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    ran("kubelet", "sample.log", &store);
    let sample = std::fs::read_to_string(example("kubelet").join("sample.log")).unwrap();
    let (_, rows) = exported(&store, &selection(What::Log));
    let signals: Vec<&Row> = rows.iter().filter(|row| row["kind"] == text("signal")).collect();
    let lines: Vec<(usize, &str)> = sample.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).collect();
    assert_eq!(signals.len(), lines.len());
    for (row, (index, line)) in signals.into_iter().zip(lines) {
        assert_eq!((&row["record"], &row["raw"]), (&long(index as u64 + 1), &text(line)));
        assert_eq!((&row["input"], &row["bytes"]), (&text("sample.log"), &Field::Null));
    }
    for kind in ["config", "input", "mapper", "ended", "end"] {
        assert!(rows.iter().any(|row| row["kind"] == text(kind)), "{kind}");
    }
}

/// A store with these entries.
fn written(store: &Path, entries: &[Given]) {
    let mut batch = Batch::default();
    for (position, given) in (0..).zip(entries) {
        batch.append(Sequence::Log, position, 0, &given.encode());
    }
    Store::open(store).unwrap().write(&batch).unwrap();
}

fn lines(input: u32, first: u64, bytes: &[u8]) -> Given {
    Given::Chunk { input, first, bytes: bytes.to_vec(), records: None, broken: Vec::new() }
}

fn input(name: &str) -> Given {
    Given::Input { name: name.into(), source: format!("source of {name}"), path: format!("/var/{name}") }
}

#[test]
fn what_is_no_signal_is_a_row_of_its_kind() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let mapper = Mapper {
        signal: "s".into(),
        digest: "m".into(),
        schema: 1,
        states: vec![("up".into(), 0), ("down".into(), 1)],
    };
    let broken = vec![(1, b"\xffbad".to_vec(), "too long".to_owned()), (4, b"end".to_vec(), "cut".to_owned())];
    let documents = b"[{\"a\":1},\n {\"b\":\"\xff\"}]".to_vec();
    let entries = [
        Given::Config("c".into()),
        Given::Mapper(mapper),
        input("a"),
        input("b"),
        Given::Table {
            name: "t".into(),
            digest: "d".into(),
            columns: vec!["x".into()],
            rows: vec![("k".into(), vec!["v".into()])],
            last: true,
        },
        lines(1, 1, b"one\r\n\n  \nfour\n"),
        Given::Chunk { input: 0, first: 1, bytes: documents, records: Some(vec![(1, 7), (11, 9)]), broken },
        Given::Tick(1_700_000_000_000_000),
        Given::Ended(0),
        Given::Reopened(0),
        Given::Rule { digest: "r".into(), bytes: vec![1, 2, 3], last: true },
        Given::End,
    ];
    written(&store, &entries);
    let (_, rows) = exported(&store, &selection(What::Log));
    let kinds: Vec<String> = rows.iter().map(|row| row["kind"].to_string().replace('"', "")).collect();
    let expected =
        "config mapper input input table signal signal broken signal signal broken tick ended reopened rule end";
    assert_eq!(kinds.join(" "), expected);
    let at = |index: usize, column: &str| rows[index][column].clone();
    assert_eq!((at(0, "digest"), at(0, "input"), at(0, "raw")), (text("c"), Field::Null, Field::Null));
    assert_eq!(at(1, "detail"), text(r#"{"digest":"m","schema":1,"signal":"s","states":[["up",0],["down",1]]}"#));
    assert_eq!((at(3, "input"), at(3, "source")), (text("b"), text("source of b")));
    assert_eq!(at(3, "detail"), text(r#"{"path":"/var/b"}"#));
    assert_eq!(at(4, "detail"), text(r#"{"columns":["x"],"last":true,"name":"t","rows":1}"#));
    assert_eq!((at(5, "raw"), at(5, "record"), at(5, "input")), (text("one"), long(1), text("b")));
    assert_eq!((at(6, "raw"), at(6, "record"), at(6, "position")), (text("four"), long(4), long(5)));
    assert_eq!((at(7, "raw"), at(7, "record")), (Field::Null, long(1)), "not UTF-8");
    assert_eq!(at(7, "bytes"), Field::Bytes(b"\xffbad".to_vec().into()));
    assert_eq!(at(7, "detail"), text(r#"{"reason":"too long"}"#));
    assert_eq!((at(8, "raw"), at(8, "record"), at(8, "input")), (text("{\"a\":1}"), long(2), text("a")));
    assert_eq!((at(9, "bytes"), at(9, "record")), (Field::Bytes(b"{\"b\":\"\xff\"}".to_vec().into()), long(3)));
    assert_eq!((at(10, "raw"), at(10, "record")), (text("end"), long(4)));
    assert_eq!((at(11, "time"), at(11, "detail")), (Field::TimestampMicros(1_700_000_000_000_000), Field::Null));
    assert_eq!(at(12, "input"), text("a"));
    assert_eq!((at(14, "digest"), at(14, "detail")), (text("r"), text(r#"{"bytes":3,"last":true}"#)));
}

#[test]
fn a_range_and_columns_can_be_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    written(&store, &[input("a"), lines(0, 1, b"1\n"), lines(0, 2, b"2\n3\n"), lines(0, 4, b"4\n")]);
    let names = |names: &[&str]| Some(names.iter().map(|&name| name.to_owned()).collect());
    let some = Selection { what: What::Log, from: Some(2), to: Some(3), columns: names(&["raw", "source"]) };
    let (_, rows) = exported(&store, &some);
    let row = |raw: &str| Row::from([("raw".into(), text(raw)), ("source".into(), text("source of a"))]);
    assert_eq!(rows, [row("2"), row("3")], "the input is known from before");

    let refused = |selection: &Selection| {
        let recorded = Recorded::open(&store).unwrap();
        let file = folder.path().join("refused.parquet");
        let error = export(&recorded, selection, &file, &mut |_, _, _| {}).expect_err("it is refused");
        assert!(!file.exists() && !file.with_extension("parquet.part").exists());
        format!("{error:#}")
    };
    let unknown = refused(&Selection { columns: names(&["raww"]), ..some.clone() });
    assert!(unknown.starts_with("log: no column `raww`; there are `position`"), "{unknown}");
    let twice = refused(&Selection { columns: names(&["raw", "raw"]), ..some.clone() });
    assert_eq!(twice, "the column `raw` is named twice");
    let recorded = Recorded::open(&store).unwrap();
    let error = export(&recorded, &selection(What::Log), &store, &mut |_, _, _| {}).expect_err("it is the store");
    assert!(error.to_string().ends_with("is the store; writing to it would destroy it"), "{error}");
    let beyond = refused(&Selection { from: Some(9), to: None, ..some });
    assert!(beyond.contains("expected positions from 0 to 4"), "{beyond}");
}

#[test]
fn nothing_is_a_file_without_rows() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    written(&store, &[Given::End]);
    let (exported, rows) = exported(&store, &selection(What::Events));
    assert_eq!((exported.rows, exported.row_groups, rows.len()), (0, 0, 0));
}

#[test]
fn many_rows_are_many_row_groups() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let chunk: Vec<u8> = b"0123456789\n".repeat(20_000);
    let entries: Vec<Given> =
        std::iter::once(input("a")).chain((0..10).map(|n| lines(0, n * 20_000 + 1, &chunk))).collect();
    written(&store, &entries);
    let (exported, rows) = exported(&store, &selection(What::Log));
    assert_eq!((exported.rows, exported.row_groups), (200_001, 2));
    assert_eq!(rows[200_000]["record"], long(200_000));
}
