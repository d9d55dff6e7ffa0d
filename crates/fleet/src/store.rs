//! All SQL of the domain.

mod history;
mod requests;

pub(crate) use history::{HISTORY, history, newest_point, prune_history, roll_history};
pub(crate) use requests::{
    Counted, Group, count_hour, prune_statistics, read_statistics, replace_day, replace_hour,
    rolled_until,
};
