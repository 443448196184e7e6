//! What the fuzz targets share with the tests.

pub mod heap;
pub mod laws;
