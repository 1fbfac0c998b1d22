//! Cuts the bytes of an input into records: lines, or JSON documents however they are laid out.
//!
//! For JSON the first line decides: if it holds exactly one object, every line is a record (the
//! fast way). Otherwise documents are found by their brackets: pretty-printed or concatenated
//! objects, the elements of a top-level array (a CloudEvents batch), and the `items` of a
//! Kubernetes `List`.

use memchr::{memchr, memchr_iter, memchr2, memrchr};
use serde::{Deserialize, Serialize};

use stillhouse_core::Span;

/// A chunk is cut when it has at least this many bytes, and at the end of the input.
pub const CHUNK_BYTES: usize = 256 << 10;

/// A longer record is a dead letter; its beginning is kept.
pub const RECORD_BYTES_MAX: usize = 8 << 20;

/// How much of a record that is too long is kept.
const KEPT_BYTES: usize = 4096;

/// Whole records of an input.
#[derive(Clone, Debug, Default)]
pub struct Chunk {
    /// The bytes of the records.
    pub bytes: Vec<u8>,
    /// Where the records are; `None`: every line is one.
    pub records: Option<Vec<Span>>,
    /// The number of the first record in its input, from 1.
    pub first: u64,
    /// Records that could not be framed, by number: the beginning, and what is wrong.
    pub broken: Vec<(u64, Vec<u8>, String)>,
    /// From where on the input is read after these records.
    pub next: Place,
}

/// How far an input has been read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The number of the next record, from 1.
    pub record: u64,
    /// Where it begins in the bytes of the input, if reading can begin there.
    pub offset: Option<u64>,
}

/// What an input is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Every line is a record.
    Lines,
    /// JSON, however it is laid out.
    Json,
}

/// Cuts one input into chunks of whole records.
#[derive(Debug)]
pub struct Framer {
    mode: Mode,
    buffer: Vec<u8>,
    /// The number of the next record.
    next: u64,
    broken: Vec<(u64, Vec<u8>, String)>,
    /// The rest of a line that is too long is passed over.
    skipping: bool,
    /// Bytes of the input that were taken out of the buffer.
    taken_bytes: u64,
    /// Records before this one were read in another run.
    from_record: u64,
}

#[derive(Debug)]
enum Mode {
    /// JSON of which the first line has not been seen.
    Unknown,
    Lines,
    Documents(Scanner),
}

impl Framer {
    /// A framer at the beginning of an input.
    pub fn new(framing: Framing) -> Self {
        let mode = match framing {
            Framing::Lines => Mode::Lines,
            Framing::Json => Mode::Unknown,
        };
        Self { mode, buffer: Vec::new(), next: 1, broken: Vec::new(), skipping: false, taken_bytes: 0, from_record: 1 }
    }

    /// A framer that goes on at a place where another has been. Tells from which byte on it is to be given
    /// the input; what it has read already it does not hand on again.
    pub fn resume(framing: Framing, place: Place) -> (Self, u64) {
        let mut framer = Self::new(framing);
        framer.from_record = place.record.max(1);
        if let Some(offset) = place.offset {
            (framer.mode, framer.next, framer.taken_bytes) = (Mode::Lines, framer.from_record, offset);
        }
        (framer, place.offset.unwrap_or(0))
    }

    /// The input is another one from now on; its records are counted on.
    pub fn begin_again(&mut self, framing: Framing) {
        let next = self.next;
        *self = Self::new(framing);
        (self.next, self.from_record) = (next, next);
    }

    /// Where the next bytes of the input go: append them.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Notes that the input broke off, for example because it could not be read on.
    pub fn break_off(&mut self, reason: String) {
        let number = self.next;
        self.next += 1;
        self.broken.push((number, Vec::new(), reason));
    }

    /// Takes the whole records out, once there are enough of them or `all` are wanted; at the `end`
    /// of the input what is left is a record too.
    pub fn chunk(&mut self, all: bool, end: bool) -> Option<Chunk> {
        if !(all || end) && self.buffer.len() < CHUNK_BYTES {
            return None;
        }
        if self.taken_bytes == 0 && self.next == 1 && self.buffer.starts_with(b"\xEF\xBB\xBF") {
            self.buffer.drain(..3);
            self.taken_bytes += 3;
        }
        if matches!(self.mode, Mode::Unknown) {
            self.mode = match self.look(end) {
                Some(mode) => mode,
                // Nothing came, but it may have broken off.
                None if end => Mode::Lines,
                None => return None,
            };
        }
        let had = self.buffer.len();
        let mut chunk = match &mut self.mode {
            Mode::Documents(_) => self.documents(end),
            _ => self.lines(end),
        };
        self.taken_bytes += had.saturating_sub(self.buffer.len()) as u64;
        let is_between_lines = matches!(self.mode, Mode::Lines) && !self.skipping;
        chunk.next = Place { record: self.next, offset: is_between_lines.then_some(self.taken_bytes) };
        if self.next <= self.from_record && chunk.first < self.from_record {
            return None;
        }
        chunk.skip_to(self.from_record);
        Some(chunk).filter(|chunk| !chunk.bytes.is_empty() || !chunk.broken.is_empty())
    }

    /// Decides by the first line, if it is there.
    fn look(&mut self, end: bool) -> Option<Mode> {
        let start = self.buffer.iter().position(|byte| !byte.is_ascii_whitespace())?;
        let line = match memchr(b'\n', &self.buffer[start..]) {
            Some(length) => &self.buffer[start..start + length],
            None if end || self.buffer.len() > RECORD_BYTES_MAX => &self.buffer[start..],
            None => return None,
        };
        let mut scanner = Scanner::default();
        let mut records = Vec::new();
        scanner.scan(line, &mut records);
        let one =
            matches!(records.as_slice(), [record] if record.start == 0 && !scanner.unwrapped && !scanner.is_inside());
        let one = one && records.iter().all(|record| line[record.len as usize..].trim_ascii().is_empty());
        let is_json = matches!(line.first(), Some(b'{' | b'['));
        Some(if one || !is_json { Mode::Lines } else { Mode::Documents(Scanner::default()) })
    }

    fn lines(&mut self, end: bool) -> Chunk {
        if self.skipping {
            let Some(at) = memchr(b'\n', &self.buffer) else {
                self.buffer.clear();
                return self.finish(Vec::new(), None, 0);
            };
            self.buffer.drain(..=at);
            self.skipping = false;
        }
        let mut cut = match memrchr(b'\n', &self.buffer) {
            Some(at) => at + 1,
            None => 0,
        };
        if self.buffer.len() - cut > RECORD_BYTES_MAX {
            let lines = memchr_iter(b'\n', &self.buffer[..cut]).count() as u64;
            let kept = self.buffer[cut..cut + KEPT_BYTES].to_vec();
            self.broken.push((self.next + lines, kept, too_long()));
            self.buffer.truncate(cut);
            self.skipping = true;
            let bytes = std::mem::take(&mut self.buffer);
            return self.finish(bytes, None, lines + 1);
        }
        if end && cut < self.buffer.len() {
            self.buffer.push(b'\n');
            cut = self.buffer.len();
        }
        let rest = self.buffer.split_off(cut);
        let bytes = std::mem::replace(&mut self.buffer, rest);
        let lines = memchr_iter(b'\n', &bytes).count() as u64;
        self.finish(bytes, None, lines)
    }

    fn documents(&mut self, end: bool) -> Chunk {
        let Mode::Documents(scanner) = &mut self.mode else { return Chunk::default() };
        let mut records = Vec::new();
        scanner.scan(&self.buffer, &mut records);
        if end {
            scanner.end(self.buffer.len(), &mut records);
        }
        let mut cut = scanner.keep_from();
        if self.buffer.len() - cut > RECORD_BYTES_MAX {
            let kept = self.buffer[cut..cut + KEPT_BYTES].to_vec();
            self.broken.push((self.next + records.len() as u64, kept, too_long()));
            self.next += 1;
            scanner.pass_over();
            cut = self.buffer.len();
        }
        scanner.shift(cut);
        let rest = self.buffer.split_off(cut);
        let bytes = std::mem::replace(&mut self.buffer, rest);
        let count = records.len() as u64;
        self.finish(bytes, Some(records), count)
    }

    fn finish(&mut self, bytes: Vec<u8>, records: Option<Vec<Span>>, count: u64) -> Chunk {
        let first = self.next;
        self.next += count;
        Chunk { bytes, records, first, broken: std::mem::take(&mut self.broken), next: Place::default() }
    }
}

impl Chunk {
    /// Leaves out the records before this one.
    fn skip_to(&mut self, record: u64) {
        let Some(over) = record.checked_sub(self.first).filter(|&over| over > 0) else { return };
        self.broken.retain(|(number, ..)| *number >= record);
        self.first = record;
        match &mut self.records {
            Some(records) => drop(records.drain(..(over as usize).min(records.len()))),
            None => {
                let end = memchr_iter(b'\n', &self.bytes).nth(over as usize - 1);
                self.bytes.drain(..end.map_or(self.bytes.len(), |end| end + 1));
            }
        }
    }
}

fn too_long() -> String {
    format!("a record of more than {} MiB; the rest of it was passed over", RECORD_BYTES_MAX >> 20)
}

/// Finds JSON documents by their brackets. It checks no more than it needs: whether a document is
/// valid is for the reader of records to say.
#[derive(Debug, Default)]
struct Scanner {
    at: usize,
    depth: u32,
    in_string: bool,
    /// Where the record that is being scanned begins.
    start: Option<usize>,
    /// The depth at which records begin: 0, or inside a list that is unwrapped.
    base: u32,
    /// The document is too long: its end is looked for, but it is no record.
    passing: bool,
    /// After the items of a `List`: what follows in it is no record.
    tail: bool,
    /// Whether a list was unwrapped so far.
    unwrapped: bool,
    /// Depth 1 only: where the last string began, and what was seen before it.
    key_start: usize,
    last_key: Option<Key>,
    seen_kind: bool,
    line_start: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Items,
    Other,
}

impl Scanner {
    fn is_inside(&self) -> bool {
        self.depth > 0 || self.in_string || self.start.is_some()
    }

    fn scan(&mut self, bytes: &[u8], records: &mut Vec<Span>) {
        while self.at < bytes.len() {
            if self.in_string {
                match memchr2(b'"', b'\\', &bytes[self.at..]) {
                    None => self.at = bytes.len(),
                    // An escaped byte that has not come yet is looked at again.
                    Some(offset) if bytes[self.at + offset] == b'\\' => {
                        if self.at + offset + 1 >= bytes.len() {
                            self.at += offset;
                            return;
                        }
                        self.at += offset + 2;
                    }
                    Some(offset) => {
                        self.at += offset + 1;
                        self.in_string = false;
                        self.end_string(bytes);
                    }
                }
                continue;
            }
            let byte = bytes[self.at];
            let at_line_start = std::mem::replace(&mut self.line_start, byte == b'\n');
            match byte {
                b'"' => {
                    self.in_string = true;
                    self.key_start = self.at + 1;
                    self.begin(self.at);
                }
                b'{' if at_line_start && self.depth > 0 && self.base == 0 && !self.tail => {
                    // A document never closed: the next one begins here.
                    self.close(self.at, records);
                    *self = Self { at: self.at, ..Self::default() };
                    continue;
                }
                b'[' if self.depth == 0 && self.start.is_none() => {
                    (self.depth, self.base, self.unwrapped) = (1, 1, true);
                }
                b'[' if self.depth == 1 && self.base == 0 && self.last_key == Some(Key::Items) && self.seen_kind => {
                    self.start = None;
                    (self.depth, self.base, self.unwrapped) = (2, 2, true);
                }
                b'{' | b'[' => {
                    self.begin(self.at);
                    self.depth += 1;
                }
                b'}' | b']' => self.close_bracket(records),
                b',' if self.depth == self.base => self.close(self.at, records),
                b'\n' if self.depth == 0 => self.close(self.at, records),
                byte if byte.is_ascii_whitespace() => {}
                _ => self.begin(self.at),
            }
            self.at += 1;
        }
    }

    /// A record begins here, unless one has begun or none may.
    fn begin(&mut self, at: usize) {
        if self.start.is_none() && self.depth == self.base && !self.tail && !self.passing {
            self.start = Some(at);
        }
    }

    fn close(&mut self, end: usize, records: &mut Vec<Span>) {
        self.passing = false;
        if let Some(start) = self.start.take() {
            records.push(Span { start: start as u32, len: (end - start) as u32 });
        }
    }

    fn close_bracket(&mut self, records: &mut Vec<Span>) {
        if self.depth == self.base && self.base > 0 {
            // The list ends, and with it the last of its elements.
            self.close(self.at, records);
            self.depth -= 1;
            self.base = 0;
            self.tail = self.depth > 0;
        } else if self.depth > 0 {
            self.depth -= 1;
            if self.depth == self.base {
                self.close(self.at + 1, records);
            }
        } else {
            self.begin(self.at);
        }
        if self.depth == 0 {
            self.tail = false;
            self.passing = false;
            self.last_key = None;
            self.seen_kind = false;
        }
    }

    fn end_string(&mut self, bytes: &[u8]) {
        if self.depth == 1 && self.base == 0 {
            let text = bytes.get(self.key_start..self.at - 1).unwrap_or_default();
            self.seen_kind |= matches!(text, b"kind" | b"apiVersion");
            self.last_key = Some(if text == b"items" { Key::Items } else { Key::Other });
        }
    }

    /// The input ends: what has begun is a record, and a list that is not closed says so.
    fn end(&mut self, end: usize, records: &mut Vec<Span>) {
        self.at = end;
        if self.start.is_none() && self.depth > 0 {
            self.start = Some(end);
        }
        self.close(end, records);
        *self = Self { at: end, ..Self::default() };
    }

    fn keep_from(&self) -> usize {
        self.start.unwrap_or(self.at)
    }

    /// Gives up the record that is being scanned.
    fn pass_over(&mut self) {
        self.start = None;
        self.passing = true;
    }

    /// The first `by` bytes are gone.
    fn shift(&mut self, by: usize) {
        self.at -= by;
        self.key_start = self.key_start.saturating_sub(by);
        self.start = self.start.map(|start| start - by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The records of `input`, fed in pieces of `piece` bytes.
    fn records(framing: Framing, input: &[u8], piece: usize) -> Vec<String> {
        let mut framer = Framer::new(framing);
        let mut found = Vec::new();
        let mut take = |chunk: Chunk| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            match chunk.records {
                Some(spans) => found.extend(
                    spans.iter().map(|span| text(&chunk.bytes[span.start as usize..(span.start + span.len) as usize])),
                ),
                None => {
                    found.extend(chunk.bytes.split_inclusive(|&byte| byte == b'\n').map(|line| text(line.trim_ascii())))
                }
            }
            found.extend(chunk.broken.iter().map(|(number, _, reason)| format!("{number}: {reason}")));
        };
        for bytes in input.chunks(piece) {
            framer.buffer().extend_from_slice(bytes);
            framer.chunk(true, false).into_iter().for_each(&mut take);
        }
        framer.chunk(true, true).into_iter().for_each(&mut take);
        found
    }

    fn check(framing: Framing, input: &str, expected: &[&str]) {
        for piece in [1, 2, 3, 7, 64, 1 << 20] {
            let squeezed: Vec<String> = records(framing, input.as_bytes(), piece)
                .iter()
                .map(|record| record.split_whitespace().collect::<Vec<_>>().concat())
                .collect();
            assert_eq!(squeezed, expected, "in pieces of {piece}: {input}");
        }
    }

    #[test]
    fn lines() {
        check(Framing::Lines, "a\nb\n\nc", &["a", "b", "", "c"]);
        check(Framing::Lines, "", &[]);
    }

    #[test]
    fn json_in_every_layout() {
        check(Framing::Json, "{\"a\":1}\n{\"a\":\"}\\\"{\"}\n", &[r#"{"a":1}"#, r#"{"a":"}\"{"}"#]);
        check(Framing::Json, "{\"a\":1}{\"a\":2} {\"a\":[{}]}", &[r#"{"a":1}"#, r#"{"a":2}"#, r#"{"a":[{}]}"#]);
        check(
            Framing::Json,
            "{\n  \"a\": {\n    \"b\": 1\n  }\n}\n{\n  \"a\": 2\n}\n",
            &[r#"{"a":{"b":1}}"#, r#"{"a":2}"#],
        );
        check(Framing::Json, "[{\"a\":1},\n{\"a\":[2]}\n]", &[r#"{"a":1}"#, r#"{"a":[2]}"#]);
        check(Framing::Json, "[{\"a\":1}]\n[{\"a\":2}]", &[r#"{"a":1}"#, r#"{"a":2}"#]);
        check(Framing::Json, "[1,\"x\"]", &["1", "\"x\""]);
    }

    #[test]
    fn the_items_of_a_kubernetes_list() {
        let pretty = "{\n    \"apiVersion\": \"v1\",\n    \"items\": [\n        {\n            \"a\": {\"items\": [1]}\n        },\n        {\n            \"a\": 2\n        }\n    ],\n    \"kind\": \"List\",\n    \"metadata\": {\n        \"x\": \"\"\n    }\n}\n{\n    \"a\": 3\n}\n";
        check(Framing::Json, pretty, &[r#"{"a":{"items":[1]}}"#, r#"{"a":2}"#, r#"{"a":3}"#]);
        check(Framing::Json, r#"{"kind":"EventList","items":[{"a":1},{"a":2}]}"#, &[r#"{"a":1}"#, r#"{"a":2}"#]);
        check(Framing::Json, r#"{"kind":"List","items":[]}"#, &[]);
        check(Framing::Json, "{\"items\":[1]}\n", &[r#"{"items":[1]}"#]);
    }

    #[test]
    fn what_is_broken_is_one_record_and_harms_no_other() {
        check(Framing::Json, "{\"a\":1\n{\"b\":2}\n{\"c\":3}\n", &[r#"{"a":1"#, r#"{"b":2}"#, r#"{"c":3}"#]);
        check(Framing::Json, "rubbish\n{\"b\":2}\n", &["rubbish", r#"{"b":2}"#]);
        check(Framing::Json, "{\"a\":1}\nrubbish\n{\"b\":2}\n", &[r#"{"a":1}"#, "rubbish", r#"{"b":2}"#]);
        check(Framing::Json, "[{\"a\":1},{\"b\":", &[r#"{"a":1}"#, r#"{"b":"#]);
        check(Framing::Json, "[{\"a\":1}", &[r#"{"a":1}"#, ""]);
        check(Framing::Json, "{\"a\":\"x\\", &[r#"{"a":"x\"#]);
    }

    #[test]
    fn a_record_that_is_too_long_is_passed_over() {
        let long = "x".repeat(RECORD_BYTES_MAX + 70_000);
        let lines = records(Framing::Lines, format!("a\n{long}\nb\n").as_bytes(), 1 << 16);
        assert_eq!(lines, ["a", "2: a record of more than 8 MiB; the rest of it was passed over", "b"]);
        let documents = records(Framing::Json, format!("[{{\"a\":\"{long}\"}},{{\"b\":1}}]").as_bytes(), 1 << 16);
        assert_eq!(documents.len(), 2, "{documents:?}");
        assert!(documents[0].contains("8 MiB"));
        assert_eq!(documents[1], "{\"b\":1}");
    }

    #[test]
    fn a_byte_order_mark_is_taken_away_only_at_the_beginning() {
        let marked = "\u{feff}[\n\u{feff}{\"a\":1},\n{\"b\":2}]".as_bytes();
        for piece in 1..=marked.len() {
            let expected = ["\u{feff}{\"a\":1}", "{\"b\":2}"];
            assert_eq!(records(Framing::Json, marked, piece), expected, "in pieces of {piece}");
        }
    }
}
