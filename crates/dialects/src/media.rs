//! Images and how the dialects write them: bare base64 (Ollama), data URIs (OpenAI), typed sources (Anthropic).

/// Guesses the media type of a base64 image from its first characters; JPEG when nothing matches.
pub(crate) fn image_type(base64: &str) -> &'static str {
    const KNOWN: [(&str, &str); 5] = [
        ("iVBORw0KGgo", "image/png"),
        ("/9j/", "image/jpeg"),
        ("R0lGOD", "image/gif"),
        ("UklGR", "image/webp"),
        ("Qk0", "image/bmp"),
    ];
    KNOWN
        .iter()
        .find(|(start, _)| base64.starts_with(start))
        .map_or("image/jpeg", |(_, media_type)| media_type)
}

/// Splits a base64 data URI into media type and data. `None` for any other URL.
pub(crate) fn split_data_uri(url: &str) -> Option<(&str, &str)> {
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    let media_type = head.strip_suffix(";base64")?;
    // Parameters such as a charset say nothing about an image.
    Some((media_type.split(';').next().unwrap_or_default(), data))
}

/// Writes a base64 data URI.
pub(crate) fn data_uri(media_type: &str, data: &str) -> String {
    format!("data:{media_type};base64,{data}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_uris_come_apart_and_together() {
        let uri = data_uri("image/png", "iVBORw0KGgo=");
        assert_eq!(split_data_uri(&uri), Some(("image/png", "iVBORw0KGgo=")));
        assert_eq!(split_data_uri("https://example.org/cat.png"), None);
        assert_eq!(image_type("/9j/4AAQ"), "image/jpeg");
    }
}
