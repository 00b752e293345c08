//! What a scenario sends: a message with everything filled in, and then spoilt as the step says.

use super::script::{How, Put, Value, What};
use super::versions::{begin_string, end_seq_no_infinity};
use super::wire::shown;
use crate::dictionary::Version;

/// Fields that stand before the body. A scenario that writes one finds it there.
const HEADER: [&str; 27] = [
    "8", "9", "35", "34", "49", "56", "52", "43", "50", "57", "90", "91", "97", "115", "116", "122", "128", "129",
    "142", "143", "144", "145", "347", "369", "1128", "1129", "1156",
];

/// What is filled in where a step does not say otherwise.
pub(super) struct Defaults<'a> {
    pub version: Version,
    pub sender_comp_id: &'a str,
    pub target_comp_id: &'a str,
    pub msg_seq_num: u64,
    pub heartbeat_s: u32,
    /// With ResetSeqNumFlag(141).
    pub resets: bool,
    pub username: Option<&'a str>,
    pub password: Option<&'a str>,
    /// Not used by any message before.
    pub cl_ord_id: String,
}

/// A message ready to go, and as the report shows it.
pub(super) struct Composed {
    pub bytes: Vec<u8>,
    pub shown: String,
}

#[derive(Clone)]
enum Content {
    Text(String),
    Length,
    LengthBad,
    Sum,
    SumBad,
}

struct Field {
    tag: String,
    content: Content,
    /// A step has set it: the next of the same tag is one more field.
    set: bool,
}

impl Defaults<'_> {
    pub fn message(&self, what: &What, puts: &[Put]) -> Composed {
        let (msg_type, body) = match what {
            What::MsgType(msg_type) => (msg_type.as_str(), Vec::new()),
            What::Logon => ("A", self.logon_body()),
            What::Order => ("D", self.order_body()),
        };
        let default = |tag: &str, content| Field { tag: tag.to_string(), content, set: false };
        let text = |tag: &str, text: &str| default(tag, Content::Text(text.to_string()));
        let mut header = vec![
            text("8", begin_string(self.version)),
            default("9", Content::Length),
            text("35", msg_type),
            text("34", &self.msg_seq_num.to_string()),
            text("49", self.sender_comp_id),
            text("52", &self.value(&Value::Now(0))),
            text("56", self.target_comp_id),
        ];
        let mut body: Vec<_> = body.iter().map(|(tag, value)| text(tag, value)).collect();
        let mut sum = Some(Content::Sum);
        for Put { tag, how, .. } in puts.iter().filter(|put| put.versions.has(self.version)) {
            let value = match how {
                How::Value(value) => value,
                How::Omitted if tag == "10" => {
                    sum = None;
                    continue;
                }
                How::Omitted => {
                    header.retain(|field| field.tag != *tag);
                    body.retain(|field| field.tag != *tag);
                    continue;
                }
                How::Here => {
                    let fields = if header.iter().any(|field| field.tag == *tag) { &mut header } else { &mut body };
                    if let Some(at) = fields.iter().position(|field| field.tag == *tag) {
                        let field = fields.remove(at);
                        body.push(field);
                    }
                    continue;
                }
            };
            let content = match (tag.as_str(), value) {
                ("9", Value::Bad) => Content::LengthBad,
                ("10", Value::Bad) => Content::SumBad,
                _ => Content::Text(self.value(value)),
            };
            if tag == "10" {
                sum = Some(content);
                continue;
            }
            let unset = header.iter_mut().chain(body.iter_mut()).find(|field| field.tag == *tag && !field.set);
            match unset {
                Some(field) => (field.content, field.set) = (content, true),
                None => {
                    let again = header.iter().any(|field| field.tag == *tag);
                    let fields = if HEADER.contains(&tag.as_str()) && !again { &mut header } else { &mut body };
                    fields.push(Field { tag: tag.clone(), content, set: true });
                }
            }
        }
        header.append(&mut body);
        header.extend(sum.map(|sum| default("10", sum)));
        render(&header)
    }

    /// Bytes as they are written, `|` for the delimiter, and words in braces filled in.
    pub fn raw(&self, text: &str) -> Composed {
        let text = text
            .replace("{begin}", begin_string(self.version))
            .replace("{sender}", self.sender_comp_id)
            .replace("{target}", self.target_comp_id)
            .replace("{next}", &self.msg_seq_num.to_string())
            .replace("{now}", &self.value(&Value::Now(0)))
            .replace('|', "\x01");
        let length = |text: &str| {
            let begin = text.find("9={length}\x01").map_or(0, |at| at + "9={length}\x01".len());
            let end = text.rfind("\x0110=").map_or(text.len(), |at| at + 1);
            end.saturating_sub(begin).to_string()
        };
        let mut text = text.replace("{length}", &length(&text));
        if let Some(at) = text.rfind("{sum}") {
            let end = text.rfind("10={sum}").unwrap_or(at);
            let sum = check_sum(&text.as_bytes()[..end]);
            text = text.replace("{sum}", &sum);
        }
        Composed { shown: text.replace('\x01', "|"), bytes: text.into_bytes() }
    }

    fn logon_body(&self) -> Vec<(&'static str, String)> {
        let mut body = vec![("98", "0".to_string()), ("108", "30".to_string())];
        if self.resets {
            body.push(("141", "Y".to_string()));
        }
        if self.version >= Version::Fix43 {
            body.extend(self.username.map(|username| ("553", username.to_string())));
            body.extend(self.password.map(|password| ("554", password.to_string())));
        }
        if self.version.needs_transport() {
            let appl_ver_id = self.version.appl_ver_id().unwrap_or_default();
            body.push(("1137", String::from_utf8_lossy(appl_ver_id).into_owned()));
        }
        body
    }

    /// A market order with what each version requires.
    fn order_body(&self) -> Vec<(&'static str, String)> {
        let mut body = vec![("11", self.cl_ord_id.clone()), ("21", "1".to_string()), ("55", "FIXR".to_string())];
        body.push(("54", "1".to_string()));
        if self.version >= Version::Fix42 {
            body.push(("60", self.value(&Value::Now(0))));
        }
        body.push(("38", "100".to_string()));
        body.push(("40", "1".to_string()));
        body
    }

    pub fn value(&self, value: &Value) -> String {
        match value {
            Value::Literal(text) => text.clone(),
            Value::All => end_seq_no_infinity(self.version).to_string(),
            Value::Beat => self.heartbeat_s.to_string(),
            Value::Now(offset_ms) => {
                let time = jiff::Timestamp::now() + jiff::SignedDuration::from_millis(*offset_ms);
                // No fractions of a second before FIX.4.2.
                let format = if self.version < Version::Fix42 { "%Y%m%d-%H:%M:%S" } else { "%Y%m%d-%H:%M:%S%.3f" };
                time.strftime(format).to_string()
            }
            // The parser lets it stand in 9 and 10 alone, which are not text yet.
            Value::Bad => "bad".to_string(),
        }
    }
}

fn render(fields: &[Field]) -> Composed {
    let mut rendered: Vec<(String, String)> = Vec::new();
    let length_at = fields.iter().position(|field| matches!(field.content, Content::Length | Content::LengthBad));
    let field_bytes = |field: &Field| match &field.content {
        Content::Text(text) => field.tag.len() + 1 + text.len() + 1,
        Content::Length | Content::LengthBad | Content::Sum | Content::SumBad => 0,
    };
    let after = length_at.map_or(0, |at| at + 1);
    let without_sum = fields.len() - usize::from(fields.last().is_some_and(|field| field.tag == "10"));
    let length: usize = fields[after.min(without_sum)..without_sum].iter().map(field_bytes).sum();
    let mut bytes = Vec::new();
    for field in fields {
        let value = match &field.content {
            Content::Text(text) => text.clone(),
            Content::Length => length.to_string(),
            // Too short, so that whoever reads need not wait for more bytes to see it.
            Content::LengthBad => length.saturating_sub(2).to_string(),
            Content::Sum => check_sum(&bytes),
            Content::SumBad => {
                let sum: u32 = check_sum(&bytes).parse().unwrap_or_default();
                format!("{:03}", (sum + 1) % 256)
            }
        };
        bytes.extend_from_slice(format!("{}={value}\x01", field.tag).as_bytes());
        rendered.push((field.tag.clone(), value));
    }
    Composed { shown: shown(&rendered), bytes }
}

fn check_sum(bytes: &[u8]) -> String {
    format!("{:03}", bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certify::script::{Action, Scenario};

    fn composed(version: Version, step: &str) -> String {
        let text = format!("rule: R\nsource: S\nversions: all\n{step}\n");
        let scenario = Scenario::parse("x.rule", &text).unwrap();
        let defaults = Defaults {
            version,
            sender_comp_id: "US",
            target_comp_id: "THEM",
            msg_seq_num: 7,
            heartbeat_s: 1,
            resets: true,
            username: Some("u"),
            password: Some("p"),
            cl_ord_id: "ID".into(),
        };
        let composed = match &scenario.steps[0].action {
            Action::Send(what, puts) => defaults.message(what, puts),
            Action::Raw(text) => defaults.raw(text),
            other => panic!("{other:?}"),
        };
        composed.shown
    }

    #[test]
    fn what_a_step_does_not_say_is_filled_in_and_what_it_says_stands_where_it_belongs() {
        let fix40 = |step| composed(Version::Fix40, step);
        assert_eq!(fix40("send 0 52=T"), "8=FIX.4.0|9=29|35=0|34=7|49=US|52=T|56=THEM|10=212|");
        assert_eq!(
            fix40("send 0 52=T 112=x 43=Y -49 >34 34=5"),
            "8=FIX.4.0|9=34|35=0|52=T|56=THEM|43=Y|112=x|34=5|10=195|"
        );
        assert_eq!(
            fix40("send order 52=T 40=2 40=3 43=Y"),
            "8=FIX.4.0|9=75|35=D|34=7|49=US|52=T|56=THEM|43=Y|11=ID|21=1|55=FIXR|54=1|38=100|40=2|40=3|10=130|"
        );
        assert_eq!(fix40("send 2 52=T 16=all"), "8=FIX.4.0|9=39|35=2|34=7|49=US|52=T|56=THEM|16=999999|10=210|");
        assert_eq!(
            composed(Version::Fix50Sp1, "send logon 52=T 112=x @-4.4"),
            "8=FIXT.1.1|9=66|35=A|34=7|49=US|52=T|56=THEM|98=0|108=30|141=Y|553=u|554=***|1137=8|10=092|"
        );
    }

    #[test]
    fn lengths_and_sums_are_bad_only_where_asked_for() {
        let good = composed(Version::Fix44, "send 0 52=T");
        assert_eq!(good, "8=FIX.4.4|9=29|35=0|34=7|49=US|52=T|56=THEM|10=216|");
        assert_eq!(composed(Version::Fix44, "send 0 52=T 10=bad"), good.replace("10=216", "10=217"));
        assert!(composed(Version::Fix44, "send 0 52=T 9=bad").contains("|9=27|"));
        assert_eq!(composed(Version::Fix44, "send 0 52=T -10"), good.replace("10=216|", ""));
        let raw = "raw \"8={begin}|9={length}|35=0|34={next}|49={sender}|52=T|56={target}|10={sum}|\"";
        assert_eq!(composed(Version::Fix44, raw), good);
    }
}
