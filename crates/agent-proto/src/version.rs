//! Versions of the program, and where its own stands in its file.

use std::fmt;
use std::hint::black_box;
use std::str::FromStr;

/// What stands before the version in the program's file.
const MARK: &str = "remuda version ";
/// The version as it stands there, once: what the program says of itself is read from here, so that whoever has the file, also one for
/// another machine, can find out what it would say.
static MARKED: &str = concat!("remuda version ", env!("CARGO_PKG_VERSION"), "\n");

/// Returns the version of this program.
pub fn program_version() -> &'static str {
    // Without the box the text would be put together at build time, and what is in the file would say nothing.
    let marked = black_box(MARKED);
    marked.strip_prefix(MARK).unwrap_or(marked).trim_end()
}

/// Finds the version in the file of a program.
pub fn find_version(program: &[u8]) -> Option<Version> {
    let mut rest = program;
    while let Some(at) = memchr::memmem::find(rest, MARK.as_bytes()) {
        rest = rest.get(at + MARK.len()..)?;
        let end = rest.iter().take(32).position(|byte| *byte == b'\n');
        let text = end.and_then(|end| std::str::from_utf8(rest.get(..end)?).ok());
        if let Some(version) = text.and_then(|text| text.parse().ok()) {
            return Some(version);
        }
    }
    None
}

/// A version: three numbers, compared from left to right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version([u32; 3]);

/// The text is no version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a version is three numbers, as 0.2.0")]
pub struct InvalidVersion;

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

impl FromStr for Version {
    type Err = InvalidVersion;

    /// Reads it in the one way that it is written: no sign, no leading zeros, nothing after the third number.
    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        let mut numbers = [0; 3];
        let mut parts = text.split('.');
        for number in &mut numbers {
            let part = parts.next().ok_or(InvalidVersion)?;
            *number = part.parse().map_err(|_| InvalidVersion)?;
        }
        let version = Self(numbers);
        if parts.next().is_none() && version.to_string() == text {
            Ok(version)
        } else {
            Err(InvalidVersion)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_three_numbers_and_compare_as_such() {
        let version = |text: &str| text.parse::<Version>();
        let read = |text: &str| version(text).unwrap();
        assert!(read("0.10.0") > read("0.9.9") && read("1.0.0") > read("0.10.0"));
        assert_eq!(version("1.2.3").unwrap().to_string(), "1.2.3");
        for wrong in [
            "",
            "1.2",
            "1.2.3.4",
            "1.2.x",
            "01.2.3",
            "+1.2.3",
            "1.2.3-rc1",
            " 1.2.3",
        ] {
            assert_eq!(version(wrong), Err(InvalidVersion), "{wrong}");
        }
    }

    #[test]
    fn the_version_is_found_in_a_program() {
        let own = program_version();
        assert_eq!(own, env!("CARGO_PKG_VERSION"));
        let file = [
            b"\0\x7fremuda version \0\0remuda version x\n".as_slice(),
            MARKED.as_bytes(),
            b"more",
        ]
        .concat();
        assert_eq!(find_version(&file), own.parse().ok());
        assert_eq!(find_version(b"remuda version "), None);
        // What is read here is what the file of this very program says.
        let this = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(find_version(&this), own.parse().ok());
    }
}
