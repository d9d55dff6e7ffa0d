//! The names in certificates. None of them is ever looked up: whom a certificate belongs to is decided by who issued it.

use rustls::pki_types::CertificateDer;

/// The name that the control plane's certificate is issued for.
pub const CONTROL_PLANE: &str = "control-plane.remuda.internal";

const NODE_SUFFIX: &str = ".node.remuda.internal";

/// Returns the name that the certificate of a node is issued for, which is also the host that calls through its agent name.
///
/// Model servers on loopback take `.internal` in a `Host` header for a name of their own network, and answer.
pub fn node_host(node: &str) -> String {
    format!("{node}{NODE_SUFFIX}")
}

/// Returns the node that a host or certificate names.
pub fn node_in(host: &str) -> Option<&str> {
    host.strip_suffix(NODE_SUFFIX)
}

/// Returns the node that a certificate was issued for. Who issued it is not looked at here.
pub fn node_of(certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    let mut names = certificate.valid_dns_names();
    names.find_map(node_in).map(str::to_owned)
}
