//! Exporting, and what files are.

use std::io::Write as _;
use std::path::Path;

use clap::{Args, ValueEnum};

use super::super::context::Context;
use super::super::failure::Failure;
use crate::client::query;

/// Writes widgets and associations to standard output.
#[derive(Debug, Args)]
pub(super) struct Export {
    /// How the lines are written.
    #[arg(long, value_enum, default_value_t = FormatName::Jsonl)]
    format: FormatName,
    /// What to write. CSV holds one of the two.
    #[arg(long, value_enum)]
    only: Option<WhatName>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum FormatName {
    /// A JSON object a line.
    Jsonl,
    /// Comma-separated values.
    Csv,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum WhatName {
    /// Widgets.
    Widgets,
    /// Associations.
    Associations,
}

impl FormatName {
    /// Tells by a file's name how its lines are written.
    pub(super) fn of(file: &Path) -> Result<Self, Failure> {
        let extension = file.extension().and_then(|extension| extension.to_str());
        match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("csv") => Ok(Self::Csv),
            Some("jsonl" | "ndjson") => Ok(Self::Jsonl),
            _ => Err(Failure::Usage(format!(
                "{} must end with .jsonl or .csv",
                file.display()
            ))),
        }
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
        }
    }
}

impl WhatName {
    /// Tells by the head of a CSV file what its lines are.
    pub(super) fn of(head: &str) -> Result<Self, Failure> {
        // Programs for tables write a byte order mark before it.
        match head.trim_start_matches('\u{feff}').trim() {
            "serial_number,name,ports" => Ok(Self::Widgets),
            "first,second,port" => Ok(Self::Associations),
            _ => Err(Failure::Usage(
                "a CSV file must begin with the line serial_number,name,ports or first,second,port"
                    .to_owned(),
            )),
        }
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Widgets => "widgets",
            Self::Associations => "associations",
        }
    }
}

impl Export {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let parts = match self.only {
            Some(only) => vec![only],
            None if self.format == FormatName::Jsonl => {
                vec![WhatName::Widgets, WhatName::Associations]
            }
            None => {
                return Err(Failure::Usage(
                    "a CSV file holds one thing: add --only widgets or --only associations"
                        .to_owned(),
                ));
            }
        };
        let api = context.api()?;
        let mut output = std::io::stdout().lock();
        for what in parts {
            let path = query(
                "/api/v1/inventory/export",
                &[
                    ("format", Some(self.format.as_str())),
                    ("what", Some(what.as_str())),
                ],
            );
            let mut answer = api.download(&path).await?;
            while let Some(piece) = answer.next().await? {
                output.write_all(&piece)?;
            }
        }
        Ok(output.flush()?)
    }
}
