//! What must hold once all faults have ended: every replica is well, all have one state, no process fell over. Acts (asks);
//! [`unwell`] decides.

use std::path::Path;
use std::time::Duration;

use client::Client;
use proto::api::StatusReply;
use raft::{Revision, backup};

/// A replica may lag this far behind under load.
const LAG_MAX: i64 = 200;
const STATES_TRIES: u32 = 40;
const STATES_PAUSE: Duration = Duration::from_millis(500);
const ASK_MAX: Duration = Duration::from_secs(3);

/// What is wrong with the cluster, as its replicas see it: with all, or with one of them.
#[derive(Debug, PartialEq, Eq)]
pub enum Unwell {
    All(String),
    Replica(u64, String),
}

/// The leader that all agree on, if nothing is wrong. `replies`: of every replica, in the order of their ids.
pub fn unwell(replies: &[Result<StatusReply, String>]) -> Result<u64, Unwell> {
    let mut leaders = Vec::new();
    for (reply, id) in replies.iter().zip(1..) {
        let reply = reply.as_ref().map_err(|why| Unwell::Replica(id, why.clone()))?;
        let of = |replica: &proto::api::ReplicaStatus, why: &str| Unwell::Replica(replica.id, why.to_owned());
        for replica in &reply.replicas {
            if !replica.trouble.is_empty() {
                return Err(of(replica, &replica.trouble));
            }
        }
        if let Some(replica) = reply.replicas.iter().find(|replica| !replica.reachable) {
            return Err(Unwell::All(format!("replica {id} does not reach replica {}", replica.id)));
        }
        if let Some(replica) = reply.replicas.iter().find(|replica| !(0..=LAG_MAX).contains(&replica.lag)) {
            return Err(of(replica, &format!("it is {} entries behind, says replica {id}", replica.lag)));
        }
        leaders.push(reply.leader);
    }
    match leaders.first() {
        Some(leader) if *leader > 0 && leaders.iter().all(|other| other == leader) => Ok(*leader),
        _ => Err(Unwell::All(format!("they name different leaders: {leaders:?}"))),
    }
}

pub async fn look(clients: &[Client]) -> Result<u64, Unwell> {
    let replies = futures::future::join_all(clients.iter().map(|client| async {
        match tokio::time::timeout(ASK_MAX, client.status()).await {
            Ok(reply) => reply.map_err(|error| error.to_string()),
            Err(_) => Err(format!("it says nothing within {ASK_MAX:?}")),
        }
    }));
    unwell(&replies.await)
}

/// Every replica has the same objects at the same revision. Nobody writes much meanwhile.
pub async fn one_state(clients: &[Client]) -> Result<String, String> {
    let mut last = String::new();
    for _ in 0..STATES_TRIES {
        let states = futures::future::join_all(clients.iter().map(state)).await;
        let states: Vec<(Revision, u32, u64)> = match states.into_iter().collect() {
            Ok(states) => states,
            Err(why) => {
                last = why;
                tokio::time::sleep(STATES_PAUSE).await;
                continue;
            }
        };
        let (revision, sum, objects) = states[0];
        if states.iter().all(|state| *state == states[0]) {
            return Ok(format!("revision {revision}, {objects} objects, digest {sum:08x}"));
        }
        if let Some(place) = states.iter().position(|state| state.0 == revision && state.1 != sum) {
            return Err(format!("replicas 1 and {} differ in their state at revision {revision}", place + 1));
        }
        last = format!("their revisions differ: {:?}", states.iter().map(|state| state.0).collect::<Vec<_>>());
        tokio::time::sleep(STATES_PAUSE).await;
    }
    Err(format!("the replicas did not come to one state: {last}"))
}

/// What one replica has, whoever leads: its revision, a checksum over everything, the number of objects.
async fn state(client: &Client) -> Result<(Revision, u32, u64), String> {
    let mut stream = client.snapshot(true).await.map_err(|error| error.to_string())?;
    let mut file = Vec::new();
    while let Some(piece) = stream.message().await.map_err(|status| status.message().to_owned())? {
        file.extend_from_slice(&piece.data);
    }
    let mut sum = crc32fast::Hasher::new();
    let header = backup::read(&file[..], |key, found| {
        sum.update(&key);
        sum.update(&found.revision.to_le_bytes());
        sum.update(&found.created.to_le_bytes());
        sum.update(&found.value);
        Ok(())
    });
    let header = header.map_err(|damage| damage.to_string())?;
    Ok((header.revision, sum.finalize(), header.objects))
}

/// Lines in the replicas' logs that no fault excuses.
pub fn panics(logs: &[std::path::PathBuf]) -> Vec<String> {
    let of = |path: &Path| {
        let text = String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
        let lines =
            text.lines().filter(|line| line.contains("panicked at")).map(|line| format!("{}: {line}", path.display()));
        lines.collect::<Vec<_>>()
    };
    logs.iter().flat_map(|path| of(path)).collect()
}

#[cfg(test)]
mod tests {
    use proto::api::ReplicaStatus;

    use super::*;

    fn reply(leader: u64, change: impl Fn(&mut ReplicaStatus)) -> Result<StatusReply, String> {
        let replica = |id| {
            let mut replica = ReplicaStatus { id, reachable: true, ..ReplicaStatus::default() };
            if id == 2 {
                change(&mut replica);
            }
            replica
        };
        Ok(StatusReply { leader, replicas: [1, 2].map(replica).to_vec(), ..StatusReply::default() })
    }

    #[test]
    fn whatever_is_wrong_is_seen() {
        let well = || reply(1, |_| ());
        assert_eq!(unwell(&[well(), well()]), Ok(1));
        assert!(matches!(unwell(&[well(), reply(2, |_| ())]), Err(Unwell::All(_))), "two leaders");
        assert!(matches!(unwell(&[reply(0, |_| ()), reply(0, |_| ())]), Err(Unwell::All(_))), "no leader");
        assert!(matches!(unwell(&[well(), Err("silent".into())]), Err(Unwell::Replica(2, _))));
        let behind = || reply(1, |replica| replica.lag = 5_000);
        assert!(matches!(unwell(&[behind(), well()]), Err(Unwell::Replica(2, _))));
        let apart = || reply(1, |replica| replica.reachable = false);
        assert!(matches!(unwell(&[apart(), well()]), Err(Unwell::All(_))));
        let broken = || reply(1, |replica| replica.trouble = "its disk failed".into());
        assert_eq!(unwell(&[well(), broken()]), Err(Unwell::Replica(2, "its disk failed".into())));
    }
}
