//! Random calls of several clients at once, over two processes: what they come to must be explained by some order of theirs.
//!
//! Each run makes up calls of its own. A failure tells its seed; `REMUDA_HISTORY_SEED` makes the same calls again, though which of them
//! meet in the database differs from run to run, and `REMUDA_HISTORY_ROUNDS` says how many rounds they are instead of 150:
//! `REMUDA_HISTORY_SEED=7 REMUDA_HISTORY_ROUNDS=5000 cargo xtask test -E 'test(histories)'`.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use inventory::{InventoryConfig, NewWidget, Operation, Pair, Port, Ports};
use store::testing::TestStore;

use crate::app::Process;
use crate::model::{Model, told};

store::on_every_engine! {
    concurrent_calls_are_as_calls_in_some_order,
}

/// Rounds of one history; in each, calls go out together and all are waited for.
const ROUNDS: u64 = 150;
/// Calls of a round.
const TOGETHER: usize = 6;

/// Numbers that look random and follow from a seed: xorshift, <https://www.jstatsoft.org/article/view/v008i14>.
pub(crate) struct Dice(u64);

/// Returns what the environment says, if anything.
fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("the setting is a whole number"))
}

/// Returns the seed of this run, and tells it: a test that fails shows what it has written.
pub(crate) fn seed() -> u64 {
    let seed = setting("REMUDA_HISTORY_SEED").unwrap_or_else(|| RandomState::new().hash_one(()));
    println!("REMUDA_HISTORY_SEED={seed}");
    seed
}

impl Dice {
    /// Throws the dice number `which` of a run.
    pub(crate) fn of(seed: u64, which: u64) -> Self {
        // The next one of SplitMix64, so that dice with numbers in a row have nothing in common: <https://prng.di.unimi.it/splitmix64.c>.
        let mut state = seed.wrapping_add(which.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // Xorshift never leaves nought.
        Self((state ^ (state >> 31)).max(1))
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }

    pub(crate) fn port(&mut self) -> Port {
        Port::ALL[self.below(3)]
    }

    pub(crate) fn operation(&mut self, serials: usize) -> Operation {
        let serial = |dice: &mut Self| -> Arc<str> { format!("w{}", dice.below(serials)).into() };
        match self.below(10) {
            0..=3 => {
                let ports: Vec<Port> = (0..self.below(4)).map(|_| self.port()).collect();
                Operation::Add(NewWidget {
                    serial_number: serial(self),
                    name: "n".into(),
                    ports: Ports::of(&ports).unwrap(),
                })
            }
            4 => Operation::Remove(serial(self)),
            choice => {
                let pair = Pair {
                    first: serial(self),
                    second: serial(self),
                    port: self.port(),
                };
                if choice < 8 {
                    Operation::Associate(pair)
                } else {
                    Operation::Disassociate(pair)
                }
            }
        }
    }
}

async fn concurrent_calls_are_as_calls_in_some_order(store: TestStore) {
    let config = InventoryConfig {
        writers: 2,
        batch_beside: 1,
        ..InventoryConfig::default()
    };
    let processes = [
        Process::start(&store, config).await,
        Process::start(&store, config).await,
    ];
    let seed = seed();
    let mut dice = Dice::of(seed, 0);
    let rounds = setting("REMUDA_HISTORY_ROUNDS").unwrap_or(ROUNDS);
    let mut model = Model::default();
    let mut done = 0;
    for round in 0..rounds {
        let mut calls = Vec::new();
        for _ in 0..TOGETHER {
            let operation = dice.operation(7);
            let inventory = processes[dice.below(2)].inventory.clone();
            let called = operation.clone();
            let call = tokio::spawn(async move { inventory.call(called).await });
            calls.push((operation, call));
        }
        let mut came_to = Vec::new();
        for (operation, call) in calls {
            let outcome = told(&call.await.unwrap());
            done += u64::from(outcome.is_ok());
            came_to.push((operation, outcome));
        }
        let table = processes[0].table().await;
        let before = model.clone();
        assert!(
            model.explain(&came_to, &table),
            "seed {seed}, round {round}: no order explains {came_to:#?}\nbefore {before:#?}\nafter {table:#?}"
        );
    }
    assert!(done > rounds, "seed {seed}: {done} calls were carried out");
    for process in processes {
        process.stop().await;
    }
}
