//! Plays one scenario: keeps the numbers of both sides, sends, and holds what comes against what should.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::compose::{Composed, Defaults};
use super::runner::{Failure, Target};
use super::script::{Action, Expectation, How, Put, Span, Step, Value, Want, Wanted, What};
use super::versions::{Versions, begin_string, session_reject_reason_max};
use super::wire::{Event, Received, Wire};
use crate::dictionary::Version;

/// How much of a conversation is kept for the report.
const TRANSCRIPT_LINES_MAX: usize = 200;
const LINE_BYTES_MAX: usize = 2_000;
/// How far SendingTime(52) of the other side may be from our clock.
const CLOCK_TOLERANCE_S: i64 = 120;
/// How long a session gets to end after its scenario, so that the next one finds it free.
const FAREWELL: Duration = Duration::from_millis(1_000);

pub(super) struct Player<'a> {
    target: &'a Target,
    links: BTreeMap<char, Link>,
    transcript: Vec<String>,
    begun: Instant,
    /// Makes what must be new new.
    ids: u32,
}

/// A connection, and the numbers of its session.
struct Link {
    wire: Option<Wire>,
    our_next: u64,
    their_next: u64,
    /// The Logon was answered: there is something to log out of.
    logged_on: bool,
}

impl Default for Link {
    fn default() -> Self {
        Self { wire: None, our_next: 1, their_next: 1, logged_on: false }
    }
}

impl<'a> Player<'a> {
    pub fn new(target: &'a Target) -> Self {
        Self { target, links: BTreeMap::new(), transcript: Vec::new(), begun: Instant::now(), ids: 0 }
    }

    pub fn play(mut self, steps: &[Step]) -> Result<(), Failure> {
        let result = self.play_steps(steps);
        let transcript = self.into_transcript();
        result.map_err(|(step, what)| Failure { line: step.line, step: step.text.clone(), what, transcript })
    }

    /// The step that failed, and why.
    pub fn play_steps<'s>(&mut self, steps: &'s [Step]) -> Result<(), (&'s Step, String)> {
        for step in steps.iter().filter(|step| step.versions.has(self.target.version)) {
            self.step(step).map_err(|what| (step, what))?;
        }
        Ok(())
    }

    /// What was sent and received. The session ends.
    pub fn into_transcript(mut self) -> Vec<String> {
        let transcript = std::mem::take(&mut self.transcript);
        self.farewell();
        transcript
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        let on = step.connection;
        match &step.action {
            Action::Connect => self.connect(on, true),
            Action::Reconnect => self.connect(on, false),
            Action::Logon(puts) => {
                self.connect(on, true)?;
                self.log_on(on, puts)
            }
            Action::Relogon(puts) => {
                self.connect(on, false)?;
                let mut puts = puts.clone();
                puts.push(Put { versions: Versions::ALL, tag: "141".into(), how: How::Omitted });
                self.log_on(on, &puts)
            }
            Action::Send(what, puts) => self.send(on, what, puts),
            Action::Raw(text) => {
                let composed = self.defaults(on).raw(text);
                self.put(on, &composed)
            }
            Action::Expect(expectation) => self.expect(on, expectation),
            Action::Alive { past_resends } => self.alive(on, *past_resends),
            Action::Logout => self.logout(on),
            Action::Refused => self.refused(on),
            Action::Nothing(span) => self.nothing(on, self.duration(*span)),
            Action::Closed(span) => self.closed(on, span.map_or(self.target.timeout, |span| self.duration(span))),
            Action::Close => {
                self.link(on).wire = None;
                self.note(on, "closed by us");
                Ok(())
            }
            Action::Wait(span) => {
                std::thread::sleep(self.duration(*span));
                Ok(())
            }
            Action::OurNext(number) => {
                self.link(on).our_next = *number;
                Ok(())
            }
            Action::TheirNext(number) => {
                self.link(on).their_next = *number;
                Ok(())
            }
        }
    }

    fn connect(&mut self, on: char, anew: bool) -> Result<(), String> {
        let wire = Wire::connect(&self.target.address, self.target.timeout)?;
        self.note(on, "connected");
        let link = self.link(on);
        if anew {
            *link = Link::default();
        }
        (link.wire, link.logged_on) = (Some(wire), false);
        Ok(())
    }

    fn log_on(&mut self, on: char, puts: &[Put]) -> Result<(), String> {
        self.send(on, &What::Logon, puts)?;
        let wants = ["98", "108"].map(|tag| Want { versions: Versions::ALL, tag: tag.into(), how: Wanted::Present });
        let answer = Expectation { msg_type: "A".into(), by_version: false, wants: wants.into() };
        self.expect(on, &answer)
    }

    fn alive(&mut self, on: char, past_resends: bool) -> Result<(), String> {
        self.ids += 1;
        let id = format!("ALIVE-{}", self.ids);
        let literal = Value::Literal(id);
        let how = How::Value(literal.clone());
        let test_req_id = Put { versions: Versions::ALL, tag: "112".into(), how };
        self.send(on, &What::MsgType("1".into()), &[test_req_id])?;
        let echoed = Want { versions: Versions::ALL, tag: "112".into(), how: Wanted::Equal(vec![literal]) };
        let answer = Expectation { msg_type: "0".into(), by_version: false, wants: vec![echoed] };
        self.expect_past(on, &answer, past_resends)
    }

    fn logout(&mut self, on: char) -> Result<(), String> {
        self.send(on, &What::MsgType("5".into()), &[])?;
        self.expect(on, &Expectation { msg_type: "5".into(), by_version: false, wants: Vec::new() })?;
        self.closed(on, self.target.timeout)
    }

    fn send(&mut self, on: char, what: &What, puts: &[Put]) -> Result<(), String> {
        self.ids += 1;
        let composed = self.defaults(on).message(what, puts);
        let is_here = |put: &&Put| put.tag == "34" && put.versions.has(self.target.version);
        let takes_number = !puts.iter().filter(is_here).any(|put| put.how != How::Here);
        if takes_number {
            self.link(on).our_next += 1;
        }
        self.put(on, &composed)
    }

    fn defaults(&self, on: char) -> Defaults<'_> {
        let Target { version, sender_comp_id, target_comp_id, username, password, heartbeat_s, .. } = self.target;
        Defaults {
            version: *version,
            sender_comp_id,
            target_comp_id,
            msg_seq_num: self.links.get(&on).map_or(1, |link| link.our_next),
            heartbeat_s: *heartbeat_s,
            resets: !self.target.resets_itself() && *version > Version::Fix40,
            username: username.as_deref(),
            password: password.as_deref(),
            cl_ord_id: format!("ORDER-{}", self.ids),
        }
    }

    fn put(&mut self, on: char, composed: &Composed) -> Result<(), String> {
        self.note(on, &format!("> {}", composed.shown));
        self.wire(on)?.send(&composed.bytes)
    }

    // ---- what comes

    fn expect(&mut self, on: char, expectation: &Expectation) -> Result<(), String> {
        self.expect_past(on, expectation, false)
    }

    /// `past_resends`: messages that are sent again may come before.
    fn expect_past(&mut self, on: char, expectation: &Expectation, past_resends: bool) -> Result<(), String> {
        let expected = named(&expectation.msg_type);
        let timeout = self.target.timeout;
        let deadline = Instant::now() + timeout;
        let is_answer = expectation.wants.iter().any(|want| want.tag == "112" && !matches!(want.how, Wanted::Absent));
        let passes_over = expectation.msg_type != "0" || is_answer;
        loop {
            return match self.read(on, deadline, passes_over)? {
                Event::Message(message) if past_resends && message.field("43") == Some("Y") => continue,
                Event::Message(message) => {
                    self.check(on, expectation, &message)?;
                    self.link(on).logged_on |= expectation.msg_type == "A";
                    Ok(())
                }
                Event::Closed => Err(format!("expected {expected}, but the connection was closed")),
                Event::Nothing => Err(format!("expected {expected}, but nothing came within {timeout:?}")),
                Event::Malformed(what) => Err(what),
            };
        }
    }

    fn refused(&mut self, on: char) -> Result<(), String> {
        let deadline = Instant::now() + self.target.timeout;
        loop {
            match self.read(on, deadline, false)? {
                Event::Closed => {
                    self.link(on).wire = None;
                    return Ok(());
                }
                Event::Message(message) if matches!(message.msg_type(), "3" | "5") => {}
                Event::Message(message) => {
                    return Err(format!("expected a refusal, but {} came", named(message.msg_type())));
                }
                Event::Nothing => return Err("expected the connection to be closed, but it was not".to_string()),
                Event::Malformed(what) => return Err(what),
            }
        }
    }

    fn nothing(&mut self, on: char, span: Duration) -> Result<(), String> {
        match self.read(on, Instant::now() + span, true)? {
            Event::Nothing => Ok(()),
            Event::Message(message) => Err(format!("expected nothing, but {} came", named(message.msg_type()))),
            Event::Closed => Err("expected nothing, but the connection was closed".to_string()),
            Event::Malformed(what) => Err(what),
        }
    }

    fn closed(&mut self, on: char, span: Duration) -> Result<(), String> {
        match self.read(on, Instant::now() + span, true)? {
            Event::Closed => {
                self.link(on).wire = None;
                Ok(())
            }
            Event::Message(message) => {
                Err(format!("expected the connection to be closed, but {} came", named(message.msg_type())))
            }
            Event::Nothing => Err(format!("expected the connection to be closed, but it was not within {span:?}")),
            Event::Malformed(what) => Err(what),
        }
    }

    /// The next message. Heartbeats of the other side's own accord may come at any time: unless they are what is waited
    /// for, they are counted and passed over.
    fn read(&mut self, on: char, deadline: Instant, passes_over_heartbeats: bool) -> Result<Event, String> {
        loop {
            let event = self.wire(on)?.read(deadline);
            match &event {
                Event::Message(message) => {
                    self.note(on, &format!("< {}", message.shown()));
                    self.check_standard(message)?;
                    let is_heartbeat = message.msg_type() == "0" && message.field("112").is_none();
                    if is_heartbeat && passes_over_heartbeats && message.field("43") != Some("Y") {
                        self.check_number(on, message, None)?;
                        continue;
                    }
                }
                Event::Closed => self.note(on, "closed by the other side"),
                Event::Malformed(what) => self.note(on, &format!("< {what}")),
                Event::Nothing => {}
            }
            return Ok(event);
        }
    }

    /// What holds for every message, whatever a scenario is about.
    fn check_standard(&self, message: &Received) -> Result<(), String> {
        let Target { version, sender_comp_id, target_comp_id, .. } = self.target;
        let is = |tag: &str, name: &str, wanted: &str| match message.field(tag) {
            Some(value) if value == wanted => Ok(()),
            Some(value) => Err(format!("{name}({tag}) is {value:?} and not {wanted:?}")),
            None => Err(format!("{name}({tag}) is missing")),
        };
        if message.fields.get(2).is_none_or(|(tag, _)| tag != "35") {
            return Err("MsgType(35) is not the third field".to_string());
        }
        is("8", "BeginString", begin_string(*version))?;
        is("49", "SenderCompID", target_comp_id)?;
        is("56", "TargetCompID", sender_comp_id)?;
        let sending_time = message.field("52").ok_or("SendingTime(52) is missing")?;
        let time = utc(sending_time).ok_or_else(|| format!("SendingTime(52) is no UTCTimestamp: {sending_time:?}"))?;
        if *version < Version::Fix42 && sending_time.contains('.') {
            return Err(format!(
                "SendingTime(52) has a fraction, which {} does not know: {sending_time:?}",
                version.name()
            ));
        }
        let off_s = (jiff::Timestamp::now().as_second() - time.as_second()).abs();
        if off_s > CLOCK_TOLERANCE_S {
            return Err(format!("SendingTime(52) is {off_s} s off our clock: {sending_time:?}"));
        }
        if message.field("43") == Some("Y")
            && let Some(original) = message.field("122")
            && utc(original).is_none_or(|original| original > time)
        {
            return Err(format!(
                "OrigSendingTime(122) is no UTCTimestamp, or later than SendingTime(52): {original:?}"
            ));
        }
        Ok(())
    }

    fn check_number(&mut self, on: char, message: &Received, wanted: Option<&str>) -> Result<(), String> {
        let link = self.link(on);
        let tracked = link.their_next.to_string();
        let found = message.field("34").ok_or("MsgSeqNum(34) is missing")?;
        if wanted.is_none() {
            link.their_next += 1;
        }
        let wanted = wanted.unwrap_or(&tracked);
        if found == wanted { Ok(()) } else { Err(format!("MsgSeqNum(34) is {found} and not {wanted}")) }
    }

    fn check(&mut self, on: char, expectation: &Expectation, message: &Received) -> Result<(), String> {
        let Expectation { msg_type, by_version, wants } = expectation;
        let version = self.target.version;
        if message.msg_type() != msg_type {
            return Err(format!("expected {}, but {} came", named(msg_type), named(message.msg_type())));
        }
        let wants: Vec<&Want> = wants.iter().filter(|want| want.versions.has(version)).collect();
        let literal = |want: &Want| match &want.how {
            Wanted::Equal(values) => values.first().map(|value| self.defaults(on).value(value)),
            _ => None,
        };
        let number = wants.iter().find(|want| want.tag == "34").and_then(|want| literal(want));
        self.check_number(on, message, number.as_deref())?;
        for want in &wants {
            self.check_field(on, want, *by_version, message)?;
        }
        let is_poss_dup = message.field("43") == Some("Y");
        if is_poss_dup && !wants.iter().any(|want| want.tag == "43") {
            return Err("PossDupFlag(43) is set on a message that is sent for the first time".to_string());
        }
        // A gap fill stands for messages that had times of their own.
        if is_poss_dup && msg_type != "4" && message.field("122").is_none() {
            return Err("a message with PossDupFlag(43) has no OrigSendingTime(122)".to_string());
        }
        if *by_version && session_reject_reason_max(version).is_none() {
            let unknown = ["371", "372", "373"].into_iter().find(|tag| message.field(tag).is_some());
            if let Some(tag) = unknown {
                return Err(format!("{} does not know the field {tag} of a Reject(3)", version.name()));
            }
        }
        Ok(())
    }

    fn check_field(&self, on: char, want: &Want, by_version: bool, message: &Received) -> Result<(), String> {
        let tag = want.tag.as_str();
        let found = message.field(tag);
        let fault = |wanted: String| match found {
            Some(found) => Err(format!("field {tag} is {found:?} and not {wanted}")),
            None => Err(format!("field {tag} is missing; expected {wanted}")),
        };
        match &want.how {
            Wanted::Present if found.is_some() => Ok(()),
            Wanted::Present => fault("any value".to_string()),
            Wanted::Absent if found.is_none() => Ok(()),
            Wanted::Absent => Err(format!("field {tag} is {found:?} and should not be there")),
            Wanted::Contains(part) if found.is_some_and(|found| found.contains(part)) => Ok(()),
            Wanted::Contains(part) => fault(format!("a text with {part:?}")),
            Wanted::Equal(values) => {
                let defaults = self.defaults(on);
                let mut values: Vec<_> = values.iter().map(|value| defaults.value(value)).collect();
                if by_version && matches!(tag, "371" | "372" | "373") {
                    // Left out by the version: `check` looks at fields that it does not know at all.
                    let Some(max) = session_reject_reason_max(self.target.version) else { return Ok(()) };
                    if tag == "373" {
                        values.retain(|value| value.parse().is_ok_and(|reason: u32| reason <= max));
                        if values.is_empty() {
                            return match found {
                                None => Ok(()),
                                Some(found) => Err(format!(
                                    "SessionRejectReason(373) is {found}, and the version has none for this"
                                )),
                            };
                        }
                    }
                }
                if found.is_some_and(|found| values.iter().any(|value| value == found)) {
                    return Ok(());
                }
                fault(values.iter().map(|value| format!("{value:?}")).collect::<Vec<_>>().join(" or "))
            }
        }
    }

    // ---- small things

    fn link(&mut self, on: char) -> &mut Link {
        self.links.entry(on).or_default()
    }

    fn wire(&mut self, on: char) -> Result<&mut Wire, String> {
        self.link(on).wire.as_mut().ok_or_else(|| format!("connection {on} is not there: connect or log on first"))
    }

    fn duration(&self, span: Span) -> Duration {
        match span {
            Span::Time(time) => time,
            Span::Beats(beats) => Duration::from_secs_f64(beats * f64::from(self.target.heartbeat_s)),
        }
    }

    fn note(&mut self, on: char, what: &str) {
        if self.transcript.len() < TRANSCRIPT_LINES_MAX {
            let what: String = what.chars().take(LINE_BYTES_MAX).collect();
            self.transcript.push(format!("{:7.3} s  {on} {what}", self.begun.elapsed().as_secs_f64()));
        }
    }

    /// Logs out of what is still logged on. What comes of it is no verdict's affair.
    fn farewell(&mut self) {
        let links: Vec<char> = self.links.keys().copied().collect();
        for on in links {
            if self.link(on).logged_on && self.link(on).wire.is_some() {
                let said = self.send(on, &What::MsgType("5".into()), &[]);
                let deadline = Instant::now() + FAREWELL;
                while said.is_ok()
                    && let Ok(wire) = self.wire(on)
                    && matches!(wire.read(deadline), Event::Message(_))
                {}
            }
        }
    }
}

fn utc(text: &str) -> Option<jiff::Timestamp> {
    let time = jiff::civil::DateTime::strptime("%Y%m%d-%H:%M:%S%.f", text).ok()?;
    jiff::tz::TimeZone::UTC.to_timestamp(time).ok()
}

/// A MsgType(35) as people say it.
fn named(msg_type: &str) -> String {
    let name = match msg_type {
        "0" => "Heartbeat",
        "1" => "TestRequest",
        "2" => "ResendRequest",
        "3" => "Reject",
        "4" => "SequenceReset",
        "5" => "Logout",
        "8" => "ExecutionReport",
        "A" => "Logon",
        "D" => "NewOrderSingle",
        "j" => "BusinessMessageReject",
        other => return format!("a message of MsgType(35) {other:?}"),
    };
    format!("{name}({msg_type})")
}
