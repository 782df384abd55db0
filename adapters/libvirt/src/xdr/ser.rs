//! The XDR encoder.

use serde::ser::{
    Impossible, Serialize, SerializeSeq, SerializeStruct, SerializeTuple, SerializeTupleStruct,
    Serializer,
};

use vsiflow_steps::host_text;

use super::{STRING_MAX, XdrError, padding};

/// Collects the encoded bytes.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    out: Vec<u8>,
}

impl Encoder {
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    fn word(&mut self, word: [u8; 4]) -> Result<(), XdrError> {
        self.out.extend_from_slice(&word);
        Ok(())
    }

    fn count(&mut self, length: usize) -> Result<(), XdrError> {
        let count = u32::try_from(length).map_err(|_| XdrError::TooLong(length as u64))?;
        self.word(count.to_be_bytes())
    }

    fn opaque(&mut self, bytes: &[u8]) -> Result<(), XdrError> {
        if bytes.len() > STRING_MAX {
            return Err(XdrError::TooLong(bytes.len() as u64));
        }
        self.count(bytes.len())?;
        self.out.extend_from_slice(bytes);
        self.out
            .resize(self.out.len().saturating_add(padding(bytes.len())), 0);
        Ok(())
    }
}

impl Serializer for &mut Encoder {
    type Ok = ();
    type Error = XdrError;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeStruct = Self;
    type SerializeTupleVariant = Impossible<(), XdrError>;
    type SerializeMap = Impossible<(), XdrError>;
    type SerializeStructVariant = Impossible<(), XdrError>;

    fn serialize_bool(self, v: bool) -> Result<(), XdrError> {
        self.word(u32::from(v).to_be_bytes())
    }

    fn serialize_i8(self, v: i8) -> Result<(), XdrError> {
        self.word(i32::from(v).to_be_bytes())
    }

    fn serialize_i16(self, v: i16) -> Result<(), XdrError> {
        self.word(i32::from(v).to_be_bytes())
    }

    fn serialize_i32(self, v: i32) -> Result<(), XdrError> {
        self.word(v.to_be_bytes())
    }

    fn serialize_i64(self, v: i64) -> Result<(), XdrError> {
        self.out.extend_from_slice(&v.to_be_bytes());
        Ok(())
    }

    fn serialize_u8(self, v: u8) -> Result<(), XdrError> {
        self.word(u32::from(v).to_be_bytes())
    }

    fn serialize_u16(self, v: u16) -> Result<(), XdrError> {
        self.word(u32::from(v).to_be_bytes())
    }

    fn serialize_u32(self, v: u32) -> Result<(), XdrError> {
        self.word(v.to_be_bytes())
    }

    fn serialize_u64(self, v: u64) -> Result<(), XdrError> {
        self.out.extend_from_slice(&v.to_be_bytes());
        Ok(())
    }

    fn serialize_f32(self, v: f32) -> Result<(), XdrError> {
        self.word(v.to_be_bytes())
    }

    fn serialize_f64(self, v: f64) -> Result<(), XdrError> {
        self.out.extend_from_slice(&v.to_be_bytes());
        Ok(())
    }

    fn serialize_char(self, _: char) -> Result<(), XdrError> {
        Err(XdrError::Unsupported("char"))
    }

    fn serialize_str(self, v: &str) -> Result<(), XdrError> {
        self.opaque(&host_text::bytes(v))
    }

    fn serialize_bytes(self, v: &[u8]) -> Result<(), XdrError> {
        self.opaque(v)
    }

    fn serialize_none(self) -> Result<(), XdrError> {
        self.serialize_bool(false)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), XdrError> {
        self.serialize_bool(true)?;
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), XdrError> {
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), XdrError> {
        Ok(())
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
    ) -> Result<(), XdrError> {
        self.serialize_u32(index)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), XdrError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), XdrError> {
        Err(XdrError::Unsupported("a union"))
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Self, XdrError> {
        self.count(length.ok_or(XdrError::Unsupported("a sequence of unknown length"))?)?;
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, XdrError> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, XdrError> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, XdrError> {
        Err(XdrError::Unsupported("a union"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, XdrError> {
        Err(XdrError::Unsupported("a map"))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, XdrError> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, XdrError> {
        Err(XdrError::Unsupported("a union"))
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

impl SerializeSeq for &mut Encoder {
    type Ok = ();
    type Error = XdrError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), XdrError> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), XdrError> {
        Ok(())
    }
}

impl SerializeTuple for &mut Encoder {
    type Ok = ();
    type Error = XdrError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), XdrError> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), XdrError> {
        Ok(())
    }
}

impl SerializeTupleStruct for &mut Encoder {
    type Ok = ();
    type Error = XdrError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), XdrError> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), XdrError> {
        Ok(())
    }
}

impl SerializeStruct for &mut Encoder {
    type Ok = ();
    type Error = XdrError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        _: &'static str,
        value: &T,
    ) -> Result<(), XdrError> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), XdrError> {
        Ok(())
    }
}
