use proto::seam::Random;

use super::*;

const REPLICAS: u64 = 3;
const LOOKS: u64 = 60;

/// Looks at a process that keeps `kept` of each and fills caches of 20 MiB while it warms up. The allocator is off by up to
/// half a MiB, and seven write buffers of 8 MiB are filled and emptied while writes are made.
fn grown(work: Work, seed: u64, kept: impl Fn(u64) -> Held) -> Growth {
    let (all, random) = (work.times() * REPLICAS, Random::from_seed(seed));
    let phase = random.below(1000);
    let look = |turn: u64| {
        let done = all * turn / LOOKS;
        let caches = (done * 5 * (20 << 10) / all).min(20 << 10);
        let buffer = (done * 7 * 1000 / all + phase) % 1000 * (8 << 10) / 1000;
        let buffers = if work == Work::Write { buffer } else { 0 };
        let kept = kept(work.of_each(done, REPLICAS));
        let held = Held {
            memory_kib: (30 << 10) + caches + buffers + random.below(512) + kept.memory_kib,
            sockets: 12 + random.below(6) + kept.sockets,
            files: 30 + random.below(6) + kept.files,
            threads: 5 + random.below(4) + kept.threads,
        };
        Look { done, pid: 7, held }
    };
    let looks: Vec<Look> = (0..=LOOKS).map(look).collect();
    Growth::of(work, &looks, all, REPLICAS).unwrap()
}

#[test]
fn ordinary_noise_is_no_leak() {
    for work in Work::ALL {
        for seed in 0..200 {
            assert_eq!(grown(work, seed, |_| Held::default()).leak(), None, "{work:?}, seed {seed}");
        }
    }
}

#[test]
fn a_kilobyte_of_each_and_eight_of_a_connection_are_a_leak() {
    for (work, kib) in [(Work::Connect, 8), (Work::Watch, 1), (Work::Read, 1), (Work::Write, 1)] {
        for seed in 0..200 {
            let growth = grown(work, seed, |done| Held { memory_kib: done * kib, ..Held::default() });
            let leak = growth.leak().unwrap_or_else(|| panic!("{work:?}, seed {seed}: {growth:?}"));
            assert!(leak.contains("KiB of memory") && leak.starts_with("over "), "{leak}");
        }
    }
}

#[test]
fn a_socket_a_file_or_a_thread_of_some_is_a_leak() {
    let of_each: [fn(u64) -> Held; 3] = [
        |done| Held { sockets: done / 20, ..Held::default() },
        |done| Held { files: done / 20, ..Held::default() },
        |done| Held { threads: done / 20, ..Held::default() },
    ];
    for (kept, what) in of_each.into_iter().zip(["sockets", "other files", "threads"]) {
        for work in Work::ALL {
            let leak = grown(work, 1, kept).leak();
            assert!(leak.as_ref().is_some_and(|leak| leak.contains(what)), "{work:?}: {leak:?}");
        }
    }
}

#[test]
fn a_process_that_did_not_run_all_the_time_tells_nothing() {
    let look = |done, pid| Look { done, pid, held: Held::default() };
    let of = |looks: &[Look]| Growth::of(Work::Read, looks, 100, REPLICAS);
    assert!(of(&[look(0, 7), look(25, 7), look(90, 7)]).is_ok());
    assert!(of(&[look(0, 7), look(25, 7), look(90, 8)]).unwrap_err().contains("started anew"));
    assert!(of(&[look(0, 7), look(25, 7), look(60, 7)]).is_err(), "it ended");
    assert!(of(&[]).is_err());
}

fn grew(kib: u64) -> Growth {
    let before = Held { memory_kib: 1000, ..Held::default() };
    let after = Held { memory_kib: 1000 + kib, ..before };
    Growth { work: Work::Read, count: 4800, before, after }
}

#[test]
fn who_is_beyond_what_is_well_each_time_leaks() {
    let many = |kib: [u64; 2]| {
        let named = kib.into_iter().zip(["replica-1", "replica-2"]);
        named.map(|(kib, name)| (name.to_owned(), grew(kib))).collect::<BTreeMap<_, _>>()
    };
    let mut suspects = Suspects::default();
    assert_eq!(suspects.take(&many([10, 20])), Ok(false));

    let mut suspects = Suspects::default();
    assert_eq!(suspects.take(&many([9000, 9000])), Ok(true));
    assert_eq!(suspects.take(&many([10, 9000])), Ok(true));
    assert_eq!(suspects.take(&many([9000, 20])), Ok(false), "another one each time");

    let mut suspects = Suspects::default();
    assert_eq!(suspects.take(&many([9000, 20])), Ok(true));
    assert_eq!(suspects.take(&many([9000, 9000])), Ok(true));
    let why = suspects.take(&many([9000, 9000])).unwrap_err();
    assert!(why.starts_with("replica-1 leaks over 4800 reads") && !why.contains("replica-2"), "{why}");
}

#[test]
fn the_largest_of_each_sort_is_told() {
    let mut largest = Largest::default();
    for (name, kib) in [("replica-1", 0), ("replica-2", 30), ("replica-3", 20)] {
        largest.take(name, grew(kib));
    }
    let said = largest.to_string();
    assert!(said.starts_with("calm, over 4800 reads: most of all grew replica-2, 1000 -> 1030 KiB"), "{said}");
}
