//! Cuts a set of items into messages of a bounded size. Pure.

use proto::session::{Assignment, Item};

/// A message is closed once it carries this much; a single object (at most about 1.5 MiB) may exceed it.
const MESSAGE_BYTES: usize = 1 << 20;
const ITEMS_MAX: usize = 1000;

/// The messages of one assignment; the first has the sequence `first`, and all but the last say that more follows.
pub fn assignments(term: u64, first: u64, full: bool, upserts: Vec<Item>, removed: Vec<String>) -> Vec<Assignment> {
    let mut messages = vec![Assignment { term, sequence: first, full, removed, ..Assignment::default() }];
    let mut bytes = 0;
    for item in upserts {
        let size = item.key.len() + item.json.len();
        let open = messages.last_mut().expect("there is always one");
        if !open.upserts.is_empty() && (bytes + size > MESSAGE_BYTES || open.upserts.len() >= ITEMS_MAX) {
            open.more = true;
            let sequence = open.sequence + 1;
            messages.push(Assignment { term, sequence, ..Assignment::default() });
            bytes = 0;
        }
        bytes += size;
        messages.last_mut().expect("there is always one").upserts.push(item);
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_set_is_cut_and_a_small_one_is_not() {
        let item = |size: usize| Item { key: "k".into(), json: vec![b' '; size].into() };
        let shape = |sizes: &[usize]| -> Vec<(u64, bool, bool, usize)> {
            let items = sizes.iter().map(|&size| item(size)).collect();
            assignments(7, 1, true, items, vec![])
                .iter()
                .map(|one| (one.sequence, one.full, one.more, one.upserts.len()))
                .collect()
        };
        assert_eq!(shape(&[]), [(1, true, false, 0)]);
        assert_eq!(shape(&[10, 20]), [(1, true, false, 2)]);
        assert_eq!(
            shape(&[3 << 20, 600 << 10, 600 << 10, 1]),
            [(1, true, true, 1), (2, false, true, 1), (3, false, false, 2)]
        );
        assert_eq!(shape(&vec![1; ITEMS_MAX + 1]), [(1, true, true, ITEMS_MAX), (2, false, false, 1)]);
    }
}
