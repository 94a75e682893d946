//! A replica that comes and goes: an operator takes it in as a learner, promotes it once it is filled, and removes it. He
//! goes by what stands in the membership, whatever has become of his earlier orders. Acts.

use std::time::Duration;

use raft::{MemberChange, Store};

use super::replica;
use super::run::Run;
use super::seen::Shared;

const LOOK: Duration = Duration::from_millis(400);
const PATIENCE: Duration = Duration::from_secs(2);

impl Run {
    /// `by`: the replica that is asked.
    pub fn see_to_guest(&mut self, by: usize) {
        let now_ms = self.world.now().as_millis() as u64;
        let Some((from, to)) = self.plan.guest().filter(|(from, _)| now_ms >= *from) else { return };
        let (host, is_wanted) = (self.plan.replicas, (from..to).contains(&now_ms));
        let shared = self.shared.clone();
        self.with_store(by, move |store| operate(store, shared, host as u64 + 1, is_wanted));
        let id = self.shared.lock().guest;
        if let Some(id) = id.filter(|_| is_wanted && !self.world.runs(host)) {
            self.boot_as(host, id);
        }
    }
}

async fn operate(store: Store, shared: Shared, host: u64, is_wanted: bool) {
    let place = replica::member(0, host);
    let members = store.members(LOOK).await;
    let found = members.iter().find(|status| status.member.peer_address == place.peer_address);
    let change = match (is_wanted, found) {
        (true, None) => MemberChange::Add { peer_address: place.peer_address, client_address: place.client_address },
        (true, Some(status)) if !status.voter => {
            shared.lock().guest = Some(status.member.id);
            MemberChange::Promote { id: status.member.id }
        }
        (false, Some(status)) => MemberChange::Remove { id: status.member.id },
        (true, Some(_)) | (false, None) => return,
    };
    let done = store.change_members(change.clone(), PATIENCE).await;
    shared.note(format_args!("{change:?}: {done:?}"));
}
