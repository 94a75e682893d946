//! All promises of a cluster, held against what was seen. Pure, but for looking at stores, engines, and what agents remember.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use k8s_openapi::api::core::v1::Node;
use node::runtime::fake::Fake;
use node::runtime::{Role, State as Life};
use raft::{State, Store};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::plan::NODES;
use super::run::{Led, Run};
use super::seen::{Relief, Seen};
use super::user::{DEPLOYMENTS, PODS, SETS};
use super::{keeper, registers, setting};
use crate::check::changes::Agreed;
use crate::check::settled::{self, Found, Sight};
use crate::check::terms::Written;
use crate::check::{bounds, pods};
use crate::runner::Report;
use crate::sim::links::HostId;

/// Who writes under `system:kontiki:` without being a controller of the leader.
const NO_CONTROLLERS: [&str; 3] = ["bootstrap", "replica", "members"];

/// Under a fixed name so many Pods run one after the other at least: the first before anything goes wrong, the last when
/// all is well again.
const BEARERS_MIN: usize = 2;

pub fn report(run: Run) -> Report {
    let mut report = Report::begin(&run.world, &run.plan.faults, &run.felt, &run.replicas);
    let mut seen = run.shared.lock();
    report.failures.extend(seen.violations.iter().cloned());
    report.failures.extend(judge(&run, &seen).err());
    let mut registers = run.shared.registers.lock();
    report.failures.extend(registers.violations.iter().cloned());
    report.failures.extend(registers::judge(&mut registers, is_whole(&seen).then_some(&seen.history[..])).err());
    let totals = &mut report.totals;
    (totals.operations, totals.unknown) = (seen.operations + registers.operations, seen.unknown + registers.unknown);
    (totals.snapshots, totals.fetched) = (run.snapshots, run.fetched);
    (totals.renewals, totals.gone) = (seen.renewals, seen.gone);
    totals.whole = u64::from(is_whole(&seen));
    let stores = std::mem::take(&mut seen.stores);
    drop((registers, seen));
    drop((run, stores));
    report
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
    run.members.check()?;
    let twice: Vec<String> = run.engines.values().flat_map(Fake::doubles).collect();
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
    run.terms.check(seen.history.iter().filter_map(|change| written(run, change)))?;
    bounds::check(&seen.history)?;
    let mut agreed = Agreed::default();
    seen.history.iter().try_for_each(|change| agreed.add(change))?;
    seen.watches.iter().chain(&seen.late_watches).try_for_each(|told| agreed.complete(told))
}

/// `Some` for what a controller wrote.
fn written(run: &Run, change: &raft::Change) -> Option<Written> {
    let name = change.author.strip_prefix("system:kontiki:").filter(|name| !NO_CONTROLLERS.contains(name))?;
    let by = run.id_at(setting::proposer(change.proposed_at_ms)).unwrap_or_default();
    Some(Written { revision: change.revision, by, author: name.into() })
}

/// Why what the user wants has not come about yet.
pub fn unsettled(run: &Run) -> Option<String> {
    let (led, settled) = (run.led(), run.plan.settled());
    let seen = run.shared.lock();
    let Some((wish, true)) = &seen.wish else { return Some(format!("not acknowledged: {:?}", seen.wish)) };
    if let Some(host) = settled.iter().find(|host| run.platters[*host].is_rotten()) {
        return Some(format!("a damaged record is still on the disk of host {host}"));
    }
    let stores: Vec<&Store> = settled.iter().filter_map(|host| seen.stores.get(host)).collect();
    if stores.len() < settled.len() {
        return Some(format!("only the replicas on {:?} run, of {settled:?}", seen.stores.keys()));
    }
    if let Some(why) = unsettled_members(run, &seen, &stores, &led) {
        return Some(why);
    }
    let states: Vec<State> = stores.iter().map(|store| store.state()).collect();
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
    let nodes: Vec<Node> = objects(state, "core/nodes/");
    if let Some(why) = unrelieved(run, &seen, &nodes) {
        return Some(why);
    }
    let sight = Sight {
        nodes,
        deployments: objects(state, DEPLOYMENTS),
        pods: objects(state, PODS),
        containers: containers(run),
    };
    settled::check(&sight, wish, &keeper::PODS, NODES).err()
}

/// Where somebody joins: why the members are not yet who they are to be, for all who want to know it.
fn unsettled_members(run: &Run, seen: &Seen, stores: &[&Store], led: &[Led]) -> Option<String> {
    let wanted = run.plan.newcomer()?;
    let ids: BTreeSet<u64> = run.plan.settled().into_iter().filter_map(|host| run.id_at(host)).collect();
    let voters: BTreeMap<u64, bool> = ids.iter().map(|id| (*id, true)).collect();
    if seen.members != voters {
        return Some(format!("{ids:?} are to be the members, the operator was told {:?}", seen.members));
    }
    if wanted.to_ms.is_none() && seen.members_at_newcomer != voters {
        let told = &seen.members_at_newcomer;
        return Some(format!("{ids:?} are to be the members, the new one's own doors told {told:?}"));
    }
    for store in stores {
        let roster: BTreeSet<u64> = store.roster().borrow().members.iter().map(|member| member.id).collect();
        if roster != ids {
            return Some(format!("{ids:?} are to be the members, replica {} knows {roster:?}", store.id()));
        }
    }
    for host in run.plan.nodes().into_iter().filter(|host| run.retired != Some(*host)) {
        let known = remembered(&setting::node_dir(&run.dir, host));
        if known != ids {
            return Some(format!("{ids:?} are to be the members, the agent on host {host} knows {known:?}"));
        }
    }
    let leader = led.first().and_then(|(_, _, leader)| *leader);
    if leader.is_none() || led.iter().any(|(_, _, other)| *other != leader) {
        return Some(format!("no common leader; (replica, term, leader): {led:?}"));
    }
    let removed = run.plan.leaves().and_then(|(_, host)| run.id_at(host));
    let stays = removed.filter(|id| !seen.removed.contains(id));
    stays.map(|id| format!("replica {id} has not ended, though it was removed"))
}

/// The replicas that an agent remembers.
fn remembered(dir: &Path) -> BTreeSet<u64> {
    let text = std::fs::read(dir.join("replicas.json")).unwrap_or_default();
    let read: Value = serde_json::from_slice(&text).unwrap_or_default();
    let addresses = read.get("addresses").and_then(Value::as_object);
    addresses.into_iter().flatten().filter_map(|(id, _)| id.parse().ok()).collect()
}

/// Where a node is relieved: what is left of it.
fn unrelieved(run: &Run, seen: &Seen, nodes: &[Node]) -> Option<String> {
    let (_, host) = run.plan.relieved()?;
    let name = &setting::names()[host];
    let is_there = nodes.iter().any(|node| node.metadata.name.as_ref() == Some(name));
    let is_done = seen.relief == Relief::Deleted && !is_there;
    (!is_done).then(|| format!("{name} is to be gone; it is among the nodes: {is_there}, and {:?}", seen.relief))
}

/// What all engines have. What was on a node that was switched off for good is gone with it.
pub fn containers(run: &Run) -> Vec<Found> {
    let names = setting::names();
    let of = |(host, engine): (&HostId, &Fake)| {
        let node = names[*host].clone();
        let found = engine.all().into_iter().map(move |container| Found {
            node: node.clone(),
            pod: format!("{}/{}", container.labels.pod_namespace, container.labels.pod_name),
            pod_uid: container.labels.pod_uid,
            is_app: container.labels.role == Role::App,
            runs: matches!(container.state, Life::Running { .. }),
        });
        found.collect::<Vec<_>>()
    };
    run.engines.iter().filter(|(host, _)| run.retired != Some(**host)).flat_map(of).collect()
}

fn objects<T: DeserializeOwned>(state: &State, prefix: &str) -> Vec<T> {
    rows(state, prefix).filter_map(|(_, value)| serde_json::from_slice(&value).ok()).collect()
}

fn rows(state: &State, prefix: &str) -> impl Iterator<Item = (u64, bytes::Bytes)> {
    let all = state.range(prefix.as_bytes(), None).take_while(move |(key, _)| key.starts_with(prefix.as_bytes()));
    all.map(|(_, found)| (found.revision, found.value.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_remembers_is_read_as_it_writes_it() {
        let dir = tempfile::tempdir().unwrap();
        assert!(remembered(dir.path()).is_empty(), "it has not met anybody");
        let text = r#"{"clusterId": "c", "epoch": 0, "index": 9, "addresses": {"2": "b:6443", "5": "newcomer:6443"}}"#;
        std::fs::write(dir.path().join("replicas.json"), text).unwrap();
        assert_eq!(remembered(dir.path()), BTreeSet::from([2, 5]));
    }
}
