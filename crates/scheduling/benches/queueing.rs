//! What the fair queue's operations cost with 100,000 calls waiting. `cargo bench -p remuda-scheduling --bench queueing`; each
//! is meant to stay under a microsecond.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use primitives::MonotonicTime;
use remuda_scheduling::queue::{Class, FairQueue, Lane, QueueLimits, Tenant, Ticket, Waiting};

const WAITING: u64 = 100_000;
const LANES: u64 = 8;
const NOW: MonotonicTime = MonotonicTime::from_micros(1_000_000);

/// The nth call: 100 organisations of 10 users each, over all lanes and three classes.
fn call(n: u64) -> Waiting {
    let mixed = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
    Waiting {
        lane: Lane(mixed % LANES),
        class: match mixed / LANES % 10 {
            0..3 => Class::Interactive,
            3..8 => Class::Default,
            _ => Class::Batch,
        },
        tenant: Tenant {
            organisation: u128::from(mixed / 1_000 % 100),
            user: u128::from(mixed / 200_000 % 10),
        },
        cost: 200 + mixed % 3_000,
    }
}

fn full() -> (FairQueue<u64>, Vec<Ticket>) {
    let mut queue = FairQueue::new(QueueLimits {
        interactive: 1_000_000,
        default: 1_000_000,
        batch: 1_000_000,
        organisation_percent: 100,
        ..QueueLimits::default()
    });
    let tickets = (0..WAITING)
        .filter_map(|n| queue.push(call(n), n, NOW).ok())
        .collect();
    (queue, tickets)
}

fn queueing(criterion: &mut Criterion) {
    let (mut queue, mut tickets) = full();
    let mut n = WAITING;
    // In pairs, so that the number of those who wait stays the same; half of a pair is one operation.
    criterion.bench_function("push_and_cancel", |bencher| {
        bencher.iter(|| {
            n += 1;
            if let Ok(ticket) = queue.push(call(n), n, NOW) {
                let index = (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20) as usize % tickets.len();
                let cancelled = std::mem::replace(&mut tickets[index], ticket);
                black_box(queue.end(cancelled, 0));
            }
        });
    });
    let (mut queue, _) = full();
    criterion.bench_function("push_next_start_and_end", |bencher| {
        bencher.iter(|| {
            n += 1;
            black_box(queue.push(call(n), n, NOW).is_ok());
            let lane = Lane(n % LANES);
            if let Some(ticket) = queue.next([lane]) {
                black_box(queue.start(ticket, lane, NOW));
                queue.end(ticket, 900);
            }
        });
    });
    let (queue, tickets) = full();
    criterion.bench_function("place", |bencher| {
        bencher.iter(|| {
            n += 1;
            black_box(queue.place(tickets[n as usize % tickets.len()], NOW))
        });
    });
}

criterion_group!(benches, queueing);
criterion_main!(benches);
