//! Weighted splits over models: A/B tests and canaries.

use serde::{Deserialize, Serialize};

use crate::hashing::absorb;

/// One variant of a split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// The model that serves it.
    pub model: String,
    /// Its share, relative to the sum of all weights. 0 gets nothing.
    pub weight: u32,
}

/// Divides callers over variants by weight. Who has the same key gets the same variant, whichever gateway asks; a changed weight
/// moves only as many callers as it must.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// Names the split: the same callers fall differently in another one.
    pub name: String,
    /// The variants.
    pub variants: Vec<Variant>,
}

impl Split {
    /// Returns the variant of a caller (`key`: the user, API key or conversation that should stay with one). `None` when no
    /// variant has a weight.
    ///
    /// The highest of one weighted draw per variant wins (rendezvous hashing, Thaler and Ravishankar, 1998).
    pub fn variant(&self, key: &[u8]) -> Option<&Variant> {
        let caller = absorb(absorb(0, self.name.as_bytes()), key);
        self.variants
            .iter()
            .filter(|variant| variant.weight > 0)
            .map(|variant| {
                let drawn = absorb(caller, variant.model.as_bytes());
                let share = ((drawn >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
                (-share.ln() / f64::from(variant.weight), variant)
            })
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, variant)| variant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(weights: &[(&str, u32)]) -> Split {
        Split {
            name: "canary".to_owned(),
            variants: weights
                .iter()
                .map(|(model, weight)| Variant {
                    model: (*model).to_owned(),
                    weight: *weight,
                })
                .collect(),
        }
    }

    fn chosen(split: &Split, n: u32) -> &str {
        &split.variant(format!("user-{n}").as_bytes()).unwrap().model
    }

    #[test]
    fn callers_are_divided_by_weight_and_stay_where_they_are() {
        let canary = split(&[("stable", 95), ("next", 5), ("off", 0)]);
        let next = (0..20_000)
            .filter(|n| chosen(&canary, *n) == "next")
            .count();
        assert!((850..=1_150).contains(&next), "{next} of 20000");
        let wider = split(&[("stable", 90), ("next", 10)]);
        let lost = (0..20_000)
            .filter(|n| chosen(&canary, *n) == "next" && chosen(&wider, *n) != "next")
            .count();
        assert_eq!(lost, 0, "a wider canary keeps those it had");
        assert_eq!(split(&[("off", 0)]).variant(b"x"), None);
    }
}
