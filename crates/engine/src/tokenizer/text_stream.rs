//! Turns a stream of bytes into text, holding back characters that are not complete yet.

/// Bytes on their way to text.
#[derive(Debug, Default)]
pub(crate) struct TextStream {
    held: Vec<u8>,
}

impl TextStream {
    /// Takes bytes and returns the text that is complete. Bytes that can never be text become U+FFFD.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> String {
        self.held.extend_from_slice(bytes);
        let mut text = String::new();
        let mut rest = self.held.as_slice();
        let keep = loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    break 0;
                }
                Err(error) => {
                    let (valid, bad) = rest.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    let Some(length) = error.error_len() else {
                        break bad.len();
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = &bad[length..];
                }
            }
        };
        let done = self.held.len() - keep;
        self.held.drain(..done);
        text
    }

    /// Returns what is left at the end: U+FFFD for an incomplete character.
    pub(crate) fn finish(&mut self) -> String {
        let rest = std::mem::take(&mut self.held);
        String::from_utf8_lossy(&rest).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_appear_only_when_complete() {
        let mut stream = TextStream::default();
        let shown: Vec<String> = "aé🐎".bytes().map(|byte| stream.push(&[byte])).collect();
        assert_eq!(shown, ["a", "", "é", "", "", "", "🐎"]);
        assert_eq!(stream.finish(), "");
    }

    #[test]
    fn impossible_bytes_are_replaced_and_the_rest_goes_on() {
        let mut stream = TextStream::default();
        assert_eq!(stream.push(b"a\xffb\xe2\x82"), "a\u{fffd}b");
        assert_eq!(stream.push(b"\xac!"), "€!");
        assert_eq!(stream.push(b"\xf0\x9f"), "");
        assert_eq!(stream.finish(), "\u{fffd}");
    }
}
