//! What the standard says and the files that the built-in tables are made from leave out.
//!
//! Only `compile` applies this: a file that a user loads is taken at its word.

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

fn field(tag: u32, name: &'static str, kind: FieldType, values: &[(&'static str, &'static str)]) -> FieldDefinition {
    let values =
        values.iter().map(|(value, name)| EnumeratedValue { value: Cow::Borrowed(value), name: Cow::Borrowed(name) });
    FieldDefinition { tag, name: Cow::Borrowed(name), kind, values: values.collect() }
}
