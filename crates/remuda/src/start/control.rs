//! The control plane's router: the domains' routes, health, metrics, and the description of it all.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use ::bus::Bus;
use ::bus::cache::Cache;
use axum::Router;
use axum::extract::{ConnectInfo, FromRef, Request, State};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use gateway::Metrics;
use http::header::CONTENT_TYPE;
use identity::{Caller, Identity};
use primitives::Clock;
use store::Db;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::ClientAddress;
use web::tls::ServerTls;

use super::health::{self, HealthProbe};
use super::{kept_answers, pages, tls};

/// The content type that Prometheus asks for.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What such a text ends with.
pub(super) const END: &str = "# EOF\n";

/// What the control plane is made of.
pub(super) struct Parts {
    pub(super) db: Db,
    pub(super) identity: Identity,
    pub(super) registry: cluster::Registry,
    pub(super) system: system::System,
    pub(super) hub: realtime::Hub,
    pub(super) jobs: jobs::Jobs,
    pub(super) fleet: fleet::Fleet,
    pub(super) placement: cluster::Placement,
    pub(super) rollouts: cluster::Rollouts,
    pub(super) agent_updates: cluster::AgentUpdates,
    pub(super) inventory: inventory::Inventory,
    pub(super) metrics: Arc<Metrics>,
    pub(super) bus: Bus,
    pub(super) cache: Option<Cache>,
    pub(super) server_tls: Option<Arc<ServerTls>>,
    pub(super) clock: Arc<dyn Clock>,
}

/// The description of the API, which has itself in it.
type Description = Arc<OnceLock<String>>;

#[derive(Clone)]
struct MetricsState {
    metrics: Arc<Metrics>,
    registry: cluster::Registry,
    bus: Bus,
    hub: realtime::Hub,
    jobs: jobs::Jobs,
    fleet: fleet::Fleet,
    placement: cluster::Placement,
    rollouts: cluster::Rollouts,
    agent_updates: cluster::AgentUpdates,
    inventory: inventory::Inventory,
    identity: Identity,
    db: Db,
    server_tls: Option<Arc<ServerTls>>,
    clock: Arc<dyn Clock>,
}

impl FromRef<MetricsState> for Identity {
    fn from_ref(state: &MetricsState) -> Self {
        state.identity.clone()
    }
}

/// Puts the router together.
pub(super) fn router(parts: Parts) -> Router {
    let probe = HealthProbe::new(
        parts.db.clone(),
        parts.identity.clone(),
        parts.registry.clone(),
        parts.bus.clone(),
        parts.server_tls.clone(),
        Arc::clone(&parts.clock),
    );
    let metrics = Router::new()
        .route("/metrics", get(show_metrics))
        .with_state(MetricsState {
            metrics: parts.metrics,
            registry: parts.registry.clone(),
            bus: parts.bus.clone(),
            hub: parts.hub.clone(),
            jobs: parts.jobs.clone(),
            fleet: parts.fleet.clone(),
            placement: parts.placement.clone(),
            rollouts: parts.rollouts.clone(),
            agent_updates: parts.agent_updates.clone(),
            inventory: parts.inventory.clone(),
            identity: parts.identity.clone(),
            db: parts.db.clone(),
            server_tls: parts.server_tls,
            clock: Arc::clone(&parts.clock),
        });
    let text = Description::default();
    let (routes, description) = parts
        .identity
        .routes()
        .merge(parts.registry.routes(&parts.identity))
        .merge(parts.system.routes())
        .merge(parts.jobs.routes())
        .merge(parts.fleet.routes())
        .merge(parts.placement.routes())
        .merge(parts.rollouts.routes())
        .merge(parts.agent_updates.routes())
        .merge(parts.inventory.routes())
        .merge(gateway::routes(parts.db.clone(), parts.identity.clone()))
        .merge(graphql::routes(graphql::Services {
            identity: parts.identity.clone(),
            registry: parts.registry.clone(),
            system: parts.system.clone(),
            jobs: parts.jobs.clone(),
            records: gateway::RequestRecords::new(parts.db),
            clock: Arc::clone(&parts.clock),
        }))
        .merge(health::routes(probe))
        .merge(
            OpenApiRouter::new()
                .routes(routes!(show_description))
                .with_state(Arc::clone(&text)),
        )
        .split_for_parts();
    let description = web::assemble(env!("CARGO_PKG_VERSION"), [description]);
    let repeatable = web::repeatable_paths(&description);
    // Set before anything is served.
    drop(text.set(description.to_pretty_json().unwrap_or_default()));
    let routes = parts.identity.repeatable(routes, repeatable);
    let routes = kept_answers::before(routes, parts.cache, &parts.identity, &parts.clock);
    let routes = routes
        .merge(metrics)
        .merge(pages::routes())
        .merge(parts.jobs.openai_routes())
        .merge(parts.hub.routes());
    web::api_surface(routes, parts.clock).layer(from_fn(with_client_address))
}

/// Tells the domains where a request comes from, in their own type.
async fn with_client_address(mut request: Request, next: Next) -> Response {
    if let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>() {
        let address = ClientAddress(peer.ip());
        request.extensions_mut().insert(address);
    }
    next.run(request).await
}

/// Describes this API
///
/// The OpenAPI 3.1 document, for anybody.
#[utoipa::path(get, path = "/api/v1/openapi.json", operation_id = "show_description", tag = "operations",
    responses((status = 200, description = "The document.", body = Object)))]
async fn show_description(State(text): State<Description>) -> Response {
    web::json_response(text.get().cloned().unwrap_or_default())
}

async fn show_metrics(_caller: Caller, State(state): State<MetricsState>) -> Response {
    let tls = state.server_tls.as_ref();
    let parts = [
        state.metrics.render(),
        state.hub.render_metrics(),
        state.jobs.render_metrics(),
        state.fleet.render_metrics(),
        state.placement.render_metrics(),
        state.rollouts.render_metrics(),
        state.agent_updates.render_metrics(),
        state.inventory.render_metrics(),
        state.bus.render_metrics(),
        state.registry.render_agent_metrics(),
        state.db.render_metrics(),
        state.identity.render_metrics(),
        tls.map_or_else(String::new, |tls| tls::metrics(tls, state.clock.now())),
    ];
    let metrics = joined(&parts);
    ([(CONTENT_TYPE, OPEN_METRICS)], metrics).into_response()
}

/// Joins texts of metrics, each with its end mark, into one.
fn joined(parts: &[String]) -> String {
    let bodies = parts
        .iter()
        .map(|part| part.strip_suffix(END).unwrap_or(part));
    bodies.chain([END]).collect()
}
