//! The life of one connection: take what comes, send what there is, look at the clock.

use std::sync::Arc;
use std::time::Duration;

use primitives::{RequestId, Secret};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::closing::CloseReason;
use crate::encode;
use crate::hub::Hub;
use crate::inbound::{self, Inbound, Wanted, Wish};
use crate::seats::{Full, Seat, Taker, standing_of};
use crate::socket::{Received, Socket};
use crate::subscriptions::{Pending, Subscriptions};

/// Messages that a client may send within a second.
const MESSAGES_PER_SECOND: u32 = 50;
/// Messages of topics that are written before the client is listened to again.
const SENT_AT_ONCE: usize = 64;

/// What a connection begins with.
pub(crate) struct Beginning {
    /// The id of the request that it began as.
    pub(crate) id: RequestId,
    /// The inference that it is about.
    pub(crate) follow: Option<Wanted>,
}

/// One connection.
pub(crate) struct Connection<S> {
    socket: Socket<S>,
    hub: Hub,
    taker: Taker,
    seat: Arc<Seat>,
    subscriptions: Subscriptions,
    follow: Option<Wanted>,
    wait: Wait,
    window: Window,
}

/// What the clock is looked at for.
#[derive(Clone, Copy)]
struct Wait {
    until: Instant,
    /// Whether a sign of life was asked for.
    asked: bool,
}

/// Counts a client's messages.
struct Window {
    began: Instant,
    count: u32,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Serves until the end, and says why it came.
    pub(crate) async fn serve(socket: Socket<S>, hub: Hub, taker: Taker, beginning: Beginning) {
        let seat = Arc::clone(&taker.seat);
        let now = Instant::now();
        let mut connection = Self {
            socket,
            subscriptions: Subscriptions::new(Arc::clone(&seat)),
            follow: beginning.follow,
            wait: Wait {
                until: now + hub.inner.config.auth_timeout,
                asked: false,
            },
            window: Window {
                began: now,
                count: 0,
            },
            hub,
            taker,
            seat,
        };
        connection.hub.inner.metrics.connections.inc();
        let reason = match connection.begin(beginning.id).await {
            Ok(()) => connection.run().await,
            Err(reason) => reason,
        };
        let Self {
            socket,
            hub,
            taker,
            mut subscriptions,
            ..
        } = connection;
        subscriptions.clear(hub.now());
        hub.inner.metrics.connections.dec();
        hub.inner.metrics.closed(reason);
        socket.close(reason).await;
        // Counted until it is really gone.
        drop(taker);
    }

    async fn begin(&mut self, id: RequestId) -> Result<(), CloseReason> {
        let welcome = json!({"client_id": id, "message": "Connected to Remuda WebSocket"});
        let welcome = encode::reply("welcome", None, self.hub.now(), &welcome);
        self.socket.send(welcome).await?;
        if self.taker.is_known() {
            self.settle().await?;
        }
        Ok(())
    }

    /// What happens once it is known who is there.
    async fn settle(&mut self) -> Result<(), CloseReason> {
        // Connections that began together should not ask for signs of life together.
        let interval = self.hub.inner.config.ping_interval;
        let part = u32::try_from(self.seat.number % 64).unwrap_or(0);
        self.wait = Wait {
            until: Instant::now() + interval / 2 + interval * part / 128,
            asked: false,
        };
        if let Some(follow) = self.follow.take() {
            let (reply, found) = self.subscribe(&[follow], None);
            self.socket.send(reply).await?;
            if !found {
                return Err(CloseReason::Unknown);
            }
        }
        Ok(())
    }

    async fn run(&mut self) -> CloseReason {
        loop {
            if let Err(reason) = self.send_pending().await {
                return reason;
            }
            let step = tokio::select! {
                received = self.socket.receive() => Step::Received(received),
                () = self.seat.bell.notified() => Step::Rung,
                () = sleep_until(self.wait.until) => Step::Time,
            };
            let done = match step {
                Step::Rung => Ok(()),
                Step::Time => self.look_at_the_clock().await,
                Step::Received(Received::End(reason)) => Err(reason),
                Step::Received(Received::Life) => {
                    self.heard();
                    Ok(())
                }
                // On the heap: a connection that is quiet does not hold the room for it.
                Step::Received(Received::Text(text)) => Box::pin(self.answer(&text)).await,
            };
            if let Err(reason) = done {
                return reason;
            }
        }
    }

    async fn send_pending(&mut self) -> Result<(), CloseReason> {
        for _ in 0..SENT_AT_ONCE {
            if let Some(reason) = self.seat.ending() {
                return Err(reason);
            }
            match self.subscriptions.take() {
                Pending::Message(message) => {
                    self.socket.send(message).await?;
                    self.hub.inner.metrics.sent.inc();
                }
                Pending::Nothing => return Ok(()),
                Pending::Lost => return Err(CloseReason::Slow),
            }
        }
        // There may be more: the bell brings it back here after a look at the client.
        self.seat.bell.notify_one();
        Ok(())
    }

    fn heard(&mut self) {
        if self.taker.is_known() {
            self.wait = Wait {
                until: Instant::now() + self.hub.inner.config.ping_interval,
                asked: false,
            };
        }
    }

    async fn look_at_the_clock(&mut self) -> Result<(), CloseReason> {
        if !self.taker.is_known() {
            return Err(CloseReason::Unauthenticated);
        }
        if self.wait.asked {
            return Err(CloseReason::Silent);
        }
        // A credential ends with time, too.
        let inner = &self.hub.inner;
        self.seat.check(&inner.identity.snapshot(), self.hub.now());
        self.wait = Wait {
            until: Instant::now() + inner.config.pong_timeout,
            asked: true,
        };
        self.socket.ping().await
    }

    /// Answers a client's message.
    async fn answer(&mut self, text: &str) -> Result<(), CloseReason> {
        self.heard();
        self.hub.inner.metrics.received.inc();
        self.window.count()?;
        let Inbound { id, wish } = inbound::read(text);
        let id = id.as_deref();
        let now = self.hub.now();
        let reply = match wish {
            Err(message) => encode::error(id, now, &message),
            Ok(Wish::Heartbeat) => encode::reply("heartbeat", id, now, &json!({"status": "pong"})),
            Ok(Wish::Auth(token)) => return self.authenticate(token, id).await,
            Ok(_) if !self.taker.is_known() => encode::error(
                id,
                now,
                "say who you are first: {\"type\":\"auth\",\"token\":\"…\"} with an API key or an access token",
            ),
            Ok(Wish::Subscribe(wanted)) => self.subscribe(&wanted, id).0,
            Ok(Wish::Unsubscribe(topics)) => {
                let ended = self.subscriptions.end(&topics, now);
                encode::reply("unsubscription_confirmed", id, now, &ended)
            }
        };
        self.socket.send(reply).await
    }

    /// Returns the answer, and whether the topics are listened to now.
    fn subscribe(&mut self, wanted: &[Wanted], id: Option<&str>) -> (Utf8Bytes, bool) {
        let now = self.hub.now();
        let inner = &self.hub.inner;
        let Some(who) = self.seat.standing(&inner.identity.snapshot(), now) else {
            self.seat.end(CloseReason::Revoked);
            return (encode::error(id, now, CloseReason::Revoked.words()), false);
        };
        match self.subscriptions.add(wanted, who, &inner.channels, now) {
            Ok(confirmed) => (
                encode::reply("subscription_confirmed", id, now, &confirmed),
                true,
            ),
            Err(message) => (encode::error(id, now, &message), false),
        }
    }

    async fn authenticate(
        &mut self,
        token: Secret<String>,
        id: Option<&str>,
    ) -> Result<(), CloseReason> {
        let was_known = self.taker.is_known();
        let now = self.hub.now();
        let identity = self.hub.inner.identity.clone();
        let standing = standing_of(&token, &identity.snapshot(), now);
        let standing = standing.ok_or(CloseReason::Unauthenticated)?;
        // Who is connected stays who they are: only the token may be a newer one.
        if was_known && self.seat.standing(&identity.snapshot(), now) != Some(standing) {
            return Err(CloseReason::Revoked);
        }
        self.taker.sit(token, standing).map_err(|full| match full {
            Full::OfCaller | Full::InAll => CloseReason::TooManyConnections,
        })?;
        // Whoever looked through the connections a moment ago did not see the credential here.
        self.seat.check(&identity.snapshot(), now);
        let data = json!({"role": standing.role});
        let reply = encode::reply("auth_confirmed", id, now, &data);
        self.socket.send(reply).await?;
        if was_known {
            return Ok(());
        }
        self.settle().await
    }
}

/// What a connection woke up for.
enum Step {
    Received(Received),
    Rung,
    Time,
}

impl Window {
    fn count(&mut self) -> Result<(), CloseReason> {
        let now = Instant::now();
        if now.duration_since(self.began) >= Duration::from_secs(1) {
            self.began = now;
            self.count = 0;
        }
        self.count += 1;
        if self.count > MESSAGES_PER_SECOND {
            return Err(CloseReason::TooMany);
        }
        Ok(())
    }
}
