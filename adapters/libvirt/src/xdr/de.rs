//! The XDR decoder.

use std::borrow::Cow;

use serde::de::value::U32Deserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, SeqAccess, VariantAccess, Visitor,
};

use vsiflow_steps::host_text;

use super::{STRING_MAX, XdrError, padding};

/// Reads the input; never beyond its end.
#[derive(Debug)]
pub(super) struct Decoder<'de> {
    input: &'de [u8],
}

impl<'de> Decoder<'de> {
    pub(super) fn new(input: &'de [u8]) -> Self {
        Self { input }
    }

    pub(super) fn remaining(&self) -> usize {
        self.input.len()
    }

    fn take(&mut self, length: usize) -> Result<&'de [u8], XdrError> {
        let (head, tail) = self
            .input
            .split_at_checked(length)
            .ok_or(XdrError::Truncated)?;
        self.input = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], XdrError> {
        let (head, tail) = self
            .input
            .split_first_chunk::<N>()
            .ok_or(XdrError::Truncated)?;
        self.input = tail;
        Ok(*head)
    }

    fn int(&mut self) -> Result<i32, XdrError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    fn uint(&mut self) -> Result<u32, XdrError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn flag(&mut self) -> Result<bool, XdrError> {
        match self.uint()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(XdrError::OutOfRange(i64::from(other))),
        }
    }

    /// A counted byte string.
    fn opaque(&mut self) -> Result<&'de [u8], XdrError> {
        let count = self.uint()?;
        let length = usize::try_from(count).map_err(|_| XdrError::TooLong(u64::from(count)))?;
        if length > STRING_MAX {
            return Err(XdrError::TooLong(u64::from(count)));
        }
        let bytes = self.take(length)?;
        self.take(padding(length))?;
        Ok(bytes)
    }

    /// A string that keeps bytes that are not UTF-8: libvirt passes file names on unchanged, and finds a volume
    /// only by the same bytes.
    fn string(&mut self) -> Result<Cow<'de, str>, XdrError> {
        Ok(host_text::read(self.opaque()?))
    }

    /// A count of elements. An element has at least four bytes on the wire, so a larger count is refused
    /// before anything is allocated.
    fn count(&mut self) -> Result<usize, XdrError> {
        let count = self.uint()?;
        let length = usize::try_from(count).map_err(|_| XdrError::TooLong(u64::from(count)))?;
        if length > self.remaining() / 4 {
            return Err(XdrError::TooLong(u64::from(count)));
        }
        Ok(length)
    }
}

fn narrow<T: TryFrom<i64>>(value: impl Into<i64>) -> Result<T, XdrError> {
    let number = value.into();
    T::try_from(number).map_err(|_| XdrError::OutOfRange(number))
}

impl<'de> Deserializer<'de> for &mut Decoder<'de> {
    type Error = XdrError;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, XdrError> {
        Err(XdrError::Unsupported("a value of unknown type"))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, XdrError> {
        visitor.visit_bool(self.flag()?)
    }

    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, XdrError> {
        visitor.visit_i8(narrow(self.int()?)?)
    }

    fn deserialize_i16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, XdrError> {
        visitor.visit_i16(narrow(self.int()?)?)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, XdrError> {
        visitor.visit_i32(self.int()?)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, XdrError> {
        visitor.visit_i64(i64::from_be_bytes(self.array()?))
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, XdrError> {
        visitor.visit_u8(narrow(self.uint()?)?)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, XdrError> {
        visitor.visit_u16(narrow(self.uint()?)?)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, XdrError> {
        visitor.visit_u32(self.uint()?)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, XdrError> {
        visitor.visit_u64(u64::from_be_bytes(self.array()?))
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, XdrError> {
        visitor.visit_f32(f32::from_be_bytes(self.array()?))
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, XdrError> {
        visitor.visit_f64(f64::from_be_bytes(self.array()?))
    }

    fn deserialize_char<V: Visitor<'de>>(self, _: V) -> Result<V::Value, XdrError> {
        Err(XdrError::Unsupported("char"))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, XdrError> {
        match self.string()? {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, XdrError> {
        match self.string()? {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, XdrError> {
        visitor.visit_borrowed_bytes(self.opaque()?)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, XdrError> {
        visitor.visit_borrowed_bytes(self.opaque()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, XdrError> {
        if self.flag()? {
            visitor.visit_some(self)
        } else {
            visitor.visit_none()
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, XdrError> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, XdrError> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, XdrError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, XdrError> {
        let count = self.count()?;
        visitor.visit_seq(Elements {
            decoder: self,
            left: count,
        })
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, XdrError> {
        visitor.visit_seq(Elements {
            decoder: self,
            left: length,
        })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, XdrError> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, _: V) -> Result<V::Value, XdrError> {
        Err(XdrError::Unsupported("a map"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, XdrError> {
        self.deserialize_tuple(fields.len(), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, XdrError> {
        visitor.visit_enum(Variant(self.uint()?))
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, _: V) -> Result<V::Value, XdrError> {
        Err(XdrError::Unsupported("an identifier"))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, XdrError> {
        Err(XdrError::Unsupported("an ignored value"))
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// The elements of a sequence, or the fields of a struct.
struct Elements<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    left: usize,
}

impl<'de> SeqAccess<'de> for Elements<'_, 'de> {
    type Error = XdrError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, XdrError> {
        let Some(remaining) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        self.left = remaining;
        seed.deserialize(&mut *self.decoder).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// The variant of a unit enum, by its index.
struct Variant(u32);

impl<'de> EnumAccess<'de> for Variant {
    type Error = XdrError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), XdrError> {
        let index: U32Deserializer<XdrError> = self.0.into_deserializer();
        Ok((seed.deserialize(index)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant {
    type Error = XdrError;

    fn unit_variant(self) -> Result<(), XdrError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, XdrError> {
        Err(XdrError::Unsupported("a union"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, XdrError> {
        Err(XdrError::Unsupported("a union"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, XdrError> {
        Err(XdrError::Unsupported("a union"))
    }
}
