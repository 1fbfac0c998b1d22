//! A disk that is full, fails, or is slow.

use std::io;

use stillhouse_store::fault::FaultDisk;
use stillhouse_store::{Batch, Map, Sequence, Store, StoreError};

/// A record that does not compress.
fn batch(position: u64) -> Batch {
    let mut number = position | 1;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (number >> 40) as u8
    })
    .take(20_000)
    .collect();
    let mut batch = Batch::default();
    batch.append(Sequence::Log, position, 0, &bytes);
    batch.put(Map::Meta, b"newest", position.to_string().into_bytes());
    batch
}

fn records(store: &Store) -> u64 {
    let first = store.first(Sequence::Log);
    let records = store.read(Sequence::Log, first).unwrap().map(Result::unwrap).count() as u64;
    assert_eq!(first + records, store.next(Sequence::Log));
    let newest = store.get(Map::Meta, b"newest").unwrap().unwrap();
    assert_eq!(newest, (store.next(Sequence::Log) - 1).to_string().into_bytes());
    records
}

#[test]
fn a_full_disk_refuses_what_is_written_and_keeps_what_was() {
    let disk = FaultDisk::new(3);
    disk.set_room_bytes(300_000);
    let store = Store::open_on(disk.clone()).unwrap();
    let written = (0..100).take_while(|position| store.write(&batch(*position)).is_ok()).count() as u64;
    assert!((5..15).contains(&written), "{written} batches");
    for _ in 0..3 {
        let refused = store.write(&batch(written)).unwrap_err();
        assert!(matches!(refused, StoreError::Full { .. }), "{refused}");
        assert!(refused.to_string().ends_with("; make room on that disk, or keep less"), "{refused}");
        assert_eq!(records(&store), written);
    }
    disk.set_room_bytes(u64::MAX);
    (written..written + 20).for_each(|position| store.write(&batch(position)).unwrap());
    assert_eq!(records(&store), written + 20);
    drop(store);
    disk.reboot();
    assert_eq!(records(&Store::open_on(disk).unwrap()), written + 20);
}

/// Retention makes room on a full disk, since what is removed is used again.
#[test]
fn removing_makes_room() {
    let disk = FaultDisk::new(3);
    disk.set_room_bytes(400_000);
    let store = Store::open_on(disk).unwrap();
    for position in 0..200 {
        let mut batch = batch(position);
        batch.trim(Sequence::Log, position.saturating_sub(2));
        store.write(&batch).unwrap();
    }
    assert_eq!(records(&store), 3);
}

#[test]
fn what_was_committed_is_read_while_nothing_can_be_written() {
    for kind in [io::ErrorKind::ReadOnlyFilesystem, io::ErrorKind::Other] {
        let disk = FaultDisk::new(5);
        let store = Store::open_on(disk.clone()).unwrap();
        store.write(&batch(0)).unwrap();
        disk.fail(disk.operations()..u64::MAX, kind);
        for _ in 0..3 {
            let refused = store.write(&batch(1)).unwrap_err();
            match kind {
                io::ErrorKind::Other => assert!(matches!(refused, StoreError::Io { .. }), "{refused}"),
                _ => assert!(matches!(refused, StoreError::ReadOnly { .. }), "{refused}"),
            }
            assert_eq!(records(&store), 1);
        }
        disk.fail(0..0, kind);
        store.write(&batch(1)).unwrap();
        assert_eq!(records(&store), 2);
    }
}

#[test]
fn reads_that_fail_are_errors_and_go_on_when_they_do_not() {
    let disk = FaultDisk::new(5);
    drop(Store::open_on(disk.clone()).map(|store| (0..5).for_each(|position| store.write(&batch(position)).unwrap())));
    let store = Store::open_on(disk.clone()).unwrap();
    let mut reading = store.read(Sequence::Log, 0).unwrap();
    disk.fail_reads(true);
    let failed = reading.next().unwrap().unwrap_err();
    assert!(failed.to_string().contains("cannot be read: "), "{failed}");
    disk.fail_reads(false);
    assert_eq!(reading.map(|record| record.unwrap().position).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
}

#[test]
fn a_commit_waits_for_two_syncs() {
    let disk = FaultDisk::new(5);
    let store = Store::open_on(disk.clone()).unwrap();
    (0..10).for_each(|position| store.write(&batch(position)).unwrap());
    disk.set_cost_us(0, 1);
    let before = disk.busy_us();
    (10..110).for_each(|position| store.write(&batch(position)).unwrap());
    let syncs = disk.busy_us() - before;
    assert!((200..=205).contains(&syncs), "{syncs} syncs, two for each and one where the file grows");
}
