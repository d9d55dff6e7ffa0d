//! GPT-2's printable spelling of bytes: each byte stands as one visible character in the vocabulary.

use std::collections::HashMap;
use std::sync::LazyLock;

static BYTES: LazyLock<HashMap<char, u8>> = LazyLock::new(|| {
    let visible = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let mut map: HashMap<char, u8> = (0..=255u8)
        .filter(visible)
        .map(|byte| (char::from(byte), byte))
        .collect();
    let hidden = (0..=255u8).filter(|byte| !visible(byte));
    map.extend((0x100u32..).filter_map(char::from_u32).zip(hidden));
    map
});

/// Turns a token's printable spelling into its bytes. Characters outside the spelling stand for themselves.
pub(crate) fn spelled(token: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(token.len());
    for character in token.chars() {
        match BYTES.get(&character) {
            Some(byte) => bytes.push(*byte),
            None => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_one_spelling() {
        assert_eq!(BYTES.len(), 256);
        assert_eq!(spelled("Ġhello"), b" hello");
        assert_eq!(spelled("Ċ"), b"\n");
        assert_eq!(spelled("Ã©"), "é".as_bytes());
    }
}
