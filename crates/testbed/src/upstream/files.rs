//! Models on a disk, as Ollama keeps them: manifests by name, blobs by digest.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};

/// A models directory.
#[derive(Clone, Debug)]
pub struct ModelFiles(PathBuf);

impl ModelFiles {
    /// Takes a directory, which may be empty.
    ///
    /// # Errors
    /// Fails when it cannot be written.
    pub fn open(directory: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(directory.join("blobs"))?;
        fs::create_dir_all(directory.join("manifests"))?;
        Ok(Self(directory.to_owned()))
    }

    /// Returns the directory.
    pub fn directory(&self) -> &Path {
        &self.0
    }

    /// Puts a model there, with one blob for each of `layers` and one more. Returns its digest and size.
    ///
    /// # Errors
    /// Fails when it cannot be written.
    pub fn add(&self, name: &str, layers: &[&[u8]]) -> anyhow::Result<(String, u64)> {
        let config = json!({"model_format": "gguf", "name": name}).to_string();
        let kind = "application/vnd.ollama.image.model";
        let layers: Vec<Value> = layers
            .iter()
            .map(|layer| self.add_blob(kind, layer))
            .collect::<anyhow::Result<_>>()?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": self.add_blob("application/vnd.docker.container.image.v1+json", config.as_bytes())?,
            "layers": layers,
        });
        self.add_manifest(name, manifest.to_string().as_bytes())
    }

    fn add_blob(&self, kind: &str, bytes: &[u8]) -> anyhow::Result<Value> {
        let hex = sha256(bytes);
        fs::write(self.blob(&hex), bytes)?;
        Ok(json!({"mediaType": kind, "digest": format!("sha256:{hex}"), "size": bytes.len()}))
    }

    /// Gives a manifest a name. Returns its digest and the size of what it names.
    pub(crate) fn add_manifest(&self, name: &str, text: &[u8]) -> anyhow::Result<(String, u64)> {
        let path = self.manifest(name);
        fs::create_dir_all(path.parent().context("a path without a directory")?)?;
        fs::write(path, text)?;
        let size = blobs_in(text)?.iter().map(|(_, size)| size).sum();
        Ok((sha256(text), size))
    }

    /// Takes a name away, and the blobs that no other name needs.
    pub(crate) fn remove(&self, name: &str) -> anyhow::Result<()> {
        let path = self.manifest(name);
        let gone = blobs_in(&fs::read(&path)?)?;
        fs::remove_file(path)?;
        let mut needed = Vec::new();
        for manifest in self.manifests()? {
            needed.extend(blobs_in(&fs::read(manifest)?)?);
        }
        for (hex, _) in gone {
            if needed.iter().all(|(other, _)| *other != hex) {
                fs::remove_file(self.blob(&hex))?;
            }
        }
        Ok(())
    }

    /// Returns the paths of all manifests.
    ///
    /// # Errors
    /// Fails when a directory cannot be read.
    pub fn manifests(&self) -> anyhow::Result<Vec<PathBuf>> {
        let (mut found, mut directories) = (Vec::new(), vec![self.0.join("manifests")]);
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory)? {
                let path = entry?.path();
                let kind = if path.is_dir() {
                    &mut directories
                } else {
                    &mut found
                };
                kind.push(path);
            }
        }
        Ok(found)
    }

    /// Returns where the manifest of a name is.
    pub fn manifest(&self, name: &str) -> PathBuf {
        let [host, namespace, model, tag] = parts_of(name);
        let manifests = self.0.join("manifests");
        manifests.join(host).join(namespace).join(model).join(tag)
    }

    /// Returns where a blob of these bytes is.
    pub fn blob_of(&self, bytes: &[u8]) -> PathBuf {
        self.blob(&sha256(bytes))
    }

    /// Returns where a blob is.
    pub fn blob(&self, hex: &str) -> PathBuf {
        self.0.join("blobs").join(format!("sha256-{hex}"))
    }
}

/// Returns host, namespace, model and tag.
pub(crate) fn parts_of(name: &str) -> [&str; 4] {
    let (rest, last) = name.rsplit_once('/').unwrap_or(("library", name));
    let (host, namespace) = rest.rsplit_once('/').unwrap_or((PUBLIC, rest));
    let (model, tag) = last.split_once(':').unwrap_or((last, "latest"));
    [host, namespace, model, tag]
}

/// Where models come from whose names say nothing else.
pub(crate) const PUBLIC: &str = "registry.ollama.ai";

/// Returns the digests and sizes of what a manifest names.
pub(crate) fn blobs_in(manifest: &[u8]) -> anyhow::Result<Vec<(String, u64)>> {
    let manifest: Value = serde_json::from_slice(manifest)?;
    let layers = manifest["layers"].as_array().into_iter().flatten();
    layers
        .chain([&manifest["config"]])
        .map(|layer| {
            let hex = layer["digest"]
                .as_str()
                .and_then(|digest| digest.strip_prefix("sha256:"));
            let found = hex.map(str::to_owned).zip(layer["size"].as_u64());
            found.context("a layer without digest or size")
        })
        .collect()
}

/// Returns the hex digits of a SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest(&SHA256, bytes))
}
