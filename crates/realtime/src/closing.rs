//! Why a connection ends, with the code and the words that its client gets.

use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CloseReason {
    /// The client closed it, or went away.
    Gone = 1,
    /// The program stops: connect again.
    Stopping,
    /// It did not say in time who it is, or said it wrongly.
    Unauthenticated,
    /// The credential ended or its rights changed.
    Revoked,
    /// It took messages too slowly.
    Slow,
    /// It gave no sign of life.
    Silent,
    /// It sent more than it may.
    TooMany,
    /// Its caller has too many connections.
    TooManyConnections,
    /// It sent a message beyond the limit.
    TooLarge,
    /// It sent something other than text.
    NotText,
    /// It broke the protocol.
    Protocol,
    /// What it wanted to follow is not there.
    Unknown,
}

impl CloseReason {
    /// Every reason.
    pub const ALL: [Self; 12] = [
        Self::Gone,
        Self::Stopping,
        Self::Unauthenticated,
        Self::Revoked,
        Self::Slow,
        Self::Silent,
        Self::TooMany,
        Self::TooManyConnections,
        Self::TooLarge,
        Self::NotText,
        Self::Protocol,
        Self::Unknown,
    ];

    /// Names the reason in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Stopping => "stopping",
            Self::Unauthenticated => "unauthenticated",
            Self::Revoked => "revoked",
            Self::Slow => "slow",
            Self::Silent => "silent",
            Self::TooMany => "too_many_messages",
            Self::TooManyConnections => "too_many_connections",
            Self::TooLarge => "too_large",
            Self::NotText => "not_text",
            Self::Protocol => "protocol",
            Self::Unknown => "unknown",
        }
    }

    /// Returns the close code. Those of the protocol where it has one (RFC 6455, 7.4.1), otherwise one of 4000 to 4999.
    pub const fn code(self) -> u16 {
        match self {
            Self::Gone => 1000,
            Self::Stopping => 1001,
            Self::Protocol => 1002,
            Self::NotText => 1003,
            Self::TooLarge => 1009,
            Self::Unauthenticated => 4001,
            Self::Revoked => 4003,
            Self::Unknown => 4004,
            Self::Slow => 4008,
            Self::Silent => 4009,
            Self::TooMany => 4029,
            Self::TooManyConnections => 4030,
        }
    }

    /// Says what to do next. No more than the 123 bytes that a close frame takes.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Gone => "",
            Self::Stopping => "the server stops: connect again in a moment and resume",
            Self::Protocol => "the WebSocket protocol was broken",
            Self::NotText => "messages are JSON text, not binary",
            Self::TooLarge => "the message is too large: see [realtime] message_limit",
            Self::Unauthenticated => "send a valid token first: {\"type\":\"auth\",\"token\":…}",
            Self::Revoked => {
                "the credential ended or its rights changed: connect again with a valid one"
            }
            Self::Unknown => "there is no such inference, or it is not yours",
            Self::Slow => "messages came faster than they were taken: connect again and resume",
            Self::Silent => "no sign of life: answer pings",
            Self::TooMany => "too many messages at once: send fewer",
            Self::TooManyConnections => "too many connections of this caller: close some",
        }
    }

    pub(crate) fn frame(self) -> CloseFrame {
        CloseFrame {
            code: CloseCode::from(self.code()),
            reason: self.words().into(),
        }
    }

    /// Finds the reason of a number that stands for one.
    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| *reason as u8 == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_fits_a_close_frame_and_has_a_code_of_its_own() {
        let mut codes: Vec<u16> = CloseReason::ALL.iter().map(|r| r.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), CloseReason::ALL.len());
        for reason in CloseReason::ALL {
            assert!(reason.words().len() <= 123, "{reason:?}");
            assert_eq!(CloseReason::from_number(reason as u8), Some(reason));
        }
        assert_eq!(CloseReason::from_number(0), None);
    }
}
