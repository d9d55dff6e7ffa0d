//! One try on one node: who could have taken the request, what was expected of each, and how the try ended.

use serde::Deserialize;
use serde_json::Value;

use super::super::failure::Failure;
use crate::output::{Output, Tone, millis_from_micros, wrapped};

/// How the reason begins that adds up all others: it stands first, because it is what nodes are compared by.
const EXPECTATION: &str = "expected ";

/// The columns before a candidate's name.
const MARGIN: usize = 5;

/// A try as the record has it.
#[derive(Deserialize)]
pub(super) struct Attempt {
    node: Option<String>,
    model: Option<String>,
    /// The route asked for, where only the node knows it.
    path: Option<String>,
    #[serde(default)]
    started_us: i64,
    took_us: Option<i64>,
    failure: Option<String>,
    #[serde(default)]
    continued_after_tokens: i64,
    #[serde(default)]
    candidates: Vec<Candidate>,
}

#[derive(Deserialize)]
struct Candidate {
    node: String,
    /// Higher is better; absent for one that could not be chosen.
    score: Option<f64>,
    #[serde(default)]
    reasons: Vec<Value>,
}

/// What an attempt is told with.
#[derive(Clone, Copy)]
pub(super) struct Setting<'a> {
    /// The model that the request was served by.
    pub(super) model: Option<&'a str>,
    /// The policy that chose.
    pub(super) policy: &'a str,
    /// Whether the client went away.
    pub(super) is_cancelled: bool,
}

impl Attempt {
    /// Tells the try as the `number`th.
    pub(super) fn tell(
        &self,
        out: Output,
        number: usize,
        setting: Setting<'_>,
    ) -> Result<(), Failure> {
        let to = |path: &str| format!(" at {path}");
        let path = self.path.as_deref().map_or(String::new(), to);
        let heading = match (self.node.as_deref(), self.continued_after_tokens) {
            (None, _) => "No node could be chosen".to_owned(),
            (Some(node), 0) => format!("Sent to {node}{path}"),
            (Some(node), 1) => format!("Continued on {node} after 1 token"),
            (Some(node), tokens) => format!("Continued on {node} after {tokens} tokens"),
        };
        let model = self
            .model
            .as_deref()
            .filter(|model| Some(*model) != setting.model)
            .map_or(String::new(), |model| format!(" as {model}"));
        out.line("")?;
        out.line(format!(
            "{}{model}, {} after arrival (policy {})",
            out.paint(Tone::Strong, &format!("{number}. {heading}")),
            millis_from_micros(self.started_us),
            setting.policy,
        ))?;
        let mut candidates: Vec<&Candidate> = self.candidates.iter().collect();
        candidates.sort_by(|a, b| {
            let rank = |candidate: &Candidate| candidate.score.unwrap_or(f64::NEG_INFINITY);
            rank(b).total_cmp(&rank(a))
        });
        let widest = candidates
            .iter()
            .map(|candidate| candidate.node.chars().count())
            .max()
            .unwrap_or(0);
        for candidate in candidates {
            let is_chosen = Some(candidate.node.as_str()) == self.node.as_deref();
            candidate.tell(out, widest, is_chosen)?;
        }
        if let Some(failure) = &self.failure {
            let after = self.took_us.map_or(String::new(), |took| {
                format!(" after {}", millis_from_micros(took))
            });
            let (tone, what) = if setting.is_cancelled {
                (Tone::Faint, "stopped")
            } else {
                (Tone::Bad, "failed")
            };
            for line in wrapped(&format!("{what}{after}: {failure}"), 3) {
                out.line(out.paint(tone, &format!("   {line}")))?;
            }
        }
        Ok(())
    }
}

impl Candidate {
    /// Tells what was expected of the node first, then why.
    fn tell(&self, out: Output, widest: usize, is_chosen: bool) -> Result<(), Failure> {
        let tone = match (is_chosen, self.score) {
            (true, _) => Some(Tone::Good),
            (false, None) => Some(Tone::Faint),
            (false, Some(_)) => None,
        };
        let paint = |text: &str| tone.map_or_else(|| text.to_owned(), |tone| out.paint(tone, text));
        let indent = MARGIN + widest + 2;
        let mark = if is_chosen { '→' } else { ' ' };
        let mut begin = format!("   {mark} {:<widest$}  ", self.node);
        let lines = self.paragraphs();
        for line in lines.iter().flat_map(|text| wrapped(text, indent)) {
            out.line(paint(format!("{begin}{line}").trim_end()))?;
            begin = " ".repeat(indent);
        }
        Ok(())
    }

    /// Returns what to say of the candidate: the expectation, if there is one, and the facts behind it.
    fn paragraphs(&self) -> Vec<String> {
        let (mut first, mut facts) = (Vec::new(), Vec::new());
        for reason in self.reasons.iter().map(in_words) {
            if reason.starts_with(EXPECTATION) {
                first.push(reason);
            } else {
                facts.push(reason);
            }
        }
        let facts = facts.join("; ");
        match self.score {
            None => vec![format!("could not be chosen: {facts}")],
            Some(_) if first.is_empty() && facts.is_empty() => vec!["could be chosen".to_owned()],
            Some(_) => {
                first.extend((!facts.is_empty()).then_some(facts));
                first
            }
        }
    }
}

/// Reasons are sentences. Whatever else a later server sends is shown as it came.
fn in_words(reason: &Value) -> String {
    match reason {
        Value::String(sentence) => sentence.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn candidate(value: Value) -> Candidate {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_expectation_comes_first_and_scores_do_not_show() {
        let expected = "expected first token 850 ms: 850 ms reading 900 tokens of prompt; the last after 12.3 s";
        let chosen = candidate(json!({
            "node": "gpu1", "score": -6290.0, "reasons": ["loaded with context 8192", "idle", expected]
        }));
        assert_eq!(
            chosen.paragraphs(),
            [expected, "loaded with context 8192; idle"]
        );
    }

    #[test]
    fn who_could_not_be_chosen_says_why_and_unknown_reasons_are_shown_as_they_came() {
        let excluded = candidate(json!({"node": "b", "reasons": ["draining", {"tag": "moon"}]}));
        assert_eq!(
            excluded.paragraphs(),
            [r#"could not be chosen: draining; {"tag":"moon"}"#]
        );
        let silent = candidate(json!({"node": "c", "score": 1.0}));
        assert_eq!(silent.paragraphs(), ["could be chosen"]);
    }
}
