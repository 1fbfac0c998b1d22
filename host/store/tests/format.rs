//! The format: a store that was written once is read by today's code. `BLESS=1 cargo test --release -p
//! stillhouse-store format` writes the fixture of today's format where there is none yet.

use std::fs;
use std::path::{Path, PathBuf};

use stillhouse_store::{Batch, FORMAT, Map, Sequence, Store, StoreError, check};

/// What is in a store, in words that a difference shows well.
type Content = Vec<(String, Vec<u8>)>;

fn fixture(format: u64) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/format-{format}.store"))
}

/// Records short, empty and long, in blocks that are compressed and not; values of both kinds; what was deleted and
/// trimmed.
fn batches() -> Vec<Batch> {
    let mut batches = Vec::new();
    for round in 0..6_u64 {
        let mut batch = Batch::default();
        for position in round * 4..round * 4 + 4 {
            let record = match position % 4 {
                0 => Vec::new(),
                1 => format!("record {position}").into_bytes(),
                2 => (0..9000_u32).map(|at| (at * at / 7 + position as u32) as u8).collect(),
                _ => vec![position as u8; 700],
            };
            batch.append(Sequence::Log, position, 1_000_000 * position as i64, &record);
            if round == 3 {
                batch.seal();
            }
        }
        batch.append(Sequence::Events, round, -(round as i64), format!("event {round}").as_bytes());
        for map in Map::ALL {
            batch.put(map, format!("{} {round}", map.name()).as_bytes(), round.to_be_bytes().to_vec());
        }
        batch.put(Map::Files, b"long", vec![round as u8; 20_000]);
        batch.delete(Map::Cursors, format!("cursors {}", round.saturating_sub(2)).as_bytes());
        batches.push(batch);
    }
    batches[5].trim(Sequence::Log, 9);
    batches
}

fn content(store: &Store) -> Content {
    let mut content = Content::new();
    for sequence in Sequence::ALL {
        let first = store.first(sequence);
        for record in store.read(sequence, first).unwrap().map(Result::unwrap) {
            content.push((format!("{} {}", sequence.name(), record.position), record.bytes().to_vec()));
        }
        let blocks = store.blocks(sequence).unwrap().into_iter();
        let blocks: Vec<_> = blocks.map(|block| (block.first, block.count, block.raw_bytes, block.time_us)).collect();
        content.push((format!("{} ends at {}: {blocks:?}", sequence.name(), store.next(sequence)), Vec::new()));
    }
    for map in Map::ALL {
        for value in store.scan(map, b"", None).unwrap() {
            let (key, value) = value.unwrap();
            content.push((format!("{}: {}", map.name(), key.escape_ascii()), value));
        }
    }
    content
}

#[test]
fn a_store_of_each_format_is_read_to_the_byte() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let mut store = Store::open(&path).unwrap();
    batches().iter().for_each(|batch| store.write(batch).unwrap());
    let today = content(&store);
    store.compact().unwrap();
    drop(store);
    assert_eq!(today.len(), 16 + 1 + 6 + 1 + 5 * 6 + 2 + 1);
    if std::env::var_os("BLESS").is_some() && !fixture(FORMAT).exists() {
        fs::copy(&path, fixture(FORMAT)).unwrap();
    }
    for format in 1..=FORMAT {
        let report = check(&fixture(format), &mut |_, _| {}).unwrap();
        assert!(report.is_sound() && report.format == FORMAT, "{report:?}");
        assert_eq!(content(&Store::open_to_read(&fixture(format)).unwrap()), today, "format {format}");
        // It can also be gone on with.
        let copy = folder.path().join("copy");
        fs::copy(fixture(format), &copy).unwrap();
        let store = Store::open(&copy).unwrap();
        let mut batch = Batch::default();
        batch.append(Sequence::Log, 24, 0, b"more");
        store.write(&batch).unwrap();
        assert_eq!(store.next(Sequence::Log), 25);
    }
}

#[test]
fn another_format_is_refused_with_what_to_do() {
    for (came, advice) in [(0_u64, "use the version that wrote it"), (2, "use a newer version of the program")] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        fs::copy(fixture(FORMAT), &path).unwrap();
        // The number is a value as any other: a tag, its CRC-32 with its table and key, and 8 bytes.
        let mut stored = vec![0, 0, 0, 0, 0];
        stored.extend_from_slice(&came.to_le_bytes());
        let mut hasher = crc32fast::Hasher::new();
        [b"store".as_slice(), &6_u64.to_le_bytes(), b"format", &[0], &came.to_le_bytes()]
            .iter()
            .for_each(|part| hasher.update(part));
        stored[1..5].copy_from_slice(&hasher.finalize().to_le_bytes());
        let database = redb::Database::open(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        let table = redb::TableDefinition::<&[u8], &[u8]>::new("store");
        transaction.open_table(table).unwrap().insert(b"format".as_slice(), stored.as_slice()).unwrap();
        transaction.commit().unwrap();
        drop(database);
        for refused in [Store::open(&path).unwrap_err(), Store::open_to_read(&path).unwrap_err()] {
            assert!(matches!(refused, StoreError::Format { came: found, .. } if found == came), "{refused}");
            let text = refused.to_string();
            assert!(text.contains(&format!("has format {came}, and this version reads format 1; {advice}")), "{text}");
        }
    }
}
