//! Ends an answer at a stop text, which may be spread over several tokens: text that could still become one is held back.

/// The stop texts of one answer and the text that is held back.
#[derive(Debug)]
pub(crate) struct StopFilter {
    stops: Vec<String>,
    held: String,
}

/// What became of a piece of text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Filtered {
    /// Text that may be shown.
    pub(crate) text: String,
    /// Whether a stop text was found; nothing after it is shown.
    pub(crate) stopped: bool,
}

impl StopFilter {
    /// Makes a filter; empty stop texts are ignored.
    pub(crate) fn new(stops: &[String]) -> Self {
        Self {
            stops: stops
                .iter()
                .filter(|stop| !stop.is_empty())
                .cloned()
                .collect(),
            held: String::new(),
        }
    }

    /// Takes more text.
    pub(crate) fn push(&mut self, text: &str) -> Filtered {
        self.held.push_str(text);
        let found = self
            .stops
            .iter()
            .filter_map(|stop| self.held.find(stop.as_str()))
            .min();
        if let Some(place) = found {
            self.held.truncate(place);
            return Filtered {
                text: std::mem::take(&mut self.held),
                stopped: true,
            };
        }
        let keep = self.held.len() - self.possible_start();
        Filtered {
            text: self.held.drain(..keep).collect(),
            stopped: false,
        }
    }

    /// Returns the text held back, at the end of the answer.
    pub(crate) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Returns the length of the longest end of the held text with which a stop text begins.
    fn possible_start(&self) -> usize {
        self.stops
            .iter()
            .filter_map(|stop| {
                stop.char_indices()
                    .map(|(length, _)| length)
                    .rev()
                    .find(|length| self.held.ends_with(&stop[..*length]))
            })
            .max()
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (Vec<String>, bool) {
        let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let mut filter = StopFilter::new(&stops);
        let mut shown = Vec::new();
        for piece in pieces {
            let Filtered { text, stopped } = filter.push(piece);
            shown.push(text);
            if stopped {
                return (shown, true);
            }
        }
        shown.push(filter.finish());
        (shown, false)
    }

    #[test]
    fn a_stop_text_across_pieces_is_never_shown() {
        let (shown, stopped) = run(&["</end>"], &["one <", "/e", "nd> two"]);
        assert_eq!(shown, ["one ", "", ""]);
        assert!(stopped);
    }

    #[test]
    fn text_that_only_looked_like_a_stop_is_shown_later() {
        let (shown, stopped) = run(&["</end>"], &["a <", "/em", " b <"]);
        assert_eq!(shown, ["a ", "</em", " b ", "<"]);
        assert!(!stopped);
    }

    #[test]
    fn the_earliest_of_several_stops_counts() {
        assert_eq!(run(&["b", "é"], &["xéb"]), (vec!["x".to_owned()], true));
        assert_eq!(
            run(&["", "zz"], &["xz"]),
            (vec!["x".to_owned(), "z".to_owned()], false)
        );
    }
}
