//! Comparing a key with rules: all dimensions of one rule at once, or one dimension of sixteen rules.
#![allow(unsafe_code)]

use super::entry::Entry;
use super::residual::{BLOCK, Lanes};
use crate::word::Word;

/// The processor instructions that comparisons use. All give the same answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Instructions {
    /// What every processor has.
    Portable,
    /// 256-bit vectors (x86-64 with AVX2), for 32-bit words.
    Avx2,
    /// 512-bit vectors (x86-64 with AVX-512 F, BW, CD, DQ and VL), for 32-bit words.
    Avx512,
}

impl Instructions {
    /// All, the most wanted first.
    pub const ALL: [Self; 3] = [Self::Avx512, Self::Avx2, Self::Portable];

    /// Whether this processor has them.
    pub fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            let bits = is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2")
                && is_x86_feature_detected!("lzcnt")
                && is_x86_feature_detected!("popcnt");
            match self {
                Self::Portable => true,
                Self::Avx2 => bits && is_x86_feature_detected!("avx2"),
                Self::Avx512 => {
                    bits && is_x86_feature_detected!("avx512f")
                        && is_x86_feature_detected!("avx512bw")
                        && is_x86_feature_detected!("avx512cd")
                        && is_x86_feature_detected!("avx512dq")
                        && is_x86_feature_detected!("avx512vl")
                }
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            self == Self::Portable
        }
    }

    /// The fastest that this processor has.
    pub fn best() -> Self {
        Self::ALL
            .into_iter()
            .find(|instructions| instructions.is_available())
            .unwrap_or(Self::Portable)
    }

    /// These, or what takes their place where the processor or the word doesn't have them.
    pub(super) fn for_words<W: Word>(self) -> Self {
        if W::BITS == u32::BITS && self.is_available() {
            self
        } else {
            Self::Portable
        }
    }
}

/// A way to compare.
pub(super) trait Compare: Copy {
    /// Whether the key is in the entry's ranges.
    ///
    /// # Safety
    ///
    /// The processor has the instructions, and the word is one that they are for.
    unsafe fn accepts<W: Word, A, const D: usize>(self, key: &[W; D], entry: &Entry<W, A, D>) -> bool;

    /// Which of sixteen rules accept the key: the lowest bit for the first.
    ///
    /// # Safety
    ///
    /// As [`accepts`](Self::accepts).
    unsafe fn accepting<W: Word, const D: usize>(self, key: &[W; D], rules: &Lanes<W, D>) -> u16;
}

#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Compare for Portable {
    #[inline(always)]
    unsafe fn accepts<W: Word, A, const D: usize>(self, key: &[W; D], entry: &Entry<W, A, D>) -> bool {
        let mut inside = true;
        for ((value, &low), span) in key.iter().zip(&entry.low).zip(&entry.span) {
            inside &= value.wrapping_sub(low) <= *span;
        }
        inside
    }

    #[inline(always)]
    unsafe fn accepting<W: Word, const D: usize>(self, key: &[W; D], rules: &Lanes<W, D>) -> u16 {
        let mut accepting = u16::MAX;
        for (dimension, &value) in key.iter().enumerate() {
            let mut inside = 0u16;
            for lane in 0..BLOCK {
                let offset = value.wrapping_sub(rules.low[dimension][lane]);
                let lane_inside = offset <= rules.span[dimension][lane];
                inside |= u16::from(lane_inside) << lane;
            }
            accepting &= inside;
            if accepting == 0 {
                break;
            }
        }
        accepting
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{BLOCK, Compare, Entry, Lanes, Word};

    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx2;

    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx512;

    impl Compare for Avx2 {
        #[inline(always)]
        unsafe fn accepts<W: Word, A, const D: usize>(self, key: &[W; D], entry: &Entry<W, A, D>) -> bool {
            // SAFETY: the caller's promise: D words of 32 bits each.
            unsafe {
                accepts_avx2(
                    key.as_ptr().cast(),
                    entry.low.as_ptr().cast(),
                    entry.span.as_ptr().cast(),
                    D,
                )
            }
        }

        #[inline(always)]
        unsafe fn accepting<W: Word, const D: usize>(self, key: &[W; D], rules: &Lanes<W, D>) -> u16 {
            // SAFETY: the caller's promise; the key has D words of 32 bits, and the lanes that times 16.
            unsafe {
                accepting_avx2(
                    key.as_ptr().cast(),
                    rules.low.as_ptr().cast(),
                    rules.span.as_ptr().cast(),
                    D,
                )
            }
        }
    }

    impl Compare for Avx512 {
        #[inline(always)]
        unsafe fn accepts<W: Word, A, const D: usize>(self, key: &[W; D], entry: &Entry<W, A, D>) -> bool {
            // SAFETY: the caller's promise: D words of 32 bits each.
            unsafe {
                accepts_avx512(
                    key.as_ptr().cast(),
                    entry.low.as_ptr().cast(),
                    entry.span.as_ptr().cast(),
                    D,
                )
            }
        }

        #[inline(always)]
        unsafe fn accepting<W: Word, const D: usize>(self, key: &[W; D], rules: &Lanes<W, D>) -> u16 {
            // SAFETY: the caller's promise; the key has D words of 32 bits, and the lanes that times 16.
            unsafe {
                accepting_avx512(
                    key.as_ptr().cast(),
                    rules.low.as_ptr().cast(),
                    rules.span.as_ptr().cast(),
                    D,
                )
            }
        }
    }

    /// Whether each of `count` values is in its range.
    ///
    /// # Safety
    ///
    /// The processor has AVX2, and `count` words can be read from each.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn accepts_avx2(key: *const u32, low: *const u32, span: *const u32, count: usize) -> bool {
        let mut inside = _mm256_set1_epi32(-1);
        for at in (0..count).step_by(8) {
            // Words behind the last are not read: others write there.
            let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            let mask = _mm256_cmpgt_epi32(_mm256_set1_epi32((count - at) as i32), lanes);
            // SAFETY: the mask leaves out what is behind `count`.
            let (key, low, span) = unsafe {
                (
                    _mm256_maskload_epi32(key.add(at).cast(), mask),
                    _mm256_maskload_epi32(low.add(at).cast(), mask),
                    _mm256_maskload_epi32(span.add(at).cast(), mask),
                )
            };
            // Lanes that are left out hold 0 everywhere.
            let offset = _mm256_sub_epi32(key, low);
            inside = _mm256_and_si256(inside, _mm256_cmpeq_epi32(_mm256_min_epu32(offset, span), offset));
        }
        _mm256_movemask_epi8(inside) == -1
    }

    /// Which of 16 rules hold the key's `count` values.
    ///
    /// # Safety
    ///
    /// The processor has AVX2; `count` words can be read from the key, and 16 times that from the others.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn accepting_avx2(key: *const u32, low: *const u32, span: *const u32, count: usize) -> u16 {
        let mut accepting = u16::MAX;
        for dimension in 0..count {
            let mut inside = 0u32;
            // SAFETY: the caller's promise: 16 words of each for every dimension.
            let (value, low, span) = unsafe {
                (
                    _mm256_set1_epi32(key.add(dimension).read() as i32),
                    low.add(dimension * BLOCK),
                    span.add(dimension * BLOCK),
                )
            };
            for half in 0..2 {
                // SAFETY: as above.
                let (low, span) = unsafe {
                    (
                        _mm256_loadu_si256(low.add(half * 8).cast()),
                        _mm256_loadu_si256(span.add(half * 8).cast()),
                    )
                };
                let offset = _mm256_sub_epi32(value, low);
                let lanes = _mm256_cmpeq_epi32(_mm256_min_epu32(offset, span), offset);
                inside |= (_mm256_movemask_ps(_mm256_castsi256_ps(lanes)) as u32) << (half * 8);
            }
            accepting &= inside as u16;
        }
        accepting
    }

    /// Whether each of `count` values is in its range.
    ///
    /// # Safety
    ///
    /// The processor has AVX-512 F and VL, and `count` words can be read from each.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl")]
    unsafe fn accepts_avx512(key: *const u32, low: *const u32, span: *const u32, count: usize) -> bool {
        let mut outside = 0;
        for at in (0..count).step_by(8) {
            // Words behind the last are not read: others write there.
            let mask = ((1u32 << (count - at).min(8)) - 1) as u8;
            // SAFETY: the mask leaves out what is behind `count`.
            let (key, low, span) = unsafe {
                (
                    _mm256_maskz_loadu_epi32(mask, key.add(at).cast()),
                    _mm256_maskz_loadu_epi32(mask, low.add(at).cast()),
                    _mm256_maskz_loadu_epi32(mask, span.add(at).cast()),
                )
            };
            // Lanes that are left out hold 0 everywhere.
            outside |= _mm256_cmpgt_epu32_mask(_mm256_sub_epi32(key, low), span);
        }
        outside == 0
    }

    /// Which of 16 rules hold the key's `count` values.
    ///
    /// # Safety
    ///
    /// The processor has AVX-512 F; `count` words can be read from the key, and 16 times that from the
    /// others.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn accepting_avx512(key: *const u32, low: *const u32, span: *const u32, count: usize) -> u16 {
        let mut accepting = u16::MAX;
        for dimension in 0..count {
            // SAFETY: the caller's promise: 16 words of each for every dimension.
            let (value, low, span) = unsafe {
                (
                    _mm512_set1_epi32(key.add(dimension).read() as i32),
                    _mm512_loadu_si512(low.add(dimension * BLOCK).cast()),
                    _mm512_loadu_si512(span.add(dimension * BLOCK).cast()),
                )
            };
            // Not masked by what accepts so far: the dimensions needn't wait for one another.
            accepting &= _mm512_cmple_epu32_mask(_mm512_sub_epi32(value, low), span);
        }
        accepting
    }
}
