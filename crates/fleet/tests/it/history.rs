//! What is seen of nodes is kept by the minute, the hour and the day.

use std::sync::atomic::Ordering;
use std::time::Duration;

use fleet::{HistoryError, NodePoint};
use primitives::{Clock as _, Timestamp};

use crate::stage::{Stage, on_both_engines};

on_both_engines! {
    minutes_become_hours_and_days
}

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

impl Stage {
    async fn seen(&self, since: Timestamp, step: Duration) -> Vec<NodePoint> {
        let now = self.clock.now();
        let shown = self.fleet.node_history("gpu1", since, now).await.unwrap();
        assert_eq!(shown.0, step);
        shown.1
    }
}

async fn minutes_become_hours_and_days(mut stage: Stage) {
    let start = stage.clock.now();
    let node = stage.registry.load_node("gpu1").unwrap();
    let look = Duration::from_secs(10);
    // Three looks with one request in flight, then three with three.
    stage.after(Duration::ZERO).await;
    let one = node.activity.begin(1);
    stage.after(look).await;
    stage.after(look).await;
    let others = [node.activity.begin(1), node.activity.begin(1)];
    for _ in 0..3 {
        stage.after(look).await;
    }
    drop((one, others));
    stage.after(look).await;
    let minutes = stage.seen(start, MINUTE).await;
    assert_eq!(minutes.len(), 1);
    let minute = &minutes[0];
    assert_eq!((minute.starts_at, minute.samples), (start, 6));
    assert_eq!(minute.in_flight_most, 3);
    assert!((minute.in_flight - 11.0 / 6.0).abs() < 1e-9, "{minute:?}");
    // No agent tells of its machine.
    assert_eq!((minute.cpu_percent, minute.gpu_celsius_most), (None, None));

    // Another process's minute.
    stage.on_duty.store(false, Ordering::Relaxed);
    stage.after(MINUTE).await;
    assert_eq!(stage.seen(start, MINUTE).await.len(), 1);
    stage.on_duty.store(true, Ordering::Relaxed);

    // Two hours later, of which nothing is known; hours are made of minutes every ten of them.
    stage.after(2 * HOUR).await;
    stage.after(MINUTE).await;
    stage.after(10 * MINUTE).await;
    let hours = stage.seen(start.before(2 * DAY), HOUR).await;
    assert_eq!(hours.len(), 2);
    assert_eq!(
        (hours[0].starts_at, hours[0].samples),
        (start.before(30 * MINUTE), 7)
    );
    assert_eq!(hours[0].in_flight_most, 3);
    // Minutes go, hours stay, and days when hours go.
    stage.after(2 * DAY).await;
    assert_eq!(stage.seen(start.before(HOUR), HOUR).await[0].samples, 7);
    stage.after(3 * DAY).await;
    let days = stage.seen(start.before(DAY), DAY).await;
    assert_eq!(days[0].in_flight_most, 3);

    let now = stage.clock.now();
    let nobody = stage.fleet.node_history("gpu2", start, now).await;
    assert!(matches!(nobody, Err(HistoryError::Node(_))));
    let backwards = stage.fleet.node_history("gpu1", now, start).await;
    assert!(matches!(backwards, Err(HistoryError::Time)));
}
