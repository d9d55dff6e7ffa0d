//! The schema: what can be asked and changed, and within which bounds.

use async_graphql::{EmptySubscription, MergedObject, Schema, SchemaBuilder};

use crate::cost;
use crate::fleet::{FleetChanges, FleetQueries};
use crate::identity::{IdentityChanges, IdentityQueries};
use crate::inference::{InferenceChanges, InferenceQueries};
use crate::system::{SystemChanges, SystemQueries};

/// What can be asked.
#[derive(Default, MergedObject)]
#[graphql(name = "Query")]
pub(crate) struct Queries(
    IdentityQueries,
    FleetQueries,
    InferenceQueries,
    SystemQueries,
);

/// What can be changed. The changes of a request are carried out one after the other, each by itself.
#[derive(Default, MergedObject)]
#[graphql(name = "Mutation")]
pub(crate) struct Changes(
    IdentityChanges,
    FleetChanges,
    InferenceChanges,
    SystemChanges,
);

pub(crate) type Api = Schema<Queries, Changes, EmptySubscription>;

pub(crate) fn builder() -> SchemaBuilder<Queries, Changes, EmptySubscription> {
    Schema::build(Queries::default(), Changes::default(), EmptySubscription)
        .limit_depth(cost::DEEPEST)
        .limit_complexity(cost::DEAREST)
        .limit_recursive_depth(cost::RECURSION)
        .limit_directives(cost::DIRECTIVES)
        .disable_suggestions()
}

/// Returns the schema in GraphQL's own language.
pub fn description() -> String {
    builder().finish().sdl()
}
