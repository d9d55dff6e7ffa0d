//! The inventory over real databases, through its routes and its own calls.

#[cfg(test)]
mod app;
#[cfg(test)]
mod backups;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod commits;
#[cfg(test)]
mod crowd;
#[cfg(test)]
mod histories;
#[cfg(test)]
mod kills;
#[cfg(test)]
mod model;
#[cfg(test)]
mod moving;
#[cfg(test)]
mod reading;
#[cfg(test)]
mod rpc;
#[cfg(test)]
mod rules;
