//! The disk as a network block device on a unix socket: the fixed newstyle handshake and simple replies of the NBD
//! protocol (<https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>), as much as QEMU needs.
//!
//! One client at a time, its requests in their order. Flush and FUA are announced, so that a guest's flush arrives as one.

use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use crate::disk::Disk;

const NBDMAGIC: u64 = 0x4e42_444d_4147_4943;
const IHAVEOPT: u64 = 0x4948_4156_454F_5054;
const OPTION_REPLY_MAGIC: u64 = 0x3_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;

const FLAG_FIXED_NEWSTYLE: u16 = 1;
const FLAG_NO_ZEROES: u16 = 2;
/// HAS_FLAGS, SEND_FLUSH and SEND_FUA.
const TRANSMISSION_FLAGS: u16 = 1 | 4 | 8;

const OPT_EXPORT_NAME: u32 = 1;
const OPT_ABORT: u32 = 2;
const OPT_INFO: u32 = 6;
const OPT_GO: u32 = 7;
const REP_ACK: u32 = 1;
const REP_INFO: u32 = 3;
const REP_ERR_UNSUP: u32 = (1 << 31) + 1;
const INFO_EXPORT: u16 = 0;

const CMD_READ: u16 = 0;
const CMD_WRITE: u16 = 1;
const CMD_DISC: u16 = 2;
const CMD_FLUSH: u16 = 3;
const CMD_FLAG_FUA: u16 = 1;

/// No option of QEMU's is longer, and no request of a guest.
const OPTION_BYTES_MAX: u32 = 64 << 10;
const REQUEST_BYTES_MAX: u32 = 64 << 20;

/// Serves the disk until the process ends.
pub fn serve(disk: Arc<Disk>, socket: &Path) -> io::Result<()> {
    let listener = UnixListener::bind(socket)?;
    thread::Builder::new().name("disk".into()).spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that was killed ends in the middle of something; the next one begins anew.
            if let Err(error) = Connection::new(stream, &disk).and_then(|mut connection| connection.run())
                && !matches!(
                    error.kind(),
                    ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
                )
            {
                eprintln!("the disk's connection: {error}");
            }
        }
    })?;
    Ok(())
}

struct Connection<'a> {
    input: BufReader<UnixStream>,
    output: BufWriter<UnixStream>,
    disk: &'a Disk,
}

impl<'a> Connection<'a> {
    fn new(stream: UnixStream, disk: &'a Disk) -> io::Result<Self> {
        Ok(Self { input: BufReader::new(stream.try_clone()?), output: BufWriter::new(stream), disk })
    }

    fn run(&mut self) -> io::Result<()> {
        if self.handshake()? {
            while self.request()? {}
        }
        Ok(())
    }

    /// Whether the transmission phase follows.
    fn handshake(&mut self) -> io::Result<bool> {
        self.put(&NBDMAGIC.to_be_bytes())?;
        self.put(&IHAVEOPT.to_be_bytes())?;
        self.put(&(FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES).to_be_bytes())?;
        self.output.flush()?;
        let no_zeroes = self.u32()? & u32::from(FLAG_NO_ZEROES) != 0;
        loop {
            expect(self.u64()?, IHAVEOPT, "an option")?;
            let option = self.u32()?;
            let length = self.u32()?;
            self.take(length, OPTION_BYTES_MAX)?;
            match option {
                OPT_EXPORT_NAME => {
                    let size = self.disk.bytes();
                    self.put(&size.to_be_bytes())?;
                    self.put(&TRANSMISSION_FLAGS.to_be_bytes())?;
                    self.put(&[0; 124][..if no_zeroes { 0 } else { 124 }])?;
                    self.output.flush()?;
                    return Ok(true);
                }
                OPT_GO | OPT_INFO => {
                    let mut export = INFO_EXPORT.to_be_bytes().to_vec();
                    export.extend_from_slice(&self.disk.bytes().to_be_bytes());
                    export.extend_from_slice(&TRANSMISSION_FLAGS.to_be_bytes());
                    self.option_reply(option, REP_INFO, &export)?;
                    self.option_reply(option, REP_ACK, &[])?;
                    if option == OPT_GO {
                        return Ok(true);
                    }
                }
                OPT_ABORT => {
                    self.option_reply(option, REP_ACK, &[])?;
                    return Ok(false);
                }
                _ => self.option_reply(option, REP_ERR_UNSUP, &[])?,
            }
        }
    }

    fn option_reply(&mut self, option: u32, reply: u32, data: &[u8]) -> io::Result<()> {
        self.put(&OPTION_REPLY_MAGIC.to_be_bytes())?;
        for word in [option, reply, data.len() as u32] {
            self.put(&word.to_be_bytes())?;
        }
        self.put(data)?;
        self.output.flush()
    }

    /// `false` at the client's farewell.
    fn request(&mut self) -> io::Result<bool> {
        expect(self.u32()?.into(), REQUEST_MAGIC.into(), "a request")?;
        let flags_and_command = self.u32()?;
        let (flags, command) = ((flags_and_command >> 16) as u16, flags_and_command as u16);
        let cookie = self.u64()?;
        let offset = self.u64()?;
        let length = self.u32()?;
        let mut data = Vec::new();
        let done = match command {
            CMD_READ if length <= REQUEST_BYTES_MAX => {
                data.resize(length as usize, 0);
                self.disk.read(offset, &mut data)
            }
            CMD_WRITE => {
                let bytes = self.take(length, REQUEST_BYTES_MAX)?;
                self.disk.write(offset, bytes, flags & CMD_FLAG_FUA != 0)
            }
            CMD_FLUSH => self.disk.flush(),
            CMD_DISC => return Ok(false),
            _ => Err(io::Error::from_raw_os_error(libc::EINVAL)),
        };
        if self.disk.is_off() {
            // Nobody answers any more. The client waits, until it dies of the same cut.
            io::copy(&mut self.input, &mut io::sink())?;
            return Ok(false);
        }
        // The protocol's error numbers that we use are Linux's.
        let error = done.as_ref().err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO)) as u32;
        self.put(&REPLY_MAGIC.to_be_bytes())?;
        self.put(&error.to_be_bytes())?;
        self.put(&cookie.to_be_bytes())?;
        if done.is_ok() {
            self.put(&data)?;
        }
        self.output.flush()?;
        Ok(true)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.output.write_all(bytes)
    }

    fn take(&mut self, length: u32, length_max: u32) -> io::Result<Vec<u8>> {
        if length > length_max {
            return Err(io::Error::new(ErrorKind::InvalidData, format!("{length} bytes at once")));
        }
        let mut bytes = vec![0; length as usize];
        self.input.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn u32(&mut self) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.input.read_exact(&mut bytes)?;
        Ok(u32::from_be_bytes(bytes))
    }

    fn u64(&mut self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.input.read_exact(&mut bytes)?;
        Ok(u64::from_be_bytes(bytes))
    }
}

fn expect(found: u64, expected: u64, what: &str) -> io::Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(io::Error::new(ErrorKind::InvalidData, format!("not {what}: {found:#x}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client of the protocol, by its text: option GO, then a write, a flush, a read and a request that does not fit.
    #[test]
    fn a_client_that_asks_by_the_protocol_writes_flushes_and_reads() {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("image");
        std::fs::write(&image, [0; 8192]).unwrap();
        let disk = Arc::new(Disk::open(&image).unwrap());
        let socket = directory.path().join("socket");
        serve(Arc::clone(&disk), &socket).unwrap();
        let mut stream = UnixStream::connect(&socket).unwrap();
        let mut read = |bytes: usize, send: &[u8]| {
            stream.write_all(send).unwrap();
            let mut answer = vec![0; bytes];
            stream.read_exact(&mut answer).unwrap();
            answer
        };
        let greeting = read(18, &[]);
        assert_eq!(greeting[..16], *b"NBDMAGICIHAVEOPT");
        let mut go = 3_u32.to_be_bytes().to_vec();
        go.extend_from_slice(b"IHAVEOPT\0\0\0\x07\0\0\0\x06\0\0\0\0\0\0");
        let answer = read(20 + 12 + 20, &go);
        assert_eq!(answer[20..30], [0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0], "an export of 8192 bytes");
        assert_eq!(answer[30..32], [0, 1 | 4 | 8]);
        assert_eq!(answer[32 + 12..32 + 16], REP_ACK.to_be_bytes());

        let request = |command: u16, offset: u64, length: u32, data: &[u8]| {
            let mut bytes = REQUEST_MAGIC.to_be_bytes().to_vec();
            bytes.extend_from_slice(&[0, 0]);
            bytes.extend_from_slice(&command.to_be_bytes());
            bytes.extend_from_slice(b"cookie..");
            bytes.extend_from_slice(&offset.to_be_bytes());
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(data);
            bytes
        };
        let done = [&REPLY_MAGIC.to_be_bytes()[..], &[0; 4], b"cookie.."].concat();
        assert_eq!(read(16, &request(CMD_WRITE, 512, 512, &[7; 512])), done);
        assert_eq!(std::fs::read(&image).unwrap()[512], 0, "it is in the cache alone");
        assert_eq!(read(16, &request(CMD_FLUSH, 0, 0, &[])), done);
        assert_eq!(std::fs::read(&image).unwrap()[512], 7);
        assert_eq!(read(16 + 512, &request(CMD_READ, 512, 512, &[]))[16..], [7; 512]);
        let refused = read(16, &request(CMD_WRITE, 8192, 512, &[0; 512]));
        assert_eq!(refused[4..8], (libc::EINVAL as u32).to_be_bytes());
        assert_eq!(disk.counts().flushes, 1);
    }
}
