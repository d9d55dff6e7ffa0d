//! Packs the pages of `assets/` for the binary: each file as it is and compressed, under an address that changes with its content.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

/// One file on its way into the binary.
struct File {
    /// The path below the folder of its page, with slashes.
    path: String,
    content: Vec<u8>,
}

fn main() -> io::Result<()> {
    io::stdout()
        .write_all(b"cargo::rerun-if-changed=assets\ncargo::rerun-if-changed=build.rs\n")?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    let mut text = Vec::new();
    for page in ["ui", "docs"] {
        let mut files = Vec::new();
        gather(&Path::new("assets").join(page), "", &mut files)?;
        files.sort_by(|one, other| one.path.cmp(&other.path));
        let mut hasher = DefaultHasher::new();
        for file in &files {
            (&file.path, &file.content).hash(&mut hasher);
        }
        let version = format!("{:016x}", hasher.finish());
        prepare(page, &version, &mut files)?;
        write_folder(page, &version, &files, &out, &mut text)?;
    }
    fs::write(out.join("pages.rs"), text)
}

fn gather(folder: &Path, below: &str, files: &mut Vec<File>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() {
            gather(&entry.path(), &format!("{below}{name}/"), files)?;
        } else {
            let content = fs::read(entry.path())?;
            let path = format!("{below}{name}");
            files.push(File { path, content });
        }
    }
    Ok(())
}

/// Tells the page where its files are, and lets the browser fetch all modules at once in place of one import after the other.
fn prepare(page: &str, version: &str, files: &mut [File]) -> io::Result<()> {
    let base = format!("/{page}/files/{version}");
    let mut modules = Vec::new();
    for file in files.iter().filter(|file| is_module(&file.path)) {
        writeln!(
            modules,
            "<link rel=\"modulepreload\" href=\"{base}/{}\">",
            file.path
        )?;
    }
    let modules = String::from_utf8_lossy(&modules);
    for file in files.iter_mut().filter(|file| file.path == "index.html") {
        let text = String::from_utf8_lossy(&file.content);
        let text = text.replace("<!-- modules -->\n", &modules);
        file.content = text.replace("{base}", &base).into_bytes();
    }
    Ok(())
}

/// Modules lie in folders or are `app.js`; what lies beside the page otherwise are scripts that run before it is painted.
fn is_module(path: &str) -> bool {
    let script = Path::new(path).extension().is_some_and(|end| end == "js");
    script && (path.contains('/') || path == "app.js")
}

fn write_folder(
    page: &str,
    version: &str,
    files: &[File],
    out: &Path,
    text: &mut Vec<u8>,
) -> io::Result<()> {
    let name = page.to_uppercase();
    let mut entries = Vec::new();
    for (at, file) in files.iter().enumerate() {
        let (plain, packed) = (format!("{page}-{at}"), format!("{page}-{at}.gz"));
        fs::write(out.join(&plain), &file.content)?;
        let packing = fs::File::create(out.join(&packed))?;
        let mut encoder = GzEncoder::new(packing, Compression::best());
        encoder.write_all(&file.content)?;
        encoder.finish()?;
        writeln!(
            entries,
            "    File {{ path: {:?}, plain: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{plain}\")), packed: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{packed}\")) }},",
            file.path
        )?;
    }
    let entries = String::from_utf8_lossy(&entries);
    writeln!(
        text,
        "/// The files of `/{page}/`.\nstatic {name}: Folder = Folder {{ version: \"{version}\", files: &[\n{entries}] }};"
    )
}
