//! What is kept, for how long, and what is forgotten.

use primitives::{ManualClock, Timestamp};

use super::*;

const RULES: Rules = Rules {
    ttl: Duration::from_secs(5),
    max_bytes: 64 << 10,
    strategy: Strategy::Both,
    place: Place::Memory,
};

fn cache(rules: Rules) -> (Cache, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(Timestamp::from_micros(0)));
    let bus = Bus::in_memory(clock.clone());
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let cache = Cache::start(&bus, [("users", rules), ("keys", rules)], &tasks, &stop);
    (cache, clock)
}

async fn ticket(cache: &Cache, resource: &str, key: &str) -> Ticket {
    match cache.find(resource, key).await {
        Found::Miss(ticket) => ticket,
        found => panic!("{key}: {found:?}"),
    }
}

async fn keep(cache: &Cache, key: &str, answer: &Bytes) {
    let ticket = ticket(cache, "users", key).await;
    cache.keep(ticket, answer.clone()).await;
}

async fn is_kept(cache: &Cache, key: &str) -> bool {
    matches!(cache.find("users", key).await, Found::Hit(_))
}

#[tokio::test]
async fn an_answer_is_good_until_its_time_is_over() {
    let (cache, clock) = cache(RULES);
    let answer = Bytes::from_static(b"ann");
    keep(&cache, "a", &answer).await;
    clock.advance(Duration::from_millis(4_999));
    assert!(matches!(cache.find("users", "a").await, Found::Hit(kept) if kept == answer));
    clock.advance(Duration::from_millis(1));
    assert!(!is_kept(&cache, "a").await);
    assert!(matches!(cache.find("nodes", "a").await, Found::Off));
}

#[tokio::test]
async fn a_change_forgets_its_resource_alone_and_what_was_read_before_it_is_not_kept() {
    let (cache, _) = cache(RULES);
    let answer = Bytes::from_static(b"ann");
    keep(&cache, "a", &answer).await;
    let of_keys = ticket(&cache, "keys", "k").await;
    let begun_before = ticket(&cache, "users", "b").await;
    cache.forget(&["users"]).await;
    cache.keep(begun_before, answer.clone()).await;
    cache.keep(of_keys, answer).await;
    assert!(!is_kept(&cache, "a").await && !is_kept(&cache, "b").await);
    assert!(matches!(cache.find("keys", "k").await, Found::Hit(_)));
}

#[tokio::test]
async fn each_strategy_has_answers_go_its_way() {
    let answer = Bytes::from(vec![0; 1_000]);
    let fill = async |strategy| {
        let (cache, clock) = cache(Rules { strategy, ..RULES });
        for number in 0..1_000 {
            keep(&cache, &number.to_string(), &answer).await;
        }
        assert!(
            cache.resources[0].bytes() <= RULES.max_bytes,
            "{strategy:?}"
        );
        let mut kept = 0;
        for number in 0..1_000 {
            kept += usize::from(is_kept(&cache, &number.to_string()).await);
        }
        assert!(kept > 10 && kept < 64, "{strategy:?}: {kept}");
        (cache, clock)
    };
    let (by_time, clock) = fill(Strategy::Time).await;
    assert!(is_kept(&by_time, "0").await, "the first ones stay");
    clock.advance(RULES.ttl);
    keep(&by_time, "new", &answer).await;
    assert!(is_kept(&by_time, "new").await && !is_kept(&by_time, "0").await);

    let (by_size, clock) = fill(Strategy::Size).await;
    keep(&by_size, "new", &answer).await;
    clock.advance(RULES.ttl * 100);
    assert!(is_kept(&by_size, "new").await, "time means nothing");

    let (by_both, clock) = fill(Strategy::Both).await;
    keep(&by_both, "new", &answer).await;
    clock.advance(RULES.ttl);
    assert!(!is_kept(&by_both, "new").await);
}

#[tokio::test]
async fn what_is_too_large_is_not_kept() {
    let (cache, _) = cache(Rules {
        max_bytes: 1 << 30,
        ..RULES
    });
    keep(&cache, "a", &Bytes::from(vec![0; LARGEST + 1])).await;
    assert!(!is_kept(&cache, "a").await);
}
