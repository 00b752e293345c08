//! A venue: accepts any FIX.4.4 counterparty and fills every order at once.
//!
//!     cargo run --example acceptor -- [ADDRESS] [DIRECTORY]      Enter stops it
//!
//! Then, elsewhere: `cargo run --example initiator`.

use std::error::Error;

use fixring::application::{Application, Delivery, Handle};
use fixring::config::Config;
use fixring::engine::Engine;
use fixring::fix::{Decimal, Message, tags};

#[derive(Default)]
struct Venue {
    fills: u64,
}

impl Application for Venue {
    fn on_message(&mut self, session: &mut Handle<'_>, order: &Message<'_>, _: Delivery) {
        let (Some(cl_ord_id), Some(Some(quantity))) = (order.field(tags::CL_ORD_ID), order.decimal(tags::ORDER_QTY))
        else {
            return;
        };
        self.fills += 1;
        // The incarnation is another one after each start, so an identifier never comes twice.
        let id = format!("{}-{}", session.incarnation(), self.fills);
        println!("order {} from {}", cl_ord_id.escape_ascii(), session.identity());
        let sent = session.send(b"8", |report| {
            report.bytes(tags::ORDER_ID, id.as_bytes()).bytes(tags::CL_ORD_ID, cl_ord_id);
            report.bytes(tags::EXEC_ID, id.as_bytes()).char(tags::EXEC_TYPE, b'F').char(tags::ORD_STATUS, b'2');
            report.bytes(tags::SYMBOL, order.field(tags::SYMBOL).unwrap_or(b"N/A")).char(tags::SIDE, b'1');
            report.decimal(tags::LEAVES_QTY, Decimal::new(0, 0)).decimal(tags::CUM_QTY, quantity);
            report.decimal(tags::AVG_PX, Decimal::new(10125, 2));
        });
        if let Err(error) = sent {
            println!("no report for now: {error:?}");
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:9880".into());
    let directory = arguments.next().unwrap_or_else(|| "fixring-example/acceptor".into());
    let text = format!(
        "engine.data_dir = {directory:?}\npersistence.ring_dir = {directory:?}\npersistence.allow_tmpfs = true\ncontrol.listen = \"off\"\n\
         [[acceptor]]\nlisten = {address:?}\n\
         [[session]]\nbegin_string = \"FIX.4.4\"\nsender_comp_id = \"VENUE\"\ntarget_comp_id = \"*\"\n"
    );
    let engine = Engine::start(&Config::parse(&text, "acceptor")?, |_| Venue::default())?;
    println!("listening on {:?}", engine.acceptors());
    std::io::stdin().read_line(&mut String::new())?;
    engine.stop();
    Ok(engine.wait()?)
}
