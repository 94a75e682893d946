//! What replicas say of themselves over a whole run, in answers and in their logs, held together: one leader per term; equal
//! states at equal revision; no term and no revision that goes back; of the controllers' commands only the present term's take
//! effect; no state that is found odd, for none is. Pure.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use proto::api::StatusReply;
use raft::{Change, Previous, Revision};

use super::plan::Host;
use super::said::Said;
use crate::check::changes::Agreed;
use crate::check::fences::{Fences, Sight};
use crate::check::replicas::Replicas;
use crate::check::terms::{self, Terms};

#[derive(Default)]
pub struct Testimony {
    replicas: Replicas,
    fences: Fences,
    terms: Terms,
    /// Of each term whose leader began its controllers, the revision of its state then.
    began: BTreeMap<u64, Revision>,
    /// What each replica told last of itself.
    lives: BTreeMap<Host, Own>,
    /// What controllers wrote since it was judged last.
    written: Vec<Written>,
    tally: Tally,
}

/// What a replica tells of itself.
#[derive(Clone, Copy, Debug)]
struct Own {
    /// How often it has begun to serve.
    run: u64,
    term: u64,
    revision: Revision,
}

/// A change that a log tells of.
struct Written {
    revision: Revision,
    by: Host,
    term: u64,
    controller: String,
    key: String,
}

const UNWRITTEN: &str = "no log told of a controller's write (KONTIKI_LOG needs kontiki_server::leader::driver=debug)";

/// How much there was to judge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Answers of replicas.
    pub looks: u64,
    /// In these, how often one said who leads.
    pub claims: u64,
    pub terms: u64,
    /// How often a log said that controllers began.
    pub begun: u64,
    pub compared: u64,
    pub written: u64,
    /// How often a door told a watcher how far it is: what came before must have been told by then.
    pub bookmarks: u64,
}

impl Testimony {
    /// An answer of this replica. `run`: how often it has begun to serve by then; `None`: it began anew meanwhile, and nobody knows
    /// which run's word it is.
    pub fn look(&mut self, host: Host, run: Option<u64>, reply: &StatusReply) -> Result<(), String> {
        self.tally.looks += 1;
        if reply.answered_by != host {
            return Err(format!("replica {host} answers as replica {}", reply.answered_by));
        }
        for replica in reply.replicas.iter().filter(|replica| replica.leader > 0) {
            self.tally.claims += 1;
            self.replicas.leads(replica.term, replica.leader)?;
        }
        if reply.state_digest > 0 {
            // Half of the digest tells two states apart as well.
            self.replicas.state(reply.revision, reply.state_digest as u32, host)?;
        }
        let own = reply.replicas.iter().find(|replica| replica.id == host);
        match run.zip(own) {
            Some((run, own)) => self.goes_on(host, Own { run, term: own.term, revision: reply.revision }),
            None => Ok(()),
        }
    }

    /// A run that begins has the state that was saved, or none; from then on it only becomes newer.
    fn goes_on(&mut self, host: Host, now: Own) -> Result<(), String> {
        match self.lives.insert(host, now) {
            Some(before) if before.run == now.run && (now.term < before.term || now.revision < before.revision) => {
                Err(format!("replica {host} went back: {now:?} comes after {before:?}"))
            }
            _ => Ok(()),
        }
    }

    /// What the log of this replica says. The lines of one log come in their order.
    pub fn hear(&mut self, host: Host, said: Said) -> Result<(), String> {
        match said {
            Said::Serves => Ok(()),
            Said::Leads { term, at } => {
                self.tally.begun += 1;
                self.terms.begins(term, host, at);
                self.began.entry(term).or_insert(at);
                self.replicas.leads(term, host).map(drop)
            }
            Said::Wrote { term, controller, key, made } => {
                let of = |revision| {
                    let (controller, key) = (controller.clone(), key.clone());
                    Written { revision, by: host, term, controller, key }
                };
                self.written.extend(made.into_iter().map(of));
                self.replicas.leads(term, host).map(drop)
            }
            Said::Fenced => self.sees(host, Sight { fenced: true, ..Sight::default() }),
            Said::Suspects => self.sees(host, Sight { suspects: true, ..Sight::default() }),
        }
    }

    /// Nobody makes a state odd here.
    fn sees(&mut self, host: Host, sight: Sight) -> Result<(), String> {
        self.fences.see(&BTreeMap::from([(host, sight)])).map(drop)
    }

    /// What controllers wrote, once all logs were heard that may say which terms began before.
    pub fn judge(&mut self) -> Result<(), String> {
        let written = std::mem::take(&mut self.written);
        self.tally.written += written.len() as u64;
        self.terms.check(written.iter().map(Written::by_whom))?;
        let mut agreed = Agreed::default();
        written.iter().try_for_each(|written| agreed.add(&written.change()))?;
        agreed.fences_hold(&self.began)
    }

    pub fn tally(&self) -> Tally {
        Tally { terms: self.replicas.terms() as u64, compared: self.replicas.compared(), ..self.tally }
    }
}

impl Written {
    fn by_whom(&self) -> terms::Written {
        terms::Written { revision: self.revision, by: self.by, author: self.controller.clone() }
    }

    /// As the store's judges know one that a term's task made.
    fn change(&self) -> Change {
        Change {
            revision: self.revision,
            key: Bytes::from(self.key.clone()),
            value: Some(Bytes::from(self.controller.clone())),
            previous: Previous::Forgotten,
            author: format!("fence:{}", self.term),
            proposed_at_ms: 0,
        }
    }
}

impl Tally {
    /// What nobody told anything of: that was not judged at all.
    pub fn untold(&self) -> Vec<String> {
        let kinds = [
            (self.looks, "no replica answered who asked it alone"),
            (self.claims, "no replica told who leads"),
            (self.begun, "no log told which term's controllers began"),
            (self.compared, "no two replicas told of their states at one revision"),
            (self.written, UNWRITTEN),
            (self.bookmarks, "no watcher was told a bookmark"),
        ];
        let none = kinds.into_iter().filter(|(times, _)| *times == 0);
        none.map(|(_, what)| format!("nothing was judged there: {what}")).collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { looks, claims, terms, begun, compared, written, bookmarks } = self;
        write!(
            f,
            "{looks} looks at replicas, told {claims} times who leads; {terms} terms, {begun} times controllers began; \
             {compared} equal states at equal revision; {written} writes of controllers held against the terms; \
             {bookmarks} bookmarks"
        )
    }
}

#[cfg(test)]
#[path = "testimony_tests.rs"]
mod tests;
