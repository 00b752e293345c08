//! Files as the journal needs them: allocated in full, private, locked by one process.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::File;
use std::io::{self, IoSlice, Read};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// The space of a filesystem.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    /// For unprivileged users.
    pub free_bytes: u64,
    pub total_bytes: u64,
    /// How many more files there may be; `None` where the filesystem has no fixed number of inodes.
    pub free_files: Option<u64>,
}

pub fn space(path: &Path) -> io::Result<Space> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut stat = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: the path is NUL-terminated and lives over the call; the buffer is of the type that statvfs fills.
    let status = unsafe { libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was zeroed, a valid value of a struct of integers, and then filled.
    let stat = unsafe { stat.assume_init() };
    let fragment_bytes = stat.f_frsize;
    Ok(Space {
        free_bytes: stat.f_bavail * fragment_bytes,
        total_bytes: stat.f_blocks * fragment_bytes,
        free_files: (stat.f_files > 0).then_some(stat.f_favail),
    })
}

/// The kind of the filesystem that holds `path`, by its number in the kernel (`f_type` of statfs(2)).
pub fn filesystem_magic(path: &Path) -> io::Result<u32> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut stat = std::mem::MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: the path is NUL-terminated and lives over the call; the buffer is of the type that statfs fills.
    let status = unsafe { libc::statfs(path.as_ptr(), stat.as_mut_ptr()) };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was zeroed, a valid value of a struct of integers, and then filled.
    let stat = unsafe { stat.assume_init() };
    // Its type differs between architectures; all known numbers have 32 bits.
    Ok(stat.f_type as u32)
}

/// Allocates `[0, bytes)` and makes the file at least that long. What it already holds stays.
pub fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    let bytes = libc::off_t::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    loop {
        // SAFETY: takes a descriptor that `file` keeps open, and integers.
        let status = unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, bytes) };
        if status == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Starts write-back of a range and waits for none of it; sync_file_range(2). It makes nothing durable.
pub fn start_write_back(file: &File, offset: u64, bytes: u64) -> io::Result<()> {
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let (offset, bytes) = (i64::try_from(offset).map_err(invalid)?, i64::try_from(bytes).map_err(invalid)?);
    // SAFETY: takes a descriptor that `file` keeps open, and integers.
    let status = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, bytes, libc::SYNC_FILE_RANGE_WRITE) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Opens or creates a regular file that is ours alone: 0600, no symbolic link, owned by our effective user.
pub fn open_private(path: &Path, create: bool) -> io::Result<File> {
    open_private_with(path, create, 0)
}

/// [`open_private`], for calls that go past the page cache and return once the device has what was written for good. EINVAL where the
/// filesystem has no such thing.
pub fn open_private_direct(path: &Path, create: bool) -> io::Result<File> {
    open_private_with(path, create, libc::O_DIRECT | libc::O_DSYNC)
}

fn open_private_with(path: &Path, create: bool, flags: libc::c_int) -> io::Result<File> {
    let file = File::options()
        .read(true)
        .write(true)
        .create(create)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK | flags)
        .open(path)
        .map_err(|error| named(path, error))?;
    let metadata = file.metadata()?;
    let refuse = |why: &str| Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    if !metadata.is_file() {
        return Err(named(path, io::ErrorKind::InvalidInput.into()));
    }
    if metadata.uid() != effective_user() {
        return refuse("it belongs to another user");
    }
    if metadata.mode() & 0o077 != 0 {
        return refuse("others may open it; its mode must be 0600");
    }
    Ok(file)
}

/// Writes all slices, one behind the other, in as few calls as the operating system takes: one.
pub fn write_all_vectored_at(file: &File, mut slices: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
    // Drops those that are empty.
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        let at = libc::off_t::try_from(offset).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let count = slices.len().min(libc::UIO_MAXIOV as usize) as libc::c_int;
        // SAFETY: std promises that an IoSlice is laid out as an iovec; the slices and what they point to live over the call, which only
        // reads them; `file` keeps the descriptor open.
        let written = unsafe { libc::pwritev(file.as_raw_fd(), slices.as_ptr().cast(), count, at) };
        match written {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            1.. => {
                offset += written as u64;
                IoSlice::advance_slices(&mut slices, written as usize);
            }
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}

/// Drops what the page cache holds of a file and is on stable media already; posix_fadvise(2).
pub fn forget_cached(file: &File) -> io::Result<()> {
    // SAFETY: takes a descriptor that `file` keeps open, and integers; a length of 0 is the whole file.
    let status = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    if status == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(status)) }
}

/// Opens a regular file to look at, whoever owns it. Nothing that stands in its place can make the caller wait.
pub fn open_to_read(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK;
    let file = File::options().read(true).custom_flags(flags).open(path).map_err(|error| named(path, error))?;
    if !file.metadata()?.is_file() {
        return Err(named(path, io::ErrorKind::InvalidInput.into()));
    }
    Ok(file)
}

/// All of a small regular file, which is refused where it is longer.
pub fn read_small(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_to_read(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it is longer than {bytes_max} bytes")));
    }
    Ok(bytes)
}

/// What a file takes of its filesystem; 0 where there is none.
pub fn held_bytes(path: &Path) -> u64 {
    // st_blocks counts 512 bytes, whatever the block size of the volume.
    std::fs::metadata(path).map_or(0, |metadata| metadata.blocks() * 512)
}

/// The error of an open, which says what stands in the place of the file where that is no regular one.
fn named(path: &Path, error: io::Error) -> io::Error {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return error };
    let kind = metadata.file_type();
    let what = match () {
        () if kind.is_file() => return error,
        () if kind.is_symlink() => "a symbolic link",
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_socket() => "a socket",
        () => "a device",
    };
    io::Error::new(error.kind(), format!("it is {what} and must be a regular file: move it away"))
}

/// Creates a directory, with its parents, for our user alone, each with its name on stable media. One that exists is left as it is.
pub fn create_private_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = parent_of(path);
    create_private_directory(parent)?;
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_names(parent),
    }
}

/// The directory that holds the name of a path.
pub fn parent_of(path: &Path) -> &Path {
    let parent = path.parent().unwrap_or(path);
    if parent.as_os_str().is_empty() { Path::new(".") } else { parent }
}

/// Returns when the names in a directory are on stable media. One that may not be opened to read is none that we made, and is let pass: fsync(2)
/// needs a descriptor.
pub fn sync_names(directory: &Path) -> io::Result<()> {
    match File::open(directory) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        opened => opened?.sync_all(),
    }
}

/// Takes the file's open-file-description lock: it goes with the descriptor, not with the process, and the kernel drops it when the
/// last write of a killed holder has returned. `false` when another holds it.
pub fn try_lock(file: &File) -> io::Result<bool> {
    let mut lock = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    // SAFETY: F_OFD_SETLK takes a pointer to a flock, which lives over the call, and a descriptor that `file` keeps open.
    let status = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw mut lock) };
    if status == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EACCES) => Ok(false),
        _ => Err(error),
    }
}

/// Whether another open file description holds the lock of [`try_lock`]. Takes nothing; a file opened for reading will do.
pub fn is_locked(file: &File) -> io::Result<bool> {
    let mut lock = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    // SAFETY: F_OFD_GETLK takes a pointer to a flock, which lives over the call, and a descriptor that `file` keeps open.
    let status = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(lock.l_type != libc::F_UNLCK as libc::c_short)
}

pub fn effective_user() -> u32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_by_one_description_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let first = open_private(&path, true).unwrap();
        let second = open_private(&path, false).unwrap();
        assert!(try_lock(&first).unwrap());
        assert!(!try_lock(&second).unwrap());
        let onlooker = open_to_read(&path).unwrap();
        assert!(is_locked(&onlooker).unwrap());
        drop(first);
        assert!(!is_locked(&onlooker).unwrap());
        assert!(try_lock(&second).unwrap());
    }

    #[test]
    fn a_symbolic_link_or_a_file_for_others_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("target");
        open_private(&target, true).unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(open_private(&link, false).is_err());
        std::fs::set_permissions(&target, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        assert_eq!(open_private(&target, false).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn slices_are_written_one_behind_the_other_and_empty_ones_are_none() {
        let directory = tempfile::tempdir().unwrap();
        let file = open_private(&directory.path().join("file"), true).unwrap();
        let mut slices = [&b"ab"[..], b"", b"cde", b""].map(IoSlice::new);
        write_all_vectored_at(&file, &mut slices, 3).unwrap();
        write_all_vectored_at(&file, &mut [IoSlice::new(b"")], 0).unwrap();
        forget_cached(&file).unwrap();
        assert_eq!(std::fs::read(directory.path().join("file")).unwrap(), b"\0\0\0abcde");
    }

    #[test]
    fn a_directory_is_made_with_its_parents_and_one_that_is_there_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("a/b/c");
        create_private_directory(&deep).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().mode() & 0o777;
        assert_eq!((mode(&deep), mode(&directory.path().join("a"))), (0o700, 0o700));
        std::fs::set_permissions(&deep, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        create_private_directory(&deep).unwrap();
        assert_eq!(mode(&deep), 0o755);
        let file = deep.join("file");
        std::fs::write(&file, "").unwrap();
        assert!(create_private_directory(&file).is_err() && create_private_directory(&file.join("below")).is_err());
        assert_eq!((parent_of(Path::new("data")), parent_of(Path::new("/"))), (Path::new("."), Path::new("/")));
    }

    #[test]
    fn allocation_takes_the_space_and_keeps_the_content() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, b"kept").unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        allocate(&file, 1 << 20).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 1 << 20);
        assert_eq!(&std::fs::read(&path).unwrap()[..4], b"kept");
        assert!(space(directory.path()).unwrap().total_bytes > 0);
    }
}
