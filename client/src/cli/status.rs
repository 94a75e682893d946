//! `kontiki status`: who leads, who follows and how far, which nodes are ready.

use std::time::Duration;

use proto::api::StatusReply;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{Context, Failure, print};

#[derive(clap::Args)]
pub struct Args {
    /// `json` for scripts.
    #[arg(long, short, value_parser = ["json", "table"], default_value = "table")]
    output: String,
    /// Wait until there is a leader, every replica is reachable and every node that is known is ready; such as `60s`.
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    wait: Option<Duration>,
    /// With --wait: how many nodes there must be at least.
    #[arg(long, default_value_t = 0)]
    nodes: usize,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix('s').unwrap_or(text);
    number.parse().map(Duration::from_secs).map_err(|_| format!("{text:?} is not a number of seconds such as 60s"))
}

pub async fn run(args: Args, context: Context) -> Result<(), Failure> {
    let reply = match args.wait {
        Some(limit) => settled(&context, limit, args.nodes).await?,
        None => context.client.status().await?,
    };
    if args.output == "json" {
        say!("{:#}", as_json(&reply));
    } else {
        print_table(&reply)?;
    }
    Ok(())
}

async fn settled(context: &Context, limit: Duration, nodes: usize) -> Result<StatusReply, Failure> {
    let deadline = Instant::now() + limit;
    loop {
        let missing = match context.client.status().await {
            Ok(reply) => match missing(&reply, nodes) {
                None => return Ok(reply),
                Some(missing) => missing,
            },
            Err(error) => error.to_string(),
        };
        if Instant::now() >= deadline {
            return Err(Failure::new(format!("not ready after {} s: {missing}", limit.as_secs())));
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// What is missing until everything is as it should be.
fn missing(reply: &StatusReply, nodes: usize) -> Option<String> {
    if reply.leader == 0 {
        return Some("there is no leader".into());
    }
    if let Some(replica) = reply.replicas.iter().find(|replica| !replica.reachable) {
        return Some(format!("replica {} is not reachable", replica.id));
    }
    if !leads(reply) {
        return Some(format!("replica {} does not lead yet, or no longer", reply.leader));
    }
    if let Some(node) = reply.nodes.iter().find(|node| !node.ready) {
        return Some(format!("node {} is not ready: {}", node.name, node.reason));
    }
    (reply.nodes.len() < nodes).then(|| format!("{} of {nodes} nodes have registered", reply.nodes.len()))
}

/// Does the leader say so itself? After a restart of all, the others remember the one before.
fn leads(reply: &StatusReply) -> bool {
    reply.replicas.iter().any(|replica| replica.id == reply.leader && replica.role == "leader")
}

fn as_json(reply: &StatusReply) -> serde_json::Value {
    let replicas: Vec<_> = reply
        .replicas
        .iter()
        .map(|replica| {
            json!({
                "id": replica.id,
                "address": replica.address,
                "role": replica.role,
                "appliedIndex": replica.applied_index,
                "lag": (replica.lag >= 0).then_some(replica.lag),
                "reachable": replica.reachable,
                "trouble": (!replica.trouble.is_empty()).then_some(&replica.trouble),
            })
        })
        .collect();
    let nodes: Vec<_> = reply
        .nodes
        .iter()
        .map(|node| {
            json!({"name": node.name, "ready": node.ready, "reason": node.reason, "address": node.address, "pods": node.pods})
        })
        .collect();
    json!({
        "leader": (reply.leader != 0).then_some(reply.leader),
        "term": reply.term,
        "answeredBy": reply.answered_by,
        "clusterId": reply.cluster_id,
        "replicas": replicas,
        "nodes": nodes,
    })
}

fn print_table(reply: &StatusReply) -> std::io::Result<()> {
    let mut replicas = print::plain(vec!["REPLICA", "ADDRESS", "ROLE", "APPLIED", "LAG", "REACHABLE"]);
    for replica in &reply.replicas {
        let lag = if replica.lag < 0 { "?".into() } else { replica.lag.to_string() };
        let reachable = if replica.reachable { "yes" } else { "no" };
        let applied = if replica.reachable { replica.applied_index.to_string() } else { "?".into() };
        replicas.add_row([&replica.id.to_string(), &replica.address, &replica.role, &applied, &lag, reachable]);
    }
    say!("{}", replicas.trim_fmt());
    for trouble in troubles(reply) {
        say!("{trouble}");
    }
    match reply.leader {
        0 => say!("no leader (term {}): reads and writes wait until a majority is back", reply.term),
        leader if leads(reply) => say!("leader: replica {leader}, term {}", reply.term),
        leader => say!("leader: replica {leader} as of term {}, which does not say so itself", reply.term),
    }
    say!("");
    let mut nodes = print::plain(vec!["NODE", "READY", "PODS", "ADDRESS", "REASON"]);
    for node in &reply.nodes {
        let ready = if node.ready { "yes" } else { "no" };
        nodes.add_row([&node.name, ready, &node.pods.to_string(), &node.address, &node.reason]);
    }
    say!("{}", nodes.trim_fmt());
    Ok(())
}

/// Of each replica that does not take part in full: why.
fn troubles(reply: &StatusReply) -> impl Iterator<Item = String> {
    let troubled = reply.replicas.iter().filter(|replica| !replica.trouble.is_empty());
    troubled.map(|replica| format!("replica {}: {}", replica.id, replica.trouble))
}

#[cfg(test)]
mod tests {
    use proto::api::ReplicaStatus;

    use super::*;

    #[test]
    fn the_damage_of_a_replica_that_takes_no_part_is_named_for_people_and_for_scripts() {
        let why = "its data is damaged (log entry 5 is corrupt), and it takes no part: a restart repairs it";
        let replica = |id, trouble: &str| ReplicaStatus { id, trouble: trouble.into(), ..Default::default() };
        let reply = StatusReply { replicas: vec![replica(1, ""), replica(3, why)], ..Default::default() };
        assert_eq!(troubles(&reply).collect::<Vec<_>>(), [format!("replica 3: {why}")]);
        let told = as_json(&reply);
        assert_eq!((&told["replicas"][0]["trouble"], &told["replicas"][1]["trouble"]), (&json!(null), &json!(why)));
    }

    #[test]
    fn a_leader_that_the_others_only_remember_is_waited_for() {
        let replica = |id, role: &str| ReplicaStatus { id, role: role.into(), reachable: true, ..Default::default() };
        let reply = |one: &str, two: &str| StatusReply {
            leader: 1,
            term: 4,
            replicas: vec![replica(1, one), replica(2, two)],
            ..Default::default()
        };
        assert_eq!(missing(&reply("leader", "follower"), 0), None);
        let missing = |one, two| missing(&reply(one, two), 0).unwrap();
        assert_eq!(missing("follower", "follower"), "replica 1 does not lead yet, or no longer");
        assert_eq!(missing("follower", "leader"), "replica 1 does not lead yet, or no longer");
    }
}
