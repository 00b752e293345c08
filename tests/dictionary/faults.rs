//! What the loader says of files that are wrong, and that it says all of it.

use fixring::dictionary::{FILE_BYTES_MAX, Severity, load};

/// A small dictionary, line by line, with something wrong put in.
fn file(messages: &str, components: &str, fields: &str) -> String {
    format!(
        "<fix type='FIX' major='4' minor='4' servicepack='0'>\n\
         <header>\n<field name='BeginString' required='Y'/><field name='BodyLength' required='Y'/>\
         <field name='MsgType' required='Y'/><field name='MsgSeqNum' required='Y'/>\n</header>\n\
         <messages>\n{messages}\n</messages>\n\
         <trailer><field name='CheckSum' required='Y'/></trailer>\n\
         <components>\n{components}\n</components>\n\
         <fields>\n<field number='8' name='BeginString' type='STRING'/><field number='9' name='BodyLength' type='LENGTH'/>\
         <field number='35' name='MsgType' type='STRING'/><field number='34' name='MsgSeqNum' type='SEQNUM'/>\
         <field number='10' name='CheckSum' type='STRING'/>\n{fields}\n</fields>\n</fix>\n"
    )
}

/// Each fault as `line: what`.
fn faults(text: &str) -> Vec<String> {
    let faults = match load(text.as_bytes()) {
        Ok(loaded) => loaded.warnings,
        Err(faults) => faults,
    };
    faults.iter().map(|fault| format!("{}: {}", fault.line, fault.what)).collect()
}

#[test]
fn a_file_without_fault_is_loaded_without_a_word() {
    let text = file("<message name='Order' msgtype='D' msgcat='app'/>", "", "");
    let loaded = load(text.as_bytes()).unwrap();
    assert!(loaded.warnings.is_empty());
    assert_eq!(loaded.dictionary.message("D").unwrap().name, "Order");
}

#[test]
fn every_fault_is_said_at_its_line_and_none_hides_another() {
    let messages = "<message name='Order' msgtype='D' msgcat='app'>\n\
        <field name='Sied' required='Y'/>\n\
        <group name='NoAllocs' required='N'/>\n\
        <component name='Nowhere' required='N'/>\n\
        <field name='Side' required='maybe'/>\n\
        </message>\n\
        <message name='Order' msgtype='E' msgcat='application'/>\n\
        <message msgtype='F' msgcat='app'/>";
    let fields = "<field number='54' name='Side' type='CHAR'>\n\
        <value enum='1' description='BUY'/>\n\
        <value enum='1' description='SELL'/>\n\
        <value description='NEITHER'/>\n\
        </field>\n\
        <field number='54' name='Side2' type='CHAR'/>\n\
        <field number='55' name='Side' type='CHAR'/>\n\
        <field number='x' name='Bad' type='CHAR'/>\n\
        <field number='0' name='Zero' type='CHAR'/>\n\
        <field number='78' name='NoAllocs' type='NUMINGRUOP'/>";
    let expected = [
        "7: Sied is no field of this dictionary: did you mean Side?",
        "8: group NoAllocs has no members",
        "9: Nowhere is no component of this dictionary",
        "10: required \"maybe\" is neither",
        "12: msgcat \"application\" is neither",
        "12: message Order is defined on line 6 already",
        "13: <message>: name is missing",
        "23: value \"1\" is given on line 22 already",
        "24: <value>: enum is missing",
        "26: tag 54 is defined on line 21 already",
        "27: Side is the name of tag 54 already",
        "28: number \"x\" is no tag",
        "29: number \"0\" is no tag",
        "30: NoAllocs: NUMINGRUOP is no type: did you mean NUMINGROUP?",
    ];
    let found = faults(&file(messages, "", fields));
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
}

#[test]
fn components_that_contain_themselves_are_named_in_their_circle() {
    let components = "<component name='A'><component name='B'/></component>\n\
        <component name='B'><group name='MsgSeqNum'><component name='A'/></group></component>";
    let found = faults(&file("<message name='M' msgtype='M'><component name='A'/></message>", components, ""));
    assert!(found.iter().any(|fault| fault.contains("component A contains itself: A > B > A")), "{found:?}");
}

#[test]
fn components_that_unfold_without_end_are_refused_by_their_number() {
    // Each has the one before twice: two to the power of 25 fields from 26 lines.
    let doubled = |at: u32| {
        let inner = match at {
            0 => "<field name='MsgSeqNum'/>".to_owned(),
            at => format!("<component name='C{0}'/><component name='C{0}'/>", at - 1),
        };
        format!("<component name='C{at}'>{inner}</component>\n")
    };
    let components: String = (0..26).map(doubled).collect();
    let found = faults(&file("", &components, ""));
    assert!(found.iter().any(|fault| fault.contains("unfolds to 33554432 fields")), "{found:?}");
}

#[test]
fn nesting_is_bounded() {
    let chain = |at: u32| format!("<component name='C{at}'><component name='C{}'/></component>\n", at + 1);
    let components = (0..5_000).map(chain).collect::<String>() + "<component name='C5000'/>";
    let found = faults(&file("", &components, ""));
    assert!(found[0].contains("nested more than 32 deep"), "{found:?}");

    let groups = "<group name='MsgSeqNum'>".repeat(200) + "<field name='MsgType'/>" + &"</group>".repeat(200);
    let found = faults(&file(&format!("<message name='M' msgtype='M'>{groups}</message>"), "", ""));
    assert!(found.iter().any(|fault| fault.contains("groups nested more than 32 deep")), "{found:?}");
}

#[test]
fn a_file_that_is_no_dictionary_is_told_from_one_with_faults() {
    for (bytes, expected) in [
        (&b"<fix"[..], "1: not well-formed XML"),
        (b"", "1: not well-formed XML"),
        (b"<html/>", "1: the root is <html>"),
        (b"<fix type='FIX' major='4' minor='5'/>", "1: there is no <fields>"),
        (b"<fix>\n</fix>", "1: <fix>: major is missing"),
        (b"<!DOCTYPE fix [<!ENTITY a 'b'>]>\n<fix/>", "1: not well-formed XML"),
        (b"<fix>\n\xff</fix>", "2: the file is not UTF-8"),
    ] {
        let faults = load(bytes).unwrap_err();
        let found: Vec<_> = faults.iter().map(|fault| format!("{}: {}", fault.line, fault.what)).collect();
        assert!(found.iter().any(|fault| fault.starts_with(expected)), "{found:?}");
    }
    let faults = load(&vec![b' '; FILE_BYTES_MAX + 1]).unwrap_err();
    assert!(faults.report("large.xml").to_string().starts_with("large.xml: error: the file has 16777217 bytes"));
}

#[test]
fn a_field_that_comes_twice_and_a_count_of_another_type_are_warnings() {
    let message = "<message name='M' msgtype='M' msgcat='app'>\n<field name='Text'/><field name='Text'/>\n\
        <group name='Counts'><field name='Side'/></group></message>";
    let fields = "<field number='58' name='Text' type='STRING'/><field number='54' name='Side' type='CHAR'/>\
        <field number='5001' name='Counts' type='STRING'/>";
    let loaded = load(file(message, "", fields).as_bytes()).unwrap();
    assert!(loaded.warnings.iter().all(|fault| fault.severity == Severity::Warning));
    let found: Vec<_> = loaded.warnings.iter().map(|fault| fault.what.as_str()).collect();
    assert!(found[0].starts_with("Text(58) comes twice"), "{found:?}");
    assert!(found[1].starts_with("Counts counts a group and is of type STRING"), "{found:?}");
}

#[test]
fn a_thousand_faults_are_enough() {
    let fields = "<field/>".repeat(3_000);
    let faults = load(file("", "", &fields).as_bytes()).unwrap_err();
    assert_eq!(faults.iter().len(), 1_000);
    assert!(faults.report("f").to_string().ends_with("f: 8000 more\n"));
}
