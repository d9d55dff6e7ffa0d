//! How weights of each type are multiplied and unpacked.

use std::marker::PhantomData;

use candle_core::Result;
use candle_core::quantized::GgmlDType;
use candle_core::quantized::k_quants::{self, GgmlType};

/// What is done with the weights of one type.
pub(super) trait Kernel: Send + Sync {
    /// Tells whether the bytes lie where the processor can take whole blocks.
    fn is_aligned(&self, bytes: &[u8]) -> bool;

    /// Multiplies `x` of (count, columns) with weights of (rows, columns), given as (count, columns, rows), into (count, rows).
    ///
    /// A row's products do not depend on which rows are computed with it: an answer is the same however its prompt is cut.
    fn multiply(
        &self,
        weights: &[u8],
        shape: (usize, usize, usize),
        x: &[f32],
        products: &mut [f32],
    ) -> Result<()>;

    /// Writes weights as plain numbers.
    fn unpack(&self, weights: &[u8], values: &mut [f32]);
}

/// Finds the kernel of a type.
pub(super) fn find(kind: GgmlDType) -> Option<&'static dyn Kernel> {
    use candle_core::quantized::k_quants::{
        BlockQ2K, BlockQ3K, BlockQ4_0, BlockQ4_1, BlockQ4K, BlockQ5_0, BlockQ5_1, BlockQ5K,
        BlockQ6K, BlockQ8_0,
    };
    #[cfg(target_arch = "x86_64")]
    if let Some(kernel) = super::avx2::find(kind) {
        return Some(kernel);
    }
    Some(match kind {
        GgmlDType::F32 => &Plain::<f32>(PhantomData),
        GgmlDType::F16 => &Plain::<half::f16>(PhantomData),
        GgmlDType::BF16 => &Plain::<half::bf16>(PhantomData),
        GgmlDType::Q4_0 => &Plain::<BlockQ4_0>(PhantomData),
        GgmlDType::Q4_1 => &Plain::<BlockQ4_1>(PhantomData),
        GgmlDType::Q5_0 => &Plain::<BlockQ5_0>(PhantomData),
        GgmlDType::Q5_1 => &Plain::<BlockQ5_1>(PhantomData),
        GgmlDType::Q8_0 => &Plain::<BlockQ8_0>(PhantomData),
        GgmlDType::Q2K => &Plain::<BlockQ2K>(PhantomData),
        GgmlDType::Q3K => &Plain::<BlockQ3K>(PhantomData),
        GgmlDType::Q4K => &Plain::<BlockQ4K>(PhantomData),
        GgmlDType::Q5K => &Plain::<BlockQ5K>(PhantomData),
        GgmlDType::Q6K => &Plain::<BlockQ6K>(PhantomData),
        _ => return None,
    })
}

/// The tensor library's kernels.
struct Plain<T>(PhantomData<fn() -> T>);

impl<T: GgmlType> Plain<T> {
    fn blocks(weights: &[u8]) -> &[T] {
        #[expect(
            unsafe_code,
            reason = "the library offers no safe view of bytes as blocks"
        )]
        // SAFETY: blocks consist of plain numbers, so any bytes are valid ones; what is not aligned or not whole is left out.
        let (_, blocks, _) = unsafe { weights.align_to::<T>() };
        blocks
    }
}

impl<T: GgmlType> Kernel for Plain<T> {
    fn is_aligned(&self, bytes: &[u8]) -> bool {
        bytes.as_ptr().cast::<T>().is_aligned()
    }

    fn multiply(
        &self,
        weights: &[u8],
        shape: (usize, usize, usize),
        x: &[f32],
        products: &mut [f32],
    ) -> Result<()> {
        k_quants::matmul(shape, x, Self::blocks(weights), products)
    }

    fn unpack(&self, weights: &[u8], values: &mut [f32]) {
        T::to_float(Self::blocks(weights), values);
    }
}

#[cfg(test)]
mod tests {
    use candle_core::quantized::QTensor;
    use candle_core::{Device, Tensor};

    use super::*;

    const SHAPE: (usize, usize, usize) = (7, 512, 33);

    fn random(rows: usize) -> Tensor {
        Tensor::randn(0f32, 1.0, (rows, SHAPE.1), &Device::Cpu).unwrap()
    }

    fn values(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn every_type_multiplies_nearly_as_plain_numbers_do() {
        let (count, columns, rows) = SHAPE;
        for kind in [
            GgmlDType::F32,
            GgmlDType::F16,
            GgmlDType::BF16,
            GgmlDType::Q4_0,
            GgmlDType::Q4_1,
            GgmlDType::Q5_0,
            GgmlDType::Q5_1,
            GgmlDType::Q8_0,
            GgmlDType::Q2K,
            GgmlDType::Q3K,
            GgmlDType::Q4K,
            GgmlDType::Q5K,
            GgmlDType::Q6K,
        ] {
            let packed = QTensor::quantize(&random(rows), kind).unwrap();
            let weights = packed.dequantize(&Device::Cpu).unwrap();
            let x = random(count);
            let expected = values(&x.matmul(&weights.t().unwrap()).unwrap());
            let (kernel, bytes, x) = (find(kind).unwrap(), packed.data().unwrap(), values(&x));
            let mut products = vec![0.0; count * rows];
            kernel.multiply(&bytes, SHAPE, &x, &mut products).unwrap();
            // Products of 512 normal numbers spread by about 23.
            for (product, expected) in products.iter().zip(&expected) {
                assert!(
                    (product - expected).abs() < 1.0,
                    "{kind:?}: {product} {expected}"
                );
            }
            for (x, products) in x.chunks(columns).zip(products.chunks(rows)) {
                let mut alone = vec![0.0; rows];
                let shape = (1, columns, rows);
                kernel.multiply(&bytes, shape, x, &mut alone).unwrap();
                assert_eq!(
                    alone, products,
                    "{kind:?} depends on what is computed with it"
                );
            }
            let mut unpacked = vec![0.0; rows * columns];
            kernel.unpack(&bytes, &mut unpacked);
            for (unpacked, weight) in unpacked.iter().zip(values(&weights)) {
                assert!((unpacked - weight).abs() < 1e-5, "{kind:?}");
            }
        }
    }
}
