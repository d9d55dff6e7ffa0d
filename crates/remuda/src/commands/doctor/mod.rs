//! `remuda doctor`: looks at everything that can be wrong and says what to do. Works with the server up or down, and writes nothing.

mod fleet;
mod machine;
mod redis;
mod server;
mod tls;

use clap::Args;
use serde::Serialize;

use super::context::Context;
use super::failure::Failure;
use super::start_args::StartArgs;
use crate::config::Config;
use crate::output::Tone;

/// Where the words of a finding begin.
const INDENT: usize = 25;

/// Checks configuration, certificate, address, data directory, database, Redis, models, nodes and your sign-in, and says what to do.
///
/// Exits with 1 when something is broken. Nothing is changed.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  remuda doctor
  remuda doctor --config /etc/remuda.toml --data /var/lib/remuda
  remuda doctor --json | jq '.[] | select(.verdict != \"good\")'")]
pub(super) struct Doctor {
    #[command(flatten)]
    start: StartArgs,
}

/// What a check found.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Good,
    Warning,
    Broken,
}

impl Finding {
    fn good(check: &'static str, message: impl Into<String>) -> Self {
        Self {
            check,
            verdict: Verdict::Good,
            message: message.into(),
            advice: None,
        }
    }

    fn warning(check: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            check,
            verdict: Verdict::Warning,
            message: message.into(),
            advice: Some(advice.into()),
        }
    }

    fn broken(check: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            check,
            verdict: Verdict::Broken,
            message: message.into(),
            advice: Some(advice.into()),
        }
    }
}

impl Doctor {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut findings = Vec::new();
        let overrides = self.start.into_overrides();
        match Config::load(&context.environment, &overrides) {
            Ok(loaded) => {
                findings.push(Finding::good(
                    "configuration",
                    loaded.file.as_ref().map_or_else(
                        || "no file: the defaults and the environment count".to_owned(),
                        |file| format!("{} is sound", file.display()),
                    ),
                ));
                for warning in loaded.warnings {
                    findings.push(Finding::warning(
                        "configuration",
                        warning,
                        "correct it, so that the file says what happens",
                    ));
                }
                let config = loaded.config;
                let certificate = tls::check(&config, context.now(), &mut findings);
                let server =
                    server::check(context, &config, certificate.as_ref(), &mut findings).await?;
                machine::check(&config, &server, &mut findings).await;
                redis::check(&config, &mut findings).await?;
                fleet::check(&config, &server, &mut findings).await?;
            }
            Err(error) => {
                findings.push(Finding::broken(
                    "configuration",
                    error.to_string(),
                    "correct it; the remaining checks need a configuration",
                ));
            }
        }
        show(context, &findings)?;
        if findings.iter().any(|one| one.verdict == Verdict::Broken) {
            Err(Failure::Told)
        } else {
            Ok(())
        }
    }
}

fn show(context: &Context, findings: &[Finding]) -> Result<(), Failure> {
    let out = context.out;
    if out.is_json() {
        return Ok(out.json(findings)?);
    }
    for finding in findings {
        let (tone, mark) = match finding.verdict {
            Verdict::Good => (Tone::Good, "good   "),
            Verdict::Warning => (Tone::Warning, "warning"),
            Verdict::Broken => (Tone::Bad, "broken "),
        };
        let head = format!("{}  {:<16}", out.paint(tone, mark), finding.check);
        out.paragraph(&head, INDENT, &finding.message)?;
        if let Some(advice) = &finding.advice {
            let head = format!("{:INDENT$}{} ", "", out.paint(Tone::Faint, "→"));
            out.paragraph(&head, INDENT + 2, advice)?;
        }
    }
    let count = |verdict| {
        findings
            .iter()
            .filter(|finding| finding.verdict == verdict)
            .count()
    };
    let (warnings, broken) = (count(Verdict::Warning), count(Verdict::Broken));
    out.line(match (warnings, broken) {
        (0, 0) => "\nEverything is well.".to_owned(),
        _ => format!("\n{broken} broken, {warnings} worth a look."),
    })?;
    Ok(())
}
