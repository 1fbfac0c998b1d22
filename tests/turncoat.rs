//! The versions of a rule that tests make of one file.

use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use stillhouse_rollout::{SlotId, SlotKind};

/// The file of a version that does this wrong; every text gives another version.
pub fn version(mode: &str) -> Arc<[u8]> {
    const WORD: &[u8] = b"turncoat-mode:";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test-rules/turncoat.wasm");
    let mut file =
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}: cargo xtask rules", path.display()));
    let at = file.windows(WORD.len()).position(|bytes| bytes == WORD).expect("it has a mode") + WORD.len();
    assert!(mode.len() <= 34, "{mode}");
    file[at..at + 34].fill(b'-');
    file[at..at + mode.len()].copy_from_slice(mode.as_bytes());
    file.into()
}

/// SHA-256 of a file, in hexadecimal.
pub fn digest(file: &[u8]) -> String {
    Sha256::digest(file).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The slot of its signals.
pub fn slot() -> SlotId {
    SlotId { signal: "probe".into(), kind: SlotKind::Mapper }
}
