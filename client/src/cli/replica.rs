//! `kontiki replica`: who the replicas are, and changes of that which need no files.

use std::time::Duration;

use proto::admin::{ListReplicasReply, Replica};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{Context, Failure, print};

#[derive(clap::Subcommand)]
pub enum Verb {
    /// Show the replicas: who votes, who leads, how far each is.
    List(ListArgs),
    /// Give a learner a vote, once it has caught up.
    Promote(PromoteArgs),
    /// Take a replica out of the cluster for ever. Its id is never used again.
    Remove(RemoveArgs),
    /// Hand the leadership to another replica.
    TransferLeadership(TransferArgs),
}

#[derive(clap::Args)]
pub struct ListArgs {
    /// `json` for scripts.
    #[arg(long, short, value_parser = ["json", "table"], default_value = "table")]
    output: String,
}

#[derive(clap::Args)]
pub struct PromoteArgs {
    /// The replica's id.
    id: u64,
    /// Wait so many seconds for it to catch up, and show how far it is.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u64,
}

#[derive(clap::Args)]
pub struct RemoveArgs {
    /// The replica's id.
    id: u64,
}

#[derive(clap::Args)]
pub struct TransferArgs {
    /// To this replica [default: to the voter that has the most].
    #[arg(long, value_name = "ID")]
    to: Option<u64>,
}

pub async fn run(verb: Verb, context: Context) -> Result<(), Failure> {
    let client = &context.client;
    match verb {
        Verb::List(args) => {
            let reply = client.replicas().await?;
            match args.output.as_str() {
                "json" => println!("{:#}", as_json(&reply)),
                _ => print_table(&reply),
            }
            if reply.may_be_old {
                eprintln!("this may be old: it is what one replica knows, and no majority has confirmed it");
            }
            Ok(())
        }
        Verb::Promote(args) => promote(&context, args.id, Duration::from_secs(args.wait)).await,
        Verb::Remove(args) => {
            client.remove_replica(args.id).await?;
            println!("replica {} is removed; its process ends by itself, its data is of no more use", args.id);
            Ok(())
        }
        Verb::TransferLeadership(args) => {
            match client.transfer_leadership(args.to).await? {
                0 => println!("the leadership was handed over"),
                leader => println!("replica {leader} leads"),
            }
            Ok(())
        }
    }
}

/// Waits at most so long until the learner has caught up, then promotes it.
pub async fn promote(context: &Context, id: u64, wait: Duration) -> Result<(), Failure> {
    let deadline = Instant::now() + wait;
    let mut shown = String::new();
    loop {
        let refused = match context.client.promote_replica(id).await {
            Ok(()) => {
                println!("replica {id} votes");
                return Ok(());
            }
            Err(error) if Instant::now() >= deadline => return Err(error.into()),
            Err(error) => Failure::from(error),
        };
        let reply = context.client.replicas().await?;
        let found = reply.replicas.iter().find(|replica| replica.id == id);
        // There is nothing to wait for.
        let Some(learner) = found.filter(|replica| !replica.voter) else { return Err(refused) };
        let progress = progress(learner);
        if progress != shown {
            eprintln!("replica {id} {progress}");
            shown = progress;
        }
        sleep(Duration::from_millis(500)).await;
    }
}

fn progress(learner: &Replica) -> String {
    match (learner.reachable, learner.filling, learner.lag) {
        (false, _, _) => "does not answer yet: is it started?".into(),
        (true, true, _) => "is being filled".into(),
        (true, false, lag) => format!("is at entry {}, {lag} behind", learner.applied_index),
    }
}

fn as_json(reply: &ListReplicasReply) -> serde_json::Value {
    let replicas = reply.replicas.iter().map(|replica| {
        json!({
            "id": replica.id,
            "peerAddress": replica.peer_address,
            "clientAddress": replica.client_address,
            "voter": replica.voter,
            "role": replica.role,
            "reachable": replica.reachable,
            "appliedIndex": replica.applied_index,
            "lag": (replica.lag >= 0).then_some(replica.lag),
            "filling": replica.filling,
        })
    });
    json!({
        "clusterId": reply.cluster_id,
        "leader": (reply.leader != 0).then_some(reply.leader),
        "term": reply.term,
        "mayBeOld": reply.may_be_old,
        "replicas": replicas.collect::<Vec<_>>(),
    })
}

fn print_table(reply: &ListReplicasReply) {
    let mut table = print::plain(vec!["REPLICA", "VOTES", "ROLE", "PEERS", "CLIENTS", "APPLIED", "LAG", "STATE"]);
    for replica in &reply.replicas {
        let votes = if replica.voter { "yes" } else { "no" };
        let known = |number: String| if replica.reachable { number } else { "?".into() };
        let state = match (replica.reachable, replica.filling) {
            (false, _) => "unreachable",
            (true, true) => "being filled",
            (true, false) => "up",
        };
        table.add_row([
            replica.id.to_string().as_str(),
            votes,
            &replica.role,
            &replica.peer_address,
            &replica.client_address,
            &known(replica.applied_index.to_string()),
            &known(replica.lag.to_string()),
            state,
        ]);
    }
    println!("{}", table.trim_fmt());
}
