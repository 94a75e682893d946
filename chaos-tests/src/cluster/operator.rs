//! The operator, over the SDK: takes a further replica in and gives it a vote, and removes whoever is to go. He goes by what stands in
//! the membership, whatever has become of his earlier orders, and tells the user's clients where the replicas are. `order` decides, the
//! rest acts.

use std::collections::BTreeMap;
use std::time::Duration;

use client::{Client, Error};
use proto::admin::{ListReplicasReply, Replica};
use proto::seam::Env;

use super::plan::{NEWCOMER, Plan};
use super::seen::{Joined, Shared, now_ms};
use super::setting;

const LOOK: Duration = Duration::from_millis(400);
/// The further replica may be down, and there may be an order to give meanwhile.
const NEWCOMER_MAX: Duration = Duration::from_secs(3);

pub struct Operator {
    /// The user's own.
    client: Client,
    /// Of the further replica's doors alone.
    at_newcomer: Client,
    shared: Shared,
}

/// What is wanted of the members at present.
struct Wish {
    /// A further replica.
    is_wanted: bool,
    /// The founder who is to go, once that one votes.
    leaves: Option<u64>,
}

#[derive(Debug, PartialEq, Eq)]
enum Order {
    Add,
    Promote(u64),
    Remove(u64),
}

impl Operator {
    pub fn new(client: Client, env: Env, shared: Shared) -> Operator {
        let config = client::Config { timeout: NEWCOMER_MAX, ..setting::user_of(env, NEWCOMER) };
        let at_newcomer = Client::connect(config).expect("the configuration is good");
        Operator { client, at_newcomer, shared }
    }

    pub async fn run(self) {
        loop {
            tokio::time::sleep(LOOK).await;
            let Some(wish) = wish(&self.shared.plan, now_ms()) else { continue };
            if let Err(error) = self.look(&wish).await {
                self.shared.note(format_args!("the operator: {error}"));
            }
        }
    }

    async fn look(&self, wish: &Wish) -> Result<(), Error> {
        let listed = self.client.replicas().await?;
        // Nobody goes by what may be old.
        if listed.may_be_old {
            return Ok(());
        }
        let addresses: Vec<String> = listed.replicas.iter().map(|replica| replica.client_address.clone()).collect();
        self.client.set_addresses(&addresses);
        self.see(&listed);
        let Some(order) = order(&listed.replicas, wish) else { return self.look_at_newcomer(wish).await };
        self.shared.note(format_args!("the operator orders: {order:?}"));
        match order {
            Order::Add => {
                let (peer, client) = (setting::peer_address(NEWCOMER), setting::door(NEWCOMER));
                self.client.add_replica(&peer, &client).await.map(drop)
            }
            Order::Promote(id) => self.client.promote_replica(id).await,
            Order::Remove(id) => self.client.remove_replica(id).await,
        }
    }

    fn see(&self, listed: &ListReplicasReply) {
        let (joined, members) = (joined(listed), members(listed));
        let mut seen = self.shared.lock();
        if seen.members != members {
            self.shared.note(format_args!("the members, and who votes: {members:?}"));
        }
        seen.members = members;
        // What it was started with stays as it was written down.
        let is_known = |joined: &Joined| seen.joined.as_ref().is_some_and(|known| known.id == joined.id);
        if let Some(joined) = joined.filter(|joined| !is_known(joined)) {
            seen.joined = Some(joined);
        }
    }

    /// Clients reach it at its own doors, and it knows the members, too.
    async fn look_at_newcomer(&self, wish: &Wish) -> Result<(), Error> {
        if wish.is_wanted {
            let listed = self.at_newcomer.replicas().await?;
            if !listed.may_be_old {
                self.shared.lock().members_at_newcomer = members(&listed);
            }
        }
        Ok(())
    }
}

fn wish(plan: &Plan, now_ms: u64) -> Option<Wish> {
    let wanted = plan.newcomer().filter(|wanted| now_ms >= wanted.from_ms)?;
    let is_wanted = wanted.to_ms.is_none_or(|to_ms| now_ms < to_ms);
    Some(Wish { is_wanted, leaves: wanted.replaces.map(|founder| founder as u64 + 1) })
}

fn order(members: &[Replica], wish: &Wish) -> Option<Order> {
    match (wish.is_wanted, further(members)) {
        (true, None) => Some(Order::Add),
        (true, Some(replica)) if !replica.voter => Some(Order::Promote(replica.id)),
        (false, Some(replica)) => Some(Order::Remove(replica.id)),
        (true, Some(_)) => {
            let is_member = |id: &u64| members.iter().any(|replica| replica.id == *id);
            wish.leaves.filter(is_member).map(Order::Remove)
        }
        (false, None) => None,
    }
}

/// Whoever has joined where a further replica belongs.
fn further(members: &[Replica]) -> Option<&Replica> {
    let place = setting::peer_address(NEWCOMER);
    members.iter().find(|replica| replica.peer_address == place)
}

fn joined(listed: &ListReplicasReply) -> Option<Joined> {
    let member = |replica: &Replica| server::Member {
        id: replica.id,
        peer_address: replica.peer_address.clone(),
        client_address: replica.client_address.clone(),
    };
    let members = listed.replicas.iter().map(member).collect();
    further(&listed.replicas).map(|own| Joined { id: own.id, cluster_id: listed.cluster_id.clone(), members })
}

fn members(listed: &ListReplicasReply) -> BTreeMap<u64, bool> {
    listed.replicas.iter().map(|replica| (replica.id, replica.voter)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::plan::{Fault, Kind};

    /// A minus stands for a learner. The replica 4 is where the further one belongs.
    fn listed(ids: &[i64]) -> Vec<Replica> {
        let replica = |id: &i64| {
            let (number, host) =
                (id.unsigned_abs(), if id.abs() == 4 { NEWCOMER } else { id.unsigned_abs() as usize - 1 });
            Replica { id: number, peer_address: setting::peer_address(host), voter: *id > 0, ..Replica::default() }
        };
        ids.iter().map(replica).collect()
    }

    fn ordered(ids: &[i64], at_ms: u64, faults: &[(u64, u64, Kind)]) -> Option<Order> {
        let fault = |(at_ms, for_ms, kind): &(u64, u64, Kind)| Fault { at_ms: *at_ms, for_ms: *for_ms, kind: *kind };
        let plan = Plan { seed: 0, faults: faults.iter().map(fault).collect(), ends_ms: 30_000 };
        order(&listed(ids), &wish(&plan, at_ms)?)
    }

    #[test]
    fn a_guest_joins_is_promoted_and_goes() {
        let guest = [(7_000, 5_000, Kind::Guest)];
        assert_eq!(ordered(&[1, 2, 3], 6_999, &guest), None);
        assert_eq!(ordered(&[1, 2, 3], 7_000, &guest), Some(Order::Add));
        assert_eq!(ordered(&[1, 2, 3, -4], 8_000, &guest), Some(Order::Promote(4)));
        assert_eq!(ordered(&[1, 2, 3, 4], 8_000, &guest), None);
        assert_eq!(ordered(&[1, 2, 3, 4], 12_000, &guest), Some(Order::Remove(4)));
        assert_eq!(ordered(&[1, 2, 3, -4], 12_000, &guest), Some(Order::Remove(4)), "also one that never voted");
        assert_eq!(ordered(&[1, 2, 3], 12_000, &guest), None);
        let stays = [(7_000, 30_000, Kind::Guest)];
        assert_eq!(ordered(&[1, 2, 3, 4], 40_000, &stays), None);
    }

    #[test]
    fn a_founder_goes_once_the_one_in_his_place_votes() {
        let replaced = [(7_000, 0, Kind::Replace(1))];
        assert_eq!(ordered(&[1, 2, 3], 7_000, &replaced), Some(Order::Add));
        assert_eq!(ordered(&[1, 2, 3, -4], 7_000, &replaced), Some(Order::Promote(4)));
        assert_eq!(ordered(&[1, 2, 3, 4], 7_000, &replaced), Some(Order::Remove(2)));
        assert_eq!(ordered(&[1, 3, 4], 40_000, &replaced), None);
    }

    #[test]
    fn a_new_replica_is_configured_with_all_members() {
        let reply = |ids: &[i64]| ListReplicasReply {
            replicas: listed(ids),
            cluster_id: "c".into(),
            ..ListReplicasReply::default()
        };
        assert!(joined(&reply(&[1, 2, 3])).is_none());
        let joined = joined(&reply(&[1, 2, 3, -4])).unwrap();
        let ids: Vec<u64> = joined.members.iter().map(|member| member.id).collect();
        assert_eq!((joined.id, joined.cluster_id.as_str(), ids), (4, "c", vec![1, 2, 3, 4]));
        assert_eq!(members(&reply(&[1, -4])), BTreeMap::from([(1, true), (4, false)]));
    }
}
