//! One-time codes by time (RFC 6238: SHA-1, six digits, steps of 30 seconds, one step to either side), and recovery codes.

use ::store::{SealError, Sealer};
use primitives::{Secret, Timestamp, UserId};
use totp_rs::{Builder, Totp};

use crate::credential::SecretHash;

/// How many recovery codes a person has.
const RECOVERY_CODES: usize = 10;
/// Letters and digits of a recovery code: 80 bits in base 32.
const RECOVERY_LENGTH: usize = 16;

pub(crate) fn place(user: UserId) -> String {
    format!("users|totp_secret|{user}")
}

/// A secret that codes are made from.
pub(crate) struct TotpSecret(Secret<Vec<u8>>);

impl TotpSecret {
    /// Makes a secret of 160 bits.
    pub(crate) fn generate() -> Self {
        Self(Secret::new(rand::random::<[u8; 20]>().to_vec()))
    }

    pub(crate) fn seal(&self, sealer: &Sealer, user: UserId) -> Result<Vec<u8>, SealError> {
        sealer.seal(&place(user), self.0.expose())
    }

    pub(crate) fn open(sealer: &Sealer, user: UserId, text: &[u8]) -> Result<Self, SealError> {
        sealer.open(&place(user), text).map(Self)
    }

    /// Returns the step whose code this is, within one step of `now`.
    pub(crate) fn step_of(&self, code: &str, now: Timestamp) -> Option<u64> {
        let seconds = u64::try_from(now.as_secs()).ok()?;
        let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
        self.codes("", "")?.check(&code, seconds)
    }

    /// Returns the secret as people type it.
    pub(crate) fn base32(&self) -> Secret<String> {
        let secret = totp_rs::Secret::from(self.0.expose().clone());
        Secret::new(secret.to_base32())
    }

    /// Returns the secret as an authenticator scans it.
    pub(crate) fn uri(&self, issuer: &str, username: &str) -> Option<Secret<String>> {
        // A colon ends the issuer in a label.
        let issuer = issuer.replace(':', "");
        self.codes(&issuer, username)?
            .to_url()
            .ok()
            .map(Secret::new)
    }

    fn codes(&self, issuer: &str, username: &str) -> Option<Totp> {
        let issuer = (!issuer.is_empty()).then_some(issuer);
        Builder::new()
            .with_secret(self.0.expose().clone())
            .with_issuer(issuer)
            .with_account_name(username)
            .build()
            .ok()
    }
}

/// Makes the codes for who has lost their device, as they are shown.
pub(crate) fn recovery_codes() -> Vec<Secret<String>> {
    (0..RECOVERY_CODES)
        .map(|_| {
            let noise: [u8; 10] = rand::random();
            let code = totp_rs::Secret::from(noise.to_vec()).to_base32();
            let parts: Vec<String> = code
                .as_bytes()
                .chunks(4)
                .map(|part| String::from_utf8_lossy(part).to_lowercase())
                .collect();
            Secret::new(parts.join("-"))
        })
        .collect()
}

/// Returns the hash by which a person's recovery code is stored; `None` when the text is none.
pub(crate) fn recovery_hash(user: UserId, code: &str) -> Option<SecretHash> {
    let plain: String = code
        .chars()
        .filter(|c| !c.is_whitespace() && *c != '-')
        .map(|c| c.to_ascii_lowercase())
        .collect();
    (plain.len() == RECOVERY_LENGTH).then(|| SecretHash::of(&format!("{user}|{plain}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn codes_are_those_of_the_standard() {
        // RFC 6238, appendix B, the last six of eight digits.
        let secret = TotpSecret(Secret::new(b"12345678901234567890".to_vec()));
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
        ] {
            let step = u64::try_from(seconds / 30).unwrap();
            for late in [-30, 0, 30] {
                assert_eq!(
                    secret.step_of(code, at(seconds + late)),
                    Some(step),
                    "{code}"
                );
            }
            assert_eq!(secret.step_of(code, at(seconds + 90)), None);
        }
        assert_eq!(secret.step_of("287 082", at(59)), Some(1));
        for text in ["", "28708", "2870822", "28708x", "\u{0662}87082"] {
            assert_eq!(secret.step_of(text, at(59)), None, "{text}");
        }
    }

    #[test]
    fn a_secret_is_told_as_authenticators_want_it() {
        let secret = TotpSecret(Secret::new(b"12345678901234567890".to_vec()));
        let base32 = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
        assert_eq!(secret.base32().expose(), base32);
        let uri = secret.uri("https://llm.example", "ann@lab").unwrap();
        let uri = uri.expose();
        assert!(uri.starts_with("otpauth://totp/"), "{uri}");
        assert!(uri.contains(base32) && uri.contains("ann"), "{uri}");
    }

    #[test]
    fn recovery_codes_are_read_as_people_write_them() {
        let user = UserId::generate(at(1));
        let codes = recovery_codes();
        assert_eq!(codes.len(), 10);
        let code = codes[0].expose();
        assert_eq!(code.len(), 19);
        let hash = recovery_hash(user, code).unwrap();
        for text in [
            code.to_uppercase(),
            code.replace('-', ""),
            code.replace('-', " "),
        ] {
            assert_eq!(recovery_hash(user, &text), Some(hash), "{text}");
        }
        assert_ne!(recovery_hash(UserId::generate(at(2)), code), Some(hash));
        assert_eq!(recovery_hash(user, "123456"), None);
    }
}
