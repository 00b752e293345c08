//! A desk: logs on to the venue of `examples/acceptor.rs`, sends one order, shows the answer and logs out.
//!
//!     cargo run --example initiator -- [ADDRESS] [DIRECTORY]

use std::error::Error;
use std::sync::mpsc::{Sender, channel};

use fixring::application::{Application, Delivery, Handle};
use fixring::config::Config;
use fixring::engine::Engine;
use fixring::fix::{Decimal, Message, Precision, tags};

struct Desk {
    answers: Sender<String>,
}

impl Application for Desk {
    fn on_established(&mut self, session: &mut Handle<'_>) {
        let now = session.now().utc;
        let sent = session.send(b"D", |order| {
            order.bytes(tags::CL_ORD_ID, now.unix_ns.to_string().as_bytes()).char(tags::HANDL_INST, b'1');
            order.bytes(tags::SYMBOL, b"FIXR").char(tags::SIDE, b'1');
            order.timestamp(tags::TRANSACT_TIME, now, Precision::Millis);
            order.uint(tags::ORDER_QTY, 100).char(tags::ORD_TYPE, b'2').decimal(tags::PRICE, Decimal::new(10125, 2));
        });
        println!("order sent: {sent:?}");
    }

    fn on_message(&mut self, _: &mut Handle<'_>, report: &Message<'_>, _: Delivery) {
        // Runs on the engine's worker: hand over, and do the slow work elsewhere.
        let _ = self.answers.send(report.bytes().escape_ascii().to_string().replace("\\x01", "|"));
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:9880".into());
    let directory = arguments.next().unwrap_or_else(|| "fixring-example/initiator".into());
    let text = format!(
        "engine.data_dir = {directory:?}\npersistence.ring_dir = {directory:?}\npersistence.allow_tmpfs = true\ncontrol.listen = \"off\"\n\
         [[session]]\nbegin_string = \"FIX.4.4\"\nsender_comp_id = \"DESK\"\ntarget_comp_id = \"VENUE\"\n\
         role = \"initiator\"\nconnect = [{address:?}]\n"
    );
    let (answers, answered) = channel();
    let mut desk = Some(Desk { answers });
    let engine = Engine::start(&Config::parse(&text, "initiator")?, |_| desk.take().expect("one worker, one desk"))?;
    println!("answer: {}", answered.recv()?);
    engine.stop();
    Ok(engine.wait()?)
}
