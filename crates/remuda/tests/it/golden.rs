//! Files that a person has read and that the program must go on agreeing with.

use std::path::Path;

/// The variable that has the files written anew, for a person to read the difference.
const UPDATE: &str = "REMUDA_UPDATE_GOLDEN";

/// Compares a text with a file named from the repository's root.
pub(crate) fn assert_golden(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(file);
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    for (number, (is, should)) in text.lines().zip(expected.lines()).enumerate() {
        assert_eq!(
            is,
            should,
            "{file}:{} differs; where the new text is right, run the test with {UPDATE}=1",
            number + 1
        );
    }
    assert_eq!(
        text.lines().count(),
        expected.lines().count(),
        "{file} has other lines; where the new text is right, run the test with {UPDATE}=1"
    );
}
