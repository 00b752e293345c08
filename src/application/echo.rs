//! `application = "echo"`: returns every application message to its sender, the body unchanged.

use super::{Application, Delivery, Handle};
use crate::fix::{Message, tags};

/// Sends back what comes. A message that finds no room is not returned; the count says so.
#[derive(Debug, Default)]
pub struct Echo {
    pub not_returned: u64,
}

/// Standard header and trailer fields that the session writes itself; all others are the body.
fn is_header_or_trailer(tag: u32) -> bool {
    matches!(
        tag,
        tags::BEGIN_STRING
            | tags::BODY_LENGTH
            | tags::MSG_TYPE
            | tags::MSG_SEQ_NUM
            | tags::POSS_DUP_FLAG
            | tags::POSS_RESEND
            | tags::SENDER_COMP_ID
            | tags::SENDER_SUB_ID
            | tags::SENDER_LOCATION_ID
            | tags::TARGET_COMP_ID
            | tags::TARGET_SUB_ID
            | tags::TARGET_LOCATION_ID
            | tags::SENDING_TIME
            | tags::ORIG_SENDING_TIME
            | tags::LAST_MSG_SEQ_NUM_PROCESSED
            | tags::SIGNATURE_LENGTH
            | tags::SIGNATURE
            | tags::CHECK_SUM
    )
}

impl Application for Echo {
    fn on_message(&mut self, session: &mut Handle<'_>, message: &Message<'_>, _delivery: Delivery) {
        let sent = session.send(message.msg_type(), |body| {
            for field in message.fields().filter(|field| !is_header_or_trailer(field.tag)) {
                body.bytes(field.tag, field.value);
            }
        });
        if sent.is_err() {
            self.not_returned += 1;
        }
    }
}
