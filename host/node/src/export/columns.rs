//! Columns of a Parquet file, and rows on their way to it.

use std::fs::File;
use std::sync::Arc;

use anyhow::{Context, Result};
use parquet::basic::{Compression, Encoding, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{ColumnPath, Type, TypePtr};

use super::{Exported, What};

/// A row group is closed once it has so many rows: about as many as DuckDB likes.
const GROUP_ROWS_MAX: usize = 1 << 17;

/// A row group is closed once its texts have so many bytes.
const GROUP_BYTES_MAX: usize = 32 << 20;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Whole numbers.
    Number,
    /// Microseconds since 1970 in UTC.
    Time,
    /// Few texts, again and again.
    Name,
    /// Many texts.
    Text,
    /// JSON.
    Json,
    /// Bytes.
    Bytes,
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether every row has it.
    pub required: bool,
}

impl Column {
    /// A column that rows may lack.
    pub const fn new(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, required: false }
    }

    /// A column that every row has.
    pub const fn required(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, required: true }
    }

    fn is_number(&self) -> bool {
        matches!(self.kind, Kind::Number | Kind::Time)
    }

    fn schema(&self) -> Result<TypePtr> {
        let (physical, logical) = match self.kind {
            Kind::Number => (Physical::INT64, None),
            Kind::Time => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
            // JSON is a text to those who read it; its own type is an extension in some of them.
            Kind::Name | Kind::Text | Kind::Json => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            Kind::Bytes => (Physical::BYTE_ARRAY, None),
        };
        let repetition = if self.required { Repetition::REQUIRED } else { Repetition::OPTIONAL };
        let built = Type::primitive_type_builder(self.name, physical).with_logical_type(logical);
        Ok(Arc::new(built.with_repetition(repetition).build()?))
    }

    fn properties(&self, all: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
        let path = ColumnPath::from(self.name);
        match self.kind {
            Kind::Name => all,
            // Positions grow by little, and so do times.
            Kind::Number | Kind::Time => all
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED),
            Kind::Text | Kind::Json | Kind::Bytes => all.set_column_dictionary_enabled(path, false),
        }
    }
}

/// What a row has in a column.
#[derive(Clone, Debug, Default)]
pub enum Cell {
    /// Nothing.
    #[default]
    Null,
    /// A number or a time.
    Number(i64),
    /// A text, JSON or bytes.
    Text(ByteArray),
}

impl From<u64> for Cell {
    /// Positions and counts are far below what does not fit.
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<&ByteArray> for Cell {
    /// Shares the bytes.
    fn from(text: &ByteArray) -> Self {
        Self::Text(text.clone())
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// The cells of one column of the row group that is open.
struct Cells {
    /// Which cell of a row.
    index: usize,
    column: Column,
    numbers: Vec<i64>,
    texts: Vec<ByteArray>,
    /// 1 where a row has a value, else 0.
    levels: Vec<i16>,
}

impl Cells {
    fn push(&mut self, cell: Cell) -> usize {
        self.levels.push(i16::from(!matches!(cell, Cell::Null)));
        match cell {
            Cell::Null => 0,
            Cell::Number(number) => {
                debug_assert!(self.column.is_number());
                self.numbers.push(number);
                0
            }
            Cell::Text(text) => {
                debug_assert!(!self.column.is_number());
                let bytes = text.len();
                self.texts.push(text);
                bytes
            }
        }
    }

    fn write(&mut self, mut writer: SerializedColumnWriter<'_>) -> Result<()> {
        let levels = (!self.column.required).then_some(self.levels.as_slice());
        if self.column.is_number() {
            writer.typed::<Int64Type>().write_batch(&self.numbers, levels, None)?;
        } else {
            writer.typed::<ByteArrayType>().write_batch(&self.texts, levels, None)?;
        }
        writer.close()?;
        self.numbers.clear();
        self.texts.clear();
        self.levels.clear();
        Ok(())
    }
}

/// Rows on their way to a file.
pub struct Rows {
    file: SerializedFileWriter<File>,
    cells: Vec<Cells>,
    group_rows: usize,
    group_bytes: usize,
    exported: Exported,
}

impl Rows {
    /// Begins a file with these columns.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn new(file: File, what: What, chosen: Vec<usize>) -> Result<Self> {
        let of = |index: usize| what.columns()[index];
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_created_by(format!("stillhouse {}", env!("CARGO_PKG_VERSION")))
            .set_key_value_metadata(Some(vec![KeyValue::new("stillhouse.what".to_owned(), what.name().to_owned())]));
        let mut fields = Vec::new();
        for &index in &chosen {
            properties = of(index).properties(properties);
            fields.push(of(index).schema()?);
        }
        let schema = Arc::new(Type::group_type_builder("stillhouse").with_fields(fields).build()?);
        let file = SerializedFileWriter::new(file, schema, Arc::new(properties.build()))?;
        let cells = |index| Cells {
            index,
            column: of(index),
            numbers: Vec::new(),
            texts: Vec::new(),
            levels: Vec::with_capacity(GROUP_ROWS_MAX),
        };
        let cells = chosen.into_iter().map(cells).collect();
        Ok(Self { file, cells, group_rows: 0, group_bytes: 0, exported: Exported::default() })
    }

    /// How many there were so far.
    pub fn count(&self) -> u64 {
        self.exported.rows
    }

    /// The next row: a cell for each column, also for those that were not chosen.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn push<const N: usize>(&mut self, mut row: [Cell; N]) -> Result<()> {
        for cells in &mut self.cells {
            self.group_bytes += cells.push(std::mem::take(&mut row[cells.index]));
        }
        self.group_rows += 1;
        self.exported.rows += 1;
        if self.group_rows >= GROUP_ROWS_MAX || self.group_bytes >= GROUP_BYTES_MAX {
            self.close_group()
        } else {
            Ok(())
        }
    }

    fn close_group(&mut self) -> Result<()> {
        let mut group = self.file.next_row_group()?;
        for cells in &mut self.cells {
            let writer = group.next_column()?.context("the file has as many columns as were chosen")?;
            cells.write(writer).with_context(|| format!("the column `{}` cannot be written", cells.column.name))?;
        }
        group.close()?;
        self.exported.row_groups += 1;
        (self.group_rows, self.group_bytes) = (0, 0);
        Ok(())
    }

    /// Writes what is open, and the end of the file.
    ///
    /// # Errors
    /// If that cannot be written.
    pub fn finish(mut self) -> Result<Exported> {
        if self.group_rows > 0 {
            self.close_group()?;
        }
        self.file.finish()?;
        self.file.inner().sync_all()?;
        let file_bytes = self.file.inner().metadata()?.len();
        Ok(Exported { file_bytes, ..self.exported })
    }
}
