//! What is damaged is found, and the rest is read.

use std::fs;
use std::path::{Path, PathBuf};

use stillhouse_store::{Batch, Map, MemoryStorage, Place, Sequence, Store, StoreError, check};

const RECORDS: u64 = 40;

/// Bytes that do not compress, so that they are found in the file as they are.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut number = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let byte = || {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        (number >> 24) as u8
    };
    std::iter::repeat_with(byte).take(length).collect()
}

/// The record at a position of the log. No two are equally long, so that their lengths do not compress either.
fn record(position: u64) -> Vec<u8> {
    noise(position, 380 + position as usize)
}

/// A store with four blocks of ten records in the log and a few values, closed.
fn make(path: &Path) {
    let store = Store::open(path).unwrap();
    for block in 0..RECORDS / 10 {
        let mut batch = Batch::default();
        for position in block * 10..block * 10 + 10 {
            batch.append(Sequence::Log, position, 0, &record(position));
            batch.append(Sequence::Events, position, 0, b"event");
        }
        batch.put(Map::Checkpoints, &[block as u8], noise(1000 + block, 500));
        batch.put(Map::Checkpoints, &[100 + block as u8], vec![block as u8; 3000]);
        store.write(&batch).unwrap();
    }
}

/// Where some bytes are in the file. The database may have left an older copy of them behind.
fn found(file: &[u8], wanted: &[u8]) -> Vec<usize> {
    let windows = file.windows(wanted.len()).enumerate();
    let places: Vec<_> = windows.filter(|(_, window)| *window == wanted).map(|(place, _)| place).collect();
    assert!(!places.is_empty());
    places
}

/// A copy of a store with a bit changed at the same place after each of `starts`.
fn flipped(path: &Path, file: &[u8], starts: &[usize], at: usize) -> PathBuf {
    let damaged = path.with_extension("damaged");
    let mut bytes = file.to_vec();
    starts.iter().for_each(|start| bytes[start + at] ^= 0x40);
    fs::write(&damaged, bytes).unwrap();
    damaged
}

#[test]
fn every_damaged_byte_of_a_block_is_found_and_the_others_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    make(&path);
    let file = fs::read(&path).unwrap();
    let whole = check(&path, &mut |_, _| {}).unwrap();
    assert!(whole.is_sound(), "{:?}", whole.damages);
    let records =
        |report: &stillhouse_store::Report| report.sequences.iter().map(|found| found.records).collect::<Vec<_>>();
    assert_eq!(records(&whole), [RECORDS, RECORDS]);
    // The block of the records 10 to 19 is one piece.
    let block: Vec<u8> =
        (10..20).flat_map(|position| [vec![(124 + position) as u8, 1, 0, 0], record(position)].concat()).collect();
    let starts = found(&file, &block);
    for offset in (0..block.len()).step_by(97) {
        let damaged = flipped(&path, &file, &starts, offset);
        let store = Store::open_to_read(&damaged).unwrap();
        let read: Vec<_> = store.read(Sequence::Log, 0).unwrap().collect();
        assert_eq!(read.len() as u64, RECORDS - 10 + 1);
        for (at, record) in read.into_iter().enumerate() {
            match record {
                Ok(record) => {
                    assert_eq!(record.position, at as u64 + if at > 10 { 9 } else { 0 });
                    assert_eq!(record.bytes(), self::record(record.position));
                }
                Err(StoreError::Damaged { position: 10, next: 20, sequence: Sequence::Log, what, .. }) => {
                    assert_eq!((at, what.as_str()), (10, "a block does not match its checksum"));
                }
                Err(error) => panic!("byte {offset}: {error}"),
            }
        }
        let middle = store.read(Sequence::Log, 15).unwrap().next().unwrap().unwrap_err().to_string();
        let words = "at position 15 of the log; what follows from 20 on can be read";
        assert!(middle.contains(words), "{middle}");
        drop(store);
        let report = check(&damaged, &mut |_, _| {}).unwrap();
        assert_eq!(records(&report), [RECORDS - 10, RECORDS]);
        assert_eq!(report.damages[0].place, Place::Records { sequence: Sequence::Log, first: 10, end: 20 });
        // redb finds it too.
        assert_eq!((report.damage_count, &report.damages[1].place), (2, &Place::Database), "{:?}", report.damages);
        let changed = fs::read(&damaged).unwrap().iter().zip(&file).filter(|(one, other)| one != other).count();
        assert_eq!(changed, starts.len(), "a check changes nothing");
    }
}

#[test]
fn a_damaged_value_is_found_and_the_others_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    make(&path);
    let file = fs::read(&path).unwrap();
    let starts = found(&file, &noise(1002, 500));
    for offset in (0..500).step_by(49) {
        let damaged = flipped(&path, &file, &starts, offset);
        let store = Store::open_to_read(&damaged).unwrap();
        let error = store.get(Map::Checkpoints, &[2]).unwrap_err().to_string();
        assert!(error.ends_with("the value of \\x02 in checkpoints does not match its checksum"), "{error}");
        assert_eq!(store.get(Map::Checkpoints, &[1]).unwrap().unwrap(), noise(1001, 500));
        let all: Vec<_> = store.scan(Map::Checkpoints, b"", None).unwrap().collect();
        assert_eq!((all.len(), all.iter().filter(|value| value.is_ok()).count()), (8, 7));
        let report = check(&damaged, &mut |_, _| {}).unwrap();
        assert_eq!(report.damages[0].place, Place::Value { map: Map::Checkpoints, key: vec![2] });
        let values = &report.maps[Map::Checkpoints as usize];
        assert_eq!((values.values, values.raw_bytes), (7, 3 * 500 + 4 * 3000));
    }
}

/// Wherever a byte of the file is damaged: nothing panics, nothing wrong is read, and what is not read is told.
#[test]
fn wherever_a_byte_is_damaged_nothing_wrong_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    make(&path);
    let file = fs::read(&path).unwrap();
    let (mut whole, mut partly, mut refused) = (0, 0, 0);
    for at in 0..1500 {
        let offset = if at < 300 { at } else { at * 7919 % file.len() };
        let mut bytes = file.clone();
        bytes[offset] ^= 1 << (at % 8);
        let store = match Store::open_on(MemoryStorage::new(bytes)) {
            Ok(store) => store,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                refused += 1;
                continue;
            }
        };
        let mut missing = RECORDS;
        let first = store.first(Sequence::Log);
        for record in store.read(Sequence::Log, first).unwrap().take(100) {
            match record {
                Ok(record) => {
                    assert_eq!(record.bytes(), self::record(record.position), "byte {offset}");
                    missing -= 1;
                }
                Err(StoreError::Damaged { .. }) => {}
                Err(_) => break,
            }
        }
        for block in 0..4 {
            if let Ok(Some(value)) = store.get(Map::Checkpoints, &[block]) {
                assert_eq!(value, noise(1000 + u64::from(block), 500), "byte {offset}");
            }
        }
        if missing == 0 { whole += 1 } else { partly += 1 }
    }
    println!("of 1500 damaged stores {whole} read whole, {partly} in part, {refused} were refused");
    assert!(partly > 100 && whole > 100);
}

#[test]
fn a_check_tells_how_far_it_is_and_lists_no_more_than_it_may() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = Store::open(&path).unwrap();
    let mut batch = Batch::default();
    (0..150).for_each(|key| batch.put(Map::Dead, &[key], noise(u64::from(key), 300)));
    store.write(&batch).unwrap();
    drop(store);
    let mut file = fs::read(&path).unwrap();
    (0..150).for_each(|key| {
        found(&file, &noise(key, 300)).iter().for_each(|place| file[place + 7] ^= 1);
    });
    fs::write(&path, file).unwrap();
    let mut steps = Vec::new();
    let report = check(&path, &mut |done, total| steps.push((done, total))).unwrap();
    assert_eq!((report.damage_count, report.damages.len()), (151, 100));
    assert_eq!(steps, (0..=151).map(|done| (done, 151)).collect::<Vec<_>>());
}
