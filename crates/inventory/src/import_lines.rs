//! Lines of an import: JSON objects or comma-separated values, a widget or an association each.
//! Commas and quotes as in RFC 4180; where a record ends is found by `import_records`.

use std::sync::Arc;

use serde::Deserialize;
use utoipa::ToSchema;

use crate::model::{LONGEST_NAME, LONGEST_SERIAL, NewWidget, Pair, Port, Ports};

/// How the lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    /// A JSON object each.
    #[default]
    Jsonl,
    /// Comma-separated values.
    Csv,
}

/// What the lines are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    /// Widgets: serial number, name, ports as `PPR`.
    #[default]
    Widgets,
    /// Associations: one serial number, another one, the port.
    Associations,
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Widget(NewWidget),
    Association(Pair),
}

/// The heads of CSV files.
pub(crate) const WIDGET_HEAD: &str = "serial_number,name,ports";
pub(crate) const ASSOCIATION_HEAD: &str = "first,second,port";

/// A line of JSON, which says by its fields what it is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonLine {
    serial_number: Option<String>,
    name: Option<String>,
    ports: Option<String>,
    first: Option<String>,
    second: Option<String>,
    port: Option<String>,
}

/// Programs for tables write it before the first line.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Reads a line, or a record of several; nothing when it is empty or a head.
pub(crate) fn read(text: &str, format: Format, what: What) -> Result<Option<Line>, String> {
    let text = text.trim_end_matches(['\r', '\n']);
    if text.trim().is_empty() {
        return Ok(None);
    }
    let line = match (format, what) {
        (Format::Jsonl, _) => json(text)?,
        (Format::Csv, _) if is_head(text) => return Ok(None),
        (Format::Csv, What::Widgets) => {
            let [serial, name, ports] = values(text)?;
            widget(&serial, &name, &ports)?
        }
        (Format::Csv, What::Associations) => {
            let [first, second, port] = values(text)?;
            association(&first, &second, &port)?
        }
    };
    Ok(Some(line))
}

/// Tells whether a line is the head of a file: no widget and no association has such ports.
fn is_head(text: &str) -> bool {
    let text = text.trim_start_matches(BYTE_ORDER_MARK).trim();
    text == WIDGET_HEAD || text == ASSOCIATION_HEAD
}

fn json(text: &str) -> Result<Line, String> {
    let text = text.trim_start_matches(BYTE_ORDER_MARK);
    let line: JsonLine = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let is_widget = line.serial_number.is_some() || line.name.is_some() || line.ports.is_some();
    let is_association = line.first.is_some() || line.second.is_some() || line.port.is_some();
    if is_widget && is_association {
        return Err(
            "the fields of a widget and of an association are mixed: write two lines".to_owned(),
        );
    }
    let given = |value: Option<String>, name: &str| {
        value.ok_or_else(|| format!("the field {name} is missing"))
    };
    if is_association {
        association(
            &given(line.first, "first")?,
            &given(line.second, "second")?,
            &given(line.port, "port")?,
        )
    } else {
        widget(
            &given(line.serial_number, "serial_number")?,
            &given(line.name, "name")?,
            &line.ports.unwrap_or_default(),
        )
    }
}

fn widget(serial: &str, name: &str, ports: &str) -> Result<Line, String> {
    if name.chars().count() > LONGEST_NAME {
        return Err(format!("the name has more than {LONGEST_NAME} characters"));
    }
    if name.contains('\0') {
        return Err("the name has a NUL character in it".to_owned());
    }
    Ok(Line::Widget(NewWidget {
        serial_number: serial_number(serial)?,
        name: name.into(),
        ports: Ports::parse(ports)
            .map_err(|_| "the ports must be up to three of the letters P, Q and R".to_owned())?,
    }))
}

fn association(first: &str, second: &str, port: &str) -> Result<Line, String> {
    Ok(Line::Association(Pair {
        first: serial_number(first)?,
        second: serial_number(second)?,
        port: Port::from_name(port).map_err(|error| error.to_string())?,
    }))
}

fn serial_number(text: &str) -> Result<Arc<str>, String> {
    let length = text.chars().count();
    if !(1..=LONGEST_SERIAL).contains(&length) {
        return Err(format!(
            "the serial number must have 1 to {LONGEST_SERIAL} characters"
        ));
    }
    if text.contains('\0') {
        return Err("the serial number has a NUL character in it".to_owned());
    }
    Ok(text.into())
}

/// Takes a line of comma-separated values apart.
fn values<const N: usize>(text: &str) -> Result<[String; N], String> {
    let mut values = Vec::with_capacity(N);
    let mut rest = text;
    loop {
        let (value, after) = if let Some(quoted) = rest.strip_prefix('"') {
            quoted_value(quoted)?
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            let (value, after) = rest.split_at(end);
            if value.contains('"') {
                return Err("a quote stands in a value that does not begin with one".to_owned());
            }
            (value.to_owned(), after)
        };
        values.push(value);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => break,
            None => return Err("a comma is missing behind a quoted value".to_owned()),
        }
    }
    let count = values.len();
    values
        .try_into()
        .map_err(|_| format!("there are {count} values, not {N}"))
}

fn quoted_value(text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let end = rest.find('"').ok_or_else(|| {
            "a quote is not closed, or behind the closing one comes no comma".to_owned()
        })?;
        value.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(more) => {
                value.push('"');
                rest = more;
            }
            None => return Ok((value, rest)),
        }
    }
}

/// Writes a value so that [`read`] reads it.
pub(crate) fn csv_value(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_may_be_quoted() {
        let split = |text: &str| values::<3>(text);
        assert_eq!(split("a,b,c").unwrap(), ["a", "b", "c"]);
        assert_eq!(
            split("\"a,b\",\"say \"\"c\"\"\",").unwrap(),
            ["a,b", "say \"c\"", ""]
        );
        for bad in ["a,b", "a,b,c,d", "\"a,b,c", "\"a\"b,c,d", "a\"b,c,d"] {
            assert!(split(bad).is_err(), "{bad}");
        }
        assert_eq!(values::<1>(&csv_value("x,\"y\"")).unwrap(), ["x,\"y\""]);
    }

    #[test]
    fn lines_say_what_is_wrong_with_them() {
        let csv = |text: &str| read(text, Format::Csv, What::Widgets);
        for head in ["", "\u{feff}"].map(|mark| format!("{mark}{WIDGET_HEAD} \r")) {
            assert_eq!(csv(&head), Ok(None));
        }
        let lines = Line::Widget(NewWidget {
            serial_number: "a\nb".into(),
            name: "\r\n".into(),
            ports: Ports::default(),
        });
        assert_eq!(csv("\"a\nb\",\"\r\n\",\n"), Ok(Some(lines)));
        assert!(matches!(csv("a,b,PPR\r"), Ok(Some(Line::Widget(_)))));
        assert!(csv("a,b,XX").unwrap_err().contains("P, Q and R"));
        assert!(csv(",b,P").unwrap_err().contains("1 to 200"));
        let jsonl = |text: &str| read(text, Format::Jsonl, What::Widgets);
        let joined = jsonl(r#"{"first": "a", "second": "b", "port": "P"}"#);
        assert!(matches!(joined, Ok(Some(Line::Association(_)))));
        let named = jsonl(r#"{"serial_number": "first", "name": "\"first\""}"#);
        assert!(matches!(named, Ok(Some(Line::Widget(_)))), "{named:?}");
        let mixed = jsonl(r#"{"serial_number": "a", "name": "n", "first": "b"}"#);
        assert!(mixed.unwrap_err().contains("two lines"));
        assert!(jsonl("{}").unwrap_err().contains("serial_number"));
        assert!(
            jsonl(r#"{"serial_number": "a"}"#)
                .unwrap_err()
                .contains("name")
        );
    }
}
