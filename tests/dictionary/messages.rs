//! Messages against the standard: one test a check, with what the open-source engines answer to the same message.

use std::sync::LazyLock;

use fixring::dictionary::{
    Checks, CompileError, FixtValidator, Reason, Validator, Version, Violation, built_in, built_in_latest, load, to_xml,
};
use fixring::fix::{FieldIndex, SOH, parse};

/// Fields between bars, as they are. Framing is not the validator's affair, so length and sum need not be right.
pub fn bytes(text: &str) -> Vec<u8> {
    text.bytes().map(|byte| if byte == b'|' { SOH } else { byte }).collect()
}

fn validate_with(validator: &Validator, text: &str) -> Result<(), Violation> {
    let bytes = bytes(text);
    let mut index = FieldIndex::with_capacity(4_096);
    validator.validate(&parse(&bytes, &mut index).expect("the test's message is well-formed"))
}

fn fix(version: Version, checks: Checks) -> Validator {
    Validator::new(built_in(version), checks).unwrap()
}

/// `8=…` to SendingTime(52), with the body's fields and the trailer.
fn message(version: &str, msg_type: &str, body: &str) -> String {
    let body = if body.is_empty() { String::new() } else { format!("{body}|") };
    format!("8={version}|9=100|35={msg_type}|34=2|49=DESK|52=20261123-12:00:00.000|56=VENUE|{body}10=000|")
}

fn fix44(msg_type: &str, body: &str) -> Result<(), Violation> {
    static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| fix(Version::Fix44, Checks::default()));
    validate_with(&VALIDATOR, &message("FIX.4.4", msg_type, body))
}

fn refused(reason: Reason, tag: u32) -> Result<(), Violation> {
    Err(Violation { reason, ref_tag_id: Some(tag) })
}

const ORDER: &str = "11=id|55=MSFT|54=1|60=20261123-12:00:00|38=100|40=1";

/// [`ORDER`] with other fields in the place of its own, or behind them: with nothing missing, what is wrong with one is named.
fn order_with(fields: &str) -> String {
    let tag_of = |field: &str| field.split('=').next().map(str::to_owned);
    let others: Vec<_> = fields.split('|').map(tag_of).collect();
    let kept = ORDER.split('|').filter(|field| !others.contains(&tag_of(field)));
    kept.chain([fields]).collect::<Vec<_>>().join("|")
}

#[test]
fn whole_messages_of_every_version_pass() {
    let order_40 = "11=id|21=3|40=1|54=1|55=MSFT|38=002000";
    let order_42 = format!("{order_40}.00|60=20261123-12:00:00");
    for (version, name, order) in [
        (Version::Fix40, "FIX.4.0", order_40),
        (Version::Fix41, "FIX.4.1", order_40),
        (Version::Fix42, "FIX.4.2", &order_42),
        (Version::Fix43, "FIX.4.3", &order_42),
        (Version::Fix44, "FIX.4.4", ORDER),
    ] {
        let validator = fix(version, Checks::default());
        assert_eq!(validate_with(&validator, &message(name, "D", order)), Ok(()), "{name}");
        assert_eq!(validate_with(&validator, &message(name, "0", "")), Ok(()), "{name}");
        assert_eq!(validate_with(&validator, &message(name, "A", "98=0|108=30")), Ok(()), "{name}");
    }
}

#[test]
fn an_unknown_tag_is_an_invalid_tag_number() {
    assert_eq!(fix44("0", "999=HI"), refused(Reason::InvalidTagNumber, 999));
    assert_eq!(fix44("0", "5000=HI"), refused(Reason::InvalidTagNumber, 5_000));
    assert_eq!(fix44("0", "45000=HI"), refused(Reason::InvalidTagNumber, 45_000));
    assert_eq!(fix44("0", "999999999=HI"), refused(Reason::InvalidTagNumber, 999_999_999));
}

#[test]
fn a_tag_of_other_messages_is_not_defined_for_this_one() {
    assert_eq!(fix44("0", "55=MSFT"), refused(Reason::TagNotDefinedForMessage, 55));
}

#[test]
fn a_fault_of_the_whole_message_is_named_before_one_of_a_field() {
    assert_eq!(fix44("D", "21=4|54=1"), refused(Reason::RequiredTagMissing, 11), "not the value before it");
    let late = order_with("21=4|34=3");
    assert_eq!(fix44("D", &late), refused(Reason::TagOutOfOrder, 34), "nor where the header goes on in the body");
    // The header's own group has fields that stand nowhere else.
    let hops =
        "8=FIX.4.4|9=1|35=0|627=1|628=HUB|629=20261123-12:00:00|34=2|49=DESK|52=20261123-12:00:00|56=V|999=x|10=0|";
    assert_eq!(validate_with(&fix(Version::Fix44, Checks::default()), hops), refused(Reason::InvalidTagNumber, 999));
}

#[test]
fn a_wrong_number_of_instances_is_named_before_a_wrong_value_in_one() {
    let sessions = "386=3|336=1|625=2|336=2";
    assert_eq!(fix44("D", &order_with(sessions)), refused(Reason::IncorrectNumInGroup, 386));
    let parties = "453=2|448=A|447=~|452=1";
    assert_eq!(fix44("D", &order_with(parties)), refused(Reason::IncorrectNumInGroup, 453));
    let parties = "453=1|448=A|447=~|452=1";
    assert_eq!(fix44("D", &order_with(parties)), refused(Reason::ValueIncorrect, 447));
}

#[test]
fn a_missing_required_tag_is_named_the_header_first() {
    let heartbeat = "8=FIX.4.4|9=1|35=0|34=2|49=DESK|52=20261123-12:00:00|10=0|";
    let validator = fix(Version::Fix44, Checks::default());
    assert_eq!(validate_with(&validator, heartbeat), refused(Reason::RequiredTagMissing, 56));
    assert_eq!(fix44("D", "40=1|54=1|21=3|11=id|55=MSFT"), refused(Reason::RequiredTagMissing, 60));
    // A field that a component requires is required where the component is, and only there.
    let optional = "<component name='Instrument'>\n   <field name='Symbol' required='N'/>";
    let xml = to_xml(built_in(Version::Fix44));
    assert!(xml.contains(optional));
    let dictionary = load(xml.replace(optional, &optional.replace("'N'", "'Y'")).as_bytes()).unwrap().dictionary;
    let validator = Validator::new(&dictionary, Checks::default()).unwrap();
    let order = message("FIX.4.4", "D", "11=id|40=1|54=1|60=20261123-12:00:00");
    assert_eq!(validate_with(&validator, &order), refused(Reason::RequiredTagMissing, 55));
    let positions = message("FIX.4.4", "AN", "710=r|724=0|715=20261123|60=20261123-12:00:00|1=a|581=1");
    assert_eq!(validate_with(&validator, &positions), Ok(()), "its Instrument is optional");
    assert_eq!(fix44("D", ""), refused(Reason::RequiredTagMissing, 11));
}

#[test]
fn a_tag_without_a_value_is_said_before_what_comes_after_it() {
    let validator = fix(Version::Fix44, Checks::default());
    let heartbeat = "8=FIX.4.4|9=1|35=0|34=2|49=DESK|52=20261123-12:00:00|56=|10=0|";
    assert_eq!(validate_with(&validator, heartbeat), refused(Reason::TagWithoutValue, 56));
    let order = order_with("38=x");
    let order = format!("8=FIX.4.4|9=1|35=D|34=2|49=DESK|52=20261123-12:00:00|56=V|128=J|129=|{order}|10=0|");
    assert_eq!(validate_with(&validator, &order), refused(Reason::TagWithoutValue, 129));
    assert_eq!(fix44("0", "999="), refused(Reason::TagWithoutValue, 999));
    assert_eq!(fix44("0", "115="), refused(Reason::TagWithoutValue, 115));
    assert_eq!(fix44("0", "55="), refused(Reason::TagWithoutValue, 55));
}

#[test]
fn a_value_that_is_not_among_the_enumerated_ones_is_incorrect() {
    assert_eq!(fix44("D", &order_with("21=4")), refused(Reason::ValueIncorrect, 21));
    assert_eq!(fix44("D", &order_with("167=BOO")), refused(Reason::ValueIncorrect, 167));
    assert_eq!(fix44("D", &format!("{ORDER}|167=CS|18=1 G 6")), Ok(()));
    assert_eq!(fix44("D", &format!("{ORDER}|18=1 ~")), refused(Reason::ValueIncorrect, 18));
}

#[test]
fn a_value_in_the_wrong_format_is_told_from_one_that_is_out_of_range() {
    assert_eq!(fix44("D", &order_with("38=+200.00")), refused(Reason::IncorrectDataFormat, 38));
    assert_eq!(fix44("D", &order_with("54=11")), refused(Reason::IncorrectDataFormat, 54));
    assert_eq!(fix44("D", &order_with("60=20261123")), refused(Reason::IncorrectDataFormat, 60));
    assert_eq!(fix44("A", "98=0|108=soon"), refused(Reason::IncorrectDataFormat, 108));
}

#[test]
fn a_timestamp_may_have_a_fraction_in_every_version_and_must_be_one() {
    for (version, name) in [
        (Version::Fix40, "FIX.4.0"),
        (Version::Fix41, "FIX.4.1"),
        (Version::Fix42, "FIX.4.2"),
        (Version::Fix44, "FIX.4.4"),
    ] {
        let validator = fix(version, Checks::default());
        let heartbeat = |sending_time: &str| {
            validate_with(&validator, &format!("8={name}|9=1|35=0|34=2|49=DESK|56=VENUE|52={sending_time}|10=0|"))
        };
        for fraction in ["", ".1", ".123", ".123456", ".123456789"] {
            assert_eq!(heartbeat(&format!("20261123-12:00:00{fraction}")), Ok(()), "{name} {fraction}");
            // The last days of a month and leap seconds are looked at in another way.
            assert_eq!(heartbeat(&format!("20261130-12:00:60{fraction}")), Ok(()), "{name} {fraction}");
        }
        for wrong in ["20261123", "20261123-12:00", "20261131-12:00:00", "20261123-12:00:00.", "20261123-12:00:00,123"]
        {
            assert_eq!(heartbeat(wrong), refused(Reason::IncorrectDataFormat, 52), "{name} {wrong}");
        }
    }
}

#[test]
fn a_number_has_no_plus_sign_and_no_exponent() {
    for right in ["0", "-1", "-1.25", "007.50", ".5", "5.", "12345678901234567890.5"] {
        assert_eq!(fix44("D", &format!("{ORDER}|44={right}|99={right}")), Ok(()), "{right}");
    }
    for wrong in ["+1", "1e5", "1E5", "1,5", "1.2.3", "-", ".", "0x10", " 1", "1 ", "--1", "Infinity", "NaN"] {
        assert_eq!(
            fix44("D", &order_with(&format!("38={wrong}"))),
            refused(Reason::IncorrectDataFormat, 38),
            "{wrong}"
        );
        assert_eq!(
            fix44("D", &order_with(&format!("44={wrong}"))),
            refused(Reason::IncorrectDataFormat, 44),
            "{wrong}"
        );
    }
    for wrong in ["+30", "30.", "3e1", "-", "30 "] {
        assert_eq!(fix44("A", &format!("98=0|108={wrong}")), refused(Reason::IncorrectDataFormat, 108), "{wrong}");
    }
    assert_eq!(fix44("A", "98=0|108=030"), Ok(()));
}

#[test]
fn a_msg_type_that_the_version_lacks_is_invalid_and_refers_to_no_tag() {
    let invalid = Err(Violation { reason: Reason::InvalidMsgType, ref_tag_id: None });
    for msg_type in ["*", "", "ZZ", "LONGER", "é"] {
        assert_eq!(fix44(msg_type, ""), invalid, "{msg_type:?}");
    }
    assert_eq!(fix44("CX", ""), invalid, "FIX.5.0SP2 has it");
}

#[test]
fn header_body_and_trailer_follow_one_another() {
    let validator = fix(Version::Fix44, Checks::default());
    let order = "8=FIX.4.4|9=1|35=D|55=MSFT|34=3|49=DESK|52=20261123-12:00:00|56=V|10=0|";
    assert_eq!(validate_with(&validator, order), refused(Reason::TagOutOfOrder, 34));
    let order = format!("8=FIX.4.4|9=1|35=D|49=DESK|34=3|56=V|52=20261123-12:00:00|{ORDER}|93=2|89=xy|58=late|10=0|");
    assert_eq!(validate_with(&validator, &order), refused(Reason::TagOutOfOrder, 58));
    assert_eq!(fix44("1", "112=x|115=A"), refused(Reason::TagOutOfOrder, 115));
    // Within a section any order is right.
    let order =
        "8=FIX.4.4|9=1|35=D|49=DESK|34=3|56=V|52=20261123-12:00:00|40=1|55=MSFT|60=20261123-12:00:00|54=1|11=i|10=0|";
    assert_eq!(validate_with(&validator, order), Ok(()));
}

#[test]
fn a_tag_stands_once_outside_of_groups() {
    assert_eq!(fix44("D", &order_with("40=1|40=2")), refused(Reason::TagRepeated, 40));
    assert_eq!(fix44("0", "34=3"), refused(Reason::TagRepeated, 34));
}

#[test]
fn a_group_has_as_many_instances_as_it_says() {
    for (group, expected) in [
        ("386=2|336=PRE|336=POST", Ok(())),
        ("386=0", Ok(())),
        ("386=3|336=PRE|336=POST", refused(Reason::IncorrectNumInGroup, 386)),
        ("386=1|336=PRE|336=POST", refused(Reason::IncorrectNumInGroup, 386)),
        ("386=0|336=PRE", refused(Reason::IncorrectNumInGroup, 386)),
        ("386=2", refused(Reason::IncorrectNumInGroup, 386)),
        ("386=-1|336=PRE", refused(Reason::IncorrectDataFormat, 386)),
        ("386=18446744073709551617|336=PRE", refused(Reason::IncorrectNumInGroup, 386)),
    ] {
        assert_eq!(fix44("D", &format!("{ORDER}|{group}")), expected, "{group}");
    }
}

#[test]
fn an_instance_begins_with_the_first_field_and_keeps_the_order() {
    for (group, expected) in [
        ("386=1|336=PRE|625=A", Ok(())),
        ("386=1|625=A|336=PRE", refused(Reason::GroupFieldsOutOfOrder, 625)),
        ("453=1|448=P|447=D|452=1|802=1|523=S|803=1", Ok(())),
        ("453=1|448=P|452=1|447=D", refused(Reason::GroupFieldsOutOfOrder, 447)),
        ("453=1|448=P|447=D|447=D", refused(Reason::TagRepeated, 447)),
        ("453=2|448=P|452=1|448=Q|452=1", Ok(())),
    ] {
        assert_eq!(fix44("D", &format!("{ORDER}|{group}")), expected, "{group}");
    }
}

#[test]
fn groups_within_groups_are_checked_like_groups() {
    for (group, expected) in [
        ("453=2|448=P|802=2|523=S|803=1|523=T|803=2|448=Q|802=1|523=U", Ok(())),
        ("453=2|448=P|802=2|523=S|803=1|448=Q", refused(Reason::IncorrectNumInGroup, 802)),
        ("453=1|448=P|802=1|523=S|803=x", refused(Reason::IncorrectDataFormat, 803)),
        ("453=1|448=P|802=1|803=1|523=S", refused(Reason::GroupFieldsOutOfOrder, 803)),
        ("453=1|448=P|802=1|523=", refused(Reason::TagWithoutValue, 523)),
    ] {
        assert_eq!(fix44("D", &format!("{ORDER}|{group}")), expected, "{group}");
    }
}

#[test]
fn an_instance_has_what_the_dictionary_requires_of_it() {
    let refresh = "262=R|268=2|279=0|269=0|278=a|270=1.5|279=1";
    assert_eq!(fix44("X", refresh), Ok(()));
    let list = |orders: &str| fix44("E", &format!("66=L|394=3|68=2|73=2|{orders}"));
    assert_eq!(list("11=a|67=1|55=X|54=1|11=b|67=2|55=Y|54=2"), Ok(()));
    assert_eq!(list("11=a|67=1|55=X|54=1|11=b|55=Y|54=2"), refused(Reason::RequiredTagMissing, 67));
    assert_eq!(list("11=a|55=X|54=1|11=b|67=2|55=Y|54=2"), refused(Reason::RequiredTagMissing, 67));
}

#[test]
fn a_data_field_may_hold_the_delimiter_and_what_looks_like_a_field() {
    assert_eq!(fix44("D", &format!("{ORDER}|354=8|355=a|999=b|")), Ok(()));
    let news = "148=News|33=1|58=text|95=3|96=|||";
    assert_eq!(fix44("B", news), Ok(()));
    // In the header: SecureData(91).
    let text = format!("8=FIX.4.4|9=1|35=D|34=2|49=DESK|56=VENUE|52=20261123-12:00:00|90=5|91=|55=||{ORDER}|10=000|");
    let validator = fix(Version::Fix44, Checks::default());
    assert_eq!(validate_with(&validator, &text), Ok(()));
}

/// How a check is left out, a message's type and body, and what is wrong with it.
type Case = (fn(&mut Checks), &'static str, &'static str, Reason, u32);

#[test]
fn each_check_can_be_left_out_alone() {
    let cases: [Case; 9] = [
        (|checks| checks.tags = false, "0", "999=HI", Reason::InvalidTagNumber, 999),
        (|checks| checks.tags = false, "0", "55=MSFT", Reason::TagNotDefinedForMessage, 55),
        (|checks| checks.user_defined_tags = false, "0", "5000=HI", Reason::InvalidTagNumber, 5_000),
        (|checks| checks.required = false, "1", "", Reason::RequiredTagMissing, 112),
        (|checks| checks.values_present = false, "1", "112=", Reason::TagWithoutValue, 112),
        (|checks| checks.enumerated_values = false, "A", "98=9|108=1", Reason::ValueIncorrect, 98),
        (|checks| checks.formats = false, "A", "98=0|108=x", Reason::IncorrectDataFormat, 108),
        (|checks| checks.repeated_tags = false, "1", "112=a|112=b", Reason::TagRepeated, 112),
        (|checks| checks.section_order = false, "1", "112=a|50=b", Reason::TagOutOfOrder, 50),
    ];
    for (leave_out, msg_type, body, reason, tag) in cases {
        assert_eq!(fix44(msg_type, body), refused(reason, tag), "{body}");
        let mut checks = Checks::default();
        leave_out(&mut checks);
        let validator = fix(Version::Fix44, checks);
        assert_eq!(validate_with(&validator, &message("FIX.4.4", msg_type, body)), Ok(()), "{body}");
    }
    let without = |leave_out: fn(&mut Checks), body: &str| {
        let mut checks = Checks::default();
        leave_out(&mut checks);
        validate_with(&fix(Version::Fix44, checks), &message("FIX.4.4", "D", &format!("{ORDER}|{body}")))
    };
    assert_eq!(without(|checks| checks.group_counts = false, "386=3|336=PRE"), Ok(()));
    assert_eq!(without(|checks| checks.group_order = false, "453=1|448=P|452=1|447=D"), Ok(()));
    assert_eq!(
        without(|checks| checks.group_order = false, "453=1|448=P|452=1|447=D|452=1"),
        refused(Reason::TagRepeated, 452)
    );
    assert_eq!(without(|checks| checks.group_order = false, "453=1|447=D"), refused(Reason::IncorrectNumInGroup, 453));
    let any = fix(Version::Fix44, Checks { msg_type: false, ..Checks::default() });
    assert_eq!(validate_with(&any, &message("FIX.4.4", "*", "999=HI")), Ok(()));
    assert_eq!(validate_with(&any, &message("FIX.4.4", "*", "999=HI|34=1")), refused(Reason::TagOutOfOrder, 34));
}

#[test]
fn a_user_defined_field_that_may_pass_does_not_end_a_group() {
    let validator = fix(Version::Fix44, Checks { user_defined_tags: false, ..Checks::default() });
    let body = format!("{ORDER}|453=2|448=P|5001=x|452=1|448=Q|7000=y|58=text");
    assert_eq!(validate_with(&validator, &message("FIX.4.4", "D", &body)), Ok(()));
}

#[test]
fn a_field_beside_a_group_that_may_also_stand_in_it_belongs_beside_it_after_the_last_instance() {
    let text = to_xml(built_in(Version::Fix44)).replace(
        "<message name='TestRequest' msgtype='1' msgcat='admin'>",
        "<message name='TestRequest' msgtype='1' msgcat='admin'>\
         <group name='NoAllocs'><field name='Symbol'/><field name='Side'/></group><field name='Side' required='Y'/>",
    );
    let dictionary = load(text.as_bytes()).unwrap().dictionary;
    let validator = Validator::new(&dictionary, Checks::default()).unwrap();
    let test = |body: &str| validate_with(&validator, &message("FIX.4.4", "1", &format!("{body}|112=x")));
    assert_eq!(test("78=1|55=A|54=1|54=2"), Ok(()));
    // By the count the second is the group's too, so that the one beside it is missing.
    assert_eq!(test("78=2|55=A|54=1|54=2"), refused(Reason::RequiredTagMissing, 54));
}

/// A TestRequest with these members too; the components are the standard's, and one more.
fn test_request_with(members: &str) -> Validator {
    let text = to_xml(built_in(Version::Fix44))
        .replace("msgtype='1' msgcat='admin'>", &format!("msgtype='1' msgcat='admin'>{members}"))
        .replace(
            "<components>",
            "<components><component name='Again'><field name='Side' required='Y'/>\
             <field name='TotalNumPosReports' required='N'/></component>",
        );
    Validator::new(&load(text.as_bytes()).unwrap().dictionary, Checks::default()).unwrap()
}

/// As QuickFIX reads such dictionaries, tried with QuickFIX/C++ 1.15.
#[test]
fn a_field_that_a_message_has_twice_is_one_field_which_either_place_may_require_or_make_a_group() {
    let try_all = |members: &str, cases: &[(&str, Result<(), Violation>)]| {
        let validator = test_request_with(members);
        for (body, expected) in cases {
            let text = message("FIX.4.4", "1", &format!("{body}112=x"));
            assert_eq!(validate_with(&validator, &text), *expected, "{members}: {body}");
        }
    };
    let side_missing = refused(Reason::RequiredTagMissing, 54);
    let optional = "<field name='Side' required='N'/>";
    let again = "<component name='Again' required='Y'/>";
    for members in [
        format!("{optional}<field name='Side' required='Y'/>"),
        format!("{optional}{again}"),
        format!("{again}{optional}"),
        format!("{again}{again}"),
        format!("<component name='Again' required='N'/>{again}"),
    ] {
        try_all(&members, &[("54=1|", Ok(())), ("", side_missing), ("54=1|54=1|", refused(Reason::TagRepeated, 54))]);
    }
    try_all(&format!("{optional}<component name='Again' required='N'/>"), &[("", Ok(())), ("54=1|", Ok(()))]);
    let group = "<group name='NoAllocs' required='N'><field name='AllocAccount' required='N'/><field name='AllocQty' required='N'/></group>";
    let count = "<field name='NoAllocs' required='N'/>";
    for members in [format!("{count}{group}"), format!("{group}{count}"), format!("{group}{group}")] {
        try_all(
            &members,
            &[
                ("78=2|79=a|80=1|79=b|", Ok(())),
                ("78=2|79=a|80=1|", refused(Reason::IncorrectNumInGroup, 78)),
                ("79=a|", refused(Reason::TagNotDefinedForMessage, 79)),
            ],
        );
    }
    // In an instance, and in it and beside it.
    let members = format!(
        "<group name='NoAllocs' required='N'><field name='AllocAccount' required='N'/>{optional}{again}</group>{again}"
    );
    try_all(
        &members,
        &[
            ("78=1|79=a|54=1|727=1|54=1|", Ok(())),
            ("78=2|79=a|54=1|79=b|54=2|", side_missing),
            ("78=1|79=a|727=1|54=1|", side_missing),
            ("54=1|", Ok(())),
        ],
    );
}

fn fixt() -> &'static FixtValidator {
    static VALIDATOR: LazyLock<FixtValidator> = LazyLock::new(|| {
        let applications = [Version::Fix44, Version::Fix50, Version::Fix50Sp1, Version::Fix50Sp2].map(built_in);
        FixtValidator::new(built_in(Version::Fixt11), &applications, Checks::default()).unwrap()
    });
    &VALIDATOR
}

fn fixt_message(msg_type: &str, appl_ver_id: &str, body: &str, default: &str) -> Result<(), Violation> {
    let text = format!("8=FIXT.1.1|9=1|35={msg_type}|{appl_ver_id}34=2|49=A|56=B|52=20261123-12:00:00|{body}10=0|");
    let bytes = bytes(&text);
    let mut index = FieldIndex::with_capacity(256);
    fixt().validate(&parse(&bytes, &mut index).unwrap(), default.as_bytes())
}

#[test]
fn a_fixt_session_checks_each_message_with_the_version_that_it_names() {
    // ExDestinationIDSource(1133) came after FIX.4.4.
    let order = "11=i|55=X|54=1|60=20261123-12:00:00|38=1|40=1|1133=D|";
    assert_eq!(fixt_message("D", "", order, "9"), Ok(()));
    assert_eq!(fixt_message("D", "1128=9|", order, "6"), Ok(()));
    assert_eq!(fixt_message("D", "", order, "6"), refused(Reason::InvalidTagNumber, 1_133));
    assert_eq!(fixt_message("D", "1128=6|", order, "9"), refused(Reason::InvalidTagNumber, 1_133));
    assert_eq!(fixt_message("D", "1128=4|", order, "9"), refused(Reason::InvalidApplicationVersion, 1_128));
    assert_eq!(fixt_message("D", "", order, ""), refused(Reason::InvalidApplicationVersion, 1_137));
}

/// A venue of FIX.5.0SP2 without extension packs had its market data refused for a field that EP190
/// made required.
#[test]
fn the_built_in_fix_5_0_sp2_requires_nothing_that_only_an_extension_pack_asks_for() {
    let snapshot = "262=r|55=EUR/USD|268=1|269=0|270=1.1|271=5|";
    let of_base = [
        ("W", snapshot.to_owned()),
        ("W", format!("{snapshot}779=20261123-12:00:00|")),
        ("r", "11=i|37=v|1369=m|530=7|531=7|534=1|41=o|535=p|60=20261123-12:00:00|".into()),
        // Of an extension pack: known, and not required.
        ("D", "11=i|55=X|54=1|60=20261123-12:00:00|38=1|40=1|2422=7|".into()),
    ];
    for (msg_type, body) in &of_base {
        assert_eq!(fixt_message(msg_type, "", body, "9"), Ok(()), "{msg_type} {body}");
    }
    let latest = [built_in_latest(Version::Fix50Sp2)];
    let latest = FixtValidator::new(built_in(Version::Fixt11), &latest, Checks::default()).unwrap();
    let text = format!("8=FIXT.1.1|9=1|35=W|34=2|49=A|56=B|52=20261123-12:00:00|{snapshot}10=0|");
    let bytes = bytes(&text);
    let mut index = FieldIndex::with_capacity(256);
    assert_eq!(latest.validate(&parse(&bytes, &mut index).unwrap(), b"9"), refused(Reason::RequiredTagMissing, 779));
}

#[test]
fn the_messages_of_a_fixt_session_know_the_transports_tags_alone() {
    assert_eq!(fixt_message("0", "", "999=HI|", "9"), refused(Reason::InvalidTagNumber, 999));
    assert_eq!(fixt_message("A", "", "98=0|108=30|1137=9|", "9"), Ok(()));
    assert_eq!(fixt_message("A", "", "98=0|108=30|", "9"), refused(Reason::RequiredTagMissing, 1_137));
    assert_eq!(fixt_message("A", "", "98=0|108=30|384=1|372=D|385=R|1137=9|", "9"), Ok(()));
}

#[test]
fn dictionaries_that_do_not_fit_are_refused() {
    let sp2 = built_in(Version::Fix50Sp2);
    let fixt11 = built_in(Version::Fixt11);
    assert_eq!(Validator::new(sp2, Checks::ALL).unwrap_err(), CompileError::NoTransport(Version::Fix50Sp2));
    let error = Validator::with_transport(sp2, sp2, Checks::ALL).unwrap_err();
    assert_eq!(error, CompileError::NotATransport(Version::Fix50Sp2));
    assert!(FixtValidator::new(fixt11, &[], Checks::ALL).is_err());
    assert!(FixtValidator::new(fixt11, &[sp2, sp2], Checks::ALL).is_err());
}
