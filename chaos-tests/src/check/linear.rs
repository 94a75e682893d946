//! Is the history of one key linearizable? The search of Wing and Gong with Lowe's memory: some operation that could
//! have been first is taken first, and so on; what was tried once is not tried again. Pure.

use std::collections::HashSet;

/// Every written value is unique, so a value names its write. `None`: the key is absent.
pub type Value = Option<u64>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Read(Value),
    Write(Value),
    /// Took effect: something stood there, whatever it was.
    Replace(Value),
    /// Took effect: the key held `expected` then.
    Swap {
        expected: Value,
        new: Value,
    },
    /// Something stood there, whatever it was, but not this value.
    Stands {
        not: Value,
    },
}

impl Effect {
    /// It changes nothing.
    pub fn is_reading(self) -> bool {
        matches!(self, Effect::Read(_) | Effect::Stands { .. })
    }

    /// Can this take effect where the key holds that?
    fn suits(self, state: Value) -> bool {
        match self {
            Effect::Read(value) => value == state,
            Effect::Stands { not } => state.is_some() && state != not,
            Effect::Swap { expected, .. } => expected == state,
            Effect::Write(_) => true,
            Effect::Replace(_) => state.is_some(),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Operation {
    pub invoked: u64,
    /// `None`: its outcome is unknown. It may take effect at any time after its invocation, or never.
    pub returned: Option<u64>,
    pub effect: Effect,
}

/// A history that is not decided after so many steps counts as bad: somebody has to look at it.
const STATES_MAX: usize = 1_000_000;

/// A set of operations by number.
type Taken = Vec<u64>;

/// `Err` names the operations that no order explains beyond the longest one that was found.
pub fn check(operations: &[Operation]) -> Result<(), Vec<usize>> {
    let mut best: Taken = vec![0; operations.len().div_ceil(64)];
    let mut tried: HashSet<(Taken, Value)> = HashSet::new();
    let mut open = vec![(best.clone(), None::<u64>)];
    while let Some((mut taken, state)) = open.pop() {
        // A read that fits can always go first: it changes nothing.
        loop {
            let fits = |effect: Effect| effect.is_reading() && effect.suits(state);
            let read = possible(operations, &taken).find(|n| fits(operations[*n].effect));
            let Some(read) = read else { break };
            take(&mut taken, read);
        }
        if !tried.insert((taken.clone(), state)) {
            continue;
        }
        if count(&taken) > count(&best) {
            best.clone_from(&taken);
        }
        if missing(operations, &taken).next().is_none() {
            return Ok(());
        }
        if tried.len() > STATES_MAX {
            break;
        }
        // Whoever must come next needs a value: its write is tried first, so it is put on top.
        let urgent = missing(operations, &taken).min_by_key(|n| operations[*n].returned);
        let helps = |n: usize| urgent.is_some_and(|urgent| operations[urgent].effect.suits(made(operations[n].effect)));
        let mut next: Vec<usize> = possible(operations, &taken).collect();
        next.sort_by_key(|n| (helps(*n), urgent == Some(*n)));
        for n in next {
            let effect = operations[n].effect;
            if effect.is_reading() || !effect.suits(state) {
                continue;
            }
            let mut after = taken.clone();
            take(&mut after, n);
            open.push((after, made(effect)));
        }
    }
    Err(missing(operations, &best).collect())
}

/// The value that the key has afterwards, as far as the effect alone says it.
fn made(effect: Effect) -> Value {
    match effect {
        Effect::Read(value) | Effect::Write(value) | Effect::Replace(value) => value,
        Effect::Swap { new, .. } => new,
        Effect::Stands { .. } => None,
    }
}

fn holds(taken: &[u64], n: usize) -> bool {
    taken[n / 64] & 1 << (n % 64) != 0
}

fn take(taken: &mut [u64], n: usize) {
    taken[n / 64] |= 1 << (n % 64);
}

fn count(taken: &[u64]) -> u32 {
    taken.iter().map(|word| word.count_ones()).sum()
}

/// Those that returned and must therefore find a place.
fn missing<'a>(operations: &'a [Operation], taken: &'a [u64]) -> impl Iterator<Item = usize> + 'a {
    (0..operations.len()).filter(|n| operations[*n].returned.is_some() && !holds(taken, *n))
}

/// Those that could come next: none of the others had returned before they were invoked.
fn possible<'a>(operations: &'a [Operation], taken: &'a [u64]) -> impl Iterator<Item = usize> + 'a {
    let rest = move || (0..operations.len()).filter(move |n| !holds(taken, *n));
    let first = rest().filter_map(|n| operations[n].returned).min().unwrap_or(u64::MAX);
    rest().filter(move |n| operations[*n].invoked <= first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(text: &str) -> Vec<Operation> {
        let value = |text: &str| text.parse::<u64>().ok();
        let line = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let effect = match words[2] {
                "read" => Effect::Read(value(words[3])),
                "write" => Effect::Write(value(words[3])),
                "replace" => Effect::Replace(value(words[3])),
                "swap" => Effect::Swap { expected: value(words[3]), new: value(words[4]) },
                "stands" => Effect::Stands { not: value(words[3]) },
                other => panic!("{other}"),
            };
            Operation { invoked: words[0].parse().unwrap(), returned: words[1].parse().ok(), effect }
        };
        text.lines().filter(|text| !text.trim().is_empty()).map(line).collect()
    }

    #[track_caller]
    fn good(text: &str) {
        assert_eq!(check(&history(text)), Ok(()), "{text}");
    }

    #[track_caller]
    fn bad(text: &str) {
        assert!(check(&history(text)).is_err(), "{text}");
    }

    #[test]
    fn histories_that_are_linearizable() {
        good("");
        good("0 1 write 1\n 2 3 read 1");
        good("0 9 write 1\n 1 2 read -\n 3 4 read 1");
        good("0 9 write 1\n 0 9 write 2\n 1 2 read 2\n 3 4 read 1");
        good("0 1 write 1\n 2 3 swap 1 2\n 4 5 read 2\n 6 7 write -\n 8 9 swap - 3");
        good("0 1 write 1\n 1 2 read -");
    }

    #[test]
    fn an_unknown_outcome_may_come_late_or_never() {
        good("0 ? write 1\n 2 3 read -\n 4 5 read 1");
        good("0 ? write 1\n 2 3 read -\n 4 5 read -");
        good("0 ? swap - 1\n 2 3 write 2\n 4 5 read 2");
        bad("0 ? write 1\n 2 3 read 1\n 4 5 read -");
        bad("4 ? write 1\n 0 2 read 1");
    }

    #[test]
    fn a_stale_read() {
        bad("0 1 write 1\n 2 3 read -");
        bad("0 1 write 1\n 2 3 write 2\n 4 5 read 1");
        bad("0 9 write 1\n 1 2 read 1\n 3 4 read -");
    }

    #[test]
    fn a_lost_write() {
        bad("0 1 write 1\n 2 3 write 2\n 4 5 read -");
    }

    #[test]
    fn a_value_from_nowhere() {
        bad("0 1 write 1\n 2 3 read 7");
    }

    #[test]
    fn something_that_stood_there() {
        good("0 1 write 1\n 2 3 stands -\n 4 5 read 1");
        good("0 1 write 1\n 2 9 write 2\n 3 4 stands 1");
        good("0 9 write 1\n 1 2 read -\n 3 4 stands -\n 5 6 read 1");
        good("0 ? write 1\n 2 3 stands -");
        bad("2 3 stands -");
        bad("0 1 write 1\n 2 3 write -\n 4 5 stands -");
        bad("0 1 write 1\n 2 3 stands 1");
        bad("0 9 write 1\n 1 2 stands -\n 3 4 read -");
        bad("0 1 write 1\n 2 9 write 2\n 3 4 stands 1\n 5 6 read 1");
    }

    #[test]
    fn something_that_was_replaced() {
        good("0 1 write 1\n 2 3 replace 2\n 4 5 read 2\n 6 7 replace -\n 8 9 read -");
        good("0 9 write 1\n 1 2 replace 2\n 3 4 read 2");
        bad("0 1 replace 1");
        bad("0 1 write 1\n 2 3 replace -\n 4 5 replace 2");
    }

    #[test]
    fn two_swaps_of_one_value() {
        bad("0 1 write 1\n 2 9 swap 1 2\n 2 9 swap 1 3");
        good("0 1 write 1\n 2 9 swap 1 2\n 2 9 swap 2 3");
    }

    #[test]
    fn readers_who_disagree_on_the_order() {
        bad("0 9 write 1\n 0 9 write 2\n 1 2 read 1\n 3 4 read 2\n 1 2 read 2\n 3 4 read 1");
    }

    #[test]
    fn many_at_once_are_no_burden() {
        let mut text = String::new();
        for n in 0..60 {
            text += &format!("0 1000 write {n}\n{} {} read {n}\n", 10 * n + 1, 10 * n + 2);
        }
        text += "2000 2001 read 59\n";
        good(&text);
    }
}
