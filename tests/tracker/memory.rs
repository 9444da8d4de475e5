//! How much a live call costs, and a look at it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use crate::office::{DID, Office};

/// Counts what the thread of a test holds; tests run on threads of their own.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    /// All that it ever asked for.
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

fn count(bytes: usize, sign: isize) {
    let bytes = isize::try_from(bytes).unwrap_or(isize::MAX);
    // A thread that ends still frees.
    let _ = HELD.try_with(|held| held.set(held.get() + sign * bytes));
}

// SAFETY: everything is the system's; only sizes are noted, in a cell that neither allocates nor drops.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        let _ = ASKED.try_with(|asked| asked.set(asked.get() + layout.size()));
        // SAFETY: the caller's guarantee.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: the caller's guarantee.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What the tracker holds for so many calls: two channels each, which talk, and their stories.
fn held_by(calls: usize) -> isize {
    let mut office = Office::new();
    for call in 0..calls {
        let client = office.client_calls(&format!("8916{call:07}"), DID);
        let [phone] = office.dials(client, ["101"]);
        office.rings(phone);
        office.answers(phone);
    }
    let records = office.records();
    let before = HELD.get();
    for record in &records {
        office.tracker.record(record);
        drop(office.tracker.take());
    }
    HELD.get() - before
}

#[test]
fn a_live_call_stays_below_four_kibibytes() {
    let (few, many) = (held_by(100), held_by(1_100));
    let each = (many - few) / 1_000;
    println!("{each} bytes a call");
    assert!(each < 4_096, "{each} bytes a call");
}

#[test]
fn nothing_is_held_when_the_calls_are_over() {
    let mut office = Office::new();
    let mut held = Vec::new();
    for _ in 0..50 {
        for _ in 0..20 {
            let client = office.client_calls("89161234567", DID);
            let [phone] = office.dials(client, ["101"]);
            office.rings(phone);
            office.answers(phone);
            office.hangs_up(client);
        }
        for record in office.records() {
            office.tracker.record(&record);
        }
        drop(office.tracker.take());
        held.push(HELD.get());
    }
    assert!(office.tracker.is_empty());
    assert!(held[49] - held[1] < 1_024, "it grows: {held:?}");
}

#[test]
fn a_conference_costs_what_its_members_do() {
    // The memory that is asked for grows as what is looked at does, and is the same on every machine.
    let asked_by = |members: usize| {
        let mut office = Office::new();
        let room = office.room("softmix");
        let client = office.client_calls("89161234567", DID);
        office.is_answered(client);
        office.enters(client, room);
        let mut last = client;
        for member in 0..members {
            last = office.phone_calls(&format!("{}", 101 + member), "600");
            office.is_answered(last);
            office.enters(last, room);
        }
        for record in &office.records() {
            office.tracker.record(record);
        }
        drop(office.tracker.take());
        office.leaves(last);
        let before = ASKED.get();
        for record in &office.records() {
            office.tracker.record(record);
        }
        ASKED.get() - before
    };
    let (few, many) = (asked_by(100), asked_by(200));
    println!("{few} bytes for 100, {many} for 200");
    assert!(many < 3 * few, "{few} bytes for 100, {many} for 200");
}
