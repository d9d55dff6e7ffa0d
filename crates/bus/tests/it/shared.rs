//! Two processes over one Redis, and either of them without it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bus::cache::{Cache, Found, Place, Rules, Strategy};
use bus::{Ask, Bus, Health, Heard, Month, RedisConfig, Settlement, Spent, Which, Window};
use primitives::{Clock, Secret, SystemClock};
use testbed::OwnServer;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const LIMIT: Duration = Duration::from_secs(20);

/// A process as far as the bus goes.
struct Member {
    bus: Bus,
    cache: Cache,
    _stop: tokio_util::sync::DropGuard,
}

impl Member {
    async fn join(redis: &OwnServer) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let config = RedisConfig {
            url: Secret::new(redis.url()),
            prefix: "test".to_owned(),
            // Nothing here is about slowness, and machines that test are slow.
            patience: Duration::from_secs(1),
        };
        let bus = Bus::through_redis(&config, clock, &tasks, &stop)?;
        let rules = Rules {
            ttl: Duration::from_mins(1),
            max_bytes: 1 << 20,
            strategy: Strategy::Both,
            place: Place::Memory,
        };
        let place = Place::Redis;
        let shared = Rules { place, ..rules };
        let cache = Cache::start(&bus, [("own", rules), ("shared", shared)], &tasks, &stop);
        let member = Self {
            bus,
            cache,
            _stop: stop.drop_guard(),
        };
        member.is_connected(true).await?;
        Ok(member)
    }

    async fn is_connected(&self, wanted: bool) -> anyhow::Result<()> {
        until("the connection is as wanted", async || {
            let is_well = matches!(self.bus.health(), Some(Health::Well { .. }));
            is_well == wanted && self.bus.messages().continuity().is_some() == wanted
        })
        .await
    }

    async fn reserve(&self, ask: &Ask, tokens: u64) -> anyhow::Result<bus::Told> {
        let allowances = self.bus.allowances().context("there is Redis")?;
        Ok(allowances
            .reserve(std::slice::from_ref(ask), tokens)
            .await?)
    }

    async fn keep(&self, resource: &str, answer: &'static str) -> anyhow::Result<()> {
        // Numbers of changes are learned when the connection comes up.
        until("something can be kept", async || {
            match self.cache.find(resource, "key").await {
                Found::Miss(ticket) => {
                    self.cache.keep(ticket, answer.into()).await;
                    false
                }
                Found::Hit(_) => true,
                Found::Off => false,
            }
        })
        .await
    }

    async fn kept(&self, resource: &str) -> Option<String> {
        match self.cache.find(resource, "key").await {
            Found::Hit(answer) => Some(String::from_utf8_lossy(&answer).into_owned()),
            Found::Miss(_) | Found::Off => None,
        }
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) -> anyhow::Result<()> {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(LIMIT, waiting)
        .await
        .with_context(|| format!("waited in vain until {what}"))
}

fn ask(requests: u64, level: f64) -> Ask {
    Ask {
        subject: "key:one".to_owned(),
        requests: Some(Window {
            capacity: requests,
            level,
            untold: 0.0,
        }),
        tokens: None,
        month: Month {
            number: 1,
            most: None,
            used: 0,
            untold: 0,
            left: Duration::from_hours(24),
        },
    }
}

#[tokio::test]
async fn requests_of_all_members_are_counted_together() -> anyhow::Result<()> {
    let redis = OwnServer::redis()?;
    let members = [Member::join(&redis).await?, Member::join(&redis).await?];
    let ask = ask(10, 10.0);
    let mut let_in = 0;
    for round in 0..10 {
        for member in &members {
            let told = member.reserve(&ask, 0).await?;
            match told.refused {
                None => let_in += 1,
                Some((0, Which::Requests, wait)) => {
                    assert!(wait <= Duration::from_secs(6), "{round}: {wait:?}");
                }
                refused => panic!("{refused:?}"),
            }
        }
    }
    // A place comes back every six seconds.
    assert!((10..=12).contains(&let_in), "{let_in}");
    Ok(())
}

#[tokio::test]
async fn tokens_are_settled_for_all_and_budgets_of_months_add_up() -> anyhow::Result<()> {
    let redis = OwnServer::redis()?;
    let members = [Member::join(&redis).await?, Member::join(&redis).await?];
    let mut ask = ask(1_000, 1_000.0);
    ask.tokens = Some(Window {
        capacity: 600,
        level: 600.0,
        untold: 0.0,
    });
    ask.month.most = Some(1_000);
    ask.month.used = 200;
    let told = members[0].reserve(&ask, 600).await?;
    assert_eq!(told.refused, None);
    assert_eq!(told.standings[0].month_used, 200);
    let told = members[1].reserve(&ask, 300).await?;
    assert!(
        matches!(told.refused, Some((0, Which::Tokens, wait)) if wait > Duration::from_secs(20))
    );
    let settlement = |reserved, used| Settlement {
        subjects: vec![Spent {
            subject: ask.subject.clone(),
            month: 1,
        }],
        reserved,
        used,
    };
    let allowances = members[0].bus.allowances().context("there is Redis")?;
    allowances.settle(settlement(600, 100))?;
    until("the tokens are back", async || {
        let told = members[1].reserve(&ask, 300).await;
        told.is_ok_and(|told| told.refused.is_none())
    })
    .await?;
    allowances.settle(settlement(300, 700))?;
    until("the month is used up", async || {
        let told = members[1].reserve(&ask, 0).await;
        told.is_ok_and(|told| matches!(told.refused, Some((0, Which::Month, _))))
    })
    .await?;
    // Another month begins anew, with what that process knows of it.
    ask.month.number = 2;
    ask.month.used = 0;
    let told = members[0].reserve(&ask, 0).await?;
    assert!(
        !matches!(told.refused, Some((_, Which::Month, _))),
        "{told:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_redis_that_has_forgotten_begins_with_what_is_known() -> anyhow::Result<()> {
    let mut redis = OwnServer::redis()?;
    let member = Member::join(&redis).await?;
    redis.stop("KILL")?;
    member.is_connected(false).await?;
    let away = member.reserve(&ask(10, 10.0), 0).await;
    assert!(away.is_err());
    redis.start()?;
    member.is_connected(true).await?;
    let told = member.reserve(&ask(10, 0.5), 0).await?;
    assert!(told.refused.is_some(), "half a request is left: {told:?}");
    let mut debt = ask(10, 10.0);
    debt.requests = Some(Window {
        capacity: 20,
        level: 0.0,
        untold: 5.0,
    });
    let told = member.reserve(&debt, 0).await?;
    // Ten more are allowed, five were used meanwhile, one is used now.
    let left = told.standings[0].requests;
    assert!((4.5..7.0).contains(&left), "{left}");
    let text = member.bus.render_metrics();
    assert!(text.contains("remuda_redis_up 1"), "{text}");
    assert!(text.contains("remuda_redis_connections_total 2"), "{text}");
    assert!(
        text.contains("remuda_redis_reservations_total{outcome=\"local\"} 1"),
        "{text}"
    );
    Ok(())
}

#[tokio::test]
async fn messages_reach_everybody_and_gaps_are_told() -> anyhow::Result<()> {
    let mut redis = OwnServer::redis()?;
    let members = [Member::join(&redis).await?, Member::join(&redis).await?];
    let mut listening = members[1].bus.messages().listen();
    let before = members[1].bus.messages().continuity();
    members[0]
        .bus
        .messages()
        .publish("news", "one".to_owned())
        .await?;
    let heard = Heard::Message {
        topic: "news".to_owned(),
        text: "one".to_owned(),
    };
    assert_eq!(listening.next().await, Some(heard));
    redis.stop("KILL")?;
    members[1].is_connected(false).await?;
    redis.start()?;
    assert_eq!(listening.next().await, Some(Heard::Gap));
    members[1].is_connected(true).await?;
    assert_ne!(members[1].bus.messages().continuity(), before);
    Ok(())
}

#[tokio::test]
async fn a_change_is_forgotten_everywhere() -> anyhow::Result<()> {
    let redis = OwnServer::redis()?;
    let members = [Member::join(&redis).await?, Member::join(&redis).await?];
    for resource in ["own", "shared"] {
        members[0].keep(resource, "old").await?;
        members[1].keep(resource, "old").await?;
        members[1].cache.forget(&[resource]).await;
        assert_eq!(
            members[1].kept(resource).await,
            None,
            "at once where it was made"
        );
        until("it is forgotten there", async || {
            members[0].kept(resource).await.is_none()
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_in_redis_serves_others_until_something_changes() -> anyhow::Result<()> {
    let redis = OwnServer::redis()?;
    let members = [Member::join(&redis).await?, Member::join(&redis).await?];
    members[0].keep("shared", "made by one").await?;
    until("the other one finds it", async || {
        members[1].kept("shared").await.as_deref() == Some("made by one")
    })
    .await?;
    assert_eq!(members[1].kept("own").await, None);
    members[0].cache.forget(&["shared"]).await;
    until("nobody finds it any more", async || {
        members[1].kept("shared").await.is_none()
    })
    .await?;
    let text = members[1].bus.render_metrics();
    let found = "remuda_cache_lookups_total{resource=\"shared\",outcome=\"shared_hit\"} 1";
    assert!(text.contains(found), "{text}");
    Ok(())
}

#[tokio::test]
async fn nothing_is_answered_from_the_cache_while_changes_may_be_missed() -> anyhow::Result<()> {
    let mut redis = OwnServer::redis()?;
    let members = [Member::join(&redis).await?, Member::join(&redis).await?];
    members[0].keep("own", "old").await?;
    redis.stop("KILL")?;
    for member in &members {
        member.is_connected(false).await?;
    }
    assert!(matches!(
        members[0].cache.find("own", "key").await,
        Found::Off
    ));
    // Told late, to a Redis that has forgotten everything.
    members[1].cache.forget(&["own", "shared"]).await;
    redis.start()?;
    for member in &members {
        member.is_connected(true).await?;
    }
    assert_eq!(members[0].kept("own").await, None);
    members[0].keep("own", "new").await?;
    Ok(())
}
