//! The nearest known name to a mistyped one.

/// Returns a hint for the person who typed `wrong`: the nearest of `known`, and all of them when none is near.
pub(super) fn hint(wrong: &str, known: &[&str]) -> String {
    let nearest = known
        .iter()
        .map(|name| (distance(wrong, name), *name))
        .min();
    match nearest {
        Some((edits, name))
            if edits <= (wrong.len().max(name.len()) / 2).max(1) || wrong.starts_with(name) =>
        {
            format!("did you mean \"{name}\"?")
        }
        Some((_, name)) => format!(
            "the nearest known one is \"{name}\" (known here: {})",
            known.join(", ")
        ),
        None => "nothing may stand here".to_owned(),
    }
}

/// Counts the single-character insertions, deletions and replacements between two names.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replace = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typos_find_their_key() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(
            hint("lisen", &["workers", "listen"]),
            "did you mean \"listen\"?"
        );
        assert!(hint("zzzzzzzz", &["a", "url"]).contains("known here: a, url"));
    }
}
