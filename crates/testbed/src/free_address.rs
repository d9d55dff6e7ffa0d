//! Addresses for programs that must be told one beforehand.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Ports below those that systems give to whoever asks for any: one of these is not taken by a connection that another test makes.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// Returns an address of this machine that nobody listens on now, drawn by chance.
///
/// # Errors
/// When a hundred in a row are taken.
pub fn free_address() -> io::Result<SocketAddr> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for draw in 0..100 {
        let drawn = RandomState::new().hash_one(draw);
        let port = FIRST + (drawn % u64::from(COUNT)) as u16;
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(listener) => return listener.local_addr(),
            Err(error) => last = error,
        }
    }
    Err(last)
}
