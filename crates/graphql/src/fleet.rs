//! Nodes and models.

use std::sync::Arc;

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use cluster::{ModelView, NodeSpec, NodeView};
use identity::Admin;
use primitives::{Cursor, Page, PageRequest, Secret};

use crate::cost;
use crate::error::{invalid, refused};
use crate::page::{PageOf, searched, wanted};
use crate::session::{by, services};

/// A server of models.
#[derive(SimpleObject)]
pub(crate) struct Node {
    /// Its id.
    id: ID,
    /// Its name.
    name: String,
    /// Which API it speaks.
    kind: &'static str,
    /// Where it is; absent for the embedded engine.
    url: Option<String>,
    /// What it is good for: `new`, `ready`, `busy`, `suspect`, `unhealthy` or `draining`.
    state: &'static str,
    /// Whether it gets nothing new.
    draining: bool,
    /// Its program's version.
    version: Option<String>,
    /// Labels that calls can require.
    tags: Vec<String>,
    /// Where it stands, for people.
    region: Option<String>,
    /// The operator's preference.
    weight: f32,
    /// Requests that the gateway has there now.
    in_flight: u32,
    /// The names of its models.
    models: Vec<String>,
    /// Why the last probe failed.
    last_error: Option<String>,
    /// When it was added.
    created_at: String,
}

impl From<&NodeView> for Node {
    fn from(node: &NodeView) -> Self {
        Self {
            id: node.id.to_string().into(),
            name: node.name.to_string(),
            kind: node.kind.as_str(),
            url: node.url.as_ref().map(|url| url.as_str().to_owned()),
            state: node.state.as_str(),
            draining: node.draining,
            version: node.version.as_deref().map(str::to_owned),
            tags: node.tags.to_vec(),
            region: node.region.as_deref().map(str::to_owned),
            weight: node.weight,
            in_flight: node.activity.in_flight(),
            models: node
                .models
                .iter()
                .map(|model| model.name.to_string())
                .collect(),
            last_error: node.last_error.as_deref().map(str::to_owned),
            created_at: node.created_at.to_rfc3339(),
        }
    }
}

/// A model of the fleet.
#[derive(SimpleObject)]
pub(crate) struct Model {
    /// The name under which all spellings of it count as one.
    name: String,
    /// The size of its files in bytes.
    size_bytes: Option<u64>,
    /// The largest context any node gives it, in tokens.
    context_length: Option<u32>,
    /// What it can do.
    capabilities: Vec<String>,
    /// The names of the nodes that have it.
    nodes: Vec<String>,
    /// The names of those that have it in memory.
    loaded_on: Vec<String>,
}

/// A node to add.
#[derive(InputObject)]
pub(crate) struct NewNode {
    /// Its name.
    name: String,
    /// Where it is.
    url: String,
    /// What to present to it. Stored encrypted, never shown.
    #[graphql(secret)]
    api_key: Option<String>,
    /// Labels that calls can require.
    tags: Option<Vec<String>>,
    /// Where it stands, for people.
    region: Option<String>,
}

fn node_name((node, _): &(&Arc<NodeView>, &ModelView)) -> String {
    node.name.to_string()
}

/// Cuts a page out of names in their order.
fn cut(
    names: impl Iterator<Item = String>,
    contains: Option<&str>,
    page: &PageRequest,
) -> Result<Page<String>> {
    let after = page.cursor.as_deref().map(Cursor::key).transpose();
    let after = after.map_err(|error| invalid(error.to_string()))?;
    let contains = contains.map(str::to_lowercase);
    let fits = |name: &String| {
        let contains = contains.as_deref();
        contains.is_none_or(|text| name.to_lowercase().contains(text))
    };
    let mut names: Vec<String> = names.filter(fits).collect();
    names.sort_unstable();
    let total = names.len() as u64;
    names.retain(|name| after.as_ref().is_none_or(|after| name > after));
    names.truncate(page.size() as usize + 1);
    Ok(Page::from_overfetched(names, page.size(), Clone::clone).of_total(total))
}

#[derive(Default)]
pub(crate) struct FleetQueries;

/// Nodes and models.
#[Object]
impl FleetQueries {
    /// Nodes, by name. For administrators of the platform.
    #[graphql(complexity = "cost::page(first, child_complexity)")]
    async fn nodes(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        contains: Option<String>,
    ) -> Result<PageOf<Node>> {
        let _admin: Admin = by(ctx).await?;
        let (page, contains) = (wanted(first, after)?, searched(contains)?);
        let snapshot = services(ctx)?.registry.snapshot();
        let names = snapshot.nodes.iter().map(|node| node.name.to_string());
        let page = cut(names, contains.as_deref(), &page)?;
        let shown = page.items.iter().filter_map(|name| {
            let found = snapshot.nodes.iter().find(|node| *node.name == **name);
            found.map(|node| Node::from(&**node))
        });
        Ok(PageOf {
            items: shown.collect(),
            next_cursor: page.next_cursor,
            total: page.total,
        })
    }

    /// One node, by name or id. For administrators of the platform.
    async fn node(&self, ctx: &Context<'_>, name: String) -> Result<Node> {
        let _admin: Admin = by(ctx).await?;
        let found = services(ctx)?.registry.load_node(&name);
        found.map(|node| Node::from(&*node)).map_err(refused)
    }

    /// Models, by name. For administrators of the platform.
    #[graphql(complexity = "cost::page(first, child_complexity)")]
    async fn models(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        contains: Option<String>,
    ) -> Result<PageOf<Model>> {
        let _admin: Admin = by(ctx).await?;
        let (page, contains) = (wanted(first, after)?, searched(contains)?);
        let snapshot = services(ctx)?.registry.snapshot();
        let page = cut(
            snapshot.by_model.keys().cloned(),
            contains.as_deref(),
            &page,
        )?;
        Ok(PageOf::of(page, |name| {
            let replicas = snapshot.by_model.get(&name).into_iter().flatten();
            let views: Vec<_> = replicas
                .filter_map(|replica| snapshot.resolve(*replica))
                .collect();
            let loaded = views.iter().filter(|(_, model)| model.loaded.is_some());
            let capabilities = views.iter().map(|(_, model)| &model.capabilities);
            Model {
                size_bytes: views.iter().find_map(|(_, model)| model.size_bytes),
                context_length: views
                    .iter()
                    .filter_map(|(_, model)| model.context_length)
                    .max(),
                capabilities: capabilities
                    .max_by_key(|all| all.len())
                    .cloned()
                    .unwrap_or_default(),
                nodes: views.iter().map(node_name).collect(),
                loaded_on: loaded.map(node_name).collect(),
                name,
            }
        }))
    }
}

#[derive(Default)]
pub(crate) struct FleetChanges;

/// Nodes.
#[Object]
impl FleetChanges {
    /// Adds a node after asking what answers there. For administrators of the platform.
    #[graphql(complexity = "cost::CHANGE + child_complexity")]
    async fn add_node(&self, ctx: &Context<'_>, input: NewNode) -> Result<Node> {
        let admin: Admin = by(ctx).await?;
        let spec = NodeSpec {
            api_key: input.api_key.map(Secret::new),
            tags: input.tags.unwrap_or_default(),
            region: input.region,
            ..NodeSpec::new(input.name, input.url)
        };
        let added = services(ctx)?.registry.add_node(spec, &admin.actor()).await;
        added.map(|added| Node::from(&*added.node)).map_err(refused)
    }

    /// Has a node get nothing new. For administrators of the platform.
    #[graphql(complexity = "cost::CHANGE + child_complexity")]
    async fn drain_node(&self, ctx: &Context<'_>, name: String) -> Result<Node> {
        let admin: Admin = by(ctx).await?;
        let drained = services(ctx)?
            .registry
            .drain_node_by(&name, &admin.actor())
            .await;
        drained.map(|node| Node::from(&*node)).map_err(refused)
    }

    /// Has a node get work again. For administrators of the platform.
    #[graphql(complexity = "cost::CHANGE + child_complexity")]
    async fn undrain_node(&self, ctx: &Context<'_>, name: String) -> Result<Node> {
        let admin: Admin = by(ctx).await?;
        let undrained = services(ctx)?
            .registry
            .undrain_node(&name, &admin.actor())
            .await;
        undrained.map(|node| Node::from(&*node)).map_err(refused)
    }

    /// Removes a node. For administrators of the platform.
    #[graphql(complexity = "cost::CHANGE")]
    async fn remove_node(&self, ctx: &Context<'_>, name: String) -> Result<bool> {
        let admin: Admin = by(ctx).await?;
        let removed = services(ctx)?
            .registry
            .remove_node(&name, &admin.actor())
            .await;
        removed.map(|()| true).map_err(refused)
    }
}
