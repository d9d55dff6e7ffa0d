//! Writing the events and whole bodies of `/v1/responses`.

mod item;
mod object;
mod stream;
#[cfg(test)]
mod tests;
mod whole;

pub(crate) use object::echo;
pub(crate) use stream::StreamWriter;
pub(crate) use whole::write_whole;
