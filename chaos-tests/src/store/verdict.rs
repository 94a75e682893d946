//! All promises, held against what was seen in a run. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::run::Run;
use super::seen::{Seen, number_of, written};
use crate::check::linear::{self, Effect, Operation, Value};
use crate::check::words::InWords;
use crate::check::{acknowledged, past, recency, set};
use crate::runner::Report;

pub fn report(run: Run) -> Report {
    let mut report = Report::begin(&run.world, &run.plan.faults, &run.felt, &run.replicas);
    let mut seen = run.shared.lock();
    report.failures.extend(seen.violations.iter().cloned());
    report.failures.extend(judge(&seen, is_complete(&seen)).and_then(|()| judge_inside(&seen)).err());
    report.failures.extend(run.members.check().err());
    if report.failures.is_empty() {
        report.failures.extend(untold(&seen));
    }
    let totals = &mut report.totals;
    (totals.operations, totals.unknown) = (seen.operations, seen.unknown);
    (totals.snapshots, totals.fetched, totals.renewals) = (run.snapshots, run.fetched, seen.renewals);
    totals.whole = u64::from(is_complete(&seen));
    let stores = std::mem::take(&mut seen.stores);
    drop(seen);
    drop((run, stores));
    report
}

/// The first broken promise, in words, of those that also hold for who sees the store from outside. `is_complete`: all that
/// changed was told.
pub fn judge(seen: &Seen, is_complete: bool) -> Result<(), String> {
    seen.agreed.none_twice(number_of)?;
    seen.agreed.fences_hold(&seen.began)?;
    refused_never_appear(seen)?;
    recency::check(&seen.recent)?;
    set::check(&seen.adds, &seen.readings)?;
    for (key, operations) in &seen.registers {
        let explained = is_linearizable(operations);
        explained.map_err(|which| format!("{key} is not linearizable; no order explains{which}"))?;
    }
    if is_complete {
        acknowledged::check(&seen.acknowledged, &seen.agreed, number_of)?;
        for told in seen.told.iter().chain(&seen.idle_watches) {
            seen.agreed.complete(told)?;
        }
        states_follow_from_changes(seen)?;
    }
    Ok(())
}

/// What only those can judge who see the stores from inside: the past, and with every change the value before it.
fn judge_inside(seen: &Seen) -> Result<(), String> {
    if is_complete(seen) { past::check(&seen.agreed, &seen.looks) } else { Ok(()) }
}

/// `Err`: what no order explains.
fn is_linearizable(operations: &[Operation]) -> Result<(), String> {
    let named = observed(operations);
    let Err(unexplained) = linear::check(&named) else { return Ok(()) };
    // Who found something there, whatever it was, may have found what nobody saw by its value. Few histories need that, and every
    // write of unknown outcome makes the search longer.
    let stands = |operation: &Operation| matches!(operation.effect, Effect::Stands { .. } | Effect::Replace(_));
    if operations.iter().any(stands) && linear::check(operations).is_ok() {
        return Ok(());
    }
    Err(unexplained.iter().take(6).map(|n| format!("\n    {:?}", named[*n])).collect())
}

/// An unknown write that nobody saw is as good as none: without it the rest has the same orders.
fn observed(operations: &[Operation]) -> Vec<Operation> {
    let seen: BTreeSet<Value> = operations
        .iter()
        .filter_map(|operation| match operation.effect {
            Effect::Read(value) => Some(value),
            Effect::Swap { expected, .. } => Some(expected),
            Effect::Write(_) | Effect::Replace(_) | Effect::Stands { .. } => None,
        })
        .collect();
    let counts = |operation: &&Operation| operation.returned.is_some() || seen.contains(&written(operation.effect));
    operations.iter().filter(counts).copied().collect()
}

fn refused_never_appear(seen: &Seen) -> Result<(), String> {
    let refused_adds = seen.adds.iter().filter(|add| add.refused).map(|add| add.member);
    let refused: BTreeSet<u64> = seen.refused.iter().copied().chain(refused_adds).collect();
    match seen.agreed.all().find(|change| number_of(change).is_some_and(|number| refused.contains(&number))) {
        Some(change) => Err(format!("{} took effect though its proposer was told that it would not", InWords(change))),
        None => Ok(()),
    }
}

/// Is every revision up to the end known?
fn is_complete(seen: &Seen) -> bool {
    untold(seen).is_none()
}

/// A revision that nobody told of: some replica always has it, or had told a scribe.
fn untold(seen: &Seen) -> Option<String> {
    let newest = seen.histories.values().map(|(_, newest)| *newest).max().unwrap_or(0);
    let untold = (1..=newest).find(|revision| seen.agreed.at(*revision).is_none())?;
    Some(format!("nobody has told of revision {untold} of {newest}"))
}

fn states_follow_from_changes(seen: &Seen) -> Result<(), String> {
    for (id, state) in &seen.finals {
        let mut expected = BTreeMap::new();
        for change in seen.agreed.all().filter(|change| change.revision <= state.revision()) {
            match &change.value {
                Some(value) => drop(expected.insert(change.key.clone(), (change.revision, value.clone()))),
                None => drop(expected.remove(&change.key)),
            }
        }
        let held = state.range(b"", None).map(|(key, found)| (key.clone(), (found.revision, found.value.clone())));
        let held: BTreeMap<_, _> = held.collect();
        if let Some(key) = held.keys().chain(expected.keys()).find(|key| held.get(*key) != expected.get(*key)) {
            let (held, expected) = (held.get(key), expected.get(key));
            return Err(format!("replica {id} holds {held:?} at {key:?}, the changes make it {expected:?}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::acknowledged::Acknowledged;
    use crate::check::set::Add;

    fn register(operations: &[(u64, Option<u64>, Effect)]) -> Seen {
        let operation = |(invoked, returned, effect): &(u64, Option<u64>, Effect)| Operation {
            invoked: *invoked,
            returned: *returned,
            effect: *effect,
        };
        let mut seen = Seen::default();
        seen.registers.insert("a".into(), operations.iter().map(operation).collect());
        seen
    }

    #[test]
    fn what_stands_there_may_be_a_write_of_unknown_outcome_that_nobody_saw_otherwise() {
        let (unknown, stands) = (Effect::Write(Some(1)), Effect::Stands { not: None });
        judge(&register(&[(0, None, unknown), (2, Some(3), stands)]), true).unwrap();
        assert!(judge(&register(&[(2, Some(3), stands)]), true).is_err());
        let absent = (4, Some(5), Effect::Read(None));
        assert!(judge(&register(&[(0, None, unknown), (2, Some(3), stands), absent]), true).is_err());
    }

    #[test]
    fn an_add_that_is_lost_after_the_last_reading_is_noticed() {
        let mut seen = Seen::default();
        seen.adds.push(Add { member: 7, invoked: 0, returned: Some(1), refused: false });
        judge(&seen, true).expect("nobody looked");
        seen.acknowledged.push(Acknowledged::Put { value: 7, at: 1 });
        assert!(judge(&seen, true).is_err());
        judge(&seen, false).expect("what came last may not have been told");
    }
}
