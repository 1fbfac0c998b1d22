//! What is fed with any bytes: decoders, and what reads a store. A target panics if something panics, or if what
//! comes out contradicts itself.

mod decoders;
mod restored;
mod stored;

/// Takes any bytes.
pub type Target = fn(&[u8]);

/// All of them by their names, which are those of their corpora.
pub const TARGETS: [(&str, Target); 15] = [
    ("json", decoders::json),
    ("cloudevents", decoders::cloudevents),
    ("text", decoders::text),
    ("framing", decoders::framing),
    ("masks", decoders::masks),
    ("csv", decoders::csv),
    ("json_lines", decoders::json_lines),
    ("time", decoders::time),
    ("config", decoders::config),
    ("body", decoders::body),
    ("given", stored::given),
    ("cursor", stored::cursor),
    ("block", stored::block),
    ("store", stored::store),
    ("checkpoint", restored::checkpoint),
];

/// Feeds the target of this name.
///
/// # Panics
/// If there is none.
pub fn feed(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|(known, _)| *known == name);
    target.unwrap_or_else(|| panic!("no target `{name}`")).1(bytes);
}
