//! Two runs of one seed, which must have gone the same way. Pure.

/// Where the traces differ first. `None`: nowhere.
pub fn difference(first: &str, second: &str) -> Option<String> {
    let (mut one, mut other) = (first.lines(), second.lines());
    let mut number = 0;
    loop {
        number += 1;
        match (one.next(), other.next()) {
            (None, None) => return None,
            (one, other) if one == other => {}
            (one, other) => {
                let told = |line: Option<&str>| line.unwrap_or("(its end)").to_string();
                return Some(format!("line {number} of its trace\n  was    {}\n  is now {}", told(one), told(other)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_differs_is_named() {
        assert_eq!(difference("a\nb\n", "a\nb\n"), None);
        let told = |first, second| difference(first, second).unwrap();
        assert_eq!(told("a\nb\nc\n", "a\nx\ny\n"), "line 2 of its trace\n  was    b\n  is now x");
        assert_eq!(told("a\n", "a\nb\n"), "line 2 of its trace\n  was    (its end)\n  is now b");
        assert_eq!(told("a\nb\n", "a\n"), "line 2 of its trace\n  was    b\n  is now (its end)");
    }
}
