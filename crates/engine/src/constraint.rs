//! Answers that must have a form: before each token, those that would break it are ruled out.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};

use crate::error::EngineError;
use crate::tokenizer::Tokenizer;

/// The white space allowed between the parts of JSON: bounded, so that a small model cannot lose itself in it.
const WHITE_SPACE: &str = r"[ \n]{0,24}";

/// The form that an answer must have.
#[derive(Clone, Debug, PartialEq)]
pub enum Constraint {
    /// Any JSON object.
    Json,
    /// JSON that satisfies this JSON Schema. References may only point into the schema itself.
    Schema(Value),
}

impl Constraint {
    fn grammar(&self) -> TopLevelGrammar {
        let mut schema = match self {
            Self::Json => json!({ "type": "object" }),
            Self::Schema(schema) => schema.clone(),
        };
        if let Some(schema) = schema.as_object_mut() {
            schema.insert(
                "x-guidance".to_owned(),
                json!({ "whitespace_pattern": WHITE_SPACE }),
            );
        }
        TopLevelGrammar::from_json_schema(schema)
    }
}

/// What following constraints needs to know about a model's vocabulary.
pub(crate) struct Grammars {
    factory: ParserFactory,
}

impl Grammars {
    /// Sorts a vocabulary, which takes a moment for a big one.
    pub(crate) fn new(tokenizer: &Tokenizer) -> Result<Self, EngineError> {
        let Some((&end, _)) = tokenizer.ends().split_first() else {
            return Err(EngineError::Unsupported(
                "the model has no token that ends an answer, so its answers cannot be constrained"
                    .to_owned(),
            ));
        };
        let words: Vec<Vec<u8>> = tokenizer.pieces().iter().map(<[u8]>::to_vec).collect();
        let info = TokRxInfo::new(words.len() as u32, end);
        // The library asserts what it needs of a vocabulary.
        let factory = catch_unwind(AssertUnwindSafe(|| {
            let trie = TokTrie::from(&info, &words).with_eos_tokens(tokenizer.ends());
            let vocabulary: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
            ParserFactory::new_simple(&vocabulary)
        }));
        let mut factory = factory
            .map_err(|_| failed(&"the vocabulary is not usable"))?
            .map_err(|error| failed(&error))?;
        factory.quiet().limits_mut().verbose_errors = false;
        Ok(Self { factory })
    }

    /// Starts following a constraint, or refuses it with the reason.
    pub(crate) fn follow(&self, constraint: &Constraint) -> Result<Follower, EngineError> {
        let grammar = constraint.grammar();
        let parser = catch_unwind(AssertUnwindSafe(|| self.factory.create_parser(grammar)));
        let matcher = match parser {
            Ok(parser) => Matcher::new(parser),
            Err(_) => return Err(failed(&"reading the schema panicked")),
        };
        match matcher.get_error() {
            Some(reason) => Err(EngineError::Invalid(format!(
                "the answer's JSON schema cannot be followed: {reason}"
            ))),
            None => Ok(Follower { matcher }),
        }
    }
}

/// One answer's way through its constraint.
pub(crate) struct Follower {
    matcher: Matcher,
}

impl Follower {
    /// Rules out every token that would break the form.
    pub(crate) fn restrict(&mut self, scores: &mut [f32]) -> Result<(), EngineError> {
        let allowed = self
            .matcher
            .compute_mask()
            .map_err(|error| failed(&error))?;
        for (place, score) in scores.iter_mut().enumerate() {
            if place >= allowed.len() || !allowed.get(place) {
                *score = f32::NEG_INFINITY;
            }
        }
        Ok(())
    }

    /// Takes the token that was chosen. Returns whether the answer is complete and nothing may follow.
    pub(crate) fn accept(&mut self, token: u32) -> Result<bool, EngineError> {
        self.matcher
            .consume_token(token)
            .map_err(|error| failed(&error))?;
        Ok(self.matcher.is_stopped())
    }
}

fn failed(error: &impl std::fmt::Display) -> EngineError {
    EngineError::Failed(format!("following the constraint failed: {error}"))
}
