//! A replica that has found damage in its data begins anew by itself, as soon as the others can spare it. Pure.
//!
//! Whoever looks after processes would start such a one anew in the end, and so hide that it waits for ever.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use raft::Store;

/// Longer than a replica takes to be filled, and to try again some times.
const WITHIN: Duration = Duration::from_secs(25);

/// Whoever has found damage is to get over that by itself: for so long no supervisor starts it anew.
pub const ALONE: Duration = Duration::from_secs(15);

/// What is to be seen of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    pub serves: bool,
    pub damaged: bool,
    /// For reasons of its own it may not: its device failed, its state is odd, or it has done so just now.
    pub hindered: bool,
}

impl Sight {
    pub fn of(store: &Store) -> Sight {
        let metrics = store.metrics();
        let renewed = metrics.renewals.load(Relaxed) > 0;
        Sight {
            serves: store.health().is_ok(),
            damaged: metrics.rot().is_some(),
            hindered: renewed || metrics.device_failure().is_some() || store.trusted().is_err(),
        }
    }
}

#[derive(Default)]
pub struct Repairs {
    /// Since when somebody could begin anew, and nobody has.
    open: Option<Duration>,
    begun: u64,
}

impl Repairs {
    /// One look at all members, of whom `all` are to be there. `begun`: how often one has begun anew so far. Returns who could now.
    pub fn see(
        &mut self,
        now: Duration,
        sights: &BTreeMap<u64, Sight>,
        all: usize,
        begun: u64,
    ) -> Result<Vec<u64>, String> {
        let able: Vec<u64> = sights.keys().copied().filter(|id| can(*id, sights, all)).collect();
        if able.is_empty() || std::mem::replace(&mut self.begun, begun) != begun {
            self.open = None;
        }
        if able.is_empty() {
            return Ok(able);
        }
        let since = *self.open.get_or_insert(now);
        match now - since > WITHIN {
            true => Err(format!("the data of {able:?} is damaged, and for {WITHIN:?} none has begun anew: {sights:?}")),
            false => Ok(able),
        }
    }
}

/// The others serve, apart from those who are damaged as well; they are a majority without it, and one of them is sound. All are there.
fn can(id: u64, sights: &BTreeMap<u64, Sight>, all: usize) -> bool {
    let own = sights[&id];
    let others = || sights.iter().filter(|(other, _)| **other != id).map(|(_, sight)| sight);
    own.damaged
        && !own.hindered
        && sights.len() == all
        && others().all(|other| other.serves || other.damaged)
        && others().filter(|other| other.serves).count() > all / 2
        && others().any(|other| other.serves && !other.damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: Sight = Sight { serves: true, damaged: false, hindered: false };
    const DAMAGED: Sight = Sight { damaged: true, ..SOUND };
    const ENDED: Sight = Sight { serves: false, ..DAMAGED };

    fn able(sights: &[Sight]) -> Vec<u64> {
        let sights = (1..).zip(sights.iter().copied()).collect();
        Repairs::default().see(Duration::ZERO, &sights, 3, 0).unwrap()
    }

    #[test]
    fn who_can_be_spared_is_known() {
        assert_eq!(able(&[DAMAGED, SOUND, SOUND]), [1]);
        assert_eq!(able(&[ENDED, SOUND, SOUND]), [1]);
        assert_eq!(able(&[ENDED, DAMAGED, SOUND]), [1], "without the second there is no majority");
        assert_eq!(able(&[DAMAGED, DAMAGED, SOUND]), [1, 2]);
        assert_eq!(able(&[ENDED, ENDED, SOUND]), [0; 0]);
        assert_eq!(able(&[DAMAGED, DAMAGED, DAMAGED]), [0; 0], "nobody could fill it");
        let filled = Sight { serves: false, ..SOUND };
        assert_eq!(able(&[DAMAGED, filled, SOUND]), [0; 0]);
        assert_eq!(able(&[DAMAGED, SOUND]), [0; 0], "one is away");
        assert_eq!(able(&[Sight { hindered: true, ..DAMAGED }, SOUND, SOUND]), [0; 0]);
    }

    #[test]
    fn who_waits_for_ever_is_found_out() {
        let sights: BTreeMap<u64, Sight> = [(1, DAMAGED), (2, DAMAGED), (3, SOUND)].into();
        let mut repairs = Repairs::default();
        let second = Duration::from_secs;
        repairs.see(second(1), &sights, 3, 0).unwrap();
        repairs.see(second(20), &sights, 3, 0).unwrap();
        repairs.see(second(30), &sights, 3, 1).expect("one has begun anew since");
        repairs.see(second(50), &sights, 3, 1).unwrap();
        let why = repairs.see(second(60), &sights, 3, 1).unwrap_err();
        assert!(why.starts_with("the data of [1, 2] is damaged"), "{why}");
    }
}
