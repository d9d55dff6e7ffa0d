//! The inventory as a plain program in memory: what the real one is held against.

use std::collections::{BTreeMap, BTreeSet};

use inventory::{CallError, NewWidget, Operation, Port, Ports, Refusal};

/// Widgets by serial number, and associations as pairs with a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Model {
    widgets: BTreeMap<String, Ports>,
    joined: BTreeSet<(String, String, Port)>,
}

/// What a call came to, as far as it tells one refusal from another.
pub(crate) type Told = Result<(), &'static str>;

/// Tells what a real call came to.
pub(crate) fn told(outcome: &Result<(), CallError>) -> Told {
    match outcome {
        Ok(()) => Ok(()),
        Err(CallError::Refused(refusal)) => Err(refusal.as_str()),
        Err(error) => panic!("{error}"),
    }
}

fn key(a: &str, b: &str, port: Port) -> (String, String, Port) {
    let (first, second) = if a < b { (a, b) } else { (b, a) };
    (first.to_owned(), second.to_owned(), port)
}

impl Model {
    fn free(&self, serial: &str, port: Port) -> usize {
        let slots = self.widgets[serial]
            .iter()
            .filter(|one| *one == port)
            .count();
        let taken = self
            .joined
            .iter()
            .filter(|(a, b, on)| *on == port && (a == serial || b == serial))
            .count();
        slots - taken
    }

    /// Carries a call out.
    pub(crate) fn call(&mut self, operation: &Operation) -> Told {
        match operation {
            Operation::Add(NewWidget {
                serial_number,
                ports,
                ..
            }) => {
                if self.widgets.contains_key(&**serial_number) {
                    return Err(Refusal::Taken(serial_number.clone()).as_str());
                }
                self.widgets.insert(serial_number.to_string(), *ports);
            }
            Operation::Remove(serial) => {
                self.widgets.remove(&**serial);
                self.joined
                    .retain(|(a, b, _)| **a != **serial && **b != **serial);
            }
            Operation::Associate(pair) | Operation::Disassociate(pair) => {
                let (first, second, port) = (&*pair.first, &*pair.second, pair.port);
                if first == second {
                    return Err("with_itself");
                }
                if !self.widgets.contains_key(first) || !self.widgets.contains_key(second) {
                    return Err("unknown_widget");
                }
                let key = key(first, second, port);
                if matches!(operation, Operation::Disassociate(_)) {
                    return self
                        .joined
                        .remove(&key)
                        .then_some(())
                        .ok_or("not_associated");
                }
                if self.free(first, port) == 0 || self.free(second, port) == 0 {
                    return Err("no_free_slot");
                }
                if !self.joined.insert(key) {
                    return Err("associated");
                }
            }
        }
        Ok(())
    }

    /// Writes the state as the table is read.
    pub(crate) fn table(&self) -> BTreeMap<String, Vec<String>> {
        let mut table = BTreeMap::new();
        for (serial, ports) in &self.widgets {
            let mut slots = Vec::new();
            for port in Port::ALL {
                let partners = self.joined.iter().filter_map(|(a, b, on)| match () {
                    () if *on != port => None,
                    () if a == serial => Some(b),
                    () if b == serial => Some(a),
                    () => None,
                });
                let mut partners = partners;
                for _ in ports.iter().filter(|one| *one == port) {
                    let partner = partners.next().map(String::as_str).unwrap_or_default();
                    slots.push(format!("{port}-{partner}"));
                }
            }
            slots.sort();
            table.insert(serial.clone(), slots);
        }
        table
    }

    /// Looks for an order of concurrent calls that explains what each came to and what the table holds now, and takes it.
    pub(crate) fn explain(
        &mut self,
        calls: &[(Operation, Told)],
        table: &BTreeMap<String, Vec<String>>,
    ) -> bool {
        let places: Vec<usize> = (0..calls.len()).collect();
        let Some(found) = self.ordered(calls, &places, table) else {
            return false;
        };
        *self = found;
        true
    }

    fn ordered(
        &self,
        calls: &[(Operation, Told)],
        left: &[usize],
        table: &BTreeMap<String, Vec<String>>,
    ) -> Option<Self> {
        if left.is_empty() {
            return (self.table() == *table).then(|| self.clone());
        }
        left.iter().enumerate().find_map(|(place, next)| {
            let mut model = self.clone();
            let (operation, came_to) = &calls[*next];
            if model.call(operation) != *came_to {
                return None;
            }
            let mut rest = left.to_vec();
            rest.remove(place);
            model.ordered(calls, &rest, table)
        })
    }
}
