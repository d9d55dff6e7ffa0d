//! Statistics and history over real databases.

#[cfg(test)]
mod history;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod stage;
