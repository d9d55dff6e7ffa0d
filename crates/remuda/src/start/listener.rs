//! Taking the address before anything else is touched, and what it is called.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use socket2::SockRef;
use web::tls::Certificate;

use super::error::StartError;

/// Connections that may wait to be taken up; the system may have a lower bound (`net.core.somaxconn`). The standard library's 128 are few
/// where thousands of clients come back in one moment: who finds no place tries again after a second.
const BACKLOG: i32 = 4096;

/// Binds the address. Port 0 takes a free port.
pub(super) fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        SockRef::from(&listener).listen(BACKLOG)?;
        Ok(listener)
    });
    bound.map_err(|error| match error.kind() {
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

/// Returns the base URL under which this machine reaches an address: by TLS under the first name that the certificate is for.
pub(crate) fn base_url(address: SocketAddr, certificate: Option<&Certificate>) -> String {
    let mut near = address;
    if near.ip().is_unspecified() {
        near.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let Some(certificate) = certificate else {
        return format!("http://{near}");
    };
    let mut names = certificate.names().iter();
    match names.find(|name| !name.starts_with('*')) {
        Some(name) => format!("https://{name}:{}", near.port()),
        None => format!("https://{near}"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::time::Duration;

    use super::*;

    /// Linux lets as many wait as `net.core.somaxconn` says, 4096 unless changed.
    #[test]
    fn a_crowd_can_wait_to_be_taken_up() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let crowd: Vec<TcpStream> = (0..400)
            .map(|_| TcpStream::connect_timeout(&address, Duration::from_secs(10)).unwrap())
            .collect();
        assert_eq!(crowd.len(), 400);
    }
}
