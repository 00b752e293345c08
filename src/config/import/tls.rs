//! Settings of TLS, which fixring does not speak. A session that has them is refused: it would
//! otherwise dial, or listen, in plain TCP, and an order or a password would cross the network for
//! anybody to read.
//!
//! The engines differ in what switches TLS on: QuickFIX/J and QuickFIX/n have a setting for it, in
//! QuickFIX/C++ and older QuickFIX/Go a certificate is enough. So a switch decides where there is
//! one, and else any setting of TLS does.

use super::known::Rule;
use super::ledger::{Scope, is_no};

const REMEDY: &str = "put a TLS proxy such as stunnel before it, let the addresses in this file name the proxy, and import with \
                      --plain-tcp";

pub(super) fn tls(scope: &mut Scope<'_, '_, '_>) {
    let mut all: Vec<usize> = scope.all().iter().map(|(_, id)| *id).collect();
    all.sort_unstable();
    let (mut on, mut off, mut others) = (None, None, Vec::new());
    for id in all {
        let setting = &scope.ledger.file.settings[id];
        let asks = !setting.value.is_empty() && !is_no(setting.value);
        match setting.rule {
            Rule::TlsSwitch if asks => on = on.or(Some(id)),
            Rule::TlsSwitch => off = off.or(Some(id)),
            Rule::Tls if asks => others.push(id),
            Rule::Tls => scope.same(id),
            _ if is_protocol_of_tls(setting.name, setting.value) => on = on.or(Some(id)),
            _ => {}
        }
    }
    if let Some(id) = off {
        scope.same(id);
    }
    let asking = match (on, off) {
        (Some(id), _) => id,
        (None, None) if !others.is_empty() => others[0],
        (None, switch) => {
            let why = switch.map_or(String::new(), |id| format!("{}=N", scope.ledger.file.settings[id].name));
            others.into_iter().for_each(|id| scope.unneeded(id, why.clone()));
            return;
        }
    };
    if !scope.ledger.options.plain_tcp {
        let count = others.iter().filter(|id| **id != asking).count();
        return scope.ledger.refuse_tls(asking, count, REMEDY);
    }
    for id in on.into_iter().chain(others) {
        scope.lost(id, "fixring speaks plain TCP: a TLS proxy such as stunnel has to stand before it");
    }
}

/// `SocketConnectProtocol=SSL` and the like.
fn is_protocol_of_tls(name: &str, value: &str) -> bool {
    let value = value.to_ascii_uppercase();
    name.to_ascii_lowercase().ends_with("protocol") && (value.contains("SSL") || value.contains("TLS"))
}
