//! Where an archive's bytes come from.

use super::Problem;

/// A stream of bytes that lends what it has, so that file contents are copied once.
pub trait Reader: Send + Sync {
    /// The bytes that come next, at least one unless the stream is at its end.
    ///
    /// # Errors
    /// What is wrong with the stream.
    fn fill(&mut self) -> Result<&[u8], Problem>;

    /// Passes over `count` of the bytes that [`Reader::fill`] gave.
    fn consume(&mut self, count: usize);
}

/// Bytes in memory.
#[derive(Debug)]
pub struct SliceReader<'a>(&'a [u8]);

impl<'a> SliceReader<'a> {
    /// A stream of these bytes.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// What was not read yet.
    pub const fn remaining(&self) -> &'a [u8] {
        self.0
    }
}

impl Reader for SliceReader<'_> {
    fn fill(&mut self) -> Result<&[u8], Problem> {
        Ok(self.0)
    }

    fn consume(&mut self, count: usize) {
        self.0 = &self.0[count..];
    }
}
