//! Requests are counted, also those that come late, and stay counted when their records go.

use std::sync::atomic::Ordering;
use std::time::Duration;

use fleet::{Span, StatisticsQuery, StatisticsRow};
use primitives::{Clock as _, RequestId, Timestamp};
use store::params;
use uuid::Uuid;

use crate::stage::{Stage, on_both_engines};

on_both_engines! {
    requests_are_counted_by_hour_day_and_week
    counts_outlive_records
    names_that_nobody_has_share_a_line
    what_cannot_be_asked_for_is_refused
}

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// What a request was.
struct Asked {
    ago: Duration,
    model: String,
    node: Option<&'static str>,
    status: i64,
    outcome: &'static str,
    first_token: Option<Duration>,
}

impl Asked {
    fn new(ago: Duration, model: &str, first_token_ms: u64) -> Self {
        Self {
            ago,
            model: model.to_owned(),
            node: Some("gpu1"),
            status: 200,
            outcome: "ok",
            first_token: Some(Duration::from_millis(first_token_ms)),
        }
    }
}

impl Stage {
    async fn record(&self, number: u128, asked: &Asked) {
        let at = self.clock.now().before(asked.ago);
        let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap();
        let id = RequestId::first_at(at).as_uuid().as_u128() + number;
        let id = RequestId::from_uuid(Uuid::from_u128(id));
        let first = asked.first_token.map(micros);
        let mut tx = self.db.write().await.unwrap();
        tx.execute(
            "INSERT INTO requests (id, received_at, principal_kind, principal_name, dialect, operation, model, node_name, status, outcome,
                 stream, continued, retries, queue_us, first_token_us, total_us, prompt_tokens, completion_tokens)
             VALUES ($1, $2, 'anonymous', '', 'ollama', 'chat', $3, $7, $8, $4, FALSE, 0, 1, 10, $5, $6, 20, 5)",
            params![id, at, asked.model.clone(), asked.outcome, first, first.unwrap_or(0) + 1_000, asked.node, asked.status],
        )
        .await
        .unwrap();
        tx.commit().await.unwrap();
    }

    async fn counted(&self, span: Span, by_model: bool) -> Vec<StatisticsRow> {
        let query = StatisticsQuery {
            by_model,
            ..every(span)
        };
        self.fleet.request_statistics(query).await.unwrap()
    }
}

fn every(span: Span) -> StatisticsQuery {
    StatisticsQuery {
        span,
        by_model: false,
        by_node: false,
        by_operation: false,
        since: None,
        until: None,
        model: None,
        node: None,
        operation: None,
    }
}

fn starts(rows: &[StatisticsRow]) -> Vec<String> {
    let start = |row: &StatisticsRow| row.starts_at.to_rfc3339()[..16].to_owned();
    rows.iter().map(start).collect()
}

async fn requests_are_counted_by_hour_day_and_week(mut stage: Stage) {
    let failed = Asked {
        outcome: "failed",
        first_token: None,
        ..Asked::new(5 * MINUTE, "b", 0)
    };
    let asked = [
        Asked::new(5 * MINUTE, "a", 90),
        Asked::new(6 * MINUTE, "a", 290),
        failed,
        Asked::new(70 * MINUTE, "a", 40_000),
        // Sunday: another week.
        Asked::new(4 * 24 * HOUR, "a", 90),
    ];
    for (number, asked) in (0..).zip(&asked) {
        stage.record(number, asked).await;
    }
    stage.on_duty.store(false, Ordering::Relaxed);
    stage.after(Duration::ZERO).await;
    assert_eq!(stage.counted(Span::Hour, false).await, []);

    stage.on_duty.store(true, Ordering::Relaxed);
    stage.after(Duration::ZERO).await;
    let hours = stage.counted(Span::Hour, true).await;
    assert_eq!(
        starts(&hours),
        ["2026-11-26T18:00", "2026-11-26T19:00", "2026-11-26T19:00"]
    );
    let models: Vec<_> = hours.iter().map(|row| row.model.as_deref()).collect();
    assert_eq!(models, [Some("a"), Some("a"), Some("b")]);
    let (long, short, failed) = (&hours[0], &hours[1], &hours[2]);
    assert_eq!((short.requests, short.ok, short.retries), (2, 2, 2));
    assert_eq!((short.prompt_tokens, short.completion_tokens), (40, 10));
    assert_eq!(short.first_token_us, Some(190_000));
    assert_eq!(short.first_token_p50_us, Some(100_000));
    // Beyond the last bound that is counted, up to the longest.
    let p99 = long.first_token_p99_us.unwrap();
    assert!((30_000_000..=40_000_000).contains(&p99), "{p99}");
    assert_eq!(long.first_token_most_us, Some(40_000_000));
    assert_eq!((failed.failed, failed.first_token_us), (1, None));

    // It took an hour and came just now.
    stage.record(9, &Asked::new(70 * MINUTE, "a", 90)).await;
    stage.after(2 * MINUTE).await;
    let days = stage.counted(Span::Day, false).await;
    assert_eq!(starts(&days), ["2026-11-22T00:00", "2026-11-26T00:00"]);
    assert_eq!((days[1].requests, days[1].ok), (5, 4));
    assert_eq!((&days[1].model, &days[1].node), (&None, &None));
    let weeks = stage.counted(Span::Week, false).await;
    assert_eq!(starts(&weeks), ["2026-11-16T00:00", "2026-11-23T00:00"]);
    let query = StatisticsQuery {
        model: Some("b".to_owned()),
        since: Timestamp::parse_rfc3339("2026-11-26T00:00:00Z"),
        ..every(Span::Day)
    };
    let of_one = stage.fleet.request_statistics(query).await.unwrap();
    assert_eq!((of_one.len(), of_one[0].requests), (1, 1));
}

async fn counts_outlive_records(mut stage: Stage) {
    for number in 0..3 {
        let asked = Asked::new(30 * MINUTE, "a", 90);
        stage.record(number, &asked).await;
    }
    stage.after(Duration::ZERO).await;
    assert_eq!(stage.counted(Span::Hour, false).await[0].requests, 3);
    // Records go by and by.
    let mut tx = stage.db.write().await.unwrap();
    let one = "DELETE FROM requests WHERE id = (SELECT max(id) FROM requests)";
    assert_eq!(tx.execute(one, ()).await.unwrap(), 1);
    tx.commit().await.unwrap();
    stage.after(2 * MINUTE).await;
    assert_eq!(stage.counted(Span::Hour, false).await[0].requests, 3);
    // Hours go before days do.
    stage.after(4 * 24 * HOUR).await;
    let all = |span| StatisticsQuery {
        since: Some(Timestamp::from_micros(0)),
        ..every(span)
    };
    let hours = stage.fleet.request_statistics(all(Span::Hour)).await;
    assert_eq!(hours.unwrap(), []);
    let days = stage.fleet.request_statistics(all(Span::Day)).await;
    assert_eq!(days.unwrap()[0].requests, 3);
    // What is left of the records is counted by the hour again, as nobody knows of those hours any more: the day loses nothing.
    stage.after(2 * MINUTE).await;
    let days = stage.fleet.request_statistics(all(Span::Day)).await;
    assert_eq!(days.unwrap()[0].requests, 3);
    stage.after(31 * 24 * HOUR).await;
    let days = stage.fleet.request_statistics(all(Span::Day)).await;
    assert_eq!(days.unwrap(), []);
}

/// Whoever may ask can write any name.
async fn names_that_nobody_has_share_a_line(mut stage: Stage) {
    let nowhere = |model: &str, status, outcome| Asked {
        node: None,
        status,
        outcome,
        first_token: None,
        ..Asked::new(5 * MINUTE, model, 0)
    };
    for number in 0..20 {
        let asked = nowhere(&format!("made-up-{number}"), 404, "client_error");
        stage.record(number, &asked).await;
    }
    // A model whose nodes are all away is one that somebody has, and what a node does not know has reached a node.
    stage.record(20, &nowhere("a", 503, "failed")).await;
    let gone = Asked {
        node: Some("gpu1"),
        ..nowhere("b", 404, "client_error")
    };
    stage.record(21, &gone).await;
    stage.after(Duration::ZERO).await;
    for span in [Span::Hour, Span::Day, Span::Week] {
        let rows = stage.counted(span, true).await;
        let lines: Vec<_> = rows
            .iter()
            .map(|row| (row.model.as_deref().unwrap(), row.requests))
            .collect();
        assert_eq!(lines, [("(unknown)", 20), ("a", 1), ("b", 1)]);
    }
    let query = StatisticsQuery {
        model: Some("(unknown)".to_owned()),
        ..every(Span::Day)
    };
    let unknown = stage.fleet.request_statistics(query).await.unwrap();
    assert_eq!((unknown.len(), unknown[0].client_errors), (1, 20));
}

async fn what_cannot_be_asked_for_is_refused(stage: Stage) {
    let minutes = stage.fleet.request_statistics(every(Span::Minute)).await;
    assert!(minutes.unwrap_err().to_string().contains("minute"));
    let now = stage.clock.now();
    let backwards = StatisticsQuery {
        since: Some(now),
        until: Some(now),
        ..every(Span::Day)
    };
    let refused = stage.fleet.request_statistics(backwards).await.unwrap_err();
    assert!(refused.to_string().contains("not after"));
}
