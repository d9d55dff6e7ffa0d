//! The one line that lets a machine join: a secret, and whom to believe when handing it over.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// What the text begins with, so that it is recognised wherever it turns up.
const PREFIX: &str = "rmdj_";
/// 192 bits each: the secret cannot be guessed, and no second certificate with the same fingerprint be found.
const PART: usize = 24;

/// An invitation: a secret that works once, and the fingerprint of the authority that the inviting control plane presents.
///
/// The text is a secret as a whole: it is shown once and never logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Invitation {
    secret: [u8; PART],
    authority: [u8; PART],
}

/// The text is no invitation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "that is no invitation: copy the whole text that `remuda node invite` printed; it begins with rmdj_"
)]
pub struct InvitationError;

impl Invitation {
    /// Makes an invitation out of a random secret and the authority's certificate (DER).
    pub fn new(secret: [u8; PART], authority: &[u8]) -> Self {
        Self {
            secret,
            authority: fingerprint(authority),
        }
    }

    /// Returns the part that is shown to the control plane, as text.
    pub fn secret(&self) -> String {
        hex::encode(self.secret)
    }

    /// Returns what a control plane keeps of a shown secret: enough to know it again, not enough to use it.
    pub fn hash(secret: &str) -> String {
        blake3::hash(secret.as_bytes()).to_hex().to_string()
    }

    /// Tells whether this certificate (DER) is the authority that the invitation speaks of.
    pub fn vouches_for(&self, authority: &[u8]) -> bool {
        self.authority == fingerprint(authority)
    }
}

/// Returns what a certificate (DER) is known by: the first 192 bits of its BLAKE3 hash.
pub fn fingerprint(certificate: &[u8]) -> [u8; PART] {
    let mut short = [0; PART];
    let hash = blake3::hash(certificate);
    short.copy_from_slice(&hash.as_bytes()[..PART]);
    short
}

impl fmt::Display for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut both = [0; 2 * PART];
        both[..PART].copy_from_slice(&self.secret);
        both[PART..].copy_from_slice(&self.authority);
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(both))
    }
}

impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Invitation(secret)")
    }
}

impl FromStr for Invitation {
    type Err = InvitationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(InvitationError)?;
        let both = URL_SAFE_NO_PAD
            .decode(encoded)
            .map_err(|_| InvitationError)?;
        let both: [u8; 2 * PART] = both.try_into().map_err(|_| InvitationError)?;
        let mut invitation = Self {
            secret: [0; PART],
            authority: [0; PART],
        };
        invitation.secret.copy_from_slice(&both[..PART]);
        invitation.authority.copy_from_slice(&both[PART..]);
        Ok(invitation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invitation_survives_being_copied_and_shows_no_secret_in_logs() {
        let invitation = Invitation::new([7; PART], b"certificate");
        let text = invitation.to_string();
        assert_eq!(text.len(), 69);
        assert_eq!(format!(" {text}\n").parse(), Ok(invitation.clone()));
        assert!(invitation.vouches_for(b"certificate"));
        assert!(!invitation.vouches_for(b"another"));
        assert_eq!(format!("{invitation:?}"), "Invitation(secret)");
        assert_ne!(Invitation::hash(&invitation.secret()), invitation.secret());
    }

    #[test]
    fn what_is_cut_off_or_something_else_is_no_invitation() {
        let text = Invitation::new([7; PART], b"certificate").to_string();
        for wrong in ["", "rmdj_", &text[..68], &text[1..], "rmd_0123456789"] {
            assert_eq!(wrong.parse::<Invitation>(), Err(InvitationError), "{wrong}");
        }
    }
}
