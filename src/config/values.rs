//! Values with units: how they are written in the file, and how messages write them back.

use std::net::SocketAddr;
use std::time::Duration;

use super::Endpoint;

/// What is wrong with a value, and the mend.
#[derive(Debug)]
pub(super) struct Wrong {
    pub what: String,
    pub mend: String,
}

fn wrong(what: impl Into<String>, mend: impl Into<String>) -> Wrong {
    Wrong { what: what.into(), mend: mend.into() }
}

const BYTES_UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Longest first, so that `"ms"` is not read as `"m"` with a letter too many.
const DURATION_UNITS: [(&str, u64); 7] = [
    ("min", 60_000_000_000),
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("h", 3_600_000_000_000),
];

/// No timer of an engine is longer than a day, and nanoseconds of a day are far from the end of a u64.
const DURATION_NS_MAX: u64 = 24 * 3_600_000_000_000;

/// `"16MiB"`, `"64KiB"`, `"512B"`, `"512"`.
pub(super) fn parse_bytes(text: &str) -> Result<u64, Wrong> {
    let (digits, unit) = split_unit(text);
    let factor = match BYTES_UNITS.iter().find(|(name, _)| *name == unit) {
        Some((_, factor)) => *factor,
        None if unit.is_empty() => 1,
        None => {
            let meant = BYTES_UNITS.iter().find(|(name, _)| {
                unit.chars().next().map(|c| c.to_ascii_lowercase())
                    == name.chars().next().map(|c| c.to_ascii_lowercase())
            });
            let mend = match meant {
                Some((name, _)) if !digits.is_empty() => format!("use \"{digits}{name}\""),
                _ => "write a whole number with B, KiB, MiB or GiB, such as \"16MiB\"".into(),
            };
            return Err(wrong("is not a size", mend));
        }
    };
    whole(digits)
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(|| wrong("is not a size", "write a whole number with B, KiB, MiB or GiB, such as \"16MiB\""))
}

/// `"1ms"`, `"30s"`, `"50us"`, `"2min"`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, Wrong> {
    const MEND: &str = "write a whole number with ns, us, ms, s, min or h, such as \"30s\"";
    let (digits, unit) = split_unit(text);
    if unit.is_empty() && whole(digits).is_some() {
        return Err(wrong("has no unit", format!("use \"{digits}s\" or \"{digits}ms\"")));
    }
    let Some((_, factor)) = DURATION_UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(wrong("is not a duration", MEND));
    };
    let Some(number) = whole(digits) else {
        return Err(wrong("is not a duration", MEND));
    };
    match number.checked_mul(*factor) {
        Some(ns) if ns <= DURATION_NS_MAX => Ok(Duration::from_nanos(ns)),
        _ => Err(wrong("is longer than a day", "use at most \"24h\"")),
    }
}

/// `"off"`, or a duration of at least a second.
pub(super) fn parse_retention_age(text: &str) -> Result<Option<Duration>, Wrong> {
    match text {
        "off" => Ok(None),
        _ => match parse_duration(text)? {
            age if age < Duration::from_secs(1) => Err(wrong("is out of range", "use \"1s\" to \"24h\", or \"off\"")),
            age => Ok(Some(age)),
        },
    }
}

/// `"127.0.0.1:9880"`, `"[::1]:9880"`.
pub(super) fn parse_listen(text: &str) -> Result<SocketAddr, Wrong> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    let Ok(port) = port.parse::<u16>() else {
        return Err(wrong("is not an address and a port", "use a form such as \"127.0.0.1:9880\" or \"[::1]:9880\""));
    };
    let mend = match host {
        "" | "*" => format!("use \"0.0.0.0:{port}\" for every IPv4 interface, or \"[::]:{port}\" for every interface"),
        "localhost" => format!("use \"127.0.0.1:{port}\" or \"[::1]:{port}\""),
        _ if host.contains(':') => format!("put the IPv6 address in brackets: \"[{host}]:{port}\""),
        _ => format!("use the address of an interface of this machine, such as \"0.0.0.0:{port}\""),
    };
    Err(wrong("does not begin with an IP address", mend))
}

/// An endpoint of the command line, or what is wrong with it and the remedy.
pub(crate) fn endpoint(text: &str) -> Result<Endpoint, String> {
    parse_endpoint(text).map_err(|wrong| format!("it {}: {}", wrong.what, wrong.mend))
}

/// `"gateway.example:9880"`, `"10.0.0.7:9880"`, `"[::1]:9880"`.
pub(super) fn parse_endpoint(text: &str) -> Result<Endpoint, Wrong> {
    const MEND: &str = "use a form such as \"gateway.example:9880\" or \"10.0.0.7:9880\"";
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(wrong("has no port", MEND));
    };
    let port = match port.parse::<u16>() {
        Ok(0) | Err(_) => return Err(wrong("has no port between 1 and 65535", MEND)),
        Ok(port) => port,
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match bare {
        Some(address) if address.parse::<std::net::Ipv6Addr>().is_ok() => address,
        Some(_) => return Err(wrong("has no IPv6 address between its brackets", MEND)),
        None if host.contains(':') => {
            return Err(wrong("is ambiguous", format!("put the IPv6 address in brackets: \"[{host}]:{port}\"")));
        }
        None => host,
    };
    if host.is_empty() || host.len() > 253 || host.bytes().any(|b| b <= b' ' || b == b'/' || b >= 0x7f) {
        return Err(wrong("has no host name", MEND));
    }
    Ok(Endpoint { host: host.into(), port })
}

/// As the file would write it, in the largest unit that divides it.
pub fn format_bytes(bytes: u64) -> String {
    let (unit, factor) =
        BYTES_UNITS.iter().find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor)).unwrap_or(&("B", 1));
    format!("{}{unit}", bytes / factor)
}

/// As the file would write it, in the largest unit that divides it, up to seconds.
pub fn format_duration(duration: Duration) -> String {
    let ns = duration.as_nanos();
    if ns == 0 {
        return "0s".into();
    }
    let (unit, factor) = [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000), ("ns", 1)]
        .into_iter()
        .find(|(_, factor)| ns.is_multiple_of(*factor))
        .unwrap_or(("ns", 1));
    format!("{}{unit}", ns / factor)
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start_matches(' '))
}

fn whole(digits: &str) -> Option<u64> {
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_whole_number_with_a_binary_unit() {
        for (text, bytes) in [("16MiB", 16 << 20), ("64KiB", 64 << 10), ("4 GiB", 4 << 30), ("512B", 512), ("7", 7)] {
            assert_eq!(parse_bytes(text).unwrap(), bytes, "{text}");
        }
        for (text, mend) in [("16MB", "use \"16MiB\""), ("16m", "use \"16MiB\""), ("64kib", "use \"64KiB\"")] {
            assert_eq!(parse_bytes(text).unwrap_err().mend, mend, "{text}");
        }
        for text in ["", "MiB", "-1", "1.5MiB", "99999999999999999999", "99999999999999999GiB", "xKiB"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_duration_has_a_unit_and_is_at_most_a_day() {
        for (text, ns) in [
            ("1ms", 1_000_000),
            ("50us", 50_000),
            ("50µs", 50_000),
            ("30s", 30_000_000_000),
            ("2min", 120_000_000_000),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text).unwrap(), Duration::from_nanos(ns), "{text}");
        }
        assert_eq!(parse_duration("30").unwrap_err().mend, "use \"30s\" or \"30ms\"");
        for text in ["", "s", "1.5s", "-1s", "1d", "25h", "18446744073709551615h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_and_durations_are_written_back_as_the_file_writes_them() {
        for text in ["16MiB", "64KiB", "3GiB", "1000B", "1025KiB"] {
            assert_eq!(format_bytes(parse_bytes(text).unwrap()), text);
        }
        assert_eq!(format_bytes(0), "0B");
        for text in ["1ms", "50us", "30s", "7ns", "0s"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
    }

    #[test]
    fn a_listener_needs_an_address_of_this_machine() {
        assert!(parse_listen("127.0.0.1:9880").is_ok());
        assert!(parse_listen("[::1]:0").is_ok());
        assert!(parse_listen(":9880").unwrap_err().mend.contains("0.0.0.0:9880"));
        assert!(parse_listen("localhost:9880").unwrap_err().mend.contains("127.0.0.1:9880"));
        assert!(parse_listen("::1:9880").unwrap_err().mend.contains("[::1]:9880"));
        assert!(parse_listen("127.0.0.1").is_err());
        assert!(parse_listen("127.0.0.1:99999").is_err());
    }

    #[test]
    fn an_endpoint_is_a_host_and_a_port() {
        for text in ["gateway.example:9880", "10.0.0.7:1", "[::1]:9880"] {
            assert_eq!(parse_endpoint(text).unwrap().to_string(), text);
        }
        for text in ["gateway", ":9880", "gateway:0", "gateway:x", "::1:9880", "[x]:1", "a b:1", "http://a:1", ""] {
            assert!(parse_endpoint(text).is_err(), "{text}");
        }
    }
}
