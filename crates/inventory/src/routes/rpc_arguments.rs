//! Arguments of `/rpc`: a JSON object with just the names of the function's arguments, each once.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use http::StatusCode;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::rpc_error::{RpcError, shortened};
use super::rpc_value::{Name, Value};
use crate::model::{
    LONGEST_NAME, LONGEST_SERIAL, NewWidget, Operation, OperationKind, Pair, Port, Ports,
};
use crate::refusal::{CallError, Refusal};

/// The fields of an object as they came.
struct Fields<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::with_capacity(3);
                while let Some((Name(name), value)) = map.next_entry()? {
                    fields.push((name, value));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// What a function is called with.
pub(super) enum Asked {
    /// What can be carried out.
    Operation(Operation),
    /// A widget of this serial number with a slot that is `null`.
    NullSlot(Arc<str>),
    /// Two widgets and a port, of which something is `null`.
    NullPair(NullPair),
}

/// Two widgets to be joined or parted and a port. What is `null` is neither there nor joined with anything; why it is refused
/// depends on whether the widgets are there.
pub(super) struct NullPair {
    pub(super) first: Option<Arc<str>>,
    pub(super) second: Option<Arc<str>>,
}

impl From<Operation> for Asked {
    fn from(operation: Operation) -> Self {
        Self::Operation(operation)
    }
}

/// Tells of a function that there is not, with the names of what it was called with.
pub(super) fn of_no_function(name: &str, body: &[u8]) -> RpcError {
    let Ok(Fields(fields)) = serde_json::from_slice(body) else {
        return RpcError::unreadable();
    };
    let given: Vec<&str> = fields.iter().map(|(name, _)| &**name).collect();
    RpcError::no_function(name, None, &given)
}

/// Reads what a function is called with, and refuses at once what needs no look at the inventory.
pub(super) fn read(kind: OperationKind, body: &[u8]) -> Result<Asked, RpcError> {
    let Fields(fields) = serde_json::from_slice(body).map_err(|_| RpcError::unreadable())?;
    let mut arguments = Arguments { kind, fields };
    arguments.refuse_repeated()?;
    let operation = match kind {
        OperationKind::Add => {
            let [serial, name, slots] =
                arguments.take([&["widget_sn"], &["widget_name", "name"], &["slots"]])?;
            let slots = slots_of(&slots)?;
            let serial = text("widget_sn", &serial)?;
            let name = text("widget_name", &name)?;
            if slots.len() > 3 {
                return Err(RpcError::raised(
                    "Cannot add widget: too many slots (maximum is 3)",
                ));
            }
            let serial = serial.ok_or_else(|| RpcError::null("serial_number", "widgets"))?;
            let name = name.ok_or_else(|| RpcError::null("name", "widgets"))?;
            let serial_number = serial_number(serial)?;
            let name = fitting("name", name, 0, LONGEST_NAME)?;
            let Some(slots) = slots.into_iter().collect::<Option<Vec<Port>>>() else {
                return Ok(Asked::NullSlot(serial_number));
            };
            Operation::Add(NewWidget {
                serial_number,
                name,
                ports: Ports::of(&slots).unwrap_or_default(),
            })
        }
        OperationKind::Remove => {
            let [serial] = arguments.take([&["widget_sn"]])?;
            // Nothing has no serial number: there is nothing to remove.
            Operation::Remove(text("widget_sn", &serial)?.unwrap_or_default().into())
        }
        OperationKind::Associate | OperationKind::Disassociate => {
            return pair(kind, &mut arguments);
        }
    };
    Ok(operation.into())
}

struct Arguments<'a> {
    kind: OperationKind,
    fields: Vec<(Cow<'a, str>, Value<'a>)>,
}

impl<'a> Arguments<'a> {
    /// Takes the arguments, of which each has one of its names. There must be these and no others.
    fn take<const N: usize>(&mut self, names: [&[&str]; N]) -> Result<[Value<'a>; N], RpcError> {
        let fits = |field: &(Cow<'a, str>, Value<'a>), names: &[&str]| names.contains(&&*field.0);
        let count = |names: &[&str]| self.fields.iter().filter(|f| fits(f, names)).count();
        if self.fields.len() != N || names.iter().any(|names| count(names) != 1) {
            let given: Vec<&str> = self.fields.iter().map(|(name, _)| &**name).collect();
            let name = self.kind.function();
            return Err(RpcError::no_function(name, Some(self.kind), &given));
        }
        Ok(names.map(|names| {
            let found = self.fields.iter_mut().find(|field| fits(field, names));
            found.map_or(Value::Null, |(_, value)| std::mem::take(value))
        }))
    }

    /// Refuses an argument that stands twice: which of the two is meant, nobody can tell.
    fn refuse_repeated(&self) -> Result<(), RpcError> {
        for (index, (name, _)) in self.fields.iter().enumerate().take(20) {
            if self
                .fields
                .iter()
                .skip(index + 1)
                .any(|(other, _)| other == name)
            {
                return Err(
                    RpcError::unreadable().hint(format!("Write \"{}\" once", shortened(name)))
                );
            }
        }
        Ok(())
    }
}

/// Reads a text, or `null`.
fn text<'a>(name: &str, value: &'a Value<'_>) -> Result<Option<&'a str>, RpcError> {
    match value {
        Value::Null => Ok(None),
        Value::Text(text) if text.contains('\0') => Err(RpcError::new(
            StatusCode::BAD_REQUEST,
            "22P05",
            "unsupported Unicode escape sequence",
        )
        .hint(format!("Leave \\u0000 out of \"{name}\""))),
        Value::Text(text) => Ok(Some(text)),
        Value::List(_) | Value::Other => {
            Err(
                RpcError::new(StatusCode::BAD_REQUEST, "22P02", "expected JSON string")
                    .hint(format!("See the value of key \"{name}\".")),
            )
        }
    }
}

fn slots_of(value: &Value<'_>) -> Result<Vec<Option<Port>>, RpcError> {
    let slots = match value {
        Value::Null => return Ok(Vec::new()),
        Value::List(slots) => slots,
        Value::Text(_) | Value::Other => {
            return Err(
                RpcError::new(StatusCode::BAD_REQUEST, "22P02", "expected JSON array")
                    .hint("See the value of key \"slots\"."),
            );
        }
    };
    let mut ports = Vec::with_capacity(slots.len().min(4));
    for slot in slots {
        ports.push(text("slots", slot)?.map(Port::from_name).transpose()?);
    }
    Ok(ports)
}

/// Reads two widgets and a port. What is refused first, and why, is as in the original: see `rpc::null_pair`.
fn pair(kind: OperationKind, arguments: &mut Arguments<'_>) -> Result<Asked, RpcError> {
    let [first, second, port] = arguments.take([&["widget1_sn"], &["widget2_sn"], &["port"]])?;
    let port = text("port", &port)?.map(Port::from_name).transpose()?;
    let first: Option<Arc<str>> = text("widget1_sn", &first)?.map(Arc::from);
    let second: Option<Arc<str>> = text("widget2_sn", &second)?.map(Arc::from);
    if first.is_some() && first == second {
        return Err(CallError::from(Refusal::WithItself).into());
    }
    let (Some(first), Some(second), Some(port)) = (&first, &second, port) else {
        return Ok(Asked::NullPair(NullPair { first, second }));
    };
    let pair = Pair {
        first: Arc::clone(first),
        second: Arc::clone(second),
        port,
    };
    Ok(Asked::Operation(match kind {
        OperationKind::Disassociate => Operation::Disassociate(pair),
        _ => Operation::Associate(pair),
    }))
}

pub(super) fn serial_number(text: &str) -> Result<Arc<str>, RpcError> {
    fitting("serial_number", text, 1, LONGEST_SERIAL)
}

fn fitting(column: &str, text: &str, least: usize, most: usize) -> Result<Arc<str>, RpcError> {
    let length = text.chars().count();
    if length < least {
        return Err(RpcError::new(
            StatusCode::BAD_REQUEST,
            "23514",
            format!("new row for relation \"widgets\" violates check constraint \"widgets_{column}_length\""),
        )
        .hint(format!("Give a {column} of {least} to {most} characters")));
    }
    if length > most {
        return Err(RpcError::new(
            StatusCode::BAD_REQUEST,
            "22001",
            format!("value too long for type character varying({most})"),
        )
        .hint(format!("Give a {column} of at most {most} characters")));
    }
    Ok(text.into())
}
