//! Reads the wanted fields out of a JSON object in one pass; all else is checked and skipped.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::decode::shape::Shapes;
use crate::decode::{Slot, Slots};

/// How deep a record may nest. What skips a value recurses without a bound of its own, and a stack
/// that overflows ends the program.
pub const DEPTH_MAX: usize = 512;

/// The wanted paths, as a tree of keys.
#[derive(Clone, Debug, Default)]
pub struct Projection {
    root: Node,
}

/// A place in a record: the fields that are wanted here, and below it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    /// The slots that the value at this place fills.
    pub slots: Vec<usize>,
    keys: Vec<(Box<str>, Node)>,
}

impl Projection {
    /// Wants the value at a dotted path to be put into slot `slot`. A key that contains a dot is
    /// found too: `a.b` reads both `{"a":{"b":..}}` and `{"a.b":..}`.
    pub fn want(&mut self, path: &str, slot: usize) {
        self.root.want(path, slot);
    }

    /// The place of the record itself.
    pub(crate) fn root(&self) -> &Node {
        &self.root
    }

    /// As [`Projection::read`], of one of some records that are mostly of the same shapes.
    ///
    /// # Errors
    /// As [`Projection::read`].
    pub fn read_alike<'a>(&self, record: &'a str, slots: &mut Slots<'a>, shapes: &mut Shapes) -> Result<(), String> {
        if shapes.read(record, &mut slots.values).is_some() {
            return Ok(());
        }
        self.read(record, slots)?;
        shapes.learn(record, &self.root);
        Ok(())
    }

    /// Reads the wanted fields of `record`, one JSON object.
    ///
    /// # Errors
    /// What is wrong with the record and where, for the person who wrote it.
    pub fn read<'a>(&self, record: &'a str, slots: &mut Slots<'a>) -> Result<(), String> {
        if is_too_deep(record) {
            return Err(format!("not a JSON object: nested more than {DEPTH_MAX} deep"));
        }
        let mut deserializer = sonic_rs::Deserializer::from_str(record);
        let unescaped = &mut slots.unescaped;
        let values = &mut slots.values;
        let read = Object { node: &self.root, values, unescaped }.deserialize(&mut deserializer);
        read.and_then(|()| deserializer.end()).map_err(|error| {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or("not JSON");
            format!("not a JSON object: {first}")
        })
    }
}

/// Reads a number as it is read within a record.
pub(crate) fn number(text: &str) -> Option<Slot<'static>> {
    if let [b'1'..=b'9', rest @ ..] = text.as_bytes()
        && rest.len() < 18
        && rest.iter().all(u8::is_ascii_digit)
    {
        return Some(Slot::Int(text.bytes().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'))));
    }
    let mut deserializer = sonic_rs::Deserializer::from_str(text);
    let number = deserializer.deserialize_any(Number).ok()?;
    deserializer.end().ok().map(|()| number)
}

/// Takes a number as it is.
struct Number;

impl Visitor<'_> for Number {
    type Value = Slot<'static>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Slot::Int(number))
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(number).map_or(Slot::Float(number as f64), Slot::Int))
    }
    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Slot::Float(number))
    }
}

/// Whether brackets nest deeper than [`DEPTH_MAX`]. What has fewer brackets needs no closer look.
pub(crate) fn is_too_deep(record: &str) -> bool {
    let bytes = record.as_bytes();
    if bytes.len() <= DEPTH_MAX || memchr::memchr2_iter(b'[', b'{', bytes).nth(DEPTH_MAX).is_none() {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    bytes.iter().any(|&byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > DEPTH_MAX
    })
}

impl Node {
    fn want(&mut self, path: &str, slot: usize) {
        for (at, _) in path.match_indices('.') {
            self.child(&path[..at]).want(&path[at + 1..], slot);
        }
        self.child(path).slots.push(slot);
    }

    /// The place under `key`, if something is wanted there.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.keys.iter().find(|(known, _)| **known == *key).map(|(_, node)| node)
    }

    fn child(&mut self, key: &str) -> &mut Node {
        let at = match self.keys.iter().position(|(known, _)| **known == *key) {
            Some(at) => at,
            None => {
                self.keys.push((key.into(), Node::default()));
                self.keys.len() - 1
            }
        };
        &mut self.keys[at].1
    }
}

/// Reads an object whose keys are those of `node`.
struct Object<'n, 'v, 'a> {
    node: &'n Node,
    values: &'v mut Vec<Slot<'a>>,
    unescaped: &'v mut String,
}

impl<'a> DeserializeSeed<'a> for Object<'_, '_, 'a> {
    type Value = ();
    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Object<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(found) = map.next_key_seed(Key(self.node))? {
            match found {
                Some(node) => map.next_value_seed(Value { node, values: self.values, unescaped: self.unescaped })?,
                None => map.next_value::<IgnoredAny>().map(|_| ())?,
            }
        }
        Ok(())
    }
}

struct Key<'n>(&'n Node);

impl<'n, 'a> DeserializeSeed<'a> for Key<'n> {
    type Value = Option<&'n Node>;
    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'n> Visitor<'_> for Key<'n> {
    type Value = Option<&'n Node>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.get(key))
    }
}

/// Reads a value that is wanted, or that wanted values are in.
struct Value<'n, 'v, 'a> {
    node: &'n Node,
    values: &'v mut Vec<Slot<'a>>,
    unescaped: &'v mut String,
}

impl<'a> Value<'_, '_, 'a> {
    fn fill(self, value: Slot<'a>) {
        for &slot in &self.node.slots {
            self.values[slot] = value;
        }
    }
}

impl<'a> DeserializeSeed<'a> for Value<'_, '_, 'a> {
    type Value = ();
    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Value<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_borrowed_str<E: Error>(self, text: &'a str) -> Result<(), E> {
        self.fill(Slot::Text(text));
        Ok(())
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let start = self.unescaped.len() as u32;
        self.unescaped.push_str(text);
        let end = self.unescaped.len() as u32;
        self.fill(Slot::Unescaped(start, end));
        Ok(())
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        Number.visit_i64(number).map(|number| self.fill(number))
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        Number.visit_u64(number).map(|number| self.fill(number))
    }
    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        Number.visit_f64(number).map(|number| self.fill(number))
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.fill(Slot::Bool(value));
        Ok(())
    }
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
    fn visit_map<A: MapAccess<'a>>(self, map: A) -> Result<(), A::Error> {
        Object { node: self.node, values: self.values, unescaped: self.unescaped }.visit_map(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'a>(paths: &[&str], record: &'a str) -> Result<Slots<'a>, String> {
        let mut projection = Projection::default();
        paths.iter().enumerate().for_each(|(slot, path)| projection.want(path, slot));
        let mut slots = Slots::default();
        slots.reset(paths.len());
        projection.read(record, &mut slots).map(|()| slots)
    }

    #[test]
    fn only_the_wanted_fields_are_read() {
        let record = r#"{"a":{"b":"x","n":-3,"no":[1,{"b":2}]},"c.d":"dot","t":true,"f":1.5,"z":null,"e":"a\nb"}"#;
        let slots = read(&["a.b", "a.n", "c.d", "t", "f", "z", "e", "gone", "a.b"], record).unwrap();
        assert_eq!(
            slots.values[..6],
            [Slot::Text("x"), Slot::Int(-3), Slot::Text("dot"), Slot::Bool(true), Slot::Float(1.5), Slot::Absent]
        );
        assert_eq!(slots.text(6), Some("a\nb"));
        assert_eq!(slots.values[7..], [Slot::Absent, Slot::Text("x")]);
    }

    #[test]
    fn what_is_not_an_object_is_refused() {
        for record in ["", "nothing", "[1]", "3", r#"{"a":1"#, r#"{"a":1} {"#, r#"{"a":1}}"#, "{\"a\":\"\u{1}\"}"] {
            let error = read(&["a"], record).unwrap_err();
            assert!(error.starts_with("not a JSON object: "), "{record}: {error}");
        }
    }
}
