//! What the members that run say of themselves to one of their own that does not. Acts; what an answer means is pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proto::peer::{DescribeReply, DescribeRequest};

use crate::members::Member;
use crate::peer::channels::{self, Channels, Lane};
use crate::peer::door;
use crate::standing::Role;

/// What a member that runs says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub last_term: u64,
    pub last_index: u64,
    pub applied_index: u64,
    /// It takes itself for the leader. One that is cut off from the others goes on doing so.
    pub leads: bool,
    /// It is new, was emptied, or lost data, and was not filled since: it does not vote.
    pub abstains: bool,
    /// Why it takes no part now, in its own words: for a while (no room on its disk), or for good (fenced).
    pub idle: Option<String>,
}

impl Answer {
    fn of(reply: DescribeReply) -> Answer {
        let DescribeReply { role, applied_index, last, abstains, trouble, serves, .. } = reply;
        let last = last.unwrap_or_default();
        Answer {
            last_term: last.term,
            last_index: last.index,
            applied_index,
            leads: Role::named(&role) == Some(Role::Leader),
            abstains,
            // One of an older version never says that it serves.
            idle: Some(trouble).filter(|trouble| !serves && !trouble.is_empty()),
        }
    }
}

/// Asks these members, by the identity of one of their own. Who does not answer in time is left out. `Err` in the map: the
/// cluster lives on without the one who asks, and why.
pub async fn ask(
    members: &[Member],
    cluster_id: &str,
    identity: &proto::tls::Identity,
    net: Arc<dyn proto::seam::Net>,
    within: Duration,
) -> Result<BTreeMap<u64, Result<Answer, String>>, channels::Error> {
    let channels = Channels::new(net, identity, cluster_id)?;
    let asked = members.iter().map(|member| async {
        let mut client = channels.client(member.id, &member.peer_address, Lane::Control);
        match tokio::time::timeout(within, client.describe(DescribeRequest {})).await.ok()? {
            Ok(reply) => Some((member.id, Ok(Answer::of(reply.into_inner())))),
            Err(status) => Some((member.id, Err(door::expelled(&status)?))),
        }
    });
    Ok(futures::future::join_all(asked).await.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_does_not_serve_takes_no_part() {
        let (quiet, troubled) = (String::new(), "there is little room on its disk".to_owned());
        for (serves, trouble, idle) in [
            (true, &quiet, None),
            (true, &troubled, None),
            (false, &troubled, Some(troubled.clone())),
            // Of an older version.
            (false, &quiet, None),
        ] {
            let reply = DescribeReply { serves, trouble: trouble.clone(), ..DescribeReply::default() };
            assert_eq!(Answer::of(reply).idle, idle, "{serves} {trouble:?}");
        }
    }

    #[test]
    fn a_follower_does_not_lead_though_it_knows_who_does() {
        for (role, leads) in [("leader", true), ("follower", false), ("candidate", false), ("learner", false)] {
            let reply = DescribeReply { role: role.into(), leader: 1, ..DescribeReply::default() };
            assert_eq!(Answer::of(reply).leads, leads, "{role}");
        }
    }
}
