//! `kontiki replica`: the verbs of the client, and those that make files for a new replica. Acts.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use client::cli::replica::{self, promote};
use client::cli::{Context, Failure, block_on};
use proto::admin::{AddReplicaReply, Replica};
use raft::identity;
use serde_json::json;

use crate::init::{Authorities, NewReplica, a_host, cluster_of, listen_host};

#[derive(clap::Args)]
pub struct Args {
    /// Which cluster and as whom [default: $KUBECONFIG, ./.kontiki/kubeconfig, ~/.kube/config].
    #[arg(long, value_name = "FILE", global = true)]
    kubeconfig: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    #[command(flatten)]
    Client(replica::Verb),
    /// Take a new replica in, as a learner: makes its certificates and configuration; then start and promote it.
    Add(New),
    /// Put a new replica in the place of one that is dead: add, wait until it has caught up, promote, remove the dead.
    Replace(Replace),
}

#[derive(clap::Args)]
struct New {
    /// Where the others and the clients reach it: a name or an address.
    #[arg(long, value_parser = a_host)]
    host: String,
    /// Its port for clients; the one for the other replicas follows.
    #[arg(long, default_value_t = 6443)]
    port: u16,
    /// It listens on all addresses of its host, not only on --host.
    #[arg(long)]
    listen_everywhere: bool,
    /// The cluster's directory, where `kontiki init` made the authorities. The replica's files go there too.
    #[arg(long, default_value = ".kontiki")]
    dir: PathBuf,
}

#[derive(clap::Args)]
struct Replace {
    /// The id of the dead one.
    id: u64,
    /// How many seconds the new one gets to be started and to catch up.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    wait: u64,
    #[command(flatten)]
    new: New,
}

pub fn run(args: Args) -> ExitCode {
    block_on(async {
        let context = Context::from_kubeconfig(args.kubeconfig.as_deref())?;
        match args.verb {
            Verb::Client(verb) => replica::run(verb, context).await,
            Verb::Add(new) => {
                let id = add(&new, &context).await?;
                println!("then give it a vote:  kontiki replica promote {id} --wait 600");
                Ok(())
            }
            Verb::Replace(replace) => {
                let known = context.client.replicas().await?.replicas;
                let Some(dead) = known.iter().find(|replica| replica.id == replace.id) else {
                    let ids: Vec<String> = known.iter().map(|replica| format!("replica {}", replica.id)).collect();
                    let words = format!("there is no replica {}; the replicas are {}", replace.id, ids.join(", "));
                    return Err(Failure::new(words));
                };
                if dead.reachable {
                    let words = format!("replica {} answers: it is not dead; use add, promote, remove", dead.id);
                    return Err(Failure::new(words));
                }
                let id = add(&replace.new, &context).await?;
                let rest = format!("go on with: kontiki replica promote {id} && kontiki replica remove {}", replace.id);
                let promoted = promote(&context, id, Duration::from_secs(replace.wait)).await;
                promoted.inspect_err(|_| eprintln!("{rest}"))?;
                context.client.remove_replica(replace.id).await?;
                println!("replica {id} stands in the place of replica {}", replace.id);
                Ok(())
            }
        }
    })
}

/// Returns the new replica's id.
async fn add(new: &New, context: &Context) -> Result<u64, Failure> {
    let fail = |error: Box<dyn std::error::Error>| Failure::new(error.to_string());
    // Before anything is changed: without the authorities, and of this cluster, nothing can come of it.
    let root = std::fs::canonicalize(&new.dir);
    let root = root.map_err(|error| Failure::new(format!("--dir {}: {error}", new.dir.display())))?;
    let authorities = Authorities::of(&root).map_err(fail)?;
    let (made, known) = (cluster_of(&root).map_err(fail)?, context.client.replicas().await?.cluster_id);
    if identity::name(&made) != identity::name(&known) {
        let words = format!("--dir {} belongs to cluster {made}, the replicas to {known}", new.dir.display());
        return Err(Failure::new(words));
    }
    let Some(peer) = new.port.checked_add(1) else {
        return Err(Failure::new(format!("--port {} leaves none for the other replicas", new.port)));
    };
    let (client_address, peer_address) = (format!("{}:{}", new.host, new.port), format!("{}:{peer}", new.host));
    let mut reply = context.client.add_replica(&peer_address, &client_address).await?;
    name_itself(&mut reply, peer_address, client_address);
    let members = reply.replicas.iter().map(|replica| {
        json!({"id": replica.id, "peerAddress": replica.peer_address, "clientAddress": replica.client_address})
    });
    let listen = listen_host(&new.host, new.listen_everywhere);
    let members = members.collect();
    let replica = NewReplica { id: reply.id, host: new.host.clone(), listen, api: new.port, peer, members };
    let written = replica.write(&root, &reply.cluster_id, &authorities);
    let file = written.map_err(|error| {
        let undo = format!("undo it with: kontiki replica remove {}", reply.id);
        Failure::new(format!("replica {} is a member, but its files cannot be written: {error}; {undo}", reply.id))
    })?;
    println!(
        "replica {} is added as a learner; on its host, start it:  kontiki server --config {}",
        reply.id,
        file.display()
    );
    if let Some(advice) = advice(&reply) {
        println!("{advice}");
    }
    Ok(reply.id)
}

/// The replica that answers may not have heard of the new one yet, where it lost its leader just then. A configuration that
/// does not name its own replica is refused, and what is written once is never written over.
fn name_itself(reply: &mut AddReplicaReply, peer_address: String, client_address: String) {
    if !reply.replicas.iter().any(|replica| replica.id == reply.id) {
        reply.replicas.push(Replica { id: reply.id, peer_address, client_address, ..Replica::default() });
    }
}

/// Where the cluster had one replica: what that one must be told. It was configured when there was no other, and would not
/// find its cluster again without its disk.
fn advice(reply: &AddReplicaReply) -> Option<String> {
    let [one, other] = &reply.replicas[..] else { return None };
    let (first, new) = if one.id == reply.id { (other, one) } else { (one, other) };
    let Replica { id, peer_address, client_address, .. } = new;
    Some(format!(
        "write it into the config.yaml of replica {} too, under `members`; that is read when it is next started:\n\
         - {{id: {id}, peerAddress: \"{peer_address}\", clientAddress: \"{client_address}\"}}",
        first.id
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(id: u64, ids: &[u64]) -> AddReplicaReply {
        let replica = |id: &u64| Replica {
            id: *id,
            peer_address: format!("h{id}:7"),
            client_address: format!("h{id}:6"),
            ..Replica::default()
        };
        AddReplicaReply { id, cluster_id: "c".into(), replicas: ids.iter().map(replica).collect() }
    }

    #[test]
    fn a_new_replica_is_named_once_also_where_who_answers_has_not_heard_of_it() {
        for known in [&[1, 2, 3][..], &[1, 2]] {
            let mut reply = reply(3, known);
            name_itself(&mut reply, "h3:7".into(), "h3:6".into());
            let named =
                reply.replicas.iter().map(|replica| (replica.id, &*replica.peer_address, &*replica.client_address));
            let named: Vec<(u64, &str, &str)> = named.collect();
            assert_eq!(named, [(1, "h1:7", "h1:6"), (2, "h2:7", "h2:6"), (3, "h3:7", "h3:6")]);
        }
    }

    #[test]
    fn the_first_replica_is_told_of_the_second() {
        let advised = |id, ids: &[u64]| advice(&reply(id, ids));
        let said = advised(2, &[1, 2]).unwrap();
        assert!(said.contains("config.yaml of replica 1 "), "{said}");
        assert!(said.ends_with("\n- {id: 2, peerAddress: \"h2:7\", clientAddress: \"h2:6\"}"), "{said}");
        assert_eq!(advised(4, &[4, 3]).map(|said| said.contains("of replica 3 ")), Some(true));
        assert_eq!(advised(4, &[1, 2, 3, 4]), None, "they know of each other");
    }
}
