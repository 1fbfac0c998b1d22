//! A suppressor written by hand. It emits everything and remembers the first letters of the keys
//! that it saw, newest first; a few letters do something bad.

use crate::wat_rule::{Data, NEW, OLD, embed};

/// Traps.
pub const TRAP: &str = "t";
/// Leaves a memo that is longer than declared.
pub const TOO_LONG: &str = "o";
/// Answers memos that are no column.
pub const NO_COLUMN: &str = "f";
/// Answers no memo at all, for no row of the batch.
pub const SILENT: &str = "n";

/// The parts that a test may change.
pub struct WatJudge {
    pub contract: &'static str,
    /// The most bytes of its memo; 0 for none. There is none in the old contract.
    pub memo_bytes: u32,
    /// The letter for which it remembers something else each time.
    pub impure: char,
    /// The memos that its one case gives and expects.
    pub case: Option<(&'static str, &'static str)>,
}

impl Default for WatJudge {
    fn default() -> Self {
        Self { contract: NEW, memo_bytes: 4, impure: 'i', case: None }
    }
}

impl WatJudge {
    /// The core module, as an SDK would build it.
    pub fn build(&self) -> Vec<u8> {
        let mut data = Data::default();
        let manifest = self.manifest(&mut data);
        let configured = data.record(&[0, 0, 0]);
        let memos = if self.contract == OLD { "local" } else { "param" };
        let mut text = include_str!("judge.wat")
            .replace("@contract", self.contract)
            .replace("@manifest", &manifest.to_string())
            .replace("@configured", &configured.to_string())
            .replace("@impure", &u32::from(self.impure).to_string())
            .replace("@base", &Data::BASE.to_string())
            .replace("@data", &data.escaped())
            .replace("@memos", memos);
        if self.contract == OLD {
            // Locals come after the result.
            let place = "      (result i32)\n    (local $offsets";
            assert!(text.contains(place));
            let start = text.find("(local $memo_offsets").expect("the memos are there");
            let end = text.find("      (result i32)\n    (local $offsets").expect("the result is there");
            let locals = text[start..end].to_owned();
            text.replace_range(start..end, "");
            text = text.replacen(
                "(result i32)\n    (local $offsets",
                &format!("(result i32)\n {locals} (local $offsets"),
                1,
            );
        }
        let mut module = wat::parse_str(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        embed(&mut module, "suppressor", self.contract);
        module
    }

    fn manifest(&self, data: &mut Data) -> u32 {
        let [name, name_len] = data.text("judge-by-hand");
        let [version, version_len] = data.text("1.2.3");
        let [path, path_len] = data.text("key");
        let fields = data.record(&[path, path_len, 0]);
        let identity = [name, name_len, version, version_len, fields, 1];
        let [case, case_len] = data.text("the one case");
        let [key, key_len] = data.text("a");
        let given = data.record(&[path, path_len, key, key_len]);
        let cases = match self.case {
            None => [given, 0],
            Some((memo, left)) => {
                let ([memo, memo_len], [left, left_len]) = (data.text(memo), data.text(left));
                // An answer has a time in it, which stands at a multiple of eight.
                #[rustfmt::skip]
                let case = data.record(&[
                    case, case_len, given, 0, given, 1, memo, memo_len,
                    0, 0, 0, 0, 0, given, 0, 1, left, left_len,
                ]);
                [case, 1]
            }
        };
        if self.contract == OLD {
            return data.record(&[&identity[..], &cases].concat());
        }
        let memo = [u32::from(self.memo_bytes > 0), 7, self.memo_bytes, 1];
        data.record(&[&identity[..], &memo, &cases].concat())
    }
}
