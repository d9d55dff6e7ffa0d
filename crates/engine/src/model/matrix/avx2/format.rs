//! How blocks of quantised weights are written in GGUF files, after llama.cpp's `ggml-quants.c`, and unpacked with AVX2.

use std::arch::x86_64::{
    __m128i, __m256i, _mm_and_si128, _mm_cmpeq_epi8, _mm_cvtsi32_si128, _mm_loadu_si128,
    _mm_or_si128, _mm_set1_epi8, _mm_set1_epi16, _mm_set1_epi64x, _mm_setr_epi8, _mm_shuffle_epi8,
    _mm_slli_epi16, _mm_srl_epi16, _mm_srli_epi16, _mm256_cvtepi8_epi16, _mm256_cvtepi32_ps,
    _mm256_cvtepu8_epi16, _mm256_cvtepu8_epi32, _mm256_mul_ps, _mm256_set1_epi16, _mm256_set1_ps,
    _mm256_storeu_ps, _mm256_storeu_si256, _mm256_sub_epi16,
};

/// A type of quantised weights, as groups of small whole numbers with a scale each.
pub(super) trait Format: Send + Sync + 'static {
    /// Bytes of one block.
    const BYTES: usize;
    /// Weights of one block, a multiple of 32.
    const WEIGHTS: usize;
    /// Weights that share a scale: 16 or 32.
    const GROUP: usize;
    /// Whether a group has a minimum that is subtracted.
    const MINIMA: bool;

    /// Unpacks a block: a weight is `numbers * scale - minimum`. Minima are written only where there are some.
    ///
    /// # Safety
    /// The processor has AVX2.
    unsafe fn unpack(block: &[u8], numbers: &mut [i16], scales: &mut [f32], minima: &mut [f32]);
}

/// 32 weights of 8 bits.
pub(super) struct Q8_0;
/// 32 weights of 4 bits.
pub(super) struct Q4_0;
/// 32 weights of 5 bits.
pub(super) struct Q5_0;
/// 256 weights of 4 bits in groups with scales and minima of 6 bits.
pub(super) struct Q4K;
/// 256 weights of 5 bits in groups with scales and minima of 6 bits.
pub(super) struct Q5K;
/// 256 weights of 6 bits in groups of 16 with scales of 8 bits.
pub(super) struct Q6K;

impl Format for Q8_0 {
    const BYTES: usize = 34;
    const WEIGHTS: usize = 32;
    const GROUP: usize = 32;
    const MINIMA: bool = false;

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn unpack(block: &[u8], numbers: &mut [i16], scales: &mut [f32], _: &mut [f32]) {
        scales[0] = half(block, 0);
        for (numbers, bytes) in numbers
            .as_chunks_mut()
            .0
            .iter_mut()
            .zip(vectors(&block[2..]))
        {
            store(numbers, _mm256_cvtepi8_epi16(bytes));
        }
    }
}

impl Format for Q4_0 {
    const BYTES: usize = 18;
    const WEIGHTS: usize = 32;
    const GROUP: usize = 32;
    const MINIMA: bool = false;

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn unpack(block: &[u8], numbers: &mut [i16], scales: &mut [f32], _: &mut [f32]) {
        scales[0] = half(block, 0);
        let numbers = numbers.as_chunks_mut().0.chunks_exact_mut(2);
        for (numbers, bytes) in numbers.zip(vectors(&block[2..])) {
            put(&mut numbers[0], low(bytes), 8);
            put(&mut numbers[1], high(bytes), 8);
        }
    }
}

impl Format for Q5_0 {
    const BYTES: usize = 22;
    const WEIGHTS: usize = 32;
    const GROUP: usize = 32;
    const MINIMA: bool = false;

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn unpack(block: &[u8], numbers: &mut [i16], scales: &mut [f32], _: &mut [f32]) {
        scales[0] = half(block, 0);
        let numbers = numbers.as_chunks_mut().0.chunks_exact_mut(2);
        for (numbers, bytes) in numbers.zip(vectors(&block[6..])) {
            put(
                &mut numbers[0],
                _mm_or_si128(low(bytes), fifths(block[2], block[3])),
                16,
            );
            put(
                &mut numbers[1],
                _mm_or_si128(high(bytes), fifths(block[4], block[5])),
                16,
            );
        }
    }
}

impl Format for Q4K {
    const BYTES: usize = 144;
    const WEIGHTS: usize = 256;
    const GROUP: usize = 32;
    const MINIMA: bool = true;

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn unpack(block: &[u8], numbers: &mut [i16], scales: &mut [f32], minima: &mut [f32]) {
        scales_and_minima(block, scales, minima);
        let numbers = numbers.as_chunks_mut().0.chunks_exact_mut(4);
        for (numbers, bytes) in numbers.zip(block[16..].as_chunks::<32>().0) {
            for (place, bytes) in vectors(bytes).enumerate() {
                put(&mut numbers[place], low(bytes), 0);
                put(&mut numbers[place + 2], high(bytes), 0);
            }
        }
    }
}

impl Format for Q5K {
    const BYTES: usize = 176;
    const WEIGHTS: usize = 256;
    const GROUP: usize = 32;
    const MINIMA: bool = true;

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn unpack(block: &[u8], numbers: &mut [i16], scales: &mut [f32], minima: &mut [f32]) {
        scales_and_minima(block, scales, minima);
        let numbers = numbers.as_chunks_mut().0.chunks_exact_mut(4);
        let parts = numbers
            .zip(block[48..].as_chunks::<32>().0)
            .zip([0, 2, 4, 6]);
        for ((numbers, bytes), shift) in parts {
            let pairs = vectors(bytes).zip(vectors(&block[16..48]));
            for (place, (bytes, fifths)) in pairs.enumerate() {
                let fifths = _mm_srl_epi16(fifths, _mm_cvtsi32_si128(shift));
                let first = _mm_slli_epi16::<4>(mask(fifths, 1));
                let second = _mm_slli_epi16::<3>(mask(fifths, 2));
                put(&mut numbers[place], _mm_or_si128(low(bytes), first), 0);
                put(
                    &mut numbers[place + 2],
                    _mm_or_si128(high(bytes), second),
                    0,
                );
            }
        }
    }
}

impl Format for Q6K {
    const BYTES: usize = 210;
    const WEIGHTS: usize = 256;
    const GROUP: usize = 16;
    const MINIMA: bool = false;

    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn unpack(block: &[u8], numbers: &mut [i16], scales: &mut [f32], _: &mut [f32]) {
        let scale = half(block, 208);
        for (group, byte) in scales.iter_mut().zip(&block[192..208]) {
            *group = scale * f32::from(byte.cast_signed());
        }
        let (lower, upper) = (block.as_chunks::<64>().0, block[128..].as_chunks::<32>().0);
        let numbers = numbers.as_chunks_mut().0.chunks_exact_mut(8);
        for (numbers, (lower, upper)) in numbers.zip(lower.iter().zip(upper)) {
            let lower = vectors(&lower[..32]).zip(vectors(&lower[32..]));
            for (place, ((a, b), upper)) in lower.zip(vectors(upper)).enumerate() {
                let first = _mm_slli_epi16::<4>(mask(upper, 0x03));
                let second = _mm_slli_epi16::<2>(mask(upper, 0x0c));
                let fourth = _mm_srli_epi16::<2>(mask(upper, 0xc0));
                put(&mut numbers[place], _mm_or_si128(low(a), first), 32);
                put(&mut numbers[place + 2], _mm_or_si128(low(b), second), 32);
                put(
                    &mut numbers[place + 4],
                    _mm_or_si128(high(a), mask(upper, 0x30)),
                    32,
                );
                put(&mut numbers[place + 6], _mm_or_si128(high(b), fourth), 32);
            }
        }
    }
}

/// Reads bytes, sixteen at a time.
#[inline]
fn vectors(bytes: &[u8]) -> impl Iterator<Item = __m128i> {
    bytes.as_chunks::<16>().0.iter().map(|bytes| {
        // SAFETY: reads 16 bytes at any alignment, and the array has as many; every processor of this architecture can.
        unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
    })
}

/// Keeps some bits of every byte.
#[target_feature(enable = "avx2")]
#[inline]
fn mask(bytes: __m128i, bits: u8) -> __m128i {
    _mm_and_si128(bytes, _mm_set1_epi8(bits.cast_signed()))
}

/// Takes the lower four bits of every byte.
#[target_feature(enable = "avx2")]
#[inline]
fn low(bytes: __m128i) -> __m128i {
    mask(bytes, 15)
}

/// Takes the upper four bits of every byte.
#[target_feature(enable = "avx2")]
#[inline]
fn high(bytes: __m128i) -> __m128i {
    mask(_mm_srli_epi16::<4>(bytes), 15)
}

/// Makes 16 in every byte whose bit is set.
#[target_feature(enable = "avx2")]
#[inline]
fn fifths(first: u8, second: u8) -> __m128i {
    let both = _mm_set1_epi16(i16::from_le_bytes([first, second]));
    let each = _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    let bits = _mm_set1_epi64x(0x8040_2010_0804_0201_u64.cast_signed());
    let set = _mm_and_si128(_mm_shuffle_epi8(both, each), bits);
    mask(_mm_cmpeq_epi8(set, bits), 16)
}

/// Writes bytes as numbers, less an offset.
#[target_feature(enable = "avx2")]
#[inline]
fn put(numbers: &mut [i16; 16], bytes: __m128i, offset: i16) {
    store(
        numbers,
        _mm256_sub_epi16(_mm256_cvtepu8_epi16(bytes), _mm256_set1_epi16(offset)),
    );
}

#[target_feature(enable = "avx2")]
#[inline]
fn store(numbers: &mut [i16; 16], values: __m256i) {
    // SAFETY: writes 32 bytes at any alignment, and the array has as many.
    unsafe { _mm256_storeu_si256(numbers.as_mut_ptr().cast(), values) };
}

/// Unpacks the eight scales and minima of 6 bits that `Q4_K` and `Q5_K` begin with.
#[target_feature(enable = "avx2")]
#[inline]
fn scales_and_minima(block: &[u8], scales: &mut [f32], minima: &mut [f32]) {
    let word =
        |at: usize| u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
    let (a, b, c) = (word(4), word(8), word(12));
    let six = 0x3f3f_3f3f;
    let (four, two) = (0x0f0f_0f0f, 0x0303_0303);
    let last_scales = c & four | (a >> 6 & two) << 4;
    let last_minima = c >> 4 & four | (b >> 6 & two) << 4;
    scale(scales, half(block, 0), a & six, last_scales);
    scale(minima, half(block, 2), b & six, last_minima);
}

/// Writes eight bytes as numbers, scaled.
#[target_feature(enable = "avx2")]
#[inline]
fn scale(numbers: &mut [f32], scale: f32, first: u32, last: u32) {
    let bytes = i64::from(first) | i64::from(last) << 32;
    let values = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_set1_epi64x(bytes)));
    if let Some(numbers) = numbers.first_chunk_mut::<8>() {
        let scaled = _mm256_mul_ps(values, _mm256_set1_ps(scale));
        // SAFETY: writes 32 bytes at any alignment, and the array has as many.
        unsafe { _mm256_storeu_ps(numbers.as_mut_ptr(), scaled) };
    }
}

/// Reads a number of 16 bits. Infinities do not occur in weights.
#[inline]
fn half(block: &[u8], at: usize) -> f32 {
    /// Moves the exponent from the bias of 16-bit numbers to that of 32-bit ones.
    const REBIAS: f32 = f32::from_bits(0x7780_0000);
    let bits = u32::from(u16::from_le_bytes([block[at], block[at + 1]]));
    let magnitude = f32::from_bits((bits & 0x7fff) << 13) * REBIAS;
    f32::from_bits(magnitude.to_bits() | (bits & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use candle_core::quantized::{GgmlDType, QTensor};
    use candle_core::{Device, Tensor};

    use super::*;

    fn unpacks_as_the_library_does<F: Format>(kind: GgmlDType) {
        let weights = Tensor::randn(0f32, 1.0, (4, 256), &Device::Cpu).unwrap();
        let packed = QTensor::quantize(&weights, kind).unwrap();
        let expected = packed.dequantize(&Device::Cpu).unwrap();
        let expected: Vec<f32> = expected.flatten_all().unwrap().to_vec1().unwrap();
        let bytes = packed.data().unwrap();
        for (block, expected) in bytes
            .chunks_exact(F::BYTES)
            .zip(expected.chunks_exact(F::WEIGHTS))
        {
            let mut numbers = vec![0; F::WEIGHTS];
            let mut scales = vec![0.0; F::WEIGHTS / F::GROUP];
            let mut minima = scales.clone();
            // SAFETY: the test below checks the processor.
            unsafe { F::unpack(block, &mut numbers, &mut scales, &mut minima) };
            for (place, expected) in expected.iter().enumerate() {
                let group = place / F::GROUP;
                let weight = f32::from(numbers[place]) * scales[group] - minima[group];
                assert!(
                    (weight - expected).abs() < 1e-5,
                    "{kind:?}: {weight} {expected}"
                );
            }
        }
    }

    #[test]
    fn every_format_unpacks_as_the_library_does() {
        assert!(is_x86_feature_detected!("avx2"));
        unpacks_as_the_library_does::<Q8_0>(GgmlDType::Q8_0);
        unpacks_as_the_library_does::<Q4_0>(GgmlDType::Q4_0);
        unpacks_as_the_library_does::<Q5_0>(GgmlDType::Q5_0);
        unpacks_as_the_library_does::<Q4K>(GgmlDType::Q4K);
        unpacks_as_the_library_does::<Q5K>(GgmlDType::Q5K);
        unpacks_as_the_library_does::<Q6K>(GgmlDType::Q6K);
    }

    #[test]
    fn numbers_of_16_bits_are_read_exactly() {
        for bits in [
            0u16, 1, 0x03ff, 0x0400, 0x3c00, 0x7bff, 0x8001, 0xbc00, 0xfbff,
        ] {
            let expected = half::f16::from_bits(bits).to_f32();
            assert_eq!(half(&bits.to_le_bytes(), 0).to_bits(), expected.to_bits());
        }
    }
}
