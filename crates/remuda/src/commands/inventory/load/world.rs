//! What the load believes to be in the inventory, so that most of its calls can be carried out.

use std::fmt;
use std::io;
use std::io::Write as _;
use std::str::FromStr;

use inventory::{OperationKind, Port, Ports};

/// The ports of the widgets, over and over: two slots each in the mean.
const PORTS: [&str; 10] = ["PQR", "PQ", "P", "PPR", "QR", "", "RRQ", "QQ", "PR", "QPR"];
/// How often another widget is drawn when one does not fit.
const ATTEMPTS: u32 = 30;

/// Marks of a widget besides its three slots.
const ALIVE: u8 = 1 << 3;
const BUSY: u8 = 1 << 4;

/// How often each call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mix([u32; 4]);

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const NAMES: [&str; 4] = ["add", "associate", "disassociate", "remove"];
        let mut parts = [0; 4];
        for part in text.split(',') {
            let read = part.split_once('=').and_then(|(name, count)| {
                let place = NAMES.iter().position(|one| *one == name.trim())?;
                Some((place, count.trim().parse::<u16>().ok()?))
            });
            let (place, count) = read.ok_or_else(|| {
                format!("{part:?} is none of add=N, associate=N, disassociate=N, remove=N")
            })?;
            if let Some(place) = parts.get_mut(place) {
                *place = u32::from(count);
            }
        }
        if parts.iter().sum::<u32>() == 0 {
            return Err("at least one call must be made".to_owned());
        }
        Ok(Self(parts))
    }
}

/// A call to be made.
pub(super) struct Call {
    kind: OperationKind,
    first: u32,
    second: u32,
    port: Port,
}

impl Call {
    pub(super) const fn function(&self) -> &'static str {
        self.kind.function()
    }
}

/// The widgets and associations that were made, as far as it is known.
pub(super) struct World {
    prefix: String,
    population: u32,
    seed: u64,
    mix: Mix,
    /// One mark a widget: its slots that are taken, whether it is there, whether a call about it is under way.
    marks: Vec<u8>,
    joined: Vec<(u32, u32, Port)>,
    /// The state of xorshift, <https://www.jstatsoft.org/article/view/v008i14>.
    random: u64,
}

fn ports_of(number: u32) -> &'static str {
    PORTS[number as usize % PORTS.len()]
}

impl World {
    pub(super) fn new(prefix: &str, population: u32, mix: Mix, seed: u64) -> Self {
        Self {
            prefix: prefix.to_owned(),
            population,
            seed,
            mix,
            marks: vec![ALIVE; population as usize],
            joined: Vec::new(),
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        }
    }

    /// Returns serial number and ports of a widget of the population.
    pub(super) fn member(prefix: &str, number: u32) -> (String, &'static str) {
        (format!("{prefix}-{number:08}"), ports_of(number))
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % bound.max(1) as u64) as usize
    }

    /// Makes up the next call.
    pub(super) fn next(&mut self) -> Call {
        let sum = self.mix.0.iter().sum::<u32>() as usize;
        let mut place = self.below(sum) as u32;
        let mut kind = 0;
        for (index, count) in self.mix.0.into_iter().enumerate() {
            if place < count {
                kind = index;
                break;
            }
            place -= count;
        }
        let made = match kind {
            1 => self.associate(),
            2 => self.disassociate(),
            3 => self.remove(),
            _ => None,
        };
        made.unwrap_or_else(|| self.add())
    }

    fn mark(&mut self, number: u32) -> Option<&mut u8> {
        self.marks.get_mut(number as usize)
    }

    fn add(&mut self) -> Call {
        let number = self.marks.len() as u32;
        self.marks.push(BUSY);
        Call {
            kind: OperationKind::Add,
            first: number,
            second: number,
            port: Port::P,
        }
    }

    /// Draws a widget that is there, that no call is about, and that has a free slot with a port, if one is wanted.
    fn draw(&mut self, port: Option<Port>) -> Option<(u32, usize)> {
        for _ in 0..ATTEMPTS {
            let number = self.below(self.marks.len()) as u32;
            let mark = self.marks.get(number as usize).copied().unwrap_or(BUSY);
            if mark & ALIVE == 0 || mark & BUSY != 0 {
                continue;
            }
            let slot = match port {
                None => Some(0),
                Some(port) => Ports::parse(ports_of(number))
                    .unwrap_or_default()
                    .slots_of(port)
                    .find(|slot| mark >> slot & 1 == 0),
            };
            if let Some(slot) = slot {
                return Some((number, slot));
            }
        }
        None
    }

    fn associate(&mut self) -> Option<Call> {
        let port = Port::ALL[self.below(3)];
        let (first, slot) = self.draw(Some(port))?;
        let (second, other) = self.draw(Some(port))?;
        if first == second {
            return None;
        }
        for (number, slot) in [(first, slot), (second, other)] {
            if let Some(mark) = self.mark(number) {
                *mark |= BUSY | 1 << slot;
            }
        }
        Some(Call {
            kind: OperationKind::Associate,
            first,
            second,
            port,
        })
    }

    fn disassociate(&mut self) -> Option<Call> {
        for _ in 0..ATTEMPTS {
            if self.joined.is_empty() {
                return None;
            }
            let place = self.below(self.joined.len());
            let (first, second, port) = self.joined.swap_remove(place);
            let free = |number: u32| {
                let mark = self.marks.get(number as usize).copied().unwrap_or_default();
                mark & ALIVE != 0 && mark & BUSY == 0
            };
            // An association whose widgets are gone is forgotten.
            if free(first) && free(second) {
                for number in [first, second] {
                    if let Some(mark) = self.mark(number) {
                        *mark |= BUSY;
                    }
                }
                return Some(Call {
                    kind: OperationKind::Disassociate,
                    first,
                    second,
                    port,
                });
            }
        }
        None
    }

    fn remove(&mut self) -> Option<Call> {
        let (number, _) = self.draw(None)?;
        if let Some(mark) = self.mark(number) {
            *mark |= BUSY;
        }
        Some(Call {
            kind: OperationKind::Remove,
            first: number,
            second: number,
            port: Port::P,
        })
    }

    /// Takes note of what a call came to.
    pub(super) fn done(&mut self, call: &Call, done: bool) {
        for number in [call.first, call.second] {
            if let Some(mark) = self.mark(number) {
                *mark &= !BUSY;
            }
        }
        if !done {
            return;
        }
        let (first, second) = (call.first, call.second);
        match call.kind {
            OperationKind::Add => {
                if let Some(mark) = self.mark(first) {
                    *mark |= ALIVE;
                }
            }
            OperationKind::Remove => {
                if let Some(mark) = self.mark(first) {
                    *mark = 0;
                }
            }
            OperationKind::Associate => self.joined.push((first, second, call.port)),
            OperationKind::Disassociate => {
                for number in [first, second] {
                    let slots = Ports::parse(ports_of(number)).unwrap_or_default();
                    let Some(mark) = self.mark(number) else {
                        continue;
                    };
                    if let Some(slot) = slots
                        .slots_of(call.port)
                        .find(|slot| *mark >> slot & 1 == 1)
                    {
                        *mark &= !(1 << slot);
                    }
                }
            }
        }
    }

    /// Writes what a call is made with.
    pub(super) fn write_body(&self, call: &Call, body: &mut Vec<u8>) -> io::Result<()> {
        body.clear();
        let (first, second) = (self.serial(call.first), self.serial(call.second));
        match call.kind {
            OperationKind::Add => {
                let name = call.first;
                write!(
                    body,
                    "{{\"widget_sn\":\"{first}\",\"widget_name\":\"part {name}\",\"slots\":["
                )?;
                for (place, port) in ports_of(call.first).chars().enumerate() {
                    let comma = if place == 0 { "" } else { "," };
                    write!(body, "{comma}\"{port}\"")?;
                }
                body.write_all(b"]}")
            }
            OperationKind::Remove => write!(body, "{{\"widget_sn\":\"{first}\"}}"),
            OperationKind::Associate | OperationKind::Disassociate => write!(
                body,
                "{{\"widget1_sn\":\"{first}\",\"widget2_sn\":\"{second}\",\"port\":\"{}\"}}",
                call.port
            ),
        }
    }

    fn serial(&self, number: u32) -> Serial<'_> {
        Serial {
            prefix: &self.prefix,
            run: (number >= self.population).then_some(self.seed),
            number,
        }
    }
}

/// The serial number of a widget. Those that are made here do not meet those of other runs.
struct Serial<'a> {
    prefix: &'a str,
    run: Option<u64>,
    number: u32,
}

impl fmt::Display for Serial<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (prefix, number) = (self.prefix, self.number);
        match self.run {
            None => write!(f, "{prefix}-{number:08}"),
            Some(run) => write!(f, "{prefix}-{run}-{number:08}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_names_its_parts() {
        let mix: Mix = "add=40,associate=30,disassociate=15,remove=15"
            .parse()
            .unwrap();
        assert_eq!(mix, Mix([40, 30, 15, 15]));
        for text in ["", "add", "add=x", "sub=1", "add=0", "add=-1"] {
            assert!(text.parse::<Mix>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn no_two_calls_are_about_the_same_widget_at_the_same_time() {
        let mix = "add=10,associate=40,disassociate=20,remove=10"
            .parse()
            .unwrap();
        let mut world = World::new("w", 50, mix, 7);
        let mut under_way: Vec<Call> = Vec::new();
        for round in 0..5_000 {
            if under_way.len() > 5 {
                let call = under_way.remove(round % under_way.len());
                world.done(&call, true);
            }
            let call = world.next();
            for other in &under_way {
                for number in [call.first, call.second] {
                    assert!(number != other.first && number != other.second);
                }
            }
            under_way.push(call);
        }
        assert!(!world.joined.is_empty());
    }
}
