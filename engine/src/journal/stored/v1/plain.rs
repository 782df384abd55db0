//! Conversions of numbers, texts and collections between version 1 and the model.

use std::collections::{BTreeMap, BTreeSet};

use bincode::{
    Decode, Encode,
    de::{Decoder, read::Reader as _},
    enc::Encoder,
    error::{DecodeError, EncodeError},
};
use compact_str::CompactString;
use ulid::Ulid;

use super::super::{Mirror, Unreadable};
use crate::model::{Hash, Name, RunId, Text, Timestamp, WarrantId, Who};

macro_rules! same {
    ($($type:ty)*) => {
        $(impl Mirror<$type> for $type {
            fn store(model: &$type) -> Self {
                *model
            }

            fn restore(self) -> Result<$type, Unreadable> {
                Ok(self)
            }
        })*
    };
}

same!(bool u16 u32 u64 i64);

impl Mirror<Timestamp> for u64 {
    fn store(model: &Timestamp) -> Self {
        model.0
    }

    fn restore(self) -> Result<Timestamp, Unreadable> {
        Ok(Timestamp(self))
    }
}

impl Mirror<RunId> for [u8; 16] {
    fn store(model: &RunId) -> Self {
        model.0.to_bytes()
    }

    fn restore(self) -> Result<RunId, Unreadable> {
        Ok(RunId(Ulid::from_bytes(self)))
    }
}

impl Mirror<WarrantId> for [u8; 16] {
    fn store(model: &WarrantId) -> Self {
        model.0.to_bytes()
    }

    fn restore(self) -> Result<WarrantId, Unreadable> {
        Ok(WarrantId(Ulid::from_bytes(self)))
    }
}

impl Mirror<Hash> for [u8; 32] {
    fn store(model: &Hash) -> Self {
        model.0
    }

    fn restore(self) -> Result<Hash, Unreadable> {
        Ok(Hash(self))
    }
}

/// A name, stored like a `String`. A graph has dozens of names, and nearly all of them fit inline,
/// without an allocation.
pub(crate) struct StoredName(CompactString);

impl Encode for StoredName {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.0.as_str().encode(encoder)
    }
}

impl<Context> Decode<Context> for StoredName {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let length = u64::decode(decoder)?;
        let size = usize::try_from(length).map_err(|_| DecodeError::OutsideUsizeRange(length))?;
        decoder.claim_container_read::<u8>(size)?;
        let mut longest = [0; Name::MAX];
        let bytes = longest
            .get_mut(..size)
            .ok_or(DecodeError::Other("longer than a name"))?;
        decoder.reader().read(bytes)?;
        let text = CompactString::from_utf8(bytes);
        text.map(Self)
            .map_err(|_| DecodeError::Other("a name is not UTF-8"))
    }
}

bincode::impl_borrow_decode!(StoredName);

impl Mirror<Name> for StoredName {
    fn store(model: &Name) -> Self {
        Self(model.clone().into())
    }

    fn restore(self) -> Result<Name, Unreadable> {
        Name::try_from(self.0).map_err(|e| Unreadable::Damaged(e.to_string()))
    }
}

impl Mirror<Text> for String {
    fn store(model: &Text) -> Self {
        model.as_str().to_owned()
    }

    fn restore(self) -> Result<Text, Unreadable> {
        Ok(Text::from(self))
    }
}

impl Mirror<Who> for String {
    fn store(model: &Who) -> Self {
        model.as_str().to_owned()
    }

    fn restore(self) -> Result<Who, Unreadable> {
        Ok(Who::from(self))
    }
}

impl<M, S: Mirror<M>> Mirror<Vec<M>> for Vec<S> {
    fn store(model: &Vec<M>) -> Self {
        model.iter().map(S::store).collect()
    }

    fn restore(self) -> Result<Vec<M>, Unreadable> {
        self.into_iter().map(S::restore).collect()
    }
}

impl<A: Ord, S: Mirror<A>> Mirror<BTreeSet<A>> for Vec<S> {
    fn store(model: &BTreeSet<A>) -> Self {
        model.iter().map(S::store).collect()
    }

    fn restore(self) -> Result<BTreeSet<A>, Unreadable> {
        self.into_iter().map(S::restore).collect()
    }
}

impl<A: Ord, B, S: Mirror<A>, T: Mirror<B>> Mirror<BTreeMap<A, B>> for Vec<(S, T)> {
    fn store(model: &BTreeMap<A, B>) -> Self {
        let entries = model.iter();
        entries
            .map(|(key, value)| (S::store(key), T::store(value)))
            .collect()
    }

    fn restore(self) -> Result<BTreeMap<A, B>, Unreadable> {
        self.into_iter().map(<(S, T)>::restore).collect()
    }
}

impl<A, B, S: Mirror<A>, T: Mirror<B>> Mirror<(A, B)> for (S, T) {
    fn store(model: &(A, B)) -> Self {
        (S::store(&model.0), T::store(&model.1))
    }

    fn restore(self) -> Result<(A, B), Unreadable> {
        Ok((self.0.restore()?, self.1.restore()?))
    }
}

impl<M, S: Mirror<M>> Mirror<Box<M>> for Box<S> {
    fn store(model: &Box<M>) -> Self {
        Self::new(S::store(model))
    }

    fn restore(self) -> Result<Box<M>, Unreadable> {
        (*self).restore().map(Box::new)
    }
}

impl<M, S: Mirror<M>> Mirror<Option<M>> for Option<S> {
    fn store(model: &Option<M>) -> Self {
        model.as_ref().map(S::store)
    }

    fn restore(self) -> Result<Option<M>, Unreadable> {
        self.map(S::restore).transpose()
    }
}
