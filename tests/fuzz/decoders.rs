//! Decoders of what comes from outside.

use std::path::Path;
use std::sync::LazyLock;

use stillhouse::config::{Config, Overrides, TableConfig, TableFormat};
use stillhouse::decode::framing::{Chunk, Framer, Framing};
use stillhouse::decode::json::Projection;
use stillhouse::decode::record::{Decoder, Rows};
use stillhouse::decode::shape::Shapes;
use stillhouse::decode::time::{TimeFormat, rfc3339};
use stillhouse::decode::{Slot, Slots};
use stillhouse::mask::{InputMask, Masks};
use stillhouse::tables::read::bytes_of;
use stillhouse_core::rule::{Field, FieldKind};
use stillhouse_core::{Block, Span};

const MASKED: &str = r#"[[mask]]
kind = "email"
[[mask]]
kind = "address"
hash = true
salt_env = "SALT"
[[mask]]
kind = "token"
[[mask]]
fields = ["data.user.name", "user"]
hash = true
salt_env = "SALT"
[[mask]]
pattern = 'card-(?P<secret>\d+)'
with = "0"
"#;

const JSON: &str = "[[input]]\nformat = \"json\"\ntype = \"t\"\nid = \"id\"\nsubject = \"name\"\nsequence = \"n\"\n\
    time = { fields = [\"time\", \"data.when\"] }\n";

const CLOUD_EVENTS: &str = "[[input]]\nformat = \"cloudevents\"\nsequence = \"data.n\"\n";

const TEXT: &str = r#"[[input]]
format = "text"
time = { format = "%b %d %H:%M:%S%.f", zone = "UTC", year = 2026 }
[[input.pattern]]
type = "t"
regex = '^(?P<time>\S+ +\d+ \S+) (?P<name>\S+) .*state to (?P<user>\S+)'
[[input.pattern]]
type = "u"
regex = '^(?P<time>\S+ +\d+ \S+) (?P<user>.*)$'
"#;

const SIGNALS: &str = "[signal.t]\nmapper = \"status\"\n[signal.u]\nmapper = \"status\"\n";

struct Reader {
    decoder: Decoder,
    mask: Option<InputMask>,
}

impl Reader {
    fn new(input: &str, masks: &str) -> Self {
        let toml = format!("{input}\n{masks}\n{SIGNALS}");
        let config = Config::parse(Path::new("x.toml"), toml, &Overrides::default());
        let config = config.unwrap_or_else(|error| panic!("{error}"));
        let of_any_kind = [FieldKind::Text, FieldKind::Int, FieldKind::Float, FieldKind::Bool];
        let paths =
            ["subject", "id", "time", "source", "name", "user", "data", "data.status", "data.user.name", "data.0"];
        let field = |(at, path): (usize, &&str)| Field { path: (*path).to_owned(), kind: of_any_kind[at % 4] };
        let fields: Vec<Field> = paths.iter().enumerate().map(field).collect();
        let types = [("t".to_owned(), fields.clone()), ("u".to_owned(), fields)];
        let masks = Masks::new(&config, |_| Some("a salt that is long enough".into()))
            .unwrap_or_else(|error| panic!("{error}"));
        Self {
            mask: masks.input(&config.inputs[0], "in.log"),
            decoder: Decoder::new(&config.inputs[0], "in.log", &types),
        }
    }

    /// Cuts, masks and decodes all of it. Each row must lie within its block.
    fn read(&self, bytes: &[u8], cut: usize) {
        let mut framer = Framer::new(self.decoder.framing());
        for mut chunk in chunks(&mut framer, bytes, cut) {
            let (first, broken) = (chunk.first, chunk.broken.len());
            if let Some(mask) = &self.mask {
                let before = records(&chunk).count();
                mask.chunk(&mut chunk);
                assert_eq!((records(&chunk).count(), chunk.broken.len()), (before, broken), "masks keep records");
            }
            let count = records(&chunk).count();
            let (mut block, mut seen) = (Block::default(), Seen::default());
            self.decoder.decode(chunk, &mut block, &mut seen);
            assert!(
                first > 0 && block.rows.len() <= (count + broken) * 2,
                "{count} records, {} rows",
                block.rows.len()
            );
            for row in &block.rows {
                let raw = row.raw.start as usize..(row.raw.start + row.raw.len) as usize;
                assert!(block.raw.get(raw).is_some(), "a row is within the bytes of its block");
                let _ = (block.text(row.id), block.text(row.reason));
            }
        }
    }
}

/// Looks at each row as a mapper would.
#[derive(Default)]
struct Seen {
    sources: u32,
    texts: usize,
}

impl Rows for Seen {
    fn row(&mut self, _: &mut Block, _: u16, _: usize, slots: &Slots<'_>, places: &[usize]) {
        for &place in places {
            self.texts += slots.text(place).map_or(0, str::len);
        }
    }

    fn source(&mut self, _: &str) -> u32 {
        self.sources += 1;
        self.sources - 1
    }
}

/// The chunks of an input that comes in pieces of `cut` bytes.
fn chunks(framer: &mut Framer, bytes: &[u8], cut: usize) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    for piece in bytes.chunks(cut.max(1)) {
        framer.buffer().extend_from_slice(piece);
        chunks.extend(framer.chunk(true, false));
    }
    chunks.extend(framer.chunk(true, true));
    chunks
}

/// The records of a chunk.
fn records(chunk: &Chunk) -> impl Iterator<Item = &[u8]> {
    let lines = chunk.records.is_none().then(|| chunk.bytes.split_inclusive(|&byte| byte == b'\n'));
    let lines = lines.into_iter().flatten().map(|line| line.strip_suffix(b"\n").unwrap_or(line));
    let within = |span: &Span| &chunk.bytes[span.start as usize..(span.start + span.len) as usize];
    lines.chain(chunk.records.iter().flatten().map(within))
}

/// The first byte says in what pieces the rest comes.
fn pieces(bytes: &[u8]) -> (usize, &[u8]) {
    match bytes.split_first() {
        Some((&0, rest)) => (usize::MAX, rest),
        Some((&first, rest)) => (usize::from(first), rest),
        None => (1, bytes),
    }
}

pub fn json(bytes: &[u8]) {
    static READER: LazyLock<Reader> = LazyLock::new(|| Reader::new(JSON, ""));
    let (cut, bytes) = pieces(bytes);
    READER.read(bytes, cut);
    alike(bytes);
}

/// What is read of a record is the same whether it looks like one before it or not.
fn alike(bytes: &[u8]) {
    static WANTED: LazyLock<(Projection, usize)> = LazyLock::new(|| {
        let paths = ["id", "name", "data.when", "data.n", "data", "user", "data.user.name", "n", "id"];
        let mut projection = Projection::default();
        paths.iter().enumerate().for_each(|(slot, path)| projection.want(path, slot));
        (projection, paths.len())
    });
    let (projection, count) = &*WANTED;
    let told = |slots: &Slots<'_>| {
        let told = |slot| slots.text(slot).map_or_else(|| format!("{:?}", slots.values[slot]), str::to_owned);
        (0..*count).map(told).collect::<Vec<_>>()
    };
    let mut shapes = Shapes::default();
    for record in String::from_utf8_lossy(bytes).lines() {
        let (mut parsed, mut alike) = (Slots::default(), Slots::default());
        parsed.reset(*count);
        alike.reset(*count);
        let results = (projection.read(record, &mut parsed), projection.read_alike(record, &mut alike, &mut shapes));
        assert_eq!(results.0, results.1, "{record}");
        if results.0.is_ok() {
            assert_eq!(told(&parsed), told(&alike), "{record}");
        }
    }
}

pub fn cloudevents(bytes: &[u8]) {
    static READER: LazyLock<Reader> = LazyLock::new(|| Reader::new(CLOUD_EVENTS, ""));
    let (cut, bytes) = pieces(bytes);
    READER.read(bytes, cut);
}

pub fn text(bytes: &[u8]) {
    static READER: LazyLock<Reader> = LazyLock::new(|| Reader::new(TEXT, ""));
    let (cut, bytes) = pieces(bytes);
    READER.read(bytes, cut);
}

/// The second byte says what is masked.
pub fn masks(bytes: &[u8]) {
    static READERS: LazyLock<[Reader; 3]> = LazyLock::new(|| {
        // A pattern has no paths, only groups.
        let of_text = MASKED.replace("\"data.user.name\", ", "");
        [(JSON, MASKED), (CLOUD_EVENTS, MASKED), (TEXT, &of_text)].map(|(input, masks)| Reader::new(input, masks))
    });
    let (cut, bytes) = pieces(bytes);
    if let Some((&first, rest)) = bytes.split_first() {
        READERS[usize::from(first) % READERS.len()].read(rest, cut);
    }
}

/// In whatever pieces an input comes, its records and their numbers are the same; and so are those after the place
/// where reading stopped and goes on.
pub fn framing(bytes: &[u8]) {
    let (cut, bytes) = pieces(bytes);
    for framing in [Framing::Lines, Framing::Json] {
        let numbered = |chunks: &[Chunk]| {
            let mut all: Vec<(u64, Vec<u8>)> = Vec::new();
            for chunk in chunks {
                let mut broken = chunk.broken.iter().map(|(number, ..)| *number).peekable();
                let mut number = chunk.first;
                for record in records(chunk) {
                    while broken.next_if_eq(&number).is_some() {
                        number += 1;
                    }
                    all.push((number, record.to_vec()));
                    number += 1;
                }
            }
            all
        };
        let whole = numbered(&chunks(&mut Framer::new(framing), bytes, usize::MAX));
        assert!(whole.is_sorted_by(|one, next| one.0 < next.0), "numbers grow");
        let parts = chunks(&mut Framer::new(framing), bytes, cut);
        assert_eq!(numbered(&parts), whole, "{framing:?}");
        let Some(chunk) = parts.get(parts.len() / 2) else { continue };
        let (mut framer, offset) = Framer::resume(framing, chunk.next);
        let Some(rest) = bytes.get(offset as usize..) else {
            // A line without an end was given one.
            assert!(offset as usize == bytes.len() + 1, "byte {offset} of {}", bytes.len());
            continue;
        };
        let rest = numbered(&chunks(&mut framer, rest, cut));
        let expected: Vec<_> = whole.into_iter().filter(|(number, _)| *number >= chunk.next.record).collect();
        assert_eq!(rest, expected, "{framing:?} from {:?}", chunk.next);
    }
}

fn table(format: TableFormat, bytes: &[u8]) {
    let config = TableConfig { name: "t".into(), path: "t".into(), format, key: "key".into(), span: 0..0 };
    match bytes_of(&config, bytes) {
        Ok(table) => {
            assert!(table.rows.values().all(|row| row.len() <= table.columns.len()), "every value has a column");
        }
        Err(error) => assert!(error.starts_with("t:"), "an error names its line: {error}"),
    }
}

pub fn csv(bytes: &[u8]) {
    table(TableFormat::Csv, bytes);
}

pub fn json_lines(bytes: &[u8]) {
    table(TableFormat::JsonLines, bytes);
}

/// A line with a format, and a time.
pub fn time(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let (Some(time_us), Ok(time)) = (rfc3339(text), text.parse::<jiff::Timestamp>()) {
        // What is less than a microsecond is cut off, before 1970 too.
        assert_eq!(i128::from(time_us), time.as_nanosecond().div_euclid(1000), "{text}");
    }
    let (format, text) = text.split_once('\n').unwrap_or(("%b %d %H:%M:%S%.f", text));
    for (zone, year) in [("UTC", Some(2026)), ("America/New_York", None), ("Europe/Berlin", Some(-9999))] {
        let zone = jiff::tz::TimeZone::get(zone).expect("a zone");
        let custom = TimeFormat::Custom { format: format.into(), zone, year };
        let _ = custom.read(Slot::Text(text), Some(text));
    }
    for factor in [1, 1_000, 1_000_000] {
        let unix = TimeFormat::Unix(factor);
        let _ = unix.read(Slot::Text(text), Some(text));
        let _ = text.parse().map(|number| unix.read(Slot::Int(number), None));
        let _ = text.parse().map(|number| unix.read(Slot::Float(number), None));
    }
}

pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Err(error) = Config::parse(Path::new("x.toml"), text.to_owned(), &Overrides::default()) {
        assert!(error.to_string().contains("x.toml"), "an error names its file: {error}");
    }
}

/// The body of a post; the first byte says what it is said to be. What is taken can be read as lines.
pub fn body(bytes: &[u8]) {
    const KINDS: [&str; 4] = [
        "application/x-ndjson",
        "application/json",
        "application/cloudevents+json",
        "application/cloudevents-batch+json",
    ];
    let Some((&first, rest)) = bytes.split_first() else { return };
    let kind = KINDS[usize::from(first) % KINDS.len()];
    let lines = stillhouse_delivery::intake::lines_of(kind, rest, 100).expect("it is known");
    if let Ok((lines, count)) = lines {
        let ended = lines.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n")).count();
        assert_eq!((ended, lines.split_inclusive(|&byte| byte == b'\n').count()), (count, count), "a record is a line");
        let mut framer = Framer::new(Framing::Lines);
        let chunks = chunks(&mut framer, &lines, usize::MAX);
        assert_eq!(chunks.iter().map(|chunk| records(chunk).count()).sum::<usize>(), count, "and is read as one");
    }
}
