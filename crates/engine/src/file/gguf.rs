//! Reads a GGUF header and proves that every tensor lies inside the file before anything is loaded.

use std::collections::HashMap;
use std::io::{Read, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};

use candle_core::Device;
use candle_core::quantized::gguf_file::{Content, TensorInfo};
use candle_core::quantized::{GgmlDType, QTensor};

use super::{Bytes, Metadata, ReadSeek, Refusal, Source};

/// The most samples of tensor data that go into a digest, and their size in bytes.
const DIGEST_SAMPLES: u64 = 16;
const DIGEST_SAMPLE_BYTES: u64 = 64 * 1024;

/// A GGUF file whose header was read and checked.
pub(crate) struct GgufFile {
    pub(crate) metadata: Metadata,
    pub(crate) size_bytes: u64,
    tensors: HashMap<String, TensorInfo>,
    data_offset: u64,
    reader: Box<dyn ReadSeek>,
    source: Source,
    bytes: Option<Bytes>,
}

impl GgufFile {
    /// Opens and checks a file.
    pub(crate) fn open(source: &Source) -> Result<Self, Refusal> {
        let mut reader = source.open()?;
        let size_bytes = reader
            .seek(SeekFrom::End(0))
            .map_err(|error| unreadable(&error))?;
        reader
            .seek(SeekFrom::Start(0))
            .map_err(|error| unreadable(&error))?;
        let mut magic = [0u8; 4];
        if size_bytes < 24 || reader.read_exact(&mut magic).is_err() {
            return Err(Refusal(format!(
                "the file is truncated: {size_bytes} bytes cannot hold a GGUF header"
            )));
        }
        if &magic != b"GGUF" {
            return Err(Refusal::new(
                "this is not a GGUF file: it does not begin with 'GGUF'",
            ));
        }
        reader
            .seek(SeekFrom::Start(0))
            .map_err(|error| unreadable(&error))?;
        // A hostile header (an alignment of zero, say) can make the parser panic; the file is refused and the rest goes on.
        let content = catch_unwind(AssertUnwindSafe(|| Content::read(&mut reader)))
            .map_err(|_| Refusal::new("the header is malformed"))?
            .map_err(|error| describe(&error))?;
        let file = Self {
            metadata: Metadata::new(content.metadata),
            size_bytes,
            tensors: content.tensor_infos,
            data_offset: content.tensor_data_offset,
            reader,
            source: source.clone(),
            bytes: None,
        };
        file.check_tensors()?;
        if file
            .metadata
            .find_number("split.count")
            .is_some_and(|count| count > 1)
        {
            return Err(Refusal::new(
                "the model is split over several files: merge them into one first",
            ));
        }
        Ok(file)
    }

    /// Finds a tensor's shape.
    pub(crate) fn find(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|info| info.shape.dims())
    }

    /// Reads a tensor's data.
    pub(crate) fn load(&mut self, name: &str) -> Result<QTensor, Refusal> {
        let info = self
            .tensors
            .get(name)
            .ok_or_else(|| Refusal(format!("the tensor '{name}' is missing")))?;
        Ok(info.read(&mut self.reader, self.data_offset, &Device::Cpu)?)
    }

    /// Returns a tensor's type and data without reading it into memory.
    pub(crate) fn data(&mut self, name: &str) -> Result<(GgmlDType, Bytes), Refusal> {
        let info = self
            .tensors
            .get(name)
            .ok_or_else(|| Refusal(format!("the tensor '{name}' is missing")))?;
        let bytes = match self.bytes.take() {
            Some(bytes) => bytes,
            None => Bytes::of(&self.source)?,
        };
        let bytes = self.bytes.insert(bytes);
        let blocks = info.shape.elem_count() / info.ggml_dtype.block_size();
        let part = usize::try_from(self.data_offset + info.offset)
            .ok()
            .and_then(|start| bytes.part(start..start + blocks * info.ggml_dtype.type_size()));
        let part = part.ok_or_else(|| {
            Refusal(format!(
                "the file is truncated: the tensor '{name}' is not all there"
            ))
        })?;
        Ok((info.ggml_dtype, part))
    }

    /// Counts the weights.
    pub(crate) fn parameter_count(&self) -> u64 {
        self.tensors
            .values()
            .map(|info| info.shape.elem_count() as u64)
            .sum()
    }

    /// Names the type that holds most weights.
    pub(crate) fn quantization(&self) -> String {
        let mut counts: HashMap<String, usize> = HashMap::new();
        for info in self.tensors.values() {
            *counts.entry(kind_name(info.ggml_dtype)).or_default() += info.shape.elem_count();
        }
        let most = counts
            .into_iter()
            .max_by(|a, b| a.1.cmp(&b.1).then_with(|| b.0.cmp(&a.0)));
        most.map_or_else(|| "unknown".to_owned(), |(name, _)| name)
    }

    /// Computes a digest from the size, the header and samples of the data, which is quick for any size.
    pub(crate) fn digest(&mut self) -> Result<String, Refusal> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.size_bytes.to_le_bytes());
        let mut hash = |from: u64, count: u64| -> Result<(), Refusal> {
            self.reader
                .seek(SeekFrom::Start(from))
                .map_err(|error| unreadable(&error))?;
            hasher
                .update_reader(Read::take(&mut self.reader, count))
                .map_err(|error| unreadable(&error))?;
            Ok(())
        };
        hash(0, self.data_offset)?;
        let data = self.size_bytes.saturating_sub(self.data_offset);
        for sample in 0..DIGEST_SAMPLES {
            let from = self.data_offset + data / DIGEST_SAMPLES * sample;
            hash(from, DIGEST_SAMPLE_BYTES.min(data / DIGEST_SAMPLES))?;
        }
        Ok(hasher.finalize().to_hex().to_string())
    }

    fn check_tensors(&self) -> Result<(), Refusal> {
        if self.tensors.is_empty() {
            return Err(Refusal::new("the file holds no tensors"));
        }
        for (name, info) in &self.tensors {
            let elements = info
                .shape
                .dims()
                .iter()
                .try_fold(1u64, |product, &dim| product.checked_mul(dim as u64))
                .filter(|&elements| elements > 0)
                .ok_or_else(|| Refusal(format!("the tensor '{name}' has an impossible shape")))?;
            let block = info.ggml_dtype.block_size() as u64;
            let row = info.shape.dims().last().map_or(0, |&dim| dim as u64);
            if row % block != 0 {
                return Err(Refusal(format!(
                    "the tensor '{name}' has rows of {row} weights, which is no multiple of its type's block of {block}"
                )));
            }
            let end = (elements / block)
                .checked_mul(info.ggml_dtype.type_size() as u64)
                .and_then(|bytes| bytes.checked_add(info.offset))
                .and_then(|end| end.checked_add(self.data_offset))
                .ok_or_else(|| Refusal(format!("the tensor '{name}' has an impossible size")))?;
            if end > self.size_bytes {
                return Err(Refusal(format!(
                    "the file is truncated: the tensor '{name}' ends at byte {end}, but the file has {} bytes",
                    self.size_bytes
                )));
            }
        }
        Ok(())
    }
}

/// Names a tensor type as people write it.
fn kind_name(kind: GgmlDType) -> String {
    match kind {
        GgmlDType::Q2K => "Q2_K".to_owned(),
        GgmlDType::Q3K => "Q3_K".to_owned(),
        GgmlDType::Q4K => "Q4_K".to_owned(),
        GgmlDType::Q5K => "Q5_K".to_owned(),
        GgmlDType::Q6K => "Q6_K".to_owned(),
        GgmlDType::Q8K => "Q8_K".to_owned(),
        other => format!("{other:?}"),
    }
}

fn unreadable(error: &std::io::Error) -> Refusal {
    Refusal(format!("cannot read the file: {error}"))
}

fn describe(error: &candle_core::Error) -> Refusal {
    let text = error.to_string();
    let text = text.lines().next().unwrap_or_default();
    if let Some((_, number)) = text.split_once("unknown dtype for tensor ") {
        return Refusal(format!(
            "the file has a tensor of type {}, which is not supported",
            type_name(number)
        ));
    }
    if text.contains("failed to fill whole buffer") || text.contains("remaining") {
        return Refusal(format!(
            "the file is truncated or its header is corrupt: {text}"
        ));
    }
    Refusal(format!("the header is corrupt: {text}"))
}

/// Names the types that other programs write and this engine does not compute with.
fn type_name(number: &str) -> String {
    let name = match number.trim() {
        "16" => "IQ2_XXS",
        "17" => "IQ2_XS",
        "18" => "IQ3_XXS",
        "19" => "IQ1_S",
        "20" => "IQ4_NL",
        "21" => "IQ3_S",
        "22" => "IQ2_S",
        "23" => "IQ4_XS",
        "29" => "IQ1_M",
        "34" => "TQ1_0",
        "35" => "TQ2_0",
        "39" => "MXFP4",
        other => return format!("number {other}"),
    };
    name.to_owned()
}
