//! Values in JSON, each given to a function as text.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};

use super::read::Reading;
use crate::rules::notation;

/// A text, given to a function as it stands.
pub(super) struct Text<F>(pub(super) F);

impl<'de, T, F: FnOnce(&str) -> T> DeserializeSeed<'de> for Text<F> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<T, D::Error> {
        json.deserialize_str(self)
    }
}

impl<T, F: FnOnce(&str) -> T> Visitor<'_> for Text<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        Ok((self.0)(text))
    }
}

/// A text or a number, or a list of them, each given to a function as text.
pub(super) struct OneOrMore<'a, 'r, F> {
    pub(super) reading: &'a mut Reading<'r>,
    pub(super) take: &'a mut F,
    pub(super) may_be_list: bool,
}

impl<'de, 'r, F: FnMut(&mut Reading<'r>, &str)> DeserializeSeed<'de> for OneOrMore<'_, 'r, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de, 'r, F: FnMut(&mut Reading<'r>, &str)> Visitor<'de> for OneOrMore<'_, 'r, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.may_be_list {
            true => "a value or a list of values",
            false => "a text or a number",
        })
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        (self.take)(self.reading, text);
        Ok(())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        let mut text = std::mem::take(&mut self.reading.scratch);
        text.clear();
        match u32::try_from(number) {
            Ok(number) => notation::write_number(number, &mut text),
            Err(_) => text.push_str(&number.to_string()),
        }
        (self.take)(self.reading, &text);
        self.reading.scratch = text;
        Ok(())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.visit_str(&number.to_string())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        if !self.may_be_list {
            return Err(A::Error::invalid_type(serde::de::Unexpected::Seq, &self));
        }
        loop {
            let next = OneOrMore {
                reading: &mut *self.reading,
                take: &mut *self.take,
                may_be_list: false,
            };
            if list.next_element_seed(next)?.is_none() {
                return Ok(());
            }
        }
    }
}
