//! Gaps that come together, are told and are written, also while the store fails.

use super::*;
use crate::gap::Tracker;
use std::sync::mpsc;

fn gap(stream: &str) -> Gap {
    Gap { source: "hq".into(), stream: stream.into(), from: 1, ..Gap::default() }
}

fn start(store: Option<Arc<Store>>) -> (Arc<Ledger>, mpsc::Receiver<(Gap, Phase)>) {
    let (sender, told) = mpsc::channel();
    let sender = Mutex::new(sender);
    let tell = move |gap: &Gap, phase| {
        let _ = sender.lock().unwrap().send((gap.clone(), phase));
    };
    (Ledger::start(store, Box::new(tell)).unwrap(), told)
}

#[test]
fn a_gap_is_stored_when_it_begins_and_again_when_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(dir.path()).unwrap().0);
    let (ledger, told) = start(Some(Arc::clone(&store)));
    let id = ledger.begin(Reason::Disconnected, gap("a"));
    while store.gaps().is_empty() {
        std::thread::yield_now();
    }
    assert_eq!(store.gaps()[0].to, None);
    assert!(ledger.is_open("hq", "a") && !ledger.is_open("hq", "b"));
    ledger.change(id, |gap| gap.to = Some(5));
    let (over, phase) = told.recv().unwrap();
    assert_eq!((phase, over.to, over.number), (Phase::Over, Some(5), 1));
    ledger.begin(Reason::Restart, gap("a"));
    ledger.know("hq", "a");
    ledger.close(Duration::from_secs(60));
    drop((ledger, store));

    let (store, loaded) = Store::open(dir.path()).unwrap();
    assert!(!loaded.is_damaged);
    let stored: Vec<_> = store.gaps().into_iter().map(|gap| (gap.reason, gap.to)).collect();
    assert_eq!(stored[0], ("disconnected".into(), Some(5)));
    assert_eq!(stored[1], ("restart".into(), None));
    assert_eq!(stored[2].0, BEGIN);
    let (ledger, _) = start(Some(Arc::new(store)));
    assert!(ledger.knows("hq", "a") && !ledger.knows("hq", "b"));
    let (_, open) = ledger.adopt("hq", "a").unwrap();
    assert_eq!((open.number, &*open.reason), (2, "restart"));
    assert!(ledger.adopt("hq", "b").is_none());
    assert!(ledger.counts().is_empty(), "an earlier process counted it");
}

#[test]
fn records_that_are_lost_are_told_once() {
    let dir = tempfile::tempdir().unwrap();
    for expected in [2, 0] {
        let store = Arc::new(Store::open(dir.path()).unwrap().0);
        let (ledger, _told) = start(Some(store));
        for records in [5..8, 6..7, 20..21, 5..8, 3..3] {
            ledger.lost(Reason::Damaged, records, |_, _| Gap { to: Some(9), ..gap("") });
        }
        let counts = ledger.counts();
        assert_eq!(counts.values().sum::<u64>(), expected, "{counts:?}");
        ledger.close(Duration::from_secs(60));
    }
}

#[test]
fn of_records_that_are_lost_those_are_told_that_were_not_before() {
    let (ledger, told) = start(None);
    let lost = |records| {
        ledger.lost(Reason::Damaged, records, |part, whole| {
            // Whoever finds the same meanwhile has nothing to tell.
            ledger.lost(Reason::Damaged, part.clone(), |_, _| unreachable!());
            Gap { to: Some(9), detail: format!("{part:?} of {whole:?}"), ..gap("") }
        });
    };
    lost(10..15);
    lost(8..20);
    lost(9..20);
    lost(20..22);
    let told: Vec<_> = (0..4).map(|_| told.recv().unwrap().0).collect();
    let told: Vec<_> = told.iter().map(|gap| (gap.records.unwrap(), &*gap.detail)).collect();
    assert_eq!(
        told,
        [
            ((10, 14), "10..15 of 10..15"),
            ((8, 9), "8..10 of 8..20"),
            ((15, 19), "15..20 of 8..20"),
            ((20, 21), "20..22 of 8..22"),
        ]
    );
    assert_eq!(ledger.counts().values().sum::<u64>(), 4);
}

#[test]
fn reading_that_goes_on_on_a_quiet_stream_is_not_away() {
    let (ledger, _told) = start(None);
    let tracker = Tracker::new(Some(Arc::clone(&ledger)), "hq", "a");
    let is_away = || ledger.shared.lock().drafts[0].long_at().is_some();
    tracker.hold_back(1, "full");
    assert!(is_away());
    // What waited has found room; nothing more comes, so nothing ends the gap.
    tracker.brought(None, "x");
    assert!(!is_away() && tracker.is_open());
    tracker.hold_back(2, "full again");
    assert!(is_away());
    // The connection ends meanwhile: what it had brought is no sign of it.
    tracker.begin(Reason::Disconnected, "reset");
    tracker.brought(None, "y");
    assert!(is_away());
    tracker.up();
    assert!(!is_away());
    tracker.brought(Some("z".to_owned()), "z");
    assert!(!tracker.is_open());
}

/// What cannot be written is bounded, and nothing of it is forgotten.
#[test]
fn many_that_cannot_be_written_become_one() {
    let mut inner = Inner::default();
    for at in 0..3 * MAX_WAITING as u64 {
        inner.add(Gap { from: at, to: Some(at + 1), ..gap("a") });
    }
    assert_eq!(inner.drafts.len(), MAX_WAITING);
    let last = &inner.drafts[MAX_WAITING - 1].gap;
    assert_eq!((last.from, last.to), (MAX_WAITING as u64 - 1, Some(3 * MAX_WAITING as u64)));
    inner.add(gap("b"));
    assert_eq!(inner.drafts.len(), MAX_WAITING + 1, "each stream has one that lasts");
}

#[test]
fn it_is_seen_that_the_thread_has_died() {
    let ledger = Ledger::start(None, Box::new(|_, _| panic!("a fault"))).unwrap();
    assert!(!ledger.has_died());
    ledger.begin(Reason::Restart, Gap { to: Some(2), ..gap("a") });
    while !ledger.has_died() {
        std::thread::yield_now();
    }
    ledger.close(Duration::ZERO);
    assert!(!ledger.has_died(), "it was closed");
}

#[test]
fn without_a_store_they_are_told_and_counted() {
    let (ledger, told) = start(None);
    let id = ledger.begin(Reason::HeldBack, gap("a"));
    ledger.change(id, |gap| gap.to = Some(2));
    assert_eq!(told.recv().unwrap().1, Phase::Over);
    let key = ("hq".to_owned(), "a".to_owned(), "held-back");
    assert_eq!(ledger.counts(), BTreeMap::from([(key, 1)]));
}
