//! Random calls of several clients at once, over two processes: what they come to must be explained by some order of theirs.

use std::sync::Arc;

use inventory::{InventoryConfig, NewWidget, Operation, Pair, Port, Ports};
use store::testing::TestStore;

use crate::app::Process;
use crate::model::{Model, told};

store::on_every_engine! {
    concurrent_calls_are_as_calls_in_some_order,
}

/// Rounds of one history; in each, calls go out together and all are waited for.
const ROUNDS: usize = 150;
/// Calls of a round.
const TOGETHER: usize = 6;

/// Numbers that look random and are the same in each run: xorshift, <https://www.jstatsoft.org/article/view/v008i14>.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
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
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut model = Model::default();
    let mut done = 0;
    for round in 0..ROUNDS {
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
            done += usize::from(outcome.is_ok());
            came_to.push((operation, outcome));
        }
        let table = processes[0].table().await;
        let before = model.clone();
        assert!(
            model.explain(&came_to, &table),
            "round {round}: no order explains {came_to:#?}\nbefore {before:#?}\nafter {table:#?}"
        );
    }
    assert!(done > ROUNDS, "{done} calls were carried out");
    for process in processes {
        process.stop().await;
    }
}
