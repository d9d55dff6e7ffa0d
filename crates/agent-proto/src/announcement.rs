//! What an agent that belongs nowhere says of itself on the local network, as a service of DNS-SD (RFC 6763).
//!
//! Anybody on that network can say anything: what is read here is shown to people, bounded and in plain characters, and believed by nobody.

use crate::release::own_target;
use crate::version::program_version;

/// The service that such agents are.
pub const ANNOUNCED: &str = "_remuda-agent._tcp.local.";

/// Letters and digits that nobody takes for each other.
const ALPHABET: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
/// The longest name of a host: a label of DNS.
const MOST_HOST: usize = 63;
/// The longest version or target.
const MOST_TEXT: usize = 40;
/// The version of these texts (RFC 6763, 6.7).
const TEXTS: &str = "1";

/// What an agent says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// What a person finds at the machine, too, to tell which one it is. No secret, and no proof.
    pub code: String,
    /// The machine's name, 1 to 63 letters, digits, `-`, `.` and `_`.
    pub host: String,
    /// The agent's version.
    pub version: String,
    /// What it was made for, as `linux-x86_64`.
    pub target: String,
}

impl Announcement {
    /// Makes what this program says on the machine `host`; 30 bits of `random` become the code.
    pub fn new(random: u32, host: &str) -> Self {
        let code = (0..6)
            .map(|at| char::from(ALPHABET[(random >> (5 * at)) as usize % ALPHABET.len()]))
            .collect();
        let plain = |c: char| if is_of_name(c) { c } else { '-' };
        let host: String = host.chars().take(MOST_HOST).map(plain).collect();
        Self {
            code,
            host: if host.is_empty() {
                "unnamed".to_owned()
            } else {
                host
            },
            version: program_version().to_owned(),
            target: own_target(),
        }
    }

    /// Returns it as texts of the service.
    pub fn texts(&self) -> [(&'static str, &str); 5] {
        [
            ("txtvers", TEXTS),
            ("code", &self.code),
            ("host", &self.host),
            ("version", &self.version),
            ("target", &self.target),
        ]
    }

    /// Reads it from the texts of a service. `None` where one is missing, too long, or has other characters than ours have.
    pub fn read<'a>(text: impl Fn(&str) -> Option<&'a str>) -> Option<Self> {
        let bounded = |key: &str, most: usize, fits: fn(char) -> bool| {
            let value = text(key)?;
            ((1..=most).contains(&value.len()) && value.chars().all(fits)).then(|| value.to_owned())
        };
        let code = bounded("code", 6, |c| {
            u8::try_from(c).is_ok_and(|byte| ALPHABET.contains(&byte))
        })?;
        (text("txtvers") == Some(TEXTS) && code.len() == 6).then_some(())?;
        Some(Self {
            code,
            host: bounded("host", MOST_HOST, is_of_name)?,
            version: bounded("version", MOST_TEXT, |c| is_of_name(c) || c == '+')?,
            target: bounded("target", MOST_TEXT, is_of_name)?,
        })
    }

    /// Returns what the service is named.
    pub fn instance(&self) -> String {
        format!("remuda-agent-{}", self.code.to_ascii_lowercase())
    }
}

const fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[(&str, &str)]) -> Option<Announcement> {
        Announcement::read(|key| {
            let found = texts.iter().find(|(name, _)| *name == key);
            found.map(|(_, value)| *value)
        })
    }

    #[test]
    fn what_an_agent_says_is_read_back_whatever_its_machine_is_called() {
        for (host, told) in [
            ("gpu-1.lan", "gpu-1.lan"),
            ("Küche \u{1b}[31m", "K-che---31m"),
            ("", "unnamed"),
        ] {
            let said = Announcement::new(u32::MAX, host);
            assert_eq!(said.code, "999999");
            assert_eq!(read(&said.texts()), Some(said.clone()));
            assert_eq!(said.host, told);
        }
        let long = Announcement::new(0, &"é".repeat(500));
        assert_eq!((long.code.as_str(), long.host.len()), ("AAAAAA", MOST_HOST));
    }

    #[test]
    fn codes_differ_with_every_bit_that_counts() {
        let codes: std::collections::HashSet<String> = (0..30)
            .map(|bit| Announcement::new(1 << bit, "h").code)
            .collect();
        assert_eq!(codes.len(), 30);
    }

    #[test]
    fn what_no_agent_says_is_not_read() {
        let said = Announcement::new(7, "gpu1");
        let long = "x".repeat(64);
        for (key, value) in [
            ("txtvers", "2"),
            ("code", "ABC"),
            ("code", "ABCDEFG"),
            ("code", "abcdef"),
            ("code", "ABC\u{202e}"),
            ("host", ""),
            ("host", &long),
            ("host", "\u{1b}[2J"),
            ("host", "<b>"),
            ("version", "0 1"),
            ("version", &long),
            ("target", "a\nb"),
        ] {
            let mut texts = said.texts();
            if let Some(text) = texts.iter_mut().find(|(name, _)| *name == key) {
                text.1 = value;
            }
            assert_eq!(read(&texts), None, "{key} {value:?}");
        }
        assert_eq!(read(&said.texts()[1..]), None);
    }
}
