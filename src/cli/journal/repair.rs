//! `fixring journal repair`.

use std::fmt::Write;

use clap::Args;

use super::super::Exit;
use super::{Place, name_of, print};
use crate::journal::StorageError;
use crate::journal::inspect::CatError;
use crate::journal::inspect::repair::{ApplyError, Options, Outlook, Plan, RepairError, SessionOutlook};

#[derive(Args, Debug)]
pub(in crate::cli) struct RepairOptions {
    #[command(flatten)]
    place: Place,
    /// Do it; without this the plan is printed, and nothing is touched
    #[arg(long)]
    yes: bool,
    /// persistence.ring_bytes of the configuration in bytes, for a manifest that is lost
    #[arg(long, value_name = "N")]
    ring_bytes: Option<u64>,
    /// persistence.ring_dir of the configuration, for a manifest that is lost
    #[arg(long, value_name = "DIR")]
    ring_dir: Option<String>,
}

pub(in crate::cli) fn repair(options: &RepairOptions) -> Exit {
    let data_dir = match options.place.data_dir() {
        Ok(data_dir) => data_dir,
        Err(exit) => return exit,
    };
    let data_dir = data_dir.as_path();
    let shown = data_dir.display();
    let choices = Options { ring_bytes: options.ring_bytes, ring_dir: options.ring_dir.clone() };
    let plan = match Plan::make(data_dir, &choices) {
        Ok(plan) => plan,
        Err(error) => {
            error_line!("{shown}: {error}");
            return exit_of(&error);
        }
    };
    let is_empty = plan.is_empty();
    let printed = print(data_dir, &text(&plan, options.yes));
    if printed != Exit::Ok || is_empty {
        return printed;
    }
    if !options.yes {
        error_line!("nothing was touched: run it again with --yes");
        return Exit::Configuration;
    }
    let held = plan.why_held();
    match plan.apply(&choices) {
        Ok(kept) => {
            let mut text = String::from("\ndone\n");
            for name in kept {
                let _ = writeln!(text, "    {shown}/quarantine/{name}, with a note beside it (.txt)");
            }
            if let Some(why) = held {
                let _ = writeln!(
                    text,
                    "\nthe directory is held: {why}. Compare the numbers with the counterparties and free it:\n    fixring recover --restored --data-dir {shown}"
                );
            }
            print(data_dir, &text)
        }
        Err(error) => {
            error_line!("{shown}: {error}; what was done so far is in {shown}/quarantine");
            match error {
                ApplyError::Storage(_) => Exit::Storage,
                ApplyError::Lock(_) | ApplyError::Changed | ApplyError::Replan(_) => Exit::DataDirectory,
            }
        }
    }
}

fn exit_of(error: &RepairError) -> Exit {
    match error {
        RepairError::Directory(CatError::Storage(StorageError { .. })) => Exit::Storage,
        RepairError::Manifest(_) => Exit::Configuration,
        RepairError::InUse(_) | RepairError::Directory(_) | RepairError::Growing(_) => Exit::DataDirectory,
    }
}

fn text(plan: &Plan, is_done: bool) -> String {
    if plan.is_empty() {
        let mut text = String::from("nothing stands in the way of a start\n");
        for outlook in plan.outlooks.iter().filter(|outlook| outlook.is_lower()) {
            text.push_str("but records behind the journal's end show higher numbers; where they prove that more was synced, the start is held\n");
            outlook_text(&mut text, outlook);
        }
        return text;
    }
    let mut text = String::from(if is_done { "what is done\n" } else { "what would be done\n" });
    for (number, step) in plan.steps.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:>4}. {}\n      because {}", number + 1, step.what, step.why);
    }
    text.push_str("\nand after it\n");
    for outlook in &plan.outlooks {
        outlook_text(&mut text, outlook);
    }
    text
}

fn outlook_text(text: &mut String, outlook: &Outlook) {
    let _ = writeln!(text, "    journal {} goes on at position {}", outlook.journal, outlook.end_position);
    if outlook.starts_anew {
        text.push_str(
            "        NO STATE IS LEFT: every session begins at number 1, and the application without its snapshot\n",
        );
    }
    if outlook.is_uncertain {
        text.push_str(
            "        WHAT WAS IN THE MISSING PART IS NOT KNOWN: the numbers may roll back; compare them with the peers before they log on\n",
        );
    }
    for session in &outlook.sessions {
        session_text(text, session);
    }
}

fn session_text(text: &mut String, session: &SessionOutlook) {
    let name = match session.identity.is_empty() {
        true => format!("session {} (its name is lost)", session.number),
        false => name_of(&session.identity),
    };
    let _ = writeln!(
        text,
        "        {name}: next out {}, next in {}, epoch {}",
        session.next_out, session.next_in, session.epoch
    );
    if let Some(seen) = session.seen {
        let _ = writeln!(
            text,
            "            ROLLS BACK: records that are no part of the journal any more say next out {}, next in {}, epoch {}; the peer may have seen them",
            seen.next_out, seen.next_in, seen.epoch
        );
        let mend = if seen.epoch == session.epoch && session.lease >= seen.next_out {
            format!("The next start goes on at {}, the session's lease, and the peer fills the rest", session.lease)
        } else {
            "Agree on the next numbers with the peer before it logs on, and set them with fixring recover".into()
        };
        let _ = writeln!(text, "            {mend}");
    }
}
