//! Statements that run together.

use uuid::Uuid;

/// Statements that run together, in one wait for the database. They have no parameters. The only values in them are ids: hexadecimal
/// digits and hyphens, which end no quotation.
#[derive(Clone, Debug)]
pub struct Script(String);

impl Script {
    /// Makes one from words of the source text, in which `$1` to `$9` stand for ids, and for NULL where one is absent.
    pub fn about(sql: &'static str, ids: &[Option<Uuid>]) -> Self {
        let named = (1..).zip(ids);
        Self(named.fold(sql.to_owned(), |sql, (number, id)| {
            let value = id.map_or_else(|| "NULL".to_owned(), |id| format!("'{id}'"));
            sql.replace(&format!("${number}"), &value)
        }))
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

impl From<&'static str> for Script {
    fn from(sql: &'static str) -> Self {
        Self(sql.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stand_where_they_are_named() {
        let id = Uuid::from_u128(7);
        let script = Script::about("SELECT $1, $2, $1", &[Some(id), None]);
        let quoted = "'00000000-0000-0000-0000-000000000007'";
        assert_eq!(script.text(), format!("SELECT {quoted}, NULL, {quoted}"));
    }
}
