//! Rule lists on their way: a text that comes in parts, and is nothing before its last one.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::time::Time;

/// Texts that may be on their way at once.
const MOST: usize = 8;
/// How long one may rest before it is forgotten.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of all of them together: some ten million short rules.
pub(super) const MAX_BYTES: usize = 1 << 30;

/// Why a part was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UploadError {
    /// Too many at once.
    #[error("{MOST} loads are under way already; try again later")]
    Busy,
    /// Unknown, or forgotten.
    #[error("there is no load {0}: it was ended, or nothing came for a minute; begin again")]
    Unknown(u64),
    /// Too long.
    #[error("the rules under way are longer than {} MiB together", MAX_BYTES >> 20)]
    TooLong,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    under_way: BTreeMap<u64, Upload>,
    last: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Upload {
    text: String,
    touched: Time,
}

impl Uploads {
    /// Begins one; its number.
    pub(super) fn begin(&mut self, now: Time) -> Result<u64, UploadError> {
        self.forget(now);
        if self.under_way.len() >= MOST {
            return Err(UploadError::Busy);
        }
        self.last += 1;
        let upload = Upload {
            text: String::new(),
            touched: now,
        };
        self.under_way.insert(self.last, upload);
        Ok(self.last)
    }

    /// Adds a part.
    pub(super) fn add(&mut self, number: u64, part: &str, now: Time) -> Result<(), UploadError> {
        self.forget(now);
        let upload = self
            .under_way
            .get_mut(&number)
            .ok_or(UploadError::Unknown(number))?;
        if self.bytes + part.len() > MAX_BYTES {
            self.end(number);
            return Err(UploadError::TooLong);
        }
        upload.text.push_str(part);
        upload.touched = now;
        self.bytes += part.len();
        Ok(())
    }

    /// Takes one out, whole.
    pub(super) fn take(&mut self, number: u64, now: Time) -> Result<String, UploadError> {
        self.forget(now);
        self.end(number).ok_or(UploadError::Unknown(number))
    }

    fn end(&mut self, number: u64) -> Option<String> {
        let upload = self.under_way.remove(&number)?;
        self.bytes -= upload.text.len();
        Some(upload.text)
    }

    fn forget(&mut self, now: Time) {
        let late = |upload: &Upload| now.since(upload.touched) >= PATIENCE;
        let late: Vec<u64> = self
            .under_way
            .iter()
            .filter(|(_, upload)| late(upload))
            .map(|(number, _)| *number)
            .collect();
        for number in late {
            self.end(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn parts_are_one_text_in_the_end() {
        let mut uploads = Uploads::default();
        let (first, second) = (uploads.begin(at(0)).unwrap(), uploads.begin(at(0)).unwrap());
        for (number, part) in [(first, "a"), (second, "x"), (first, "b")] {
            uploads.add(number, part, at(1)).unwrap();
        }
        assert_eq!(uploads.take(first, at(2)), Ok("ab".to_owned()));
        assert_eq!(uploads.take(first, at(2)), Err(UploadError::Unknown(first)));
        assert_eq!(uploads.bytes, 1);
    }

    #[test]
    fn what_rests_is_forgotten_and_makes_room() {
        let mut uploads = Uploads::default();
        let numbers: Vec<u64> = (0..MOST).map(|_| uploads.begin(at(0)).unwrap()).collect();
        assert_eq!(uploads.begin(at(59)), Err(UploadError::Busy));
        uploads.add(numbers[0], "a", at(59)).unwrap();
        assert!(uploads.begin(at(60)).is_ok());
        assert_eq!(
            uploads.add(numbers[1], "a", at(60)),
            Err(UploadError::Unknown(numbers[1]))
        );
        assert_eq!(uploads.take(numbers[0], at(61)), Ok("a".to_owned()));
        assert_eq!(uploads.bytes, 0);
    }

    #[test]
    fn texts_are_bounded_together() {
        let mut uploads = Uploads::default();
        let number = uploads.begin(at(0)).unwrap();
        uploads.bytes = MAX_BYTES - 1;
        assert_eq!(uploads.add(number, "ab", at(0)), Err(UploadError::TooLong));
        assert_eq!(uploads.take(number, at(0)), Err(UploadError::Unknown(number)));
    }
}
