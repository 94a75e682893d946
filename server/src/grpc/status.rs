//! `kontiki status`: what this replica knows of the replicas and nodes, without needing a leader. Acts (asks the peers).

use k8s_openapi::api::core::v1::Node;
use proto::api as wire;

use super::{Door, STATUS_DEADLINE};

pub async fn status(door: &Door) -> wire::StatusReply {
    let members = door.store.members(STATUS_DEADLINE).await;
    let Head { term, leader, index } = head(&members);
    let answered_by = door.store.standing().borrow().id;
    let replicas = members.into_iter().map(|member| wire::ReplicaStatus {
        id: member.member.id,
        address: member.member.client_address,
        role: role(member.role, Some(member.member.id) == leader).into(),
        applied_index: member.applied_index.unwrap_or_default(),
        lag: member.applied_index.map_or(-1, |applied| index.saturating_sub(applied) as i64),
        reachable: member.reachable,
        trouble: member.trouble.unwrap_or_default(),
    });
    wire::StatusReply {
        leader: leader.unwrap_or_default(),
        term,
        replicas: replicas.collect(),
        nodes: nodes(&door.store.state()),
        answered_by,
        cluster_id: door.cluster_id.to_string(),
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

fn nodes(state: &raft::State) -> Vec<wire::NodeStatus> {
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
}
