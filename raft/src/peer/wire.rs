//! Between openraft's types and the messages of peer.proto. Pure.

use std::io;

use bytes::Bytes;
use openraft::EntryPayload;
use openraft::raft::{AppendEntriesRequest, StreamAppendError, StreamAppendResult, VoteRequest, VoteResponse};
use openraft::vote::RaftLeaderId as _;
use prost::Message as _;
use proto::peer;

use crate::types::{Entry, LogId, Membership, Proposal, StoredMembership, Types, Vote, log_id, term_of};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("a peer's message lacks {0}")]
    Missing(&'static str),
    #[error("a membership cannot be read")]
    Membership(#[source] postcard::Error),
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> tonic::Status {
        tonic::Status::invalid_argument(error.to_string())
    }
}

pub fn vote_out(vote: &Vote) -> peer::Vote {
    peer::Vote { term: vote.leader_id.term, replica: vote.leader_id.voted_for, committed: vote.committed }
}

pub fn vote_in(vote: Option<peer::Vote>) -> Result<Vote, Error> {
    let vote = vote.ok_or(Error::Missing("its vote"))?;
    let leader_id = openraft::type_config::alias::LeaderIdOf::<Types>::new(vote.term, vote.replica);
    Ok(Vote { leader_id, committed: vote.committed })
}

pub fn log_id_out(at: &LogId) -> peer::LogId {
    peer::LogId { term: term_of(at), index: at.index }
}

pub fn log_id_in(at: peer::LogId) -> LogId {
    log_id(at.term, at.index)
}

pub fn membership_out(membership: &Membership) -> Bytes {
    postcard::to_stdvec(membership).expect("a membership has an encoding").into()
}

pub fn membership_in(bytes: &[u8]) -> Result<Membership, Error> {
    postcard::from_bytes(bytes).map_err(Error::Membership)
}

pub fn stored_membership_in(at: Option<peer::LogId>, bytes: &[u8]) -> Result<StoredMembership, Error> {
    Ok(StoredMembership::new(at.map(log_id_in), membership_in(bytes)?))
}

pub fn entry_out(entry: &Entry) -> peer::Entry {
    let payload = match &entry.payload {
        EntryPayload::Blank => None,
        EntryPayload::Normal(proposal) => Some(peer::entry::Payload::Command(proposal.0.clone())),
        EntryPayload::Membership(membership) => Some(peer::entry::Payload::Membership(membership_out(membership))),
    };
    peer::Entry { term: term_of(&entry.log_id), index: entry.log_id.index, payload }
}

pub fn entry_in(entry: peer::Entry) -> Result<Entry, Error> {
    let payload = match entry.payload {
        None => EntryPayload::Blank,
        Some(peer::entry::Payload::Command(bytes)) => EntryPayload::Normal(Proposal(bytes)),
        Some(peer::entry::Payload::Membership(bytes)) => EntryPayload::Membership(membership_in(&bytes)?),
    };
    Ok(Entry { log_id: log_id(entry.term, entry.index), payload })
}

/// The body of a log record on disk: the same encoding as on the wire.
pub fn entry_to_disk(entry: &Entry, buffer: &mut Vec<u8>) {
    entry_out(entry).encode(buffer).expect("a vector has room");
}

pub fn entry_from_disk(body: Bytes) -> io::Result<Entry> {
    let entry = peer::Entry::decode(body).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    entry_in(entry).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

pub fn append_out(request: &AppendEntriesRequest<Types>) -> peer::AppendRequest {
    peer::AppendRequest {
        vote: Some(vote_out(&request.vote)),
        previous: request.prev_log_id.as_ref().map(log_id_out),
        committed: request.leader_commit.as_ref().map(log_id_out),
        entries: request.entries.iter().map(entry_out).collect(),
        ask: None,
    }
}

pub fn append_in(request: peer::AppendRequest) -> Result<AppendEntriesRequest<Types>, Error> {
    Ok(AppendEntriesRequest {
        vote: vote_in(request.vote)?,
        prev_log_id: request.previous.map(log_id_in),
        leader_commit: request.committed.map(log_id_in),
        entries: request.entries.into_iter().map(entry_in).collect::<Result<_, _>>()?,
    })
}

pub fn appended_out(result: &StreamAppendResult<Types>) -> peer::AppendReply {
    use peer::append_reply::Result as Out;
    let result = match result {
        Ok(matched) => Out::Matched(peer::Matched { log_id: matched.as_ref().map(log_id_out) }),
        Err(StreamAppendError::Conflict(at)) => Out::Conflict(log_id_out(at)),
        Err(StreamAppendError::HigherVote(vote)) => Out::HigherVote(vote_out(vote)),
    };
    peer::AppendReply { result: Some(result), report: None }
}

pub fn appended_in(reply: peer::AppendReply) -> Result<StreamAppendResult<Types>, Error> {
    use peer::append_reply::Result as In;
    Ok(match reply.result.ok_or(Error::Missing("its result"))? {
        In::Matched(matched) => Ok(matched.log_id.map(log_id_in)),
        In::Conflict(at) => Err(StreamAppendError::Conflict(log_id_in(at))),
        In::HigherVote(vote) => Err(StreamAppendError::HigherVote(vote_in(Some(vote))?)),
    })
}

pub fn vote_request_out(request: &VoteRequest<Types>) -> peer::VoteRequest {
    peer::VoteRequest {
        vote: Some(vote_out(&request.vote)),
        last: request.last_log_id.as_ref().map(log_id_out),
        leadership_transfer: request.leadership_transfer,
    }
}

pub fn vote_request_in(request: peer::VoteRequest) -> Result<VoteRequest<Types>, Error> {
    let mut out = VoteRequest::new(vote_in(request.vote)?, request.last.map(log_id_in));
    out.leadership_transfer = request.leadership_transfer;
    Ok(out)
}

pub fn vote_reply_out(reply: &VoteResponse<Types>) -> peer::VoteReply {
    peer::VoteReply {
        vote: Some(vote_out(&reply.vote)),
        last: reply.last_log_id.as_ref().map(log_id_out),
        granted: reply.vote_granted,
    }
}

pub fn vote_reply_in(reply: peer::VoteReply) -> Result<VoteResponse<Types>, Error> {
    Ok(VoteResponse::new(vote_in(reply.vote)?, reply.last.map(log_id_in), reply.granted))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::types::Place;

    #[test]
    fn entries_survive_the_way_to_disk_and_back() {
        let place = Place { peer_address: "a:1".into(), client_address: "a:2".into() };
        let membership = Membership::new(vec![BTreeSet::from([1])], BTreeMap::from([(1, place)])).unwrap();
        let payloads = [
            EntryPayload::Blank,
            EntryPayload::Normal(Proposal(Bytes::from_static(b"some command"))),
            EntryPayload::Normal(Proposal(Bytes::new())),
            EntryPayload::Membership(membership),
        ];
        for (index, payload) in payloads.into_iter().enumerate() {
            let entry = Entry { log_id: log_id(3, index as u64), payload };
            let mut body = Vec::new();
            entry_to_disk(&entry, &mut body);
            assert_eq!(entry_from_disk(body.into()).unwrap(), entry);
        }
    }

    #[test]
    fn append_results_survive_the_wire() {
        let vote = vote_in(Some(peer::Vote { term: 3, replica: 2, committed: true })).unwrap();
        let results: [StreamAppendResult<Types>; 4] = [
            Ok(None),
            Ok(Some(log_id(0, 0))),
            Err(StreamAppendError::Conflict(log_id(2, 9))),
            Err(StreamAppendError::HigherVote(vote)),
        ];
        for result in results {
            assert_eq!(appended_in(appended_out(&result)).unwrap(), result);
        }
    }

    #[test]
    fn a_message_without_its_vote_is_refused() {
        assert!(append_in(peer::AppendRequest::default()).is_err());
        assert!(appended_in(peer::AppendReply::default()).is_err());
    }
}
