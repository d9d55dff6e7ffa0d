//! Taking the address before anything else is touched.

use std::io;
use std::net::{SocketAddr, TcpListener};

use super::error::StartError;

/// Binds the address. Port 0 takes a free port.
pub(super) fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => StartError::PortTaken { address },
        io::ErrorKind::PermissionDenied => StartError::Listen {
            address,
            reason: "ports below 1024 need special rights".to_owned(),
        },
        io::ErrorKind::AddrNotAvailable => StartError::Listen {
            address,
            reason: "this machine does not have that address".to_owned(),
        },
        _ => StartError::Listen {
            address,
            reason: error.to_string(),
        },
    })
}
