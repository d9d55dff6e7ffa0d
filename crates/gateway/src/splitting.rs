//! By whom callers are divided over the variants of a split, and what it chooses: each caller stays with one.

use std::net::IpAddr;
use std::sync::Arc;

use cluster::{RolloutSplit, RolloutVersion, model_key};
use identity::{Principal, PrincipalKind};
use primitives::NodeId;
use scheduling::{Split, Variant};

use crate::record::SplitRecord;

/// All callers, in the weights of a roll-out.
const ALL: u32 = 10_000;

/// Who calls, as far as splits care. Worked out only where there is one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SplitCaller {
    kind: PrincipalKind,
    address: IpAddr,
}

impl SplitCaller {
    pub(crate) const fn new(principal: &Principal, address: IpAddr) -> Self {
        Self {
            kind: principal.kind,
            address,
        }
    }

    /// Returns what the caller is told apart by: the key, the person, or, of callers without either, the address.
    pub(crate) fn key(self) -> String {
        match self.kind {
            PrincipalKind::Key(id) => id.to_string(),
            PrincipalKind::User(id) => id.to_string(),
            PrincipalKind::Anonymous => self.address.to_canonical().to_string(),
        }
    }
}

/// What a split chooses for a caller.
#[derive(Debug)]
pub(crate) struct Choice {
    /// The choice, as records tell it.
    pub(crate) record: Arc<SplitRecord>,
    /// The only node that may serve it.
    pub(crate) only: Option<NodeId>,
}

/// A name whose callers are divided over models.
#[derive(Debug)]
pub(crate) struct Divided {
    split: Split,
    /// One for each variant.
    choices: Vec<Choice>,
    /// The model of those whose variant cannot be had, before the name's own.
    pub(crate) otherwise: Option<String>,
}

impl Divided {
    /// Makes a split of the configuration.
    pub(crate) fn configured(name: &str, variants: &[Variant]) -> Self {
        let name = model_key(name);
        let normal = |variant: &Variant| Variant {
            model: model_key(&variant.model).into_owned(),
            weight: variant.weight,
        };
        let variants: Vec<Variant> = variants.iter().map(normal).collect();
        let choice = |variant: &Variant| Choice {
            record: Arc::new(SplitRecord {
                name: name.as_ref().into(),
                chosen: variant.model.as_str().into(),
                rollout: None,
            }),
            only: None,
        };
        Self {
            choices: variants.iter().map(choice).collect(),
            split: Split {
                name: name.into_owned(),
                variants,
            },
            otherwise: None,
        }
    }

    /// Makes the split of a roll-out. Its name is the roll-out's id, so that the first to get the new version are others each time.
    pub(crate) fn rolled_out(rollout: &RolloutSplit) -> Self {
        let share = rollout.share.min(ALL);
        let version = |model: &str, weight, version: RolloutVersion| {
            let variant = Variant {
                model: model.to_owned(),
                weight,
            };
            let choice = Choice {
                record: Arc::new(SplitRecord {
                    name: rollout.model.as_str().into(),
                    chosen: model.into(),
                    rollout: Some(rollout.choice(version)),
                }),
                only: rollout.only.filter(|_| version == RolloutVersion::New),
            };
            (variant, choice)
        };
        let (variants, choices) = [
            version(&rollout.old, ALL - share, RolloutVersion::Old),
            version(&rollout.new, share, RolloutVersion::New),
        ]
        .into_iter()
        .unzip();
        Self {
            split: Split {
                name: rollout.id.to_string(),
                variants,
            },
            choices,
            otherwise: Some(rollout.old.clone()),
        }
    }

    /// Returns what a caller gets; nothing where no variant has a weight.
    pub(crate) fn choose(&self, caller: SplitCaller) -> Option<&Choice> {
        let chosen = self.split.variant(caller.key().as_bytes())?;
        let mut variants = self.split.variants.iter();
        let position = variants.position(|variant| std::ptr::eq(variant, chosen))?;
        self.choices.get(position)
    }

    /// Lists the models of its variants.
    pub(crate) fn models(&self) -> impl Iterator<Item = &str> {
        self.split
            .variants
            .iter()
            .map(|variant| variant.model.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use primitives::{RolloutId, Timestamp};

    use super::*;

    fn rollout(share: u32) -> Divided {
        Divided::rolled_out(&RolloutSplit {
            id: RolloutId::first_at(Timestamp::from_micros(1)),
            model: "m".to_owned(),
            old: "m".to_owned(),
            new: "n".to_owned(),
            share,
            stage: Some(0),
            only: Some(NodeId::first_at(Timestamp::from_micros(1))),
        })
    }

    fn new_ones(divided: &Divided) -> Vec<u32> {
        let gets_new = |n: &u32| {
            let caller = SplitCaller {
                kind: PrincipalKind::Anonymous,
                address: IpAddr::V4(Ipv4Addr::from(*n)),
            };
            let choice = divided.choose(caller).unwrap();
            let is_new = &*choice.record.chosen == "n";
            assert_eq!(choice.only.is_some(), is_new);
            is_new
        };
        (0..10_000).filter(gets_new).collect()
    }

    #[test]
    fn a_larger_stage_keeps_the_callers_of_the_one_before() {
        let (none, some, all) = (rollout(0), rollout(1_000), rollout(ALL));
        assert_eq!(new_ones(&none), Vec::<u32>::new());
        assert_eq!(new_ones(&all).len(), 10_000);
        let before = new_ones(&some);
        assert!((850..=1_150).contains(&before.len()), "{}", before.len());
        let after = new_ones(&rollout(5_000));
        assert!(before.iter().all(|caller| after.contains(caller)));
    }
}
