//! What writing request records costs: processor time per record, all threads together, through the calls that the gateway uses.
//!
//! `cargo bench -p remuda-store` prints one line per part. Processor time comes from `/proc/self/stat` in steps of 10 ms; each
//! part runs long enough for that, and a busy machine changes it little.

use std::hint::black_box;
use std::time::Duration;

use primitives::{NodeId, RequestId, Timestamp};
use serde::Serialize;
use store::testing::TestStore;
use store::{Bulk, BulkColumn, ColumnType, Durability, Existing, JsonText, Params, params};

const BATCHES: u32 = 400;
const ROWS: u32 = 500;

const INSERT: Bulk = Bulk {
    table: "requests",
    columns: &[
        BulkColumn::new("id", ColumnType::Text),
        BulkColumn::new("received_at", ColumnType::I64),
        BulkColumn::new("principal_kind", ColumnType::Text),
        BulkColumn::new("principal_id", ColumnType::Text),
        BulkColumn::new("principal_name", ColumnType::Text),
        BulkColumn::new("client_address", ColumnType::Text),
        BulkColumn::new("dialect", ColumnType::Text),
        BulkColumn::new("operation", ColumnType::Text),
        BulkColumn::new("requested_model", ColumnType::Text),
        BulkColumn::new("model", ColumnType::Text),
        BulkColumn::new("node_id", ColumnType::Text),
        BulkColumn::new("node_name", ColumnType::Text),
        BulkColumn::new("status", ColumnType::I64),
        BulkColumn::new("outcome", ColumnType::Text),
        BulkColumn::new("error", ColumnType::Text),
        BulkColumn::new("stream", ColumnType::Bool),
        BulkColumn::new("continued", ColumnType::I64),
        BulkColumn::new("retries", ColumnType::I64),
        BulkColumn::new("queue_us", ColumnType::I64),
        BulkColumn::new("first_token_us", ColumnType::I64),
        BulkColumn::new("total_us", ColumnType::I64),
        BulkColumn::new("prompt_tokens", ColumnType::I64),
        BulkColumn::new("completion_tokens", ColumnType::I64),
        BulkColumn::new("policy", ColumnType::Text),
        BulkColumn::new("decision", ColumnType::Json),
    ],
    existing: Existing::Stays,
};

#[derive(Serialize)]
struct Attempt {
    node: &'static str,
    model: &'static str,
    started_us: u64,
    took_us: u64,
    candidates: Vec<Candidate>,
}

#[derive(Serialize)]
struct Candidate {
    node: &'static str,
    score: f32,
    reasons: Vec<(&'static str, f32)>,
}

/// The record of a usual request: one attempt, two candidates.
fn record(number: u64, node: NodeId) -> Params {
    let received_at =
        Timestamp::from_micros(1_767_323_045_000_000 + i64::try_from(number).unwrap_or(0) * 140);
    let id = RequestId::generate(received_at);
    let candidates = vec![
        Candidate {
            node: "gpu-1",
            score: 0.91,
            reasons: vec![("loaded", 1.0), ("speed", 41.5)],
        },
        Candidate {
            node: "gpu-2",
            score: 0.52,
            reasons: vec![("speed", 22.0)],
        },
    ];
    let attempts = [Attempt {
        node: "gpu-1",
        model: "llama3.2:3b",
        started_us: 61,
        took_us: 1_900,
        candidates,
    }];
    params![
        id,
        received_at,
        "key",
        Some("01900000-0000-7000-8000-00000000000a".to_owned()),
        "ci",
        "127.0.0.1",
        "openai",
        "chat",
        "llama3.2:3b",
        Some("llama3.2:3b".to_owned()),
        Some(node),
        Some("gpu-1".to_owned()),
        200_i64,
        "ok",
        None::<String>,
        false,
        0_i64,
        0_i64,
        0_i64,
        Some(1_700_i64),
        1_961_i64,
        26_i64,
        180_i64,
        Some("balanced"),
        JsonText::of(&attempts).unwrap_or_else(|_| JsonText::empty_array()),
    ]
}

/// Returns the processor time of all threads so far.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default();
    let ticks: u64 = fields
        .split(' ')
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<u64>().ok())
        .sum();
    Duration::from_millis(10 * ticks)
}

#[expect(clippy::print_stdout, reason = "the result of a benchmark")]
fn say(part: &str, spent: Duration, rows: u32) {
    println!(
        "{part}: {:.2} µs of processor time per record",
        spent.as_secs_f64() * 1e6 / f64::from(rows)
    );
}

async fn measure(store: TestStore, name: &str) -> Result<(), store::StoreError> {
    let db = store.migrated().await;
    let node = NodeId::generate(Timestamp::from_micros(1));
    // Rows per batch as a busy gateway has them: full ones, and what was left after them.
    let sizes = [ROWS, ROWS, 137, ROWS, 291, ROWS, 64, 408, ROWS, 3];
    let batch = |number: u32| -> Vec<Params> {
        let size = sizes[number as usize % sizes.len()];
        (number * ROWS..number * ROWS + size)
            .map(|row| record(row.into(), node))
            .collect()
    };
    let rows = (0..BATCHES)
        .map(|number| sizes[number as usize % sizes.len()])
        .sum();
    let begin = processor_time();
    for number in 0..BATCHES {
        black_box(batch(number));
    }
    let making = processor_time().saturating_sub(begin);
    let begin = processor_time();
    for number in 0..BATCHES {
        let mut tx = db.write_with(Durability::Relaxed).await?;
        tx.insert_many(&INSERT, &batch(number)).await?;
        tx.commit().await?;
    }
    let both = processor_time().saturating_sub(begin);
    say(&format!("{name}, making the values"), making, rows);
    say(&format!("{name}, making and writing them"), both, rows);
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), store::StoreError> {
    measure(TestStore::sqlite().await, "SQLite").await?;
    if std::env::var_os("TEST_POSTGRES_URL").is_some() {
        measure(TestStore::postgres().await, "PostgreSQL (this side only)").await?;
    }
    Ok(())
}
