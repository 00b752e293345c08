//! `fixring order`: one order to an acceptor, and what came of it.
//!
//! Exit status: 0 where an ExecutionReport(8) came, 1 where something else did or nothing, 2 for
//! wrong usage or an acceptor that cannot be reached.

use std::time::Duration;

use super::Exit;
use super::certify::{text, version};
use crate::certify::{Target, reach, send_order};
use crate::config::{Endpoint, endpoint};
use crate::dictionary::Version;
use crate::fix::tags;

/// Send one order to an acceptor and print the conversation
///
/// Logs on, sends a NewOrderSingle(D), waits for its ExecutionReport(8) and logs out. For a first
/// try and for a look from outside: each call logs on with ResetSeqNumFlag(141), which begins the
/// session's numbers anew. NEVER against a production session.
///
/// Exit status: 0 where an ExecutionReport(8) came, 1 where something else did or nothing, 2 for
/// wrong usage or an acceptor that cannot be reached.
#[derive(clap::Args, Debug)]
pub(super) struct OrderOptions {
    /// The acceptor
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9880", value_parser = endpoint)]
    connect: Endpoint,
    /// FIX.4.0 to FIX.4.4, or FIX.5.0, FIX.5.0SP1, FIX.5.0SP2 over FIXT.1.1
    #[arg(long, visible_alias = "begin-string", default_value = "FIX.4.4", value_parser = version)]
    version: Version,
    /// Ours
    #[arg(long, value_name = "ID", default_value = "DESK1", value_parser = text)]
    sender_comp_id: String,
    /// The acceptor's
    #[arg(long, value_name = "ID", default_value = "VENUE", value_parser = text)]
    target_comp_id: String,
    /// Symbol(55)
    #[arg(long, default_value = "FIXR", value_parser = text)]
    symbol: String,
    /// Side(54)
    #[arg(long, value_enum, default_value = "buy")]
    side: Side,
    /// OrderQty(38)
    #[arg(long, value_name = "NUMBER", default_value = "100", value_parser = text)]
    quantity: String,
    /// Price(44)
    #[arg(long, value_name = "NUMBER", default_value = "101.25", value_parser = text)]
    price: String,
    /// How long an answer may take
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=120))]
    timeout: u64,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Side {
    Buy,
    Sell,
}

pub(super) fn order(options: &OrderOptions) -> Exit {
    let timeout = Duration::from_secs(options.timeout);
    let address = options.connect.to_string();
    if let Err(what) = reach(&address, timeout) {
        error_line!("{what}: start the acceptor (`fixring run`), or name its address with --connect");
        return Exit::Configuration;
    }
    let target = Target {
        address,
        version: options.version,
        sender_comp_id: options.sender_comp_id.clone(),
        target_comp_id: options.target_comp_id.clone(),
        has: Vec::new(),
        is_new: false,
        username: None,
        password: None,
        heartbeat_s: 30,
        timeout,
    };
    let side = match options.side {
        Side::Buy => "1",
        Side::Sell => "2",
    };
    let id = format!("ORDER-{}", jiff::Timestamp::now().as_millisecond());
    let fields = [
        (tags::CL_ORD_ID, id),
        (tags::SYMBOL, options.symbol.clone()),
        (tags::SIDE, side.into()),
        (tags::ORDER_QTY, options.quantity.clone()),
        (tags::ORD_TYPE, "2".into()),
        (tags::PRICE, options.price.clone()),
    ];
    let (conversation, result) = send_order(&target, &fields);
    // There is one connection, which has no need of its letter.
    conversation.iter().for_each(|line| print_line!("{}", line.replacen("  A ", "  ", 1).trim_start()));
    match result {
        Ok(()) => Exit::Ok,
        Err(what) => {
            error_line!("{what}");
            Exit::Failed
        }
    }
}
