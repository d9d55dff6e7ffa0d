//! Names of models, digests and ranges as they come over the wire: taken apart strictly, so that nothing else ever becomes part of a path.

use std::path::{Path, PathBuf};

/// Where models come from that name no host, and whose they are that name nobody.
const HOST: &str = "registry.ollama.ai";
const NAMESPACE: &str = "library";
const TAG: &str = "latest";
/// The longest host, and the longest of the other parts.
const LONGEST_HOST: usize = 350;
const LONGEST_PART: usize = 80;
/// The hex digits of a digest.
const HEX: usize = 64;

/// The four parts of a model's full name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ModelName {
    host: String,
    namespace: String,
    model: String,
    tag: String,
}

impl ModelName {
    /// Reads `[[HOST/]NAMESPACE/]MODEL[:TAG]`; `None` for anything that Ollama would not take for a name.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (rest, last) = match text.rsplit_once('/') {
            Some((rest, last)) => (Some(rest), last),
            None => (None, text),
        };
        let (model, tag) = last.split_once(':').unwrap_or((last, TAG));
        let (host, namespace) = match rest {
            None => (HOST, NAMESPACE),
            Some(rest) => rest.split_once('/').unwrap_or((HOST, rest)),
        };
        Self::of_parts([host, namespace, model, tag])
    }

    /// Takes the four parts, each of which must be one.
    pub(crate) fn of_parts([host, namespace, model, tag]: [&str; 4]) -> Option<Self> {
        let fits = is_part(host, LONGEST_HOST, ".-_:")
            && is_part(namespace, LONGEST_PART, "-_")
            && is_part(model, LONGEST_PART, ".-_")
            && is_part(tag, LONGEST_PART, ".-_");
        fits.then(|| Self {
            host: host.to_owned(),
            namespace: namespace.to_owned(),
            model: model.to_owned(),
            tag: tag.to_owned(),
        })
    }

    /// Returns where the model's manifest is below the models directory.
    pub(crate) fn manifest_in(&self, models: &Path) -> PathBuf {
        let parts = [&self.host, &self.namespace, &self.model, &self.tag];
        parts
            .iter()
            .fold(models.join("manifests"), |path, part| path.join(part))
    }

    /// Returns the paths at which a node that shares files has the manifest, and above the blobs.
    pub(crate) fn paths(&self) -> (String, String) {
        let name = format!("/v2/{}/{}/{}", self.host, self.namespace, self.model);
        (
            format!("{name}/manifests/{}", self.tag),
            format!("{name}/blobs/"),
        )
    }

    /// Tells whether a path leads to a model of this name but for the tag, which stands with manifests alone.
    pub(crate) fn is_of(&self, [host, namespace, model]: [&str; 3]) -> bool {
        self.host == host && self.namespace == namespace && self.model == model
    }
}

/// A part of a name begins with a letter, a digit or `_`, and goes on with these or `also`.
fn is_part(text: &str, longest: usize, also: &str) -> bool {
    let mut chars = text.chars();
    let first = chars.next();
    text.len() <= longest
        && first.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || also.contains(c))
}

/// Returns the hex digits of `sha256:…`, which are all that ever becomes part of a path.
pub(crate) fn hex_of(digest: &str) -> Option<&str> {
    let hex = digest.strip_prefix("sha256:")?;
    is_hex(hex).then_some(hex)
}

/// Tells whether a text is the 64 hex digits of a digest, in lower case.
pub(crate) fn is_hex(text: &str) -> bool {
    let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == HEX && text.bytes().all(lower)
}

/// What of a file a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Whole,
    /// From the first byte up to and without the second.
    Part(u64, u64),
    /// A part that the file does not have.
    Beyond,
}

/// Reads a `Range` header for a file of `size` bytes. What asks for several parts, or cannot be read, asks for the whole (RFC 9110,
/// section 14.2).
pub(crate) fn wanted(range: Option<&str>, size: u64) -> Wanted {
    let Some((first, last)) = range
        .and_then(|range| range.strip_prefix("bytes="))
        .and_then(|range| range.split_once('-'))
    else {
        return Wanted::Whole;
    };
    let (start, end) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(start), Ok(last)) if last >= start => (start, last.saturating_add(1).min(size)),
        (Ok(start), Err(_)) if last.is_empty() => (start, size),
        (Err(_), Ok(count)) if first.is_empty() => (size.saturating_sub(count), size),
        _ => return Wanted::Whole,
    };
    if start >= end {
        return Wanted::Beyond;
    }
    Wanted::Part(start, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_the_paths_that_ollama_keeps_them_under() {
        let path = |name: &str| {
            let name = ModelName::parse(name)?;
            Some(name.manifest_in(Path::new("/m")).display().to_string())
        };
        for (name, expected) in [
            (
                "llama3.2:3b",
                "/m/manifests/registry.ollama.ai/library/llama3.2/3b",
            ),
            ("m", "/m/manifests/registry.ollama.ai/library/m/latest"),
            ("org/m:1b", "/m/manifests/registry.ollama.ai/org/m/1b"),
            (
                "hf.co/org/M-GGUF:Q4_K_M",
                "/m/manifests/hf.co/org/M-GGUF/Q4_K_M",
            ),
            ("h:5000/org/m", "/m/manifests/h:5000/org/m/latest"),
        ] {
            assert_eq!(path(name).as_deref(), Some(expected), "{name}");
        }
    }

    #[test]
    fn nothing_that_leads_elsewhere_is_a_name_or_a_digest() {
        for name in [
            "",
            "..",
            ".",
            "../m",
            "a/../m",
            "../../etc/passwd",
            "a/b/c/d",
            "a//m",
            "/m",
            "m:",
            "m:..",
            "m:a/b",
            "m:a:b",
            "a%2fb",
            "a\\b",
            "m\0",
            "é",
            ".m",
            "-m",
            "a.b/m",
        ] {
            assert_eq!(ModelName::parse(name), None, "{name:?}");
        }
        let long = "m".repeat(81);
        assert_eq!(ModelName::parse(&long), None);
        let hex = "0123456789abcdef".repeat(4);
        assert_eq!(hex_of(&format!("sha256:{hex}")), Some(hex.as_str()));
        for digest in [
            "sha256:",
            "sha256:../../../../etc/passwd",
            &hex,
            &format!("sha512:{hex}"),
            &format!("sha256:{}", hex.to_uppercase()),
            &format!("sha256:{hex}0"),
            &format!("sha256:{}/", &hex[1..]),
        ] {
            assert_eq!(hex_of(digest), None, "{digest:?}");
        }
    }

    #[test]
    fn ranges_are_cut_to_the_file() {
        for (range, expected) in [
            (None, Wanted::Whole),
            (Some("bytes=0-9"), Wanted::Part(0, 10)),
            (Some("bytes=90-1000"), Wanted::Part(90, 100)),
            (Some("bytes=90-"), Wanted::Part(90, 100)),
            (Some("bytes=-10"), Wanted::Part(90, 100)),
            (Some("bytes=100-"), Wanted::Beyond),
            (Some("bytes=100-200"), Wanted::Beyond),
            (Some("bytes=0-1,5-6"), Wanted::Whole),
            (Some("bytes=9-3"), Wanted::Whole),
            (Some("lines=1-2"), Wanted::Whole),
            (Some("bytes=0-18446744073709551615"), Wanted::Part(0, 100)),
        ] {
            assert_eq!(wanted(range, 100), expected, "{range:?}");
        }
    }
}
