//! Matrices of quantised weights, computed with where they lie in the file.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod kernel;

use candle_core::{CpuStorage, Device, Result, Storage, Tensor};

use crate::file::{Bytes, GgufFile, Refusal};
use kernel::Kernel;

/// A matrix of (rows, columns) whose rows are blocks of quantised weights.
#[derive(Clone)]
pub(crate) struct Matrix {
    kernel: &'static dyn Kernel,
    bytes: Bytes,
    rows: usize,
    columns: usize,
}

impl Matrix {
    /// Finds a tensor of two dimensions.
    pub(crate) fn load(file: &mut GgufFile, name: &str) -> std::result::Result<Self, Refusal> {
        let dims = file.find(name).unwrap_or_default();
        let &[rows, columns] = dims else {
            return Err(Refusal(format!("the tensor '{name}' is no matrix")));
        };
        let (kind, bytes) = file.data(name)?;
        let kernel = kernel::find(kind).ok_or_else(|| {
            Refusal(format!(
                "the tensor '{name}' has the type {kind:?}, which is not supported"
            ))
        })?;
        if !kernel.is_aligned(&bytes) {
            return Err(Refusal(format!(
                "the data of the tensor '{name}' is not aligned"
            )));
        }
        Ok(Self {
            kernel,
            bytes,
            rows,
            columns,
        })
    }

    /// Multiplies rows of `x`: (any, columns) becomes (any, rows).
    pub(crate) fn multiply(&self, x: &Tensor) -> Result<Tensor> {
        let x = x.contiguous()?;
        let (count, columns) = x.dims2()?;
        if columns != self.columns {
            candle_core::bail!("{columns} columns do not fit a matrix of {}", self.columns);
        }
        let (storage, layout) = x.storage_and_layout();
        let values = match (&*storage, layout.contiguous_offsets()) {
            (Storage::Cpu(CpuStorage::F32(values)), Some((start, end))) => &values[start..end],
            _ => candle_core::bail!("only 32-bit numbers in main memory can be multiplied"),
        };
        let mut products = vec![0.0; count * self.rows];
        let shape = (count, self.columns, self.rows);
        self.kernel
            .multiply(&self.bytes, shape, values, &mut products)?;
        Tensor::from_vec(products, (count, self.rows), &Device::Cpu)
    }

    /// Returns some rows as plain numbers: (ids, columns).
    pub(crate) fn pick(&self, ids: &[u32]) -> Result<Tensor> {
        let row_bytes = self.bytes.len() / self.rows.max(1);
        let mut values = vec![0.0; ids.len() * self.columns];
        for (id, values) in ids.iter().zip(values.chunks_mut(self.columns.max(1))) {
            let start = *id as usize * row_bytes;
            match self.bytes.get(start..start + row_bytes) {
                Some(row) => self.kernel.unpack(row, values),
                None => candle_core::bail!("the matrix has no row {id}"),
            }
        }
        Tensor::from_vec(values, (ids.len(), self.columns), &Device::Cpu)
    }
}

impl std::fmt::Debug for Matrix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Matrix")
            .field("rows", &self.rows)
            .field("columns", &self.columns)
            .finish_non_exhaustive()
    }
}
