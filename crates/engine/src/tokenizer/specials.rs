//! Finds special tokens written in a text, longest first.

use std::collections::HashMap;

use super::TokenKind;

/// The special tokens of a vocabulary.
#[derive(Debug, Default)]
pub(crate) struct Specials {
    texts: HashMap<u32, String>,
    /// By first byte, longest first.
    by_first: HashMap<u8, Vec<(String, u32)>>,
}

/// A stretch of text between special tokens, or one of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    Text(&'a str),
    Special(u32),
}

impl Specials {
    pub(crate) fn new(tokens: &[&str], kinds: &[TokenKind]) -> Self {
        let mut specials = Self::default();
        for (id, (token, kind)) in (0u32..).zip(tokens.iter().zip(kinds)) {
            if !matches!(kind, TokenKind::Control | TokenKind::UserDefined) {
                continue;
            }
            if let Some(first) = token.bytes().next() {
                specials.texts.insert(id, (*token).to_owned());
                specials
                    .by_first
                    .entry(first)
                    .or_default()
                    .push(((*token).to_owned(), id));
            }
        }
        for list in specials.by_first.values_mut() {
            list.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.1.cmp(&b.1)));
        }
        specials
    }

    /// Finds a special token by its text.
    pub(crate) fn find(&self, text: &str) -> Option<u32> {
        let list = self.by_first.get(&text.bytes().next()?)?;
        list.iter()
            .find(|(token, _)| token == text)
            .map(|(_, id)| *id)
    }

    /// Returns a special token's text; empty for ordinary tokens.
    pub(crate) fn text(&self, id: u32) -> &str {
        self.texts.get(&id).map_or("", String::as_str)
    }

    /// Cuts a text at its special tokens.
    pub(crate) fn split<'a>(&self, text: &'a str) -> Vec<Part<'a>> {
        let mut parts = Vec::new();
        let (mut start, mut place) = (0, 0);
        let bytes = text.as_bytes();
        while let Some(byte) = bytes.get(place) {
            let rest = &bytes[place..];
            let found = self.by_first.get(byte).and_then(|list| {
                list.iter()
                    .find(|(token, _)| rest.starts_with(token.as_bytes()))
            });
            let Some((token, id)) = found else {
                place += 1;
                continue;
            };
            push_text(&mut parts, &text[start..place]);
            parts.push(Part::Special(*id));
            place += token.len();
            start = place;
        }
        push_text(&mut parts, &text[start..]);
        parts
    }
}

fn push_text<'a>(parts: &mut Vec<Part<'a>>, text: &'a str) {
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_special_token_wins() {
        let tokens = ["a", "<|x|>", "<|x|><|y|>", "é<"];
        let kinds = [
            TokenKind::Normal,
            TokenKind::Control,
            TokenKind::Control,
            TokenKind::UserDefined,
        ];
        let specials = Specials::new(&tokens, &kinds);
        assert_eq!(
            specials.split("a<|x|><|y|>b<|x|>"),
            [
                Part::Text("a"),
                Part::Special(2),
                Part::Text("b"),
                Part::Special(1)
            ]
        );
        assert_eq!(
            specials.split("éé<é"),
            [Part::Text("é"), Part::Special(3), Part::Text("é")]
        );
        assert_eq!(specials.find("<|x|>"), Some(1));
        assert_eq!(specials.find("a"), None);
    }
}
