//! A provider as it is configured.

use primitives::Secret;
use serde_json::{Map, Value};

use crate::model::Role;

/// A provider of identities.
#[derive(Clone, Debug)]
pub struct OidcProvider {
    /// Its name in paths: lower-case letters, digits and `-`.
    pub name: String,
    /// What people read; the name when absent.
    pub label: Option<String>,
    /// Its issuer, as its documents and tokens say it.
    pub issuer: String,
    /// Under what name it knows this server.
    pub client_id: String,
    /// The secret between it and this server; absent for public clients.
    pub client_secret: Option<Secret<String>>,
    /// What is asked for; `openid` is always among them.
    pub scopes: Vec<String>,
    /// Whether people whom the provider confirms an address of are linked to the account with that address.
    pub link_by_email: bool,
    /// Whether people without an account get one.
    pub provision: bool,
    /// Whether the role follows the rules at every sign-in.
    pub sync_roles: bool,
    /// Who gets which role in which organisation; the first that fits counts. Where there are any, only those whom one fits get an account.
    pub rules: Vec<RoleRule>,
}

/// A claim that makes somebody something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleRule {
    /// The claim's name; dots lead into objects, as in `realm_access.roles`.
    pub claim: String,
    /// What it must be, or have among its values.
    pub value: String,
    /// The organisation's name; the first one when absent.
    pub organisation: Option<String>,
    /// What they may do there.
    pub role: Role,
}

impl OidcProvider {
    /// Returns the rule that fits these claims.
    pub(super) fn rule(&self, claims: &Map<String, Value>) -> Option<&RoleRule> {
        self.rules.iter().find(|rule| rule.fits(claims))
    }

    /// Returns what is asked for.
    pub(super) fn scope(&self) -> String {
        let more = self.scopes.iter().filter(|scope| *scope != "openid");
        let mut text = "openid".to_owned();
        for scope in more {
            text.push(' ');
            text.push_str(scope);
        }
        text
    }
}

impl RoleRule {
    fn fits(&self, claims: &Map<String, Value>) -> bool {
        // A claim may have a dot in its name, as in `https://example.org/roles`.
        let found = claims.get(&self.claim).or_else(|| {
            let mut parts = self.claim.split('.');
            let first = claims.get(parts.next()?)?;
            parts.try_fold(first, |value, part| value.get(part))
        });
        let is_it = |value: &Value| match value {
            Value::String(text) => *text == self.value,
            Value::Bool(value) => self.value == if *value { "true" } else { "false" },
            Value::Number(number) => number.to_string() == self.value,
            _ => false,
        };
        match found {
            Some(Value::Array(values)) => values.iter().any(is_it),
            Some(value) => is_it(value),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_rule_fits_a_value_or_one_among_several_by_name_or_by_path() {
        let claims = json!({"groups": ["a", "b"], "plan": "gold", "staff": true, "x.y": "dot", "realm": {"roles": ["r"]}});
        let claims = claims.as_object().unwrap();
        let fits = |claim: &str, value: &str| {
            let rule = RoleRule {
                claim: claim.to_owned(),
                value: value.to_owned(),
                organisation: None,
                role: Role::User,
            };
            rule.fits(claims)
        };
        for (claim, value) in [
            ("groups", "b"),
            ("plan", "gold"),
            ("staff", "true"),
            ("x.y", "dot"),
            ("realm.roles", "r"),
        ] {
            assert!(fits(claim, value), "{claim}");
        }
        for (claim, value) in [
            ("groups", "c"),
            ("groups", "[\"a\",\"b\"]"),
            ("plan", "gol"),
            ("realm", "r"),
            ("realm.roles.x", "r"),
            ("none", ""),
        ] {
            assert!(!fits(claim, value), "{claim}");
        }
    }
}
