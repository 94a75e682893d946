//! The claims that go with a Service: its address and node ports, taken and released in the Service's own command.
//! Decides; which are free is read from the state.

use api::kinds::Kind;
use api::kinds::service::{self, Claim};
use api::status::Status;
use raft::{Action, Op, Precondition, State};

/// An admitted object completed by what only the state can give, and the ops that must go with it.
pub(super) struct Completed {
    pub object: Vec<u8>,
    pub also: Vec<Op>,
}

/// Other kinds than Services stay as they are.
pub(super) fn complete(
    kind: &Kind,
    state: &State,
    admitted: Vec<u8>,
    old: Option<&[u8]>,
    random: u64,
) -> Result<Completed, Status> {
    if !is_service(kind) {
        return Ok(Completed { object: admitted, also: Vec::new() });
    }
    let is_taken = |claim: Claim| state.get(&claim.key().encode()).is_some();
    let allocation = service::allocate(&admitted, old, &is_taken, random)?;
    let uid = api::object::meta(&allocation.object).map_err(Status::internal)?.uid;
    let take = allocation.take.iter().map(|claim| Op {
        key: claim.key().encode().into(),
        precondition: Precondition::Absent,
        action: Action::Put(uid.clone().into_bytes().into()),
    });
    let also = take.chain(release(&allocation.release)).collect();
    Ok(Completed { object: allocation.object, also })
}

/// What a removed object gives back.
pub(super) fn released(kind: &Kind, stored: &[u8]) -> Vec<Op> {
    if is_service(kind) { release(&service::held(stored)).collect() } else { Vec::new() }
}

fn is_service(kind: &Kind) -> bool {
    kind.group.is_empty() && kind.plural == "services"
}

fn release(claims: &[Claim]) -> impl Iterator<Item = Op> {
    claims.iter().map(|claim| Op {
        key: claim.key().encode().into(),
        precondition: Precondition::Any,
        action: Action::Delete,
    })
}
