//! `remuda inventory import`.

use std::fs::File;
use std::io::{self, BufReader, IsTerminal as _, Seek as _};
use std::iter;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use futures_util::stream::{self, StreamExt as _};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;

use super::super::context::Context;
use super::super::failure::Failure;
use super::pieces::{self, Piece};
use super::progress::Progress;
use super::transfer::{FormatName, WhatName};
use crate::client::{Api, query};
use crate::output::remark;

/// Parts that are under way at the same time.
const TOGETHER: usize = 3;
/// Refused lines that are shown.
const SHOWN: usize = 20;
/// How long a part is sent again while the server has no room for it or its database is away.
const PATIENCE: Duration = Duration::from_mins(2);

/// Takes widgets and associations in from a file.
#[derive(Debug, Args)]
#[command(
    after_long_help = "A file is JSON lines or comma-separated values; its name ends with .jsonl or .csv.
  {\"serial_number\": \"NIC-0001\", \"name\": \"25 GbE card\", \"ports\": \"PPR\"}
  {\"first\": \"NIC-0001\", \"second\": \"CHASSIS-07\", \"port\": \"P\"}
A CSV file begins with the line `serial_number,name,ports` or `first,second,port`. A value with a comma, a quote or a line break in it
stands in quotes (RFC 4180).

What is there already is counted, and no mistake. How far an import is stands in FILE.progress until its end: the same command goes on
from there, unless it goes to another server or what was sent of the file is not the same any more. A part that a busy server refuses is
sent again for two minutes."
)]
pub(super) struct Import {
    /// The file.
    file: PathBuf,
    /// Begin anew where an earlier import of the file was cut off.
    #[arg(long)]
    anew: bool,
}

/// What became of a part.
#[derive(Default, Deserialize)]
pub(super) struct Part {
    made: u64,
    present: u64,
    pub(super) refused: u64,
    pub(super) refusals: Vec<RefusedLine>,
}

#[derive(Deserialize)]
pub(super) struct RefusedLine {
    line: u64,
    pub(super) error: String,
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
        let unreadable = |error: io::Error| {
            Failure::Usage(format!("cannot read {}: {error}", self.file.display()))
        };
        let format = FormatName::of(&self.file)?;
        let mut file = File::open(&self.file).map_err(unreadable)?;
        let what = match format {
            FormatName::Csv => WhatName::of(&pieces::head(&file).map_err(unreadable)?)?,
            FormatName::Jsonl => WhatName::Widgets,
        };
        file.rewind().map_err(unreadable)?;
        let api = context.api()?;
        let server = api.server().to_string();
        let mut progress =
            Progress::open(&self.file, &mut file, server, self.anew).map_err(unreadable)?;
        let (skipped, refused_before) = (progress.lines(), progress.refused());
        let began = Instant::now();
        let mut reader = BufReader::new(file);
        let mut next_line = skipped + 1;
        let pieces = iter::from_fn(move || {
            let piece = pieces::next(&mut reader, format, next_line).transpose()?;
            next_line += piece.as_ref().map_or(0, |piece| piece.lines);
            Some(piece)
        });
        // The last line before which all is done.
        let (done, _) = watch::channel(skipped);
        let sending = pieces.map(|piece| {
            let (api, mut done) = (&api, done.subscribe());
            async move {
                let piece = piece.map_err(unreadable)?;
                if piece.joins {
                    // Their widgets are on lines before them.
                    done.wait_for(|line| line + 1 >= piece.first_line)
                        .await
                        .ok();
                }
                let part = send(api, format, what, &piece).await?;
                Ok::<_, Failure>((piece, part))
            }
        });
        // In their order, so that everything before a line is done when that line is.
        let mut sent = stream::iter(sending).buffered(TOGETHER);
        let mut total = Part::default();
        while let Some(outcome) = sent.next().await {
            let (piece, part) = outcome.inspect_err(|_| progress.tell_rest())?;
            progress.advance(&piece.text, piece.lines, part.refused);
            let line = progress.lines();
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
            if !context.out.is_json() && io::stderr().is_terminal() {
                let rate = (line - skipped) as f64 / began.elapsed().as_secs_f64().max(0.001);
                eprint!("\r{line} lines, {rate:.0} a second ");
            }
        }
        if io::stderr().is_terminal() && !context.out.is_json() {
            eprintln!();
        }
        progress.finish();
        let (lines, refused) = (progress.lines(), progress.refused());
        let seconds = began.elapsed().as_secs_f64();
        if context.out.is_json() {
            context.out.json(&json!({
                "lines": lines, "skipped": skipped, "made": total.made, "present": total.present,
                "refused": refused, "seconds": seconds,
            }))?;
        } else {
            context.out.line(format!(
                "{} made, {} there already, {refused} refused, {seconds:.1} s.",
                total.made, total.present
            ))?;
        }
        if refused > 0 {
            let before = match refused_before {
                0 => String::new(),
                count => format!(", {count} of them before it was cut off"),
            };
            return Err(Failure::Refused(format!(
                "{refused} lines were refused{before}: correct them and import the file again"
            )));
        }
        Ok(())
    }
}

async fn send(
    api: &Api,
    format: FormatName,
    what: WhatName,
    piece: &Piece,
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
    let name = format!("lines {first} to {}", piece.last_line());
    post(api, &path, piece.text.clone(), &name).await
}

/// Sends a part, and sends it again where the server asks for that.
pub(super) async fn post(api: &Api, path: &str, text: Bytes, name: &str) -> Result<Part, Failure> {
    let began = Instant::now();
    loop {
        let error = match api.post_text(path, text.clone()).await {
            Ok(answer) => return Ok(api.decode(answer)?),
            Err(error) => error,
        };
        let wait = error.retry_after().filter(|_| began.elapsed() < PATIENCE);
        let Some(wait) = wait else {
            return Err(error.into());
        };
        remark(&format!(
            "{name}: {error}; trying again in {} s",
            wait.as_secs()
        ));
        tokio::time::sleep(wait).await;
    }
}
