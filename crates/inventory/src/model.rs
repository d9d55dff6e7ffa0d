//! Widgets, ports, and what can be asked of them.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The most slots of a widget.
pub(crate) const MOST_SLOTS: usize = 3;
/// The most characters of a serial number; at least one.
pub(crate) const LONGEST_SERIAL: usize = 200;
/// The most characters of a name.
pub(crate) const LONGEST_NAME: usize = 1_000;

/// A type of port. Only ports of the same type can be joined.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
pub enum Port {
    /// Type P.
    P,
    /// Type Q.
    Q,
    /// Type R.
    R,
}

/// A text that names no type of port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no port: write P, Q or R")]
pub struct UnknownPort(pub String);

impl Port {
    /// Every type.
    pub const ALL: [Self; 3] = [Self::P, Self::Q, Self::R];

    /// Names the type as it is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::P => "P",
            Self::Q => "Q",
            Self::R => "R",
        }
    }

    /// Finds a type by its name, which is a capital letter.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn from_name(name: &str) -> Result<Self, UnknownPort> {
        let found = Self::ALL.into_iter().find(|port| port.as_str() == name);
        found.ok_or_else(|| UnknownPort(name.chars().take(64).collect()))
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The ports of a widget's slots, in their order: none to three.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ports([Option<Port>; MOST_SLOTS]);

impl Ports {
    /// Makes the ports of up to three slots; `None` when there are more.
    pub fn of(ports: &[Port]) -> Option<Self> {
        let mut made = Self::default();
        for (index, port) in ports.iter().enumerate() {
            *made.0.get_mut(index)? = Some(*port);
        }
        Some(made)
    }

    /// Reads ports as they are stored: a letter each, as `PPR`.
    ///
    /// # Errors
    /// When a letter is no port, or there are more than three.
    pub fn parse(text: &str) -> Result<Self, UnknownPort> {
        let mut ports = Vec::with_capacity(MOST_SLOTS);
        for letter in text.chars() {
            ports.push(Port::from_name(letter.encode_utf8(&mut [0; 4]))?);
        }
        Self::of(&ports).ok_or_else(|| UnknownPort(text.chars().take(64).collect()))
    }

    /// Returns the port of a slot, counted from 0.
    pub fn at(self, slot: usize) -> Option<Port> {
        self.0.get(slot).copied().flatten()
    }

    /// Lists the ports in the order of the slots.
    pub fn iter(self) -> impl Iterator<Item = Port> {
        self.0.into_iter().flatten()
    }

    /// Lists the slots, counted from 0, that have this port.
    pub fn slots_of(self, port: Port) -> impl Iterator<Item = usize> {
        (0..MOST_SLOTS).filter(move |slot| self.at(*slot) == Some(port))
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|port| f.write_str(port.as_str()))
    }
}

/// A widget as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Widget {
    /// Its number in the table: grows with each widget that is made.
    pub id: i64,
    /// Its serial number, which no other has.
    pub serial_number: Arc<str>,
    /// Its ports.
    pub ports: Ports,
    /// Whom each slot is joined with.
    pub partners: [Option<i64>; MOST_SLOTS],
}

impl Widget {
    /// Returns the first slot with this port that is joined with nobody.
    pub(crate) fn free_slot(&self, port: Port) -> Option<usize> {
        self.slot_with(port, None)
    }

    /// Returns the slot with this port that is joined with this widget.
    pub(crate) fn slot_with(&self, port: Port, partner: Option<i64>) -> Option<usize> {
        self.ports
            .slots_of(port)
            .find(|slot| self.partners.get(*slot).copied() == Some(partner))
    }

    /// Joins a slot with a widget, or with nobody.
    pub(crate) fn join(&mut self, slot: usize, partner: Option<i64>) {
        if let Some(place) = self.partners.get_mut(slot) {
            *place = partner;
        }
    }
}

/// A widget to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewWidget {
    /// Its serial number: 1 to 200 characters.
    pub serial_number: Arc<str>,
    /// Its name: up to 1,000 characters, not necessarily its own.
    pub name: Arc<str>,
    /// Its ports.
    pub ports: Ports,
}

/// Two widgets and the port that joins them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The one that was named first.
    pub first: Arc<str>,
    /// The other one.
    pub second: Arc<str>,
    /// The port.
    pub port: Port,
}

/// What can be asked of the inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Make a widget.
    Add(NewWidget),
    /// Remove the widget of this serial number, and free whoever is joined with it. One that is not there is no mistake.
    Remove(Arc<str>),
    /// Join a free slot of each.
    Associate(Pair),
    /// Free the slot of each that joins them.
    Disassociate(Pair),
}

/// The kinds of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OperationKind {
    /// Making a widget.
    Add,
    /// Removing one.
    Remove,
    /// Joining two.
    Associate,
    /// Parting two.
    Disassociate,
}

impl OperationKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Add, Self::Remove, Self::Associate, Self::Disassociate];

    /// Names the function that callers know it by, which is also its label in metrics.
    pub const fn function(self) -> &'static str {
        match self {
            Self::Add => "add_widget",
            Self::Remove => "remove_widget",
            Self::Associate => "associate_widgets",
            Self::Disassociate => "remove_association",
        }
    }
}

impl Operation {
    /// Returns its kind.
    pub const fn kind(&self) -> OperationKind {
        match self {
            Self::Add(_) => OperationKind::Add,
            Self::Remove(_) => OperationKind::Remove,
            Self::Associate(_) => OperationKind::Associate,
            Self::Disassociate(_) => OperationKind::Disassociate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_survive_being_stored() {
        for text in ["", "P", "PRQ", "QQQ"] {
            assert_eq!(Ports::parse(text).unwrap().to_string(), text);
        }
        for text in ["p", "PPPP", "X", "P ", "П"] {
            assert!(Ports::parse(text).is_err(), "{text}");
        }
    }
}
