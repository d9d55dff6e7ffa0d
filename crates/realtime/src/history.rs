//! The messages that a channel has kept, and where in them somebody is.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

use tokio_tungstenite::tungstenite::Utf8Bytes;

/// A place in a history: after the message of this number. Written as the `id` of that message, `epoch:number`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// Which history: another one begins when the old one is lost.
    pub(crate) epoch: u64,
    /// The message's number, from 1; 0 is before the first.
    pub(crate) number: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}:{}", self.epoch, self.number)
    }
}

/// The text is no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InvalidPosition;

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let (epoch, number) = text.split_once(':').ok_or(InvalidPosition)?;
        Ok(Self {
            epoch: u64::from_str_radix(epoch, 16).map_err(|_| InvalidPosition)?,
            number: number.parse().map_err(|_| InvalidPosition)?,
        })
    }
}

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

/// What comes after a position.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// This message.
    Message(Utf8Bytes),
    /// Nothing yet.
    Nothing,
    /// Something that is not kept any more.
    Lost,
}

/// The newest messages of a channel, without a gap.
#[derive(Debug)]
pub(crate) struct History {
    epoch: u64,
    /// The number of the oldest kept message.
    first: u64,
    messages: VecDeque<Utf8Bytes>,
    bytes: usize,
}

impl History {
    pub(crate) const fn new(epoch: u64) -> Self {
        Self {
            epoch,
            first: 1,
            messages: VecDeque::new(),
            bytes: 0,
        }
    }

    /// Returns the position of the newest message.
    pub(crate) fn end(&self) -> Position {
        Position {
            epoch: self.epoch,
            number: self.first + self.messages.len() as u64 - 1,
        }
    }

    /// Returns the position that the next message will have.
    pub(crate) fn next_position(&self) -> Position {
        let end = self.end();
        Position {
            number: end.number + 1,
            ..end
        }
    }

    /// Appends a message and lets go of the oldest ones beyond `bounds`, never of the new one. Returns by how many bytes it grew.
    pub(crate) fn push(&mut self, message: Utf8Bytes, bounds: Bounds) -> isize {
        let before = self.bytes as isize;
        self.bytes += message.len();
        self.messages.push_back(message);
        while self.messages.len() > 1
            && (self.messages.len() > bounds.messages || self.bytes > bounds.bytes)
        {
            if let Some(gone) = self.messages.pop_front() {
                self.bytes -= gone.len();
                self.first += 1;
            }
        }
        self.bytes as isize - before
    }

    /// Tells whether everything after `position` is still there.
    pub(crate) fn continues(&self, position: Position) -> bool {
        position.epoch == self.epoch
            && position.number <= self.end().number
            && position.number + 1 >= self.first
    }

    /// Returns the message after number `number` of this history.
    pub(crate) fn after(&self, number: u64) -> Next {
        match (number + 1).checked_sub(self.first) {
            None => Next::Lost,
            Some(index) => usize::try_from(index)
                .ok()
                .and_then(|index| self.messages.get(index))
                .map_or(Next::Nothing, |message| Next::Message(message.clone())),
        }
    }

    /// Returns the bytes that are kept.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        messages: 3,
        bytes: 100,
    };

    fn filled(count: usize) -> History {
        let mut history = History::new(7);
        for number in 1..=count {
            history.push(number.to_string().into(), BOUNDS);
        }
        history
    }

    #[test]
    fn messages_are_read_in_order_from_any_kept_position() {
        let history = filled(3);
        assert_eq!(history.after(0), Next::Message("1".into()));
        assert_eq!(history.after(2), Next::Message("3".into()));
        assert_eq!(history.after(3), Next::Nothing);
        assert_eq!(history.end().to_string(), "0000000000000007:3");
    }

    #[test]
    fn who_is_behind_what_is_kept_is_told_so() {
        let history = filled(5);
        assert_eq!(history.after(1), Next::Lost);
        assert_eq!(history.after(2), Next::Message("3".into()));
        let at = |epoch, number| history.continues(Position { epoch, number });
        assert!(at(7, 2) && at(7, 5));
        assert!(!at(7, 1), "the second message is gone");
        assert!(!at(7, 6), "not sent yet");
        assert!(!at(8, 4), "another history");
    }

    #[test]
    fn bytes_are_bounded_and_the_newest_message_is_always_kept() {
        let mut history = filled(1);
        let grown = history.push("x".repeat(150).into(), BOUNDS);
        assert_eq!((grown, history.bytes()), (149, 150));
        assert!(matches!(history.after(1), Next::Message(_)));
        let grown = history.push("y".into(), BOUNDS);
        assert_eq!((grown, history.bytes()), (-149, 1));
    }

    #[test]
    fn positions_are_read_as_written() {
        let position = Position {
            epoch: u64::MAX,
            number: 12,
        };
        assert_eq!(position.to_string().parse(), Ok(position));
        for text in ["", "1", ":", "x:1", "1:x", "1:-1", "1:2:3"] {
            assert_eq!(text.parse::<Position>(), Err(InvalidPosition), "{text}");
        }
    }

    #[test]
    fn a_position_at_the_end_of_numbers_is_no_panic() {
        let history = filled(2);
        let far = Position {
            epoch: 7,
            number: u64::MAX,
        };
        assert!(!history.continues(far));
    }
}
