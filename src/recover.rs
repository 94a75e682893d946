//! `kontiki recover`: from the survivors of a lost majority to a cluster of one. Acts; `judge` decides.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use client::cli::{Failure, block_on};
use proto::seam::Env;
use proto::tls::Identity;
use raft::Member;
use raft::offline::{self, Answer, Inspection};

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
        let newest = survivors.iter().max_by_key(|survivor| key(&survivor.found)).expect("clap asks for one");
        let cluster = &newest.found.cluster_id;
        if let Some(other) = survivors.iter().find(|survivor| survivor.found.cluster_id != *cluster) {
            let (found, dir) = (&other.found.cluster_id, other.dir.display());
            return Err(Failure::new(format!("the data in {dir} is of cluster {found}, the other of {cluster}")));
        }
        let answers = ask(newest, &survivors).await?;
        show(&survivors, &newest.found.members, &answers);
        let here = survivors.iter().map(|survivor| survivor.found.replica).collect();
        judge(&newest.found, &here, &answers).map_err(Failure::new)?;
        println!("\n{}", loss(&newest.found));
        if !args.yes {
            println!("nothing was changed; with --yes replica {} goes on alone", newest.found.replica);
            return Ok(());
        }
        let made = offline::recover(&newest.dir, newest.found.replica).await;
        let made = made.map_err(|error| Failure::new(crate::chain(&error)))?;
        println!(
            "replica {} is a cluster of one, {made}. Start it as before; add others with `kontiki replica add`",
            newest.found.replica
        );
        Ok(())
    })
}

/// What has the most: the last entry's term decides before its index. A replica that abstains never has; of several such, one
/// that is known to have lost data says most.
fn key(found: &Inspection) -> (bool, bool, u64, u64) {
    (!found.abstains, found.lost_data, found.last_term, found.last_index)
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

/// May the survivor go on alone? `here`: the stopped replicas on this host.
fn judge(newest: &Inspection, here: &BTreeSet<u64>, answers: &BTreeMap<u64, Answer>) -> Result<(), String> {
    let lives = |id: &&u64| here.contains(id) || answers.contains_key(id);
    let (alive, needed) = (newest.voters.iter().filter(lives).count(), newest.voters.len() / 2 + 1);
    if alive >= needed {
        return Err(format!(
            "{alive} of {} voters are left, which is a majority: nothing is lost. Start those that are stopped",
            newest.voters.len()
        ));
    }
    if newest.abstains {
        // Who counts comes before it, so here nobody does.
        let what = if newest.lost_data { "lost data" } else { "is new or was emptied" };
        return Err(format!(
            "replica {} {what} and was not filled since, nor was any other survivor here: none can go on",
            newest.replica
        ));
    }
    let more = |answer: &&Answer| (answer.last_term, answer.last_index) > (newest.last_term, newest.last_index);
    match answers.iter().find(|(_, answer)| more(answer)) {
        Some((id, answer)) => Err(format!(
            "replica {id} has more: entry {} of term {}. Stop it and do this where its data is",
            answer.last_index, answer.last_term
        )),
        None => Ok(()),
    }
}

fn show(survivors: &[Survivor], members: &[Member], answers: &BTreeMap<u64, Answer>) {
    println!("{:<9}{:<24}{:<12}{:<8}{:<10}VOTES", "REPLICA", "WHERE", "LAST ENTRY", "TERM", "KNOWN");
    for member in members {
        let voters = survivors.iter().any(|survivor| survivor.found.voters.contains(&member.id));
        let votes = if voters { "yes" } else { "no" };
        let id = member.id;
        if let Some(Survivor { found, .. }) = survivors.iter().find(|survivor| survivor.found.replica == id) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn found(replica: u64, last_term: u64, last_index: u64) -> Inspection {
        Inspection {
            cluster_id: "c".into(),
            replica,
            last_term,
            last_index,
            durable_index: last_index,
            committed_index: last_index,
            revision: 1,
            voters: [1, 2, 3, 4, 5].into(),
            members: Vec::new(),
            abstains: false,
            lost_data: false,
        }
    }

    fn answer(last_term: u64, last_index: u64) -> Answer {
        Answer { last_term, last_index, applied_index: last_index }
    }

    #[test]
    fn nobody_goes_on_alone_while_a_majority_is_left() {
        let newest = found(1, 3, 10);
        assert!(judge(&newest, &[1, 2, 3].into(), &BTreeMap::new()).unwrap_err().contains("3 of 5 voters are left"));
        let answers = BTreeMap::from([(3, answer(3, 9)), (4, answer(3, 9))]);
        assert!(judge(&newest, &[1].into(), &answers).is_err());
        // A learner does not count.
        assert_eq!(judge(&newest, &[1, 2].into(), &BTreeMap::from([(9, answer(3, 9))])), Ok(()));
    }

    #[test]
    fn the_one_with_the_most_goes_on() {
        let newest = found(1, 3, 10);
        for (term, index, ok) in [(3, 10, true), (3, 11, false), (4, 2, false), (2, 99, true)] {
            let said = judge(&newest, &[1].into(), &BTreeMap::from([(2, answer(term, index))]));
            assert_eq!(said.is_ok(), ok, "{said:?}");
        }
        assert!(key(&found(1, 4, 1)) > key(&found(2, 3, 9)));
        assert!(key(&newest) > key(&Inspection { abstains: true, ..found(2, 9, 99) }));
    }

    #[test]
    fn one_that_was_not_filled_does_not_go_on_and_lost_data_only_where_that_is_known() {
        for (lost_data, words) in [(true, "replica 2 lost data and"), (false, "replica 2 is new or was emptied and")] {
            let empty = Inspection { abstains: true, lost_data, ..found(2, 9, 99) };
            let said = judge(&empty, &[2].into(), &BTreeMap::new()).unwrap_err();
            assert!(said.starts_with(words), "{said}");
        }
    }
}
