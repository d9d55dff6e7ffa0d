//! Allowances: what callers may use, counted together by all processes.
//!
//! One round trip for a request, carried out in Redis at once for all of its subjects, so that processes let in no more together than
//! one alone would. When Redis does not answer in time the caller counts for itself, and tells what was used when Redis is back.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use redis::Script;
use redis::aio::MultiplexedConnection;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::BusError;
use crate::redis::Redis;

/// The most settlements that wait. At the bound further ones are not told: their tokens come back with the minute.
const WAITING: usize = 10_000;
/// The most subjects settled by one call.
const AT_ONCE: usize = 512;

static RESERVE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("allowances.lua")));
static SETTLE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("settlement.lua")));

/// What a minute allows of something.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// What it allows, at least 1.
    pub capacity: u64,
    /// What is left as far as this process knows, for when nobody has counted yet; below zero for debts.
    pub level: f64,
    /// What was used here and not told.
    pub untold: f64,
}

/// What a month allows.
#[derive(Clone, Copy, Debug)]
pub struct Month {
    /// Which one, in months since the year 0.
    pub number: i64,
    /// The tokens it allows; `None`: as many as wanted.
    pub most: Option<u64>,
    /// The tokens used as far as this process knows, for when nobody has counted yet.
    pub used: u64,
    /// The tokens used here and not told.
    pub untold: u64,
    /// The time until the next month.
    pub left: Duration,
}

/// What a request counts against.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Whose it is: the same in all processes.
    pub subject: String,
    /// Requests in a minute; `None`: as many as wanted.
    pub requests: Option<Window>,
    /// Tokens in a minute; likewise.
    pub tokens: Option<Window>,
    /// Tokens in a month.
    pub month: Month,
}

/// How a subject stands after an ask.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Standing {
    /// Requests that are left; means nothing where there is no limit.
    pub requests: f64,
    /// Tokens that are left; likewise.
    pub tokens: f64,
    /// Tokens used in the month; likewise.
    pub month_used: u64,
}

/// Which limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Requests in a minute.
    Requests,
    /// Tokens in a minute.
    Tokens,
    /// Tokens in a month.
    Month,
}

/// The answer to asks.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Which of the asks refuses, by which limit, and for how long; `None`: the request is let in, and everything was taken.
    pub refused: Option<(usize, Which, Duration)>,
    /// How each stands, in the order of the asks.
    pub standings: Vec<Standing>,
}

/// Whose use is settled.
#[derive(Clone, Debug)]
pub struct Spent {
    /// Whose it is.
    pub subject: String,
    /// The month in which it was let in.
    pub month: i64,
}

/// What a request that has ended has used.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// Everybody it counted against.
    pub subjects: Vec<Spent>,
    /// The tokens that were reserved.
    pub reserved: u64,
    /// The tokens that were used.
    pub used: u64,
}

/// What callers may use, counted together. Clones share everything.
#[derive(Clone, Debug)]
pub struct Allowances {
    redis: Arc<Redis>,
    settlements: mpsc::Sender<Settlement>,
}

impl Allowances {
    pub(crate) fn start(redis: Arc<Redis>, tasks: &TaskTracker, stop: &CancellationToken) -> Self {
        let (settlements, waiting) = mpsc::channel(WAITING);
        tasks.spawn(settle(redis.clone(), waiting, stop.clone()));
        Self { redis, settlements }
    }

    /// Lets a request in when every ask allows it: takes one request and `tokens` from each. When one refuses, nothing is taken.
    ///
    /// # Errors
    /// When Redis does not answer in time: nobody has counted, or nobody will know.
    pub async fn reserve(&self, asks: &[Ask], tokens: u64) -> Result<Told, BusError> {
        let mut call = RESERVE.prepare_invoke();
        call.arg(tokens);
        for ask in asks {
            call.key(self.redis.name("limit", &ask.subject));
            for window in [ask.requests, ask.tokens] {
                let window = window.unwrap_or(Window {
                    capacity: 0,
                    level: 0.0,
                    untold: 0.0,
                });
                call.arg(window.capacity)
                    .arg(window.level)
                    .arg(window.untold);
            }
            let month = ask.month;
            let most = month
                .most
                .map_or(-1, |most| i64::try_from(most).unwrap_or(i64::MAX));
            call.arg(month.number).arg(most);
            call.arg(month.used).arg(month.untold);
            call.arg(u64::try_from(month.left.as_millis()).unwrap_or(u64::MAX));
        }
        let answer = self
            .redis
            .call(async move |connection: &mut MultiplexedConnection| {
                call.invoke_async::<Vec<String>>(connection).await
            })
            .await;
        let told = answer.and_then(|answer| {
            read(&answer, asks.len()).ok_or_else(|| BusError::Refused("it talks nonsense".into()))
        });
        let outcome = if told.is_ok() { "shared" } else { "local" };
        self.redis.metrics().reserved(outcome);
        told
    }

    /// Tells what a request that has ended has used; others know it milliseconds later.
    ///
    /// # Errors
    /// When Redis is away, or too many wait: whoever asked must count it.
    pub fn settle(&self, settlement: Settlement) -> Result<(), BusError> {
        if !self.redis.is_up() {
            return Err(BusError::Away);
        }
        self.settlements
            .try_send(settlement)
            .map_err(|_| BusError::Full)
    }
}

fn read(answer: &[String], asks: usize) -> Option<Told> {
    let (head, standings) = answer.split_at_checked(3)?;
    let refusing: usize = head[0].parse().ok()?;
    let which = match head[1].as_str() {
        "1" => Some(Which::Requests),
        "2" => Some(Which::Tokens),
        "3" => Some(Which::Month),
        _ => None,
    };
    let refused = match (refusing.checked_sub(1), which) {
        (Some(index), Some(which)) if index < asks => {
            Some((index, which, Duration::from_millis(head[2].parse().ok()?)))
        }
        (None, _) => None,
        _ => return None,
    };
    let standings: Option<Vec<Standing>> = standings
        .chunks_exact(3)
        .map(|of| {
            Some(Standing {
                requests: of[0].parse().ok()?,
                tokens: of[1].parse().ok()?,
                month_used: of[2].parse().ok()?,
            })
        })
        .collect();
    let standings = standings.filter(|standings| standings.len() == asks)?;
    Some(Told { refused, standings })
}

/// Tells settlements as they come, many at once when many come.
async fn settle(
    redis: Arc<Redis>,
    mut waiting: mpsc::Receiver<Settlement>,
    stop: CancellationToken,
) {
    let mut batch = Vec::new();
    loop {
        let more = stop
            .run_until_cancelled(waiting.recv_many(&mut batch, AT_ONCE / 4))
            .await;
        if more.is_none() {
            // What was told before the stop is passed on.
            waiting.close();
            while let Ok(settlement) = waiting.try_recv() {
                batch.push(settlement);
            }
        }
        for part in batch.chunks(AT_ONCE / 4) {
            tell(&redis, part).await;
        }
        // Stopped, or nobody is left who could tell anything.
        if more.is_none_or(|count| count == 0) {
            return;
        }
        batch.clear();
    }
}

async fn tell(redis: &Redis, batch: &[Settlement]) {
    let mut call = SETTLE.prepare_invoke();
    for settlement in batch {
        let back = settlement.reserved as f64 - settlement.used as f64;
        for spent in &settlement.subjects {
            call.key(redis.name("limit", &spent.subject));
            call.arg(back).arg(settlement.used).arg(spent.month);
        }
    }
    let told = redis
        .call_unhurried(async move |connection: &mut MultiplexedConnection| {
            call.invoke_async::<i64>(connection).await
        })
        .await;
    if told.is_err() {
        redis.metrics().unsettled.inc_by(batch.len() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_nonsense_is_not() {
        let text =
            |parts: &[&str]| -> Vec<String> { parts.iter().map(|part| (*part).into()).collect() };
        let let_in = read(&text(&["0", "0", "0", "4.500000", "0", "7"]), 1).unwrap();
        assert_eq!(let_in.refused, None);
        let standing = Standing {
            requests: 4.5,
            tokens: 0.0,
            month_used: 7,
        };
        assert_eq!(let_in.standings, [standing]);
        let refused = read(&text(&["1", "3", "1500", "0", "0", "7"]), 1).unwrap();
        let wait = Duration::from_millis(1_500);
        assert_eq!(refused.refused, Some((0, Which::Month, wait)));
        for nonsense in [
            &["0", "0"][..],
            &["2", "1", "5", "0", "0", "0"],
            &["0", "0", "0"],
            &["0", "0", "0", "x", "0", "0"],
        ] {
            assert_eq!(read(&text(nonsense), 1), None, "{nonsense:?}");
        }
    }
}
