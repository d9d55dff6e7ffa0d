//! The real binary, as a person uses it: its words, its exit codes, its life from start to signal.

#[cfg(test)]
mod golden;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod pair;
#[cfg(test)]
mod service;
#[cfg(test)]
mod stack;

#[cfg(test)]
mod acceptance;
#[cfg(test)]
mod agent_relay;
#[cfg(test)]
mod agent_updates;
#[cfg(test)]
mod agents;
#[cfg(test)]
mod authorisation;
#[cfg(test)]
mod batch_command;
#[cfg(test)]
mod budgets;
#[cfg(test)]
mod care;
#[cfg(test)]
mod chaos;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod command_line;
#[cfg(test)]
mod connections;
#[cfg(test)]
mod copies;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod discovered;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod embedded;
#[cfg(test)]
mod erasing;
#[cfg(test)]
mod graphql;
#[cfg(test)]
mod index_use;
#[cfg(test)]
mod inventory;
#[cfg(test)]
mod inventory_import;
#[cfg(test)]
mod jobs;
#[cfg(test)]
mod kept_answers;
#[cfg(test)]
mod kills;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod model_changes;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod outage;
#[cfg(test)]
mod people;
#[cfg(test)]
mod placement;
#[cfg(test)]
mod placement_limits;
#[cfg(test)]
mod providers;
#[cfg(test)]
mod realtime;
#[cfg(test)]
mod records;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod reloading;
#[cfg(test)]
mod rollouts;
#[cfg(test)]
mod shared_limits;
#[cfg(test)]
mod shutdown;
#[cfg(test)]
mod simulations;
#[cfg(test)]
mod splits;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod two_processes;
