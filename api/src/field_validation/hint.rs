//! What somebody may have meant by a field that does not exist: a slip of the pen, or of the indentation. Pure.

use super::walk::Place;
use crate::schema::{Shape, Type, types};

/// Longer names than any field's are no near misses.
const NAME_BYTES_MAX: usize = 64;

/// The advice for `name` at `place`, an object of type `of`.
pub(super) fn hint(place: &Place, name: &str, of: &'static Type) -> Option<String> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    if let Some(field) = of.fields().iter().find(|field| field.name.eq_ignore_ascii_case(name)) {
        return Some(format!("did you mean {:?}?", field.name));
    }
    if let Some(path) = inside(of, name).map(|path| below(place, &path)).or_else(|| outside(place, name)) {
        return Some(format!("did you mean {path:?}? Check the indentation"));
    }
    let near = of.fields().iter().map(|field| (distance(name, &field.name), &field.name)).min()?;
    (near.0 <= 1 + name.len() / 5).then(|| format!("did you mean {:?}?", near.1))
}

/// One level further in: `spec.image` for `containers[*].image`, `replicas` for `spec.replicas`.
fn inside(of: &'static Type, name: &str) -> Option<String> {
    let candidates = of.fields().iter().filter(|field| !matches!(field.name.as_ref(), "metadata" | "status"));
    let found = candidates.filter_map(|field| {
        let (number, step) = match &field.shape {
            Shape::Object(number) => (*number, "."),
            Shape::List(items) => match items.as_ref() {
                Shape::Object(number) => (*number, "[*]."),
                _ => return None,
            },
            _ => return None,
        };
        types().get(number).field(name)?;
        Some((rank(&field.name), format!("{}{step}{name}", field.name)))
    });
    found.min().map(|(_, path)| path)
}

/// The parts of an object that people write most come first: `containers` before `initContainers`.
fn rank(field: &str) -> usize {
    ["spec", "template", "containers", "ports"].iter().position(|common| *common == field).unwrap_or(usize::MAX)
}

/// Further out: `spec.containers[0].volumes` for `spec.volumes`.
fn outside(place: &Place, name: &str) -> Option<String> {
    let (path, _) = place.around().find(|(_, of)| of.field(name).is_some())?;
    Some(if path.is_empty() { name.into() } else { format!("{path}.{name}") })
}

fn below(place: &Place, path: &str) -> String {
    let place = place.to_string();
    if place.is_empty() { path.into() } else { format!("{place}.{path}") }
}

/// How many letters are to be added, left out, exchanged or swapped with the next (Damerau-Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut rows = vec![vec![0; other.len() + 1]; one.len() + 1];
    for i in 0..=one.len() {
        for j in 0..=other.len() {
            if i == 0 || j == 0 {
                rows[i][j] = i + j;
                continue;
            }
            let changed = usize::from(one[i - 1] != other[j - 1]);
            let mut least = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + changed);
            if i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = least;
        }
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (one, other, expected) in [
            ("", "ab", 2),
            ("image", "image", 0),
            ("resoueces", "resources", 1),
            ("iamge", "image", 1),
            ("abc", "xyz", 3),
        ] {
            assert_eq!((distance(one, other), distance(other, one)), (expected, expected), "{one} {other}");
        }
    }
}
