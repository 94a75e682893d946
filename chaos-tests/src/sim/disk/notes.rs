//! The notes of a simulated disk, apart from its tables: what is durable of each and what was saved since, torn ones and rotten ones.
//! Pure, but for what it draws.

use std::collections::{BTreeMap, BTreeSet};

use proto::seam::Random;
use raft::Note;

/// What fits into it, and is as long as the old one, is written in place. Else it takes the old one's place as a whole.
const SECTOR: usize = 512;

#[derive(Default)]
pub struct Notes {
    /// What is durable of each, and what was saved since, oldest first.
    versions: BTreeMap<Note, Vec<Vec<u8>>>,
    /// The newest mark of the log's end went with a crash: what it vouched for cannot be missed before there is another.
    is_unmarked: bool,
    /// Those that were torn, or of which a bit turned over, as they were then.
    damaged: BTreeMap<Note, Vec<u8>>,
    /// Those of them that whoever uses the disk has come upon.
    met: BTreeSet<Note>,
}

impl Notes {
    pub fn is_empty(&self) -> bool {
        self.versions.is_empty()
    }

    pub fn has(&self, note: Note) -> bool {
        self.versions.contains_key(&note)
    }

    pub fn is_unmarked(&self) -> bool {
        self.is_unmarked
    }

    /// Somebody else uses the disk from now on.
    pub fn opened(&mut self) {
        self.met.clear();
    }

    pub fn read(&mut self, note: Note) -> Option<Vec<u8>> {
        let found = self.newest(note)?.clone();
        if self.damaged.get(&note) == Some(&found) {
            self.met.insert(note);
        }
        Some(found)
    }

    fn newest(&self, note: Note) -> Option<&Vec<u8>> {
        self.versions.get(&note)?.last()
    }

    /// The first one is durable in any case: it comes with a sync of its directory.
    pub fn save(&mut self, note: Note, bytes: &[u8], durable: bool) {
        self.is_unmarked &= note != Note::Mark;
        let versions = self.versions.entry(note).or_default();
        versions.push(bytes.into());
        if durable {
            versions.drain(..versions.len() - 1);
        }
    }

    /// Of a save in place that was to be durable only the beginning is done. `false`: it is not in place.
    pub fn tear(&mut self, note: Note, bytes: &[u8], random: &Random) -> bool {
        let old = self.versions.get(&note).and_then(|versions| versions.first());
        let Some(torn) = old.and_then(|old| torn(old, bytes, random)) else { return false };
        self.damage(note, torn);
        true
    }

    fn damage(&mut self, note: Note, bytes: Vec<u8>) {
        self.is_unmarked |= note == Note::Mark;
        self.damaged.insert(note, bytes.clone());
        self.versions.insert(note, vec![bytes]);
    }

    /// Of each one version survives, whichever the kernel had written by then. `tears`: it was about to write the newest one over an
    /// older one, if it had to. Returns how many are torn.
    pub fn crash(&mut self, tears: bool, random: &Random) -> u64 {
        let mut damage = Vec::new();
        for (note, versions) in &mut self.versions {
            let newest = versions.len() - 1;
            let surviving = random.below(newest as u64 + 1) as usize;
            self.is_unmarked |= *note == Note::Mark && surviving < newest;
            if tears && newest > 0 {
                let old = &versions[random.below(newest as u64) as usize];
                damage.extend(torn(old, &versions[newest], random).map(|torn| (*note, torn)));
            }
            *versions = vec![versions.swap_remove(surviving)];
        }
        let count = damage.len() as u64;
        damage.into_iter().for_each(|(note, torn)| self.damage(note, torn));
        count
    }

    /// As [`Notes::crash`], of a disk that rotted while its machine ran: that leaves what the kernel had still to write.
    pub fn keep_newest(&mut self) {
        for versions in self.versions.values_mut() {
            versions.drain(..versions.len() - 1);
        }
    }

    /// Turns a bit of one over that nobody uses now. Returns which one.
    pub fn rot(&mut self, random: &Random) -> Option<Note> {
        let notes: Vec<Note> = self.versions.keys().copied().collect();
        let note = *notes.get(random.below(notes.len().max(1) as u64) as usize)?;
        let mut rotten = self.newest(note)?.clone();
        let bit = random.below(8 * rotten.len().max(1) as u64) as usize;
        *rotten.get_mut(bit / 8)? ^= 1 << (bit % 8);
        self.damage(note, rotten);
        Some(note)
    }

    /// Which are damaged now: they were not saved since.
    pub fn damaged(&self) -> Vec<Note> {
        let notes = self.damaged.iter().filter(|(note, bytes)| self.newest(**note) == Some(*bytes));
        notes.map(|(note, _)| *note).collect()
    }

    /// How many damaged ones whoever uses the disk has come upon.
    pub fn met(&self) -> u64 {
        self.met.len() as u64
    }
}

/// The beginning of the new one, and the rest of the old one. `None`: that is not in place, or happens to be one of the two.
fn torn(old: &[u8], new: &[u8], random: &Random) -> Option<Vec<u8>> {
    if old.len() != new.len() || !(2..=SECTOR).contains(&new.len()) {
        return None;
    }
    let kept = 1 + random.below(new.len() as u64 - 1) as usize;
    let torn = [&new[..kept], &old[kept..]].concat();
    (torn != old && torn != new).then_some(torn)
}
