//! The bytes that each token stands for.

use super::TokenKind;
use super::bytes::spelled;

/// Bytes by token id, kept in one block.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Pieces {
    /// Reads a byte-level vocabulary. Control tokens stand for nothing.
    pub(crate) fn byte_level(tokens: &[&str], kinds: &[TokenKind]) -> Self {
        Self::collect(tokens.iter().zip(kinds).map(|(token, kind)| match kind {
            TokenKind::Control | TokenKind::Unknown => Vec::new(),
            TokenKind::UserDefined => token.as_bytes().to_vec(),
            TokenKind::Normal | TokenKind::Byte => spelled(token),
        }))
    }

    /// Reads a `SentencePiece` vocabulary: `▁` stands for a space, `<0x0A>` for a byte.
    pub(crate) fn sentence_piece(tokens: &[&str], kinds: &[TokenKind]) -> Self {
        Self::collect(tokens.iter().zip(kinds).map(|(token, kind)| match kind {
            TokenKind::Control | TokenKind::Unknown => Vec::new(),
            TokenKind::Byte => byte_token(token).map_or_else(Vec::new, |byte| vec![byte]),
            TokenKind::Normal | TokenKind::UserDefined => token.replace('▁', " ").into_bytes(),
        }))
    }

    /// Takes the tokens as they are written.
    pub(crate) fn plain(tokens: &[&str]) -> Self {
        Self::collect(tokens.iter().map(|token| token.as_bytes().to_vec()))
    }

    fn collect(pieces: impl Iterator<Item = Vec<u8>>) -> Self {
        let mut all = Self::default();
        for piece in pieces {
            all.bytes.extend_from_slice(&piece);
            all.ends
                .push(u32::try_from(all.bytes.len()).unwrap_or(u32::MAX));
        }
        all
    }

    /// Returns every token's bytes, in the order of ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.ends.len() as u32).map(|id| self.get(id))
    }

    /// Returns a token's bytes; none for ids outside the vocabulary.
    pub(crate) fn get(&self, id: u32) -> &[u8] {
        let place = id as usize;
        let start = place
            .checked_sub(1)
            .map_or(Some(0), |before| self.ends.get(before).copied());
        match (start, self.ends.get(place)) {
            (Some(start), Some(end)) => self
                .bytes
                .get(start as usize..*end as usize)
                .unwrap_or_default(),
            _ => &[],
        }
    }
}

/// Reads a byte token's spelling, such as `<0x0A>`.
pub(crate) fn byte_token(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    u8::from_str_radix(digits, 16).ok()
}
