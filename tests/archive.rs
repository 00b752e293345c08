//! An engine with an archive, on real directories and over a real socket: one that is required and not there, and what its coming back brings.

#[path = "whole/mod.rs"]
mod whole;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread::JoinHandle;

use fixring::application::Exchange;
use fixring::config::Config;
use fixring::engine::{Engine, EngineError, StartError};
use fixring::fix::{Encoder, Framing, Precision, UtcTimestamp, frame};
use fixring::journal::{Hold, OpenError};
use sha2::{Digest, Sha256};

/// More than three segments of 64 KiB hold, and a ring.
const ORDERS: u64 = 1_500;

fn configuration(directory: &Path) -> String {
    format!(
        r#"
[engine]
data_dir = "{0}/data"
wait = "park"
message_bytes_max = "2KiB"
commit_bytes_max = "8KiB"
logout_timeout = "100ms"
[persistence]
ring_dir = "{0}"
ring_bytes = "64KiB"
segment_bytes = "64KiB"
segments = 3
archive = "{0}/archive"
archive_required = true
[control]
listen = "off"
[[acceptor]]
listen = "127.0.0.1:0"
[[session]]
begin_string = "FIX.4.4"
sender_comp_id = "VENUE"
target_comp_id = "DESK"
held_bytes_max = "4KiB"
reset_on_disconnect = true
"#,
        directory.display()
    )
}

fn start(directory: &Path) -> Result<Engine, StartError> {
    let config = Config::parse(&configuration(directory), "engine").expect("a sound configuration");
    Engine::start(&config, |environment| Exchange::new(environment.snapshot_bytes_max))
}

fn message(number: u64, msg_type: &[u8], fields: &[(u32, &str)]) -> Vec<u8> {
    let mut buffer = [0; 512];
    let mut encoder = Encoder::begin(&mut buffer, b"FIX.4.4", msg_type);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    encoder.uint(34, number).bytes(49, b"DESK");
    encoder.timestamp(52, UtcTimestamp::from_unix_ns(now.as_nanos() as u64), Precision::Millis).bytes(56, b"VENUE");
    for (tag, value) in fields {
        encoder.bytes(*tag, value.as_bytes());
    }
    let length = encoder.finish().unwrap();
    buffer[..length].to_vec()
}

/// Orders that may be unanswered: the ring is small, and a peer that it overtakes is closed as a slow consumer.
const WINDOW: u64 = 16;

/// Logs on and sends orders, in a thread of its own since the engine may stop reading. The answer counts the messages that came until each was
/// answered, or the connection ended.
fn trade(address: SocketAddr) -> JoinHandle<u64> {
    let mut stream = TcpStream::connect(address).unwrap();
    std::thread::spawn(move || {
        let (mut received, mut buffer, mut sent, mut messages) = (Vec::new(), [0; 4096], 0, 0);
        while messages < 1 + ORDERS {
            while sent < 1 + ORDERS && sent < messages + WINDOW {
                sent += 1;
                let bytes = match sent {
                    1 => message(1, b"A", &[(98, "0"), (108, "60"), (141, "Y")]),
                    _ => order(sent),
                };
                if stream.write_all(&bytes).is_err() {
                    return messages;
                }
            }
            let count = stream.read(&mut buffer).unwrap_or(0);
            if count == 0 {
                break;
            }
            received.extend_from_slice(&buffer[..count]);
            while let Framing::Complete(frame) = frame(&received, 4096) {
                received.drain(..frame.length as usize);
                messages += 1;
            }
        }
        messages
    })
}

fn order(number: u64) -> Vec<u8> {
    let cl_ord_id = format!("o{number}");
    let time = "20260105-00:00:00";
    message(number, b"D", &[(11, &cl_ord_id), (55, "ACME"), (54, "1"), (60, time), (38, "1"), (40, "1")])
}

/// The segments that are there, in order, each checked against its sidecar.
fn archived(archive: &Path) -> Vec<u64> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(archive).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "sha256") {
            let line = fs::read_to_string(&path).unwrap();
            let (sha256, name) = line.trim_end().split_once("  ").unwrap();
            let digest = Sha256::digest(fs::read(archive.join(name)).unwrap());
            assert_eq!(sha256, digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
            let number = name.split("-segment-").nth(1).and_then(|rest| rest.split('-').next());
            numbers.push(number.unwrap().parse().unwrap());
        }
    }
    numbers.sort_unstable();
    numbers
}

#[test]
fn a_required_archive_that_is_away_stops_reading_ends_the_stop_with_an_error_and_loses_nothing() {
    let temporary = whole::Temporary::new();
    let archive = temporary.path().join("archive");
    let engine = start(temporary.path()).unwrap_or_else(|error| panic!("{error}"));
    let answered = trade(engine.acceptors()[0]);
    let shared = engine.shared();
    let is_held = || shared.recycling(0).held.value() == Hold::Archive as u64;
    while !(is_held() && shared.journal(0).ring_full.value() > 0 && shared.archive(0).failing.value() == 1) {
        std::thread::yield_now();
    }
    assert_eq!(shared.flusher(0).synced_bytes.value(), 3 * 65_536);
    engine.stop();
    let Err(EngineError::Storage(why)) = engine.wait() else { panic!("nothing may be overwritten") };
    assert!(why.contains("segment 0 of journal 0") && why.contains("archive_required"), "{why}");
    let answered = answered.join().unwrap();
    assert!(answered > 1 && answered < ORDERS, "{answered}");

    let Err(StartError::Journal(OpenError::Archive(why))) = start(temporary.path()) else { panic!("as before") };
    assert!(why.contains("segment 0 of journal 0") && why.contains("fix the archive"), "{why}");
    // `fixring recover` carried the ring over the oldest segment, whatever the archive had.
    let config = temporary.path().join("fixring.toml");
    fs::write(&config, configuration(temporary.path())).unwrap();
    let data_dir = temporary.path().join("data");
    for (place, why) in [
        (["--config", config.to_str().unwrap()], "segment 0 of journal 0 would be overwritten and cannot be archived"),
        (
            ["--data-dir", data_dir.to_str().unwrap()],
            "segment 0 of journal 0 would be overwritten, and whether it has to",
        ),
    ] {
        let mut recover = Command::new(env!("CARGO_BIN_EXE_fixring"));
        recover.arg("recover").args(place).args(["--session", "FIX.4.4:VENUE->DESK", "--keep-numbers"]);
        let output = recover.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(4) && text.contains(why), "{output:?}");
    }
    fs::create_dir(&archive).unwrap();
    let mut recover = Command::new(env!("CARGO_BIN_EXE_fixring"));
    recover.args(["recover", "--config"]).arg(&config).args(["--session", "FIX.4.4:VENUE->DESK", "--keep-numbers"]);
    let output = recover.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    // And the next one, where the ring ends with a segment.
    assert_eq!(archived(&archive).first(), Some(&0));
    let engine = start(temporary.path()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(trade(engine.acceptors()[0]).join().unwrap(), 1 + ORDERS);
    let shared = engine.shared();
    let newest = shared.flusher(0).synced_bytes.value() / 65_536;
    while shared.archive(0).lag_segments.value() > 0 || archived(&archive).last() < Some(&(newest - 1)) {
        std::thread::yield_now();
    }
    engine.stop();
    engine.wait().unwrap_or_else(|error| panic!("{error}"));
    let numbers = archived(&archive);
    assert!(numbers.len() > 6 && numbers.iter().enumerate().all(|(at, number)| at as u64 == *number), "{numbers:?}");
}
