//! Leases in Redis: a key with an expiry, whose value is the holder (as in the Redis documentation's "distributed locks with Redis",
//! on a single instance).

use std::sync::LazyLock;
use std::time::Duration;

use futures_util::future::BoxFuture;
use redis::Script;
use redis::aio::MultiplexedConnection;

use super::link::Redis;
use crate::error::BusError;
use crate::leases::Leases;

static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local has = redis.call('GET', KEYS[1])
         if has and has ~= ARGV[1] then return 0 end
         redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
         return 1",
    )
});

static GIVE_BACK: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
         return 0",
    )
});

impl Leases for Redis {
    fn take(
        &self,
        name: &str,
        holder: &str,
        period: Duration,
    ) -> BoxFuture<'_, Result<bool, BusError>> {
        let mut call = TAKE.prepare_invoke();
        call.key(self.name("lease", name)).arg(holder);
        call.arg(u64::try_from(period.as_millis()).unwrap_or(u64::MAX).max(1));
        Box::pin(
            self.call_unhurried(async move |connection: &mut MultiplexedConnection| {
                call.invoke_async::<bool>(connection).await
            }),
        )
    }

    fn give_back(&self, name: &str, holder: &str) -> BoxFuture<'_, Result<(), BusError>> {
        let mut call = GIVE_BACK.prepare_invoke();
        call.key(self.name("lease", name)).arg(holder);
        Box::pin(
            self.call_unhurried(async move |connection: &mut MultiplexedConnection| {
                call.invoke_async::<i64>(connection).await.map(drop)
            }),
        )
    }
}
