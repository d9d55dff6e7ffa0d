//! Values bound to a statement.

use std::sync::Arc;

use primitives::{
    InvitationId, JobId, KeyId, NodeId, OrgId, RequestId, RolloutId, SessionId, Timestamp, UserId,
};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::ColumnType;

/// A bound value. PostgreSQL needs the type even of an absent one.
///
/// NUL characters, which PostgreSQL cannot store in text, become U+FFFD on both engines.
#[derive(Clone, Debug, PartialEq)]
pub enum Param {
    /// A whole number.
    I64(i64),
    /// A floating-point number.
    F64(f64),
    /// Text.
    Text(Arc<str>),
    /// A truth value.
    Bool(bool),
    /// A JSON document: an object or an array.
    Json(Value),
    /// A JSON document that is text already.
    JsonText(JsonText),
    /// Bytes.
    Bytes(Vec<u8>),
    /// An absent value of a column of the given type.
    Null(ColumnType),
}

/// A JSON document as text: an object or an array. Cheaper to make and to store than a tree of values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonText(Arc<str>);

impl JsonText {
    /// Writes a value as JSON.
    ///
    /// # Errors
    /// When the value cannot be written as JSON, as a map whose keys are no strings.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        let text = serde_json::to_string(value)?;
        // The escape of the one character that PostgreSQL cannot store; a backslash before it may make it mean something else.
        if text.contains("\\u0000") {
            let clean = json_without_nul(serde_json::from_str(&text)?);
            return Ok(Self(clean.to_string().into()));
        }
        Ok(Self(text.into()))
    }

    /// Returns the empty array.
    pub fn empty_array() -> Self {
        Self("[]".into())
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn into_text(self) -> Arc<str> {
        self.0
    }
}

/// The values of one statement, in the order of `$1`, `$2`, ….
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Params(pub(crate) Vec<Param>);

/// Makes [`Params`] from any values that convert to [`Param`].
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        $crate::Params::from(vec![$($crate::Param::from($value)),*])
    };
}

impl From<Vec<Param>> for Params {
    fn from(values: Vec<Param>) -> Self {
        Self(values)
    }
}

impl Extend<Param> for Params {
    fn extend<I: IntoIterator<Item = Param>>(&mut self, more: I) {
        self.0.extend(more);
    }
}

impl IntoIterator for Params {
    type Item = Param;
    type IntoIter = std::vec::IntoIter<Param>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<const N: usize> From<[Param; N]> for Params {
    fn from(values: [Param; N]) -> Self {
        Self(values.into())
    }
}

impl From<()> for Params {
    fn from((): ()) -> Self {
        Self::default()
    }
}

/// A type with a fixed column type, so that its absence can be bound too.
trait Bindable: Into<Param> {
    const COLUMN: ColumnType;
}

impl<T: Bindable> From<Option<T>> for Param {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null(T::COLUMN), Into::into)
    }
}

macro_rules! bindable {
    ($($from:ty => $column:ident, $convert:expr;)*) => {$(
        impl From<$from> for Param {
            fn from(value: $from) -> Self {
                let convert: fn($from) -> Param = $convert;
                convert(value)
            }
        }

        impl Bindable for $from {
            const COLUMN: ColumnType = ColumnType::$column;
        }
    )*};
}

bindable! {
    i64 => I64, Param::I64;
    i32 => I64, |value| Param::I64(value.into());
    u32 => I64, |value| Param::I64(value.into());
    // The databases have no unsigned numbers; nothing that we count reaches 2^63.
    u64 => I64, |value| Param::I64(i64::try_from(value).unwrap_or(i64::MAX));
    f64 => F64, Param::F64;
    f32 => F64, |value| Param::F64(value.into());
    bool => Bool, Param::Bool;
    String => Text, |value| Param::Text(text(&value));
    &str => Text, |value| Param::Text(text(value));
    &String => Text, |value| Param::Text(text(value));
    Arc<str> => Text, |value| Param::Text(if value.contains('\0') { text(&value) } else { value });
    &Arc<str> => Text, |value| Self::from(Arc::clone(value));
    JsonText => Json, Param::JsonText;
    Value => Json, |value| Param::Json(json_without_nul(value));
    Vec<u8> => Bytes, Param::Bytes;
    &[u8] => Bytes, |value| Param::Bytes(value.to_vec());
    Timestamp => I64, |value| Param::I64(value.as_micros());
    InvitationId => Text, |id| Param::Text(id_text(id.as_uuid()));
    JobId => Text, |id| Param::Text(id_text(id.as_uuid()));
    RolloutId => Text, |id| Param::Text(id_text(id.as_uuid()));
    KeyId => Text, |id| Param::Text(id_text(id.as_uuid()));
    NodeId => Text, |id| Param::Text(id_text(id.as_uuid()));
    OrgId => Text, |id| Param::Text(id_text(id.as_uuid()));
    RequestId => Text, |id| Param::Text(id_text(id.as_uuid()));
    SessionId => Text, |id| Param::Text(id_text(id.as_uuid()));
    UserId => Text, |id| Param::Text(id_text(id.as_uuid()));
}

fn id_text(id: Uuid) -> Arc<str> {
    let mut buffer = Uuid::encode_buffer();
    Arc::from(&*id.hyphenated().encode_lower(&mut buffer))
}

fn text(text: &str) -> Arc<str> {
    if text.contains('\0') {
        text.replace('\0', "\u{fffd}").into()
    } else {
        text.into()
    }
}

fn json_without_nul(value: Value) -> Value {
    match value {
        Value::String(string) => Value::String(text(&string).as_ref().to_owned()),
        Value::Array(items) => items.into_iter().map(json_without_nul).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| (text(&name).as_ref().to_owned(), json_without_nul(value)))
            .collect(),
        other => other,
    }
}
