//! Rows out of columns: typed, checked once per batch, without a copy.

use crate::columns::{Batch, Column, Text, Values};
use crate::declaration::FieldKind;

/// A struct of the fields that a rule reads: `#[derive(Signal)]` or `#[derive(Candidate)]`.
pub trait Signal<'b>: Sized {
    /// Path and kind of each field, in the order of the struct.
    const FIELDS: &'static [(&'static str, FieldKind)];

    /// One reader for each field.
    type Readers;

    /// Makes the readers, once for each batch.
    fn readers(batch: &'b Batch) -> Self::Readers;

    /// Row `row`, or the path of the field that it lacks.
    fn read(readers: &Self::Readers, row: usize) -> Result<Self, &'static str>;
}

/// The settings of a rule: what the user's configuration gives it.
pub trait Settings: Sized {
    /// Reads the settings, once for each instance.
    ///
    /// # Errors
    /// A text for the user: which setting, what was expected, what came.
    fn read(settings: &[(String, String)]) -> Result<Self, String>;
}

/// A rule without settings refuses any.
impl Settings for () {
    fn read(settings: &[(String, String)]) -> Result<Self, String> {
        match settings.first() {
            None => Ok(()),
            Some((name, _)) => Err(format!("unknown setting `{name}`: this rule has no settings")),
        }
    }
}

/// A type that a field may have: `&str`, `i64`, `f64`, `bool`, or an `Option` of one.
pub trait FieldValue<'b>: Sized {
    /// How it crosses.
    const KIND: FieldKind;
    /// What reads it.
    type Reader;
    /// Makes the reader of one column.
    fn reader(column: &'b Column) -> Self::Reader;
    /// The value of a row, if it has one.
    fn get(reader: &Self::Reader, row: usize) -> Option<Self>;
}

/// Reads a text column; the host guarantees that it is UTF-8 and sound.
pub struct TextReader<'b> {
    present: &'b [u8],
    codes: Option<&'b [u32]>,
    offsets: &'b [u32],
    data: &'b str,
}

fn is_present(present: &[u8], row: usize) -> bool {
    present.get(row).is_none_or(|&present| present != 0)
}

impl<'b> FieldValue<'b> for &'b str {
    const KIND: FieldKind = FieldKind::Text;
    type Reader = TextReader<'b>;

    fn reader(column: &'b Column) -> TextReader<'b> {
        let of = |text: &'b Text, codes| TextReader {
            present: &column.present,
            codes,
            offsets: &text.offsets,
            data: simdutf8::basic::from_utf8(&text.data).expect("the host sends UTF-8"),
        };
        match &column.values {
            Values::Text(text) => of(text, None),
            Values::Dict(dict) => of(&dict.entries, Some(&dict.codes)),
            other => panic!("the host sent {other:?} for a text field"),
        }
    }

    #[inline]
    fn get(reader: &TextReader<'b>, row: usize) -> Option<Self> {
        if !is_present(reader.present, row) {
            return None;
        }
        let entry = match reader.codes {
            None => row,
            Some(codes) => *codes.get(row)? as usize,
        };
        // One check of bounds for both offsets; the host never sends ones that are not sound.
        match reader.offsets.get(entry..entry + 2) {
            Some(&[start, end]) => reader.data.get(start as usize..end as usize),
            _ => None,
        }
    }
}

macro_rules! scalar_field {
    ($type:ty, $kind:ident, $values:ident, $element:ty, $convert:expr) => {
        impl<'b> FieldValue<'b> for $type {
            const KIND: FieldKind = FieldKind::$kind;
            type Reader = (&'b [u8], &'b [$element]);

            fn reader(column: &'b Column) -> Self::Reader {
                match &column.values {
                    Values::$values(values) => (&column.present, values),
                    other => panic!("the host sent {other:?} for a field of another kind"),
                }
            }

            #[inline]
            fn get(reader: &Self::Reader, row: usize) -> Option<Self> {
                is_present(reader.0, row).then(|| $convert(reader.1[row]))
            }
        }
    };
}
scalar_field!(i64, Int, Ints, i64, |value| value);
scalar_field!(f64, Float, Floats, f64, |value| value);
scalar_field!(bool, Bool, Bools, u8, |value| value != 0);

/// What the derives call: a required field, or an optional one.
pub trait FieldSlot<'b>: Sized {
    /// How it crosses.
    const KIND: FieldKind;
    /// What reads it.
    type Reader;
    /// Makes the reader of one column.
    fn reader(column: &'b Column) -> Self::Reader;
    /// The value; an error if the row lacks a required one.
    fn read(reader: &Self::Reader, row: usize, path: &'static str) -> Result<Self, &'static str>;
}

macro_rules! required_slot {
    ($($type:ty),*) => {$(
        impl<'b> FieldSlot<'b> for $type {
            const KIND: FieldKind = <$type as FieldValue<'b>>::KIND;
            type Reader = <$type as FieldValue<'b>>::Reader;
            fn reader(column: &'b Column) -> Self::Reader {
                <$type as FieldValue<'b>>::reader(column)
            }
            #[inline]
            fn read(reader: &Self::Reader, row: usize, path: &'static str) -> Result<Self, &'static str> {
                <$type as FieldValue<'b>>::get(reader, row).ok_or(path)
            }
        }
    )*};
}
required_slot!(&'b str, i64, f64, bool);

impl<'b, T: FieldValue<'b>> FieldSlot<'b> for Option<T> {
    const KIND: FieldKind = T::KIND;
    type Reader = T::Reader;
    fn reader(column: &'b Column) -> Self::Reader {
        T::reader(column)
    }
    #[inline]
    fn read(reader: &Self::Reader, row: usize, _: &'static str) -> Result<Self, &'static str> {
        Ok(T::get(reader, row))
    }
}
