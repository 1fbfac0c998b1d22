//! Masks a JSON record: reads it in one pass and writes it anew, so that a secret is found however
//! it is escaped and what comes out is JSON.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::decode::json::{Node, is_too_deep};
use crate::mask::{Cover, InputMask};

impl InputMask {
    /// The masked record; `None` if it is no JSON, or no object though fields are to be masked.
    pub(super) fn object(&self, record: &str) -> Option<String> {
        if is_too_deep(record) || self.by_field && !record.trim_ascii_start().starts_with('{') {
            return None;
        }
        let mut out = Vec::with_capacity(record.len());
        let mut deserializer = sonic_rs::Deserializer::from_str(record);
        let value = Value { mask: self, node: Some(self.fields.root()), cover: None, out: &mut out };
        value.deserialize(&mut deserializer).and_then(|()| deserializer.end()).ok()?;
        String::from_utf8(out).ok()
    }
}

/// Writes one value.
struct Value<'m, 'o> {
    mask: &'m InputMask,
    /// What is masked by field in here.
    node: Option<&'m Node>,
    /// Set if the whole value is a secret.
    cover: Option<&'m Cover>,
    out: &'o mut Vec<u8>,
}

impl<'m> Value<'m, '_> {
    /// Writes what is no text: as it is, unless it is a secret or has one in it.
    fn plain<E: Error>(self, text: &str) -> Result<(), E> {
        let covered = match self.cover {
            Some(cover) => Some(cover.text(text)),
            None => self.mask.search(text),
        };
        match covered {
            Some(covered) => put_text(&covered, self.out),
            None => {
                self.out.extend_from_slice(text.as_bytes());
                Ok(())
            }
        }
    }

    /// Writes a list or an object; one that is a secret is written apart, and what stands for it here.
    fn nested<E: Error>(self, write: impl FnOnce(Option<&'m Node>, &mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        let Some(cover) = self.cover else { return write(self.node, self.out) };
        let mut apart = Vec::new();
        write(None, &mut apart)?;
        put_text(&cover.text(&String::from_utf8_lossy(&apart)), self.out)
    }
}

fn put_text<E: Error>(text: &str, out: &mut Vec<u8>) -> Result<(), E> {
    serde_json::to_writer(out, text).map_err(E::custom)
}

impl<'de> DeserializeSeed<'de> for Value<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let covered = match self.cover {
            Some(cover) => Some(cover.text(text)),
            None => self.mask.search(text),
        };
        put_text(covered.as_deref().unwrap_or(text), self.out)
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.plain(&number.to_string())
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.plain(&number.to_string())
    }
    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.plain(&serde_json::to_string(&number).map_err(E::custom)?)
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.plain(if value { "true" } else { "false" })
    }
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.out.extend_from_slice(b"null");
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mask = self.mask;
        self.nested(|node, out| {
            out.push(b'[');
            let mut at = out.len();
            // A path goes through lists: it means the field in each of their elements.
            while seq.next_element_seed(Value { mask, node, cover: None, out: &mut *out })?.is_some() {
                at = out.len();
                out.push(b',');
            }
            out.truncate(at);
            out.push(b']');
            Ok(())
        })
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mask = self.mask;
        self.nested(|node, out| {
            out.push(b'{');
            let mut at = out.len();
            while let Some(key) = map.next_key::<String>()? {
                let node = node.and_then(|node| node.get(&key));
                let by_field = node.and_then(|node| node.slots.first()).map(|&slot| &*mask.covers[slot]);
                let by_name = || mask.names.iter().find(|(regex, _)| regex.is_match(&key)).map(|(_, cover)| &**cover);
                put_text(mask.search(&key).as_deref().unwrap_or(&key), out)?;
                out.push(b':');
                map.next_value_seed(Value { mask, node, cover: by_field.or_else(by_name), out: &mut *out })?;
                at = out.len();
                out.push(b',');
            }
            out.truncate(at);
            out.push(b'}');
            Ok(())
        })
    }
}
