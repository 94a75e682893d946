//! The operator, who changes the members: a further replica joins as a learner and is promoted once it is filled, and whoever
//! is no longer wanted is removed. He goes by what stands in the membership, whatever has become of his earlier orders.
//! `order` decides, the rest acts.

use std::time::Duration;

use raft::{Member, MemberChange, MemberStatus, Store};

use super::plan::{First, Host};
use super::replica;
use super::run::Run;
use super::seen::Shared;

const LOOK: Duration = Duration::from_millis(400);
const PATIENCE: Duration = Duration::from_secs(2);

/// What is wanted of the members at present.
struct Wish {
    /// Where a further replica belongs.
    place: Member,
    is_wanted: bool,
    /// The founder who is to go, and what comes first.
    leaves: Option<(u64, First)>,
}

impl Run {
    fn wish(&self) -> Option<Wish> {
        let now_ms = self.world.now().as_millis() as u64;
        let place = replica::member(0, self.plan.replicas as u64 + 1);
        if let Some((_, founder, first)) = self.plan.replaced().filter(|(at_ms, ..)| now_ms >= *at_ms) {
            return Some(Wish { place, is_wanted: true, leaves: Some((founder as u64 + 1, first)) });
        }
        let (from, to) = self.plan.guest().filter(|(from, _)| now_ms >= *from)?;
        Some(Wish { place, is_wanted: (from..to).contains(&now_ms), leaves: None })
    }

    /// `by`: the host whose replica is asked.
    pub fn see_to_members(&mut self, by: Host) {
        let Some(wish) = self.wish() else { return };
        let (host, is_wanted, shared) = (self.plan.replicas, wish.is_wanted, self.shared.clone());
        self.with_store(by, move |store| operate(store, shared, wish));
        let joins = self.shared.lock().newcomer.filter(|id| is_wanted && self.newcomer != Some(*id));
        let Some(id) = joins else { return };
        // That it joined under another id before was overruled.
        if self.newcomer.is_some() {
            self.crash(host, true);
            self.platters[host].replace();
        }
        self.newcomer = Some(id);
        self.boot(host);
    }
}

async fn operate(store: Store, shared: Shared, wish: Wish) {
    let members = store.members(LOOK).await;
    let Some(change) = order(&members, &wish) else { return };
    if let MemberChange::Promote { id } = change {
        shared.lock().newcomer = Some(id);
    }
    let done = store.change_members(change.clone(), PATIENCE).await;
    shared.note(format_args!("{change:?}: {done:?}"));
}

fn order(members: &[MemberStatus], wish: &Wish) -> Option<MemberChange> {
    let Member { peer_address, client_address, .. } = wish.place.clone();
    let found = members.iter().find(|status| status.member.peer_address == peer_address);
    let comes = match (wish.is_wanted, found) {
        (true, None) => Some(MemberChange::Add { peer_address, client_address }),
        (true, Some(status)) if !status.voter => Some(MemberChange::Promote { id: status.member.id }),
        (false, Some(status)) => Some(MemberChange::Remove { id: status.member.id }),
        (true, Some(_)) | (false, None) => None,
    };
    let leaves = wish.leaves.filter(|(id, _)| members.iter().any(|status| status.member.id == *id));
    match leaves {
        Some((id, First::Leave)) => Some(MemberChange::Remove { id }),
        Some((id, First::Join)) => comes.or(Some(MemberChange::Remove { id })),
        None => comes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A minus stands for a learner. The replica 4 is where the further one belongs.
    fn ordered(members: &[i64], is_wanted: bool, leaves: Option<(u64, First)>) -> Option<MemberChange> {
        let status = |id: &i64| MemberStatus {
            member: replica::member(id.unsigned_abs(), id.unsigned_abs()),
            role: None,
            applied_index: None,
            reachable: true,
            term: 1,
            leader: Some(2),
            trouble: None,
            voter: *id > 0,
            filling: false,
            serves: true,
            repair: raft::Repair::None,
        };
        let members: Vec<MemberStatus> = members.iter().map(status).collect();
        order(&members, &Wish { place: replica::member(0, 4), is_wanted, leaves })
    }

    #[test]
    fn a_guest_joins_is_promoted_and_goes() {
        let place = replica::member(0, 4);
        let add = MemberChange::Add { peer_address: place.peer_address, client_address: place.client_address };
        assert_eq!(ordered(&[1, 2, 3], true, None), Some(add));
        assert_eq!(ordered(&[1, 2, 3, -4], true, None), Some(MemberChange::Promote { id: 4 }));
        assert_eq!(ordered(&[1, 2, 3, 4], true, None), None);
        assert_eq!(ordered(&[1, 2, 3, 4], false, None), Some(MemberChange::Remove { id: 4 }));
        assert_eq!(ordered(&[1, 2, 3], false, None), None);
    }

    #[test]
    fn a_founder_goes_before_the_new_one_joins_or_after() {
        let remove = Some(MemberChange::Remove { id: 1 });
        let promote = Some(MemberChange::Promote { id: 4 });
        for (first, both, joining) in
            [(First::Join, promote.clone(), promote.clone()), (First::Leave, remove.clone(), promote)]
        {
            let leaves = Some((1, first));
            assert_eq!(ordered(&[1, 2, 3, -4], true, leaves), both);
            assert_eq!(ordered(&[2, 3, -4], true, leaves), joining);
            assert_eq!(ordered(&[1, 2, 3, 4], true, leaves), remove);
            assert_eq!(ordered(&[2, 3, 4], true, leaves), None);
        }
    }
}
