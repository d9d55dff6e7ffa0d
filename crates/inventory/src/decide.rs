//! What becomes of the calls of one transaction. Pure: it sees the locked rows, and says what to write.
//!
//! The calls are carried out one after the other on the rows in memory; each was made before any of them is answered, so that this order
//! is as good as any other. A call that touches a widget which another call of the same transaction makes or removes is left for the next
//! one: only the database knows whether a serial number was free. That another one would make it, too, is no such case: one of them at
//! most can.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::model::{NewWidget, Operation, Pair, Widget};
use crate::refusal::Refusal;

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is carried out.
    Done,
    /// It is carried out if the database knows no widget with its serial number.
    IfNew,
    /// It breaks a rule.
    Refused(Refusal),
    /// It waits for the next transaction.
    Later,
}

/// A change, in the order in which they are to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A slot, counted from 0, is joined with a widget or with nobody; the same happens on the other side.
    Join {
        widget: i64,
        slot: usize,
        partner: Option<i64>,
    },
    /// A widget goes, and its partners are freed.
    Remove(i64),
}

/// The rows of a transaction, and what was decided so far.
#[derive(Debug, Default)]
pub(crate) struct Board {
    rows: BTreeMap<i64, Widget>,
    by_serial: HashMap<Arc<str>, i64>,
    /// Numbers that slots name although no widget has them.
    absent: HashSet<i64>,
    /// Serial numbers that are made here.
    made: HashSet<Arc<str>>,
    /// Serial numbers that are removed here.
    removed: HashSet<Arc<str>>,
    added: Vec<NewWidget>,
    changes: Vec<Change>,
    touched: BTreeSet<i64>,
}

impl Board {
    /// Takes the rows as the database has them, locked.
    pub(crate) fn new(rows: Vec<Widget>) -> Self {
        let mut board = Self::default();
        for row in rows {
            board
                .by_serial
                .insert(Arc::clone(&row.serial_number), row.id);
            board.rows.insert(row.id, row);
        }
        board
    }

    /// Lists the partners, of widgets that are to be removed, that are not among the rows.
    pub(crate) fn missing_partners(&self, operations: &[&Operation]) -> Vec<i64> {
        let removed = operations.iter().filter_map(|operation| match operation {
            Operation::Remove(serial) => self.by_serial.get(serial),
            _ => None,
        });
        removed
            .filter_map(|id| self.rows.get(id))
            .flat_map(|row| row.partners.into_iter().flatten())
            .filter(|partner| !self.rows.contains_key(partner))
            .collect()
    }

    /// Takes note of numbers that no widget has although slots name them: there is nobody to free. They never come back.
    pub(crate) fn know_absent(&mut self, ids: impl IntoIterator<Item = i64>) {
        self.absent.extend(ids);
    }

    /// Tells whether a serial number is made or removed here.
    fn is_unsettled(&self, serial: &Arc<str>) -> bool {
        self.made.contains(serial) || self.removed.contains(serial)
    }

    /// Decides about one call.
    pub(crate) fn decide(&mut self, operation: &Operation) -> Verdict {
        match operation {
            Operation::Add(widget) => self.add(widget),
            Operation::Remove(serial) => self.remove(serial),
            Operation::Associate(pair) => self.associate(pair),
            Operation::Disassociate(pair) => self.disassociate(pair),
        }
    }

    fn add(&mut self, widget: &NewWidget) -> Verdict {
        let serial = &widget.serial_number;
        if self.removed.contains(serial) {
            return Verdict::Later;
        }
        // Whether the first of several is new or not: for the others it is taken.
        if self.made.contains(serial) || self.by_serial.contains_key(serial) {
            return Verdict::Refused(Refusal::Taken(Arc::clone(serial)));
        }
        self.made.insert(Arc::clone(serial));
        self.added.push(widget.clone());
        Verdict::IfNew
    }

    fn remove(&mut self, serial: &Arc<str>) -> Verdict {
        if self.is_unsettled(serial) {
            return Verdict::Later;
        }
        let Some(&id) = self.by_serial.get(serial) else {
            return Verdict::Done;
        };
        let partners: Vec<i64> = match self.rows.get(&id) {
            Some(row) => row.partners.into_iter().flatten(),
            None => return Verdict::Done,
        }
        .filter(|partner| !self.absent.contains(partner))
        .collect();
        // Somebody was joined with it after we had looked, and is not locked.
        if partners
            .iter()
            .any(|partner| !self.rows.contains_key(partner))
        {
            return Verdict::Later;
        }
        for partner in partners {
            if let Some(row) = self.rows.get_mut(&partner) {
                for place in row.partners.iter_mut().filter(|place| **place == Some(id)) {
                    *place = None;
                }
            }
        }
        self.rows.remove(&id);
        self.by_serial.remove(serial);
        self.touched.remove(&id);
        self.removed.insert(Arc::clone(serial));
        self.changes.push(Change::Remove(id));
        Verdict::Done
    }

    fn associate(&mut self, pair: &Pair) -> Verdict {
        let (first, second) = match self.both(pair) {
            Ok(both) => both,
            Err(verdict) => return verdict,
        };
        let free = |widget: &Widget| {
            widget.free_slot(pair.port).ok_or_else(|| {
                Verdict::Refused(Refusal::NoFreeSlot {
                    serial: Arc::clone(&widget.serial_number),
                    port: pair.port,
                })
            })
        };
        let slots = free(first).and_then(|one| free(second).map(|other| (one, other)));
        let (slot, other_slot) = match slots {
            Ok(slots) => slots,
            Err(verdict) => return verdict,
        };
        let (first_id, second_id) = (first.id, second.id);
        if first.slot_with(pair.port, Some(second_id)).is_some() {
            return Verdict::Refused(Refusal::Associated {
                first: first_id,
                second: second_id,
                port: pair.port,
            });
        }
        self.join((first_id, slot), (second_id, other_slot), true);
        Verdict::Done
    }

    fn disassociate(&mut self, pair: &Pair) -> Verdict {
        let (first, second) = match self.both(pair) {
            Ok(both) => both,
            Err(verdict) => return verdict,
        };
        let slots = first
            .slot_with(pair.port, Some(second.id))
            .zip(second.slot_with(pair.port, Some(first.id)));
        let Some((slot, other_slot)) = slots else {
            return Verdict::Refused(Refusal::NotAssociated {
                first: Arc::clone(&pair.first),
                second: Arc::clone(&pair.second),
                port: pair.port,
            });
        };
        let (first, second) = (first.id, second.id);
        self.join((first, slot), (second, other_slot), false);
        Verdict::Done
    }

    /// Finds both sides, or tells what becomes of the call without them.
    fn both(&self, pair: &Pair) -> Result<(&Widget, &Widget), Verdict> {
        if pair.first == pair.second {
            return Err(Verdict::Refused(Refusal::WithItself));
        }
        if self.is_unsettled(&pair.first) || self.is_unsettled(&pair.second) {
            return Err(Verdict::Later);
        }
        let find = |serial: &Arc<str>| {
            let row = self.by_serial.get(serial).and_then(|id| self.rows.get(id));
            row.ok_or_else(|| Verdict::Refused(Refusal::Unknown(Arc::clone(serial))))
        };
        Ok((find(&pair.first)?, find(&pair.second)?))
    }

    fn join(&mut self, one: (i64, usize), other: (i64, usize), joined: bool) {
        for ((id, slot), partner) in [(one, other.0), (other, one.0)] {
            if let Some(row) = self.rows.get_mut(&id) {
                row.join(slot, joined.then_some(partner));
            }
            self.touched.insert(id);
        }
        self.changes.push(Change::Join {
            widget: one.0,
            slot: one.1,
            partner: joined.then_some(other.0),
        });
    }

    /// Tells whether nothing is to be written.
    pub(crate) fn is_unchanged(&self) -> bool {
        self.added.is_empty() && self.changes.is_empty()
    }

    /// Returns the widgets to be made, sorted by serial number.
    pub(crate) fn added(&self) -> Vec<&NewWidget> {
        let mut added: Vec<&NewWidget> = self.added.iter().collect();
        added.sort_by(|a, b| a.serial_number.cmp(&b.serial_number));
        added
    }

    /// Returns the changes in their order.
    pub(crate) fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Returns the numbers of the widgets that go.
    pub(crate) fn removed(&self) -> impl Iterator<Item = i64> {
        self.changes.iter().filter_map(|change| match change {
            Change::Remove(id) => Some(*id),
            Change::Join { .. } => None,
        })
    }

    /// Returns the rows whose slots are others now, as they are to be; who only lost a partner by its removal is not among them.
    pub(crate) fn touched(&self) -> impl Iterator<Item = &Widget> {
        self.touched.iter().filter_map(|id| self.rows.get(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Port, Ports};

    fn widget(id: i64, ports: &str) -> Widget {
        Widget {
            id,
            serial_number: format!("w{id}").into(),
            ports: Ports::parse(ports).unwrap(),
            partners: [None; 3],
        }
    }

    fn pair(first: &str, second: &str, port: Port) -> Pair {
        Pair {
            first: first.into(),
            second: second.into(),
            port,
        }
    }

    fn add(serial: &str) -> Operation {
        Operation::Add(NewWidget {
            serial_number: serial.into(),
            name: "n".into(),
            ports: Ports::default(),
        })
    }

    #[test]
    fn a_second_association_is_told_from_a_lack_of_slots() {
        let mut board = Board::new(vec![widget(1, "PP"), widget(2, "PP"), widget(3, "P")]);
        let twice = Operation::Associate(pair("w1", "w2", Port::P));
        assert_eq!(board.decide(&twice), Verdict::Done);
        let again = Verdict::Refused(Refusal::Associated {
            first: 1,
            second: 2,
            port: Port::P,
        });
        assert_eq!(board.decide(&twice), again);
        let fills = Operation::Associate(pair("w3", "w1", Port::P));
        assert_eq!(board.decide(&fills), Verdict::Done);
        let Verdict::Refused(Refusal::NoFreeSlot { serial, .. }) = board.decide(&twice) else {
            panic!("w1 has no slot left");
        };
        assert_eq!(&*serial, "w1");
        let touched: Vec<_> = board.touched().map(|row| row.partners).collect();
        assert_eq!(touched[0], [Some(2), Some(3), None]);
        assert_eq!(touched[2], [Some(1), None, None]);
    }

    #[test]
    fn what_is_made_or_removed_here_is_left_to_the_next_transaction() {
        let mut board = Board::new(vec![widget(1, "P"), widget(2, "P")]);
        assert_eq!(board.decide(&add("new")), Verdict::IfNew);
        // New or not, it is taken for the second one.
        let taken = |serial: &str| Verdict::Refused(Refusal::Taken(serial.into()));
        assert_eq!(board.decide(&add("new")), taken("new"));
        assert_eq!(
            board.decide(&Operation::Remove("new".into())),
            Verdict::Later
        );
        assert_eq!(board.decide(&Operation::Remove("w1".into())), Verdict::Done);
        let joined = Operation::Associate(pair("w2", "w1", Port::P));
        assert_eq!(board.decide(&joined), Verdict::Later);
        assert_eq!(board.decide(&add("w1")), Verdict::Later);
        assert_eq!(board.decide(&add("w2")), taken("w2"));
    }

    #[test]
    fn a_removed_widget_frees_its_partners_for_later_calls() {
        let (mut one, mut two) = (widget(1, "P"), widget(2, "P"));
        one.partners[0] = Some(2);
        two.partners[0] = Some(1);
        let mut board = Board::new(vec![one.clone(), two, widget(3, "P")]);
        assert_eq!(board.decide(&Operation::Remove("w2".into())), Verdict::Done);
        let joined = Operation::Associate(pair("w1", "w3", Port::P));
        assert_eq!(board.decide(&joined), Verdict::Done);
        // A partner that is not at hand was joined while the lock was waited for.
        let mut board = Board::new(vec![one]);
        let remove = Operation::Remove("w1".into());
        assert_eq!(board.decide(&remove), Verdict::Later);
        // Unless there is no such widget at all.
        assert_eq!(board.missing_partners(&[&remove]), [2]);
        board.know_absent([2]);
        assert_eq!(board.decide(&remove), Verdict::Done);
    }
}
