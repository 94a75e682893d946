//! `kontiki recover`: from the survivors of a lost majority to a cluster of one. Acts; `judge` decides.

mod judge;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use client::cli::{Failure, block_on};
use proto::seam::Env;
use proto::tls::Identity;
use raft::Member;
use raft::offline::{self, Answer, Inspection};

use self::judge::{judge, silent, worth};

#[derive(clap::Args)]
pub struct Args {
    /// The configuration of each survivor whose data is on this host. They must be stopped.
    #[arg(long, short, required = true)]
    config: Vec<PathBuf>,
    /// Do it: the survivor with the most becomes a cluster of one, and the other members are out for ever. Without this
    /// it is only said what would be done.
    #[arg(long)]
    yes: bool,
}

/// How long each other member gets to answer.
const ASK: Duration = Duration::from_secs(2);

/// A survivor on this host.
struct Survivor {
    config: server::Config,
    dir: PathBuf,
    found: Inspection,
}

pub fn run(args: Args) -> ExitCode {
    block_on(async {
        let mut survivors = Vec::new();
        for path in &args.config {
            let config = server::Config::load(path).map_err(|error| Failure::new(error.to_string()))?;
            let dir = config.data.clone();
            let found = offline::inspect(&dir).await.map_err(|error| Failure::new(crate::chain(&error)))?;
            survivors.push(Survivor { config, dir, found });
        }
        let newest = survivors.iter().max_by_key(|survivor| worth(&survivor.found)).expect("clap asks for one");
        let cluster = &newest.found.cluster_id;
        if let Some(other) = survivors.iter().find(|survivor| survivor.found.cluster_id != *cluster) {
            let (found, dir) = (&other.found.cluster_id, other.dir.display());
            return Err(Failure::new(format!("the data in {dir} is of cluster {found}, the other of {cluster}")));
        }
        let answers = ask(newest, &survivors).await?;
        let here: Vec<&Inspection> = survivors.iter().map(|survivor| &survivor.found).collect();
        show(&here, &newest.found.members, &answers);
        judge(&newest.found, &here, &answers).map_err(Failure::new)?;
        println!("\n{}", loss(&newest.found));
        if !args.yes {
            println!("nothing was changed; with --yes replica {} goes on alone", newest.found.replica);
            return Ok(());
        }
        let made = offline::recover(&newest.dir, newest.found.replica, Env::real().clock.now_ms()).await;
        let made = made.map_err(|error| Failure::new(crate::chain(&error)))?;
        println!(
            "replica {} is a cluster of one, {made}. Start it as before; add others with `kontiki replica add`",
            newest.found.replica
        );
        Ok(())
    })
}

/// Asks the members whose data is not here.
async fn ask(newest: &Survivor, survivors: &[Survivor]) -> Result<BTreeMap<u64, Answer>, Failure> {
    let here: BTreeSet<u64> = survivors.iter().map(|survivor| survivor.found.replica).collect();
    let others: Vec<Member> =
        newest.found.members.iter().filter(|member| !here.contains(&member.id)).cloned().collect();
    let identity = Identity::load(&newest.config.pki, "peer", "peer-ca");
    let identity = identity.map_err(|error| Failure::new(crate::chain(&error)))?;
    let asked = offline::ask(&others, &newest.found.cluster_id, &identity, Env::real().net, ASK).await;
    let asked = asked.map_err(|error| Failure::new(error.to_string()))?;
    asked.into_iter().map(|(id, answer)| Ok((id, answer.map_err(|why| barred(id, &why))?))).collect()
}

/// A second cluster of one would pass for the first.
fn barred(id: u64, why: &str) -> Failure {
    Failure::new(format!(
        "replica {id} runs, and says: {why}. This data is of the past: join that cluster with new replicas"
    ))
}

fn show(here: &[&Inspection], members: &[Member], answers: &BTreeMap<u64, Answer>) {
    println!("{:<9}{:<24}{:<12}{:<8}{:<10}VOTES", "REPLICA", "WHERE", "LAST ENTRY", "TERM", "KNOWN");
    for member in members {
        let voters = here.iter().any(|found| found.voters.contains(&member.id));
        let votes = if voters { "yes" } else { "no" };
        let id = member.id;
        if let Some(found) = here.iter().find(|found| found.replica == id) {
            let (last, term, known) = (found.last_index, found.last_term, found.committed_index);
            println!("{id:<9}{:<24}{last:<12}{term:<8}{known:<10}{votes}", "here, stopped");
        } else if let Some(answer) = answers.get(&id) {
            let (last, term) = (answer.last_index, answer.last_term);
            println!("{id:<9}{:<24}{last:<12}{term:<8}{:<10}{votes}", "answers", answer.applied_index);
        } else {
            println!("{id:<9}{:<24}{:<12}{:<8}{:<10}{votes}", "does not answer", "?", "?", "?");
        }
    }
    println!("KNOWN: up to here the replica knows that a majority had it.");
    silent(here, answers).iter().for_each(|line| println!("{line}"));
}

fn loss(newest: &Inspection) -> String {
    let (id, last, known) = (newest.replica, newest.last_index, newest.committed_index);
    let open = match last.saturating_sub(known) {
        0 => String::new(),
        open => format!(" The {open} entries behind {known} will count, though perhaps nobody was told that they do."),
    };
    let end = match newest.durable_index.saturating_sub(last) {
        0 => String::new(),
        end => format!(" It has lost the end of its log: {end} entries that it once had, up to {}.", last + end),
    };
    format!(
        "replica {id} has the most: all entries up to {last}.{end} Writes that were acknowledged by the lost replicas \
         without it, behind entry {last}, are lost; how many cannot be known here.{open}"
    )
}
