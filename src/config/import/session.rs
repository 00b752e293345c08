//! One `[SESSION]`, over `[DEFAULT]`, as a `[[session]]`.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::known::{Rule, number_of};
use super::ledger::{Entry, Ledger, Scope, quoted};
use super::read::Section;
use super::schedule::schedule;
use super::tls::tls;
use crate::config::keys::{SUPPORTED_BEGIN_STRINGS, keys_of};
use crate::config::texts::{parse_comp_id, parse_qualifier, parse_username};
use crate::config::values::{format_duration, parse_endpoint};
use crate::config::{Pattern, SessionConfig, SessionRole};
use crate::dictionary::Version;

const FIXT: &str = "FIXT.1.1";
const SECONDS_MAX: u64 = 3600;

/// A `[[session]]`, and what it asks of the engine.
pub(super) struct Session {
    /// Of its section in the settings file.
    pub line: u32,
    /// Tells sessions apart.
    pub name: String,
    pub entries: Vec<Entry>,
    /// The setting that it comes from.
    pub listen: Option<(usize, SocketAddr)>,
    pub logon_timeout: Option<(usize, Duration)>,
    pub logout_timeout: Option<(usize, Duration)>,
    /// Why it cannot be imported. Empty where it can.
    pub unusable: Vec<String>,
}

/// `own` is unset for the template that `DynamicSessions` makes of [DEFAULT].
pub(super) fn session<'f>(ledger: &mut Ledger<'f, '_>, own: Option<&'f Section>) -> Session {
    let mut scope = Scope::new(ledger, own);
    let scope = &mut scope;
    tls(scope);
    let role = role(scope);
    let (begin_string, name) = identity(scope, role);
    // Any version may be a late one.
    let begin_string = begin_string.unwrap_or(FIXT);
    let listen = match role {
        SessionRole::Acceptor => listen(scope),
        SessionRole::Initiator => {
            scope.put(&[], "role", quoted("initiator"));
            connect(scope);
            credentials(scope);
            None
        }
    };
    timers(scope, role);
    let logon_timeout = timeout(scope, "logontimeout");
    let logout_timeout = timeout(scope, "logouttimeout");
    flags(scope, begin_string);
    latency(scope);
    precision(scope, begin_string);
    if let Some(id) = scope.find("filestoresync")
        && let Some(is_synced) = scope.flag(id)
    {
        scope.put_unless(&[id], "mode", quoted(if is_synced { "sync" } else { "" }), "\"\"");
    }
    default_appl_ver_id(scope, begin_string);
    let is_unsaid = dictionary(scope, begin_string);
    validation(scope, is_unsaid);
    schedule(scope);
    rest(scope);
    let Scope { entries, unusable, .. } = scope;
    Session {
        line: own.map_or(0, |own| own.line),
        name,
        entries: std::mem::take(entries),
        listen,
        logon_timeout,
        logout_timeout,
        unusable: std::mem::take(unusable),
    }
}

/// QuickFIX/Go has no ConnectionType: there the program decides, and the file shows it by the addresses it has.
fn role(scope: &mut Scope<'_, '_, '_>) -> SessionRole {
    if let Some(id) = scope.find("connectiontype") {
        match scope.needed_value(id).map(str::to_ascii_lowercase).as_deref() {
            Some("acceptor") => {
                scope.same(id);
                return SessionRole::Acceptor;
            }
            Some("initiator") => {
                scope.carried(id, "session.role");
                return SessionRole::Initiator;
            }
            Some(_) => scope.fault_of_session(id, "is neither acceptor nor initiator", "write one of the two"),
            None => {}
        }
        return SessionRole::Acceptor;
    }
    if scope.is_template_of_default() {
        return SessionRole::Acceptor;
    }
    let (connects, listens) = ("socketconnecthost", "socketacceptport");
    let own = (scope.find_own(connects).is_some(), scope.find_own(listens).is_some());
    let all = (scope.find(connects).is_some(), scope.find(listens).is_some());
    match (own, all) {
        ((true, false), _) | ((false, false), (true, false)) => SessionRole::Initiator,
        ((false, true), _) | ((false, false), (false, true)) => SessionRole::Acceptor,
        _ => {
            scope.missing("ConnectionType", "add ConnectionType=acceptor or ConnectionType=initiator");
            SessionRole::Acceptor
        }
    }
}

/// The BeginString(8), unless it is any, and what tells the session from others.
fn identity<'t>(scope: &mut Scope<'_, '_, 't>, role: SessionRole) -> (Option<&'t str>, String) {
    if scope.is_template_of_default() {
        for key in ["begin_string", "sender_comp_id", "target_comp_id"] {
            scope.put(&[], key, quoted("*"));
        }
        return (None, "*".into());
    }
    let template = scope.find("acceptortemplate").filter(|_| role == SessionRole::Acceptor);
    let is_template = template.is_some_and(|id| scope.flag(id) == Some(true));
    let mut any_of = None;
    let mut name = String::new();

    let mut begin_string = None;
    match scope.find("beginstring").map(|id| (id, scope.needed_value(id))) {
        None => scope.missing("BeginString", "add it, such as BeginString=FIX.4.4"),
        Some((id, Some("*"))) if is_template => {
            scope.put(&[id], "begin_string", quoted("*"));
            any_of = Some("session.begin_string");
        }
        Some((id, Some(value))) if SUPPORTED_BEGIN_STRINGS.contains(&value) => {
            scope.put(&[id], "begin_string", quoted(value));
            begin_string = Some(value);
            name.push_str(value);
        }
        Some((id, Some(value))) => {
            let mend = match value.starts_with("FIX.5") {
                true => format!("write BeginString={FIXT} and DefaultApplVerID={value}"),
                false => format!("write one of {}", SUPPORTED_BEGIN_STRINGS.join(", ")),
            };
            scope.fault_of_session(id, "is not a version that fixring speaks", mend);
        }
        Some((_, None)) => {}
    }
    for (part, key) in [("Sender", "sender_comp_id"), ("Target", "target_comp_id")] {
        let setting = format!("{part}CompID");
        name.push_str(" | ");
        match scope.find(&setting.to_ascii_lowercase()).map(|id| (id, scope.needed_value(id))) {
            None => scope.missing(&setting, &format!("add it, such as {setting}=FIRM1")),
            Some((_, None)) => {}
            Some((id, Some(value))) => match parse_comp_id(value) {
                Ok(Pattern::Any) if !is_template => scope.fault_of_session(
                    id,
                    "is no counterparty's CompID",
                    "write the CompID, or AcceptorTemplate=Y if anybody may log on here",
                ),
                Ok(pattern) => {
                    if pattern == Pattern::Any {
                        any_of = Some("session.target_comp_id");
                    }
                    scope.put(&[id], key, quoted(value));
                    name.push_str(value);
                }
                Err(wrong) => scope.fault_of_session(id, &wrong.what, wrong.mend),
            },
        }
        for (kind, key) in match part {
            "Sender" => [("SubID", "sender_sub_id"), ("LocationID", "sender_location_id")],
            _ => [("SubID", "target_sub_id"), ("LocationID", "target_location_id")],
        } {
            name.push('/');
            let Some(id) = scope.find(&format!("{part}{kind}").to_ascii_lowercase()) else { continue };
            match scope.needed_value(id).map(|value| (value, parse_qualifier(value))) {
                Some(("*", _)) if is_template => scope.unneeded(id, "any value fits where the key is left out"),
                Some(("", _)) | None => {}
                Some((value, Ok(_))) => {
                    scope.put(&[id], key, quoted(value));
                    name.push_str(value);
                }
                Some((_, Err(wrong))) => scope.fault_of_session(id, &wrong.what, wrong.mend),
            }
        }
    }
    match (template, is_template, any_of) {
        (Some(id), true, Some(key)) => scope.carried(id, key),
        (Some(id), true, None) => {
            scope.lost(id, "which identities it takes is in the program: write * for each part that may be any")
        }
        (Some(id), false, _) if !scope.is_settled(id) => scope.same(id),
        _ => {}
    }
    (begin_string, name)
}

fn listen(scope: &mut Scope<'_, '_, '_>) -> Option<(usize, SocketAddr)> {
    let address = match scope.find("socketacceptaddress").or_else(|| scope.find("socketaccepthost")) {
        None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Some(id) => {
            let address = match scope.needed_value(id)? {
                "" | "*" => Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
                "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
                text => text.trim_matches(['[', ']']).parse().ok(),
            };
            let Some(address) = address else {
                scope.fault_of_session(id, "is not an IP address", "write the address of an interface of this machine");
                return None;
            };
            scope.carried(id, "acceptor.listen");
            address
        }
    };
    let Some(id) = scope.find("socketacceptport") else {
        scope.missing("SocketAcceptPort", "add the port to listen on, such as SocketAcceptPort=9880");
        return None;
    };
    let port = port(scope, id)?;
    scope.carried(id, "acceptor.listen");
    Some((id, SocketAddr::new(address, port)))
}

/// The first endpoint and its alternates, which count up without a gap.
fn connect(scope: &mut Scope<'_, '_, '_>) {
    let mut endpoints = Vec::new();
    let mut ids = Vec::new();
    for number in 0..1000 {
        let suffix = if number == 0 { String::new() } else { number.to_string() };
        let host = scope.find(&format!("socketconnecthost{suffix}"));
        let port_id = scope.find(&format!("socketconnectport{suffix}"));
        let (host, port_id) = match (host, port_id) {
            (Some(host), Some(port)) => (host, port),
            (None, None) if number > 0 => break,
            // The alternates before it are imported.
            (Some(_), None) | (None, Some(_)) if number > 0 && !scope.ledger.options.strict => break,
            (None, _) => {
                scope.missing(&format!("SocketConnectHost{suffix}"), "add the host to connect to");
                return;
            }
            (_, None) => {
                scope.missing(&format!("SocketConnectPort{suffix}"), "add the port to connect to");
                return;
            }
        };
        if number > 0 && !scope.ledger.options.strict && !is_endpoint(scope, host, port_id) {
            // The alternates before it are imported.
            break;
        }
        let (Some(name), Some(port)) = (scope.needed_value(host), port(scope, port_id)) else { return };
        let text = endpoint_of(name, port);
        match parse_endpoint(&text) {
            Ok(_) => endpoints.push(quoted(&text)),
            Err(_) => {
                return scope.fault_of_session(host, "is not a host name or an IP address", "write one of the two");
            }
        }
        ids.extend([host, port_id]);
    }
    scope.put(&ids, "connect", format!("[{}]", endpoints.join(", ")));
    for &(name, id) in scope.all().iter() {
        if matches!(number_of(name), Some(("SocketConnectHost" | "SocketConnectPort", _))) && !scope.is_settled(id) {
            scope.lost(id, "alternates count up from 1 without a gap, and QuickFIX does not come to this one");
        }
    }
}

fn is_endpoint(scope: &Scope<'_, '_, '_>, host: usize, port: usize) -> bool {
    let [host, port] = [host, port].map(|id| scope.ledger.file.settings[id].value);
    parse_endpoint(&endpoint_of(host, port)).is_ok()
}

fn endpoint_of(host: &str, port: impl Display) -> String {
    match host.parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]:{port}"),
        Err(_) => format!("{host}:{port}"),
    }
}

/// Username(553) and Password(554). They are not QuickFIX's own settings, but applications read them there. Nothing
/// of a password goes into what is written.
fn credentials(scope: &mut Scope<'_, '_, '_>) {
    let mut usernames: Vec<(usize, &str)> = Vec::new();
    let mut passwords: Vec<usize> = Vec::new();
    for &(name, id) in scope.all().iter() {
        let value = scope.ledger.file.settings[id].value;
        match number_of(name).map_or(name, |(stem, _)| stem).to_ascii_lowercase().as_str() {
            "username" => usernames.insert(0, (id, value)),
            "password" => passwords.insert(0, id),
            "logontag" => match value.split_once('=').map(|(tag, value)| (tag.trim(), value.trim())) {
                Some(("553", value)) => usernames.push((id, value)),
                Some(("554", _)) => passwords.push(id),
                _ => scope.lost(id, "a Logon(A) of fixring has no fields of one's own"),
            },
            _ => {}
        }
    }
    for (at, (id, value)) in usernames.into_iter().enumerate() {
        match parse_username(value) {
            _ if at > 0 => scope.unneeded(id, "Username(553) is set twice"),
            _ if value.contains("${") || value.contains("$(") => {
                scope.lost(id, "it holds a variable: write username yourself")
            }
            Ok(_) => {
                scope.put(&[id], "username", quoted(value));
            }
            Err(wrong) => {
                let line = scope.section().line;
                scope.ledger.fault_unshown(id, line, &wrong.what, wrong.mend)
            }
        }
    }
    let mut is_shown = false;
    for id in passwords {
        scope.lost(id, "secrets are not copied: put it into a file and name that in password_file (or password_env)");
        if !is_shown {
            is_shown = true;
            let line = scope.ledger.file.settings[id].line;
            let value = quoted("/run/secrets/…");
            scope.entries.push(Entry { key: "password_file", value, line, ids: Vec::new(), is_comment: true });
        }
    }
}

fn timers(scope: &mut Scope<'_, '_, '_>, role: SessionRole) {
    let default = SessionConfig::default();
    if role == SessionRole::Acceptor {
        return;
    }
    match scope.find("heartbtint") {
        None if scope.ledger.options.strict => scope.missing("HeartBtInt", "add it, such as HeartBtInt=30"),
        None => {
            let line = scope.section().line;
            let text =
                format!("QuickFIX wants it of an initiator; heartbeat_seconds is then {}", default.heartbeat_seconds);
            let setting = "HeartBtInt".into();
            scope.ledger.remarks.push(super::Note { line, setting, fate: super::Fate::Unset, text });
        }
        Some(id) => {
            let interval = scope.value(id).map(parse_interval);
            match interval.map(|interval| interval.filter(|interval| interval.subsec_nanos() == 0)) {
                // Which ones fixring can do is asked of its own reader, see `judge`.
                Some(Some(interval)) => {
                    let default = default.heartbeat_seconds.to_string();
                    scope.put_unless(&[id], "heartbeat_seconds", interval.as_secs().to_string(), &default);
                }
                Some(None) => scope.fault(id, "is no number of seconds", "write whole seconds, such as 30"),
                None => {}
            }
        }
    }
    let Some(id) = scope.find("reconnectinterval") else { return };
    let Some(value) = scope.value(id) else { return };
    let Some(pauses) = parse_pauses(value) else {
        let mend = format!("write seconds, 1 to {SECONDS_MAX}, or a list such as 3x5;30");
        return scope.fault(id, "is no interval", mend);
    };
    let (min, max) =
        (pauses.iter().min().copied().unwrap_or_default(), pauses.iter().max().copied().unwrap_or_default());
    let shown = |pause: Duration| quoted(&format_duration(pause));
    if (min, max) == (default.reconnect_min, default.reconnect_max) {
        return scope.same(id);
    }
    scope.put_unless(&[id], "reconnect_min", shown(min), &shown(default.reconnect_min));
    scope.put_unless(&[id], "reconnect_max", shown(max), &shown(default.reconnect_max));
    if min != max {
        scope.carried_but(id, "session.reconnect_min and reconnect_max", "the pause doubles from the one to the other");
    }
}

/// Seconds, a duration of QuickFIX/Go, or QuickFIX/J's list of pauses: `5;2x10;30`.
fn parse_pauses(text: &str) -> Option<Vec<Duration>> {
    let bounds = Duration::from_millis(1)..=Duration::from_secs(SECONDS_MAX);
    let pauses = text.split(';').map(|part| {
        let pause = part.trim().split_once(['x', '*']).map_or(part, |(_, pause)| pause);
        parse_interval(pause.trim()).filter(|pause| bounds.contains(pause))
    });
    pauses.collect()
}

/// `30`, `30s`, `1m30s`, `500ms`.
fn parse_interval(text: &str) -> Option<Duration> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().ok().map(Duration::from_secs);
    }
    let (mut rest, mut total) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let unit_length = rest[digits..].find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len() - digits);
        let (number, unit) = (rest[..digits].parse::<u32>().ok()?, &rest[digits..digits + unit_length]);
        let unit = match unit {
            "h" => Duration::from_secs(3600),
            "m" => Duration::from_secs(60),
            "s" => Duration::from_secs(1),
            "ms" => Duration::from_millis(1),
            _ => return None,
        };
        total = total.checked_add(unit.checked_mul(number)?)?;
        rest = &rest[digits + unit_length..];
    }
    (!text.is_empty()).then_some(total)
}

/// Whole seconds, as far as timers go.
fn seconds(scope: &mut Scope<'_, '_, '_>, id: usize) -> Option<Duration> {
    let interval = parse_interval(scope.value(id)?);
    let is_whole =
        |interval: &Duration| interval.subsec_nanos() == 0 && (1..=SECONDS_MAX).contains(&interval.as_secs());
    let whole = interval.filter(is_whole);
    if whole.is_none() {
        scope.fault(id, "is no number of seconds", format!("write 1 to {SECONDS_MAX}"));
    }
    whole
}

/// Of the whole engine: only noted here.
fn timeout(scope: &mut Scope<'_, '_, '_>, name: &str) -> Option<(usize, Duration)> {
    let id = scope.find(name)?;
    seconds(scope, id).map(|timeout| (id, timeout))
}

fn port(scope: &mut Scope<'_, '_, '_>, id: usize) -> Option<u16> {
    let port = scope.needed_value(id)?.parse::<u16>().ok().filter(|port| *port != 0);
    if port.is_none() {
        scope.fault_of_session(id, "is not a port", "write 1 to 65535");
    }
    port
}

/// Those with a key of their own; those of the validation come later, together.
fn flags(scope: &mut Scope<'_, '_, '_>, begin_string: &str) {
    for &(_, id) in scope.all().iter() {
        let Rule::Flag(flag) = scope.ledger.file.settings[id].rule else { continue };
        if flag.key.starts_with("validation.") {
            continue;
        }
        match scope.flag(id) {
            Some(false) => scope.same(id),
            Some(true) if begin_string < flag.since => scope.lost(id, format!("{begin_string} does not have it")),
            Some(true) if scope.entries.iter().any(|entry| entry.key == flag.key) => {
                scope.unneeded(id, "another setting says the same")
            }
            Some(true) => {
                scope.put(&[id], flag.key, "true".into());
            }
            None => {}
        }
    }
}

fn latency(scope: &mut Scope<'_, '_, '_>) {
    const KEY: &str = "sending_time_tolerance";
    let check = scope.find("checklatency");
    if let Some(id) = check {
        match scope.flag(id) {
            Some(true) => scope.same(id),
            Some(false) => {
                scope.put(&[id], KEY, quoted("0s"));
                return;
            }
            None => {}
        }
    }
    let Some(id) = scope.find("maxlatency") else { return };
    match scope.value(id).map(parse_interval) {
        None => {}
        Some(Some(latency)) if latency > Duration::from_secs(SECONDS_MAX) => {
            let longest = format_duration(Duration::from_secs(SECONDS_MAX));
            if scope.put(&[id], KEY, quoted(&longest)) {
                let caveat = format!("\"{longest}\" is the longest; \"0s\" does not check at all");
                scope.carried_but(id, &format!("session.{KEY}"), caveat);
            }
        }
        Some(Some(latency)) if !latency.is_zero() => {
            let default = format_duration(SessionConfig::default().sending_time_tolerance);
            scope.put_unless(&[id], KEY, quoted(&format_duration(latency)), &quoted(&default));
        }
        Some(_) => scope.fault(id, "is no number of seconds", format!("write 1 to {SECONDS_MAX}")),
    }
}

fn precision(scope: &mut Scope<'_, '_, '_>, begin_string: &str) {
    const KEY: &str = "sending_time_precision";
    const DEFAULT: &str = "milliseconds";
    let named = scope.find("timestampprecision");
    let by_flag = scope.find("millisecondsintimestamp");
    if begin_string < "FIX.4.2" {
        for id in [named, by_flag].into_iter().flatten() {
            scope.unneeded(id, "times have whole seconds before FIX.4.2");
        }
        return;
    }
    if let Some(id) = named {
        let Some(value) = scope.value(id) else { return };
        let (name, is_exact) = match value.to_ascii_uppercase().as_str() {
            "SECOND" | "SECONDS" | "SEC" | "S" | "0" => ("seconds", true),
            "MILLISECOND" | "MILLISECONDS" | "MILLI" | "MILLIS" | "MS" | "3" => (DEFAULT, true),
            "MICROSECOND" | "MICROSECONDS" | "MICRO" | "MICROS" | "US" | "6" => ("microseconds", true),
            "NANOSECOND" | "NANOSECONDS" | "NANO" | "NANOS" | "NS" | "9" => ("nanoseconds", true),
            "1" | "2" => (DEFAULT, false),
            "4" | "5" => ("microseconds", false),
            "7" | "8" => ("nanoseconds", false),
            _ => {
                return scope.fault(id, "is no precision", "write SECONDS, MILLIS, MICROS or NANOS, or 0, 3, 6 or 9");
            }
        };
        scope.put_unless(&[id], KEY, quoted(name), &quoted(DEFAULT));
        if !is_exact {
            scope.carried_but(id, &format!("session.{KEY}"), format!("{name} are the next that fixring has"));
        }
    } else if let Some(id) = by_flag
        && let Some(has_milliseconds) = scope.flag(id)
    {
        scope.put_unless(&[id], KEY, quoted(if has_milliseconds { DEFAULT } else { "seconds" }), &quoted(DEFAULT));
    }
}

fn default_appl_ver_id(scope: &mut Scope<'_, '_, '_>, begin_string: &str) {
    let Some(id) = scope.find("defaultapplverid").filter(|_| begin_string == FIXT) else { return };
    let Some(value) = scope.value(id) else { return };
    // QuickFIX's names are those of the dictionaries.
    let named = Version::of_appl_ver_name(value).and_then(|version| str::from_utf8(version.appl_ver_id()?).ok());
    match named {
        Some(number) => {
            let default = quoted(&SessionConfig::default().default_appl_ver_id);
            scope.put_unless(&[id], "default_appl_ver_id", quoted(number), &default);
        }
        None => scope.fault(id, "is no version", "write a name such as FIX.5.0SP2, or an ApplVerID(1128), 2 to 9"),
    }
}

/// Files in the QuickFIX XML format. Whether the file says nothing of any.
fn dictionary(scope: &mut Scope<'_, '_, '_>, begin_string: &str) -> bool {
    let ids: Vec<usize> = match begin_string {
        FIXT => {
            let all = scope.all();
            let of_application =
                all.iter().filter(|(name, _)| name.starts_with("appdatadictionary")).map(|(_, id)| *id);
            let transport = scope.find("transportdatadictionary");
            let any_version = scope.find("datadictionary").filter(|_| scope.is_template_of_default());
            transport.into_iter().chain(of_application).chain(any_version).collect()
        }
        _ => scope.find("datadictionary").into_iter().collect(),
    };
    let is_used = scope.find("usedatadictionary").is_none_or(|id| scope.flag(id) != Some(false));
    let is_unsaid = ids.is_empty() && scope.find("usedatadictionary").is_none();
    let (mut carried, mut paths): (Vec<usize>, Vec<String>) = (Vec::new(), Vec::new());
    for id in ids {
        let Some(path) = scope.value(id) else { return false };
        if !is_used {
            scope.unneeded(id, "UseDataDictionary=N: QuickFIX does not read it either");
        } else if path.is_empty() || path.contains(char::is_control) {
            scope.fault(id, "is no path", "name a dictionary in the QuickFIX XML format");
        } else if path.contains("://") {
            scope.lost(id, "fixring reads files alone: fetch it, and name the file in session.dictionary");
        } else {
            let path = quoted(path);
            carried.push(id);
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
    }
    let value = match &paths[..] {
        [] => return is_unsaid,
        [path] => path.clone(),
        paths => format!("[{}]", paths.join(", ")),
    };
    if scope.put(&carried, "dictionary", value) {
        for id in carried {
            let caveat =
                "where the file is QuickFIX's own and unchanged, leave the key out: the standard's are built in";
            scope.carried_but(id, "session.dictionary", caveat);
        }
    }
    is_unsaid
}

/// Once a file: what QuickFIX/Go leaves unchecked, fixring checks.
fn remark_standard(scope: &mut Scope<'_, '_, '_>) {
    let is_said = scope.ledger.remarks.iter().any(|note| note.setting == "DataDictionary");
    if !is_said && keys_of("session").contains(&"validation") {
        scope.ledger.remarks.push(super::Note {
            line: scope.section().line,
            setting: "DataDictionary".into(),
            fate: super::Fate::Unset,
            text: "fixring then checks messages by the standard of the session's version, where QuickFIX/Go \
                   checks nothing; validation = { enabled = false } does as it does"
                .into(),
        });
    }
}

/// `validation = { … }`, of what is not checked. `is_unsaid`: the file does not say by what dictionary.
fn validation(scope: &mut Scope<'_, '_, '_>, is_unsaid: bool) {
    const UNDER_ENABLED: [&str; 2] = ["comp_ids", "orig_sending_time"];
    let mut off: BTreeMap<&'static str, Vec<usize>> = BTreeMap::new();
    for &(_, id) in scope.all().iter() {
        let Rule::Flag(flag) = scope.ledger.file.settings[id].rule else { continue };
        let Some(key) = flag.key.strip_prefix("validation.") else { continue };
        match scope.flag(id) {
            Some(value) if value != flag.is_inverse => scope.same(id),
            Some(_) => off.entry(key).or_default().push(id),
            None => {}
        }
    }
    if let Some(ids) = off.get("enabled") {
        let why = format!("{}=N switches all of it off", scope.ledger.file.settings[ids[0]].name);
        off.retain(|key, ids| {
            let counts = *key == "enabled" || UNDER_ENABLED.contains(key);
            if !counts {
                ids.iter().for_each(|&id| scope.unneeded(id, why.clone()));
            }
            counts
        });
    }
    if is_unsaid && !off.contains_key("enabled") {
        remark_standard(scope);
    }
    if off.is_empty() {
        return;
    }
    let all: Vec<usize> = off.values().flatten().copied().collect();
    let table: Vec<String> = off.keys().map(|key| format!("{key} = false")).collect();
    if !scope.put(&all, "validation", format!("{{ {} }}", table.join(", "))) {
        return;
    }
    for (key, ids) in off {
        for id in ids {
            let Rule::Flag(flag) = scope.ledger.file.settings[id].rule else { continue };
            scope.carried_but(id, &format!("session.validation.{key}"), flag.caveat);
        }
    }
}

/// Every setting that nothing above has settled.
fn rest(scope: &mut Scope<'_, '_, '_>) {
    for &(_, id) in scope.all().iter() {
        if scope.is_settled(id) {
            continue;
        }
        let setting = &scope.ledger.file.settings[id];
        match setting.rule {
            Rule::Kind(why) | Rule::Unneeded(why) => scope.unneeded(id, *why),
            Rule::Only(value, _) | Rule::Indifferent(value, _) if setting.value.eq_ignore_ascii_case(value) => {
                scope.same(id)
            }
            Rule::Indifferent(_, why) => scope.unneeded(id, *why),
            Rule::Only(_, why) | Rule::Lost(why) => scope.lost(id, *why),
            Rule::Unknown => scope.lost(id, "not a QuickFIX setting that is known"),
            // Of a value that is a fault, and settled in `tls.rs`.
            Rule::Flag(_) | Rule::TlsSwitch | Rule::Tls => {}
        }
    }
}
