//! From a scenario's text to its steps. Every fault names file and line and says the mend.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::versions::Versions;

/// A file beyond is none of ours.
pub const FILE_BYTES_MAX: usize = 64 * 1024;
const STEPS_MAX: usize = 256;
const FIELDS_MAX: usize = 64;
/// Nobody waits longer for one step.
const STEP_DURATION_MAX: Duration = Duration::from_secs(600);
const BEATS_MAX: f64 = 20.0;

/// One rule of the protocol, and the conversation that shows whether it is kept.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The file's name without its ending: what `--only` looks at.
    pub name: String,
    pub rule: String,
    /// Where the specification says so.
    pub source: String,
    pub versions: Versions,
    pub skips: Vec<(Versions, String)>,
    pub needs: Vec<Feature>,
    pub(super) steps: Vec<Step>,
}

/// What a scenario may need of the other side beyond the session protocol itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Feature {
    /// Application messages are returned to their sender.
    Echo,
    /// Both numbers are 1 at each Logon.
    Reset,
    /// Numbers carry on from one connection to the next.
    Persistent,
    /// Messages are checked against the dictionary.
    Validation,
    /// SendingTime(52) may be two minutes off, and not more.
    Clock,
    /// Application messages with PossResend(97) that were seen before are dropped.
    PossResend,
    /// LastMsgSeqNumProcessed(369) is in each header.
    LastProcessed,
    /// NextExpectedMsgSeqNum(789) of a Logon(A) is used.
    NextExpected,
    /// An ExecutionReport(8) from us is refused.
    BusinessReject,
    /// CompIDs that nobody has agreed on may not log on.
    CompIds,
}

impl Feature {
    pub const ALL: [Self; 10] = [
        Self::Echo,
        Self::Reset,
        Self::Persistent,
        Self::Validation,
        Self::Clock,
        Self::PossResend,
        Self::LastProcessed,
        Self::NextExpected,
        Self::BusinessReject,
        Self::CompIds,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Reset => "reset",
            Self::Persistent => "persistent",
            Self::Validation => "validation",
            Self::Clock => "clock",
            Self::PossResend => "poss-resend",
            Self::LastProcessed => "last-processed",
            Self::NextExpected => "next-expected",
            Self::BusinessReject => "business-reject",
            Self::CompIds => "comp-ids",
        }
    }

    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Echo => "application messages are returned to their sender",
            Self::Reset => "both sequence numbers are 1 at each Logon",
            Self::Persistent => "sequence numbers carry on from one connection to the next",
            Self::Validation => "messages are checked against the FIX dictionary",
            Self::Clock => "SendingTime(52) may be two minutes off, and not more",
            Self::PossResend => "application messages with PossResend(97) that were seen before are dropped",
            Self::LastProcessed => "each header has LastMsgSeqNumProcessed(369)",
            Self::NextExpected => "NextExpectedMsgSeqNum(789) of a Logon is used",
            Self::BusinessReject => "an ExecutionReport(8) from us is refused by the application",
            Self::CompIds => "only CompIDs that are agreed on may log on",
        }
    }
}

impl FromStr for Feature {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|feature| feature.name() == text).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|feature| feature.name()).collect();
            format!("{text:?} is nothing that a scenario may need: write one of {}", names.join(", "))
        })
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[derive(Clone, Debug)]
pub(super) struct Step {
    pub line: u32,
    /// As it is written, for the report.
    pub text: String,
    /// A letter from A: which of several connections.
    pub connection: char,
    pub versions: Versions,
    pub action: Action,
}

impl Step {
    /// A conversation of one order, whose fields replace those of the usual one.
    pub fn of_order(fields: &[(u32, String)]) -> Vec<Self> {
        let put = |(tag, value): &(u32, String)| Put {
            versions: Versions::ALL,
            tag: tag.to_string(),
            how: How::Value(Value::Literal(value.clone())),
        };
        let report = Expectation { msg_type: "8".into(), by_version: false, wants: Vec::new() };
        let actions = [
            Action::Logon(Vec::new()),
            Action::Send(What::Order, fields.iter().map(put).collect()),
            Action::Expect(report),
            Action::Logout,
        ];
        let step = |action| Self { line: 0, text: String::new(), connection: 'A', versions: Versions::ALL, action };
        actions.map(step).into()
    }
}

#[derive(Clone, Debug)]
pub(super) enum Action {
    /// A connection whose both numbers begin with 1.
    Connect,
    /// A connection on which both numbers carry on.
    Reconnect,
    /// Connect, a Logon, and its answer.
    Logon(Vec<Put>),
    /// Reconnect, a Logon without a reset, and its answer.
    Relogon(Vec<Put>),
    Send(What, Vec<Put>),
    Raw(String),
    Expect(Expectation),
    /// A TestRequest and its answer: whatever came before has been dealt with.
    Alive {
        past_resends: bool,
    },
    /// A Logout, its answer, and the end of the connection.
    Logout,
    Nothing(Span),
    /// The other side closes, with no message before.
    Closed(Option<Span>),
    /// The other side closes, with no Logon before; a Logout or Reject may say why.
    Refused,
    /// We close.
    Close,
    Wait(Span),
    OurNext(u64),
    TheirNext(u64),
}

/// What is sent: a MsgType(35) with nothing in its body, or one with a body by version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum What {
    MsgType(String),
    Logon,
    Order,
}

/// One field of a message to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Put {
    pub versions: Versions,
    /// Text, because a wrong one is a case too.
    pub tag: String,
    pub how: How,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum How {
    Value(Value),
    /// The message goes without it.
    Omitted,
    /// The field that would stand in the header stands here.
    Here,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Value {
    Literal(String),
    /// Our clock, and milliseconds from it.
    Now(i64),
    /// EndSeqNo(16) for everything.
    All,
    /// The interval of heartbeats that scenarios about time use.
    Beat,
    /// BodyLength(9) or CheckSum(10) that is not what it should be.
    Bad,
}

#[derive(Clone, Debug)]
pub(super) struct Expectation {
    pub msg_type: String,
    /// Written as `reject`: fields and reasons that the version does not know are not there.
    pub by_version: bool,
    pub wants: Vec<Want>,
}

#[derive(Clone, Debug)]
pub(super) struct Want {
    pub versions: Versions,
    pub tag: String,
    pub how: Wanted,
}

#[derive(Clone, Debug)]
pub(super) enum Wanted {
    /// One of these.
    Equal(Vec<Value>),
    Contains(String),
    Present,
    Absent,
}

/// A time in seconds, or in heartbeat intervals.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Span {
    Time(Duration),
    Beats(f64),
}

/// What is wrong with a scenario, where, and what to write instead.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScriptError {
    pub file: String,
    pub line: u32,
    pub what: String,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

impl std::error::Error for ScriptError {}

impl Scenario {
    /// `file` is how errors name it; the scenario's own name is its last part without the ending.
    pub fn parse(file: &str, text: &str) -> Result<Self, ScriptError> {
        let fault = |line: usize, what: String| ScriptError { file: file.to_string(), line: line as u32, what };
        if text.len() > FILE_BYTES_MAX {
            return Err(fault(0, format!("longer than {FILE_BYTES_MAX} bytes: split it")));
        }
        let mut header = Header::default();
        let mut steps = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let of_header = if steps.is_empty() { header.take(line) } else { None };
            match of_header {
                Some(taken) => taken.map_err(|what| fault(at + 1, what))?,
                None => steps.push(step(at + 1, line).map_err(|what| fault(at + 1, what))?),
            }
            if steps.len() > STEPS_MAX {
                return Err(fault(at + 1, format!("more than {STEPS_MAX} steps: a scenario shows one rule; split it")));
            }
        }
        let missing = |key: &str| fault(1, format!("{key}: is missing: begin the file with it"));
        let stem = file.rsplit('/').next().unwrap_or(file);
        let scenario = Self {
            name: stem.rsplit_once('.').map_or(stem, |(stem, _)| stem).to_string(),
            rule: header.rule.ok_or_else(|| missing("rule"))?,
            source: header.source.ok_or_else(|| missing("source"))?,
            versions: header.versions.ok_or_else(|| missing("versions"))?,
            skips: header.skips,
            needs: header.needs,
            steps,
        };
        if scenario.steps.is_empty() {
            return Err(fault(
                text.lines().count(),
                "no step follows: write at least logon and what is expected".into(),
            ));
        }
        let outside = scenario.skips.iter().find(|(versions, _)| !versions.overlaps(scenario.versions));
        if let Some((versions, _)) = outside {
            return Err(fault(1, format!("skip {versions}: is not among versions: {}; remove it", scenario.versions)));
        }
        Ok(scenario)
    }

    /// Why the file itself leaves this version out.
    pub fn skip_reason(&self, version: crate::dictionary::Version) -> Option<&str> {
        self.skips.iter().find(|(versions, _)| versions.has(version)).map(|(_, reason)| reason.as_str())
    }
}

#[derive(Default)]
struct Header {
    rule: Option<String>,
    source: Option<String>,
    versions: Option<Versions>,
    skips: Vec<(Versions, String)>,
    needs: Vec<Feature>,
}

impl Header {
    /// `None` where the line is a step.
    fn take(&mut self, line: &str) -> Option<Result<(), String>> {
        let (key, value) = line.split_once(':')?;
        let value = value.trim();
        if let Some(versions) = key.strip_prefix("skip ") {
            if value.is_empty() {
                return Some(Err("a skip needs its reason: write it after the colon".into()));
            }
            return Some(Versions::parse(versions).map(|versions| self.skips.push((versions, value.to_string()))));
        }
        let text = |slot: &mut Option<String>| match (slot.is_some(), value.is_empty()) {
            (true, _) => Err(format!("{key}: is there already: keep one")),
            (_, true) => Err(format!("{key}: is empty: write it after the colon")),
            _ => {
                *slot = Some(value.to_string());
                Ok(())
            }
        };
        match key {
            "rule" => Some(text(&mut self.rule)),
            "source" => Some(text(&mut self.source)),
            "versions" => Some(Versions::parse(value).map(|versions| self.versions = Some(versions))),
            "needs" => Some(value.split([',', ' ']).filter(|need| !need.is_empty()).try_for_each(|need| {
                self.needs.push(need.parse()?);
                Ok(())
            })),
            _ => None,
        }
    }
}

const STEPS: &str = "connect, reconnect, logon, relogon, logout, send, raw, expect, alive, nothing, refused, closed, \
                     close, wait, our-next, their-next";

fn step(line: usize, text: &str) -> Result<Step, String> {
    let mut tokens = tokens(text)?;
    let mut connection = 'A';
    if let Some(Token { text, quoted_from: None }) = tokens.first()
        && let Some(name) = text.strip_suffix(':')
    {
        let mut letters = name.chars();
        match (letters.next(), letters.next()) {
            (Some(letter @ 'A'..='Z'), None) => connection = letter,
            _ => {
                return Err(format!(
                    "{name:?} is neither a key nor a connection: write rule:, source:, versions:, \
                                    needs: or skip VERSION: before the first step, or a connection as B:"
                ));
            }
        }
        tokens.remove(0);
    }
    let mut versions = Versions::ALL;
    if let Some(condition) = tokens.first().and_then(Token::condition) {
        versions = Versions::parse(condition)?;
        tokens.remove(0);
    }
    if tokens.is_empty() {
        return Err(format!("no step: write one of {STEPS}"));
    }
    let word = tokens.remove(0).text;
    let action = action(&word, tokens)?;
    Ok(Step { line: line as u32, text: text.to_string(), connection, versions, action })
}

fn action(word: &str, mut rest: Vec<Token>) -> Result<Action, String> {
    let takes = |allowed: usize, rest: &[Token]| match rest.get(allowed) {
        Some(extra) => Err(format!("{:?} is too much after {word}: remove it", extra.text)),
        None => Ok(()),
    };
    let first = |rest: &[Token], what: &str| {
        rest.first().map(|token| token.text.clone()).ok_or_else(|| format!("{word} needs {what} after it"))
    };
    Ok(match word {
        "connect" => takes(0, &rest).map(|()| Action::Connect)?,
        "reconnect" => takes(0, &rest).map(|()| Action::Reconnect)?,
        "logout" => takes(0, &rest).map(|()| Action::Logout)?,
        "refused" => takes(0, &rest).map(|()| Action::Refused)?,
        "alive" => match rest.first().map(|token| token.text.as_str()) {
            None => Action::Alive { past_resends: false },
            Some("past-resends") => takes(1, &rest).map(|()| Action::Alive { past_resends: true })?,
            Some(other) => return Err(format!("{other:?} after alive: write past-resends, or remove it")),
        },
        "close" => takes(0, &rest).map(|()| Action::Close)?,
        "logon" => Action::Logon(puts(rest)?),
        "relogon" => Action::Relogon(puts(rest)?),
        "send" => {
            let what = match first(&rest, "a MsgType(35), logon or order")?.as_str() {
                "logon" => What::Logon,
                "order" => What::Order,
                msg_type => What::MsgType(msg_type.to_string()),
            };
            rest.remove(0);
            Action::Send(what, puts(rest)?)
        }
        "raw" => {
            takes(1, &rest)?;
            Action::Raw(first(&rest, "its bytes in double quotes, | for the delimiter,")?)
        }
        "expect" => {
            let msg_type = first(&rest, "a MsgType(35) or reject")?;
            rest.remove(0);
            let by_version = msg_type == "reject";
            let msg_type = if by_version { "3".to_string() } else { msg_type };
            let wants = wants(rest)?;
            let wanted = |tag: &str| wants.iter().any(|want| want.tag == tag && !matches!(want.how, Wanted::Absent));
            if wanted("43") && !wanted("34") {
                return Err("a message with PossDupFlag(43) takes no new number: write 34= too".into());
            }
            Action::Expect(Expectation { msg_type, by_version, wants })
        }
        "nothing" => takes(1, &rest).and_then(|()| Ok(Action::Nothing(span(&first(&rest, "a time, as 300ms,")?)?)))?,
        "wait" => takes(1, &rest).and_then(|()| Ok(Action::Wait(span(&first(&rest, "a time, as 300ms,")?)?)))?,
        "closed" => match rest.first() {
            None => Action::Closed(None),
            Some(token) if token.text == "within" => {
                takes(2, &rest)?;
                let time = rest.get(1).ok_or("within needs a time after it, as 3s")?;
                Action::Closed(Some(span(&time.text)?))
            }
            Some(token) => return Err(format!("{:?} after closed: write within and a time, or nothing", token.text)),
        },
        "our-next" | "their-next" => {
            takes(1, &rest)?;
            let number = first(&rest, "a MsgSeqNum(34)")?;
            let number = number.parse().map_err(|_| format!("{number:?} is no MsgSeqNum(34): write a whole number"))?;
            if word == "our-next" { Action::OurNext(number) } else { Action::TheirNext(number) }
        }
        _ => return Err(format!("{word:?} is no step: write one of {STEPS}")),
    })
}

/// A condition follows the field that it is about.
fn with_conditions<T>(
    tokens: Vec<Token>,
    of: impl Fn(&Token) -> Result<T, String>,
    versions_of: impl Fn(&mut T) -> &mut Versions,
) -> Result<Vec<T>, String> {
    let mut fields: Vec<T> = Vec::new();
    for token in tokens {
        if let Some(condition) = token.condition() {
            let field = fields.last_mut().ok_or_else(|| {
                format!("{} follows no field: put it first in the line for the whole step", token.text)
            })?;
            *versions_of(field) = Versions::parse(condition)?;
            continue;
        }
        fields.push(of(&token)?);
        if fields.len() > FIELDS_MAX {
            return Err(format!("more than {FIELDS_MAX} fields: remove some"));
        }
    }
    Ok(fields)
}

fn puts(tokens: Vec<Token>) -> Result<Vec<Put>, String> {
    let of = |token: &Token| {
        let text = token.text.as_str();
        let (tag, how) = if let Some((tag, value)) = text.split_once('=') {
            (tag, How::Value(token.value(value)?))
        } else if let Some(tag) = text.strip_prefix('-') {
            (tag, How::Omitted)
        } else if let Some(tag) = text.strip_prefix('>') {
            (tag, How::Here)
        } else {
            return Err(format!(
                "{text:?} is no field to send: write TAG=VALUE, -TAG to leave one out, or >TAG to move one"
            ));
        };
        if how == How::Value(Value::Bad) && !matches!(tag, "9" | "10") {
            return Err(format!(
                "{text:?}: only 9 and 10 can be bad: write the value itself, in double quotes if it is this word"
            ));
        }
        Ok(Put { versions: Versions::ALL, tag: tag.to_string(), how })
    };
    with_conditions(tokens, of, |put| &mut put.versions)
}

fn wants(tokens: Vec<Token>) -> Result<Vec<Want>, String> {
    let of = |token: &Token| {
        let text = token.text.as_str();
        let is_tag = |tag: &str| !tag.is_empty() && tag.bytes().all(|byte| byte.is_ascii_digit());
        let (tag, how) = if let Some((tag, value)) = text.split_once('=') {
            let one = |value| token.value(value);
            let values = if token.quoted_from.is_some() {
                vec![one(value)?]
            } else {
                value.split('|').map(one).collect::<Result<_, _>>()?
            };
            (tag, Wanted::Equal(values))
        } else if let Some((tag, part)) = text.split_once('~') {
            (tag, Wanted::Contains(part.to_string()))
        } else if let Some(tag) = text.strip_prefix('-') {
            (tag, Wanted::Absent)
        } else {
            (text, Wanted::Present)
        };
        if matches!(&how, Wanted::Equal(values) if values.contains(&Value::Bad)) {
            return Err(format!("{text:?}: what comes is never expected to be bad: write the value itself"));
        }
        if !is_tag(tag) {
            return Err(format!(
                "{text:?} is no field to expect: write TAG=VALUE, TAG~PART, TAG for any value or -TAG for none"
            ));
        }
        Ok(Want { versions: Versions::ALL, tag: tag.to_string(), how })
    };
    with_conditions(tokens, of, |want| &mut want.versions)
}

fn span(text: &str) -> Result<Span, String> {
    let wrong = || format!("{text:?} is no time: write 300ms, 2s or 1.5beats");
    let number = |unit: &str| {
        text.strip_suffix(unit).map(|number| number.parse::<f64>().ok().filter(|number| (0.0..1e6).contains(number)))
    };
    if let Some(beats) = number("beats").or_else(|| number("beat")) {
        return beats.filter(|beats| *beats <= BEATS_MAX).map(Span::Beats).ok_or_else(wrong);
    }
    let ms = match number("ms") {
        Some(ms) => ms,
        None => number("s").flatten().map(|s| s * 1_000.0),
    };
    let time = Duration::from_secs_f64(ms.ok_or_else(wrong)? / 1_000.0);
    if time > STEP_DURATION_MAX {
        return Err(format!("{text:?} is longer than anybody waits: {} s at most", STEP_DURATION_MAX.as_secs()));
    }
    Ok(Span::Time(time))
}

/// A word of a line, its quotes removed.
struct Token {
    text: String,
    /// Where a quoted part begins, which is taken as it stands.
    quoted_from: Option<usize>,
}

impl Token {
    fn condition(&self) -> Option<&str> {
        self.text.strip_prefix('@').filter(|_| self.quoted_from.is_none())
    }

    fn value(&self, text: &str) -> Result<Value, String> {
        if self.quoted_from.is_some() {
            return Ok(Value::Literal(text.to_string()));
        }
        Ok(match text {
            "all" => Value::All,
            "beat" => Value::Beat,
            "bad" => Value::Bad,
            "now" => Value::Now(0),
            _ => match text.strip_prefix("now") {
                Some(offset) => Value::Now(offset_ms(offset)?),
                None => Value::Literal(text.to_string()),
            },
        })
    }
}

fn offset_ms(text: &str) -> Result<i64, String> {
    let wrong = || format!("now{text} is no time: write now, now+130s or now-500ms");
    let (sign, span_text) = match text.split_at_checked(1) {
        Some(("+", rest)) => (1, rest),
        Some(("-", rest)) => (-1, rest),
        _ => return Err(wrong()),
    };
    match span(span_text) {
        Ok(Span::Time(time)) => Ok(sign * time.as_millis() as i64),
        _ => Err(wrong()),
    }
}

/// Words are parted by blanks; within double quotes everything stands for itself.
fn tokens(line: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut token: Option<Token> = None;
    let mut in_quotes = false;
    for letter in line.chars() {
        if letter.is_control() {
            return Err(format!("{letter:?} is no character for a scenario: write | for the delimiter"));
        }
        match letter {
            '"' => {
                in_quotes = !in_quotes;
                let token = token.get_or_insert(Token { text: String::new(), quoted_from: None });
                token.quoted_from.get_or_insert(token.text.len());
            }
            ' ' if !in_quotes => tokens.extend(token.take()),
            _ => token.get_or_insert(Token { text: String::new(), quoted_from: None }).text.push(letter),
        }
    }
    if in_quotes {
        return Err("a double quote is open at the end of the line: close it".into());
    }
    tokens.extend(token);
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dictionary::Version;

    const HEADER: &str = "rule: R\nsource: S\nversions: all\n";

    fn wrong(text: &str) -> String {
        Scenario::parse("a/b.rule", text).expect_err(text).to_string()
    }

    #[test]
    fn a_scenario_is_read_with_its_header_conditions_and_quotes() {
        let text = format!(
            "# about it\n{HEADER}needs: echo, reset\nskip 4.0: it has none\n\nlogon 108=5\n\
             B: @4.2+ send order 58=\"a now\" 371=1 @4.4 -52 >34 122=now-2s\nexpect reject 373=5|6 58~x -371 45\nclosed within 2beats\n"
        );
        let scenario = Scenario::parse("tests/conformance/a-rule.rule", &text).unwrap();
        assert_eq!(scenario.name, "a-rule");
        assert_eq!(scenario.needs, [Feature::Echo, Feature::Reset]);
        assert_eq!(scenario.skip_reason(Version::Fix40), Some("it has none"));
        assert_eq!(scenario.skip_reason(Version::Fix41), None);
        let send = &scenario.steps[1];
        assert_eq!((send.line, send.connection), (9, 'B'));
        assert!(!send.versions.has(Version::Fix41) && send.versions.has(Version::Fix42));
        let Action::Send(What::Order, fields) = &send.action else { panic!("{send:?}") };
        assert_eq!(fields[0].how, How::Value(Value::Literal("a now".into())));
        assert!(!fields[1].versions.has(Version::Fix43));
        assert_eq!((&fields[2].how, &fields[3].how), (&How::Omitted, &How::Here));
        assert_eq!(fields[4].how, How::Value(Value::Now(-2_000)));
        let Action::Expect(Expectation { by_version: true, wants, .. }) = &scenario.steps[2].action else { panic!() };
        assert!(matches!(&wants[0].how, Wanted::Equal(values) if values.len() == 2));
    }

    #[test]
    fn each_fault_names_file_and_line_and_the_mend() {
        for (text, line, mend) in [
            ("logon\n".to_string(), 1, "begin the file with it"),
            (HEADER.to_string(), 3, "write at least logon"),
            ("rule: R\nrule: R\n".into(), 2, "keep one"),
            ("rule:\n".into(), 1, "after the colon"),
            ("versions: 4.5\n".into(), 1, "is no version"),
            ("needs: luck\n".into(), 1, "write one of echo"),
            ("skip 4.0:\n".into(), 1, "needs its reason"),
            (format!("{HEADER}hello\n"), 4, "write one of connect"),
            (format!("{HEADER}Bx: send 0\n"), 4, "write rule:"),
            (format!("{HEADER}send\n"), 4, "needs a MsgType(35)"),
            (format!("{HEADER}send 0 what\n"), 4, "write TAG=VALUE"),
            (format!("{HEADER}send 0 58=bad\n"), 4, "write the value itself"),
            (format!("{HEADER}expect 0 9=bad\n"), 4, "write the value itself"),
            (format!("{HEADER}send 0 @4.2+\n"), 4, "put it first"),
            (format!("{HEADER}send 0 52=now*3\n"), 4, "write now, now+130s"),
            (format!("{HEADER}expect 0 x=1\n"), 4, "write TAG=VALUE"),
            (format!("{HEADER}expect D 43=Y\n"), 4, "write 34= too"),
            (format!("{HEADER}nothing soon\n"), 4, "write 300ms"),
            (format!("{HEADER}nothing 10000s\n"), 4, "at most"),
            (format!("{HEADER}alive 3\n"), 4, "remove it"),
            (format!("{HEADER}raw \"8=\n"), 4, "close it"),
            (format!("{HEADER}our-next x\n"), 4, "whole number"),
        ] {
            let error = wrong(&text);
            assert!(error.starts_with(&format!("a/b.rule:{line}: ")) && error.contains(mend), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_skip_of_a_version_that_is_not_concerned_is_refused() {
        let error = wrong("rule: R\nsource: S\nversions: 4.2+\nskip 4.0: why\nlogon\n");
        assert!(error.contains("remove it"), "{error}");
    }
}
