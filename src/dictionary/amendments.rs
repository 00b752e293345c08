//! What the standard says and the files that the built-in tables are made from leave out, and what
//! those files say only since an extension pack.
//!
//! Only the built-in tables are amended: a file that a user loads is taken at its word.

use std::borrow::Cow;

use super::model::Parts;
use super::{Component, EnumeratedValue, FieldDefinition, FieldType, Group, Member, MemberKind, Version};

/// FIXT.1.1, "Logon": the message types that the sender takes part in. The source knows the component and none of its
/// members, so that a Logon with NoMsgTypes(384), which is common, would be refused.
const MSG_TYPE_GRP: &str = "MsgTypeGrp";

pub(super) fn amend(parts: &mut Parts) {
    if parts.version != Version::Fixt11 {
        return;
    }
    let is_empty = |component: &&mut Component| component.name == MSG_TYPE_GRP && component.members.is_empty();
    let Some(component) = parts.components.iter_mut().find(is_empty) else {
        return;
    };
    let optional = |tag| Member { kind: MemberKind::Field(tag), required: false };
    // RefMsgType, MsgDirection, RefApplVerID, RefApplExtID, RefCstmApplVerID, DefaultVerIndicator.
    let members = [372, 385, 1130, 1406, 1131, 1410].map(optional).to_vec();
    component.members = vec![Member { kind: MemberKind::Group(Group { count_tag: 384, members }), required: false }];
    let new_fields = [
        field(372, "RefMsgType", FieldType::String, &[]),
        field(384, "NoMsgTypes", FieldType::NumInGroup, &[]),
        field(385, "MsgDirection", FieldType::Char, &[("R", "RECEIVE"), ("S", "SEND")]),
        field(1410, "DefaultVerIndicator", FieldType::Boolean, &[("N", "NO"), ("Y", "YES")]),
    ];
    for new in new_fields {
        if !parts.fields.iter().any(|field| field.tag == new.tag) {
            parts.fields.push(new);
        }
    }
}

/// FIX.5.0SP2 as it was before its extension packs, as far as they took something away. What they
/// added stays: it is optional, and whoever speaks the base version does not send it.
pub(super) fn to_base(parts: &mut Parts) {
    if parts.version != Version::Fix50Sp2 {
        return;
    }
    // LastUpdateTime(779) of a MarketDataSnapshotFullRefresh is required since EP190.
    let snapshot = parts.messages.iter_mut().find(|message| message.msg_type == "W");
    for member in snapshot.into_iter().flat_map(|message| &mut message.members) {
        member.required &= member.kind != MemberKind::Field(779);
    }
    // An instance of NoAffectedOrders(534) began with OrigClOrdID(41) before
    // AffectedOrigClOrdID(1824) took its place.
    let affected = parts.components.iter_mut().find(|component| component.name == "AffectedOrdGrp");
    for member in affected.into_iter().flat_map(|component| &mut component.members) {
        if let MemberKind::Group(group) = &mut member.kind
            && group.members.first().is_some_and(|first| first.kind == MemberKind::Field(1824))
        {
            group.members.insert(0, Member { kind: MemberKind::Field(41), required: false });
        }
    }
    // Fields that had another type, of which a value need not be one of today's.
    let types = [
        (674, FieldType::String),
        (877, FieldType::String),
        (1294, FieldType::String),
        (1299, FieldType::Char),
        (1492, FieldType::UtcTimestamp),
        (1493, FieldType::UtcTimestamp),
    ];
    for (tag, kind) in types {
        parts.fields.iter_mut().filter(|field| field.tag == tag).for_each(|field| field.kind = kind);
    }
}

fn field(tag: u32, name: &'static str, kind: FieldType, values: &[(&'static str, &'static str)]) -> FieldDefinition {
    let values =
        values.iter().map(|(value, name)| EnumeratedValue { value: Cow::Borrowed(value), name: Cow::Borrowed(name) });
    FieldDefinition { tag, name: Cow::Borrowed(name), kind, values: values.collect() }
}
