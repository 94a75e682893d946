//! Where nothing rots, damage or divergence that a replica finds in its own data is its own work: a failure, also when it repairs
//! itself. Where a note was damaged, that is all it finds, and it does find it. Pure, but for [`Diagnosis::of`], which reads a
//! replica's counters.

use std::sync::atomic::Ordering::Relaxed;

use raft::Store;

/// What one run of a replica has found in its own data and the others'.
#[derive(Clone, Debug, Default)]
pub struct Diagnosis {
    pub replica: u64,
    /// Damaged records and files.
    pub records: u64,
    /// Odd states, in comparisons that it led.
    pub others: u64,
    /// 1: it takes its own state for odd.
    pub own: u64,
    /// 1: it doubts.
    pub doubts: u64,
    /// Why it takes no part.
    pub unwell: Option<String>,
}

impl Diagnosis {
    pub fn of(store: &Store) -> Diagnosis {
        let told = store.metrics();
        let found =
            [&told.checksum_failures, &told.divergences, &told.fenced, &told.in_doubt].map(|of| of.load(Relaxed));
        let [records, others, own, doubts] = found;
        let unwell = store.health().err().map(|why| why.to_string());
        Diagnosis { replica: store.id(), records, others, own, doubts, unwell }
    }

    /// `notes`: so many of those that it has read were damaged on purpose. `is_odd`: some state was made odd on purpose, and others
    /// judge what is found of that.
    pub fn check(&self, notes: u64, is_odd: bool) -> Result<(), String> {
        let Diagnosis { replica, records, others, own, doubts, unwell } = self;
        let is_sound = *records == notes && (is_odd || [*others, *own, *doubts] == [0; 3]);
        if is_sound {
            return Ok(());
        }
        let why = unwell.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        let damaged = if notes > 0 { format!("but {notes} of its notes ") } else { String::new() };
        Err(format!(
            "nothing {damaged}rots, and yet replica {replica} has found damaged records {records} times and odd states \
             {others} times, takes its own for odd {own}, and doubts {doubts}{why}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_replica_finds_is_noticed() {
        let sound = Diagnosis::default();
        sound.check(0, false).unwrap();
        sound.check(0, true).unwrap();
        let damaged = Diagnosis { records: 1, unwell: Some("its log".into()), ..sound.clone() };
        assert!(damaged.check(0, false).unwrap_err().ends_with("doubts 0: its log"));
        assert!(damaged.check(0, true).is_err(), "an odd state is no damage");
        for odd in [
            Diagnosis { others: 1, ..sound.clone() },
            Diagnosis { own: 1, ..sound.clone() },
            Diagnosis { doubts: 1, ..sound.clone() },
        ] {
            assert!(odd.check(0, false).is_err(), "{odd:?}");
            odd.check(0, true).unwrap();
        }
    }

    #[test]
    fn a_note_that_was_damaged_is_found_and_nothing_else_is() {
        let found = |records| Diagnosis { records, ..Diagnosis::default() };
        found(1).check(1, false).unwrap();
        let overlooked = found(0).check(1, false).unwrap_err();
        assert!(overlooked.starts_with("nothing but 1 of its notes rots, and yet"), "{overlooked}");
        assert!(found(2).check(1, false).is_err(), "its tables, too");
        let odd = Diagnosis { own: 1, ..found(1) };
        assert!(odd.check(1, false).is_err());
    }
}
