//! What choosing a node costs, by size of the fleet. `cargo bench -p remuda-scheduling --bench deciding`.
//!
//! Each decision is explained. `described` makes a row of every candidate each time, as a gateway of a small fleet does; `kept` has
//! the rows and makes only that of the node anew to which the last call went. A thousand candidates are meant to be decided within
//! 20 microseconds in 99 of 100 cases: the percentiles stand below the means.

use std::hint::black_box;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use primitives::{MonotonicTime, NodeId, Timestamp};
use remuda_scheduling::{
    Call, Candidate, Decision, PolicyName, Portion, Residency, RoutingPolicy, Row, Rows, policy,
};

fn fleet(size: u32) -> Vec<Candidate<'static>> {
    (0..size)
        .map(|n| Candidate {
            residency: Residency::Loaded {
                context: Some(8_192),
            },
            in_flight: n % 7,
            queued_tokens: u64::from(n % 7) * 300,
            pending_prompt_tokens: Some(u64::from(n % 3) * 1_000),
            slots: Some(4),
            decode_tokens_per_s: Some(30.0 + (n % 11) as f32),
            prefill_tokens_per_s: Some(1_000.0 + (n % 13) as f32),
            ttft_ewma_ms: Some(800.0),
            prefix_blocks: n % 5,
            ..Candidate::new(NodeId::generate(Timestamp::from_micros(i64::from(n))), "n")
        })
        .collect()
}

fn call(prefix: &[u64], random: u64) -> Call<'_> {
    Call {
        model: "m",
        prompt_tokens: 1_900,
        max_tokens: None,
        num_ctx: None,
        prefix,
        tags: &[],
        now: MonotonicTime::from_micros(0),
        random,
    }
}

/// A fleet with its rows.
struct Kept {
    candidates: Vec<Candidate<'static>>,
    rows: Rows,
}

impl Kept {
    fn new(size: u32) -> Self {
        let candidates = fleet(size);
        let mut rows = Rows::default();
        for candidate in &candidates {
            let cold = Candidate {
                prefix_blocks: 0,
                ..*candidate
            };
            rows.push(Row::of(&cold, &[]));
        }
        Self { candidates, rows }
    }

    /// Decides, explains, and counts the call where it went. Every thirtieth node has a part of the prompt in its cache.
    fn decide(&mut self, policy: &dyn RoutingPolicy, call: &Call<'_>) -> Decision {
        for index in (0..self.candidates.len()).step_by(30) {
            self.rows.warm(index, index as u32 % 5);
        }
        let view = self.rows.view(Portion::Whole);
        let decision = policy.decide(call, &view, &mut |index| {
            self.candidates.get(index).copied()
        });
        self.rows.cool_down();
        if let Some(index) = decision.chosen
            && let Some(candidate) = self.candidates.get_mut(index)
        {
            candidate.in_flight = (candidate.in_flight + 1) % 7;
            let cold = Candidate {
                prefix_blocks: 0,
                ..*candidate
            };
            self.rows.set(index, Row::of(&cold, &[]));
        }
        decision
    }
}

fn percentiles(name: &str, mut decide: impl FnMut(u64) -> Decision) {
    let mut nanos: Vec<u128> = (0..50_000_u64)
        .map(|n| {
            let random = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let started = Instant::now();
            black_box(decide(random));
            started.elapsed().as_nanos()
        })
        .collect();
    nanos.sort_unstable();
    let at = |share: f64| {
        let index = (nanos.len() as f64 * share) as usize;
        nanos.get(index).copied().unwrap_or_default() as f64 / 1_000.0
    };
    eprintln!("{name}: p50 {:.1} us, p99 {:.1} us", at(0.5), at(0.99));
}

fn deciding(criterion: &mut Criterion) {
    let prefix: Vec<u64> = (0..30).collect();
    let mut group = criterion.benchmark_group("decide");
    for size in [4, 32, 200, 1_000] {
        let fleet = fleet(size);
        for name in PolicyName::ALL {
            let policy = policy(name);
            group.bench_with_input(
                BenchmarkId::new(format!("described/{}", name.as_str()), size),
                &fleet,
                |bencher, fleet| {
                    bencher.iter(|| {
                        policy.choose(&call(&prefix, black_box(1 << 32)), black_box(fleet))
                    });
                },
            );
            let mut kept = Kept::new(size);
            group.bench_function(
                BenchmarkId::new(format!("kept/{}", name.as_str()), size),
                |bencher| {
                    bencher.iter(|| kept.decide(&*policy, &call(&prefix, black_box(1 << 32))));
                },
            );
        }
    }
    group.finish();
    for name in PolicyName::ALL {
        let (policy, fleet, mut kept) = (policy(name), fleet(1_000), Kept::new(1_000));
        percentiles(
            &format!("{name} over 1000 candidates, described"),
            |random| policy.choose(&call(&prefix, random), black_box(&fleet)),
        );
        percentiles(&format!("{name} over 1000 candidates, kept"), |random| {
            kept.decide(&*policy, &call(&prefix, random))
        });
    }
}

criterion_group!(benches, deciding);
criterion_main!(benches);
