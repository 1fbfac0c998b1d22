//! What is read back from disk.

use std::fs;

use stillhouse::durable::Entry;
use stillhouse::journal::Given;
use stillhouse_delivery::Cursor;
use stillhouse_store::{Map, MemoryStorage, Sequence, Store, StoreError, check, forged};

/// What is understood is written as it was understood.
pub fn given(bytes: &[u8]) {
    let _ = Entry::decode(bytes);
    if let Ok(given) = Given::decode(bytes) {
        let again = given.encode();
        assert_eq!(Given::decode(&again).expect("it was just written").encode(), again);
    }
}

/// How far a sink is.
pub fn cursor(bytes: &[u8]) {
    let Ok(cursor) = postcard::from_bytes::<Cursor>(bytes) else { return };
    let next = cursor.unsettled_from(cursor.next());
    assert!(next == cursor.next() && !cursor.is_settled(next));
    for position in [0, next, next.saturating_add(1), u64::MAX] {
        let unsettled = cursor.unsettled_from(position);
        assert!(unsettled >= position, "{cursor:?} at {position}");
    }
    let _ = (cursor.settled_beyond(), cursor.runs());
}

/// What is behind the checksums: how a value is stored, and the count and length of a block. Then its bytes.
pub fn block(bytes: &[u8]) {
    let Some((head, rest)) = bytes.split_first_chunk::<6>() else { return };
    let _ = forged::value(head[0], rest);
    let count = u32::from(u16::from_le_bytes([head[1], head[2]]));
    let raw_bytes = u32::from_le_bytes([head[3], head[4], head[5], 0]);
    for raw_bytes in [raw_bytes, rest.len() as u32] {
        if let Ok((raw, records)) = forged::block(count, raw_bytes, rest) {
            assert_eq!((raw.len(), records.len()), (raw_bytes as usize, count as usize));
            assert!(records.iter().all(|record| record.end <= raw.len()));
        }
    }
}

/// A store of format 1.
const STORE: &[u8] = include_bytes!("../../host/store/tests/fixtures/format-1.store");

/// Changes of a file: a place (3 bytes), how many bytes (1), and these. What is beyond the end is added to it.
pub fn patched(base: &[u8], mut patches: &[u8]) -> Vec<u8> {
    let mut bytes = base.to_vec();
    while let Some(([a, b, c, length], rest)) = patches.split_first_chunk() {
        let (patch, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        let at = u32::from_le_bytes([*a, *b, *c, 0]) as usize % (bytes.len() + 1);
        bytes.resize(bytes.len().max(at + patch.len()), 0);
        bytes[at..at + patch.len()].copy_from_slice(patch);
        patches = rest;
    }
    bytes
}

/// A store that is damaged: the first byte says whether it is cut as well. All that can be read of it is read.
pub fn store(bytes: &[u8]) {
    let Some((&cut, patches)) = bytes.split_first() else { return };
    let mut file = patched(STORE, patches);
    if cut % 4 == 1 {
        file.truncate(file.len() / 256 * usize::from(cut));
    }
    if let Ok(store) = Store::open_on(MemoryStorage::new(file.clone())) {
        read_all(&store);
    }
    let path = std::env::temp_dir().join(format!("stillhouse-fuzzed-{}.store", std::process::id()));
    fs::write(&path, &file).expect("a file for a while");
    if let Ok(store) = Store::open_to_read(&path) {
        read_all(&store);
    }
    let _ = check(&path, &mut |_, _| {});
    fs::remove_file(&path).expect("it is there");
}

fn read_all(store: &Store) {
    for sequence in Sequence::ALL {
        let _ = store.blocks(sequence);
        let Ok(records) = store.read(sequence, store.first(sequence)) else { continue };
        for record in records {
            match record {
                Ok(_) | Err(StoreError::Damaged { .. }) => {}
                Err(_) => break,
            }
        }
    }
    for map in Map::ALL {
        let Ok(pairs) = store.scan(map, &[], None) else { continue };
        for (key, _) in pairs.flatten() {
            let _ = store.get(map, &key);
        }
    }
}
