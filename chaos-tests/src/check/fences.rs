//! Whose state is odd is fenced, soon once nothing is in the way, and nobody else is; where no state is odd, nobody finds one and
//! nobody doubts. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// docs/disk.md says a second. A connection that died with the faults and does not say so is noticed after four more, and may take
/// one to be made anew. Twice that leaves room for one more that dies with it.
const WITHIN: Duration = Duration::from_secs(10);

/// What is to be seen of a replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// Its state is not what the log makes of it.
    pub odd: bool,
    pub fenced: bool,
    /// It doubts, or has found another one odd.
    pub suspects: bool,
}

#[derive(Default)]
pub struct Fences {
    known: BTreeMap<u64, Known>,
    /// Some state has been odd.
    any: bool,
    /// In which term, and since when, one that is odd has had nothing in the way of its fence.
    open: Option<(u64, Duration)>,
}

#[derive(Default)]
struct Known {
    newest: Sight,
    /// Since its process began.
    odd: bool,
    /// Since its disk was empty.
    fenced: bool,
}

impl Fences {
    /// One look at all who run. Returns of whom there is something new to see.
    pub fn see(&mut self, sights: &BTreeMap<u64, Sight>) -> Result<Vec<u64>, String> {
        self.any |= sights.values().any(|sight| sight.odd);
        let mut news = Vec::new();
        for (id, sight) in sights {
            let known = self.known.entry(*id).or_default();
            if std::mem::replace(&mut known.newest, *sight) != *sight {
                news.push(*id);
            }
            known.odd |= sight.odd;
            if sight.fenced && !known.odd && !known.fenced {
                return Err(format!("replica {id} is fenced, and its state was never odd"));
            }
            known.fenced |= sight.fenced;
            if sight.suspects && !self.any {
                return Err(format!("replica {id} finds a state odd, or doubts, and none ever was"));
            }
        }
        Ok(news)
    }

    /// Its process ends. Another one may have another state, but finds the fence.
    pub fn ends(&mut self, id: u64) {
        if let Some(known) = self.known.get_mut(&id) {
            (known.newest, known.odd) = Default::default();
        }
    }

    /// Its disk is empty.
    pub fn emptied(&mut self, id: u64) {
        self.known.remove(&id);
    }

    /// `calm`: the term in which all replicas have one leader, after the end of all faults.
    pub fn on_time(&mut self, now: Duration, calm: Option<u64>) -> Result<(), String> {
        let mut known = self.known.iter();
        let at_large = known.find(|(_, known)| known.newest.odd && !known.newest.fenced).map(|(id, _)| *id);
        let Some((id, term)) = at_large.zip(calm) else {
            self.open = None;
            return Ok(());
        };
        let since = self.open.filter(|(of, _)| *of == term).map_or(now, |(_, since)| since);
        self.open = Some((term, since));
        match now.saturating_sub(since) > WITHIN {
            true => Err(format!("the state of replica {id} is odd, all was well for {WITHIN:?}, and nobody fenced it")),
            false => Ok(()),
        }
    }
}

impl fmt::Display for Sight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [(self.odd, "odd"), (self.fenced, "fenced"), (self.suspects, "suspects others")];
        let words: Vec<&str> = words.into_iter().filter_map(|(is, word)| is.then_some(word)).collect();
        match words.is_empty() {
            true => write!(f, "sound"),
            false => write!(f, "{}", words.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: Sight = Sight { odd: false, fenced: false, suspects: false };
    const ODD: Sight = Sight { odd: true, ..SOUND };
    const FENCED: Sight = Sight { fenced: true, ..SOUND };
    const BOTH: Sight = Sight { odd: true, ..FENCED };
    const SUSPICIOUS: Sight = Sight { suspects: true, ..SOUND };

    /// Of replicas 1, 2, 3.
    fn see(fences: &mut Fences, sights: [Sight; 3]) -> Result<Vec<u64>, String> {
        fences.see(&(1..).zip(sights).collect())
    }

    #[test]
    fn the_odd_one_is_fenced_and_stays_so_until_it_is_emptied() {
        let mut fences = Fences::default();
        assert_eq!(see(&mut fences, [SOUND; 3]), Ok(vec![]));
        assert_eq!(see(&mut fences, [SUSPICIOUS, ODD, SOUND]), Ok(vec![1, 2]), "one look, in any order");
        assert_eq!(see(&mut fences, [SUSPICIOUS, BOTH, SOUND]), Ok(vec![2]));
        // Its process had not saved its state, but the fence.
        fences.ends(2);
        assert_eq!(see(&mut fences, [SUSPICIOUS, FENCED, SOUND]), Ok(vec![2]));
        fences.ends(2);
        fences.emptied(2);
        assert_eq!(see(&mut fences, [SUSPICIOUS, SOUND, SOUND]), Ok(vec![]));
        assert!(see(&mut fences, [SUSPICIOUS, FENCED, SOUND]).is_err(), "it has another state now");
    }

    #[test]
    fn nobody_else_is_fenced_and_nobody_suspects_who_is_not_odd() {
        assert!(see(&mut Fences::default(), [SOUND, FENCED, SOUND]).is_err());
        assert!(see(&mut Fences::default(), [SOUND, ODD, FENCED]).is_err());
        assert!(see(&mut Fences::default(), [SUSPICIOUS, SOUND, SOUND]).is_err());
        let mut fences = Fences::default();
        see(&mut fences, [SOUND, ODD, SOUND]).unwrap();
        fences.ends(2);
        assert!(see(&mut fences, [SOUND, FENCED, SOUND]).is_err(), "a restart made it right before it was fenced");
    }

    #[test]
    fn it_is_fenced_in_time_where_nothing_is_in_the_way() {
        let late = |at_s: &[(u64, Option<u64>)]| {
            let mut fences = Fences::default();
            see(&mut fences, [SOUND, ODD, SOUND]).unwrap();
            at_s.iter().try_for_each(|(at, calm)| fences.on_time(Duration::from_secs(*at), *calm)).is_err()
        };
        assert!(!late(&[(3, Some(1)), (13, Some(1))]));
        assert!(late(&[(3, Some(1)), (14, Some(1))]));
        assert!(!late(&[(3, Some(1)), (8, None), (14, Some(1))]), "something was in the way");
        assert!(!late(&[(3, Some(1)), (8, Some(2)), (14, Some(2))]), "another one leads");
        assert!(!late(&[(3, None), (30, None)]));
        let mut fences = Fences::default();
        see(&mut fences, [SOUND, BOTH, SOUND]).unwrap();
        for at in [3, 30] {
            fences.on_time(Duration::from_secs(at), Some(1)).unwrap();
        }
    }
}
