//! Why a journey to a provider did not end in a sign-in.

use std::time::Duration;

use ::store::{SealError, StoreError};
use primitives::{Classify, ErrorKind};
use web::outbound::OutboundError;

use super::id_token::IdTokenError;
use crate::sign_in::SignInError;
use crate::users::UserError;

/// Why a journey to a provider did not end in a sign-in.
#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    /// No provider of this name is configured.
    #[error("there is no such sign-in provider")]
    UnknownProvider,
    /// The challenge is not the SHA-256 of anything.
    #[error("`challenge` is not 43 characters of base64url")]
    Challenge,
    /// The address to return to is somewhere else.
    #[error("`return_to` is no path of this server and no loopback address")]
    ReturnTo,
    /// Too many journeys from one address.
    #[error("too many sign-ins begin here")]
    TooMany {
        /// How long to wait before the next one.
        wait: Duration,
    },
    /// The state is another browser's, or was made up, or is too old.
    #[error("this is not a sign-in that began in this browser a moment ago")]
    State,
    /// The answer comes from another provider than the one that was asked.
    #[error("the answer is another provider's")]
    MixedUp,
    /// The person or the provider said no.
    #[error("the provider refused the sign-in ({0})")]
    Refused(String),
    /// The provider's documents cannot be used.
    #[error("the provider's {what} cannot be used: {reason}")]
    Document {
        /// Which document.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The provider does not answer.
    #[error("the provider cannot be asked")]
    Outbound(#[from] OutboundError),
    /// The provider's statement is not to be believed.
    #[error("the provider's token is not to be believed")]
    IdToken(#[from] IdTokenError),
    /// The ticket is unknown, was used, has ended, or is another's.
    #[error("the ticket is not valid")]
    Ticket,
    /// There are too many tickets.
    #[error("too many people sign in at this moment")]
    TooManyTickets,
    /// Nobody here is linked to this identity.
    #[error("no account is linked to this identity")]
    NoAccount,
    /// The rules give the person no role.
    #[error("the provider does not name you for any role here")]
    NoRole,
    /// The organisation of the rule that fits does not exist.
    #[error("the organisation {0:?} of the rule that fits does not exist")]
    NoOrganisation(String),
    /// The identity is another person's.
    #[error("this identity is linked to another account")]
    Taken,
    /// The person has another identity of this provider.
    #[error("your account is linked to another identity of this provider")]
    Linked,
    /// The account is disabled.
    #[error("the account is disabled")]
    Disabled,
    /// Keys and anonymous callers have no identities.
    #[error("only people who are signed in have identities")]
    NoPerson,
    /// The person cannot be made or found.
    #[error(transparent)]
    User(#[from] UserError),
    /// The sign-in failed after the person was known.
    #[error(transparent)]
    SignIn(#[from] SignInError),
    /// The journey's cookie could not be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
}

impl From<StoreError> for OidcError {
    fn from(error: StoreError) -> Self {
        Self::SignIn(error.into())
    }
}

impl OidcError {
    /// Returns how long to wait before trying again, where that is known.
    pub const fn wait(&self) -> Option<Duration> {
        match self {
            Self::TooMany { wait } | Self::SignIn(SignInError::TooManyAttempts { wait }) => {
                Some(*wait)
            }
            _ => None,
        }
    }

    /// Names the reason for programs.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::UnknownProvider => "unknown_provider",
            Self::Challenge => "bad_challenge",
            Self::ReturnTo => "bad_return_to",
            Self::TooMany { .. } | Self::TooManyTickets => "too_many",
            Self::State => "bad_state",
            Self::MixedUp => "mixed_up",
            Self::Refused(_) => "refused_by_provider",
            Self::Document { .. } | Self::Outbound(_) => "provider_failed",
            Self::IdToken(_) => "bad_token",
            Self::Ticket => "bad_ticket",
            Self::NoAccount => "no_account",
            Self::NoRole | Self::NoOrganisation(_) => "no_role",
            Self::Taken => "identity_taken",
            Self::Linked => "already_linked",
            Self::Disabled => "disabled",
            Self::NoPerson => "no_person",
            Self::SignIn(SignInError::CodeMissing) => "code_required",
            Self::User(_) | Self::SignIn(_) => "sign_in_failed",
            Self::Seal(_) => "failed",
        }
    }
}

impl Classify for OidcError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownProvider => ErrorKind::NotFound,
            Self::Challenge | Self::ReturnTo | Self::State | Self::MixedUp => ErrorKind::Invalid,
            Self::TooMany { .. } => ErrorKind::TooMany,
            Self::TooManyTickets => ErrorKind::Unavailable,
            Self::Refused(_) | Self::IdToken(_) | Self::Ticket => ErrorKind::Unauthenticated,
            Self::Document { .. } | Self::Outbound(_) => ErrorKind::Upstream,
            Self::NoAccount | Self::NoRole | Self::Disabled | Self::NoPerson => {
                ErrorKind::Forbidden
            }
            Self::NoOrganisation(_) | Self::Taken | Self::Linked => ErrorKind::Conflict,
            Self::User(error) => error.kind(),
            Self::SignIn(error) => error.kind(),
            Self::Seal(error) => error.kind(),
        }
    }

    fn public_message(&self) -> String {
        let advice = match self {
            Self::UnknownProvider => "`GET /api/v1/auth/oidc` lists those there are",
            Self::Challenge => "send base64url(SHA-256(verifier)) without padding",
            Self::ReturnTo => "send a path such as /ui/, or http://127.0.0.1:PORT/",
            Self::TooMany { wait } => {
                return format!(
                    "{self}: try again in {} s",
                    wait.as_secs().saturating_add(1)
                );
            }
            Self::State | Self::MixedUp | Self::Refused(_) | Self::Ticket => "begin again",
            Self::TooManyTickets => "try again in a moment",
            // What a provider did wrong is for who runs this server.
            Self::Document { .. } | Self::Outbound(_) => {
                return "the sign-in provider does not answer as it should: try again, and tell an administrator, whose log has the reason".to_owned();
            }
            Self::IdToken(_) => "begin again, and tell an administrator, whose log has the reason",
            Self::NoAccount => {
                "sign in with your password and link it, or ask an administrator for an account"
            }
            Self::NoRole => "ask who administers the provider",
            Self::NoOrganisation(_) => "an administrator must make it, or correct the rule",
            Self::Taken => "remove it there first",
            Self::Linked => "remove that one first",
            Self::Disabled => "ask an administrator",
            Self::NoPerson => "sign in with `remuda login`",
            Self::User(error) => return error.public_message(),
            Self::SignIn(error) => return error.public_message(),
            Self::Seal(error) => return error.public_message(),
        };
        format!("{self}: {advice}")
    }
}
