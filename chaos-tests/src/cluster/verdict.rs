//! All promises of a cluster, held against what was seen. Pure, but for looking at stores and engines.

use node::runtime::{Role, State as Life};
use raft::State;
use serde::de::DeserializeOwned;

use super::plan::{NODES, REPLICAS};
use super::run::Run;
use super::seen::Seen;
use super::user::{DEPLOYMENTS, PODS, SETS};
use super::{keeper, registers, setting};
use crate::check::changes::Agreed;
use crate::check::settled::{self, Found, Sight};
use crate::check::terms::Written;
use crate::check::{bounds, pods};
use crate::runner::Report;
use crate::sim::disk::Platters;

/// Who writes under `system:kontiki:` without being a controller of the leader.
const NO_CONTROLLERS: [&str; 3] = ["bootstrap", "replica", "members"];

/// Under a fixed name so many Pods run one after the other at least: the first before anything goes wrong, the last when
/// all is well again.
const BEARERS_MIN: usize = 2;

pub fn report(run: Run) -> Report {
    let mut failures: Vec<String> = run.world.panics().into_iter().map(|panic| format!("a panic: {panic}")).collect();
    let seen = run.shared.lock();
    failures.extend(seen.violations.iter().cloned());
    failures.extend(judge(&run, &seen).err());
    let mut registers = run.shared.registers.lock();
    failures.extend(registers.violations.iter().cloned());
    failures.extend(registers::judge(&mut registers, is_whole(&seen).then_some(&seen.history[..])).err());
    let (operations, unknown) = (seen.operations + registers.operations, seen.unknown + registers.unknown);
    let whole = u64::from(is_whole(&seen));
    drop(registers);
    let renewals = seen.renewals;
    drop(seen);
    let trace = run.world.trace().lock().expect("no holder of the trace panics").text();
    let (simulated_ms, terms) = (run.world.now().as_millis() as u64, run.replicas.terms() as u64);
    let (seed, snapshots, planned) = (run.plan.seed, run.snapshots, &run.plan.faults);
    let (faults, missed) = (run.felt.tally(planned), run.felt.missed(planned.len()));
    let stores = std::mem::take(&mut run.shared.lock().stores);
    drop((run, stores));
    Report {
        seed,
        faults,
        missed,
        failures,
        trace,
        simulated_ms,
        operations,
        unknown,
        terms,
        snapshots,
        renewals,
        whole,
    }
}

fn judge(run: &Run, seen: &Seen) -> Result<(), String> {
    if seen.watches.iter().all(|told| told.revisions.is_empty()) {
        return Err("nobody saw anything: the run tried nothing".into());
    }
    if run.shared.registers.lock().registers.is_empty() {
        return Err("nobody read or wrote a register: nothing was tried with them".into());
    }
    if let Some(name) = keeper::PODS.iter().find(|name| run.identities.bearers(&keeper::identity(name)) < BEARERS_MIN) {
        return Err(format!("hardly any Pod ever ran as {name}: nothing was tried with it"));
    }
    let twice: Vec<String> = run.engines.iter().flat_map(node::runtime::fake::Fake::doubles).collect();
    if !twice.is_empty() {
        return Err(format!("two attempts of one container ran together: {twice:?}"));
    }
    if is_whole(seen) { judge_history(run, seen) } else { Ok(()) }
}

/// Is the history known from its beginning on? Not where every replica was filled by a snapshot.
fn is_whole(seen: &Seen) -> bool {
    !seen.history.is_empty()
}

fn judge_history(run: &Run, seen: &Seen) -> Result<(), String> {
    let assigned = pods::check(&seen.history)?;
    run.homes.check(&assigned)?;
    run.terms.check(seen.history.iter().filter_map(written))?;
    bounds::check(&seen.history)?;
    let mut agreed = Agreed::default();
    seen.history.iter().try_for_each(|change| agreed.add(change))?;
    seen.watches.iter().try_for_each(|told| agreed.complete(told))
}

/// `Some` for what a controller wrote.
fn written(change: &raft::Change) -> Option<Written> {
    let name = change.author.strip_prefix("system:kontiki:").filter(|name| !NO_CONTROLLERS.contains(name))?;
    let by = setting::proposer(change.proposed_at_ms) as u64 + 1;
    Some(Written { revision: change.revision, by, author: name.into() })
}

/// Why what the user wants has not come about yet.
pub fn unsettled(run: &Run) -> Option<String> {
    let seen = run.shared.lock();
    let Some((wish, true)) = &seen.wish else { return Some(format!("not acknowledged: {:?}", seen.wish)) };
    if let Some(host) = run.platters.iter().position(Platters::is_rotten) {
        return Some(format!("a damaged record is still on the disk of host {host}"));
    }
    if seen.stores.len() < REPLICAS {
        return Some(format!("only the replicas on {:?} run", seen.stores.keys()));
    }
    let states: Vec<State> = seen.stores.values().map(raft::Store::state).collect();
    if let Some(other) = states.iter().find(|state| state.revision() != states[0].revision()) {
        return Some(format!("replicas at revisions {} and {}", states[0].revision(), other.revision()));
    }
    let state = &states[0];
    for prefix in [DEPLOYMENTS, SETS, PODS] {
        let newest = rows(state, prefix).map(|(revision, _)| revision).max().unwrap_or(0);
        let told = seen.watches.iter().rfind(|told| told.prefix == prefix).map_or(0, |told| told.upto);
        if told < newest {
            return Some(format!("the watch of {prefix} was told up to {told}, there is {newest}"));
        }
    }
    let sight = Sight {
        nodes: objects(state, "core/nodes/"),
        deployments: objects(state, DEPLOYMENTS),
        pods: objects(state, PODS),
        containers: containers(run),
    };
    settled::check(&sight, wish, &keeper::PODS, NODES).err()
}

/// What all engines have.
pub fn containers(run: &Run) -> Vec<Found> {
    let names = setting::names();
    let of = |(number, engine): (usize, &node::runtime::fake::Fake)| {
        let node = names[REPLICAS + number].clone();
        let found = engine.all().into_iter().map(move |container| Found {
            node: node.clone(),
            pod: format!("{}/{}", container.labels.pod_namespace, container.labels.pod_name),
            pod_uid: container.labels.pod_uid,
            is_app: container.labels.role == Role::App,
            runs: matches!(container.state, Life::Running { .. }),
        });
        found.collect::<Vec<_>>()
    };
    run.engines.iter().enumerate().flat_map(of).collect()
}

fn objects<T: DeserializeOwned>(state: &State, prefix: &str) -> Vec<T> {
    rows(state, prefix).filter_map(|(_, value)| serde_json::from_slice(&value).ok()).collect()
}

fn rows(state: &State, prefix: &str) -> impl Iterator<Item = (u64, bytes::Bytes)> {
    let all = state.range(prefix.as_bytes(), None).take_while(move |(key, _)| key.starts_with(prefix.as_bytes()));
    all.map(|(_, found)| (found.revision, found.value.clone()))
}
