//! From the sections of the configuration to what the data plane wants.

use std::collections::{BTreeMap, HashMap};

use gateway::{CoalescingRules, GatewayConfig, ModelRouting};
use scheduling::Variant;

use crate::config::Config;

/// Translates the configuration for the data plane.
pub(super) fn gateway_config(config: &Config) -> GatewayConfig {
    let defaults = GatewayConfig::default();
    let mut models = HashMap::new();
    let mut aliases: HashMap<String, String> = config
        .aliases
        .iter()
        .map(|(alias, model)| (alias.clone(), model.clone()))
        .collect();
    for (name, section) in &config.models {
        for alias in &section.aliases {
            aliases.insert(alias.clone(), name.clone());
        }
        models.insert(
            cluster::model_key(name).into_owned(),
            ModelRouting {
                policy: section.policy,
                fallbacks: section.fallbacks.clone(),
                require_tags: section.require_tags.clone(),
                cost: section.cost,
                split: variants(&section.split),
            },
        );
    }
    GatewayConfig {
        workers: config.server.workers.unwrap_or(defaults.workers),
        body_limit: usize::try_from(config.server.body_limit.0).unwrap_or(usize::MAX),
        body_memory: usize::try_from(config.server.body_memory.0).unwrap_or(usize::MAX),
        allowed_origins: config.server.allowed_origins.clone(),
        max_connections: config.server.max_connections,
        max_in_flight: config.server.max_in_flight,
        header_timeout: config.server.header_timeout.0,
        body_timeout: config.server.body_timeout.0,
        connect_timeout: config.routing.connect_timeout.0,
        first_token_timeout: config.routing.first_token_timeout.0,
        stall_timeout: config.routing.stall_timeout.0,
        unary_timeout: config.routing.answer_timeout.0,
        keep_alive_interval: config.routing.keep_alive_interval.0,
        max_attempts: config.routing.max_attempts,
        max_continuations: config.routing.max_continuations,
        coalescing: CoalescingRules {
            enabled: config.coalescing.enabled,
            window: config.coalescing.window.0,
            max_inputs: config.coalescing.max_inputs,
            max_bytes: usize::try_from(config.coalescing.max_bytes.0).unwrap_or(usize::MAX),
        },
        policy: config.routing.policy,
        models,
        aliases,
        record_buffer: config.requests.buffer,
        record_retention: Some(config.requests.retention.0),
        limits: config.limits.callers(),
        trusted_proxies: config.limits.proxies(),
    }
}

fn variants(split: &BTreeMap<String, u32>) -> Vec<Variant> {
    let variants = split.iter().map(|(model, weight)| Variant {
        model: model.clone(),
        weight: *weight,
    });
    variants.collect()
}
