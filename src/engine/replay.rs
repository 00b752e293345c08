//! What an application has missed: its snapshot, and the stored messages after it.

use crate::application::{Application, Direction, RestoreError, SessionNumber};
use crate::fix::{DataFields, FieldIndex, Message, parse, parse_by};
use crate::journal::{Kind, Recovered, Storage, StorageError, flags};
use crate::session::is_admin;

/// Brings an application to where the journal ends: its snapshot, then what was stored after it.
///
/// Messages are read by the data fields of their session, by its number; one that they cannot read,
/// since the dictionary has changed, by the standard's. The error is the application's (`Ok`) or
/// the storage's (`Err`).
pub fn restore<A: Application, S: Storage>(
    application: &mut A,
    recovered: &Recovered<S>,
    message_bytes_max: u32,
    data_fields: &[Option<&DataFields>],
) -> Result<(), Result<RestoreError, StorageError>> {
    if !recovered.snapshot.is_empty() {
        application.restore(&recovered.snapshot).map_err(Ok)?;
    }
    let mut index = FieldIndex::with_capacity(message_bytes_max / 4);
    let mut records = recovered.replay();
    let mut rollbacks = recovered.rollbacks.iter().peekable();
    while let Some(record) = records.next().map_err(Err)? {
        while let Some(placed) = rollbacks.next_if(|placed| placed.position <= record.position) {
            application.on_rollback(SessionNumber(placed.session), placed.rollback);
        }
        let header = record.header;
        let direction = match header.kind {
            Kind::Inbound if header.has(flags::DELIVERED) => Direction::Inbound,
            Kind::Outbound => Direction::Outbound,
            _ => continue,
        };
        let mut replay = |message: &Message<'_>| {
            if !is_admin(message.msg_type()) {
                application.on_replay(SessionNumber(header.session), header.epoch, direction, message);
            }
        };
        let own = data_fields.get(header.session as usize).copied().flatten();
        // What cannot be read was not delivered either.
        let read = parse_by(record.payload, &mut index, own).map(|message| replay(&message));
        if read.is_err() && own.is_some() {
            let _ = parse(record.payload, &mut index).map(|message| replay(&message));
        }
    }
    rollbacks.for_each(|placed| application.on_rollback(SessionNumber(placed.session), placed.rollback));
    Ok(())
}
