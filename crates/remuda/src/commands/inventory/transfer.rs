//! Importing and exporting.

use std::fs::File;
use std::io::{BufRead as _, BufReader, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use futures_util::stream::{self, StreamExt as _};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;

use super::super::context::Context;
use super::super::failure::Failure;
use crate::client::{Api, query};
use crate::output::remark;

/// Lines of one part.
const LINES: usize = 20_000;
/// Bytes of one part.
const BYTES: usize = 8 << 20;
/// Parts that are under way at the same time.
const TOGETHER: usize = 3;
/// Refused lines that are shown.
const SHOWN: usize = 20;

/// Takes widgets and associations in from a file.
#[derive(Debug, Args)]
#[command(
    after_long_help = "A file is JSON lines or comma-separated values; its name ends with .jsonl or .csv.
  {\"serial_number\": \"NIC-0001\", \"name\": \"25 GbE card\", \"ports\": \"PPR\"}
  {\"first\": \"NIC-0001\", \"second\": \"CHASSIS-07\", \"port\": \"P\"}
A CSV file begins with the line `serial_number,name,ports` or `first,second,port`.

What is there already is counted, and no mistake. How far an import is stands in FILE.progress until its end: the same command goes on from there."
)]
pub(super) struct Import {
    /// The file.
    file: PathBuf,
    /// Begin anew where an earlier import of the file was cut off.
    #[arg(long)]
    anew: bool,
}

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
enum FormatName {
    /// A JSON object a line.
    Jsonl,
    /// Comma-separated values.
    Csv,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum WhatName {
    /// Widgets.
    Widgets,
    /// Associations.
    Associations,
}

impl FormatName {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
        }
    }
}

impl WhatName {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Widgets => "widgets",
            Self::Associations => "associations",
        }
    }
}

#[derive(Default, Deserialize)]
struct Part {
    made: u64,
    present: u64,
    refused: u64,
    refusals: Vec<RefusedLine>,
}

#[derive(Deserialize)]
struct RefusedLine {
    line: u64,
    error: String,
}

/// Lines of a file that go together.
struct Piece {
    text: String,
    first_line: u64,
    lines: u64,
}

impl Piece {
    /// Tells whether widgets are joined on any of the lines of a file that has lines of both kinds.
    fn has_associations(&self) -> bool {
        self.text.contains("\"first\"")
    }
}

impl Import {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let importing = self.import(context);
        tokio::select! {
            result = Box::pin(importing) => result,
            _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted),
        }
    }

    async fn import(&self, context: &Context) -> Result<(), Failure> {
        let unreadable = |error: std::io::Error| {
            Failure::Usage(format!("cannot read {}: {error}", self.file.display()))
        };
        let format = format_of(&self.file)?;
        let mut reader = BufReader::new(File::open(&self.file).map_err(unreadable)?);
        let mut progress_name = self.file.clone().into_os_string();
        progress_name.push(".progress");
        let progress = PathBuf::from(progress_name);
        let done_before = match std::fs::read_to_string(&progress) {
            Ok(text) if !self.anew => text.trim().parse().unwrap_or(0),
            _ => 0_u64,
        };
        let api = context.api()?;
        let began = Instant::now();
        let first = read_piece(&mut reader, 1).map_err(unreadable)?;
        let what = match &first {
            Some(piece) if format == FormatName::Csv => what_of(piece)?,
            _ => WhatName::Widgets,
        };
        let mut next_line = first.as_ref().map_or(1, |piece| 1 + piece.lines);
        let rest = std::iter::from_fn(move || {
            let piece = read_piece(&mut reader, next_line).transpose()?;
            next_line += piece.as_ref().map_or(0, |piece| piece.lines);
            Some(piece)
        });
        let pieces = first.map(Ok).into_iter().chain(rest);
        // The last line before which all is done.
        let (done, _) = watch::channel(0);
        let sending = pieces.map(|piece| {
            let (api, mut done) = (&api, done.subscribe());
            async move {
                let piece = piece.map_err(unreadable)?;
                let last = piece.first_line + piece.lines - 1;
                if last <= done_before {
                    return Ok((last, Part::default()));
                }
                if piece.has_associations() {
                    // Their widgets are on lines before them.
                    done.wait_for(|line| line + 1 >= piece.first_line)
                        .await
                        .ok();
                }
                send(api, format, what, piece)
                    .await
                    .map(|part| (last, part))
            }
        });
        // In their order, so that everything before a line is done when that line is.
        let mut sent = stream::iter(sending).buffered(TOGETHER);
        let (mut total, mut line) = (Part::default(), 0_u64);
        while let Some(outcome) = sent.next().await {
            let (last, part): (u64, Part) = outcome?;
            line = last;
            done.send_replace(line);
            total.made += part.made;
            total.present += part.present;
            total.refused += part.refused;
            for refused in part.refusals {
                if total.refusals.len() < SHOWN {
                    remark(&format!("line {}: {}", refused.line, refused.error));
                    total.refusals.push(refused);
                }
            }
            std::fs::write(&progress, line.to_string()).map_err(|error| {
                Failure::Refused(format!("cannot write {}: {error}", progress.display()))
            })?;
            if !context.out.is_json() && std::io::stderr().is_terminal() {
                let rate = line.saturating_sub(done_before) as f64
                    / began.elapsed().as_secs_f64().max(0.001);
                eprint!("\r{line} lines, {rate:.0} a second ");
            }
        }
        if std::io::stderr().is_terminal() && !context.out.is_json() {
            eprintln!();
        }
        // It is done: the next import of the file begins at its beginning.
        drop(std::fs::remove_file(&progress));
        let seconds = began.elapsed().as_secs_f64();
        if context.out.is_json() {
            context.out.json(&json!({
                "lines": line, "skipped": done_before.min(line), "made": total.made, "present": total.present,
                "refused": total.refused, "seconds": seconds,
            }))?;
        } else {
            context.out.line(format!(
                "{} made, {} there already, {} refused, {seconds:.1} s.",
                total.made, total.present, total.refused
            ))?;
        }
        if total.refused > 0 {
            return Err(Failure::Refused(format!(
                "{} lines were refused: correct them and import the file again",
                total.refused
            )));
        }
        Ok(())
    }
}

async fn send(
    api: &Api,
    format: FormatName,
    what: WhatName,
    piece: Piece,
) -> Result<Part, Failure> {
    let first = piece.first_line.to_string();
    let path = query(
        "/api/v1/inventory/import",
        &[
            ("format", Some(format.as_str())),
            ("what", Some(what.as_str())),
            ("first_line", Some(&first)),
        ],
    );
    let answer = api.post_text(&path, Bytes::from(piece.text)).await?;
    Ok(api.decode(answer)?)
}

fn format_of(file: &Path) -> Result<FormatName, Failure> {
    let extension = file.extension().and_then(|extension| extension.to_str());
    match extension.map(str::to_ascii_lowercase).as_deref() {
        Some("csv") => Ok(FormatName::Csv),
        Some("jsonl" | "ndjson") => Ok(FormatName::Jsonl),
        _ => Err(Failure::Usage(format!(
            "{} must end with .jsonl or .csv",
            file.display()
        ))),
    }
}

/// Tells by the head of a CSV file what its lines are.
fn what_of(piece: &Piece) -> Result<WhatName, Failure> {
    match piece.text.lines().next().map(str::trim) {
        Some("serial_number,name,ports") => Ok(WhatName::Widgets),
        Some("first,second,port") => Ok(WhatName::Associations),
        _ => Err(Failure::Usage(
            "a CSV file must begin with the line serial_number,name,ports or first,second,port"
                .to_owned(),
        )),
    }
}

fn read_piece(reader: &mut BufReader<File>, first_line: u64) -> std::io::Result<Option<Piece>> {
    let mut text = String::new();
    let mut lines = 0;
    while lines < LINES as u64 && text.len() < BYTES && reader.read_line(&mut text)? > 0 {
        lines += 1;
    }
    Ok((lines > 0).then_some(Piece {
        text,
        first_line,
        lines,
    }))
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
