//! How the flusher makes what it carries durable.

use std::fmt;
use std::str::FromStr;

/// The calls that bring bytes to stable media. Which is fastest depends on the device, by factors in both directions.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum FlushMethod {
    /// pwritev(2) into the page cache, then fdatasync(2).
    #[default]
    Fdatasync,
    /// Writes past the page cache that return once the device has them for good: O_DIRECT and O_DSYNC of open(2). What is written is
    /// synced at the same moment.
    Dsync,
    /// A copy into a shared mapping, then msync(2) with MS_SYNC.
    Msync,
}

impl FlushMethod {
    /// In the order in which one is preferred where measurement sees no difference.
    pub const ALL: [Self; 3] = [Self::Fdatasync, Self::Dsync, Self::Msync];
}

/// Which method a data directory is opened with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlushChoice {
    Fixed(FlushMethod),
    /// The one that the volume was measured to be fastest with. `any_flush` says that a session waits for `written`, which `dsync` does not
    /// know before `synced`: then it is left alone.
    Auto {
        any_flush: bool,
    },
}

impl From<FlushMethod> for FlushChoice {
    fn from(method: FlushMethod) -> Self {
        Self::Fixed(method)
    }
}

impl fmt::Display for FlushMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fdatasync => "fdatasync",
            Self::Dsync => "dsync",
            Self::Msync => "msync",
        })
    }
}

impl FromStr for FlushMethod {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|method| method.to_string() == text)
            .ok_or_else(|| format!("{text:?} is no flush method: choose fdatasync, dsync or msync"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_read_as_it_is_written() {
        for method in FlushMethod::ALL {
            assert_eq!(method.to_string().parse(), Ok(method));
        }
        assert!("fsync".parse::<FlushMethod>().unwrap_err().contains("msync"));
    }
}
