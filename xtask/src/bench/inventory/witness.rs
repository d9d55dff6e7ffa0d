//! Callers whose every answer is held against the database afterwards: what was acknowledged is there, what was refused is not.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use super::Window;
use crate::bench::http;
use crate::interrupt;

/// Callers, of whom each makes one call at a time.
const CALLERS: u32 = 64;
/// What is refused is not tried again before: what `Retry-After` says.
const PAUSE: Duration = Duration::from_secs(1);
/// What the serial numbers begin with.
const PREFIX: &str = "witness";

/// Two widgets of one slot each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pair {
    first: bool,
    second: bool,
    joined: bool,
}

/// The calls about a pair, and what it is after each.
const STEPS: [(&str, Pair); 6] = [
    ("add_first", pair(true, false, false)),
    ("add_second", pair(true, true, false)),
    ("associate_widgets", pair(true, true, true)),
    ("remove_association", pair(true, true, false)),
    ("associate_widgets", pair(true, true, true)),
    ("remove_widget", pair(false, true, false)),
];

const fn pair(first: bool, second: bool, joined: bool) -> Pair {
    Pair {
        first,
        second,
        joined,
    }
}

/// How the calls about a pair came to their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// There was nothing more to call.
    Whole,
    /// The next one was refused for want of a place.
    Refused,
    /// Nobody knows what became of the next one.
    Unsure,
}

/// What was said about a pair.
#[derive(Debug)]
struct Told {
    name: String,
    acknowledged: usize,
    end: End,
}

/// What all callers were told.
#[derive(Debug, Default)]
pub(super) struct Testimony(Vec<Told>);

/// Has callers watch a service while something goes on.
pub(super) fn during<T>(
    address: SocketAddr,
    what: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<(T, Testimony)> {
    let is_over = &AtomicBool::new(false);
    thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| scope.spawn(move || watch(address, caller, is_over)))
            .collect();
        let came = what();
        is_over.store(true, Ordering::Relaxed);
        let mut testimony = Testimony::default();
        for caller in callers {
            let told = caller.join();
            let told = told.map_err(|_| anyhow::anyhow!("a caller has panicked"))??;
            testimony.0.extend(told);
        }
        Ok((came?, testimony))
    })
}

fn watch(address: SocketAddr, caller: u32, is_over: &AtomicBool) -> anyhow::Result<Vec<Told>> {
    let mut all = Vec::new();
    for round in 0.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let told = tell(address, format!("{PREFIX}-{caller}-{round}"))?;
        let end = told.end;
        all.push(told);
        if end != End::Whole {
            thread::sleep(PAUSE);
        }
    }
    Ok(all)
}

/// Makes the calls about a pair, until one is not carried out.
fn tell(address: SocketAddr, name: String) -> anyhow::Result<Told> {
    let mut acknowledged = 0;
    let mut end = End::Whole;
    for (step, _) in STEPS {
        let (function, body) = call(step, &name);
        let path = format!("/rpc/{function}");
        match http::send(address, "POST", &path, None, Some(&body)) {
            Ok(answer) if answer.status == 204 => acknowledged += 1,
            // Refused for want of a place; any other code tells that the database was lost, perhaps in the middle.
            Ok(answer) if answer.status == 503 => {
                let is_refused = answer.body.contains("\"53400\"");
                end = if is_refused {
                    End::Refused
                } else {
                    End::Unsure
                };
                break;
            }
            Ok(answer) => anyhow::bail!("{function} {body}: {} {}", answer.status, answer.body),
            Err(_) => {
                end = End::Unsure;
                break;
            }
        }
    }
    Ok(Told {
        name,
        acknowledged,
        end,
    })
}

fn serials(name: &str) -> [String; 2] {
    ["a", "b"].map(|side| format!("{name}-{side}"))
}

fn call(step: &'static str, name: &str) -> (&'static str, Value) {
    let [first, second] = serials(name);
    let add = |serial: String| json!({"widget_sn": serial, "widget_name": "part", "slots": ["P"]});
    match step {
        "add_first" => ("add_widget", add(first)),
        "add_second" => ("add_widget", add(second)),
        "remove_widget" => (step, json!({"widget_sn": first})),
        _ => (
            step,
            json!({"widget1_sn": first, "widget2_sn": second, "port": "P"}),
        ),
    }
}

/// Returns what a pair is after so many calls.
fn after(calls: usize) -> Pair {
    let last = calls.checked_sub(1).and_then(|last| STEPS.get(last));
    last.map_or_else(Pair::default, |(_, pair)| *pair)
}

/// What became of the calls, by the database.
#[derive(Debug, Default, PartialEq, Eq)]
struct Findings {
    acknowledged: usize,
    lost: usize,
    refused: usize,
    carried_out_though_refused: usize,
    unsure: usize,
}

impl Testimony {
    /// Looks up what is in the database. Returns the counts of calls, and the verdict.
    pub(super) fn verify(&self, url: &str) -> anyhow::Result<(Window, String)> {
        let found = self.hold_against(&partners(url)?);
        anyhow::ensure!(found.acknowledged > 0, "nothing was acknowledged");
        let window = Window {
            done: found.acknowledged as u64,
            shed: found.refused as u64,
            failed: found.unsure as u64,
            ..Window::default()
        };
        let verdict = format!(
            "lost: {} of {} that were acknowledged; carried out: {} of {} that were refused; unknown to their callers: {}; none of either: {}",
            found.lost,
            found.acknowledged,
            found.carried_out_though_refused,
            found.refused,
            found.unsure,
            kept(found.lost + found.carried_out_though_refused == 0),
        );
        Ok((window, verdict))
    }

    /// Compares with the widgets that are there, each with its partner's serial number or nothing.
    fn hold_against(&self, partners: &HashMap<String, String>) -> Findings {
        let mut findings = Findings::default();
        for told in &self.0 {
            let [first, second] = serials(&told.name);
            let is = |serial: &str, partner: &str| {
                partners.get(serial).is_some_and(|one| one == partner)
            };
            let sides = (is(&first, &second), is(&second, &first));
            let found = Pair {
                first: partners.contains_key(&first),
                second: partners.contains_key(&second),
                joined: sides.0 || sides.1,
            };
            let is_after = |calls| sides.0 == sides.1 && found == after(calls);
            findings.acknowledged += told.acknowledged;
            findings.refused += usize::from(told.end == End::Refused);
            findings.unsure += usize::from(told.end == End::Unsure);
            if is_after(told.acknowledged) {
                continue;
            }
            let goes_further = is_after(told.acknowledged + 1);
            match told.end {
                End::Unsure if goes_further => {}
                End::Refused if goes_further => findings.carried_out_though_refused += 1,
                _ => {
                    findings.lost += 1;
                    eprintln!("{told:?}, but the database has {found:?}, by its sides {sides:?}");
                }
            }
        }
        findings
    }
}

/// Tells whether all widgets are there that a load has added, and no others. `added` is the load, `seed` its own.
pub(super) fn verify_added(url: &str, added: &Window, seed: u32) -> anyhow::Result<String> {
    let query = format!("SELECT count(*) FROM widgets WHERE serial_number LIKE 'load-{seed}-%'");
    let made: u64 = lines(url, &query)?.trim().parse()?;
    // Of those that failed nobody knows.
    let may_be = added.done..=added.done + added.failed;
    Ok(format!(
        "{} were acknowledged, {} are of unknown end, and {made} are there: {}",
        added.done,
        added.failed,
        kept(may_be.contains(&made))
    ))
}

const fn kept(is_kept: bool) -> &'static str {
    if is_kept { "kept" } else { "**missed**" }
}

/// Reads the callers' widgets, each with its partner's serial number or nothing.
fn partners(url: &str) -> anyhow::Result<HashMap<String, String>> {
    let query = format!(
        "SELECT w.serial_number, p.serial_number FROM widgets w LEFT JOIN widgets p ON p.id = w.slot1
         WHERE w.serial_number LIKE '{PREFIX}-%'"
    );
    let line = |line: &str| {
        let (serial, partner) = line.split_once(',')?;
        Some((serial.to_owned(), partner.to_owned()))
    };
    Ok(lines(url, &query)?.lines().filter_map(line).collect())
}

/// Returns the rows of a query, a line each.
fn lines(url: &str, query: &str) -> anyhow::Result<String> {
    interrupt::check()?;
    let output = Command::new("psql")
        .args(["--no-psqlrc", "--no-align", "--tuples-only"])
        .args(["--field-separator", ",", "--command", query])
        .arg(url)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("running psql")?;
    anyhow::ensure!(output.status.success(), "the widgets cannot be looked up");
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(acknowledged: usize, end: End, there: &[(&str, &str)]) -> Findings {
        let told = Told {
            name: "w".to_owned(),
            acknowledged,
            end,
        };
        let there = there
            .iter()
            .map(|(serial, partner)| ((*serial).to_owned(), (*partner).to_owned()));
        Testimony(vec![told]).hold_against(&there.collect())
    }

    #[test]
    fn what_is_missing_and_what_should_not_be_there_is_counted() {
        let joined = [("w-a", "w-b"), ("w-b", "w-a")];
        let parted = [("w-a", ""), ("w-b", "")];
        for (acknowledged, end, there, lost, carried_out) in [
            (3, End::Refused, &joined[..], 0, 0),
            (3, End::Refused, &joined[..1], 1, 0),
            (3, End::Refused, &[("w-a", "w-b"), ("w-b", "")], 1, 0),
            (3, End::Refused, &[], 1, 0),
            (3, End::Refused, &parted, 0, 1),
            (3, End::Unsure, &parted, 0, 0),
            (3, End::Unsure, &[], 1, 0),
            (6, End::Whole, &[("w-b", "")], 0, 0),
            (6, End::Whole, &joined, 1, 0),
            (0, End::Refused, &[], 0, 0),
            (0, End::Refused, &[("w-a", "")], 0, 1),
        ] {
            let expected = Findings {
                acknowledged,
                lost,
                refused: usize::from(end == End::Refused),
                carried_out_though_refused: carried_out,
                unsure: usize::from(end == End::Unsure),
            };
            assert_eq!(findings(acknowledged, end, there), expected, "{there:?}");
        }
    }
}
