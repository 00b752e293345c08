//! What venues really send, and the real binary that reads it: data fields of a venue's own
//! dictionary, fields that no dictionary has, the versions of FIXT.1.1.

#[path = "kill/engine.rs"]
mod engine;
#[path = "kill/wire.rs"]
mod wire;

use std::fs;
use std::process::{Command, Output};

use engine::{Place, Running, Setup};
use fixring::dictionary::{Version, built_in, to_xml};
use wire::{DEADLINE, Party, Wire};

const FIX44: Party = Party { begin_string: "FIX.4.4", sender: "DESK", target: "VENUE" };
const FIXT: Party = Party { begin_string: "FIXT.1.1", sender: "DESK", target: "VENUE" };
const ORDER: &str = "11=a|55=X|54=1|60=20260105-12:00:00|38=1|40=1|";

/// An echo of one session with these keys.
fn place(begin_string: &str, keys: &str) -> Place {
    let sessions = format!(
        "[[session]]\nbegin_string = \"{begin_string}\"\nsender_comp_id = \"VENUE\"\ntarget_comp_id = \"DESK\"\n{keys}\n"
    );
    Place::new(&Setup {
        mode: "buffered",
        engine: "application = \"echo\"\ncommit_bytes_max = \"64KiB\"\nmessage_bytes_max = \"16KiB\"\n",
        ring_bytes: "256KiB",
        segment_bytes: "1MiB",
        sessions: &sessions,
    })
}

/// The standard's FIX.4.4 with two fields of a venue's own in Logon and NewOrderSingle, of which
/// the second is data.
fn dictionary_of_a_venue() -> String {
    let members = " <field name='VenueBlobLen' required='N'/><field name='VenueBlob' required='N'/>";
    let mut xml = to_xml(built_in(Version::Fix44));
    for message in ["name='Logon' msgtype='A' msgcat='admin'>", "name='NewOrderSingle' msgtype='D' msgcat='app'>"] {
        assert!(xml.contains(message));
        xml = xml.replace(message, &format!("{message}{members}"));
    }
    let fields =
        "<field number='20001' name='VenueBlobLen' type='LENGTH'/><field number='20002' name='VenueBlob' type='DATA'/>";
    xml.replace("<fields>", &format!("<fields>{fields}"))
}

fn log_on(place: &Place, party: Party, body: &str) -> Wire {
    let mut wire = Wire::connect(place.port).expect("a ready engine listens");
    assert!(wire.send(&party.message("A", 1, "", &format!("98=0|108=30|{body}"))));
    until(&mut wire, "A");
    wire
}

/// The next message of the type, its delimiters as bars.
fn until(wire: &mut Wire, msg_type: &str) -> String {
    let wanted = format!("|35={msg_type}|");
    loop {
        let message = wire.read_raw(DEADLINE).unwrap_or_else(|| panic!("no {msg_type} comes"));
        let text = String::from_utf8(message).expect("ASCII").replace('\x01', "|");
        if text.contains(&wanted) {
            return text;
        }
        assert!(text.contains("|35=0|") || text.contains("|35=A|"), "not {msg_type}: {text}");
    }
}

fn answer(wire: &mut Wire, message: &[u8], msg_type: &str) -> String {
    assert!(wire.send(message));
    until(wire, msg_type)
}

fn end(mut engine: Running) {
    engine.terminate();
    assert_eq!(engine.until_ended().0.code(), Some(0));
}

fn fixring(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fixring")).args(arguments).output().expect("the binary runs")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

// ---- data fields

/// Found in review: `dictionary check` called the file sound, and the engine answered "Invalid tag
/// number".
#[test]
fn a_data_field_of_a_sessions_dictionary_may_hold_the_delimiter_live_after_a_restart_and_in_the_journal() {
    let place = place("FIX.4.4", "dictionary = \"DICTIONARY\"");
    let xml = place.path().join("venue.xml");
    fs::write(&xml, dictionary_of_a_venue()).unwrap();
    let config = fs::read_to_string(place.config()).unwrap().replace("DICTIONARY", xml.to_str().unwrap());
    fs::write(place.config(), config).unwrap();
    let checked = fixring(&["dictionary", "check", xml.to_str().unwrap()]);
    assert!(checked.status.success() && !said(&checked).contains("warning"), "{}", said(&checked));

    let blob = "20001=13|20002=a|b=c|10=000||";
    let engine = place.start_ready();
    // In the Logon, too, which is read before anybody knows whose it is.
    let mut wire = log_on(&place, FIX44, blob);
    let returned = answer(&mut wire, &FIX44.message("D", 2, "", &format!("{blob}{ORDER}")), "D");
    assert!(returned.contains(&format!("|{blob}11=a|")), "{returned}");
    // Lengths that are not the data's.
    for (number, length) in (3..).zip(["11", "14", "999999999", "18446744073709551616", "-1", "x"]) {
        let message = FIX44.message("D", number, "", &format!("20001={length}|20002=a|b=c|10=000||{ORDER}"));
        let reject = answer(&mut wire, &message, "3");
        assert!(reject.contains("|371=20002|") && reject.contains("|373=6|"), "{length}: {reject}");
    }
    drop(wire);
    end(engine);

    let engine = place.start_ready();
    let mut wire = Wire::connect(place.port).expect("a ready engine listens");
    assert!(wire.send(&FIX44.message("A", 9, "", "98=0|108=30|")));
    until(&mut wire, "A");
    // Sent again as it was.
    let resent = answer(&mut wire, &FIX44.message("2", 10, "", "7=2|16=2|"), "D");
    assert!(resent.contains("|43=Y|") && resent.contains(&format!("|{blob}11=a|")), "{resent}");
    // The application knows it from the replay: a PossResend of what was returned is not returned
    // again.
    assert!(wire.send(&FIX44.message("D", 11, "97=Y|", &format!("{blob}{ORDER}"))));
    let next = answer(&mut wire, &FIX44.message("D", 12, "", &ORDER.replace("11=a", "11=b")), "D");
    assert!(next.contains("|11=b|"), "{next}");
    drop(wire);
    end(engine);
    place.assert_whole();

    // Printed by the same dictionary: the data whole, its fields by their names.
    let config = place.config();
    let cat = |arguments: &[&str]| {
        let config = ["--config", config.to_str().unwrap()];
        let output = fixring(&[&["journal"], arguments, &config].concat());
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let pretty = cat(&["cat", "--pretty", "--direction", "in", "--msg-type", "D", "--limit", "1"]);
    assert!(pretty.contains("VenueBlobLen(20001) = 13\n    VenueBlob(20002) = a|b=c|10=000|\n"), "{pretty}");
    let json = cat(&["export", "--format", "json", "--direction", "in", "--msg-type", "D", "--limit", "1"]);
    assert!(json.contains(r#"{"tag":20002,"value":"a\u0001b=c\u000110=000\u0001"}"#), "{json}");
    let found = cat(&["cat", "--field", "11=a", "--field", "20001=13", "--direction", "out", "--msg-type", "D"]);
    assert!(!found.is_empty());
    let sought = ["seek", "--session", "FIX.4.4:VENUE->DESK", "--direction", "in", "--from", "2", "--pretty"];
    assert!(cat(&sought).contains("VenueBlob(20002) = a|b=c"));
    // A dictionary that is gone is told, and the rest is printed.
    fs::remove_file(&xml).unwrap();
    let output = fixring(&["journal", "cat", "--pretty", "--config", config.to_str().unwrap()]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && told.contains("venue.xml") && told.contains("the standard's dictionaries"),
        "{told}"
    );
    assert!(String::from_utf8_lossy(&output.stdout).contains("ClOrdID(11) = b"));
}

/// Two dictionaries that disagree: 20001 announces the data of 20002 in one, and is a number in the
/// other.
#[test]
fn each_session_is_read_by_its_own_dictionary_in_its_logon_and_in_the_replay_too() {
    let place = place(
        "FIX.4.4",
        "dictionary = \"DICTIONARY\"\n[[session]]\nbegin_string = \"FIX.4.4\"\nsender_comp_id = \"VENUE\"\ntarget_comp_id = \"PLAIN\"\ndictionary = \"OTHER\"",
    );
    let (data, plain) = (place.path().join("venue.xml"), place.path().join("plain.xml"));
    let xml = dictionary_of_a_venue();
    fs::write(&data, &xml).unwrap();
    let xml = xml.replace("name='VenueBlobLen' type='LENGTH'", "name='VenueBlobLen' type='INT'");
    fs::write(&plain, xml.replace("name='VenueBlob' type='DATA'", "name='VenueBlob' type='STRING'")).unwrap();
    let config = fs::read_to_string(place.config()).unwrap();
    let config = config.replace("DICTIONARY", data.to_str().unwrap()).replace("OTHER", plain.to_str().unwrap());
    fs::write(place.config(), config).unwrap();
    // The length reaches to the end of ClOrdID(11): who takes it for one finds no ClOrdID.
    let fields = "20001=9|20002=abcd|11=a|";
    let party = Party { sender: "PLAIN", ..FIX44 };
    let rest = ORDER.replace("11=a|", "");
    let engine = place.start_ready();
    let mut wire = log_on(&place, party, "20001=4|20002=abcdef|");
    let returned = answer(&mut wire, &party.message("D", 2, "", &format!("{fields}{rest}")), "D");
    assert!(returned.contains(&format!("|{fields}55=X|")), "{returned}");
    let blob = "20001=13|20002=a|b=c|10=000||";
    let mut other = log_on(&place, FIX44, blob);
    let returned = answer(&mut other, &FIX44.message("D", 2, "", &format!("{blob}{ORDER}")), "D");
    assert!(returned.contains(&format!("|{blob}11=a|")), "{returned}");
    drop((wire, other));
    end(engine);

    let engine = place.start_ready();
    for (party, order) in [(party, format!("{fields}{rest}")), (FIX44, format!("{blob}{ORDER}"))] {
        let mut wire = Wire::connect(place.port).expect("a ready engine listens");
        assert!(wire.send(&party.message("A", 3, "", "98=0|108=30|")));
        until(&mut wire, "A");
        // The application knows both orders from the replay, and does not return a PossResend of
        // them.
        assert!(wire.send(&party.message("D", 4, "97=Y|", &order)));
        let next = answer(&mut wire, &party.message("D", 5, "", &ORDER.replace("11=a", "11=b")), "D");
        assert!(next.contains("|11=b|"), "{next}");
    }
    end(engine);
    place.assert_whole();
}

// ---- what a session lets pass

#[test]
fn a_session_that_does_not_reject_invalid_messages_takes_them_with_a_line_in_the_log() {
    let order = format!("{ORDER}9999=venue|58=|");
    let strict = place("FIX.4.4", "");
    let engine = strict.start_ready();
    let reject = answer(&mut log_on(&strict, FIX44, ""), &FIX44.message("D", 2, "", &order), "3");
    assert!(reject.contains("|371=9999|"), "{reject}");
    end(engine);
    for keys in ["validation = { reject_invalid = false }", "validation = { RejectInvalidMessage = \"N\" }"] {
        let place = place("FIX.4.4", keys);
        let engine = place.start_ready();
        let mut wire = log_on(&place, FIX44, "");
        let returned = answer(&mut wire, &FIX44.message("D", 2, "", &order), "D");
        // The empty field is there too.
        assert!(returned.contains("|9999=venue|58=|10="), "{returned}");
        engine.until_logged("not as the dictionary says, and was taken all the same");
        drop(wire);
        end(engine);
    }
}

#[test]
fn the_echo_returns_empty_fields_where_the_session_lets_them_pass() {
    let place = place("FIX.4.2", "validation = { values_present = false }");
    let engine = place.start_ready();
    let party = Party { begin_string: "FIX.4.2", ..FIX44 };
    let mut wire = log_on(&place, party, "");
    let body = "11=a|21=1|55=|54=1|60=20260105-12:00:00|38=1|40=1|58=|";
    let returned = answer(&mut wire, &party.message("D", 2, "", body), "D");
    assert!(returned.contains(&format!("|{body}10=")), "{returned}");
    drop(wire);
    end(engine);
}

// ---- FIXT.1.1

#[test]
fn market_data_of_fix_5_0_sp2_needs_no_field_of_an_extension_pack_unless_the_session_asks_for_them() {
    let body = "262=r|55=EUR/USD|268=1|269=0|270=1.1|271=5|";
    let snapshot = FIXT.message("W", 2, "", body);
    let base = place("FIXT.1.1", "");
    let engine = base.start_ready();
    // The configuration asks for them, and neither a Logon(A) nor a message does. What they add is
    // known.
    let mut wire = log_on(&base, FIXT, "1137=9|1407=190|");
    let named = FIXT.message("W", 3, "1156=190|", &format!("1500=stream|{body}"));
    for (snapshot, part) in [(&snapshot, "|262=r|55=EUR/USD|"), (&named, "|1500=stream|262=r|55=EUR/USD|")] {
        let returned = answer(&mut wire, snapshot, "W");
        assert!(returned.contains(part), "{returned}");
    }
    drop(wire);
    end(engine);
    let latest = place("FIXT.1.1", "validation = { extension_packs = true }");
    let engine = latest.start_ready();
    let reject = answer(&mut log_on(&latest, FIXT, "1137=9|"), &snapshot, "3");
    assert!(reject.contains("|371=779|") && reject.contains("|373=1|"), "{reject}");
    end(engine);
}

#[test]
fn an_application_version_that_the_session_does_not_know_is_said_to_be_unsupported() {
    let place = place("FIXT.1.1", "");
    let engine = place.start_ready();
    let mut wire = log_on(&place, FIXT, "1137=9|");
    for (number, appl_ver_id) in (2..).zip(["4", "77"]) {
        let reject = answer(&mut wire, &FIXT.message("D", number, &format!("1128={appl_ver_id}|"), ORDER), "3");
        assert!(reject.contains("|371=1128|") && reject.contains("|373=18|"), "{reject}");
    }
    // A BusinessMessageReject has no DefaultApplVerID(1137).
    let report = "37=o|17=e|150=0|39=0|55=X|54=1|151=1|14=0|";
    let refused = answer(&mut wire, &FIXT.message("8", 4, "", report), "j");
    assert!(refused.contains("|380=3|") && !refused.contains("|1137="), "{refused}");
    drop(wire);
    end(engine);
}

// ---- dictionaries as venues publish them

#[test]
fn a_dictionary_with_warnings_is_used_and_what_is_ambiguous_is_allowed_by_the_session() {
    let place = place("FIX.4.4", "dictionary = \"DICTIONARY\"");
    let xml = place.path().join("venue.xml");
    let path = xml.to_str().unwrap();
    let plain = fs::read_to_string(place.config()).unwrap().replace("DICTIONARY", path);
    fs::write(place.config(), &plain).unwrap();
    let venue = dictionary_of_a_venue();
    let venue = venue.replace(
        "type='LENGTH'/><field number='20002'",
        "type='LENGTH'/><field number='20003' name='When' type='DATETIME'/><field number='20002'",
    );
    fs::write(&xml, &venue).unwrap();
    let config = place.config();
    let config = config.to_str().unwrap();
    let checked = said(&fixring(&["check", "--config", config]));
    assert!(checked.contains("1 warnings, the first: line") && checked.contains("DATETIME is no type"), "{checked}");
    let shown = said(&fixring(&["dictionary", "show", path, "VenueBlob"]));
    assert!(shown.contains("VenueBlob(20002)  DATA") && shown.contains("NewOrderSingle (D)"), "{shown}");
    let unknown = fixring(&["dictionary", "show", "FIX.4.9"]);
    assert!(unknown.status.code() == Some(2) && said(&unknown).contains("or name a file"), "{}", said(&unknown));

    fs::write(&xml, venue.replace("<field name='VenueBlobLen' required='N'/>", "<field name='Nowhere' required='N'/>"))
        .unwrap();
    let refused = fixring(&["check", "--config", config]);
    assert!(refused.status.code() == Some(2) && said(&refused).contains("undefined_fields"), "{}", said(&refused));
    assert_eq!(fixring(&["dictionary", "check", path]).status.code(), Some(2));
    assert!(fixring(&["dictionary", "check", path, "--allow", "undefined_fields"]).status.success());
    fs::write(place.config(), format!("{plain}dictionary_allow = [\"undefined_fields\"]\n")).unwrap();
    let engine = place.start_ready();
    engine.until_logged("a dictionary is read with warnings");
    let mut wire = log_on(&place, FIX44, "");
    let returned = answer(&mut wire, &FIX44.message("D", 2, "", ORDER), "D");
    assert!(returned.contains("|11=a|"), "{returned}");
    drop(wire);
    end(engine);
}
