//! The most common passwords: what is tried first when one is guessed.

/// Sorted by bytes, one a line; `data/README.md` says where they come from.
const LIST: &str = include_str!("../data/refused_passwords.txt");

/// Tells whether a password is among the most common ones. Case makes no difference.
pub(crate) fn is_common(password: &str) -> bool {
    is_listed(LIST, &password.to_lowercase())
}

/// Looks for a line by halving. The list is ASCII, so that every index is the start of a character.
fn is_listed(list: &str, word: &str) -> bool {
    let (mut low, mut high) = (0, list.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let start = list
            .get(..middle)
            .and_then(|before| before.rfind('\n'))
            .map_or(0, |newline| newline + 1);
        let end = list
            .get(middle..)
            .and_then(|after| after.find('\n'))
            .map_or(list.len(), |newline| middle + newline);
        match list.get(start..end).unwrap_or_default().cmp(word) {
            std::cmp::Ordering::Less => low = end + 1,
            std::cmp::Ordering::Greater => high = start,
            std::cmp::Ordering::Equal => return true,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_of_the_size_it_claims() {
        assert!(LIST.is_ascii());
        let lines: Vec<&str> = LIST.lines().collect();
        assert_eq!(lines.len(), 10_000);
        assert!(lines.is_sorted());
        assert!(lines.iter().all(|line| line.len() >= 8 && is_common(line)));
    }

    #[test]
    fn what_everybody_takes_is_found_and_a_phrase_is_not() {
        for password in [
            "password",
            "PassWord1",
            "12345678",
            "qwertyuiop",
            "sunshine",
        ] {
            assert!(is_common(password), "{password}");
        }
        for password in ["correct horse", "", "0", "zzzzzzzzzzzzzzzzz", "é", "\n"] {
            assert!(!is_common(password), "{password}");
        }
    }
}
