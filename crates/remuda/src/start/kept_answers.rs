//! Answers of the control plane that are kept for a moment, for whom they were made.
//!
//! Only those are kept whose changes all come through this API: a change forgets them, here before it is answered, elsewhere
//! milliseconds later. The key of an answer holds who asked and with which rights, and every request proves its credential anew, so
//! that nobody gets what is not theirs, and a right that was taken away takes its answers with it.

use std::sync::Arc;

use ::bus::Bus;
use ::bus::cache::{Cache, Found, LARGEST, Strategy, Ticket};
use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, ETAG, HeaderName, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderValue, Method, StatusCode};
use identity::{Identity, Principal, presented_credential};
use primitives::Clock;
use tokio_util::sync::CancellationToken;

use super::tasks::Tasks;
use crate::config::{CachedResource, Config};

/// Tells whether an answer was kept.
const MARK: HeaderName = HeaderName::from_static("x-remuda-cache");
const JSON: &str = "application/json";
/// How long answers are good where changes by other processes are not heard of: as long as revoked keys there.
const UNHEARD: std::time::Duration = std::time::Duration::from_secs(1);

#[derive(Clone)]
struct Keeper {
    cache: Cache,
    identity: Identity,
    clock: Arc<dyn Clock>,
}

/// Opens the cache; `None` when it is switched off.
pub(super) fn open(
    config: &Config,
    bus: &Bus,
    tasks: &Tasks,
    stop: &CancellationToken,
) -> Option<Cache> {
    if !config.cache.enabled {
        return None;
    }
    let url = config.store.url.as_ref();
    let others_may_change = url.is_some_and(|url| !url.expose().starts_with("sqlite:"));
    let rules = CachedResource::ALL.map(|resource| {
        let mut rules = config.cache.rules(resource);
        if others_may_change && config.redis.url.is_none() {
            rules.ttl = rules.ttl.min(UNHEARD);
            if rules.strategy == Strategy::Size {
                rules.strategy = Strategy::Both;
            }
        }
        (resource.as_str(), rules)
    });
    Some(Cache::start(bus, rules, &tasks.of("kept answers"), stop))
}

/// Puts the cache before routes.
pub(super) fn before(
    routes: Router,
    cache: Option<Cache>,
    identity: &Identity,
    clock: &Arc<dyn Clock>,
) -> Router {
    let Some(cache) = cache else {
        return routes;
    };
    let keeper = Keeper {
        cache,
        identity: identity.clone(),
        clock: Arc::clone(clock),
    };
    routes.layer(from_fn_with_state(keeper, answer))
}

async fn answer(State(keeper): State<Keeper>, request: Request, next: Next) -> Response {
    if let Some((resource, key)) = keeper.wanted(&request) {
        return match keeper.cache.find(resource, &key).await {
            Found::Hit(kept) => unpacked(kept),
            Found::Miss(ticket) => keeper.keep(ticket, next.run(request).await).await,
            Found::Off => next.run(request).await,
        };
    }
    let mut changing = Changing {
        cache: keeper.cache,
        names: changed(request.method(), request.uri().path()),
    };
    let response = next.run(request).await;
    if response.extensions().get::<graphql::HasChanged>().is_some() {
        changing.names = EVERYTHING;
    } else if response.status().is_client_error() {
        // What was refused has changed nothing; what failed may have.
        changing.names = &[];
    }
    if !changing.names.is_empty() {
        changing.cache.forget(changing.names).await;
        changing.names = &[];
    }
    response
}

/// A request that may change something. When its client goes away in the midst of it, nobody knows: what it may have changed is forgotten.
struct Changing {
    cache: Cache,
    names: &'static [&'static str],
}

impl Drop for Changing {
    fn drop(&mut self) {
        let (cache, names) = (self.cache.clone(), self.names);
        if !names.is_empty()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { cache.forget(names).await });
        }
    }
}

impl Keeper {
    /// Returns where the answer may be kept, and under which name; `None` where it may not.
    fn wanted(&self, request: &Request) -> Option<(&'static str, String)> {
        let headers = request.headers();
        if request.method() != Method::GET
            || headers.contains_key(IF_MATCH)
            || headers.contains_key(IF_NONE_MATCH)
        {
            return None;
        }
        let resource = kept(request.uri().path())?;
        let presented = presented_credential(headers);
        let snapshot = self.identity.snapshot();
        // Who is refused hears why from the route.
        let caller = snapshot
            .authenticate(presented.as_deref(), self.clock.now())
            .ok()?;
        let asked = request.uri().path_and_query()?.as_str();
        Some((resource.as_str(), format!("{} {asked}", described(&caller))))
    }

    async fn keep(&self, ticket: Ticket, response: Response) -> Response {
        let (mut head, body) = response.into_parts();
        let is_json = head
            .headers
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind == JSON);
        let fits = body
            .size_hint()
            .exact()
            .is_some_and(|size| size <= LARGEST as u64);
        if head.status != StatusCode::OK || !is_json || !fits {
            return Response::from_parts(head, body);
        }
        // The size is known, and the body is in memory already.
        let Ok(body) = web::read_capped(body, LARGEST).await else {
            let mut failed = Response::new(Body::empty());
            *failed.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            return failed;
        };
        let tag = head.headers.get(ETAG);
        self.cache.keep(ticket, packed(tag, &body)).await;
        head.headers.insert(MARK, HeaderValue::from_static("miss"));
        Response::from_parts(head, Body::from(body))
    }
}

/// Everything about a caller that an answer may depend on.
fn described(caller: &Principal) -> String {
    format!(
        "{:?} {:?} {} {:?} {:?}",
        caller.kind, caller.user, caller.org, caller.role, caller.permissions
    )
}

/// Finds the resource that a path shows; `None` for what is not kept.
fn kept(path: &str) -> Option<CachedResource> {
    let rest = path.strip_prefix("/api/v1/")?;
    let (first, second) = match rest.split_once('/') {
        Some((first, second)) => (first, Some(second)),
        None => (rest, None),
    };
    match (first, second) {
        (_, Some(deeper)) if deeper.contains('/') => None,
        ("keys", _) => Some(CachedResource::Keys),
        ("users", _) => Some(CachedResource::Users),
        ("me", Some("profile")) => Some(CachedResource::Profile),
        ("organisations", None) => Some(CachedResource::Organisations),
        ("roles", _) => Some(CachedResource::Roles),
        ("invitations", None) => Some(CachedResource::Invitations),
        _ => None,
    }
}

const EVERYTHING: &[&str] = &[
    "keys",
    "users",
    "profile",
    "organisations",
    "roles",
    "invitations",
];

/// Says which resources a request may change. What is not known changes everything.
fn changed(method: &Method, path: &str) -> &'static [&'static str] {
    let Some(rest) = path.strip_prefix("/api/v1/") else {
        return &[];
    };
    let first = rest.split('/').next().unwrap_or_default();
    let only_looks = [Method::GET, Method::HEAD, Method::OPTIONS].contains(method);
    match first {
        // A person may be made on the way back from a provider.
        "auth" => EVERYTHING,
        _ if only_looks => &[],
        "keys" => &["keys"],
        "invitations" => &["invitations"],
        "inference" | "nodes" | "models" | "system" | "login" | "logout" | "token" | "graphql" => {
            &[]
        }
        _ => EVERYTHING,
    }
}

fn packed(tag: Option<&HeaderValue>, body: &Bytes) -> Bytes {
    let tag = tag.map_or(&[][..], HeaderValue::as_bytes);
    let mut packed = BytesMut::with_capacity(1 + tag.len() + body.len());
    // A tag has 34 characters.
    let tag = tag.get(..tag.len().min(255)).unwrap_or_default();
    packed.put_u8(u8::try_from(tag.len()).unwrap_or(0));
    packed.put_slice(tag);
    packed.put_slice(body);
    packed.freeze()
}

fn unpacked(mut kept: Bytes) -> Response {
    let length = kept.first().copied().map_or(0, usize::from);
    let mut tag = kept.split_off(kept.len().min(1));
    let body = tag.split_off(tag.len().min(length));
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    headers.insert(MARK, HeaderValue::from_static("hit"));
    if let Ok(tag) = HeaderValue::from_maybe_shared(tag)
        && length > 0
    {
        headers.insert(ETAG, tag);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_comes_back_as_it_was() {
        let body = Bytes::from_static(b"{\"id\":1}");
        let tag = HeaderValue::from_static("\"abc\"");
        let answer = unpacked(packed(Some(&tag), &body));
        assert_eq!(answer.headers()[ETAG], tag);
        assert_eq!(answer.headers()[CONTENT_TYPE], JSON);
        let answer = unpacked(packed(None, &body));
        assert!(!answer.headers().contains_key(ETAG));
        assert_eq!(answer.into_body().size_hint().exact(), Some(8));
    }

    #[test]
    fn only_what_changes_through_the_api_is_kept() {
        assert_eq!(kept("/api/v1/keys"), Some(CachedResource::Keys));
        assert_eq!(kept("/api/v1/keys/1"), Some(CachedResource::Keys));
        assert_eq!(kept("/api/v1/me/profile"), Some(CachedResource::Profile));
        for path in [
            "/api/v1/users/1/sessions",
            "/api/v1/me",
            "/api/v1/audit",
            "/api/v1/nodes",
            "/api/v1/inference/jobs",
            "/api/v1/me/totp",
            "/api/tags",
        ] {
            assert_eq!(kept(path), None, "{path}");
        }
    }

    #[test]
    fn what_is_not_known_to_change_nothing_changes_everything() {
        assert_eq!(changed(&Method::DELETE, "/api/v1/keys/1"), ["keys"]);
        assert_eq!(changed(&Method::POST, "/api/v1/login"), [""; 0]);
        assert_eq!(changed(&Method::POST, "/v1/chat/completions"), [""; 0]);
        assert_eq!(changed(&Method::GET, "/api/v1/users"), [""; 0]);
        assert_eq!(changed(&Method::PATCH, "/api/v1/users/1"), EVERYTHING);
        assert_eq!(changed(&Method::POST, "/api/v1/something/new"), EVERYTHING);
        let all = CachedResource::ALL.map(CachedResource::as_str);
        assert_eq!(all, EVERYTHING);
    }
}
