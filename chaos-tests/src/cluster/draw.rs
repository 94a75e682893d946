//! A plan drawn from a seed. Whoever adds a fault draws it from random numbers of its own: what seeds have found is told by their
//! numbers. Pure.

use proto::seam::Random;

use super::plan::{Fault, Kind, NEW_NODE, NEWCOMER, NODES, Plan, REPLICAS, USER, Who};
use crate::sim::links::{HostId, Loss};

const BEGINS_MS: u64 = 6_000;
const ENDS_MS: u64 = 30_000;
const FAULTS: (u64, u64) = (3, 9);
/// One of so many seeds has a disk that rots.
const DECAY_EVERY: u64 = 4;
/// On top of those, of the kinds that break links and disks.
const BREAKS: (u64, u64) = (0, 4);
/// One of so many seeds has a further replica, one a node that is relieved, and one short histories: whichever it is, so that they
/// come together in all ways.
const NEWCOMER_EVERY: u64 = 4;
const RELIEF_EVERY: u64 = 4;
const SHORT_HISTORY_EVERY: u64 = 4;
/// A guest stays for so long.
const GUEST_MS: (u64, u64) = (5_000, 10_000);
/// What meets who has joined begins so long after the order, and so much later at most.
const THERE_MS: (u64, u64) = (1_500, 10_000);
/// Histories are short by age or by size; the longest of the latter are some seconds of a Deployment that rolls.
const HISTORY_S: (u64, u64) = (2, 4);
const HISTORY_BYTES: u64 = 4 << 10;
/// As in production.
const LONG_S: u64 = 3_600;
const LONG_BYTES: u64 = 256 << 20;

impl Plan {
    pub fn new(seed: u64) -> Plan {
        let random = Random::from_seed(seed ^ 0x0063_6c75_7374_6572);
        let count = FAULTS.0 + random.below(FAULTS.1 - FAULTS.0);
        let mut faults: Vec<Fault> = (0..count).map(|_| fault(&random)).collect();
        let random = Random::from_seed(seed ^ 0x6272_6561_6b73);
        let count = BREAKS.0 + random.below(BREAKS.1 - BREAKS.0);
        faults.extend((0..count).map(|_| broken(&random)));
        faults.extend((seed % DECAY_EVERY == 1).then(|| decay(seed)));
        faults.extend(newcomer(seed));
        faults.extend(relief(seed));
        faults.extend(short_history(seed));
        faults.sort_by_key(|fault| fault.at_ms);
        Plan { seed, faults, ends_ms: ENDS_MS }
    }
}

fn loss(random: &Random) -> Loss {
    if random.below(2) == 0 { Loss::Held } else { Loss::Lost }
}

fn fault(random: &Random) -> Fault {
    let replica = || random.below(REPLICAS as u64) as usize;
    let node = || REPLICAS + random.below(NODES as u64) as usize;
    let either = || random.below(2) == 0;
    // Half of what meets a replica meets the leader.
    let someone = || match random.below(4) {
        0 => Who::Leader,
        1 => Who::Host(replica()),
        _ => Who::Host(node()),
    };
    let kind = match random.below(16) {
        0 => Kind::Crash(Who::Leader, either()),
        1 | 2 => Kind::Crash(Who::Host(node()), either()),
        3 => Kind::Crash(someone(), either()),
        4 => Kind::Freeze(Who::Leader),
        5 => Kind::Freeze(someone()),
        6 => Kind::CutOff(Who::Leader, loss(random)),
        7 => Kind::CutOff(someone(), loss(random)),
        8 => Kind::Deaf(someone()),
        9 => Kind::Transfer(replica()),
        10 => Kind::EngineHangs(node()),
        11 => Kind::Slow(5 + random.below(100)),
        12 => Kind::Clock(someone(), random.below(8_000) as i64 - 4_000),
        13 => Kind::Reset(someone()),
        14 => Kind::SlowDisk(replica(), 10 + random.below(300)),
        _ => Kind::FullDisk(replica()),
    };
    timed(random, kind)
}

fn broken(random: &Random) -> Fault {
    let replica = || random.below(REPLICAS as u64) as usize;
    let host = || random.below(USER as u64) as usize;
    let kind = match random.below(6) {
        0 => Kind::FailSync(replica()),
        1 => Kind::FailWrite(replica()),
        2 => {
            let one = host();
            Kind::OneWay(one, (one + 1 + random.below(USER as u64 - 1) as usize) % USER)
        }
        3 => Kind::Bridge(replica(), loss(random)),
        4 => Kind::Flap(host(), 50 + random.below(1_000), loss(random)),
        _ => Kind::Compact(replica()),
    };
    timed(random, kind)
}

fn decay(seed: u64) -> Fault {
    let random = Random::from_seed(seed ^ 0x6465_6361_7973);
    let who = match random.below(2) {
        0 => Who::Leader,
        _ => Who::Host(random.below(REPLICAS as u64) as usize),
    };
    Fault { for_ms: 0, ..timed(&random, Kind::Decay(who)) }
}

/// A further replica, half of the time in the place of a founder, and what goes wrong where it runs. Half of the guests stay.
fn newcomer(seed: u64) -> Vec<Fault> {
    let random = Random::from_seed(seed ^ 0x666f_7572_7468);
    if random.below(NEWCOMER_EVERY) > 0 {
        return Vec::new();
    }
    let (at_ms, founder) = (BEGINS_MS + random.below(6_000), random.below(REPLICAS as u64) as usize);
    let stay_ms = if random.below(2) == 0 { GUEST_MS.0 + random.below(GUEST_MS.1) } else { ENDS_MS };
    let replaces = random.below(2) == 0;
    let joins = match replaces {
        true => Fault { at_ms, for_ms: 0, kind: Kind::Replace(founder) },
        false => Fault { at_ms, for_ms: stay_ms, kind: Kind::Guest },
    };
    let mut faults = vec![joins];
    for _ in 0..1 + random.below(3) {
        // Who is replaced is started again, or told late.
        let host = if replaces && random.below(4) == 0 { founder } else { NEWCOMER };
        faults.push(Fault { at_ms: there_ms(&random, at_ms), ..upon_replica(&random, host) });
    }
    faults
}

fn upon_replica(random: &Random, host: HostId) -> Fault {
    let who = Who::Host(host);
    let kind = match random.below(12) {
        0 | 1 => Kind::Crash(who, random.below(2) == 0),
        2 => Kind::Freeze(who),
        3 => Kind::CutOff(who, loss(random)),
        4 => Kind::Deaf(who),
        5 => Kind::Flap(host, 50 + random.below(1_000), loss(random)),
        6 => Kind::Reset(who),
        7 => Kind::SlowDisk(host, 10 + random.below(300)),
        8 => Kind::FullDisk(host),
        9 => Kind::FailSync(host),
        10 => Kind::FailWrite(host),
        _ => Kind::Transfer(host),
    };
    timed(random, kind)
}

/// A node that is relieved, and what goes wrong with the one that takes its place.
fn relief(seed: u64) -> Vec<Fault> {
    let random = Random::from_seed(seed ^ 0x0064_7261_696e);
    if random.below(RELIEF_EVERY) > 0 {
        return Vec::new();
    }
    let (at_ms, node) = (BEGINS_MS + random.below(8_000), REPLICAS + random.below(NODES as u64) as usize);
    let who = Who::Host(NEW_NODE);
    let kind = match random.below(4) {
        0 => Kind::Crash(who, random.below(2) == 0),
        1 => Kind::Freeze(who),
        2 => Kind::CutOff(who, loss(&random)),
        _ => Kind::EngineHangs(NEW_NODE),
    };
    let relief = Fault { at_ms, for_ms: 0, kind: Kind::Relieve(node) };
    vec![relief, Fault { at_ms: there_ms(&random, at_ms), ..timed(&random, kind) }]
}

fn short_history(seed: u64) -> Option<Fault> {
    let random = Random::from_seed(seed ^ 0x0077_696e_646f_7773);
    if random.below(SHORT_HISTORY_EVERY) > 0 {
        return None;
    }
    let (seconds, bytes) = match random.below(2) {
        0 => (HISTORY_S.0 + random.below(HISTORY_S.1), LONG_BYTES),
        _ => (LONG_S, HISTORY_BYTES << random.below(4)),
    };
    Some(Fault { at_ms: 0, for_ms: ENDS_MS, kind: Kind::ShortHistory { seconds, bytes } })
}

/// At some time, for some time.
fn timed(random: &Random, kind: Kind) -> Fault {
    let for_ms = match random.below(3) {
        0 => 50 + random.below(1_000),
        1 => 1_000 + random.below(4_000),
        _ => 4_000 + random.below(12_000),
    };
    Fault { at_ms: BEGINS_MS + random.below(ENDS_MS - BEGINS_MS - 2_000), for_ms, kind }
}

/// When something meets who was ordered to join then.
fn there_ms(random: &Random, ordered_ms: u64) -> u64 {
    ordered_ms + THERE_MS.0 + random.below(THERE_MS.1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cluster::plan::Wanted;

    const SEEDS: u64 = 400;

    #[test]
    fn the_same_seed_has_the_same_plan_and_all_kinds_come_up() {
        let mut kinds = BTreeSet::new();
        for seed in 0..100 {
            let plan = Plan::new(seed);
            assert_eq!(plan.faults, Plan::new(seed).faults);
            assert!(plan.moments().is_sorted());
            kinds.extend(plan.faults.iter().map(Fault::name));
        }
        assert_eq!(kinds.len(), 22, "{kinds:?}");
    }

    #[test]
    fn in_a_quarter_of_the_seeds_a_replica_joins_and_whatever_meets_it_comes_later() {
        let plans: Vec<Plan> = (0..SEEDS).map(Plan::new).filter(|plan| plan.newcomer().is_some()).collect();
        assert!((80..120).contains(&plans.len()), "{}", plans.len());
        let wanted: Vec<Wanted> = plans.iter().filter_map(Plan::newcomer).collect();
        let replaces = wanted.iter().filter(|wanted| wanted.replaces.is_some()).count();
        let leaves = wanted.iter().filter(|wanted| wanted.to_ms.is_some()).count();
        let stays = plans.len() - replaces - leaves;
        assert!((35..65).contains(&(100 * replaces / plans.len())), "{replaces} of {} replace a founder", plans.len());
        assert!(leaves > 10 && stays > 10, "{leaves} guests leave, and {stays} stay");
        for (plan, wanted) in plans.iter().zip(&wanted) {
            let met = plan.faults.iter().filter(|fault| meets(fault, NEWCOMER)).map(|fault| fault.at_ms);
            let mut later = met.chain(plan.leaves().map(|(at_ms, _)| at_ms));
            assert!(later.all(|at_ms| (wanted.from_ms..ENDS_MS).contains(&at_ms)), "seed {}", plan.seed);
            let moves = |fault: &&Fault| matches!(fault.kind, Kind::Guest | Kind::Replace(_));
            assert_eq!(plan.faults.iter().filter(moves).count(), 1, "seed {}", plan.seed);
        }
        let met = plans.iter().filter(|plan| plan.faults.iter().any(|fault| meets(fault, NEWCOMER))).count();
        assert!(10 * met > 9 * plans.len(), "{met} of {} are met by something", plans.len());
    }

    #[test]
    fn nobody_is_met_where_he_never_comes() {
        let plans: Vec<Plan> = (0..SEEDS).map(Plan::new).collect();
        for plan in &plans {
            let is_met = |host| plan.faults.iter().any(|fault| meets(fault, host));
            assert!(plan.newcomer().is_some() || !is_met(NEWCOMER), "seed {}: {:?}", plan.seed, plan.faults);
            assert!(plan.relieved().is_some() || !is_met(NEW_NODE), "seed {}: {:?}", plan.seed, plan.faults);
        }
        let relieved = plans.iter().filter(|plan| plan.relieved().is_some()).count();
        let short = plans.iter().filter(|plan| plan.history().is_some()).count();
        assert!((70..120).contains(&relieved) && (70..120).contains(&short), "{relieved}, {short}");
        let all = |plan: &Plan| plan.newcomer().is_some() && plan.relieved().is_some() && plan.history().is_some();
        assert!(plans.iter().any(all), "they come together");
    }

    fn meets(fault: &Fault, host: HostId) -> bool {
        match fault.kind {
            Kind::Crash(who, _)
            | Kind::Freeze(who)
            | Kind::CutOff(who, _)
            | Kind::Deaf(who)
            | Kind::Clock(who, _)
            | Kind::Reset(who)
            | Kind::Decay(who) => who == Who::Host(host),
            Kind::Transfer(met)
            | Kind::EngineHangs(met)
            | Kind::SlowDisk(met, _)
            | Kind::FullDisk(met)
            | Kind::FailSync(met)
            | Kind::FailWrite(met)
            | Kind::OneWay(met, _)
            | Kind::Bridge(met, _)
            | Kind::Flap(met, ..)
            | Kind::Compact(met) => met == host,
            Kind::Slow(_) | Kind::Guest | Kind::Replace(_) | Kind::Relieve(_) | Kind::ShortHistory { .. } => false,
        }
    }
}
