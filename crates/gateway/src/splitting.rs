//! By whom callers are divided over the variants of a split: each stays with one.

use std::net::IpAddr;

use identity::{Principal, PrincipalKind};

/// Who calls, as far as splits care. Worked out only where there is one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SplitCaller {
    kind: PrincipalKind,
    address: IpAddr,
}

impl SplitCaller {
    pub(crate) const fn new(principal: &Principal, address: IpAddr) -> Self {
        Self {
            kind: principal.kind,
            address,
        }
    }

    /// Returns what the caller is told apart by: the key, the person, or, of callers without either, the address.
    pub(crate) fn key(self) -> String {
        match self.kind {
            PrincipalKind::Key(id) => id.to_string(),
            PrincipalKind::User(id) => id.to_string(),
            PrincipalKind::Anonymous => self.address.to_canonical().to_string(),
        }
    }
}
