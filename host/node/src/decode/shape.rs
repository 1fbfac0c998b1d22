//! Records of one input mostly look alike: the same keys in the same order, with other values. What stands between
//! the values of a record, its shape, is remembered; a record of a known shape is compared with it, and its values are
//! cut out. What is read is what the parser would read. Where there is any doubt nothing is read here, and the parser
//! decides.

use super::Slot;
use super::json::{Node, number};

/// So many shapes are known at a time; the one that has not been met for longest gives way.
const SHAPES_MAX: usize = 4;

/// Once so many records were strange, shapes are of use only if four times as many were not.
const STRANGE_MAX: u32 = 32;

/// A record that nests deeper has no shape.
const SHAPE_DEPTH_MAX: usize = 16;

/// The shapes of some records in a row.
#[derive(Debug, Default)]
pub struct Shapes {
    /// The one that was met last is first.
    known: Vec<Shape>,
    met: u32,
    strange: u32,
}

impl Shapes {
    /// Reads a record of a known shape; `None` if the parser must. What a shape fills before it turns out to be another
    /// one is what the record has there, so it is of no matter to the next.
    pub fn read<'a>(&mut self, record: &'a str, values: &mut [Slot<'a>]) -> Option<()> {
        let Some(at) = self.known.iter().position(|shape| shape.read(record, values).is_some()) else {
            // Some may have been filled before a shape turned out to be another one.
            values.fill(Slot::Absent);
            return None;
        };
        self.known[..=at].rotate_right(1);
        self.met = self.met.saturating_add(1);
        Some(())
    }

    /// Remembers the shape of a record that was parsed, of which what is under `root` is wanted.
    pub(super) fn learn(&mut self, record: &str, root: &Node) {
        self.strange = self.strange.saturating_add(1);
        if self.strange > STRANGE_MAX && self.met / 4 < self.strange {
            return self.known.clear();
        }
        if let Some(shape) = Shape::of(record, root) {
            self.known.truncate(SHAPES_MAX - 1);
            self.known.insert(0, shape);
        }
    }
}

/// Texts and values by turns.
#[derive(Debug)]
struct Shape {
    values: Vec<Place>,
    /// What stands before each value, and behind the last.
    texts: String,
    slots: Vec<usize>,
}

/// Where a value is.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// The end of the text before it.
    text: usize,
    /// The end of the slots that it fills.
    slots: usize,
}

impl Shape {
    fn of(record: &str, root: &Node) -> Option<Self> {
        let mut shape = Self { values: Vec::new(), texts: String::with_capacity(record.len()), slots: Vec::new() };
        let mut scan = Scan { record, at: 0, begins: 0 };
        scan.object(Some(root), SHAPE_DEPTH_MAX, &mut shape)?;
        shape.texts.push_str(&record[scan.begins..]);
        Some(shape)
    }

    fn read<'a>(&self, record: &'a str, values: &mut [Slot<'a>]) -> Option<()> {
        let (mut at, mut text, mut slots) = (0, 0, 0);
        let (bytes, texts) = (record.as_bytes(), self.texts.as_bytes());
        for place in &self.values {
            let before = &texts[text..place.text];
            if !bytes[at..].starts_with(before) {
                return None;
            }
            at += before.len();
            let wanted = &self.slots[slots..place.slots];
            let end = if bytes.get(at) == Some(&b'"') {
                let end = string_end(bytes, at + 1, !wanted.is_empty())?;
                wanted.iter().for_each(|&slot| values[slot] = Slot::Text(&record[at + 1..end]));
                end + 1
            } else {
                let (value, end) = word(record, at)?;
                // As the parser does, nothing is made of null.
                let slots = wanted.iter().filter(|_| value != Slot::Absent);
                slots.for_each(|&slot| values[slot] = value);
                end
            };
            (at, text, slots) = (end, place.text, place.slots);
        }
        (bytes[at..] == texts[text..]).then_some(())
    }
}

/// The end of the string whose text begins at `start`; `None` if it has to be looked at more closely.
fn string_end(bytes: &[u8], start: usize, is_wanted: bool) -> Option<usize> {
    let mut end = start + plain(&bytes[start..]);
    // An escape is of no matter where nobody reads it.
    while !is_wanted && bytes.get(end) == Some(&b'\\') {
        let (b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') = *bytes.get(end + 1)? else { return None };
        end += 2;
        end += plain(&bytes[end..]);
    }
    (bytes.get(end) == Some(&b'"')).then_some(end)
}

/// The number, truth value or null that begins at `at`, and its end; `None` if it is something else or has to be
/// looked at more closely. What stands behind it is compared by whoever calls.
fn word(record: &str, at: usize) -> Option<(Slot<'static>, usize)> {
    let rest = &record.as_bytes()[at..];
    match rest.first()? {
        b't' => rest.starts_with(b"true").then_some((Slot::Bool(true), at + 4)),
        b'f' => rest.starts_with(b"false").then_some((Slot::Bool(false), at + 5)),
        b'n' => rest.starts_with(b"null").then_some((Slot::Absent, at + 4)),
        b'-' | b'0'..=b'9' => {
            let of_number = |byte: &u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
            let length = rest.iter().position(|byte| !of_number(byte)).unwrap_or(rest.len());
            Some((number(&record[at..at + length])?, at + length))
        }
        _ => None,
    }
}

/// How many bytes of a string stand for themselves: up to a quote, a backslash or a control character.
fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    // Eight bytes at a time, as in "Bit Twiddling Hacks" (Anderson): of the bytes that it marks, the first is right.
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let mut at = 0;
    for eight in bytes.chunks_exact(8) {
        let word = u64::from_le_bytes(eight.try_into().expect("eight bytes"));
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let found = (zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\'))) | control) & HIGH;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let ends = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    bytes[at..].iter().position(ends).map_or(bytes.len(), |length| at + length)
}

/// A record that was parsed, as its shape is taken from it.
struct Scan<'a> {
    record: &'a str,
    at: usize,
    /// Where the text begins that ends with the next value.
    begins: usize,
}

impl Scan<'_> {
    fn byte(&self) -> Option<u8> {
        self.record.as_bytes().get(self.at).copied()
    }

    /// The next byte that is no white space.
    fn next(&mut self) -> Option<u8> {
        while let b' ' | b'\t' | b'\n' | b'\r' = self.byte()? {
            self.at += 1;
        }
        self.byte()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then(|| self.at += 1)
    }

    fn object(&mut self, node: Option<&Node>, depth: usize, shape: &mut Shape) -> Option<()> {
        depth.checked_sub(1)?;
        self.take(b'{')?;
        if self.next()? == b'}' {
            return self.take(b'}');
        }
        loop {
            self.take(b'"')?;
            let end = string_end(self.record.as_bytes(), self.at, true)?;
            let node = node.and_then(|node| node.get(&self.record[self.at..end]));
            self.at = end + 1;
            self.take(b':')?;
            match self.next()? {
                b'{' => self.object(node, depth - 1, shape)?,
                _ => self.value(node, shape)?,
            }
            match self.next()? {
                b',' => self.at += 1,
                _ => return self.take(b'}'),
            }
        }
    }

    fn value(&mut self, node: Option<&Node>, shape: &mut Shape) -> Option<()> {
        let slots = node.map_or(&[][..], |node| &node.slots);
        let end = match self.byte()? {
            b'"' => string_end(self.record.as_bytes(), self.at + 1, false)? + 1,
            _ => word(self.record, self.at)?.1,
        };
        shape.texts.push_str(&self.record[self.begins..self.at]);
        shape.slots.extend(slots);
        shape.values.push(Place { text: shape.texts.len(), slots: shape.slots.len() });
        (self.at, self.begins) = (end, end);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Slots;
    use crate::decode::json::Projection;

    const PATHS: [&str; 7] = ["id", "data.status", "data.n", "data.a.b", "flag", "a.b", "id"];

    fn projection() -> Projection {
        let mut projection = Projection::default();
        PATHS.iter().enumerate().for_each(|(slot, path)| projection.want(path, slot));
        projection
    }

    /// What is read of a record: texts where they are, or why nothing is.
    fn read<'a>(
        record: &'a str,
        by: impl FnOnce(&'a str, &mut Slots<'a>) -> Result<(), String>,
    ) -> Result<Vec<String>, String> {
        let mut slots = Slots::default();
        slots.reset(PATHS.len());
        by(record, &mut slots)?;
        let told = |slot| match slots.text(slot) {
            Some(text) => format!("{text:?}"),
            None => format!("{:?}", slots.values[slot]),
        };
        Ok((0..PATHS.len()).map(told).collect())
    }

    #[test]
    fn records_that_look_alike_are_read_as_they_are_parsed() {
        let projection = projection();
        let record = |value: &str| {
            [
                format!(r#"{{"id":{value},"data":{{"status":"up","n":1,"a":{{"b":true}}}},"flag":null}}"#),
                format!(r#"{{"id":"x","skipped":{value}, "data" : {{"n":{value},"status":{value}}},"a.b":{value}}}"#),
                format!(r#"{{"a":{{"b":{value},"c":{value}}},"id":7,"id":{value},"data":{value}}} "#),
            ]
        };
        let values = [
            r#""""#,
            r#""text""#,
            r#""seven""#,
            r#""eight___""#,
            r#""nine_____""#,
            r#""é ü \u00e9""#,
            r#""é""#,
            r#""a\nb""#,
            r#""a\\""#,
            r#""\"""#,
            r#""\u12""#,
            r#""\x""#,
            "\"tab\there\"",
            "\"\u{7f}\"",
            r#""open"#,
            "0",
            "-0",
            "7",
            "-7",
            "01",
            "1.",
            ".5",
            "1.5",
            "-1.5e3",
            "1e999",
            "-",
            "+1",
            "9223372036854775807",
            "9223372036854775808",
            "18446744073709551616",
            "123456789012345678",
            "1234567890123456789",
            "true",
            "false",
            "null",
            "nul",
            "truer",
            "{}",
            r#"{"b":1}"#,
            "[]",
            "[1,2]",
            "",
            "{",
            "}",
            "1 2",
        ];
        let mut shapes = Shapes::default();
        for round in 0..3 {
            for value in values {
                for (at, record) in record(value).iter().enumerate() {
                    let parsed = read(record, |record, slots| projection.read(record, slots));
                    // Once it is known by a shape of its own, and once in a row of all.
                    let usual = usual(at);
                    let mut own = Shapes::default();
                    own.learn(&usual, projection.root());
                    let by_shape = read(record, |record, slots| projection.read_alike(record, slots, &mut own));
                    assert_eq!(by_shape, parsed, "{record}");
                    let in_a_row = read(record, |record, slots| projection.read_alike(record, slots, &mut shapes));
                    assert_eq!(in_a_row, parsed, "{record} in round {round}");
                }
            }
        }
    }

    /// A record of which some that are tested have the shape.
    fn usual(at: usize) -> String {
        let of = [
            r#"{"id":"u","data":{"status":"up","n":1,"a":{"b":true}},"flag":null}"#,
            r#"{"id":"x","skipped":1, "data" : {"n":2,"status":3},"a.b":4}"#,
            r#"{"a":{"b":1,"c":2},"id":7,"id":3,"data":4} "#,
        ];
        of[at].to_owned()
    }

    #[test]
    fn what_looks_alike_is_not_parsed() {
        let projection = projection();
        let mut shapes = Shapes::default();
        shapes.learn(&usual(0), projection.root());
        let mut values = vec![Slot::Absent; PATHS.len()];
        let record = r#"{"id":"other","data":{"status":"down \u","n":-2.5,"a":{"b":null}},"flag":"is \"text\""}"#;
        assert_eq!(shapes.read(record, &mut values), None, "a text that is wanted has an escape");
        assert!(values.iter().all(|value| *value == Slot::Absent));
        let record = record.replace("\\u", "").replace("\\\"", "");
        assert_eq!(shapes.read(&record, &mut values), Some(()));
        let expected = [
            Slot::Text("other"),
            Slot::Text("down "),
            Slot::Float(-2.5),
            Slot::Absent,
            Slot::Text("is text"),
            Slot::Absent,
            Slot::Text("other"),
        ];
        assert_eq!(values, expected);
    }

    #[test]
    fn strangers_are_soon_not_learned_any_more() {
        let root = Projection::default();
        let mut shapes = Shapes::default();
        let records: Vec<String> = (0..100).map(|at| format!(r#"{{"key{at}":1}}"#)).collect();
        for record in &records {
            assert_eq!(shapes.read(record, &mut []), None);
            shapes.learn(record, root.root());
            assert!(shapes.known.len() <= SHAPES_MAX);
        }
        assert!(shapes.known.is_empty());
    }

    #[test]
    fn a_text_ends_where_it_does_not_stand_for_itself() {
        for length in 0..40 {
            for end in [b'"', b'\\', 0, 0x1f] {
                let text = [vec![b'a'; length], vec![end], "é\"".repeat(9).into_bytes()].concat();
                assert_eq!(plain(&text), length, "{end} at {length}");
            }
            let text = "é !\u{7f}#[]~".repeat(5);
            assert_eq!(plain(&text.as_bytes()[..length.min(text.len())]), length.min(text.len()));
        }
    }
}
