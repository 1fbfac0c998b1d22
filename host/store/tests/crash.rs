//! The power is cut at every operation, and what was written is there.

use std::time::Instant;

use stillhouse_store::fault::FaultDisk;
use stillhouse_store::{Sequence, Store};

use crate::scenario::{State, batches};

/// Runs the batches until one fails, and tells how many were written. A scenario ends with the store closed.
fn run(disk: &FaultDisk, states: &[State]) -> usize {
    let Ok(store) = Store::open_on(disk.clone()) else { return 0 };
    let written = states.iter().take_while(|state| store.write(&state.batch()).is_ok());
    written.count()
}

/// Opens what the cut left and checks that the first `written` batches are there, and the next whole or not at all.
/// Then the rest is written too.
fn recover(disk: &FaultDisk, states: &[State], written: usize, what: &str) {
    disk.reboot();
    let store = Store::open_on(disk.clone()).unwrap_or_else(|error| panic!("{what}: {error}"));
    let found = State::read(&store);
    let at = |count: usize| if count == 0 { State::default() } else { states[count - 1].clone() };
    let came = (written..=states.len().min(written + 1)).find(|count| found == at(*count));
    let came = came.unwrap_or_else(|| panic!("{what}: {written} batches were written, and there is\n{found:?}"));
    for state in &states[came..] {
        store.write(&state.batch()).unwrap_or_else(|error| panic!("{what}: {error}"));
    }
    assert_eq!(State::read(&store), at(states.len()), "{what}");
}

#[test]
fn the_power_is_cut_at_every_operation() {
    let states = batches(1, 20);
    let disk = FaultDisk::new(1);
    assert_eq!(run(&disk, &states), states.len());
    let operations = disk.operations();
    assert!(operations > 300, "{operations} operations");
    for cut in 0..operations {
        for seed in 0..3 {
            let disk = FaultDisk::new(seed * 1_000_003 + cut);
            disk.cut_power_at(cut);
            let written = run(&disk, &states);
            recover(&disk, &states, written, &format!("seed {seed}, cut at {cut}"));
        }
    }
}

#[test]
fn the_power_is_cut_again_and_again() {
    let begun = Instant::now();
    let (mut cuts, mut lost, mut kept) = (0_u64, 0, 0);
    for seed in 0..2000 {
        let states = batches(seed, 12);
        let disk = FaultDisk::new(seed);
        let mut written = 0;
        // Each cut comes a little after the last, also while the store is being opened after it.
        for round in 0..4 {
            disk.cut_power_at(disk.operations() + (seed * 7 + round * 13) % 90);
            let came = Store::open_on(disk.clone()).map(|store| {
                let came = states.iter().position(|state| state.next(Sequence::Log) > store.next(Sequence::Log));
                let came = came.unwrap_or(states.len());
                assert!(came == written || came == written + 1, "seed {seed}: {came} batches, {written} were written");
                if came == written {
                    lost += 1
                } else {
                    kept += 1
                };
                came + states[came..].iter().take_while(|state| store.write(&state.batch()).is_ok()).count()
            });
            written = came.unwrap_or(written);
            cuts += u64::from(disk.is_cut());
            disk.reboot();
        }
        recover(&disk, &states, written, &format!("seed {seed}"));
    }
    let rate = 10_000.0 / begun.elapsed().as_secs_f64();
    println!("{cuts} cuts in 2000 seeds, {lost} lost and {kept} kept what was under way; {rate:.0} stores a second");
    assert!(cuts > 5000 && lost > 100 && kept > 100, "{cuts} cuts, {lost} lost, {kept} kept");
}

#[test]
fn the_power_is_cut_while_the_file_is_made_shorter() {
    let states = batches(5, 30);
    let compacted = |disk: &FaultDisk, cut: Option<u64>| {
        let mut store = Store::open_on(disk.clone()).unwrap();
        states.iter().for_each(|state| store.write(&state.batch()).unwrap());
        let before = disk.operations();
        if let Some(cut) = cut {
            disk.cut_power_at(before + cut);
        }
        (store.compact(), disk.operations() - before)
    };
    let (done, operations) = compacted(&FaultDisk::new(1), None);
    let (before_bytes, after_bytes) = done.unwrap();
    assert!(after_bytes < before_bytes && operations > 20, "{before_bytes} to {after_bytes} in {operations}");
    for cut in 0..operations {
        let disk = FaultDisk::new(cut);
        compacted(&disk, Some(cut)).0.unwrap_err();
        recover(&disk, &states, states.len(), &format!("cut at {cut}"));
    }
}
