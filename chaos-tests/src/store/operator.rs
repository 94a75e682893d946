//! The operator, who changes the members: a further replica joins as a learner and is promoted once it is filled, and whoever
//! is no longer wanted is removed. He goes by what stands in the membership, whatever has become of his earlier orders. Where a
//! leader is cut off for long, somebody there orders it just before to remove who has joined, and is overruled. `order` and
//! `overruled` decide, the rest acts.

use std::time::Duration;

use raft::{Member, MemberChange, MemberStatus, Store};

use super::plan::{First, Host, Kind, Plan};
use super::replica;
use super::run::Run;
use super::seen::Shared;

const LOOK: Duration = Duration::from_millis(400);
const PATIENCE: Duration = Duration::from_secs(2);
/// A leader that is cut off for so long is given an order, so long before: it waits 700 ms for whoever is deaf, and is cut off when it
/// carries the order out. For 800 ms it takes itself for the leader.
const ALONE_MIN_MS: u64 = 1_000;
const ORDERED_MS: u64 = 250;
/// For so long from then on nobody is promoted. Meanwhile another leader overrules the order, and whoever had it is started anew.
const HOLD_MS: u64 = 4_500;

/// What is wanted of the members at present.
struct Wish {
    /// Where a further replica belongs.
    place: Member,
    is_wanted: bool,
    /// It may become a voter.
    may_vote: bool,
    /// The founder who is to go, and what comes first.
    leaves: Option<(u64, First)>,
}

impl Run {
    fn wish(&self) -> Option<Wish> {
        let now_ms = self.world.now().as_millis() as u64;
        let place = replica::member(0, self.plan.replicas as u64 + 1);
        if let Some((_, founder, first)) = self.plan.replaced().filter(|(at_ms, ..)| now_ms >= *at_ms) {
            let leaves = Some((founder as u64 + 1, first));
            return Some(Wish { place, is_wanted: true, may_vote: true, leaves });
        }
        let (from, to) = self.plan.guest().filter(|(from, _)| now_ms >= *from)?;
        let may_vote = overruled(&self.plan).is_none_or(|(from_ms, ..)| now_ms >= from_ms + HOLD_MS);
        Some(Wish { place, is_wanted: (from..to).contains(&now_ms), may_vote, leaves: None })
    }

    /// Where a leader is about to be cut off.
    fn alone(&self) -> Option<Host> {
        let now_ms = self.world.now().as_millis() as u64;
        let is_near = |from_ms: u64| (from_ms.saturating_sub(ORDERED_MS)..from_ms).contains(&now_ms);
        let (.., host) = overruled(&self.plan).filter(|(from_ms, ..)| is_near(*from_ms))?;
        Some(host)
    }

    /// Whoever is about to be cut off is ordered to remove who has joined.
    pub fn order_in_vain(&mut self) {
        let Some((host, wish)) = self.alone().zip(self.wish()) else { return };
        let shared = self.shared.clone();
        self.with_store(host, move |store| dismiss(store, shared, wish.place));
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

/// Removes whoever has joined at this place: before that is done, nobody but this replica hears of it.
async fn dismiss(store: Store, shared: Shared, place: Member) {
    let has_joined = |member: &&Member| member.peer_address == place.peer_address;
    let joined = store.roster().borrow().members.iter().find(has_joined).map(|member| member.id);
    let leads = store.standing().borrow().leads_in_term.is_some();
    let Some(id) = joined.filter(|_| leads) else { return };
    shared.note(format_args!("replica {} is to be cut off, and to remove replica {id}", store.id()));
    let done = store.change_members(MemberChange::Remove { id }, PATIENCE).await;
    shared.note(format_args!("the removal of replica {id} where nobody hears of it: {done:?}"));
}

/// From when to when a leader is cut off for so long that an order is given there, and on which host.
fn overruled(plan: &Plan) -> Option<(u64, u64, Host)> {
    plan.faults.iter().find_map(|fault| match fault.kind {
        Kind::Overrule(host, ..) if fault.for_ms >= ALONE_MIN_MS => {
            Some((fault.at_ms, fault.at_ms + fault.for_ms, host))
        }
        _ => None,
    })
}

fn order(members: &[MemberStatus], wish: &Wish) -> Option<MemberChange> {
    let Member { peer_address, client_address, .. } = wish.place.clone();
    let found = members.iter().find(|status| status.member.peer_address == peer_address);
    let comes = match (wish.is_wanted, found) {
        (true, None) => Some(MemberChange::Add { peer_address, client_address }),
        (true, Some(status)) if !status.voter && wish.may_vote => Some(MemberChange::Promote { id: status.member.id }),
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
        ordered_by(members, &Wish { place: replica::member(0, 4), is_wanted, may_vote: true, leaves })
    }

    fn ordered_by(members: &[i64], wish: &Wish) -> Option<MemberChange> {
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
        order(&members, wish)
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
    fn while_an_order_is_being_overruled_a_guest_joins_and_goes_and_is_not_promoted() {
        let by = |members: &[i64], is_wanted| {
            ordered_by(members, &Wish { place: replica::member(0, 4), is_wanted, may_vote: false, leaves: None })
        };
        assert!(matches!(by(&[1, 2, 3], true), Some(MemberChange::Add { .. })));
        assert_eq!(by(&[1, 2, 3, -4], true), None);
        assert_eq!(by(&[1, 2, 3, -4], false), Some(MemberChange::Remove { id: 4 }));
    }

    #[test]
    fn an_order_is_overruled_between_the_joining_of_a_guest_and_its_promotion() {
        let plans: Vec<Plan> = (0..400).map(Plan::new).filter(|plan| overruled(plan).is_some()).collect();
        assert_eq!(plans.len(), 10, "one in forty");
        for plan in plans {
            let (from_ms, to_ms, _) = overruled(&plan).unwrap();
            let (joins_ms, goes_ms) = plan.guest().expect("somebody joins");
            let promoted_ms = from_ms + HOLD_MS;
            assert!(joins_ms + 2_000 < from_ms && to_ms + 2_000 < promoted_ms, "seed {}", plan.seed);
            assert!(promoted_ms + 4_000 < goes_ms, "seed {}", plan.seed);
            assert!(plan.odd().is_none() && plan.replaced().is_none(), "seed {}", plan.seed);
        }
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
