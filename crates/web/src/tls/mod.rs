//! TLS towards clients: the certificate and its key from two files, read anew when these change.
//!
//! What is read is checked before it is used, so that a client never meets a certificate that cannot work. Nothing here opens a
//! connection.

mod certificate;
mod handshakes;
mod server;
mod validity;

pub use certificate::{Certificate, CertificateError};
pub use handshakes::{Handshake, HandshakeOutcome, Handshakes};
pub use server::{Reloads, ServerTls};
