//! Whether a file is WebAssembly from its beginning to its end: what a watcher asks of a file that
//! may still be being written.

use wasmparser::{Parser, Payload};

/// Says whether `file` is a whole WebAssembly component or module: each part ends where the next
/// begins and the last ends with the file, all functions have their bodies, and something is exported.
///
/// Nothing is validated, so this takes microseconds for each 100 kB and holds nothing in memory.
/// A file cut short between two parts may look whole: see to it that nobody writes any more.
///
/// # Errors
/// What is missing or wrong, in words for the author.
pub fn whole(file: &[u8]) -> Result<(), String> {
    if !file.starts_with(b"\0asm") {
        return Err(match file {
            [] => "it is empty".to_owned(),
            [b'(', ..] => "it is WebAssembly's text format; build it with the SDK".to_owned(),
            _ => "it is not WebAssembly: it does not begin with the bytes `\\0asm`".to_owned(),
        });
    }
    let mut parts = Parts::default();
    for payload in Parser::new(0).parse_all(file) {
        // The parser's word for a file that ends in the middle.
        let cut = |e: wasmparser::BinaryReaderError| match e.message() {
            "unexpected end-of-file" => "it is cut short, or still being written".to_owned(),
            _ => format!("it is damaged, or still being written: {e}"),
        };
        parts.add(&payload.map_err(cut)?)?;
    }
    if parts.exported { Ok(()) } else { Err("it exports nothing, so it is no rule, or it is cut short".to_owned()) }
}

/// What has been seen of a file.
#[derive(Default)]
struct Parts {
    /// For each module or component that has begun and not ended: functions without a body.
    open: Vec<u32>,
    /// Whether the file itself exports something.
    exported: bool,
}

impl Parts {
    fn add(&mut self, payload: &Payload<'_>) -> Result<(), String> {
        match payload {
            // A component's own parser bounds how deep they lie.
            Payload::Version { .. } => self.open.push(0),
            Payload::FunctionSection(section) => self.functions(section.count(), 0),
            Payload::CodeSectionStart { count, .. } => self.functions(0, *count),
            Payload::ExportSection(section) if self.open.len() == 1 => self.exported |= section.count() > 0,
            Payload::ComponentExportSection(section) if self.open.len() == 1 => self.exported |= section.count() > 0,
            Payload::End(_) if self.open.pop().is_some_and(|bodiless| bodiless > 0) => {
                return Err("functions have no bodies: it is cut short, or still being written".to_owned());
            }
            _ => {}
        }
        Ok(())
    }

    fn functions(&mut self, declared: u32, bodies: u32) {
        if let Some(bodiless) = self.open.last_mut() {
            *bodiless = bodiless.saturating_add(declared).saturating_sub(bodies);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODULE: &str = r#"(module (memory (export "m") 1) (func (export "f") (result i32) i32.const 7)
        (data (i32.const 0) "some data"))"#;
    const COMPONENT: &str = r#"(component
        (core module $m (func (export "f")))
        (core instance $i (instantiate $m))
        (func $f (canon lift (core func $i "f")))
        (export "f" (func $f)))"#;

    #[test]
    fn a_whole_file_is_told_from_one_cut_short() {
        for text in [MODULE, COMPONENT] {
            let file = wat::parse_str(text).expect("it is sound");
            assert_eq!(whole(&file), Ok(()));
            let looks_whole: Vec<usize> = (0..file.len()).filter(|&end| whole(&file[..end]).is_ok()).collect();
            // A name section at the end is all that may be missing, and the data of a module that
            // does not say how much it has.
            let custom_or_data = |&end: &usize| matches!(file[end], 0 | 11);
            assert!(looks_whole.iter().all(custom_or_data), "{looks_whole:?}");
            assert!(looks_whole.len() < 3, "{looks_whole:?}");
            assert!(whole(&[&file[..], b"x"].concat()).is_err(), "what is behind the end counts");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let said = |file: &[u8]| whole(file).expect_err("it is not whole");
        assert_eq!(said(b""), "it is empty");
        assert_eq!(said(b"(module)"), "it is WebAssembly's text format; build it with the SDK");
        assert_eq!(said(b"\x7fELF"), "it is not WebAssembly: it does not begin with the bytes `\\0asm`");
        assert_eq!(said(b"\0asm"), "it is cut short, or still being written");
        assert_eq!(said(b"\0asm\x01\0\0\0"), "it exports nothing, so it is no rule, or it is cut short");
        assert!(said(b"\0asm\x01\0\0\0and then nonsense").contains("still being written"));
    }
}
