//! `kontiki status`: what this replica knows of the replicas and nodes, without needing a leader. Acts (asks the peers).

use k8s_openapi::api::core::v1::Node;
use proto::api as wire;

use super::{Door, STATUS_DEADLINE};

pub async fn status(door: &Door) -> wire::StatusReply {
    let members = door.store.members(STATUS_DEADLINE).await;
    let head = head(&members);
    let answered_by = door.store.standing().borrow().id;
    let state = door.store.state();
    let (revision, state_digest) = (state.revision(), state.digest());
    wire::StatusReply {
        leader: head.leader.unwrap_or_default(),
        term: head.term,
        replicas: members.into_iter().map(|member| replica(member, &head)).collect(),
        nodes: nodes(state).await,
        answered_by,
        cluster_id: door.cluster_id.to_string(),
        revision,
        state_digest,
    }
}

fn replica(status: raft::MemberStatus, head: &Head) -> wire::ReplicaStatus {
    let leads = Some(status.member.id) == head.leader;
    wire::ReplicaStatus {
        id: status.member.id,
        address: status.member.client_address,
        role: role(status.role, leads).into(),
        applied_index: status.applied_index.unwrap_or_default(),
        lag: status.applied_index.map_or(-1, |applied| head.index.saturating_sub(applied) as i64),
        reachable: status.reachable,
        trouble: status.trouble.unwrap_or_default(),
        term: status.term,
        leader: status.leader.unwrap_or_default(),
    }
}

/// What the replicas say of the cluster, taken together.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    pub term: u64,
    pub leader: Option<u64>,
    /// To hold the others' applied index against.
    pub index: u64,
}

/// The newest term's word counts: a leader that was frozen, and not told yet that it leads no more, is overruled by any
/// replica that knows.
pub fn head(members: &[raft::MemberStatus]) -> Head {
    let term = members.iter().map(|member| member.term).max().unwrap_or_default();
    let known = members.iter().filter_map(|member| Some((member.term, member.leader?))).max();
    // A leader that does not answer leads nobody.
    let reachable = |id: u64| members.iter().any(|member| member.member.id == id && member.reachable);
    let leader = known.map(|(_, id)| id).filter(|id| reachable(*id));
    let newest = members.iter().filter_map(|member| member.applied_index).max().unwrap_or_default();
    let of_leader = members.iter().find(|member| Some(member.member.id) == leader);
    Head { term, leader, index: of_leader.and_then(|member| member.applied_index).unwrap_or(newest) }
}

pub fn role(role: Option<raft::Role>, leads: bool) -> &'static str {
    match role {
        Some(raft::Role::Leader) if leads => "leader",
        // It has not heard yet that another one leads.
        Some(raft::Role::Leader) => "follower",
        Some(raft::Role::Follower) => "follower",
        Some(raft::Role::Candidate) => "candidate",
        Some(raft::Role::Learner) => "learner",
        None => "unknown",
    }
}

/// Reading all Pods takes long where they are many: not on a thread that others wait for.
async fn nodes(state: raft::State) -> Vec<wire::NodeStatus> {
    match proto::seam::apart(move || read_nodes(&state)).await {
        Ok(nodes) => nodes,
        Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
        // The process ends.
        Err(_) => std::future::pending().await,
    }
}

fn read_nodes(state: &raft::State) -> Vec<wire::NodeStatus> {
    let mut pods = std::collections::BTreeMap::<String, u32>::new();
    for (_, pod) in state.range(&api::Key::prefix("", "pods", ""), None) {
        if let Some(node) = bound_to(&pod.value) {
            *pods.entry(node).or_default() += 1;
        }
    }
    let stored = state.range(&api::Key::prefix("", "nodes", ""), None);
    stored
        .filter_map(|(_, node)| serde_json::from_slice::<Node>(&node.value).ok())
        .map(|node| describe(node, &pods))
        .collect()
}

/// The node of a Pod, without reading the rest of it.
fn bound_to(pod: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Pod {
        spec: Spec,
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Spec {
        node_name: Option<String>,
    }
    serde_json::from_slice::<Pod>(pod).ok()?.spec.node_name
}

fn describe(node: Node, pods: &std::collections::BTreeMap<String, u32>) -> wire::NodeStatus {
    let name = node.metadata.name.unwrap_or_default();
    let status = node.status.unwrap_or_default();
    let ready = status.conditions.iter().flatten().find(|condition| condition.type_ == "Ready");
    let is_ready = ready.is_some_and(|condition| condition.status == "True");
    let reason = match ready {
        Some(_) if is_ready => String::new(),
        Some(condition) => condition.message.clone().or(condition.reason.clone()).unwrap_or_default(),
        None => "its agent has not been heard yet".into(),
    };
    let address = status.addresses.iter().flatten().find(|address| address.type_ == "InternalIP");
    wire::NodeStatus {
        ready: is_ready,
        reason,
        address: address.map(|address| address.address.clone()).unwrap_or_default(),
        pods: pods.get(&name).copied().unwrap_or_default(),
        name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(id: u64, term: u64, leader: u64, applied: u64) -> raft::MemberStatus {
        raft::MemberStatus {
            member: raft::Member { id, peer_address: String::new(), client_address: String::new() },
            role: None,
            applied_index: Some(applied),
            reachable: true,
            term,
            leader: Some(leader).filter(|id| *id > 0),
            trouble: None,
            serves: true,
            repair: raft::Repair::None,
            voter: true,
            filling: false,
        }
    }

    fn silent(id: u64) -> raft::MemberStatus {
        raft::MemberStatus { applied_index: None, reachable: false, ..said(id, 0, 0, 0) }
    }

    #[test]
    fn a_leader_that_was_frozen_does_not_count_as_one() {
        let members = [said(1, 4, 1, 70), said(2, 5, 2, 90), said(3, 5, 2, 89)];
        assert_eq!(head(&members), Head { term: 5, leader: Some(2), index: 90 });
    }

    #[test]
    fn who_does_not_answer_leads_nobody() {
        let members = [silent(1), said(2, 4, 1, 90), said(3, 4, 1, 91)];
        assert_eq!(head(&members), Head { term: 4, leader: None, index: 91 });
        let members = [silent(1), said(2, 5, 0, 90), said(3, 4, 1, 91)];
        assert_eq!(head(&members), Head { term: 5, leader: None, index: 91 });
    }

    #[test]
    fn the_nodes_and_their_pods_are_read_where_nobody_is_held_up() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build();
        runtime.unwrap().block_on(async {
            // The only thread for what takes long has something else to do.
            let (ends, end) = std::sync::mpsc::channel::<()>();
            let busy = tokio::task::spawn_blocking(move || end.recv());
            let mut reading = Box::pin(nodes(raft::State::default()));
            assert!(futures::poll!(&mut reading).is_pending(), "it was read on the thread that all others need");
            drop(ends);
            assert!(reading.await.is_empty());
            assert!(busy.await.unwrap().is_err());
        });
    }

    #[test]
    fn of_each_its_own_word_on_who_leads_is_told() {
        let members = [said(1, 4, 1, 70), said(2, 5, 2, 90), silent(3)];
        let head = head(&members);
        let told = members.map(|member| replica(member, &head));
        assert_eq!(told.map(|replica| (replica.term, replica.leader)), [(4, 1), (5, 2), (0, 0)]);
    }

    #[test]
    fn what_is_the_matter_with_one_that_serves_no_more_is_told() {
        let why = "its data is damaged (log entry 5 is corrupt), and it takes no part: a restart repairs it";
        let ended = raft::MemberStatus { trouble: Some(why.into()), serves: false, ..said(3, 4, 0, 70) };
        let members = [said(1, 5, 1, 90), ended];
        let head = head(&members);
        assert_eq!(members.map(|member| replica(member, &head).trouble), ["", why]);
    }
}
