//! The deterministic model: an answer is a function of the prompt, so that two servers give the same one.

/// Words an answer is made of. Some are not ASCII, so that a cut inside a character shows.
const WORDS: [&str; 24] = [
    "amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heron", "größe", "iris",
    "jade", "kelp", "lotus", "maple", "東京", "north", "olive", "pearl", "quartz", "river", "🦙",
    "stone", "tulip", "willow",
];

/// What a scripted upstream answers to a prompt: a fixed sequence of tokens, each token the only one of its kind.
///
/// The first token has no leading space, all others have one, as with real tokenizers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    tokens: Vec<String>,
}

impl Answer {
    /// Returns the answer to `prompt`: all message text before the answer, joined by line feeds.
    ///
    /// The prompt decides the length (24 to 48 tokens) unless `tokens` or a marker in the prompt does.
    pub fn to(prompt: &str, tokens: Option<usize>) -> Self {
        let hash = finish(feed(SEED, prompt.as_bytes()));
        let count = super::directives::tokens_in(prompt)
            .or(tokens)
            .unwrap_or(24 + (hash % 25) as usize);
        let tokens = (0..count)
            .map(|at| {
                let space = if at == 0 { "" } else { " " };
                format!("{space}{}{at}", word(hash, at))
            })
            .collect();
        Self { tokens }
    }

    /// Returns the whole text.
    pub fn text(&self) -> String {
        self.tokens.concat()
    }

    /// Returns the tokens in order.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// Returns the tokens that follow `beginning`, or `None` when the answer does not begin so.
    ///
    /// A beginning that ends inside a token is continued by the rest of that token.
    pub fn after(&self, beginning: &str) -> Option<Vec<String>> {
        let mut left = beginning;
        for (at, token) in self.tokens.iter().enumerate() {
            if let Some(rest) = left.strip_prefix(token.as_str()) {
                left = rest;
            } else {
                let remainder = token.strip_prefix(left)?;
                let mut tokens = vec![remainder.to_owned()];
                tokens.extend_from_slice(&self.tokens[at + 1..]);
                return Some(tokens);
            }
        }
        left.is_empty().then(Vec::new)
    }

    /// Splits a raw prompt into what was asked and the beginning of the answer that stands at its end.
    ///
    /// The beginning counts only when it holds at least one whole token of the answer to what stands before it.
    pub fn split_raw(prompt: &str, tokens: Option<usize>) -> (&str, &str) {
        let mut state = SEED;
        for (at, character) in prompt.char_indices() {
            let first = word(finish(state), 0);
            let rest = &prompt[at..];
            let starts = rest
                .strip_prefix(first)
                .is_some_and(|rest| rest.starts_with('0'));
            if starts && Self::to(&prompt[..at], tokens).after(rest).is_some() {
                return (&prompt[..at], rest);
            }
            let mut buffer = [0; 4];
            state = feed(state, character.encode_utf8(&mut buffer).as_bytes());
        }
        (prompt, "")
    }
}

/// Returns a vector of length one that depends only on `text`.
pub(super) fn embedding(text: &str, dimensions: usize) -> Vec<f32> {
    let hash = finish(feed(SEED, text.as_bytes()));
    let raw: Vec<f32> = (0..dimensions)
        .map(|at| (finish(hash ^ (at as u64 + 1)) % 2001) as f32 / 1000.0 - 1.0)
        .collect();
    let length = raw
        .iter()
        .map(|x| x * x)
        .sum::<f32>()
        .sqrt()
        .max(f32::MIN_POSITIVE);
    raw.into_iter().map(|x| x / length).collect()
}

/// Returns how many tokens a text counts as in usage: its words.
pub(super) fn count_tokens(text: &str) -> usize {
    text.split_whitespace().count()
}

/// Where the byte-wise hash (FNV-1a) begins.
const SEED: u64 = 0xcbf2_9ce4_8422_2325;

fn feed(state: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(state, |state, byte| {
        (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Spreads the bits of a state (the finaliser of SplitMix64).
fn finish(state: u64) -> u64 {
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn word(hash: u64, at: usize) -> &'static str {
    WORDS[(finish(hash.wrapping_add(at as u64)) % WORDS.len() as u64) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_prompts_get_equal_answers_and_others_do_not() {
        assert_eq!(Answer::to("hello", None), Answer::to("hello", None));
        assert_ne!(Answer::to("hello", None), Answer::to("hello!", None));
    }

    #[test]
    fn every_beginning_is_continued_to_the_same_text() {
        let answer = Answer::to("tell me about wool", Some(30));
        let text = answer.text();
        for (cut, _) in text.char_indices() {
            let rest = answer.after(&text[..cut]).unwrap().concat();
            assert_eq!(format!("{}{rest}", &text[..cut]), text);
        }
        assert_eq!(answer.after(&text), Some(Vec::new()));
        assert_eq!(answer.after("something else"), None);
    }

    #[test]
    fn raw_prompt_gives_back_the_question_and_the_beginning() {
        let question = "<user>naïve question</user>";
        let answer = Answer::to(question, None);
        let begun = answer.tokens()[..7].concat();
        assert_eq!(
            Answer::split_raw(&format!("{question}{begun}"), None),
            (question, begun.as_str())
        );
        assert_eq!(Answer::split_raw(question, None), (question, ""));
    }
}
