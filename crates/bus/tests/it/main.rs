//! A real Redis: what is shared through it, and what happens while it is away.

#[cfg(test)]
mod shared;
