//! Changes of the members, and what comes of them, as messages. Pure.

use proto::peer::change_reply::Result as Reply;
use proto::peer::change_request::Change as Asked;
use proto::peer::{ChangeReply, ChangeRequest, NotLeader};

use super::plan::MemberChange;

/// What the leader, or who was taken for it, made of a change.
pub enum Answered {
    Done(u64),
    Refused(String),
    NotLeader,
    Unknown(String),
}

pub fn out(change: &MemberChange) -> ChangeRequest {
    let place = |peer: &String, client: &String| proto::peer::Place {
        peer_address: peer.clone(),
        client_address: client.clone(),
    };
    ChangeRequest {
        change: Some(match change {
            MemberChange::Add { peer_address, client_address } => Asked::Add(place(peer_address, client_address)),
            MemberChange::Promote { id } => Asked::Promote(*id),
            MemberChange::Remove { id } => Asked::Remove(*id),
            MemberChange::Move { id, peer_address, client_address } => {
                Asked::Move(proto::peer::Move { id: *id, place: Some(place(peer_address, client_address)) })
            }
            MemberChange::Transfer { to } => Asked::Transfer(to.unwrap_or(0)),
        }),
    }
}

/// `None`: it asks for nothing that this version knows.
pub fn read(request: ChangeRequest) -> Option<MemberChange> {
    Some(match request.change? {
        Asked::Add(place) => {
            MemberChange::Add { peer_address: place.peer_address, client_address: place.client_address }
        }
        Asked::Promote(id) => MemberChange::Promote { id },
        Asked::Remove(id) => MemberChange::Remove { id },
        Asked::Move(moved) => {
            let place = moved.place?;
            let (peer_address, client_address) = (place.peer_address, place.client_address);
            MemberChange::Move { id: moved.id, peer_address, client_address }
        }
        Asked::Transfer(to) => MemberChange::Transfer { to: Some(to).filter(|to| *to > 0) },
    })
}

impl Answered {
    pub fn of(reply: ChangeReply) -> Answered {
        match reply.result {
            Some(Reply::Done(id)) => Answered::Done(id),
            Some(Reply::Refused(why)) => Answered::Refused(why),
            Some(Reply::NotLeader(_)) => Answered::NotLeader,
            Some(Reply::Unknown(why)) => Answered::Unknown(why),
            None => Answered::Unknown("the leader's answer cannot be read".into()),
        }
    }

    pub fn reply(self) -> ChangeReply {
        let result = match self {
            Answered::Done(id) => Reply::Done(id),
            Answered::Refused(why) => Reply::Refused(why),
            Answered::NotLeader => Reply::NotLeader(NotLeader {}),
            Answered::Unknown(why) => Reply::Unknown(why),
        };
        ChangeReply { result: Some(result) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_arrives_as_it_was_sent() {
        let (peer_address, client_address) = ("a:1".to_owned(), "a:2".to_owned());
        for change in [
            MemberChange::Add { peer_address: peer_address.clone(), client_address: client_address.clone() },
            MemberChange::Promote { id: 4 },
            MemberChange::Remove { id: 4 },
            MemberChange::Move { id: 4, peer_address, client_address },
            MemberChange::Transfer { to: Some(4) },
            MemberChange::Transfer { to: None },
        ] {
            assert_eq!(read(out(&change)).as_ref(), Some(&change));
        }
        assert!(read(ChangeRequest { change: None }).is_none());
    }
}
