//! A disk in memory that goes wrong as planned, for tests and simulations. The same seed and the same operations
//! give the same bytes.
//!
//! What counts as an operation is a write, a change of the length or a sync; they are numbered from 0. Between two
//! syncs nothing is certain: when the power is cut, each write since the last one is lost, kept, or torn at sectors
//! of 512 bytes, whatever became of the others. A write that failed is there in part. What a sync that failed should
//! have written can be read, and no later sync writes it, as with the page cache of Linux.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Storage;
use crate::storage::within;

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// A disk that goes wrong as planned. Clones are the same disk, so that a test keeps one and hands out another.
#[derive(Clone, Debug)]
pub struct FaultDisk(Arc<Mutex<Disk>>);

#[derive(Debug)]
struct Disk {
    random: Random,
    /// What is read.
    current: Vec<u8>,
    /// What a loss of power leaves for certain.
    durable: Vec<u8>,
    /// What happened since the last sync.
    pending: Vec<Change>,
    operations: u64,
    cut_at: Option<u64>,
    failing: Range<u64>,
    failing_as: io::ErrorKind,
    are_reads_failing: bool,
    room_bytes: u64,
    operation_us: u64,
    sync_us: u64,
    busy_us: u64,
}

#[derive(Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

impl FaultDisk {
    /// An empty disk on which nothing goes wrong.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Disk {
            random: Random(seed),
            current: Vec::new(),
            durable: Vec::new(),
            pending: Vec::new(),
            operations: 0,
            cut_at: None,
            failing: 0..0,
            failing_as: io::ErrorKind::Other,
            are_reads_failing: false,
            room_bytes: u64::MAX,
            operation_us: 0,
            sync_us: 0,
            busy_us: 0,
        })))
    }

    /// How many operations there were.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.disk().operations
    }

    /// Cuts the power at an operation: it fails, as does all that follows until [`FaultDisk::reboot`].
    pub fn cut_power_at(&self, operation: u64) {
        self.disk().cut_at = Some(operation);
    }

    /// Whether the power has been cut.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.disk().is_cut()
    }

    /// The power comes back, or is cut now and comes back: what was not synced is lost, kept or torn. Nothing more is
    /// planned to go wrong, but for the room, which stays.
    pub fn reboot(&self) {
        let mut disk = self.disk();
        disk.settle();
        disk.current = disk.durable.clone();
        disk.cut_at = None;
        disk.failing = 0..0;
        disk.are_reads_failing = false;
    }

    /// Lets the operations of a range of numbers fail; beyond it all is well.
    pub fn fail(&self, operations: Range<u64>, kind: io::ErrorKind) {
        let mut disk = self.disk();
        disk.failing = operations;
        disk.failing_as = kind;
    }

    /// Lets all reads fail, or none.
    pub fn fail_reads(&self, are_failing: bool) {
        self.disk().are_reads_failing = are_failing;
    }

    /// How long the bytes may become; [`u64::MAX`] for as long as they like. Beyond it the disk is full.
    pub fn set_room_bytes(&self, bytes: u64) {
        self.disk().room_bytes = bytes;
    }

    /// How long an operation and a sync take. Nobody waits: it is added up in [`FaultDisk::busy_us`].
    pub fn set_cost_us(&self, operation_us: u64, sync_us: u64) {
        let mut disk = self.disk();
        (disk.operation_us, disk.sync_us) = (operation_us, sync_us);
    }

    /// How long the operations so far took, as told by [`FaultDisk::set_cost_us`].
    #[must_use]
    pub fn busy_us(&self) -> u64 {
        self.disk().busy_us
    }

    /// Changes the bits of `mask` in the byte at `offset`, if there is one.
    pub fn flip(&self, offset: usize, mask: u8) {
        let mut disk = self.disk();
        let Disk { current, durable, .. } = &mut *disk;
        [current, durable].into_iter().filter_map(|bytes| bytes.get_mut(offset)).for_each(|byte| *byte ^= mask);
    }

    /// The bytes as they are read.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.disk().current.clone()
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk {
    fn is_cut(&self) -> bool {
        self.cut_at.is_some_and(|at| self.operations > at)
    }

    /// Counts an operation, and tells how it fails, if it does.
    fn begin(&mut self, cost_us: u64) -> Option<io::Error> {
        let number = self.operations;
        self.operations += 1;
        self.busy_us += cost_us;
        if self.cut_at.is_some_and(|at| number >= at) {
            return Some(io::Error::other("the power is cut"));
        }
        self.failing.contains(&number).then(|| io::Error::new(self.failing_as, "this was planned to fail"))
    }

    /// Whether the power was cut by the operation that was begun last, and not before.
    fn is_being_cut(&self) -> bool {
        self.cut_at.is_none_or(|at| at + 1 == self.operations)
    }

    /// Decides what becomes of all that was not synced.
    fn settle(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            match (self.random.below(4), change) {
                (0, _) => {}
                (1 | 2, change) => change.apply(&mut self.durable),
                (_, Change::Length(length)) => Change::Length(length).apply(&mut self.durable),
                (_, Change::Write { offset, bytes }) => {
                    for (offset, bytes) in sectors(offset, bytes) {
                        if self.random.below(2) == 0 {
                            Change::Write { offset, bytes }.apply(&mut self.durable);
                        }
                    }
                }
            }
        }
    }
}

/// The parts of a write, cut where the sectors of the disk begin.
fn sectors(offset: usize, bytes: Vec<u8>) -> impl Iterator<Item = (usize, Vec<u8>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at;
        let part = (SECTOR_BYTES - (offset + start) % SECTOR_BYTES).min(bytes.len() - start);
        at += part;
        (part > 0).then(|| (offset + start, bytes[start..start + part].to_vec()))
    })
}

impl Change {
    /// What is written beyond the end, since a change of the length was lost, is lost too.
    fn apply(self, image: &mut Vec<u8>) {
        match self {
            Self::Length(length) => image.resize(length, 0),
            Self::Write { offset, bytes } => {
                let end = (offset + bytes.len()).min(image.len());
                if let Some(place) = image.get_mut(offset..end) {
                    place.copy_from_slice(&bytes[..place.len()]);
                }
            }
        }
    }
}

impl Storage for FaultDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk().current.len() as u64)
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let disk = self.disk();
        if disk.are_reads_failing || disk.is_cut() {
            return Err(io::Error::other("this read was planned to fail"));
        }
        let range = within(offset, buffer.len(), disk.current.len())?;
        buffer.copy_from_slice(&disk.current[range]);
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.disk();
        let cost_us = disk.operation_us;
        let failed = disk.begin(cost_us);
        let range = within(offset, bytes.len(), disk.current.len())?;
        let Some(error) = failed else {
            disk.current[range.clone()].copy_from_slice(bytes);
            disk.pending.push(Change::Write { offset: range.start, bytes: bytes.to_vec() });
            return Ok(());
        };
        if disk.is_being_cut() {
            for (offset, bytes) in sectors(range.start, bytes.to_vec()) {
                if disk.random.below(2) == 0 {
                    disk.current[offset..offset + bytes.len()].copy_from_slice(&bytes);
                    disk.pending.push(Change::Write { offset, bytes });
                }
            }
        }
        Err(error)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut disk = self.disk();
        let cost_us = disk.operation_us;
        if let Some(error) = disk.begin(cost_us) {
            return Err(error);
        }
        if length > disk.room_bytes && length > disk.current.len() as u64 {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on the planned disk"));
        }
        disk.current.resize(length as usize, 0);
        disk.pending.push(Change::Length(length as usize));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.disk();
        let cost_us = disk.sync_us;
        match disk.begin(cost_us) {
            None => {
                for change in std::mem::take(&mut disk.pending) {
                    change.apply(&mut disk.durable);
                }
                Ok(())
            }
            Some(error) if disk.is_cut() => Err(error),
            Some(error) => {
                disk.settle();
                let length = disk.current.len();
                Change::Length(length).apply(&mut disk.durable);
                Err(error)
            }
        }
    }
}

/// Numbers that look random: SplitMix64.
#[derive(Clone, Copy, Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (number ^ (number >> 31)) % end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_synced_is_lost_kept_or_torn() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let disk = FaultDisk::new(seed);
            disk.set_len(2048).unwrap();
            disk.write(0, &[1; 2048]).unwrap();
            disk.sync().unwrap();
            disk.write(512, &[2; 1024]).unwrap();
            disk.cut_power_at(disk.operations());
            assert!(!disk.is_cut());
            disk.sync().unwrap_err();
            assert!(disk.is_cut());
            disk.write(0, &[3]).unwrap_err();
            disk.read(0, &mut [0]).unwrap_err();
            disk.reboot();
            let bytes = disk.bytes();
            assert_eq!((bytes[0], bytes[2047]), (1, 1));
            seen.insert((bytes[512], bytes[1024]));
            let again = FaultDisk::new(seed);
            assert_eq!(again.0.lock().unwrap().random.below(99), FaultDisk::new(seed).disk().random.below(99));
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [(1, 1), (1, 2), (2, 1), (2, 2)]);
    }

    #[test]
    fn what_a_failed_sync_should_have_written_no_later_one_writes() {
        let lost = (0..100).filter(|seed| {
            let disk = FaultDisk::new(*seed);
            disk.set_len(512).unwrap();
            disk.sync().unwrap();
            disk.write(0, &[1; 512]).unwrap();
            disk.fail(disk.operations()..disk.operations() + 1, io::ErrorKind::Other);
            disk.sync().unwrap_err();
            disk.sync().unwrap();
            assert_eq!(disk.bytes(), [1; 512], "it is read all the same");
            disk.reboot();
            disk.bytes() == [0; 512]
        });
        assert!((10..90).contains(&lost.count()));
    }

    #[test]
    fn a_full_disk_takes_what_needs_no_room() {
        let disk = FaultDisk::new(1);
        disk.set_cost_us(1, 100);
        disk.set_len(1000).unwrap();
        disk.set_room_bytes(1000);
        assert_eq!(disk.set_len(1001).unwrap_err().kind(), io::ErrorKind::StorageFull);
        disk.write(0, &[1; 1000]).unwrap();
        disk.write(999, &[1; 2]).unwrap_err();
        disk.sync().unwrap();
        assert_eq!(disk.busy_us(), 104);
        disk.flip(3, 1);
        assert_eq!(disk.bytes()[3], 0);
    }
}
