//! The order of a merged list: what the patch names stands in the patch's order, what only the server has
//! keeps its place among it. Pure.

use serde_json::Value;
use std::collections::HashMap;

/// Names the elements of one list: scalars are themselves, objects their merge key.
#[derive(Clone, Copy)]
pub(super) struct Naming<'a> {
    pub merge_key: Option<&'a str>,
}

impl Naming<'_> {
    pub fn name<'v>(&self, element: &'v Value) -> Option<&'v Value> {
        match self.merge_key {
            Some(key) => element.get(key),
            None => Some(element),
        }
    }

    /// Where each name first stands in `list`.
    pub fn places<'v>(&self, list: &'v [Value]) -> HashMap<&'v Value, usize> {
        let mut places = HashMap::with_capacity(list.len());
        for (place, element) in list.iter().enumerate() {
            if let Some(name) = self.name(element) {
                places.entry(name).or_insert(place);
            }
        }
        places
    }
}

/// Orders `merged`: the elements that `wanted` names as it names them; the others, which only the server
/// has, in the order of `server`, each before the first wanted element that followed it there.
pub(super) fn arrange(merged: Vec<Value>, wanted: &[Value], server: &[Value], naming: Naming<'_>) -> Vec<Value> {
    let (wanted, server) = (naming.places(wanted), naming.places(server));
    let (mut named, mut others) = (Vec::new(), Vec::new());
    for element in merged {
        let name = naming.name(&element);
        let at_server = name.and_then(|name| server.get(name)).copied();
        match name.and_then(|name| wanted.get(name)) {
            Some(place) => named.push((*place, at_server, element)),
            None => others.push((at_server.unwrap_or(usize::MAX), element)),
        }
    }
    named.sort_by_key(|(place, ..)| *place);
    others.sort_by_key(|(place, _)| *place);
    let mut arranged = Vec::with_capacity(named.len() + others.len());
    let mut others = others.into_iter().peekable();
    for (_, at_server, element) in named {
        let before = |place: usize| place != usize::MAX && at_server.is_some_and(|at_server| place < at_server);
        while let Some((_, other)) = others.next_if(|(place, _)| before(*place)) {
            arranged.push(other);
        }
        arranged.push(element);
    }
    arranged.extend(others.map(|(_, other)| other));
    arranged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<Value> {
        text.chars().map(|letter| Value::from(letter.to_string())).collect()
    }

    #[test]
    fn server_only_elements_keep_their_place() {
        for (merged, wanted, server, expected) in [
            ("abc", "abc", "abc", "abc"),
            ("abc", "ca", "abc", "bca"),
            ("xabc", "ab", "xabc", "xabc"),
            ("axb", "ba", "axb", "xba"),
            ("axbn", "anb", "axb", "anxb"),
            ("xy", "", "xy", "xy"),
            ("xab", "ab", "abx", "abx"),
        ] {
            let arranged = arrange(list(merged), &list(wanted), &list(server), Naming { merge_key: None });
            assert_eq!(arranged, list(expected), "{merged} {wanted} {server}");
        }
    }
}
