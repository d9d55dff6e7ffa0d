//! Which keys exist. The lists come from the section types themselves, so that they cannot go out of date.

use std::fmt;

use scheduling::queue::QueueLimits;
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use super::{
    AgentsSection, AuthSection, CacheSection, CoalescingSection, Config, DiscoverySection,
    EngineSection, InventorySection, JobsSection, LimitsSection, LogSection, ModelSection,
    NodeSection, OutboundSection, PlacementSection, ProbesSection, RealtimeSection, RedisSection,
    RequestsSection, RoutingSection, ServerSection, StatisticsSection, StoreSection,
};

/// What a section looks like.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// `[section]` with these keys.
    Table(&'static [&'static str]),
    /// `[section."NAME"]` with these keys.
    Named(&'static [&'static str]),
    /// `[section]` with any key and a text each.
    Texts,
    /// `[[section]]` with these keys.
    List(&'static [&'static str]),
}

/// Lists the sections.
pub(super) fn sections() -> &'static [&'static str] {
    fields::<Config>()
}

/// Returns a section's shape, `None` when there is no such section.
pub(super) fn shape(section: &str) -> Option<Shape> {
    Some(match section {
        "server" => Shape::Table(fields::<ServerSection>()),
        "auth" => Shape::Table(fields::<AuthSection>()),
        "store" => Shape::Table(fields::<StoreSection>()),
        "engine" => Shape::Table(fields::<EngineSection>()),
        "routing" => Shape::Table(fields::<RoutingSection>()),
        "coalescing" => Shape::Table(fields::<CoalescingSection>()),
        "models" => Shape::Named(fields::<ModelSection>()),
        "aliases" => Shape::Texts,
        "redis" => Shape::Table(fields::<RedisSection>()),
        "cache" => Shape::Table(fields::<CacheSection>()),
        "queue" => Shape::Table(fields::<QueueLimits>()),
        "limits" => Shape::Table(fields::<LimitsSection>()),
        "realtime" => Shape::Table(fields::<RealtimeSection>()),
        "jobs" => Shape::Table(fields::<JobsSection>()),
        "placement" => Shape::Table(fields::<PlacementSection>()),
        "inventory" => Shape::Table(fields::<InventorySection>()),
        "requests" => Shape::Table(fields::<RequestsSection>()),
        "statistics" => Shape::Table(fields::<StatisticsSection>()),
        "outbound" => Shape::Table(fields::<OutboundSection>()),
        "log" => Shape::Table(fields::<LogSection>()),
        "nodes" => Shape::List(fields::<NodeSection>()),
        "probes" => Shape::Table(fields::<ProbesSection>()),
        "discovery" => Shape::Table(fields::<DiscoverySection>()),
        "agents" => Shape::Table(fields::<AgentsSection>()),
        _ => return None,
    })
}

/// Returns the section that has `key`, for a key written outside of any section.
pub(super) fn section_with(key: &str) -> Option<&'static str> {
    sections()
        .iter()
        .copied()
        .find(|section| matches!(shape(section), Some(Shape::Table(keys)) if keys.contains(&key)))
}

/// Asks a struct for its field names by starting to deserialise it.
fn fields<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    match T::deserialize(FieldQuestion) {
        Err(FieldAnswer(names)) => names,
        Ok(_) => &[],
    }
}

struct FieldQuestion;

#[derive(Debug)]
struct FieldAnswer(&'static [&'static str]);

impl fmt::Display for FieldAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

impl std::error::Error for FieldAnswer {}

impl de::Error for FieldAnswer {
    fn custom<T: fmt::Display>(_message: T) -> Self {
        Self(&[])
    }
}

impl<'de> Deserializer<'de> for FieldQuestion {
    type Error = FieldAnswer;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, FieldAnswer> {
        Err(FieldAnswer(&[]))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, FieldAnswer> {
        Err(FieldAnswer(fields))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_has_a_shape_and_its_keys() {
        assert!(sections().len() > 10);
        for section in sections() {
            match shape(section) {
                Some(Shape::Table(keys) | Shape::Named(keys) | Shape::List(keys)) => {
                    assert!(!keys.is_empty(), "{section}");
                }
                Some(Shape::Texts) => {}
                None => panic!("[{section}] has no shape"),
            }
        }
    }
}
