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
use crate::refusal::Refusal;

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

/// Reads what a function is called with, and refuses at once what needs no look at the inventory.
pub(super) fn read(kind: OperationKind, body: &[u8]) -> Result<Operation, RpcError> {
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
            let ports = Ports::of(&slots).unwrap_or_default();
            let serial = serial.ok_or_else(|| RpcError::null("serial_number", "widgets"))?;
            let name = name.ok_or_else(|| RpcError::null("name", "widgets"))?;
            Operation::Add(NewWidget {
                serial_number: serial_number(serial)?,
                name: fitting("name", name, 0, LONGEST_NAME)?,
                ports,
            })
        }
        OperationKind::Remove => {
            let [serial] = arguments.take([&["widget_sn"]])?;
            // Nothing has no serial number: there is nothing to remove.
            Operation::Remove(text("widget_sn", &serial)?.unwrap_or_default().into())
        }
        OperationKind::Associate => Operation::Associate(pair(&mut arguments)?),
        OperationKind::Disassociate => Operation::Disassociate(pair(&mut arguments)?),
    };
    Ok(operation)
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

fn slots_of(value: &Value<'_>) -> Result<Vec<Port>, RpcError> {
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
    let mut nulls = false;
    for slot in slots {
        match text("slots", slot)? {
            None => nulls = true,
            Some(name) => ports.push(Port::from_name(name)?),
        }
    }
    if nulls {
        return Err(RpcError::null("slot", "slots"));
    }
    Ok(ports)
}

fn pair(arguments: &mut Arguments<'_>) -> Result<Pair, RpcError> {
    let [first, second, port] = arguments.take([&["widget1_sn"], &["widget2_sn"], &["port"]])?;
    let port = text("port", &port)?;
    let port = port.map(Port::from_name).transpose()?;
    let first = text("widget1_sn", &first)?;
    let second = text("widget2_sn", &second)?;
    let none = || RpcError::from(crate::CallError::from(Refusal::Unknown("<NULL>".into())));
    let (Some(first), Some(second)) = (first, second) else {
        return Err(none());
    };
    let port = port.ok_or_else(|| {
        RpcError::raised(format!(
            "Widget with serial number {} does not not have available slots on port <NULL>",
            shortened(first)
        ))
    })?;
    Ok(Pair {
        first: first.into(),
        second: second.into(),
        port,
    })
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
