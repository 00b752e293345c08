//! The real binary as its operator meets it: signals, names, and what is said where something is missing.

#[path = "kill/engine.rs"]
mod engine;
#[path = "kill/wire.rs"]
mod wire;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use engine::{Place, Running, SMALL, free_port};
use wire::{DEADLINE, Party, Read1, Wire};

const CONFIGURATION: i32 = 2;

// ---- signals

/// Found in review: a terminal that was closed, or a `kill -HUP` of who meant to have the configuration read again, cut every session off.
#[test]
fn a_signal_that_asks_other_daemons_to_read_again_is_ignored_with_a_line() {
    let place = Place::new(&SMALL);
    let mut engine = place.start_ready();
    let mut client = log_on(&place, "DESK", "");
    for (number, signal) in ["HUP", "USR1", "USR2"].into_iter().enumerate() {
        signal_of(&engine, signal);
        engine.until_logged(&format!("\"signal\":\"SIG{signal}\""));
        assert_eq!(echo_of(&mut client, "DESK", number as u32 + 2), "again");
    }
    assert!(engine.log_text().contains("the configuration is read at a start alone"), "{}", engine.log_text());
    engine.terminate();
    assert_eq!(engine.until_ended().0.code(), Some(0));
}

#[test]
fn a_held_engine_ignores_them_too() {
    let place = Place::new(&SMALL);
    let mut engine = place.start_ready();
    engine.terminate();
    engine.until_ended();
    let data_dir = place.data_dir();
    let held = fixring(&["recover", "--restored", "--hold", "--data-dir", data_dir.to_str().unwrap()]);
    assert_eq!(held.status.code(), Some(1), "{}", said(&held));
    let mut engine = place.start();
    engine.until_logged("waiting for `fixring recover`");
    signal_of(&engine, "HUP");
    engine.until_logged("SIGHUP");
    engine.terminate();
    assert_eq!(engine.until_ended().0.code(), Some(0));
}

// ---- an empty configuration

/// Found in review: an empty file, such as a ConfigMap that was not filled in, ran the exchange that is open to everybody.
#[test]
fn a_configuration_that_sets_nothing_is_said_to_be_empty_by_every_command() {
    let place = Place::new(&SMALL);
    let config = place.config();
    let path = config.to_str().unwrap();
    for (text, what) in [
        ("", "is empty:"),
        (" \n\t\r\n", "is empty:"),
        ("\u{feff}", "is empty:"),
        ("# [engine]\n# workers = 1\n", "is empty but for comments:"),
    ] {
        fs::write(&config, text).unwrap();
        for command in ["run", "check", "schedule", "recover"] {
            let output = fixring(&[command, "--config", path]);
            let said = said(&output);
            assert_eq!(output.status.code(), Some(CONFIGURATION), "{command} {text:?}: {said}");
            assert!(said.contains(path) && said.contains(what) && said.contains("leave --config out"), "{said}");
        }
    }
    // A table without a key is somebody's word, and what is no TOML is said where it stands.
    fs::write(&config, "[engine]\n").unwrap();
    assert_eq!(fixring(&["schedule", "--config", path]).status.code(), Some(0));
    fs::write(&config, "garbage").unwrap();
    assert!(said(&fixring(&["run", "--config", path])).contains("this is not TOML"));
    let directory = fixring(&["run", "--config", place.path().to_str().unwrap()]);
    assert_eq!(directory.status.code(), Some(CONFIGURATION));
    assert!(said(&directory).contains("name the file in it"), "{}", said(&directory));
    fs::remove_file(&config).unwrap();
    let missing = fixring(&["run", "--config", path]);
    assert_eq!(missing.status.code(), Some(CONFIGURATION));
    assert!(said(&missing).contains("name an existing file"), "{}", said(&missing));
}

// ---- who runs no session needs nothing of what sessions need

#[test]
fn schedules_and_numbers_are_shown_without_the_dictionary_and_the_password_that_an_engine_needs() {
    let place = Place::new(&SMALL);
    let mut engine = place.start_ready();
    engine.terminate();
    engine.until_ended();
    let text = fs::read_to_string(place.config()).unwrap();
    let session = "[[session]]\nbegin_string = \"FIX.4.4\"\nsender_comp_id = \"VENUE\"\ntarget_comp_id = \"DESK\"\nrole = \"initiator\"\n\
        connect = [\"127.0.0.1:1\"]\ndictionary = \"/nowhere/FIX44.xml\"\npassword_file = \"/nowhere/password\"\n\
        schedule = { start = \"08:00\", end = \"17:00\", days = \"Mon..Fri\" }\n";
    fs::write(place.config(), text + session).unwrap();
    let config = place.config();
    let with = |command: &str| fixring(&[command, "--config", config.to_str().unwrap()]);
    for command in ["schedule", "recover"] {
        assert_eq!(with(command).status.code(), Some(0), "{command}: {}", said(&with(command)));
    }
    assert!(said(&with("schedule")).contains("FIX.4.4:VENUE->DESK: Mon..Fri"));
    for command in ["run", "check"] {
        let output = with(command);
        assert_eq!(output.status.code(), Some(CONFIGURATION));
        assert!(
            said(&output).contains("/nowhere/FIX44.xml") || said(&output).contains("dictionary"),
            "{}",
            said(&output)
        );
        assert!(said(&output).contains("password_file"), "{}", said(&output));
    }
}

// ---- names

/// Found in review: "DESK/NY" and "DESK" with the SubID "NY" were one name: one metric for two sessions, and `recover` took the first.
#[test]
fn two_sessions_whose_ids_look_alike_have_two_names_everywhere() {
    let place = Place::new(&SMALL);
    let control = free_port();
    let text = fs::read_to_string(place.config()).unwrap();
    let sub_id = "[[session]]\nbegin_string = \"FIX.4.4\"\nsender_comp_id = \"VENUE\"\ntarget_comp_id = \"DESK\"\ntarget_sub_id = \"NY\"\n";
    fs::write(place.config(), text.replace("\"off\"", &format!("\"127.0.0.1:{control}\"")) + sub_id).unwrap();
    let mut engine = place.start_ready();
    let mut slash = log_on(&place, "DESK/NY", "");
    let mut sub = log_on(&place, "DESK", "50=NY|");
    assert_eq!(echo_of(&mut slash, "DESK/NY", 2), "again");
    let names = [r"FIX.4.4:VENUE->DESK\/NY", "FIX.4.4:VENUE->DESK/NY"];
    let metrics = get(control, "/metrics");
    // A label's value has its backslashes doubled.
    for (name, next_in) in [(names[0].replace('\\', "\\\\"), 3), (names[1].to_owned(), 2)] {
        let label = format!("{{session=\"{name}\"}} {next_in}");
        let lines: Vec<&str> = metrics.lines().filter(|line| line.contains(&label)).collect();
        assert!(lines.iter().any(|line| line.contains("next_in")), "{label}: {metrics}");
    }
    for name in names {
        engine.until_logged(&format!("\"session\":{}", serde_json::to_string(name).unwrap()));
    }
    sub.send(&party("DESK").message("5", 2, "50=NY|", ""));
    slash.send(&party("DESK/NY").message("5", 3, "", ""));
    engine.terminate();
    assert_eq!(engine.until_ended().0.code(), Some(0));

    let data_dir = place.data_dir();
    let data_dir = data_dir.to_str().unwrap();
    for (name, next_out) in [(names[0], "40"), (names[1], "50")] {
        let set = ["recover", "--data-dir", data_dir, "--session", name, "--next-out", next_out, "--next-in", "7"];
        let output = fixring(&set);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    }
    let shown = said(&fixring(&["recover", "--data-dir", data_dir]));
    for (name, next_out) in [(names[0], "40"), (names[1], "50")] {
        let line = shown.lines().find(|line| line.split_whitespace().next() == Some(name));
        assert_eq!(line.and_then(|line| line.split_whitespace().nth(1)), Some(next_out), "{shown}");
    }
    let count = |name| {
        let output = fixring(&["journal", "cat", "--data-dir", data_dir, "--session", name, "--direction", "in"]);
        String::from_utf8(output.stdout).unwrap().lines().count()
    };
    assert_eq!(names.map(count), [3, 2]);
}

// ---- what the tests stand on

fn party(sender: &'static str) -> Party {
    Party { begin_string: "FIX.4.4", sender, target: "VENUE" }
}

fn log_on(place: &Place, sender: &'static str, header: &str) -> Wire {
    let mut wire = Wire::connect(place.port).expect("a ready engine listens");
    assert!(wire.send(&party(sender).message("A", 1, header, "98=0|108=30|")));
    until(&mut wire, "A");
    wire
}

/// A TestRequest's answer.
fn echo_of(wire: &mut Wire, sender: &'static str, msg_seq_num: u32) -> String {
    assert!(wire.send(&party(sender).message("1", msg_seq_num.into(), "", "112=again|")));
    until(wire, "0").get(112).unwrap_or_default().to_owned()
}

fn until(wire: &mut Wire, msg_type: &str) -> wire::Fields {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match wire.read(Duration::from_millis(100)) {
            Read1::Message(message) if message.msg_type() == msg_type => return message,
            Read1::Message(_) => {}
            Read1::Nothing => assert!(Instant::now() < deadline, "no {msg_type} comes"),
            Read1::End => panic!("the engine closed the connection"),
        }
    }
}

fn signal_of(engine: &Running, signal: &str) {
    let done = Command::new("kill").args([&format!("-{signal}"), &engine.pid().to_string()]).status().unwrap();
    assert!(done.success());
}

fn fixring(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fixring")).args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The body of an answer, and its head.
fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("health and metrics are served");
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
