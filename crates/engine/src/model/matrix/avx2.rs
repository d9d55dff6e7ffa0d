//! Multiplies with AVX2. Activations are rounded to 8 bits in groups of 32, as llama.cpp does it for most types.

#![expect(
    unsafe_code,
    reason = "vector instructions need checked processors, and threads write one result together"
)]

mod format;

use std::arch::x86_64::{
    __m256, __m256i, _mm_add_ps, _mm_add_ss, _mm_cvtss_f32, _mm_movehdup_ps, _mm_movehl_ps,
    _mm256_add_epi32, _mm256_add_ps, _mm256_castps256_ps128, _mm256_cvtepi32_ps,
    _mm256_extractf128_ps, _mm256_fmadd_ps, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_set1_ps,
    _mm256_setzero_ps,
};
use std::cell::RefCell;
use std::marker::PhantomData;
use std::ops::Range;

use candle_core::Result;
use candle_core::quantized::GgmlDType;
use candle_core::utils::barrier_pool;

use super::kernel::Kernel;
use format::{Format, Q4_0, Q4K, Q5_0, Q5K, Q6K, Q8_0};

/// Activations that share a scale.
const GROUP: usize = 32;
/// Rows of activations that are multiplied with a row of weights at once.
const TILE: usize = 4;

/// Multiplications that one thread does sooner than several agree to share them.
const ALONE: usize = 1 << 18;

/// Finds the kernel of a type, if the processor has what it needs.
pub(super) fn find(kind: GgmlDType) -> Option<&'static dyn Kernel> {
    if !is_x86_feature_detected!("avx2") || !is_x86_feature_detected!("fma") {
        return None;
    }
    Some(match kind {
        GgmlDType::Q8_0 => &Avx2::<Q8_0>(PhantomData),
        GgmlDType::Q4_0 => &Avx2::<Q4_0>(PhantomData),
        GgmlDType::Q5_0 => &Avx2::<Q5_0>(PhantomData),
        GgmlDType::Q4K => &Avx2::<Q4K>(PhantomData),
        GgmlDType::Q5K => &Avx2::<Q5K>(PhantomData),
        GgmlDType::Q6K => &Avx2::<Q6K>(PhantomData),
        _ => return None,
    })
}

/// A kernel that exists only where [`find`] saw AVX2 and FMA.
struct Avx2<F>(PhantomData<F>);

impl<F: Format> Kernel for Avx2<F> {
    fn is_aligned(&self, _: &[u8]) -> bool {
        true
    }

    fn multiply(
        &self,
        weights: &[u8],
        (count, columns, rows): (usize, usize, usize),
        x: &[f32],
        products: &mut [f32],
    ) -> Result<()> {
        let row_bytes = columns / F::WEIGHTS * F::BYTES;
        let fits = columns.is_multiple_of(F::WEIGHTS)
            && weights.len() == rows * row_bytes
            && x.len() == count * columns
            && products.len() == count * rows;
        if !fits || columns == 0 {
            candle_core::bail!("{rows} rows of {columns} weights do not fit their data");
        }
        // SAFETY: `find` saw the features.
        let x = unsafe { Activations::round(x, columns, F::MINIMA) };
        let lines = x.lines();
        let products = Products(products.as_mut_ptr());
        let work = |range: Range<usize>| {
            let mut row = ROW.take();
            let weights = &weights[range.start * row_bytes..range.end * row_bytes];
            for (place, weights) in range.zip(weights.chunks_exact(row_bytes)) {
                // SAFETY: `find` saw the features. Every row belongs to one thread, and the length of the products was checked.
                unsafe {
                    row.unpack::<F>(weights, columns);
                    multiply_row::<F>(&row, &lines, products.at(place), rows);
                }
            }
            ROW.set(row);
        };
        if count * columns * rows <= ALONE {
            work(0..rows);
        } else {
            barrier_pool().execute_chunked(rows, work);
        }
        Ok(())
    }

    fn unpack(&self, weights: &[u8], values: &mut [f32]) {
        let mut row = Row::default();
        // SAFETY: `find` saw the features.
        unsafe { row.unpack::<F>(weights, values.len()) };
        for (place, (value, number)) in values.iter_mut().zip(&row.numbers).enumerate() {
            let group = place / F::GROUP;
            let minimum = if F::MINIMA { row.minima[group] } else { 0.0 };
            *value = f32::from(*number) * row.scales[group] - minimum;
        }
    }
}

/// Where products go, written by several threads at different places.
struct Products(*mut f32);

// SAFETY: every thread writes the products of its own rows of weights only.
unsafe impl Sync for Products {}

impl Products {
    fn at(&self, place: usize) -> *mut f32 {
        self.0.wrapping_add(place)
    }
}

/// Rows of activations, rounded to 8 bits.
struct Activations {
    columns: usize,
    numbers: Vec<i16>,
    /// One for each group.
    scales: Vec<f32>,
    /// The sum of each group, for weights that have minima.
    sums: Vec<f32>,
}

impl Activations {
    #[target_feature(enable = "avx2,fma")]
    fn round(x: &[f32], columns: usize, with_sums: bool) -> Self {
        let mut numbers = vec![0; x.len()];
        let mut scales = Vec::with_capacity(x.len() / GROUP);
        let mut sums = Vec::new();
        for (x, numbers) in x
            .as_chunks::<GROUP>()
            .0
            .iter()
            .zip(numbers.as_chunks_mut::<GROUP>().0)
        {
            let most = x.iter().fold(0f32, |most, x| most.max(x.abs()));
            let scale = most / 127.0;
            let inverse = if most > 0.0 { 127.0 / most } else { 0.0 };
            for (x, number) in x.iter().zip(numbers.iter_mut()) {
                *number = (x * inverse).round_ties_even() as i16;
            }
            scales.push(scale);
            if with_sums {
                let sum: i32 = numbers.iter().map(|number| i32::from(*number)).sum();
                sums.push(scale * sum as f32);
            }
        }
        Self {
            columns,
            numbers,
            scales,
            sums,
        }
    }

    /// Returns the single rows.
    fn lines(&self) -> Vec<Line<'_>> {
        let groups = self.columns / GROUP;
        let rows = self.numbers.chunks_exact(self.columns).enumerate();
        rows.map(|(row, numbers)| Line {
            numbers,
            scales: &self.scales[row * groups..(row + 1) * groups],
            sums: self
                .sums
                .get(row * groups..(row + 1) * groups)
                .unwrap_or_default(),
        })
        .collect()
    }
}

/// One row of activations.
#[derive(Clone, Copy)]
struct Line<'a> {
    numbers: &'a [i16],
    scales: &'a [f32],
    sums: &'a [f32],
}

/// A row of weights, unpacked.
#[derive(Default)]
struct Row {
    numbers: Vec<i16>,
    scales: Vec<f32>,
    minima: Vec<f32>,
}

impl Row {
    #[target_feature(enable = "avx2,fma")]
    fn unpack<F: Format>(&mut self, weights: &[u8], columns: usize) {
        self.numbers.resize(columns, 0);
        self.scales.resize(columns / F::GROUP, 0.0);
        if F::MINIMA {
            self.minima.resize(columns / F::GROUP, 0.0);
        }
        let groups = F::WEIGHTS / F::GROUP;
        let blocks = weights
            .chunks_exact(F::BYTES)
            .zip(self.numbers.chunks_exact_mut(F::WEIGHTS))
            .zip(self.scales.chunks_exact_mut(groups))
            .enumerate();
        for (place, ((block, numbers), scales)) in blocks {
            let minima = if F::MINIMA {
                &mut self.minima[place * groups..(place + 1) * groups]
            } else {
                &mut []
            };
            // SAFETY: this function has the feature.
            unsafe { F::unpack(block, numbers, scales, minima) };
        }
    }
}

thread_local! {
    static ROW: RefCell<Row> = RefCell::default();
}

/// Multiplies one row of weights with all rows of activations; products are written `stride` apart.
///
/// # Safety
/// There is room for as many products as there are lines, and nobody else uses it.
#[target_feature(enable = "avx2,fma")]
unsafe fn multiply_row<F: Format>(row: &Row, x: &[Line<'_>], products: *mut f32, stride: usize) {
    let (tiles, rest) = x.as_chunks::<TILE>();
    for (place, tile) in tiles.iter().enumerate() {
        for (offset, product) in dots::<F, TILE>(row, tile).into_iter().enumerate() {
            // SAFETY: demanded above.
            unsafe {
                products
                    .add((place * TILE + offset) * stride)
                    .write(product);
            };
        }
    }
    for (place, one) in rest.as_chunks::<1>().0.iter().enumerate() {
        let [product] = dots::<F, 1>(row, one);
        // SAFETY: demanded above.
        unsafe {
            products
                .add((tiles.len() * TILE + place) * stride)
                .write(product);
        };
    }
}

/// Multiplies a row of weights with some rows of activations. What is computed for one does not depend on the others.
#[target_feature(enable = "avx2,fma")]
fn dots<F: Format, const N: usize>(row: &Row, x: &[Line<'_>; N]) -> [f32; N] {
    // Two sums for each, since one alone would wait for itself.
    let mut sums = [[_mm256_setzero_ps(); 2]; N];
    let weights = row.numbers.as_chunks::<16>().0.as_chunks::<2>().0;
    let mut numbers = [&weights[..0]; N];
    let mut scales = [&row.scales[..0]; N];
    for (place, line) in x.iter().enumerate() {
        numbers[place] = &line.numbers.as_chunks::<16>().0.as_chunks::<2>().0[..weights.len()];
        scales[place] = &line.scales[..weights.len()];
    }
    for (group, weights) in weights.iter().enumerate() {
        let weights = weights.each_ref().map(|half| load(half));
        let [low, high] = if F::GROUP == GROUP {
            [row.scales[group]; 2]
        } else {
            [row.scales[2 * group], row.scales[2 * group + 1]]
        };
        for place in 0..N {
            let numbers = numbers[place][group].each_ref().map(|half| load(half));
            let scale = scales[place][group];
            let sum = &mut sums[place][group % 2];
            *sum = if F::GROUP == GROUP {
                let products = _mm256_add_epi32(
                    _mm256_madd_epi16(weights[0], numbers[0]),
                    _mm256_madd_epi16(weights[1], numbers[1]),
                );
                let scale = _mm256_set1_ps(low * scale);
                _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(products), *sum)
            } else {
                let first = _mm256_cvtepi32_ps(_mm256_madd_epi16(weights[0], numbers[0]));
                let second = _mm256_cvtepi32_ps(_mm256_madd_epi16(weights[1], numbers[1]));
                let sum = _mm256_fmadd_ps(_mm256_set1_ps(low * scale), first, *sum);
                _mm256_fmadd_ps(_mm256_set1_ps(high * scale), second, sum)
            };
        }
    }
    let mut products = [0.0; N];
    for (place, line) in x.iter().enumerate() {
        products[place] = total(_mm256_add_ps(sums[place][0], sums[place][1]));
        if F::MINIMA {
            products[place] -= dot(&row.minima, line.sums);
        }
    }
    products
}

#[target_feature(enable = "avx2,fma")]
fn load(numbers: &[i16; 16]) -> __m256i {
    // SAFETY: reads 32 bytes at any alignment, and the array has as many.
    unsafe { _mm256_loadu_si256(numbers.as_ptr().cast()) }
}

/// Adds up eight numbers.
#[target_feature(enable = "avx2,fma")]
fn total(x: __m256) -> f32 {
    let x = _mm_add_ps(_mm256_extractf128_ps::<1>(x), _mm256_castps256_ps128(x));
    let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
}

/// Multiplies plain numbers, in an order that does not depend on anything but their count.
#[target_feature(enable = "avx2,fma")]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0f32; 8];
    for (a, b) in a.iter().zip(b) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}
