//! What the loader says of files that are wrong, and that it says all of it.

use fixring::dictionary::{
    Allowance, Category, Dictionary, FILE_BYTES_MAX, FieldType, MemberKind, Severity, Version, built_in, load,
    load_allowing, to_xml,
};

/// A small dictionary, line by line, with something wrong put in.
fn file(messages: &str, components: &str, fields: &str) -> String {
    format!(
        "<fix type='FIX' major='4' minor='4' servicepack='0'>\n\
         <header>\n<field name='BeginString' required='Y'/><field name='BodyLength' required='Y'/>\
         <field name='MsgType' required='Y'/><field name='MsgSeqNum' required='Y'/>\
         <field name='PossDupFlag'/><field name='PossResend'/><field name='OrigSendingTime'/>\n</header>\n\
         <messages>\n{messages}\n</messages>\n\
         <trailer><field name='CheckSum' required='Y'/></trailer>\n\
         <components>\n{components}\n</components>\n\
         <fields>\n<field number='8' name='BeginString' type='STRING'/><field number='9' name='BodyLength' type='LENGTH'/>\
         <field number='35' name='MsgType' type='STRING'/><field number='34' name='MsgSeqNum' type='SEQNUM'/>\
         <field number='43' name='PossDupFlag' type='BOOLEAN'/><field number='97' name='PossResend' type='BOOLEAN'/>\
         <field number='122' name='OrigSendingTime' type='UTCTIMESTAMP'/>\
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
        "8: group NoAllocs has no members: it is read as a field",
        "9: Nowhere is no component of this dictionary",
        "10: required \"maybe\" is neither",
        "12: msgcat \"application\" is neither",
        "12: message Order is defined on line 6 already",
        "13: <message>: it has no name, and is called F",
        "23: value \"1\" is given on line 22 already",
        "24: <value>: enum is missing",
        "26: tag 54 is defined on line 21 already: the first definition counts",
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
    let found = faults(&file("<message name='M' msgtype='M'><component name='C0'/></message>", &components, ""));
    assert!(found[0].contains("nested more than 32 deep"), "{found:?}");
    // A component that nothing uses cannot hurt.
    lenient(&file("", &components, ""), &["all components that nothing uses are left empty"]);

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
        (b"<!DOCTYPE fix [<!ENTITY a 'b'>]>\n<fix/>", "2: <fix>: major is missing"),
        (b"<!DOCTYPE fix [<!ENTITY a 'b'>\n<fix/>", "1: not well-formed XML"),
        (b"<fix>\n\xff</fix>", "2: the file is not UTF-8"),
        (b"<fix>\n<field name='a\n<b c='d'/></fix>", "3: not well-formed XML"),
        (b"<fix>\n<!-- a\n</fix>", "3: not well-formed XML"),
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

// ---- what QuickFIX reads and means one thing

/// Read with warnings alone, of which some line begins with each of these.
fn lenient(text: &str, warnings: &[&str]) -> Dictionary {
    let loaded = load(text.as_bytes()).unwrap_or_else(|faults| panic!("{}", faults.report("f.xml")));
    let found: Vec<_> = loaded.warnings.iter().map(|fault| format!("{}: {}", fault.line, fault.what)).collect();
    for warning in warnings {
        assert!(found.iter().any(|fault| fault.contains(warning)), "{warning}: {found:#?}");
    }
    assert!(loaded.warnings.iter().all(|fault| fault.severity == Severity::Warning), "{found:#?}");
    loaded.dictionary
}

#[test]
fn an_unknown_type_leaves_the_form_of_a_field_unchecked() {
    let fields = "<field number='5001' name='Count' type='INTEGER'/><field number='5002' name='When' type='DATETIME'/>\n\
        <field number='5003' name='Empty' type='x'/>";
    let dictionary =
        lenient(&file("", "", fields), &["INTEGER is no type", "DATETIME is no type", "Empty: x is no type"]);
    assert!([5001, 5002, 5003].iter().all(|tag| dictionary.field(*tag).unwrap().kind == FieldType::String));
}

#[test]
fn what_is_given_twice_counts_once() {
    let messages = "<message name='Order' msgtype='D' msgcat='app'><field name='Side' required='Y'/></message>\n\
        <message name='Order' msgtype='D' msgcat='app'><field name='Text' required='N'/></message>\n\
        <message name='Order' msgtype='E' msgcat='application'/>";
    let fields = "<field number='54' name='Side' type='CHAR'><value enum='1' description='BUY'/><value enum='1' description='SELL'/>\
        <value enum='' description='NONE'/></field>\n<field number='54' name='Side' type='CHAR'/>\n\
        <field number='54' name='BuySell' type='CHAR'/><field number='58' name='Text' type='STRING'/>";
    let components = "<component name='C'><field name='BuySell'/></component>\n<component name='C'>  <field name='BuySell'/> </component>";
    let dictionary = lenient(
        &file(messages, components, fields),
        &[
            "MsgType D is defined on line 6 already: its members are added",
            "message Order is defined on line 6 already, as another MsgType",
            "msgcat \"application\" is neither",
            "value \"1\" is given on line",
            "enum is empty",
            "tag 54 is defined on line",
            "component C is defined already, alike",
        ],
    );
    let order = dictionary.message("D").unwrap();
    let tags: Vec<_> = dictionary.unfold(&order.members).iter().map(|member| (member.tag, member.required)).collect();
    assert_eq!(tags, [(54, true), (58, false)]);
    assert_eq!(dictionary.message("E").unwrap().category, Category::Application);
    let side = dictionary.field(54).unwrap();
    assert_eq!((side.name.as_ref(), side.values.len(), side.values[0].name.as_ref()), ("Side", 1, "BUY"));
    // The second name is a name of the same field.
    assert_eq!(dictionary.component_named("C").unwrap().members[0].kind, MemberKind::Field(54));
}

#[test]
fn a_description_that_is_too_long_is_shortened_at_a_whole_character() {
    let description = "é".repeat(200);
    let fields =
        format!("<field number='54' name='Side' type='CHAR'><value enum='1' description='{description}'/></field>");
    let dictionary = lenient(&file("", "", &fields), &["a description of 400 bytes is shortened to 256"]);
    assert_eq!(dictionary.field(54).unwrap().values[0].name, "é".repeat(128));
}

#[test]
fn a_header_without_what_every_message_has_gets_it() {
    let text = file("<message name='Order' msgtype='D' msgcat='app'/>", "", "");
    let text = text
        .replace("<field name='MsgSeqNum' required='Y'/>", "")
        .replace("number='34' name='MsgSeqNum' type='SEQNUM'", "number='37' name='OrderID' type='STRING'");
    let dictionary = lenient(&text, &["missing in <header>, and added: ", "MsgSeqNum(34)", "SenderCompID(49)"]);
    let has = |tag| dictionary.header().iter().any(|member| member.kind == MemberKind::Field(tag) && member.required);
    assert!([8, 9, 35, 34, 49, 56, 52].into_iter().all(has));
    assert_eq!(dictionary.field(34).unwrap().name, "MsgSeqNum");
    // And an empty or missing one, as QuickFIX, which knows these fields by itself, reads it.
    for gone in ["<header/>", ""] {
        let (begin, end) = (text.find("<header>").unwrap(), text.find("</header>").unwrap() + 9);
        let text = format!("{}{gone}{}", &text[..begin], &text[end..]);
        assert_eq!(lenient(&text, &["and added: BeginString(8)"]).header().len(), 10);
    }
}

#[test]
fn a_header_whose_component_of_hops_is_not_defined_has_the_standards() {
    for name in ["Hop", "HopGrp"] {
        let xml = to_xml(built_in(Version::Fix44)).replace("<component name='Hop'>", "<component name='Unused'>");
        let (begin, end) = (xml.find("<group name='NoHops'").unwrap(), xml.find("</group>").unwrap() + 8);
        let text = format!("{}<component name='{name}' required='N'/>{}", &xml[..begin], &xml[end..]);
        let dictionary = lenient(&text, &["is not defined: NoHops(627) is read as the standard has it"]);
        assert_eq!(dictionary.header(), built_in(Version::Fix44).header());
    }
    let other = file("", "", "").replace("</header>", "<component name='Elsewhere' required='N'/></header>");
    lenient(&other, &["component Elsewhere is not defined, and left out"]);
}

#[test]
fn a_field_that_comes_again_through_a_component_has_its_first_place() {
    let messages = "<message name='M' msgtype='M' msgcat='app'><field name='Text' required='Y'/><component name='C' required='Y'/>\
        <group name='Count' required='N'><component name='C'/><field name='Text'/></group></message>";
    let components = "<component name='C'><field name='Text' required='N'/></component>";
    let fields = "<field number='58' name='Text' type='STRING'/><field number='5001' name='Count' type='INT'/>";
    lenient(&file(messages, components, fields), &["Text(58) comes twice: it has its first place"]);
}

#[test]
fn a_file_in_latin_1_that_says_so_is_read() {
    let fields = "<field number='54' name='Side' type='CHAR'><value enum='1' description='Z?rich'/></field>";
    let text = file("", "", fields);
    let latin: Vec<u8> = text.bytes().map(|byte| if byte == b'?' { 0xfc } else { byte }).collect();
    let undeclared = load(&latin).unwrap();
    assert_eq!(undeclared.dictionary.field(54).unwrap().values[0].name, "Z\u{fc}rich");
    let said: Vec<_> = undeclared.warnings.iter().map(|fault| fault.what.as_str()).collect();
    assert!(said.iter().any(|what| what.contains("read as ISO-8859-1")), "{said:?}");
    let declared = [&b"<?xml version='1.0' encoding='ISO-8859-1'?>"[..], &latin].concat();
    assert_eq!(load(&declared).unwrap().dictionary.field(54).unwrap().values[0].name, "Z\u{fc}rich");
}

#[test]
fn data_without_a_length_is_a_warning_and_pairs_are_found_by_name_tag_and_place() {
    let messages = "<message name='M' msgtype='M' msgcat='app'>\
        <field name='Far'/><field name='OfPlace'/><field name='XLength'/><field name='X'/></message>";
    let fields = "<field number='6001' name='BlobLen' type='LENGTH'/><field number='6005' name='Blob' type='DATA'/>\
        <field number='6010' name='N' type='INT'/><field number='6011' name='OfTag' type='DATA'/>\
        <field number='6020' name='Far' type='LENGTH'/><field number='6029' name='OfPlace' type='XMLDATA'/>\
        <field number='502' name='X' type='DATA'/><field number='499' name='XLength' type='LENGTH'/>\
        <field number='6040' name='Alone' type='DATA'/>";
    let dictionary =
        lenient(&file(messages, "", fields), &["Alone(6040) is of type DATA, and no LENGTH field announces it"]);
    let mut pairs = dictionary.data_pairs().to_vec();
    pairs.sort_unstable();
    assert_eq!(pairs, [(499, 502), (6001, 6005), (6010, 6011), (6020, 6029)]);
    // The standard's are compiled into the reader.
    assert!(Version::ALL.iter().all(|version| built_in(*version).data_pairs().is_empty()));
}

#[test]
fn what_may_mean_several_things_is_an_error_unless_it_is_allowed() {
    let message =
        |inner: &str| format!("<message name='M' msgtype='M' msgcat='app'><field name='Text'/>{inner}</message>");
    let text_field = "<field number='58' name='Text' type='STRING'/>";
    let twice = "<component name='C'><field name='Text'/></component><component name='C'/>";
    let cases = [
        (
            Allowance::UndefinedFields,
            file(&message("<field name='Nowhere'/><group name='G'><field name='Text'/></group>"), "", text_field),
        ),
        (Allowance::UndefinedComponents, file(&message("<component name='Nowhere'/>"), "", text_field)),
        (
            Allowance::DuplicateFields,
            file(&message(""), "", &format!("{text_field}<field number='58' name='Text' type='INT'/>")),
        ),
        (
            Allowance::DuplicateFields,
            file(&message(""), "", &format!("{text_field}<field number='59' name='Text' type='STRING'/>")),
        ),
        (Allowance::DuplicateComponents, file(&message("<component name='C'/>"), twice, text_field)),
    ];
    for (allowance, text) in cases {
        let faults = load(text.as_bytes()).unwrap_err();
        assert!(faults.report("f").to_string().contains(&format!("an error unless {allowance} is allowed")), "{text}");
        for other in Allowance::ALL {
            let loaded = load_allowing(text.as_bytes(), [other].into_iter().collect());
            assert_eq!(loaded.is_ok(), other == allowance, "{other}: {text}");
            if let Ok(loaded) = loaded {
                assert!(!loaded.warnings.is_empty());
                assert!(loaded.dictionary.message("M").is_some());
            }
        }
        assert_eq!(allowance.name().parse(), Ok(allowance));
    }
}

/// All of these are read by QuickFIX, whose reader of XML is lenient.
#[test]
fn what_is_not_quite_xml_is_read_as_quickfix_reads_it() {
    let plain = file("<message name='Order' msgtype='D'><field name='Side' required='Y'/></message>", "", "{fields}");
    let value = |description: &str, more: &str| {
        let value = format!("<value enum='1' description='{description}'{more}/>");
        plain.replace("{fields}", &format!("<field number='54' name='Side' type='CHAR'>{value}</field>"))
    };
    let sound = value("BUY", "");
    let in_front = |front: &str| format!("{front}{sound}");
    let utf_16 = |unit: fn(u16) -> [u8; 2]| in_front("\u{feff}").encode_utf16().flat_map(unit).collect::<Vec<u8>>();
    let cases: Vec<(Vec<u8>, &str, &str)> = vec![
        (in_front("\u{feff}").into(), "BUY", ""),
        (utf_16(u16::to_le_bytes), "BUY", ""),
        (utf_16(u16::to_be_bytes), "BUY", ""),
        (in_front("\n \n<?xml version='1.0'?>\n").into(), "BUY", ""),
        (in_front("<!-- ---- orders ---- -->").into(), "BUY", "a comment contains"),
        (in_front("<!DOCTYPE fix SYSTEM 'fix.dtd'>").into(), "BUY", "the document type is not looked at"),
        (
            format!("<!DOCTYPE fix [<!ENTITY a '>'> <!ATTLIST fix b CDATA 'c'>]>{}", value("x &a; y", "")).into(),
            "x &a; y",
            "& in a value",
        ),
        (value("R&D &amp; &#65; &#1; &", "").into(), "R&D & A &#1; &", "& in a value"),
        (value("x<5 > y", "").into(), "x<5 > y", "< in a value"),
        (value("a\u{2}b", "").into(), "a\u{fffd}b", "in a value"),
        (value("BUY", " enum='2' description='SELL'").into(), "BUY", "the attribute enum is given twice"),
        (value("BUY", " xsi:nil='true' xmlns='urn:a'").into(), "BUY", ""),
        (format!("{sound}\njunk & more\0").into(), "BUY", ""),
        (sound.replace("<messages>", "text & <![CDATA[<x>&]]><a:b/><messages>").into(), "BUY", "<a_b> is unknown here"),
        (sound.replace('\n', "\r\n").into(), "BUY", ""),
    ];
    for (bytes, description, warning) in cases {
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        let loaded = load(&bytes).unwrap_or_else(|faults| panic!("{}\n{shown}", faults.report("f.xml")));
        let side = loaded.dictionary.field(54).unwrap();
        assert_eq!((side.values.len(), side.values[0].value.as_ref()), (1, "1"), "{shown}");
        assert_eq!(side.values[0].name, description, "{shown}");
        let said: Vec<_> = loaded.warnings.iter().map(|fault| fault.what.as_str()).collect();
        assert!(
            if warning.is_empty() { said.is_empty() } else { said.iter().any(|what| what.contains(warning)) },
            "{said:?}\n{shown}"
        );
    }
}

#[test]
fn an_element_with_very_many_attributes_is_refused_at_once() {
    let attributes: String = (0..500_000).map(|at| format!(" a{at}=''")).collect();
    let found = faults(&format!("<fix\n{attributes}/>"));
    assert!(found[0].contains("more than 64 attributes"), "{found:?}");
    // Elements one in the other are bounded by the file's size, and take no stack.
    let deep = "<a>".repeat(200_000) + &"</a>".repeat(200_000);
    assert!(load(file("", "", &deep).as_bytes()).is_ok());
}

#[test]
fn a_version_that_nobody_knows_is_the_nearest_one_that_is_known() {
    let of = |root: &str, allowed: &[Allowance]| {
        let text = file("", "", "").replace("<fix type='FIX' major='4' minor='4' servicepack='0'>", root);
        load_allowing(text.as_bytes(), allowed.iter().copied().collect()).map(|loaded| loaded.dictionary.version())
    };
    for (root, expected) in [
        ("<fix major=' 4 ' minor='4' servicepack=''>", Version::Fix44),
        ("<fix type='FIX' major='4' minor='2' servicepack='3'>", Version::Fix42),
        ("<fix type='FIX' major='5' minor='0' servicepack='SP2'>", Version::Fix50Sp2),
        ("<fix type='FIX' major='5' minor='0' servicepack='4'>", Version::Fix50Sp2),
        ("<fix type='FIXT' major='1' minor='1' servicepack='2'>", Version::Fixt11),
    ] {
        assert_eq!(of(root, &[]), Ok(expected), "{root}");
    }
    for (root, expected) in [
        ("<fix type='FIX' major='4' minor='5'>", Version::Fix44),
        ("<fix type='FIX' major='3' minor='0'>", Version::Fix40),
        ("<fix type='FIX' major='6' minor='0'>", Version::Fix50Sp2),
        ("<fix type='FIXT' major='1' minor='2'>", Version::Fixt11),
    ] {
        let report = of(root, &[]).unwrap_err().report("f").to_string();
        assert!(report.contains("an error unless unknown_versions is allowed"), "{report}");
        assert_eq!(of(root, &[Allowance::UnknownVersions]), Ok(expected), "{root}");
    }
    assert!(of("<fix type='FAST' major='4' minor='4'>", &[Allowance::UnknownVersions]).is_err());
}

#[test]
fn what_is_wrong_in_a_component_that_nothing_uses_is_a_warning() {
    let text_field = "<field number='58' name='Text' type='STRING'/>";
    let used = "<component name='Used'><component name='Inner'/></component><component name='Inner'><field name='Text'/></component>";
    for (unused, warning) in [
        ("<component name='U'><field name='Text'/><field name='Nowhere'/></component>", "Nowhere is no field"),
        ("<component name='U'><component name='Nowhere'/></component>", "Nowhere is no component"),
        (
            "<component name='U'><component name='V'/></component><component name='V'><component name='U'/></component>",
            "U contains itself",
        ),
        ("<component name='U'><field/></component>", "name is missing"),
        ("<component><field name='Text'/></component>", "without a name nothing can use it"),
        ("<component name='U'/><component name='U'><field name='Text'/></component>", "and nothing uses it"),
    ] {
        let message =
            "<message name='M' msgtype='M'><group name='PossDupFlag'><component name='Used'/></group></message>";
        let dictionary = lenient(&file(message, &format!("{used}{unused}"), text_field), &[warning]);
        assert_eq!(dictionary.component_named("Inner").unwrap().members.len(), 1, "{unused}");
        assert!(dictionary.component_named("U").is_none_or(|component| component.members.is_empty()), "{unused}");
        // The same where a message has it.
        let user = "<message name='N' msgtype='N'><component name='U'/></message>";
        if unused.contains("'U'") && !unused.contains("'U'/><component name='U'>") {
            assert!(load(file(user, &format!("{used}{unused}"), text_field).as_bytes()).is_err(), "{unused}");
        }
    }
}

#[test]
fn what_cannot_come_on_the_wire_is_left_out() {
    let messages = "<message name='M' msgtype='M'><group name='Count'><component name='Empty'/></group></message>\n\
        <message name='' msgtype='N'/><message msgtype='O'/><message name='P' msgtype=''/>";
    let fields = format!(
        "<field number=' 5001 ' name='Count' type=''/><field number='5002' name='' type='INT'/>\
         <field number='5003' name='{0}' type='CHAR'><value enum='{0}'/></field>",
        "x".repeat(300)
    );
    let text = file(messages, "<component name='Empty'/>", &fields);
    // A second section is none.
    let text = text.replace("</fields>", "</fields><fields><field number='5004' name='Late' type='INT'/></fields>");
    let dictionary = lenient(
        &text,
        &[
            "nothing but empty components: it is read as a field",
            "it has no name, and is called N",
            "it has no name, and is called O",
            "msgtype is empty, and the message left out",
            "it is called Tag5002",
            "a second <fields> is left out",
        ],
    );
    assert_eq!(dictionary.message("M").unwrap().members[0].kind, MemberKind::Field(5001));
    assert_eq!((dictionary.messages().len(), dictionary.field_named("Tag5002").unwrap().tag), (3, 5002));
    assert_eq!(dictionary.field(5003).unwrap().values[0].value.len(), 300);
    assert!(dictionary.field(5004).is_none());
    // A tag that no message can have is none.
    for number in ["", "x", "0", "-1", "+5", "5001.0", "5001-5010", "2147483647", "99999999999"] {
        let text = file(
            "<message name='M' msgtype='M'><field name='Odd'/></message>",
            "",
            &format!("<field number='{number}' name='Odd' type='INT'/>"),
        );
        assert!(load(text.as_bytes()).is_err(), "{number}");
        let loaded = load_allowing(text.as_bytes(), [Allowance::UndefinedFields].into_iter().collect()).unwrap();
        assert!(loaded.dictionary.message("M").unwrap().members.is_empty());
    }
}

#[test]
fn the_header_of_fix_5_0_is_its_transports_and_others_have_what_a_resend_needs() {
    let text = file("<message name='M' msgtype='M'/>", "", "");
    let fix_50 = text
        .replace("major='4' minor='4'", "major='5' minor='0'")
        .replace("<header>", "<header><field name='Nowhere'/>");
    let dictionary = lenient(&fix_50, &["<header> is left out", "<trailer> is left out"]);
    assert!(dictionary.header().is_empty() && dictionary.trailer().is_empty());
    let bare = text
        .replace("<field name='PossDupFlag'/><field name='PossResend'/><field name='OrigSendingTime'/>", "")
        .replace("</fields>", "<field number='50' name='SenderSubID' type='STRING'/></fields>");
    let dictionary = lenient(
        &bare,
        &["missing in <header>, and added: SenderSubID(50), PossDupFlag(43), PossResend(97), OrigSendingTime(122)"],
    );
    assert!([43, 50, 97, 122].iter().all(|tag| {
        let mut members = dictionary.header().iter();
        members.any(|member| member.kind == MemberKind::Field(*tag) && !member.required)
    }));
}
