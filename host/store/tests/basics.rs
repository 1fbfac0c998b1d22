//! What is written is read.

use std::path::Path;

use stillhouse_store::{BLOCK_BYTES, Batch, BatchError, Map, MemoryStorage, Packed, Sequence, Store, StoreError};

fn memory() -> Store {
    Store::open_on(MemoryStorage::default()).unwrap()
}

/// A record that says where it is, of some length.
fn record(position: u64) -> Vec<u8> {
    let mut record = format!("record {position} ").into_bytes();
    record.resize(16 + (position as usize * 37) % 400, b'.');
    record
}

fn write(store: &Store, sequence: Sequence, count: u64) {
    let mut batch = Batch::default();
    let first = store.next(sequence);
    (first..first + count).for_each(|position| batch.append(sequence, position, position as i64, &record(position)));
    store.write(&batch).unwrap();
}

fn positions(store: &Store, sequence: Sequence, from: u64) -> Vec<u64> {
    let records = store.read(sequence, from).unwrap().map(Result::unwrap);
    records.inspect(|read| assert_eq!(read.bytes(), record(read.position))).map(|read| read.position).collect()
}

#[test]
fn what_is_written_is_read_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    for round in 0..3 {
        let store = Store::open(&path).unwrap();
        assert_eq!(store.next(Sequence::Log), round * 1000);
        write(&store, Sequence::Log, 1000);
        write(&store, Sequence::Events, 3);
        let mut batch = Batch::default();
        batch.put(Map::Positions, b"a", vec![round as u8]);
        batch.put(Map::Positions, &[round as u8], vec![7; 3_000_000]);
        batch.delete(Map::Positions, &[round as u8 - u8::from(round > 0)]);
        batch.put(Map::Positions, &[round as u8], vec![9; 3_000_000]);
        store.write(&batch).unwrap();
    }
    let names: Vec<_> = folder.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["store"], "nothing is left beside it");
    for store in [Store::open(&path).unwrap(), Store::open_to_read(&copy(&path)).unwrap()] {
        assert_eq!(positions(&store, Sequence::Log, 0), (0..3000).collect::<Vec<_>>());
        assert_eq!(positions(&store, Sequence::Log, 1234), (1234..3000).collect::<Vec<_>>());
        assert_eq!(positions(&store, Sequence::Log, 3000), []);
        assert_eq!(positions(&store, Sequence::Events, 0), (0..9).collect::<Vec<_>>());
        assert_eq!(store.get(Map::Positions, b"a").unwrap(), Some(vec![2]));
        assert_eq!(store.get(Map::Meta, b"a").unwrap(), None);
        let all: Vec<_> = store.scan(Map::Positions, b"", None).unwrap().map(Result::unwrap).collect();
        assert_eq!(all.iter().map(|(key, _)| key.as_slice()).collect::<Vec<_>>(), [[2].as_slice(), b"a"]);
        assert_eq!(all[0].1, vec![9; 3_000_000]);
        assert_eq!(store.scan(Map::Positions, b"b", Some(b"a")).unwrap().count(), 0);
        assert_eq!(store.scan(Map::Positions, b"a", Some(b"a")).unwrap().count(), 0);
        assert_eq!(store.scan(Map::Positions, b"", Some(b"a")).unwrap().count(), 1);
    }
}

fn copy(path: &Path) -> std::path::PathBuf {
    let copy = path.with_extension("copy");
    std::fs::copy(path, &copy).unwrap();
    copy
}

#[test]
fn records_form_blocks_and_batches_merge() {
    let store = memory();
    let long = vec![b'x'; BLOCK_BYTES / 3];
    let mut batch = Batch::default();
    (0..4).for_each(|position| batch.append(Sequence::Log, position, 100 - position as i64, &long));
    let mut later = Batch::default();
    later.append(Sequence::Log, 4, 7, b"short");
    later.append(Sequence::Events, 0, 8, b"event");
    later.put(Map::Meta, b"key", b"new".to_vec());
    batch.put(Map::Meta, b"key", b"old".to_vec());
    let raw_bytes = batch.raw_bytes() + later.raw_bytes();
    batch.merge(later);
    assert_eq!(batch.raw_bytes(), raw_bytes - "key".len() - 8, "the older value is gone");
    store.write(&batch).unwrap();
    let blocks = store.blocks(Sequence::Log).unwrap();
    assert_eq!(
        blocks.iter().map(|block| (block.first, block.count, block.time_us)).collect::<Vec<_>>(),
        [(0, 3, 100), (3, 2, 97)]
    );
    assert!(blocks.iter().all(|block| block.stored_bytes < 1000 && block.raw_bytes as usize > BLOCK_BYTES / 3));
    assert_eq!(store.get(Map::Meta, b"key").unwrap().unwrap(), b"new");

    let mut batch = Batch::default();
    batch.append(Sequence::Log, 5, 1, b"one");
    batch.seal();
    batch.append(Sequence::Log, 6, 2, b"two");
    batch.seal();
    assert!(!batch.is_empty());
    store.write(&batch).unwrap();
    assert_eq!(store.blocks(Sequence::Log).unwrap().len(), 4, "what comes after a seal is a block of its own");
    let read: Vec<_> = store.read(Sequence::Log, 4).unwrap().map(|record| record.unwrap().bytes().to_vec()).collect();
    assert_eq!(read, [b"short".as_slice(), b"one", b"two"]);
}

#[test]
fn a_packed_record_is_the_record_that_its_parts_are() {
    let store = memory();
    let mut state = 1_u64;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    let noise: Vec<u8> = (0..200_000).map(|_| noise()).collect();
    let records: [&[&[u8]]; 6] = [
        &[],
        &[b"short ", b"", b"one"],
        &[b"head", &[7; 100_000], b"tail"],
        &[&noise],
        &[b"last"],
        &[&[1; 70_000], b"!"],
    ];
    let mut batch = Batch::default();
    for (position, parts) in (0..).zip(records) {
        let packed = Packed::of(parts);
        assert_eq!(packed.raw_bytes(), parts.concat().len() + 4);
        batch.append_packed(Sequence::Log, position, position as i64 + 7, packed);
    }
    batch.append_packed(Sequence::Log, 9, 0, Packed::of(&[b"beyond the next"]));
    assert!(matches!(store.write(&batch), Err(StoreError::Batch(BatchError::OutOfOrder { expected: 6, came: 9, .. }))));

    let mut batch = Batch::default();
    let positions = (0..).zip(records);
    positions.for_each(|(at, parts)| batch.append_packed(Sequence::Log, at, at as i64 + 7, Packed::of(parts)));
    store.write(&batch).unwrap();
    let read = store.read(Sequence::Log, 0).unwrap().map(|record| record.unwrap().bytes().to_vec());
    assert!(read.eq(records.iter().map(|parts| parts.concat())));
    let blocks = store.blocks(Sequence::Log).unwrap();
    assert_eq!(
        blocks.iter().map(|block| (block.first, block.count, block.time_us)).collect::<Vec<_>>(),
        [(0, 2, 8), (2, 1, 9), (3, 1, 10), (4, 1, 11), (5, 1, 12)],
        "a long one is a block of its own"
    );
    assert!(blocks[1].stored_bytes < 1000 && blocks[2].stored_bytes == blocks[2].raw_bytes);
}

#[test]
fn a_batch_that_does_not_follow_is_refused() {
    let store = memory();
    write(&store, Sequence::Log, 2);
    let out_of_order = |expected, came| BatchError::OutOfOrder { sequence: Sequence::Log, expected, came };
    for (positions, fault) in
        [(vec![0], out_of_order(2, 0)), (vec![3], out_of_order(2, 3)), (vec![2, 4], out_of_order(3, 4))]
    {
        let mut batch = Batch::default();
        positions.iter().for_each(|position| batch.append(Sequence::Log, *position, 0, b""));
        let refused = store.write(&batch).unwrap_err();
        assert!(matches!(&refused, StoreError::Batch(came) if *came == fault), "{refused}");
    }
    let mut batch = Batch::default();
    let mut gap = Batch::default();
    batch.append(Sequence::Log, 2, 0, b"");
    gap.append(Sequence::Log, 4, 0, b"");
    batch.merge(gap);
    assert!(matches!(store.write(&batch), Err(StoreError::Batch(came)) if came == out_of_order(3, 4)));
    let mut batch = Batch::default();
    batch.put(Map::Dead, b"key", vec![0; stillhouse_store::VALUE_BYTES_MAX + 1]);
    assert!(!batch.is_empty());
    let refused = store.write(&batch).unwrap_err().to_string();
    assert_eq!(refused, "a value of 16777217 bytes for the dead, limit 16777216");
    assert_eq!(store.next(Sequence::Log), 2);
}

#[test]
fn whole_blocks_are_trimmed_and_positions_go_on() {
    let store = memory();
    (0..10).for_each(|_| write(&store, Sequence::Log, 10));
    let trim = |before| {
        let mut batch = Batch::default();
        batch.trim(Sequence::Log, before);
        store.write(&batch).unwrap();
        (store.first(Sequence::Log), store.blocks(Sequence::Log).unwrap().len())
    };
    assert_eq!(trim(0), (0, 10));
    assert_eq!(trim(9), (0, 10));
    assert_eq!(trim(25), (20, 8));
    assert_eq!(trim(5), (20, 8));
    assert_eq!(positions(&store, Sequence::Log, 20).len(), 80);
    let refused = store.read(Sequence::Log, 19).unwrap_err().to_string();
    assert_eq!(refused, "position 19 of the log is no longer kept; the oldest is 20");
    let mut reading = store.read(Sequence::Log, 25).unwrap();
    assert_eq!(reading.next().unwrap().unwrap().position, 25);
    assert_eq!(trim(99), (90, 1));
    let rest: Vec<_> = reading.map(|record| record.map(|record| record.position)).take(6).collect();
    assert_eq!(rest[..4].iter().map(|position| *position.as_ref().unwrap()).collect::<Vec<_>>(), [26, 27, 28, 29]);
    assert!(matches!(rest[4], Err(StoreError::Trimmed { position: 30, first: 90, .. })));
    assert_eq!(trim(1000), (100, 0));
    assert_eq!(store.next(Sequence::Log), 100);
    write(&store, Sequence::Log, 1);
    assert_eq!(positions(&store, Sequence::Log, 100), [100]);
}

#[test]
fn compacting_makes_the_file_shorter() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let mut store = Store::open(&path).unwrap();
    let mut noise = 1_u64;
    for position in 0..64 {
        let mut batch = Batch::default();
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (noise >> 33) as u8
        })
        .take(100_000)
        .collect();
        batch.append(Sequence::Log, position, 0, &bytes);
        batch.put(Map::Meta, b"key", b"value".to_vec());
        batch.trim(Sequence::Log, position);
        store.write(&batch).unwrap();
    }
    let (before_bytes, after_bytes) = store.compact().unwrap();
    assert_eq!(after_bytes, std::fs::metadata(&path).unwrap().len());
    assert!(after_bytes < before_bytes && after_bytes < 500_000, "{before_bytes} to {after_bytes}");
    assert_eq!(
        store.read(Sequence::Log, 63).unwrap().map(|record| record.unwrap().bytes().len()).collect::<Vec<_>>(),
        [100_000]
    );
}
