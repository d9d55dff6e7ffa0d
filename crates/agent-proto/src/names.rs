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

/// What the namespace begins with of the names that a model has while it is copied from another node.
pub const COPY_NAMESPACE: &str = "remuda-copy-";

/// Tells whether this is the name that a model has while it is copied: it comes from the loopback interface, and is nobody's model.
pub fn is_copy_name(name: &str) -> bool {
    let mut parts = name.split('/');
    let host = parts.next().unwrap_or_default();
    let namespace = parts.next().unwrap_or_default();
    host.starts_with("127.0.0.1:") && namespace.starts_with(COPY_NAMESPACE)
}

/// Returns the node that a certificate was issued for. Who issued it is not looked at here.
pub fn node_of(certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    let mut names = certificate.valid_dns_names();
    names.find_map(node_in).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_copies_are_names_of_copies() {
        assert!(is_copy_name("127.0.0.1:4711/remuda-copy-ab/copy:latest"));
        for name in [
            "m",
            "remuda-copy-ab/copy",
            "h.lan:4711/remuda-copy-ab/copy",
            "127.0.0.1:4711/library/copy",
        ] {
            assert!(!is_copy_name(name), "{name}");
        }
    }
}
