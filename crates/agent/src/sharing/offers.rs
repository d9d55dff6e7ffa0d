//! What the control plane has said that other nodes may fetch.

use std::sync::Arc;
use std::time::Duration;

use primitives::Timestamp;

use super::manifest::Manifest;
use super::model_name::ModelName;

/// The most offers that stand at the same time.
pub(crate) const MOST_OFFERS: usize = 64;
/// The longest that an offer stands.
const LONGEST: Duration = Duration::from_hours(24);

/// A model that one node may fetch.
#[derive(Clone, Debug)]
struct Offer {
    node: String,
    name: ModelName,
    manifest: Arc<Manifest>,
    until: Timestamp,
}

/// The offers that stand.
#[derive(Debug, Default)]
pub(crate) struct Offers(Vec<Offer>);

impl Offers {
    /// Lets a node fetch a model, in place of what it could fetch of that name. `false`: too many offers stand.
    pub(crate) fn put(
        &mut self,
        node: &str,
        name: &ModelName,
        manifest: Arc<Manifest>,
        (now, stands_for): (Timestamp, Duration),
    ) -> bool {
        self.0
            .retain(|offer| offer.until > now && !(offer.node == node && offer.name == *name));
        if self.0.len() >= MOST_OFFERS {
            return false;
        }
        self.0.push(Offer {
            node: node.to_owned(),
            name: name.clone(),
            manifest,
            until: now.after(stands_for.min(LONGEST)),
        });
        true
    }

    /// Finds the manifest that a node may have.
    pub(crate) fn manifest(
        &self,
        node: &str,
        name: &ModelName,
        now: Timestamp,
    ) -> Option<Arc<Manifest>> {
        let mut standing = self.standing(node, now);
        let offer = standing.find(|offer| offer.name == *name)?;
        Some(Arc::clone(&offer.manifest))
    }

    /// Finds the size of a file that a node may have, as one of a model of this name.
    pub(crate) fn file(
        &self,
        node: &str,
        name: [&str; 3],
        hex: &str,
        now: Timestamp,
    ) -> Option<u64> {
        let mut standing = self.standing(node, now);
        standing.find_map(|offer| {
            let size = offer.manifest.files.get(hex)?;
            offer.name.is_of(name).then_some(*size)
        })
    }

    fn standing<'o>(&'o self, node: &'o str, now: Timestamp) -> impl Iterator<Item = &'o Offer> {
        self.0
            .iter()
            .filter(move |offer| offer.node == node && offer.until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_is_for_one_node_and_one_model_and_ends() {
        let hex = "ab".repeat(32);
        let text = format!(
            r#"{{"config":{{"digest":"sha256:{hex}","size":3}},"layers":[{{"digest":"sha256:{hex}","size":3}}]}}"#
        );
        let manifest = Arc::new(Manifest::read(text.into()).unwrap());
        let name = ModelName::parse("m:1b").unwrap();
        let other = ModelName::parse("n:1b").unwrap();
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        let hour = Duration::from_hours(1);
        let mut offers = Offers::default();
        assert!(offers.put("a", &name, Arc::clone(&manifest), (at(0), hour)));
        let path = ["registry.ollama.ai", "library", "m"];
        assert!(offers.manifest("a", &name, at(10)).is_some());
        assert_eq!(offers.file("a", path, &hex, at(10)), Some(3));
        assert!(offers.manifest("b", &name, at(10)).is_none());
        assert!(offers.manifest("a", &other, at(10)).is_none());
        assert_eq!(offers.file("a", ["h", "library", "m"], &hex, at(10)), None);
        assert_eq!(offers.file("a", path, &"00".repeat(32), at(10)), None);
        assert!(offers.manifest("a", &name, at(3_600)).is_none());
        for number in 0..MOST_OFFERS {
            let node = number.to_string();
            assert!(offers.put(&node, &name, Arc::clone(&manifest), (at(4_000), hour)));
        }
        assert!(!offers.put("a", &name, Arc::clone(&manifest), (at(4_000), hour)));
        assert!(offers.put("0", &name, Arc::clone(&manifest), (at(4_000), hour)));
        assert!(
            offers.put("a", &name, manifest, (at(8_000), hour)),
            "those before have ended"
        );
    }
}
